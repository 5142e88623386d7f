"""Images from files: every mode as a viewer shows it, folders as people have them, and what is refused."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import innerloop as il
from innerloop.data import Pool, class_folders, folder, read_image, write_images
from innerloop.data.images import image_tensor

#: A gray ramp, light to dark, of 6 rows and 8 columns.
RAMP = np.rint(np.linspace(250, 5, 48)).astype(np.uint8).reshape(6, 8)
GRAYS: dict[str, tuple[Image.Image, str]] = {
    "L": (Image.fromarray(RAMP), "PNG"),
    "RGB": (Image.fromarray(RAMP).convert("RGB"), "PNG"),
    "RGBA": (Image.fromarray(RAMP).convert("RGBA"), "PNG"),
    "LA": (Image.fromarray(RAMP).convert("LA"), "PNG"),
    "P": (Image.fromarray(RAMP).convert("P"), "PNG"),
    "GIF": (Image.fromarray(RAMP), "GIF"),
    "CMYK": (Image.fromarray(RAMP).convert("RGB").convert("CMYK"), "TIFF"),
    "YCbCr": (Image.fromarray(RAMP).convert("RGB").convert("YCbCr"), "TIFF"),
    "I;16": (Image.fromarray(RAMP.astype(np.uint16) * 257), "PNG"),
    "I;16 TIFF": (Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF"),
    "I;16B": (Image.frombytes("I;16B", (8, 6), (RAMP.astype(">u2") * 257).tobytes()), "TIFF"),
    "I of 8 bits": (Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
    "I of 16 bits": (Image.fromarray(RAMP.astype(np.int32) * 257), "TIFF"),
    "I of 32 bits": (Image.fromarray(((RAMP / 255) * (2**31 - 1)).astype(np.int32)), "TIFF"),
    "F to 1": (Image.fromarray((RAMP / 255).astype(np.float32)), "TIFF"),
    "F to 255": (Image.fromarray(RAMP.astype(np.float32)), "TIFF"),
    "F to 65535": (Image.fromarray(RAMP.astype(np.float32) * 257), "TIFF"),
}


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


@pytest.mark.parametrize("kind", GRAYS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_is_read_as_it_looks(kind: str, channels: int) -> None:
    image, file = GRAYS[kind]
    found = read_image(saved(image, file), channels=channels)
    assert (found.dtype, tuple(found.shape)) == (torch.uint8, (channels, 6, 8))
    assert (found.int() - torch.from_numpy(RAMP).int()).abs().max() <= 1
    assert torch.equal(image_tensor(image, channels=channels), found)


def test_one_bit_and_colors() -> None:
    bits = RAMP > 128
    assert torch.equal(read_image(saved(Image.fromarray(bits)), channels=1)[0] == 255, torch.from_numpy(bits))
    assert read_image(saved(Image.new("RGB", (3, 2), (10, 20, 30))))[:, 1, 1].tolist() == [10, 20, 30]
    assert image_tensor(Image.new("HSV", (3, 2), (0, 255, 255)))[:, 0, 0].tolist() == [255, 0, 0]
    for channels in (1, 3):
        assert image_tensor(Image.new("LAB", (3, 2), (255, 128, 128)), channels=channels).min() >= 254


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA", "RGB", "L", "I;16", "RGBa", "La"])
def test_what_is_transparent_stands_on_white(mode: str) -> None:
    """Whatever color hides below: full, half (where a mode has it), and by a single transparent color."""
    clear: dict[str, object] = {}
    if mode in ("RGB", "L", "I;16"):
        black = {"RGB": (0, 0, 0), "L": 0, "I;16": 0}[mode]
        image, clear = Image.new(mode, (4, 4), black), {"transparency": black}
    elif mode == "P":
        image, clear = Image.new("P", (4, 4)), {"transparency": 0}
        image.putpalette([0, 0, 0] * 256)
    else:
        full = {"RGBa": "RGBA", "La": "LA", "PA": "RGBA"}.get(mode, mode)
        image = Image.new(full, (4, 4), (0,) * len(full))
        image = image.convert(mode) if full != mode else image
    found = image_tensor(image) if mode in ("RGBa", "La", "PA") else read_image(saved(image, **clear))
    assert found.unique().tolist() == [255]
    half = read_image(saved(Image.new("RGBA", (2, 2), (0, 0, 0, 127))))
    assert set(half.unique().tolist()) <= {127, 128}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_camera_said(orientation: int) -> None:
    """The upright ramp, stored turned, with the tag that turns it back."""
    upright = Image.fromarray(RAMP)
    stored = {
        1: upright, 2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180), 4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE), 6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE), 8: upright.transpose(Image.Transpose.ROTATE_270),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert torch.equal(read_image(saved(stored, exif=exif), channels=1)[0], torch.from_numpy(RAMP))


def test_sizes() -> None:
    """Squashed as Pillow does it, or cropped from the middle; its own size by default."""
    image = Image.fromarray(RAMP)
    squashed = np.asarray(image.resize((5, 5), Image.Resampling.LANCZOS))
    assert torch.equal(read_image(saved(image), size=5, channels=1)[0], torch.from_numpy(squashed.copy()))
    stripes = Image.new("L", (12, 4))
    stripes.paste(200, (4, 0, 8, 4))
    assert read_image(saved(stripes), size=4, channels=1, fit="crop").unique().tolist() == [200]
    assert read_image(saved(stripes.rotate(90, expand=True)), size=4, channels=1, fit="crop").unique().tolist() == [200]
    for options, message in (
        ({"channels": 2}, "channels is 2; it must be 1 or 3"),
        ({"size": 0}, "size is 0; it must be at least 1"),
        ({"fit": "pad"}, "'pad' is unknown"),
    ):
        with pytest.raises(il.InputError, match=message):
            read_image(saved(image), **options)


def test_of_an_animation_the_first_frame() -> None:
    frames = [Image.new("L", (4, 4), value) for value in (10, 200)]
    for kind in ("GIF", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        file = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert read_image(file, channels=1).unique().tolist() == [10]


def test_the_white_of_numbers() -> None:
    dark = Image.fromarray(np.full((2, 2), 100, np.int32))
    assert int(read_image(saved(dark, "TIFF"), channels=1)[0, 0, 0]) == 100
    assert int(read_image(saved(dark, "TIFF"), channels=1, white=1000)[0, 0, 0]) == 26
    for values, message in (
        (np.full((2, 2), -1, np.int32), "pixels from -1 to 0"),
        (np.full((2, 2), 5e9, np.float32), "from 0 to 5e"),
        (np.full((2, 2), np.nan, np.float32), "not finite"),
        (np.full((2, 2), -0.5, np.float32), "from -0.5 to 0"),
    ):
        with pytest.raises(il.InputError, match=message):
            read_image(saved(Image.fromarray(values), "TIFF"))
    with pytest.raises(il.InputError, match="from 0 to 100; they must lie between 0, black, and 50, white"):
        read_image(saved(dark, "TIFF"), white=50)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_cut_and_damaged_files_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    """Wherever a file is cut: an image or a refusal that names it, never another error."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), kind).getvalue()
    path = tmp_path / f"cut.{kind.lower()}"
    random = np.random.default_rng(1)
    cut = [data[:length] for length in [0, 1, 5, *range(10, len(data) - 8, max(1, len(data) // 25))]]
    broken = [bytearray(data) for _ in range(60)]
    for copy in broken:
        copy[int(random.integers(len(data)))] = int(random.integers(256))
    refused = []
    for damaged in (*cut, *broken):
        path.write_bytes(damaged)
        try:
            read_image(path)
        except il.InputError as error:
            refused.append(str(error))
    assert len(refused) >= 20
    assert all("cut." in message for message in refused)


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def test_bombs_are_refused_by_their_header(tmp_path: Path) -> None:
    for side in (11_000, 12_500, 60_000):
        path = tmp_path / "bomb.png"
        path.write_bytes(bomb(side, side))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(il.InputError, match=r"bomb\.png"):
                read_image(path)
    with pytest.raises(il.InputError, match="8x6 = 48 pixels, more than the limit of 47"):
        read_image(saved(Image.fromarray(RAMP)), limit=47)


def test_missing_files_folders_and_programs(tmp_path: Path) -> None:
    with pytest.raises(il.InputError, match=r"none\.png cannot be read \(No such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(il.InputError, match=r"cannot be read \(Is a directory"):
        read_image(tmp_path)
    (tmp_path / "script.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    with pytest.raises(il.InputError, match=r"script\.png is not a readable image"):
        read_image(tmp_path / "script.png")


def draw(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (5, 4), value).save(path)


def messy(root: Path) -> Path:
    """A folder as people have it."""
    for name in ("crow/a.png", "crow/B.PNG", "birds/owl/a.png", "crow/.hidden.png", ".ipynb_checkpoints/a.png"):
        draw(root / name)
    draw(root / "crow" / ".ipynb_checkpoints" / "a-checkpoint.png")
    draw(root / "__MACOSX" / "crow" / "a.png")
    (root / "__MACOSX" / "crow" / "._a.png").write_bytes(b"\0")
    (root / "crow" / "._a.png").write_bytes(b"\0\5\26\7")
    (root / "crow" / "Thumbs.db").write_bytes(b"\xd0\xcf")
    (root / "readme.txt").write_text("two classes")
    (root / "empty").mkdir()
    return root


def test_folders_as_people_have_them(tmp_path: Path) -> None:
    root = messy(tmp_path / "images")
    found = class_folders(root)
    assert {name: [path.name for path in paths] for name, paths in found.items()} == {
        "birds/owl": ["a.png"], "crow": ["B.PNG", "a.png"]
    }  # fmt: skip
    pool = Pool.from_folder(root, size=3, channels=1)
    assert (pool.names, pool.sizes.tolist(), pool.shape) == (("birds/owl", "crow"), [1, 2], (1, 3, 3))
    assert write_images(tmp_path / "pool", root, size=3, channels=1).names == pool.names


def test_linked_folders_count_and_loops_end(tmp_path: Path) -> None:
    draw(tmp_path / "elsewhere" / "a.png", 7)
    root = messy(tmp_path / "images")
    (root / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "crow" / "c.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    (root / "birds" / "back").symlink_to(root, target_is_directory=True)
    (root / "crow" / "self").symlink_to(root / "crow", target_is_directory=True)
    pool = Pool.from_folder(root, size=3, channels=1)
    assert (pool.names, pool.sizes.tolist()) == (("birds/owl", "crow", "linked"), [1, 3, 1])
    assert pool.only(["linked"]).x.unique().tolist() == [7]
    (root / "crow" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(il.InputError, match=r"gone\.png cannot be read"):
        Pool.from_folder(root)


def test_folders_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(il.InputError, match=r"nowhere cannot be read \(No such file"):
        class_folders(tmp_path / "nowhere")
    draw(tmp_path / "flat" / "a.png")
    with pytest.raises(il.InputError, match="holds no folder with images"):
        class_folders(tmp_path / "flat")
    draw(tmp_path / "flat" / "owl" / "a.png")
    with pytest.raises(il.InputError, match=r"flat/a\.png lies beside the folders of the classes"):
        class_folders(tmp_path / "flat")
    (tmp_path / "phone" / "owl").mkdir(parents=True)
    (tmp_path / "phone" / "owl" / "a.HEIC").write_bytes(b"")
    with pytest.raises(il.InputError, match=r"a\.HEIC is in a format that Pillow does not read"):
        class_folders(tmp_path / "phone")
    with pytest.raises(il.InputError, match=r"a\.png cannot be read \(Not a directory"):
        class_folders(tmp_path / "flat" / "a.png")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root reads everything")
def test_folders_without_rights_are_refused(tmp_path: Path) -> None:
    root = messy(tmp_path / "images")
    (root / "crow").chmod(0)
    with pytest.raises(il.InputError, match=r"crow cannot be read \(Permission denied"):
        class_folders(root)
    (root / "crow").chmod(0o700)


def test_classes_of_one_folder_are_split_by_the_seed(tmp_path: Path) -> None:
    for i in range(10):
        draw(tmp_path / f"class{i}" / "a.png", i)
        draw(tmp_path / f"class{i}" / "b.png", i)
    pools = folder(tmp_path, size=4, channels=1)
    assert [pool.classes for pool in (pools.train, pools.val, pools.test)] == [6, 2, 2]
    for pool in (pools.train, pools.val, pools.test):
        assert [f"class{int(x[0, 0, 0])}" for x in pool.x[::2]] == list(pool.names)
    again, other = folder(tmp_path, size=4, channels=1, cache=False), folder(tmp_path, size=4, channels=1, seed=1)
    assert again.train.names == pools.train.names != other.train.names
    assert torch.equal(again.train.x, pools.train.x)
    draw(tmp_path / "class0" / "c.png", 0)
    more = folder(tmp_path, size=4, channels=1)
    assert sum(pool.examples for pool in (more.train, more.val, more.test)) == 21
    with pytest.raises(il.InputError, match=r"holds 10 classes, which leaves 10, 0 and 0"):
        folder(tmp_path, shares=(1.0, 0.0, 0.0))
    with pytest.raises(il.InputError, match="must sum to 1"):
        folder(tmp_path, shares=(0.5, 0.5, 0.5))


def test_given_splits_are_kept(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("val", "b"), ("test", "c")):
        draw(tmp_path / split / name / "x.png")
    pools = folder(tmp_path, size=4)
    assert (pools.train.names, pools.val.names, pools.test.names) == (("a",), ("b",), ("c",))
    draw(tmp_path / "val" / "a" / "x.png")
    with pytest.raises(il.InputError, match="1 classes stand in both train and val"):
        folder(tmp_path, size=4)


class Dataset:
    """A map-style data set of one's own."""

    def __init__(self, items: list[object], classes: list[str] | None = None) -> None:
        self.items = items
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> object:
        return self.items[i]


def test_a_dataset_becomes_a_pool() -> None:
    """Pillow images, arrays, tensors; labels of any kind; names that the data set has."""
    ramp = Image.fromarray(RAMP)
    pool = Pool.from_dataset(Dataset([(ramp, 2), (ramp, 0), (ramp, 2)], ["cat", "dog", "owl"]), size=4)
    assert (pool.names, pool.sizes.tolist(), pool.shape, pool.x.dtype) == (
        ("cat", "owl"),
        [1, 2],
        (1, 4, 4),
        torch.uint8,
    )
    colors = Pool.from_dataset(Dataset([(ramp.convert("RGB"), "b"), (ramp.convert("P"), "a")]))
    assert (colors.names, colors.shape) == (("a", "b"), (3, 6, 8))
    assert Pool.from_dataset(Dataset([(ramp, True), (ramp, False)], ["no", "yes"]), channels=3).names == (
        "False",
        "True",
    )
    last = np.stack([RAMP, RAMP // 2, RAMP // 3], 2)
    assert torch.equal(Pool.from_dataset(Dataset([(last, 0)])).x[0], torch.from_numpy(last).permute(2, 0, 1))
    x = torch.rand(6, 3, 5, 5)
    tensors = Pool.from_dataset(torch.utils.data.TensorDataset(x, torch.tensor([1, 0, 1, 0, 1, 0])))
    assert torch.equal(tensors.x, x[[1, 3, 5, 0, 2, 4]])
    rows = Pool.from_dataset(Dataset([(np.array([1.0, 2.0]), np.int64(3)), ([3, 4], torch.tensor(1))]))
    assert (rows.names, rows.x.tolist(), rows.x.dtype) == (("1", "3"), [[3.0, 4.0], [1.0, 2.0]], torch.float32)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "holds no item"),
        ([torch.zeros(2)], "item 0 of the data set is a Tensor: it must be a pair"),
        ([{"image": 1, "label": 2}], "item 0 of the data set is a dict"),
        ([(torch.zeros(2), 0), (torch.zeros(3), 0)], r"item 1 of the data set is torch.float32 \(3,\)"),
        ([(torch.zeros(2), 0), (torch.zeros(2).double(), 0)], "item 1 of the data set is torch.float64"),
        ([("a.png", 0)], "item 0 of the data set has x of type str"),
        ([(np.array(["a"]), 0)], "item 0 of the data set: the inputs are no array of numbers"),
        ([(torch.zeros(2), None)], "row 0 is missing"),
        ([(torch.zeros(2), 0.5)], "row 0 .0.5. is no whole number"),
        ([(Image.fromarray(RAMP), 0), (Image.new("L", (3, 3)), 0)], "item 1 .*Pillow images: by size="),
    ],
)
def test_datasets_that_are_none_are_refused(items: list[object], message: str) -> None:
    with pytest.raises(il.InputError, match=message):
        Pool.from_dataset(Dataset(items))


def test_streams_of_examples_are_no_pools() -> None:
    class Endless(torch.utils.data.IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Iterator[object]:
            return iter([])

    with pytest.raises(il.InputError, match="give a map-style data set"):
        Pool.from_dataset(Endless())
