"""A look at one's own data: what is found, what stops learning, and the command that says so."""

from __future__ import annotations

import json
import shlex
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_cli import Cli
from test_fuzz import snapshot

import innerloop as il
from innerloop.data import alike, check, own_pools, read_own, split_examples
from innerloop.data.own.likeness import hashes, near_pictures


def scene(seed: int, side: int = 64) -> Image.Image:
    """A picture that looks like no other one: smooth colors."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def folder(root: Path, classes: int = 3, each: int = 4) -> Path:
    for label in range(classes):
        (root / f"c{label}").mkdir(parents=True)
        for number in range(each):
            scene(100 * label + number).save(root / f"c{label}" / f"{number}.png")
    return root


def found(checked: Any) -> dict[str, Any]:
    """The findings by what they are; each occurs once here."""
    kinds = [finding.what for finding in checked.findings]
    assert len(kinds) == len(set(kinds))
    return {finding.what: finding for finding in checked.findings}


def test_clean_data_have_no_finding(tmp_path: Path) -> None:
    checked = check(folder(tmp_path))
    assert checked.findings == ()
    assert checked.usable
    assert checked.pictures["side"] == {"smallest": 64, "largest": 64}
    assert checked.json()["classes"] == {"c0": 4, "c1": 4, "c2": 4}


def test_damaged_pictures_and_bombs_are_named_and_stop(tmp_path: Path) -> None:
    root = folder(tmp_path)
    whole = (root / "c0/0.png").read_bytes()
    (root / "c0/cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "c1/text.jpg").write_text("no picture")
    (root / "c1/empty.png").write_bytes(b"")
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    (root / "c2/bomb.png").write_bytes(bomb + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))
    checked = check(root)
    damaged = found(checked)["damaged"]
    assert set(damaged.where) == {"c0/cut.png", "c1/text.jpg", "c1/empty.png", "c2/bomb.png"}
    assert damaged.stops
    assert not checked.usable


def test_copies_are_found_in_another_size_format_quality_and_brightness(tmp_path: Path) -> None:
    root = folder(tmp_path, classes=4)
    (root / "c0/copy.png").write_bytes((root / "c0/0.png").read_bytes())
    scene(0).resize((200, 150)).save(root / "c1/larger.jpg", quality=60)
    scene(200).point(lambda value: min(255, int(1.1 * value))).save(root / "c2/brighter.webp")
    scene(300).convert("L").save(root / "c3/gray.tif")
    checked = check(root)
    by_kind = found(checked)
    # The three of the first picture are one set of near-duplicates, of two classes; so the copy is one of the same.
    assert by_kind["duplicates"].where == ("c0/0.png = c0/copy.png",)
    assert by_kind["conflict"].where == ("c0/0.png = c0/copy.png = c1/larger.jpg",)
    assert set(by_kind["near"].where) == {"c2/0.png = c2/brighter.webp", "c3/0.png = c3/gray.tif"}
    assert checked.usable


def test_different_pictures_are_no_duplicates() -> None:
    grays = np.stack([np.asarray(scene(seed, 32).convert("L")) for seed in range(300)])
    assert near_pictures(grays) == []
    blank = np.concatenate((np.full((3, 32, 32), 255, np.uint8), np.zeros((1, 32, 32), np.uint8)))
    assert near_pictures(blank) == [(0, 1), (0, 2), (1, 2)]


@given(st.integers(0, 10_000), st.integers(0, 7), st.integers(0, 63))
def test_a_hash_finds_what_differs_in_few_bits(seed: int, bits: int, first: int) -> None:
    """Any seven bits leave one of eight parts of the hash as it was: no pair is missed that is close enough."""
    from innerloop.data.own import likeness

    code = np.random.default_rng(seed).integers(0, 2**63, dtype=np.uint64)
    other = code
    for bit in range(bits):
        other ^= np.uint64(1) << np.uint64((first + 9 * bit) % 64)
    parts = np.array_split(np.arange(64), likeness.BITS + 1)
    assert any(not int(code ^ other) & sum(1 << int(bit) for bit in part) for part in parts)


def test_the_hash_is_that_of_a_plain_cosine_transform() -> None:
    gray = np.asarray(scene(5, 32).convert("L"))
    place, wave = np.arange(32), np.arange(8)
    basis = np.cos(np.pi * (2 * place[None] + 1) * wave[:, None] / 64) * np.where(wave == 0, 0.5**0.5, 1)[:, None]
    low = (basis @ gray.astype(float) @ basis.T).ravel()
    bits = low > np.median(low[1:])
    bits[0] = False
    assert int(hashes(gray[None])[0]) == sum(1 << (63 - i) for i, bit in enumerate(bits) if bit)


def test_modes_animations_and_endings_are_said(tmp_path: Path) -> None:
    root = folder(tmp_path)
    scene(7).convert("RGBA").save(root / "c0/alpha.png")
    scene(8).convert("CMYK").save(root / "c0/print.jpg")
    Image.fromarray(np.linspace(0, 65535, 4096).astype(np.uint16).reshape(64, 64)).save(root / "c1/deep.png")
    scene(9).save(root / "c1/moving.gif", save_all=True, append_images=[scene(10)])
    scene(11).save(root / "c2/lies.png", "JPEG")
    scene(12, 16).save(root / "c2/tiny.bmp")
    checked = check(root)
    by_kind = found(checked)
    assert {name: one.where for name, one in by_kind.items()} == {
        "animated": ("c1/moving.gif",),
        "ending": ("c2/lies.png",),
        "tiny": ("c2/tiny.bmp",),
    }
    assert set(checked.pictures["modes"]) >= {"RGB", "RGBA", "CMYK", "I;16"}
    assert checked.usable


def test_sentences_are_compared_without_case_and_marks() -> None:
    rows = [("Where is it?", "a"), ("where is IT", "a"), ("Where is it", "b"), ("Over there", "b"), ("Over there", "b")]
    by_kind = found(check(rows))
    assert by_kind["conflict"].where == ("item 0 = item 1 = item 2",)
    assert by_kind["duplicates"].where == ("item 3 = item 4",)


def test_classes_that_are_one_by_another_spelling_are_said() -> None:
    rows = [("one of them", "Cat"), ("two of them", "cat "), ("three of them", "dog"), ("four of them", "c-at")]
    assert found(check(rows))["spelling"].where == ("'Cat' = 'cat '",)


def test_labels_that_look_like_amounts_are_said() -> None:
    def says(*labels: int) -> bool:
        return "amount" in found(check([([float(i), 1.0], label) for i, label in enumerate(labels)]))

    assert says(*range(0, 120, 3), *range(0, 120, 3))
    assert says(*range(40))
    assert not says(*(3 * list(range(40))))


def test_leaks_between_given_splits_are_found(tmp_path: Path) -> None:
    for split, seeds in (("train", (1, 2)), ("test", (2, 3))):
        for label in ("a", "b"):
            (tmp_path / split / label).mkdir(parents=True)
            for seed in seeds:
                scene(seed + 50 * (label == "b")).save(tmp_path / split / label / f"{seed}.png")
    leak = found(check(tmp_path))["leak"]
    assert leak.where == ("test/a/2.png = train/a/2.png", "test/b/2.png = train/b/2.png")


def test_tables_are_looked_at_by_column() -> None:
    frame = pandas.DataFrame(
        {
            "size": [1.0, 2.0, np.nan, 4.0, 1.0 + 1e-9, 6.0],
            "flat": [3.0] * 6,
            "customer": range(100, 106),
            "code": list("xyxyxy"),
            "label": [*"abab", None, "b"],
        }
    )
    by_kind = found(check(frame))
    assert by_kind["missing"].where == ("size",)
    assert by_kind["constant"].where == ("flat",)
    assert by_kind["tells"].where == ("code",)
    assert by_kind["counts"].where == ("customer",)
    assert by_kind["unlabeled"].where == ("row 5",)
    by_kind = found(check(frame.drop(columns="customer").assign(code="x")))
    assert by_kind["near"].where == ("row 1 = row 5",)


def test_what_stops_learning() -> None:
    rows: list[tuple[Any, Any]] = [([float(i), 1.0], "abc"[i % 3]) for i in range(7)]
    assert check(rows, shots=2).usable
    few = check(rows, shots=3)
    assert not few.usable
    assert found(few)["small"].where == ("b", "c")
    assert not check([(x, "a") for x, _ in rows]).usable
    assert not check([(x, i / 3) for i, (x, _) in enumerate(rows)]).usable
    assert found(check(rows[:3]))["small"].stops is False
    with pytest.raises(il.InputError, match="shots is 0"):
        check(rows, shots=0)


def test_near_duplicates_stay_on_one_side_of_every_split() -> None:
    rows = [(f"Sentence number {i // 2}{'!' * (i % 2)}", f"c{i // 8}") for i in range(80)]
    rows.append(("sentence NUMBER 0", "c9"))
    own = alike(read_own(rows))
    train, test = split_examples(own, 0.3, seed=1)
    assert len(train) + len(test) == len(own)
    assert set(train.groups or ()).isdisjoint(test.groups or ())
    assert set(test.classes) == set(train.classes)
    pools = own_pools(own, by="group", encoder=lambda X: [[float(len(text))] for text in X])
    (home,) = [pool for pool in (pools.train, pools.val, pools.test) if "c0" in pool.names]
    assert "c9" in home.names


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=4, max_size=40), st.floats(0.05, 0.9))
def test_examples_are_split_by_class_and_group(pairs: list[tuple[int, int]], share: float) -> None:
    own = read_own(pandas.DataFrame({"a": range(len(pairs)), "g": [f"g{g}" for _, g in pairs],
                                     "label": [label for label, _ in pairs]}), group="g", inputs="a")  # fmt: skip
    try:
        train, test = split_examples(own, share)
    except il.InputError:
        return
    assert sorted(train.X["a"].tolist() + test.X["a"].tolist()) == list(range(len(pairs)))
    assert set(train.groups or ()).isdisjoint(test.groups or ())
    assert train.classes == own.classes
    assert all(count <= max(1, round(share * own.counts[label])) for label, count in test.counts.items())


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_the_command_says_what_it_saw_and_what_is_next(cli: Cli, tmp_path: Path) -> None:
    root = folder(tmp_path / "my pictures")
    before = snapshot(tmp_path)
    code, out, err = cli("check", root)
    assert (code, err) == (0, "")
    assert "12 pictures" in out
    assert f"innerloop learn '{root}' --out TASK" in out
    code, out, _ = cli("check", root, "--json")
    said = json.loads(out)
    assert code == 0
    assert (said["kind"], said["examples"], said["usable"], said["findings"]) == ("images", 12, True, [])
    assert said["encoder"] == "photographs"
    code, out, _ = cli("check", root, "--shots", 5)
    assert code == 1
    assert "FAULT 3 classes have fewer than 5 examples" in out
    assert "innerloop learn" not in out
    assert json.loads(cli("check", root, "--shots", 5, "--json")[1])["next"] is None
    assert snapshot(tmp_path) == before


def test_the_next_command_is_one_that_works(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    kinds = np.arange(12) % 2
    rows = pandas.DataFrame({"long one": rng.normal(3 * kinds), "wide": rng.normal(kinds), "topic": kinds})
    rows.to_csv(tmp_path / "my rows.csv", index=False)
    monkeypatch.chdir(tmp_path)
    said = json.loads(cli("check", "my rows.csv", "--label", "topic", "--inputs", "long one", "--json")[1])
    _, *words = shlex.split(said["next"])
    assert cli(*words)[0] == 0
    assert il.load(tmp_path / "TASK").classes_.tolist() == [0, 1]


def test_the_command_takes_columns_as_the_reader_does(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("größe,art\n1,a\n2,b\n-9,b\n".encode("latin-1"))
    code, _, err = cli("check", tmp_path / "a.csv")
    assert code == 2
    assert "encoding='latin-1'" in err
    words = ("check", tmp_path / "a.csv", "--label", "art", "--missing", "-9", "--encoding", "latin-1")
    said = json.loads(cli(*words, "--json")[1])
    assert (said["columns"], said["classes"]) == (["größe"], {"a": 1, "b": 2})
    assert [finding["what"] for finding in said["findings"]] == ["small", "missing"]
    # What `learn` has no option for is read in Python.
    names: dict[str, Any] = {"il": il}
    exec(said["next"].partition(";")[0], names)
    assert names["own"].X["größe"].isna().tolist() == [False, False, True]
    (tmp_path / "b c.csv").write_text("größe,art\n1,a\n2,b\n")
    _, out, _ = cli("check", tmp_path / "b c.csv", "--label", "art", "--inputs", "größe")
    words = shlex.split(out.rpartition("next: ")[2])
    assert words == ["innerloop", "learn", str(tmp_path / "b c.csv"), "--label=art", "--inputs=größe", "--out", "TASK"]


def test_real_pictures_are_checked(data_root: Path) -> None:
    own = read_own(data_root / "groceries")
    some = own.take([place for place, label in enumerate(own.y) if label in ("Floury-Potato", "Lemon")])
    checked = check(some)
    near = found(checked)["near"]
    names = [f"images/Floury-Potato/test_Floury-Potato_{number}.jpg" for number in ("006", "016")]
    assert near.where == (" = ".join(names),)
    assert checked.pictures["formats"] == {"JPEG": 48}


def test_real_sentences_leak(data_root: Path) -> None:
    """Of the test sentences of banking77, six stand among its training sentences word for word."""
    checked = check(data_root / "banking77", shots=5)
    leaks = [finding for finding in checked.findings if finding.what == "leak"]
    assert [len(finding.where) for finding in leaks] == [6, 19]
    assert checked.usable
