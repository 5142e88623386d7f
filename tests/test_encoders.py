"""Encoders as scikit-learn transformers: what they take, what they take it for, and features once."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from torch import nn

import innerloop as il
from innerloop.encoders import Module, base, find
from innerloop.encoders.find import is_drawing
from innerloop.encoders.items import Picture, pictures, sentences
from innerloop.encoders.store import Memory


class Counted(nn.Module):
    """Means of a picture's quarters; and how many pictures were seen by any."""

    seen: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Counted.seen += len(x)
        return self.pool(x).flatten(1)


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Counted, "seen", 0)
    monkeypatch.setattr(base, "_MEMORY", Memory())


def squares(count: int, seed: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Pictures whose left half or right half is bright."""
    random = np.random.default_rng(seed)
    found, labels = [], []
    for number in range(count):
        picture = random.integers(0, 90, (16, 16, 3), dtype=np.uint8)
        side = "left" if number % 2 else "right"
        picture[:, slice(0, 8) if side == "left" else slice(8, 16)] += 150
        found.append(picture)
        labels.append(side)
    return found, labels


def test_every_way_to_give_a_picture_gives_the_same_features(tmp_path: Path) -> None:
    picture = squares(1)[0][0]
    path = tmp_path / "a.png"
    Image.fromarray(picture).save(path)
    first = torch.from_numpy(picture).permute(2, 0, 1)
    ways = [str(path), path, Image.fromarray(picture), picture, picture / 255.0, picture.astype(np.float32)]
    ways += [first, first.numpy(), first.float() / 255]
    made = Module(Counted(), size=16).transform(ways)
    np.testing.assert_allclose(made, np.broadcast_to(made[:1], made.shape), atol=1e-6)
    stacked = Module(Counted(), size=16).transform(np.stack([picture, picture]))
    np.testing.assert_array_equal(stacked[0], made[0])


def test_gray_pictures_masks_and_palettes_are_pictures() -> None:
    gray = np.full((9, 7), 255, np.uint8)
    palette = Image.fromarray(gray).convert("P")
    made = Module(Counted(), size=8).transform([gray, gray > 0, palette, gray[..., None], np.ones((9, 7))])
    np.testing.assert_allclose(made, 1.0, atol=1e-6)


def test_features_are_computed_once_by_content(tmp_path: Path) -> None:
    given, _ = squares(5)
    net = Counted()
    encoder = Module(net, size=16)
    before = encoder.transform(given + given[:2])
    assert Counted.seen == 5
    np.testing.assert_array_equal(before[5:], before[:2])
    Image.fromarray(given[0]).save(tmp_path / "same.png")
    encoder.transform(given[::-1])
    clone(encoder).transform(given)
    assert Counted.seen == 5
    # Other weights or options are another encoder.
    Module(net, size=12).transform(given)
    assert Counted.seen == 10


def test_features_are_kept_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, _ = squares(4, seed=1)
    net = Counted()
    made = Module(net, size=16, cache=tmp_path).transform(given)
    monkeypatch.setattr(base, "_MEMORY", Memory())
    again = Module(net, size=16, cache=tmp_path).transform(given)
    assert Counted.seen == 4
    np.testing.assert_array_equal(made, again)
    with sqlite3.connect(tmp_path / "features.sqlite") as database:
        assert database.execute("SELECT count(*) FROM features").fetchone() == (4,)
    database.close()
    (tmp_path / "features.sqlite").write_bytes(b"no database at all, but a file of bytes" * 9)
    with pytest.raises(il.InputError, match=r"cannot be kept in .*features.sqlite"):
        Module(net, size=14, cache=tmp_path).transform(given)


def test_memory_gives_way_to_the_latest() -> None:
    memory = Memory(limit=8 * 4 * 3)
    for number in range(5):
        memory.put({bytes([number]): np.full(8, number, np.float32)})
        assert memory.get(b"\0") is not None or number > 2
    assert [memory.get(bytes([number])) is not None for number in range(5)] == [True, False, False, True, True]


def test_it_stands_in_a_pipeline() -> None:
    given, labels = squares(12)
    whole = np.stack(given)
    model = make_pipeline(Module(Counted(), size=16), LogisticRegression())
    assert cross_val_score(model, whole, labels, cv=3).mean() == 1.0
    assert list(Module(Counted(), size=16).get_feature_names_out()) == ["module0", "module1", "module2"] + [
        f"module{number}" for number in range(3, 12)
    ]


def test_a_classifier_of_pictures_by_ones_own_network(tmp_path: Path) -> None:
    given, labels = squares(8)
    few = il.FewShotClassifier(Module(Counted(), size=16)).fit(given[:6], labels[:6])
    assert few.encoder_ == "module"
    assert list(few.predict(given[6:])) == labels[6:]
    few.partial_fit([np.zeros((16, 16, 3), np.uint8)] * 2, ["dark", "dark"])
    assert list(few.classes_) == ["dark", "left", "right"]
    again = il.load(few.save(tmp_path / "task"))
    np.testing.assert_array_equal(again.predict_proba(given), few.predict_proba(given))
    assert list(again.predict([np.zeros((16, 16, 3), np.uint8)])) == ["dark"]
    assert list(again.forget("dark").classes_) == ["left", "right"]


def test_names_are_paths(tmp_path: Path) -> None:
    given, labels = squares(4)
    paths = []
    for number, picture in enumerate(given):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(picture).save(paths[-1])
    few = il.FewShotClassifier(Module(Counted(), size=16)).fit(paths, labels)
    assert list(few.names_) == list(map(str, paths))


@pytest.mark.parametrize(
    ("X", "name"),
    [
        (np.zeros((3, 4)), "features"),
        ([[1.0, 2.0]], "features"),
        (torch.zeros(2, 3), "features"),
    ],
)
def test_numbers_are_features(X: object, name: str) -> None:
    assert find("auto", X).name == name
    assert find("auto", X).encoder is None


def test_frames_are_tables() -> None:
    pandas = pytest.importorskip("pandas")
    assert find("auto", pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]})).name == "table"


def test_drawings_and_photographs_are_told_apart(tmp_path: Path) -> None:
    drawn = np.full((60, 60), 255, np.uint8)
    drawn[10:50, 28:32] = 20
    random = np.random.default_rng(0)
    colored = random.integers(0, 255, (60, 60, 3), dtype=np.uint8)
    gray = np.broadcast_to(np.linspace(0, 255, 60), (60, 60)).astype(np.uint8)
    looks = [is_drawing(Picture(picture, "it")) for picture in (drawn, 255 - drawn, drawn > 99, colored, gray)]
    assert looks == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (["a sentence", "cat.jpg"], "row 0 is a text, row 1 is a path"),
        ([Image.new("L", (3, 3)), "two words"], "row 0 is a picture, row 1 is a text"),
    ],
)
def test_mixed_kinds_are_refused(X: list[object], words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        find("auto", X)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (np.zeros((4, 4)), r"shape \(4, 4\)"),
        ([np.zeros((2, 3, 4, 5))], r"picture 0 has shape \(2, 3, 4, 5\)"),
        ([np.zeros((5, 5, 2))], r"picture 0 has shape \(5, 5, 2\)"),
        ([np.full((5, 5), -1.0)], "pixels from -1 to -1"),
        ([np.full((5, 5), np.nan)], "pixels from nan"),
        ([np.zeros((0, 5))], r"shape \(0, 5\)"),
        (["nowhere.png"], "nowhere.png cannot be read"),
        ([3.5], "row 0 is a float"),
        ("cat.png", "X is one str"),
        ([], "X is empty"),
    ],
)
def test_what_is_no_picture_is_refused(X: object, words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        Module(Counted(), size=8).transform(X)


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(squares(1)[0][0]).save(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(il.InputError, match=r"cut\.png is not a readable image"):
        Module(Counted(), size=8).transform([path])


@pytest.mark.parametrize(
    ("X", "words"),
    [(["fine", ""], "row 1 is empty"), (["fine", 3], "row 1 is 3, of type int"), ([None], "row 0 is None")],
)
def test_what_is_no_sentence_is_refused(X: list[object], words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        sentences(X)


def test_pictures_of_a_column() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"file": ["a.png", "b.png"]})
    assert [picture.name for picture in pictures(frame)] == ["a.png", "b.png"]
    with pytest.raises(il.InputError, match="2 columns"):
        pictures(pandas.DataFrame({"file": ["a.png"], "other": ["b.png"]}))


def test_an_unknown_encoder_is_refused() -> None:
    with pytest.raises(il.InputError, match=r"encoder 'leters' is unknown.*letters"):
        il.FewShotClassifier("leters").fit([[1.0], [2.0]], [0, 1])
    with pytest.raises(il.InputError, match="give 'auto', a name"):
        find(3, [[1.0]])  # type: ignore[arg-type]


def test_other_weights_than_it_was_made_with_are_refused(tmp_path: Path) -> None:
    given, labels = squares(4)
    few = il.FewShotClassifier(Module(Counted(), size=16)).fit(given, labels)
    bundle = il.bundle.read(few.save(tmp_path / "task"))
    bundle.state["encoder"]["fingerprint"] = "0" * 64
    with pytest.raises(il.InputError, match="other weights of the encoder 'module'"):
        il.FewShotClassifier.from_bundle(bundle)


def test_an_encoder_that_could_not_be_found_again_is_not_kept(tmp_path: Path) -> None:
    class Other(Module):
        name = "other"

    given, labels = squares(4)
    few = il.FewShotClassifier(Other(Counted(), size=16)).fit(given, labels)
    with pytest.raises(il.InputError, match="no encoder of the library"):
        few.save(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_frame_of_numbers_without_names_is_an_array() -> None:
    pandas = pytest.importorskip("pandas")
    array = np.arange(6.0).reshape(3, 2)
    assert find("auto", pandas.DataFrame(array)).name == "features"
    assert find("auto", pandas.DataFrame(array, columns=["a", "b"])).name == "table"
    array[0, 0] = np.nan
    assert find("auto", pandas.DataFrame(array)).name == "table"
