"""Tables with a task column: small ones written here, and the real families where they are at hand."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
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
    assert il.evaluate(learner, sampler, tasks=4, how="vmap", open=False).metric.name == "accuracy"
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


def growth(cells: dict[int, str], column: str = "height", rows: int = 90) -> str:
    """A table of nine boys' rows, some of whose cells say something else."""
    lines = ["boy,age,height"]
    for i in range(rows):
        values = {"age": f"{0.5 + i}", "height": f"{2.5 * i}"}
        values[column] = cells.get(i, values[column])
        lines.append(f"{i % 9},{values['age']},{values['height']}")
    return "\n".join(lines) + "\n"


BOYS = {"task": "boy", "inputs": "age", "targets": "height"}


@pytest.mark.parametrize(
    "word", ["NULL", "n/a", "-", "", "NaN", "None", "?", ".", "--", "#N/A", "<NA>", "unknown", "\u2013"]
)
@pytest.mark.parametrize("column", ["age", "height"])
def test_a_word_for_missing_among_numbers_costs_its_row_alone(tmp_path: Path, word: str, column: str) -> None:
    """The column stays one of numbers, and what was taken for missing is said."""
    table = TableTasks.read(write(tmp_path, growth({3: word, 70: word}, column)), **BOYS)
    assert (table.inputs, table.targets, table.classifies) == (("age",), ("height",), False)
    assert (len(table.x), table.dropped, table.missing) == (88, 2, {column: {word: 2}})
    assert table.notes == (f"column {column!r}: taken for missing: {word!r} (2)", "rows that lack a value, left out: 2")
    assert table.describe().notes == list(table.notes)
    assert sorted(table.original(table.y).flatten().round(decimals=2).tolist()) == sorted(
        2.5 * i for i in range(90) if i not in (3, 70)
    )


def test_words_of_ones_own_for_missing(tmp_path: Path) -> None:
    path = write(tmp_path, growth({3: "-999", 5: "sick"}))
    with pytest.raises(il.InputError, match=r"89 numbers and 1 words .the first is 'sick'.*missing=\('sick',\)"):
        TableTasks.read(path, **BOYS)
    table = TableTasks.read(path, **BOYS, missing=("sick", "-999"))
    assert table.missing == {"height": {"-999": 1, "sick": 1}}
    assert table.dropped == 2


def test_words_that_mean_missing_only_among_numbers(tmp_path: Path) -> None:
    """A dash is a category among categories; an empty cell or NULL never is."""
    text = "task,sign,y\n" + "".join(f"{i % 4},{('+', '-', 'NULL')[i % 3]},{i}\n" for i in range(36))
    table = TableTasks.read(write(tmp_path, text), task="task", inputs="sign", targets="y")
    assert table.inputs == ("sign=+", "sign=-")
    assert table.missing == {"sign": {"NULL": 12}}


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (["1,5", "2,25", "-3"], [1.5, 2.25, -3.0]),
        (["1.234,5", "12,0", "7"], [1234.5, 12.0, 7.0]),
        (["1,234.5", "12", "1,000,000.25"], [1234.5, 12.0, 1000000.25]),
        (["1,234,567", "12", "3.5"], [1234567.0, 12.0, 3.5]),
        (["1e3", "2E-1", "+4"], [1000.0, 0.2, 4.0]),
    ],
)
def test_numbers_as_they_are_written(tmp_path: Path, column: list[str], found: list[float]) -> None:
    """Decimal commas and thousands, where only one reading makes numbers of all; it is said."""
    text = "task;x;y\n" + "".join(f"{i % 4};{i};{column[i % 3]}\n" for i in range(24))
    table = TableTasks.read(
        write(tmp_path, text), task="task", inputs="x", targets="y", delimiter=";", shares=(1, 0, 0)
    )
    assert table.targets == ("y",)
    values = sorted(set(table.original(table.y).flatten().tolist()))
    assert values == pytest.approx(sorted(found), rel=1e-3)
    commas = any("," in value for value in column)
    assert len(table.notes) == commas
    assert all("column 'y'" in note and "comma" in note for note in table.notes)


def test_numbers_that_can_be_read_in_two_ways_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "task;x;y\n" + "".join(f"{i % 4};{i};1,{100 + i}\n" for i in range(24)))
    columns = {"task": "task", "inputs": "x", "targets": "y", "delimiter": ";", "shares": (1.0, 0.0, 0.0)}
    with pytest.raises(il.InputError, match=r"'1,100', which is 1100 or 1.100: give decimal"):
        TableTasks.read(path, **columns)
    assert float(TableTasks.read(path, **columns, decimal=".").center) == pytest.approx(1111.5)
    assert float(TableTasks.read(path, **columns, decimal=",").center) == pytest.approx(1.1115)
    with pytest.raises(il.InputError, match=r"must be '\.' or ','"):
        TableTasks.read(path, **columns, decimal="x")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("2020-01-{:02d}", "holds 27 different words"),
        ("{} %", "holds 90 different words"),
        ("${}", "holds 90 different words"),
    ],
)
def test_amounts_and_dates_are_no_categories(tmp_path: Path, value: str, message: str) -> None:
    """Ninety classes of ninety rows are a mistake, unless one says so."""
    cells = {i: value.format(1 + i % 27) if "-" in value else value.format(i) for i in range(90)}
    rows = 40 if "-" in value else 90
    path = write(tmp_path, growth(cells, rows=rows))
    with pytest.raises(il.InputError, match=message):
        TableTasks.read(path, **BOYS)
    assert TableTasks.read(path, **BOYS, categorical=("height",)).classifies
    with pytest.raises(il.InputError, match="'hight' is no input or target"):
        TableTasks.read(path, **BOYS, categorical=("hight",))


def test_tasks_of_two_columns_do_not_merge(tmp_path: Path) -> None:
    text = "one,two,x,y\n" + "".join(
        f"{a},{b},{i},{k}\n" for k, (a, b) in enumerate([("a/b", "c"), ("a", "b/c"), ("a", "b\\/c")]) for i in range(4)
    )
    path = write(tmp_path, text)
    table = TableTasks.read(path, task=("one", "two"), inputs="x", targets="y", shares=(1.0, 0.0, 0.0))
    assert table.sizes.tolist() == [4, 4, 4]
    assert len(set(table.names)) == 3
    member = torch.repeat_interleave(torch.arange(3), table.sizes)
    targets = table.original(table.y).round().flatten()
    assert all(len(targets[member == task].unique()) == 1 for task in range(3))
    assert TableTasks.read(path, task="one", inputs="x", targets="y").names == ("a", "a/b")


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """Only where it is used."""
    path = write(tmp_path, "task,x,x,y\n" + "".join(f"{i % 4},{i},{-i},{i}\n" for i in range(24)))
    with pytest.raises(il.InputError, match="has 2 columns 'x': rename all but one"):
        TableTasks.read(path, task="task", inputs="x", targets="y")
    path.write_text("task,x,same,same,y\n" + "".join(f"{i % 4},{i},0,1,{i}\n" for i in range(24)))
    assert TableTasks.read(path, task="task", inputs="x", targets="y").inputs == ("x",)


def test_texts_of_any_encoding(tmp_path: Path) -> None:
    """By its mark, or by name; what cannot be read says how it could be."""
    text = growth({}).replace("boy", "garçon").replace("\n0,", "\nRené,")
    columns = {"task": "garçon", "inputs": "age", "targets": "height"}
    path = tmp_path / "table.csv"
    for encoding, option in (
        ("utf-8", None), ("utf-8-sig", None), ("utf-16", None), ("utf-32", None), ("latin-1", "latin-1"),
        ("utf-16-le", "utf-16-le"),
    ):  # fmt: skip
        path.write_bytes(text.encode(encoding))
        assert TableTasks.read(path, **columns, encoding=option).names[-1] == "René"
    for encoding, message in (("latin-1", r"is not utf-8 \(byte 0xe7 on line 1\)"), ("utf-16-le", "holds zero bytes")):
        path.write_bytes(growth({}).replace("boy", "garçon" if encoding == "latin-1" else "boy").encode(encoding))
        with pytest.raises(il.InputError, match=message):
            TableTasks.read(path, **columns)
    with pytest.raises(il.InputError, match="'utf-9' is unknown"):
        TableTasks.read(path, **columns, encoding="utf-9")


def test_files_that_are_no_tables_are_refused_by_name(tmp_path: Path) -> None:
    whole = gzip.compress(growth({}).encode())
    for data, message in (
        (whole[: len(whole) // 2], "is a gzip file that is cut or damaged"),
        (whole[:4], "is a gzip file that is cut or damaged"),
        (whole[:60] + b"xxxx" + whole[64:], "is a gzip file that is cut or damaged"),
        (b"PK\x03\x04rest", "is a zip archive or a spreadsheet"),
        (b'boy,age,height\n1,"2,3\n', "is no table"),
        (b"boy,age,height\n1,2,3\n1,2,3,4\n", "line 3 of table.csv has 4 fields, its header has 3"),
        (b'boy,age,height\n"1\n",2,3\n\n1,2\n', "line 5 of table.csv has 2 fields, its header has 3"),
    ):
        (tmp_path / "table.csv").write_bytes(data)
        with pytest.raises(il.InputError, match=message):
            TableTasks.read(tmp_path / "table.csv", **BOYS)
    with pytest.raises(il.InputError, match=r"cannot be read \(Is a directory"):
        TableTasks.read(tmp_path, **BOYS)
    with pytest.raises(il.InputError, match="give one character"):
        TableTasks.read(tmp_path / "table.csv", **BOYS, delimiter=", ")


def test_without_pandas_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(il.InputError, match=r"pip install 'innerloop\[tables\]'"):
        TableTasks.read(write(tmp_path, growth({})), **BOYS)


def test_a_frame_is_its_file(tmp_path: Path) -> None:
    """Typed columns, missing values and categories as from the file that pandas writes of it."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "task": pd.Categorical([f"t{i % 6}" for i in range(60)]),
            "number": random.normal(size=60),
            "whole": pd.Series(random.integers(0, 9, 60), dtype="Int64"),
            "truth": random.integers(0, 2, 60).astype(bool),
            "kind": random.choice(["a", "b"], 60),
            "y": random.normal(size=60),
        }
    )
    frame.loc[3, "number"] = np.nan
    frame.loc[7, "whole"] = pd.NA
    frame.to_csv(tmp_path / "table.csv", index=False)
    columns = {"task": "task", "inputs": ("number", "whole", "truth", "kind"), "targets": "y"}
    table, file = TableTasks.of(frame, **columns), TableTasks.read(tmp_path / "table.csv", **columns)
    assert table.digest == file.digest
    assert table.inputs == ("number", "whole", "truth=False", "truth=True", "kind=a", "kind=b")
    assert table.dropped == 2
    with pytest.raises(il.InputError, match="a list is no pandas frame"):
        TableTasks.of([1, 2], **columns)


def test_support_sets_show_every_class_of_their_task(tmp_path: Path) -> None:
    """As far as the shots allow, in any draw; support and query are still different rows of one task."""
    random = np.random.default_rng(1)
    rare = [("a" if random.random() < 0.9 else "bc"[int(random.random() < 0.5)]) for _ in range(600)]
    text = "task,x,y\n" + "".join(f"{i % 6},{i},{label}\n" for i, label in enumerate(rare))
    table = TableTasks.read(write(tmp_path, text), task="task", inputs="x", targets="y", shares=(1.0, 0.0, 0.0))
    for shots in (3, 5):
        sampler = table.sampler("train", shots=shots, queries=20)
        task = sampler.draw(Generator().manual_seed(0), 300)
        assert (task.support.y.sum(1) >= 1).all()
        everything = torch.cat((task.support.x, task.query.x), 1)[..., 0]
        assert all(len(row.unique()) == shots + 20 for row in everything)
        parts = [sampler.draw(generator, n) for generator in [Generator().manual_seed(0)] for n in (100, 200)]
        assert torch.equal(torch.cat([part.query.y for part in parts]), task.query.y)
    few = table.sampler("train", shots=2, queries=5).draw(Generator().manual_seed(0), 100)
    assert (few.support.y.sum(1).amax(1) == 1).all()
    report = il.evaluate(
        il.ProtoNet(il.nets.mlp(1, 8, 4)), table.sampler("train", shots=3, queries=20), tasks=50, open=False
    )
    assert math.isfinite(float(report.per_task["nll"].mean()))


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    path = schools(tmp_path)
    one, same, other = read(path), read(path), read(path, seed=1)
    assert one.digest == same.digest != other.digest
    path.write_text(path.read_text().replace("399,s9,1,", "399,s9,0,"))
    assert read(path).digest != one.digest


# Of the readers before this one, so that published figures hold.
DIGESTS = {
    "storms": "19a1ba6f8c2c74a8",
    "nyc_weather": "6a401a73e997cf22",
    "parkinsons": "3a75e11c5644ac06",
    "ChickWeight": "79890b8d829ef082",
    "Oxboys": "219a750ae3775aa0",
    "Loblolly": "5c6b4e5f39f0b22c",
    "Theoph": "9289d45b435b6f0e",
    "Exam": "5b31f518e4499da4",
    "Hsb82": "91461a8da3ff31d2",
    "gapminder": "1756fc8c1ea93c78",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_real_families_are_what_they_were(data_root: Path, name: str) -> None:
    table, found = multitask(data_root, name), hashlib.sha256()
    for part in (table.x, table.y, table.sizes, table.center, table.scale, *table.splits.values()):
        found.update(str(part.dtype).encode() + str(tuple(part.shape)).encode() + part.contiguous().numpy().tobytes())
    found.update(json.dumps([table.names, table.inputs, table.targets, table.dropped, table.classifies]).encode())
    assert found.hexdigest()[:16] == DIGESTS[name]


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
    report = il.evaluate(il.learners.ExactGP("rbf", **known), sampler, tasks=50)
    tasks = sampler.draw(Generator().manual_seed(0), 50)
    assert report.per_task["mse"].mean() < 0.2 * float(tasks.query.y.square().mean())
    assert math.isfinite(report.value)
