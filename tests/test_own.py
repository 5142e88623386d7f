"""One's own data: every format that is read, what is inferred, what is refused, and pools for meta-training."""

from __future__ import annotations

import gzip
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_cli import Cli

import innerloop as il
from innerloop.data import OwnData, own_pools, read_own, registry
from innerloop.data.own.frames import is_number

SENTENCES = {"cat": ["it meows at night", "a small tiger purrs"], "dog": ["it barks at the post", "good boy, sit down"]}


def picture(path: Path, shade: int = 0, size: tuple[int, int] = (20, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade % 256, 50, 0)).save(path)


def sentences() -> pandas.DataFrame:
    rows = [(text, label) for label, texts in SENTENCES.items() for text in texts]
    return pandas.DataFrame(rows, columns=["text", "label"])


def the_sentences(own: OwnData) -> None:
    """What each of the formats below holds."""
    assert own.kind == "text"
    assert sorted(zip(own.X, own.y.tolist(), strict=True)) == sorted(zip(*sentences().T.values, strict=True))


def class_folder_of_texts(folder: Path) -> Path:
    for label, texts in SENTENCES.items():
        for number, text in enumerate(texts):
            (folder / label).mkdir(exist_ok=True)
            (folder / label / f"{number}.txt").write_text(text + "\n")
    return folder


def text_file_a_class(folder: Path) -> Path:
    for label, texts in SENTENCES.items():
        (folder / f"{label}.txt").write_text("\n\n".join(texts))
    (folder / "README.txt").write_text("cats and dogs")
    return folder


def table_of_text_files(folder: Path) -> Path:
    lines = ["file,label"]
    for label, texts in SENTENCES.items():
        for number, text in enumerate(texts):
            (folder / f"{label}{number}.txt").write_text(text)
            lines.append(f"{label}{number}.txt,{label}")
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder


def written(name: str, write: Callable[[Path], Any]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        write(folder / name)
        return folder / name

    return make


FORMATS: dict[str, Callable[[Path], Path]] = {
    "a folder of texts a class": class_folder_of_texts,
    "a text file a class": text_file_a_class,
    "texts and a table": table_of_text_files,
    "csv": written("a.csv", lambda path: sentences().to_csv(path, index=False)),
    "csv with row numbers": written("a.csv", lambda path: sentences().to_csv(path)),
    "csv with a byte order mark": written(
        "a.csv", lambda path: sentences().to_csv(path, index=False, encoding="utf-8-sig")
    ),
    "csv with semicolons": written("a.csv", lambda path: sentences().to_csv(path, index=False, sep=";")),
    "csv without known names": written(
        "a.csv", lambda path: sentences().set_axis(["phrases", "animal"], axis=1).to_csv(path, index=False)
    ),
    "gzip": written("a.csv.gz", lambda path: path.write_bytes(gzip.compress(sentences().to_csv(index=False).encode()))),
    "tsv": written("a.tsv", lambda path: sentences().to_csv(path, index=False, sep="\t")),
    "parquet": written("a.parquet", lambda path: sentences().to_parquet(path)),
    "parquet by another name": written("a.csv", lambda path: sentences().to_parquet(path)),
    "excel": written("a.xlsx", lambda path: sentences().to_excel(path, index=False)),
    "json lines": written("a.jsonl", lambda path: sentences().to_json(path, orient="records", lines=True)),
    "json": written("a.json", lambda path: sentences().to_json(path, orient="records")),
    "json by class": written("a.json", lambda path: path.write_text(json.dumps(SENTENCES))),
    "json by split": written(
        "a.json", lambda path: path.write_text(json.dumps({"train": sentences().values.tolist()[:3],
                                                           "test": sentences().values.tolist()[3:]}))
    ),
    "lines of label and sentence": written(
        "a.txt", lambda path: path.write_text("".join(f"{y}\t{x}\n" for x, y in sentences().values.tolist()))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_sentences_come_from_every_format(name: str, tmp_path: Path) -> None:
    the_sentences(read_own(FORMATS[name](tmp_path)))


def test_frames_and_data_sets_are_read_as_files_are() -> None:
    import datasets
    import polars

    the_sentences(read_own(sentences()))
    the_sentences(read_own(polars.from_pandas(sentences())))
    the_sentences(read_own(list(map(tuple, sentences().values.tolist()))))
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["cat", "dog"])})
    numbered = sentences().assign(label=[0, 0, 1, 1])
    whole = datasets.Dataset.from_pandas(numbered, features=features, preserve_index=False)
    the_sentences(read_own(whole))
    parts = datasets.DatasetDict({"train": whole.select([0, 2]), "validation": whole.select([1, 3])})
    own = read_own(parts)
    the_sentences(own)
    assert [SENTENCES["cat"][1], SENTENCES["dog"][1]] == own.part("val").X


def test_a_folder_a_class_gives_paths_and_coarser_classes(tmp_path: Path) -> None:
    for place in ("fruit/apple/0.png", "fruit/apple/1.PNG", "fruit/pear/0.jpg", "milk/0.gif"):
        picture(tmp_path / "all" / place)
    (tmp_path / "all/milk/notes.md").write_text("from the shop")
    (tmp_path / "all/fruit/about.txt").write_text("of this summer")
    for folder in (tmp_path, tmp_path / "all"):
        own = read_own(folder)
        assert own.kind == "images"
        assert own.counts == {"fruit/apple": 2, "fruit/pear": 1, "milk": 1}
        assert own.X[0] == tmp_path / "all/fruit/apple/0.png"
        assert own.hierarchy == {"fruit/apple": ("fruit",), "fruit/pear": ("fruit",)}


def test_given_splits_are_kept(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        for label in ("cat", "dog"):
            picture(tmp_path / split / label / "0.png")
    own = read_own(tmp_path)
    assert own.classes == ["cat", "dog"]
    assert own.splits == ("test", "test", "train", "train", "val", "val")
    assert [tmp_path / "valid/cat/0.png", tmp_path / "valid/dog/0.png"] == own.part("val").X
    with pytest.raises(il.InputError, match="stand in several splits"):
        own_pools(own, by="given")


def test_what_lies_in_a_split_without_a_class_has_none(tmp_path: Path) -> None:
    for place in ("train/1/0.png", "train/2/0.png", "test/0.png", "test/1.png"):
        picture(tmp_path / place)
    own = read_own(tmp_path)
    assert own.y.tolist() == [None, None, "1", "2"]
    assert own.splits == ("test", "test", "train", "train")
    picture(tmp_path / "more" / "1" / "0.png")
    with pytest.raises(il.InputError, match="holds test, train beside more"):
        read_own(tmp_path)
    picture(tmp_path / "flat" / "train" / "0.png")
    picture(tmp_path / "flat" / "test" / "0.png")
    with pytest.raises(il.InputError, match="without classes"):
        read_own(tmp_path / "flat")
    # A class may be called so.
    picture(tmp_path / "flat" / "plane" / "0.png")
    assert read_own(tmp_path / "flat").classes == ["plane", "test", "train"]


def test_sheets_have_empty_rows_and_columns(tmp_path: Path) -> None:
    rows = [
        [None, None, None, None],
        ["size", None, "label", None],
        [1, None, "a", None],
        [None] * 4,
        [2, None, "b", None],
    ]
    pandas.DataFrame(rows).to_excel(tmp_path / "a.xlsx", index=False, header=False)
    own = read_own(tmp_path / "a.xlsx")
    assert own.X["size"].tolist() == [1, 2]
    assert own.y.tolist() == ["a", "b"]


def test_pictures_beside_a_table_of_labels(tmp_path: Path) -> None:
    for number in range(4):
        picture(tmp_path / "shots" / f"img{number}.png", 60 * number)
    rows = ["shot,kind,area", "img0,cat,pet", "img1,dog,pet", "img2,,", "img3,oak,tree"]
    (tmp_path / "sheet.csv").write_text("\n".join(rows))
    with pytest.raises(il.InputError, match=r"not clear: say label=, one of 'shot' .*'kind'"):
        read_own(tmp_path)
    own = read_own(tmp_path, label="kind")
    assert own.kind == "images"
    assert [tmp_path / "shots" / f"img{number}.png" for number in range(4)] == own.X
    assert own.y.tolist() == ["cat", "dog", None, "oak"]
    assert own.unlabeled == 1
    assert own.hierarchy == {"cat": ("pet",), "dog": ("pet",), "oak": ("tree",)}
    assert own.labeled().y.dtype.kind == "U"
    with (tmp_path / "sheet.csv").open("a") as file:
        file.write("\nimg9,cat,pet")
    with pytest.raises(il.InputError, match=r"1 of 5 rows .* files that are not there \(the first: img9\)"):
        read_own(tmp_path, label="kind")
    assert read_own(tmp_path, label="kind", absent="drop").absent == ("img9",)


def test_labels_are_numbers_words_or_reals() -> None:
    def labels(*texts: str) -> list[Any]:
        frame = pandas.DataFrame({"a": np.arange(len(texts)) / 3, "label": texts})
        return read_own(frame).y.tolist()

    assert labels("1", "2", "1") == [1, 2, 1]
    assert labels("1.0", "2.0", "") == [1, 2, None]
    assert labels("1.5", "2", "1") == [1.5, 2.0, 1.0]
    assert labels("007", "7", "1") == ["007", "7", "1"]
    # A kind of thing that is called so is no missing value.
    assert labels("None", "NA", "nan") == ["None", "NA", "nan"]


def test_a_table_has_numbers_and_categories(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,height,color,species\n1,1.5,red,a\n2,?,blue,b\n3,2.5,,a\n")
    with pytest.raises(il.InputError, match="say label="):
        read_own(tmp_path / "a.csv")
    own = read_own(tmp_path / "a.csv", label="species")
    assert own.kind == "table"
    assert list(own.X.columns) == ["height", "color"]
    np.testing.assert_array_equal(own.X["height"], [1.5, np.nan, 2.5])
    assert own.X["color"].tolist() == ["red", "blue", None]
    assert read_own(tmp_path / "a.csv", label="species", inputs=["id", "height"]).X["id"].tolist() == [1, 2, 3]


def test_a_file_without_a_header_is_not_beheaded(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1.5,2,x\n1.6,3,y\n")
    with pytest.raises(il.InputError, match="'column 3' "):
        read_own(tmp_path / "a.csv")
    own = read_own(tmp_path / "a.csv", label="column 3")
    assert own.X.to_numpy().tolist() == [[1.5, 2], [1.6, 3]]
    assert len(read_own(tmp_path / "a.csv", label="x", header=True)) == 1


def test_arrays_are_read(tmp_path: Path) -> None:
    X, y = np.arange(12.0).reshape(6, 2), np.array([0, 1, 2] * 2)
    np.savez(tmp_path / "both.npz", X=X, y=y)
    np.savez(tmp_path / "parts.npz", x_train=X[:4], y_train=y[:4], x_test=X[4:], y_test=y[4:])
    (tmp_path / "pair").mkdir()
    np.save(tmp_path / "pair/X.npy", X)
    np.save(tmp_path / "pair/y.npy", y)
    for path in ("both.npz", "pair", "pair/X.npy"):
        own = read_own(tmp_path / path)
        assert own.kind == "vectors"
        np.testing.assert_array_equal(own.X, X)
        np.testing.assert_array_equal(own.y, y)
    own = read_own(tmp_path / "parts.npz")
    np.testing.assert_array_equal(own.part("train").X, X[:4])
    np.testing.assert_array_equal(own.part("test").y, y[4:])
    with pytest.raises(il.InputError, match="no split 'val'"):
        own.part("val")
    np.savez(tmp_path / "one.npz", X=X, y=np.array(3))
    with pytest.raises(il.InputError, match=r"X has 6 rows and y the shape \(\)"):
        read_own(tmp_path / "one.npz")
    np.savez(tmp_path / "objects.npz", X=np.array([None, {}]), y=y)
    with pytest.raises(il.InputError, match="no NumPy archive of plain numbers"):
        read_own(tmp_path / "objects.npz")


def test_a_torch_data_set_is_read() -> None:
    own = read_own(torch.utils.data.TensorDataset(torch.rand(4, 3), torch.tensor([0, 1, 1, 0])))
    assert own.kind == "vectors"
    assert own.X.shape == (4, 3)
    assert own.y.tolist() == [0, 1, 1, 0]
    shown = [(Image.new("L", (9, 9), 40 * number), number % 2) for number in range(4)]
    own = read_own(shown)
    assert own.kind == "images"
    assert own_pools(own, size=9, channels=1, shares=(0.5, 0, 0.5)).train.shape == (1, 9, 9)
    with pytest.raises(il.InputError, match="item 1 of the data set is text, the first images"):
        read_own([shown[0], ("a word", 1)])


REFUSED: dict[str, tuple[dict[str, bytes], str]] = {
    "an empty folder": ({}, "holds nothing to learn from"),
    "an empty table": ({"a.csv": b""}, "a.csv is empty"),
    "a header alone": ({"a.csv": b"text,label\n"}, "a header and no row"),
    "a column twice": ({"a.csv": b"text,label,text\na,b,c\n"}, "2 columns 'text'"),
    "a ragged line": ({"a.csv": b"text,label\na,b,c\n"}, "line 2 of a.csv has 3 fields"),
    "a short line": ({"a.csv": b"text,label\na\n"}, "line 2 of a.csv has 1 field"),
    "another encoding": ({"a.csv": "text,label\ncafé au lait,b\n".encode("latin-1")}, "encoding='latin-1'"),
    "two labels": ({"a.csv": b"text,label,intent\na,b,c\na,c,c\n"}, r"2 columns that may be the label \(label, int"),
    "an empty sentence": ({"a.csv": b"text,label\na b c,x\n,y\n"}, r"1 of 2 rows of a.csv have no text .*row 2"),
    "words among numbers": (
        {"a.csv": b"size,label\n1,a\n2,b\n3,a\nbig,b\n"}, r"column 'size' holds 3 numbers and 1 words",
    ),
    "sentences and numbers": (
        {"a.csv": b"text,size,label\na b c,1,x\nd e f,2,y\n"}, r"say inputs='text' .*inputs=\['size'\]",
    ),
    "no labels": ({"a.txt": b"one line\nand another\n"}, "LABEL<TAB>SENTENCE"),
    "an empty class": ({"a.txt": b"one\n", "b.txt": b"\n"}, "b.txt is empty"),
    "two tables": ({"a.csv": b"text,label\n", "b.csv": b"text,label\n"}, "holds 2 tables"),
    "an old workbook": ({"a.xls": b"\xd0\xcf\x11\xe0", "a.csv": b"\xd0\xcf\x11\xe0" * 9}, "Excel file of before 2007"),
    "a workbook that is none": ({"a.xlsx": b"PK\x03\x04 and so on"}, "no Excel file, or damaged"),
    "a cut parquet": ({"a.parquet": b"PAR1 and so on"}, "no Parquet file, or damaged"),
    "a picture as a table": ({"a.csv": b"\x89PNG\r\n\x1a\n0000"}, "is a PNG picture"),
    "broken json": ({"a.jsonl": b'{"text": "a", "label": 1}\n{"text": '}, "no JSON .line 2"),
    "deep json": ({"a.json": b"[" * 100_000}, "a.json"),
    "nested json": ({"a.json": b'[{"text": {"de": "x"}, "label": 1}]'}, "'text' in row 1 of a.json is nested"),
    "a cut archive": ({"a.npz": b"PK\x03\x04"}, "a.npz"),
    "a picture of a phone": ({"cat/a.heic": b"0", "dog/a.png": b"0"}, "save it as PNG or JPEG"),
    "pictures without classes": ({"a.png": b"0", "b.png": b"0"}, "labels.csv with the columns file and label"),
    "a stray picture": ({"cat/a.png": b"0", "dog/a.png": b"0", "b.png": b"0"}, "b.png lies in no folder of a class"),
    "texts and pictures": ({"cat/a.png": b"0", "dog/a.txt": b"it barks"}, "texts and other folders pictures"),
    "two tables of files": (
        {"a.png": b"0", "x.csv": b"file,label\na.png,1\n", "y.csv": b"file,label\na.png,2\n"},
        "2 tables that name its files",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused_by_name(name: str, tmp_path: Path) -> None:
    files, says = REFUSED[name]
    for path, content in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    with pytest.raises(il.InputError, match=says):
        read_own(tmp_path if len(files) != 1 or "/" in next(iter(files)) else tmp_path / next(iter(files)))


def test_what_is_not_there_or_no_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(il.InputError, match="there is no file"):
        read_own(tmp_path / "nothing.csv")
    with pytest.raises(il.InputError, match="a int is no data"):
        read_own(3)
    sentences().to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(il.InputError, match=r"no column 'labl' \(did you mean label\?\)"):
        read_own(tmp_path / "a.csv", label="labl")
    with pytest.raises(il.InputError, match="leave it out of inputs"):
        read_own(tmp_path / "a.csv", inputs="label", label="label")


def test_a_stated_encoding_is_used(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text,label\ncafé au lait,b\nun thé noir,a\n".encode("latin-1"))
    assert read_own(tmp_path / "a.csv", encoding="latin-1").X[0] == "café au lait"


def test_a_stated_encoding_is_that_of_text_files_too(tmp_path: Path) -> None:
    for name, text in (("a", "café au lait"), ("b", "thé noir")):
        (tmp_path / f"{name}.txt").write_bytes(text.encode("latin-1"))
    with pytest.raises(il.InputError, match=r"a\.txt is not utf-8"):
        read_own(tmp_path)
    assert read_own(tmp_path, encoding="latin-1").X == ["café au lait", "thé noir"]


@pytest.mark.parametrize("module", ["pandas", "openpyxl", "pyarrow"])
def test_a_missing_extra_is_named_by_its_command(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, write = {
        "pandas": ("a.csv", lambda path: sentences().to_csv(path, index=False)),
        "openpyxl": ("a.xlsx", lambda path: sentences().to_excel(path, index=False)),
        "pyarrow": ("a.parquet", lambda path: sentences().to_parquet(path)),
    }[module]
    write(tmp_path / name)
    for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(il.InputError, match=r"pip install 'innerloop\[tables\]'"):
        read_own(tmp_path / name)


def test_pictures_of_a_hugging_face_data_set() -> None:
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["dark", "light"])})
    shown = [Image.new("RGB", (6, 4), (shade, 0, 0)) for shade in (0, 250)]
    own = read_own(datasets.Dataset.from_dict({"image": shown, "label": [0, -1]}, features=features))
    assert own.kind == "images"
    assert [picture.getpixel((0, 0)) for picture in own.X] == [(0, 0, 0), (250, 0, 0)]
    assert own.y.tolist() == ["dark", None]


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=8)


@given(st.lists(st.tuples(st.lists(WORDS, min_size=1, max_size=5).map(" ".join), WORDS), min_size=1, max_size=8),
       st.sampled_from([",", ";", "\t", "|"]))  # fmt: skip
def test_a_csv_file_gives_back_what_was_written(rows: list[tuple[str, str]], delimiter: str) -> None:
    """Whatever words it holds: quotes, delimiters, numbers, words for missing."""
    file = Path(tempfile.mkdtemp()) / "a.csv"
    pandas.DataFrame(rows, columns=["text", "label"]).to_csv(file, index=False, sep=delimiter)
    if any(is_number(text) for text, _ in rows):
        # A column of numbers is a table's, and with words among them refused.
        return
    own = read_own(file, inputs="text")
    if own.kind == "text":
        assert [text for text, _ in rows] == own.X
    assert [str(label) for label in own.y] == [label for _, label in rows] or own.y.dtype.kind in "if"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    picture(tmp_path / "cat/0.png")
    picture(tmp_path / "dog/0.png")
    os.mkfifo(tmp_path / "dog/1.png")
    os.mkfifo(tmp_path / "a.csv")
    assert len(read_own(tmp_path)) == 2
    assert il.Pool.from_folder(tmp_path, size=4).examples == 2
    with pytest.raises(il.InputError, match="is a pipe or a device"):
        read_own(tmp_path / "a.csv")


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no symbolic links here")
def test_folders_that_link_in_a_circle_are_read_once(tmp_path: Path) -> None:
    picture(tmp_path / "cat/0.png")
    picture(tmp_path / "dog/0.png")
    (tmp_path / "cat/itself").symlink_to("itself")
    (tmp_path / "cat/round").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dog/gone.png").symlink_to("nothing")
    assert read_own(tmp_path).counts == {"cat": 1, "dog": 2}
    (damaged,) = [finding for finding in il.data.check(tmp_path).findings if finding.what == "damaged"]
    assert damaged.where == ("dog/gone.png",)


def test_what_is_not_read_is_said() -> None:
    frame = sentences().assign(area=["pet", "pet", "pet", "wild"])
    assert read_own(frame, inputs="text").notes == ()
    with pytest.raises(il.InputError, match="sentences in 'text' beside 'area'"):
        read_own(frame)
    codes = pandas.DataFrame({"smiles": ["CCO", "CCN", "c1ccccc1"], "toxic": [0, 1, 1], "weight": [1.0, 2.0, 3.0]})
    own = read_own(codes, label="toxic", inputs="smiles")
    assert (own.kind, own.X, own.notes) == ("text", ["CCO", "CCN", "c1ccccc1"], ())


def test_pools_split_classes(tmp_path: Path) -> None:
    X = np.arange(40.0).reshape(20, 2)
    frame = pandas.DataFrame(X, columns=["a", "b"]).assign(
        label=np.repeat([f"c{i}" for i in range(10)], 2), shop=np.repeat(["x", "y", "z", "u", "v"], 4)
    )
    own = read_own(frame, group="shop", inputs=["a", "b"])
    pools = own_pools(own, by="group", seed=3)
    assert [pool.classes for pool in (pools.train, pools.val, pools.test)] == [6, 2, 2]
    for pool in (pools.train, pools.val, pools.test):
        shops = {int(name[1:]) // 2 for name in pool.names}
        assert pool.classes == 2 * len(shops)
    assert own_pools(own).train.x.mean().abs() < 1e-6
    with pytest.raises(il.InputError, match="has no coarser classes"):
        own_pools(own, by="coarse")
    with pytest.raises(il.InputError, match="leaves none for val, test"):
        own_pools(read_own([([1.0, 2.0], "a"), ([2.0, 1.0], "a")]))


def test_sentences_become_pools_by_an_encoder() -> None:
    own = read_own([(f"{'x' * (i + 1)} y z", str(i // 2)) for i in range(12)])
    with pytest.raises(il.InputError, match="encoder="):
        own_pools(own)
    pools = own_pools(own, encoder=lambda X: [[float(len(text)), 1.0] for text in X])
    assert pools.train.shape == (2,)
    assert sorted(torch.cat((pools.train.x, pools.val.x, pools.test.x))[:, 0].tolist()) == [5.0 + i for i in range(12)]


def test_many_tasks_of_a_table_are_tasks_and_of_others_classes_of_their_own(tmp_path: Path) -> None:
    rows = [f"{t},{i},{i % 2}" for t in range(10) for i in range(6)]
    (tmp_path / "a.csv").write_text("task,size,label\n" + "\n".join(rows))
    source = registry.read("own_table", tmp_path / "a.csv")
    assert isinstance(source, il.data.TableTasks)
    assert source.classifies
    assert len(source.names) == 10
    own = read_own(pandas.DataFrame({"text": [f"word {i} of it" for i in range(12)], "task": list("abcdef") * 2,
                                     "label": [0] * 6 + [1] * 6}))  # fmt: skip
    pools = own_pools(own, encoder=lambda X: [[float(len(text))] for text in X])
    assert {name for pool in (pools.train, pools.val, pools.test) for name in pool.names} == {
        f"{task}/{label}" for task in "abcdef" for label in (0, 1)
    }
    assert {name[0] for name in pools.train.names} & {name[0] for name in pools.test.names} == set()
    assert own.task("b").y.tolist() == [0, 1]


def test_real_data_are_taken_for_what_they_are(data_root: Path) -> None:
    own = read_own(data_root / "groceries")
    assert (own.kind, len(own), len(own.classes)) == ("images", 1944, 81)
    assert set(own.counts.values()) == {24}
    assert own.hierarchy["Granny-Smith"] == ("Apple",)
    own = read_own(data_root / "banking77")
    assert (own.kind, len(own.part("train")), len(own.part("test")), len(own.classes)) == ("text", 10003, 3080, 77)
    own = read_own(data_root / "clinc150" / "data_full.json")
    assert (len(own.part("test")), len(set(own.part("test").y)), set(own.part("oos_test").y)) == (4500, 150, {"oos"})
    own = read_own(data_root / "tabular_small" / "penguins.csv", label="sex")
    assert (own.kind, len(own), own.unlabeled, own.X["species"].nunique()) == ("table", 344, 11, 3)
    with pytest.raises(il.InputError, match="no arrays X and y"):
        read_own(data_root / "molecules" / "tox21" / "tox21_ecfp4_2048.npz")


def test_pictures_in_the_cells_of_a_parquet_file(tmp_path: Path) -> None:
    cells = []
    for shade in (0, 255):
        file = io.BytesIO()
        Image.new("RGB", (4, 4), (shade, 0, 0)).save(file, "PNG")
        cells.append({"bytes": file.getvalue(), "path": None})
    pandas.DataFrame({"image": cells, "label": ["a", "b"]}).to_parquet(tmp_path / "a.parquet")
    own = read_own(tmp_path / "a.parquet")
    assert own.kind == "images"
    assert [picture.getpixel((0, 0)) for picture in own.X] == [(0, 0, 0), (255, 0, 0)]


def test_a_learner_is_trained_on_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = Cli(monkeypatch, capsys)
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(rng.normal(size=(60, 3)), columns=["a", "b", "c"]).assign(kind=np.arange(60) // 3)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    words = ["train", "protonet", "--data", tmp_path / "rows.csv", "--steps", 1, "--quiet", "--ways", 3, "--shots", 1]
    words += ["--queries", 1, "--set", "validation.tasks=2", "--set", "validation.ways=3"]
    code, _, said = cli(*words, "--out", tmp_path / "run")
    assert code == 2
    assert "not clear: say label=" in said
    assert cli(*words, "--set", "pool.label=kind", "--out", tmp_path / "run")[0] == 0
    recipe = json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]
    assert (recipe["data"], recipe["root"]) == ("own_table", str(tmp_path / "rows.csv"))
    code, out, _ = cli("evaluate", tmp_path / "run", "--ways", 3, "--tasks", 2, "--json")
    assert code == 0
    assert json.loads(out)["tasks"] == 2
