"""Tables with a task column: small ones written here, and the real families where they are at hand."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
import torch
from torch import Generator

import innerloop as il
from innerloop.data import TableTasks, multitask
from innerloop.data.sets.multitask import FAMILIES

HEADER = "id,school,year,age,sex,score\n"


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    """The text as a file."""
    path = folder / name
    if name.endswith(".gz"):
        with gzip.open(path, "wt", encoding="utf-8") as file:
            file.write(text)
    else:
        path.write_text(text, encoding="utf-8")
    return path


def schools(folder: Path, name: str = "table.csv") -> Path:
    """Ten schools in two years; a row's score says who it is: 1000 school + 100 year + number."""
    rows = []
    for i in range(400):
        school, year = i % 10, (i // 10) % 2
        age = 10 + 0.5 * (i % 7)
        rows.append(f"{i},s{school},{year},{age},{'FM'[i % 2]},{1000 * school + 100 * year + i // 20}")
    return write(folder, HEADER + "\n".join(rows) + "\n", name)


def read(path: Path, **options: object) -> TableTasks:
    """The schools' table."""
    columns = {"task": ("school", "year"), "inputs": ("age", "sex"), "targets": "score"}
    return TableTasks.read(path, **{**columns, **options})


def test_columns_and_tasks(tmp_path: Path) -> None:
    """Task columns are joined, categories become one-hot columns, the order of the file does not matter."""
    table = read(schools(tmp_path))
    assert table.names == tuple(f"s{school}/{year}" for school in range(10) for year in range(2))
    assert table.inputs == ("age", "sex=F", "sex=M")
    assert table.targets == ("score",)
    assert table.x.shape == (400, 3)
    assert table.y.shape == (400, 1)
    assert table.sizes.tolist() == [20] * 20
    assert table.dropped == 0
    assert not table.classifies
    assert set(table.x[:, 1:].flatten().tolist()) == {0.0, 1.0}
    assert table.x.dtype == table.y.dtype == torch.float32
    score = table.original(table.y).flatten().round()
    number = torch.arange(10).repeat_interleave(40) * 10 + torch.arange(2).repeat_interleave(20).repeat(10)
    assert torch.equal((score / 100).floor().long(), number)


def test_splits_share_no_task_and_follow_the_seed(tmp_path: Path) -> None:
    """Every task stands in one split; the shares are kept; a seed gives one split."""
    path = schools(tmp_path)
    table, again, other = read(path), read(path), read(path, seed=1)
    assert {name: len(members) for name, members in table.splits.items()} == {"train": 12, "val": 4, "test": 4}
    assert sorted(torch.cat(list(table.splits.values())).tolist()) == list(range(20))
    assert torch.equal(table.splits["test"], again.splits["test"])
    assert not torch.equal(table.splits["test"], other.splits["test"])
    assert [len(part) for part in read(path, shares=(0.5, 0.0, 0.5)).splits.values()] == [10, 0, 10]


def test_statistics_are_of_the_training_tasks(tmp_path: Path) -> None:
    """Mean 0 and deviation 1 over the training rows, not over all; ``original`` undoes it."""
    table = read(schools(tmp_path))
    member = torch.repeat_interleave(torch.arange(20), table.sizes)
    train = torch.isin(member, table.splits["train"])
    for values in (table.y[train], table.x[train, :1]):
        assert float(values.mean()) == pytest.approx(0, abs=1e-5)
        assert float(values.std(correction=0)) == pytest.approx(1, rel=1e-5)
    assert abs(float(table.y.mean())) > 1e-3
    scores = table.original(table.y[train]).double()
    assert float(scores.mean()) == pytest.approx(float(table.center), rel=1e-5)
    assert float(scores.std(correction=0)) == pytest.approx(float(table.scale), rel=1e-5)


def test_tasks_are_rows_of_one_task_without_replacement(tmp_path: Path) -> None:
    """Support and query are different rows of one task of the split."""
    table = read(schools(tmp_path))
    for split in ("train", "val", "test"):
        sampler = table.sampler(split, shots=5, queries=15)
        task = sampler.draw(Generator().manual_seed(0), 200)
        assert task.support.x.shape == (200, 5, 3)
        scores = table.original(torch.cat((task.support.y, task.query.y), 1))[..., 0].round().long()
        assert all(len(set(row)) == 20 for row in scores.tolist())
        school, year = scores // 1000, scores % 1000 // 100
        which = 2 * school + year
        assert (which == which[:, :1]).all()
        assert set(which[:, 0].tolist()) == set(table.splits[split].tolist())


def test_sampler_laws(tmp_path: Path) -> None:
    """A seed gives one draw, tasks drawn together are those drawn in turn, sizes may vary."""
    table = read(schools(tmp_path))
    sampler = table.sampler("train", shots=3, queries=4)
    generator = Generator().manual_seed(2)
    parts = [sampler.draw(generator, 3).query.y, sampler.draw(generator, 5).query.y]
    assert torch.equal(torch.cat(parts), sampler.draw(Generator().manual_seed(2), 8).query.y)
    varied = table.sampler("train", shots=(2, 6), queries=(3, 9), together=4)
    sizes = {(b.support.x.shape[1], b.query.x.shape[1]) for b in varied.batches(Generator().manual_seed(0), 80)}
    assert len(sizes) > 10
    assert all(2 <= shots <= 6 and 3 <= queries <= 9 for shots, queries in sizes)


def test_small_tasks_are_left_out(tmp_path: Path) -> None:
    """Only tasks with enough rows are drawn; if there is none, the message says how many rows the largest has."""
    text = "task,x,y\n" + "".join(f"t{t},{i},{t}\n" for t in range(6) for i in range(2 + 3 * t))
    table = TableTasks.read(write(tmp_path, text), task="task", inputs="x", targets="y", shares=(1.0, 0.0, 0.0))
    sampler = table.sampler("train", shots=4, queries=4)
    assert sorted(table.names[i] for i in sampler.members.tolist()) == ["t2", "t3", "t4", "t5"]
    drawn = table.original(sampler.draw(Generator().manual_seed(0), 100).support.y).round()
    assert set(drawn.flatten().tolist()) == {2.0, 3.0, 4.0, 5.0}
    with pytest.raises(il.InputError, match="need up to 18 rows, the largest of the 6 train tasks has 17"):
        table.sampler("train", shots=9, queries=9)
    with pytest.raises(il.InputError, match="largest of the 0 test tasks has 0"):
        table.sampler("test", shots=1, queries=1)
    with pytest.raises(il.InputError, match="split 'dev' is unknown"):
        table.sampler("dev", shots=1, queries=1)


def test_missing_values_are_counted(tmp_path: Path) -> None:
    """A row is dropped if a column that is used lacks a value, and only then; blank lines are none."""
    text = "task,x,unused,y\n" + "a,1,,2\na,,1,2\n\nb,NA,1,2\nb,3,1,nan\nb, 4 ,1,5\nc,1,1,?\n"
    table = TableTasks.read(write(tmp_path, text), task="task", inputs="x", targets="y", shares=(1.0, 0.0, 0.0))
    assert table.dropped == 4
    assert table.names == ("a", "b")
    assert table.original(table.y).flatten().tolist() == [2.0, 5.0]


def test_gzip_byte_order_mark_and_delimiter(tmp_path: Path) -> None:
    """The three ways in which a file may differ give the same table."""
    plain = read(schools(tmp_path))
    text = schools(tmp_path).read_text()
    for path, options in (
        (schools(tmp_path, "table.csv.gz"), {}),
        (write(tmp_path, "\ufeff" + text, "marked.csv"), {"task": ("school", "year")}),
        (write(tmp_path, text.replace(",", ";"), "semicolons.csv"), {"delimiter": ";"}),
    ):
        assert torch.equal(read(path, **options).y, plain.y)
    marked = TableTasks.read(tmp_path / "marked.csv", task="id", inputs="age", targets="score")
    assert len(marked.names) == 400


def test_numbers_as_categories_and_constant_columns(tmp_path: Path) -> None:
    """A column of codes can be one-hot; one that is constant becomes 0."""
    text = "task,code,same,y\n" + "".join(f"{i % 4},{i % 3},7,{i}\n" for i in range(24))
    columns = {"task": "task", "inputs": ("code", "same"), "targets": "y"}
    table = TableTasks.read(write(tmp_path, text), **columns, categorical=("code",))
    assert table.inputs == ("code=0", "code=1", "code=2", "same")
    assert torch.equal(table.x[:, :3].sum(1), torch.ones(24))
    assert torch.equal(table.x[:, 3], torch.zeros(24))
    assert TableTasks.read(tmp_path / "table.csv", **columns).inputs == ("code", "same")


def test_a_category_as_target_makes_classification(tmp_path: Path) -> None:
    """Y are one-hot rows, left as they are, and the sampler classifies."""
    table = read(schools(tmp_path), inputs=("age", "score"), targets="sex")
    assert table.classifies
    assert table.targets == ("sex=F", "sex=M")
    assert set(table.y.flatten().tolist()) == {0.0, 1.0}
    sampler = table.sampler("train", shots=6, queries=4)
    assert sampler.classifies
    learner = il.ProtoNet(il.nets.mlp(2, 8, 4))
    assert il.evaluate(learner, sampler, tasks=4, how="vmap", open=False).metric == "accuracy"
    with pytest.raises(il.InputError, match="target column 'sex' holds categories"):
        read(schools(tmp_path), inputs="age", targets=("score", "sex"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inputs": "agee"}, "no column 'agee' (did you mean age?)"),
        ({"task": ()}, "must name at least one column each"),
        ({"inputs": ("age", "score")}, "none twice"),
        ({"shares": (0.5, 0.2, 0.2)}, "must sum to 1"),
        ({"shares": (0.0, 0.5, 0.5)}, "leave none for training"),
        ({"delimiter": ";"}, "no column 'school'"),
    ],
)
def test_bad_columns_are_refused(tmp_path: Path, options: dict[str, object], words: str) -> None:
    """The message names the column and what there is."""
    with pytest.raises(il.InputError) as error:
        read(schools(tmp_path), **options)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "it has no header"),
        ("task,x,y\n", "no row with a value in each of task, x, y (0 lack one)"),
        ("task,x,y\na,1,\n", "(1 lack one)"),
        ("task,x,y\na,1,2\nb,1\n", "line 3 of table.csv has 2 fields, its header has 3"),
        ("task,x,y\na,1,inf\nb,1,2\n", "column 'y' holds 1 infinite values"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, words: str) -> None:
    """The message names the file, the line and what is wrong."""
    with pytest.raises(il.InputError) as error:
        TableTasks.read(write(tmp_path, text), task="task", inputs="x", targets="y", shares=(1.0, 0.0, 0.0))
    assert words in str(error.value)


def test_missing_files_and_unknown_families(tmp_path: Path) -> None:
    """Both are said before anything is read."""
    with pytest.raises(il.InputError, match=r"there is no file .*Oxboys\.csv"):
        multitask(tmp_path, "Oxboys")
    with pytest.raises(il.InputError, match=r"'oxboys' is unknown \(did you mean Oxboys"):
        multitask(tmp_path, "oxboys")


# Family: tasks, rows that are used, input columns, target columns. storms has 20,778 rows, the weather 26,115.
FACTS = {
    "storms": (693, 20_778, 6, 1),
    "nyc_weather": (1_092, 26_114, 1, 1),
    "parkinsons": (42, 5_875, 19, 2),
    "ChickWeight": (50, 578, 1, 1),
    "Oxboys": (26, 234, 1, 1),
    "Loblolly": (14, 84, 1, 1),
    "Theoph": (12, 132, 3, 1),
    "Exam": (65, 4_059, 11, 1),
    "Hsb82": (160, 7_185, 5, 1),
    "gapminder": (142, 1_704, 3, 1),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_real_families(data_root: Path, name: str) -> None:
    """Each family has the tasks, rows and columns that its source lists, and gives tasks to learn from."""
    table = multitask(data_root, name)
    assert (len(table.names), len(table.x), table.x.shape[1], table.y.shape[1]) == FACTS[name]
    assert table.dropped == (name == "nyc_weather")
    for split in table.splits:
        tasks = table.sampler(split, shots=3, queries=3).draw(Generator().manual_seed(0), 8)
        il.core.task.check(tasks)
        assert tasks.support.x.shape == (8, 3, table.x.shape[1])


def test_real_family_with_other_columns(data_root: Path) -> None:
    """The storms' track in place of their pressure; from the folder of the files as well."""
    track = multitask(
        data_root / "multitask_regression",
        "storms",
        inputs=("month", "day", "hour"),
        targets=("lat", "long"),
    )
    assert track.targets == ("lat", "long")
    assert 20 < float(track.center[0]) < 35


def test_a_real_family_is_learned(data_root: Path) -> None:
    """Adapting to five measures of a boy's height beats the mean of all boys."""
    sampler = multitask(data_root, "Oxboys").sampler("test", shots=5, queries=4)
    known = {"lengthscale": 2.0, "scale": 1.0, "noise": 0.1}
    report = il.evaluate(il.ExactGP("rbf", **known), sampler, tasks=50)
    tasks = sampler.draw(Generator().manual_seed(0), 50)
    assert report.per_task["mse"].mean() < 0.2 * float(tasks.query.y.square().mean())
    assert math.isfinite(report.value)
