"""The data sets, their cache and the downloader."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import warnings
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from innerloop.core.cache import cached, folder
from innerloop.core.task import InputError
from innerloop.data.cache import cached_pools
from innerloop.data.download import fetch
from innerloop.data.pool import Pool
from innerloop.data.pools import Pools
from innerloop.data.sets.cifar_fs import cifar_fs
from innerloop.data.sets.glyphs import glyphs
from innerloop.data.sets.omniglot import omniglot

DATA = Path(os.environ.get("INNERLOOP_DATA", Path(__file__).parents[2] / "shared" / "data"))
OMNIGLOT, CIFAR = DATA / "omniglot", DATA / "cifar_fs"
needs_omniglot = pytest.mark.skipif(
    not (OMNIGLOT / "images_background.zip").is_file(), reason=f"no Omniglot in {OMNIGLOT}: set INNERLOOP_DATA"
)
needs_cifar = pytest.mark.skipif(
    not (CIFAR / "index.json").is_file(), reason=f"no CIFAR-FS in {CIFAR}: set INNERLOOP_DATA"
)


@pytest.fixture(scope="module")
def shared_cache(_cache: None) -> Path:
    """The session's cache, for the tests that read whole sets: building one takes ten seconds."""
    return folder()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the user's cache."""
    monkeypatch.setenv("INNERLOOP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def same(a: Pools, b: Pools) -> bool:
    """Whether two sets of pools agree to the bit."""
    pairs = [(getattr(a, split), getattr(b, split)) for split in ("train", "val", "test")]
    return all(p.names == q.names and p.sizes.equal(q.sizes) and p.x.equal(q.x) for p, q in pairs)


def image_of(pool: Pool, name: str, index: int) -> torch.Tensor:
    """The drawing ``index`` of a class."""
    return pool.x[int(pool.starts[pool.names.index(name)]) + index]


def build_demo() -> dict[str, torch.Tensor]:
    """Tensors of several kinds."""
    return {"x": torch.arange(4000, dtype=torch.uint8).view(4, 1000), "y": torch.tensor(1.5), "none": torch.zeros(0, 3)}


def never() -> dict[str, torch.Tensor]:
    """A builder for what must be in the cache."""
    raise AssertionError("built although cached")


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of tensors agree."""
    return a.keys() == b.keys() and all(a[k].equal(b[k]) and a[k].dtype == b[k].dtype for k in a)


def test_cache_builds_once_and_tells_recipes_apart(own_cache: Path) -> None:
    first = cached("demo", {"version": 1}, build_demo)
    assert equal(first, build_demo())
    assert equal(cached("demo", {"version": 1}, never), first)
    other = cached("demo", {"version": 2}, lambda: {"x": torch.zeros(1)})
    assert other["x"].equal(torch.zeros(1))
    assert sorted(path.suffix for path in own_cache.iterdir()) == [".safetensors"] * 2


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "nonsense", "renamed"])
def test_damaged_cache_file_is_rebuilt_with_a_warning(own_cache: Path, damage: str) -> None:
    cached("demo", {"version": 1}, build_demo)
    (path,) = own_cache.iterdir()
    data = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(data[:-100])
    elif damage == "flipped":
        data[-50] ^= 1
        path.write_bytes(data)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "nonsense":
        path.write_bytes(b"not a cache" * 100)
    else:
        cached("demo", {"version": 2}, build_demo)
        (other,) = set(own_cache.iterdir()) - {path}
        shutil.copy(other, path)
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert equal(cached("demo", {"version": 1}, build_demo), build_demo())
    assert equal(cached("demo", {"version": 1}, never), build_demo())


def test_cache_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("INNERLOOP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(RuntimeWarning, match="INNERLOOP_CACHE") as caught:
        assert equal(cached("demo", {"version": 1}, build_demo), build_demo())
    assert len(caught) == 1


def test_nothing_half_written_stays_behind(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(RuntimeWarning, match="No space left"):
        assert equal(cached("demo", {"version": 1}, build_demo), build_demo())
    assert list(own_cache.iterdir()) == []


def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INNERLOOP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "innerloop"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert folder() == tmp_path / ".cache" / "innerloop"


def test_two_processes_may_build_at_once(own_cache: Path) -> None:
    """Forked from one that has imported everything, and held until both are there."""
    code = (
        "import multiprocessing, torch; from innerloop.core.cache import cached\n"
        "def build(both):\n"
        "    both.wait()\n"
        "    for i in range(20):\n"
        "        x = cached('demo', {'i': i}, lambda: {'x': torch.full((100_000,), i)})['x']\n"
        "        assert x.equal(torch.full((100_000,), i))\n"
        "fork = multiprocessing.get_context('fork')\n"
        "both = fork.Barrier(2)\n"
        "started = [fork.Process(target=build, args=(both,)) for _ in range(2)]\n"
        "[process.start() for process in started]\n"
        "[process.join() for process in started]\n"
        "assert [process.exitcode for process in started] == [0, 0]\n"
    )
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    assert len(list(own_cache.iterdir())) == 20


def test_cached_pools_keep_names_sizes_and_pixels() -> None:
    def pool(name: str) -> Pool:
        x = torch.randint(0, 256, (3, 1, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
        return Pool.of(x, [0, 1, 1], [f"{name}/ä", f"{name}/b"])

    made = Pools(pool("train"), pool("val"), pool("test"), "demo")
    for _ in range(2):
        read = cached_pools("demo", {}, lambda: made)
        assert same(read, made)
        assert read.name == "demo"


class Server(ThreadingHTTPServer):
    """Serves one body; how faithfully, its attributes say."""

    body = bytes(range(256)) * 2000
    ranges = True
    breaks_after: int | None = None
    status = 200

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        """Where the body is."""
        return f"http://127.0.0.1:{self.server_address[1]}/data.zip"

    @property
    def md5(self) -> str:
        """The body's checksum."""
        return hashlib.md5(self.body).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers GET with the server's body, from the byte asked for."""

    server: Server

    def do_GET(self) -> None:
        """Answer."""
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        body = self.server.body[start:]
        if self.server.status != 200 or (asked and self.server.ranges and not body):
            self.send_error(416 if self.server.status == 200 else self.server.status)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.breaks_after])

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of this machine, in a thread."""
    monkeypatch.setenv("no_proxy", "*")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_fetch(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "new" / "data.zip"
    assert fetch(server.url, path, server.md5) == path
    assert path.read_bytes() == server.body
    assert [p.name for p in path.parent.iterdir()] == ["data.zip"]
    fetch(server.url, path, server.md5)
    assert len(server.asked) == 1


def test_fetch_goes_on_after_a_break(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    server.breaks_after = 100_000
    with pytest.raises(InputError, match="broke off 412000 bytes before the end"):
        fetch(server.url, path, server.md5)
    assert not path.exists()
    server.breaks_after = None
    fetch(server.url, path, server.md5)
    assert path.read_bytes() == server.body
    assert server.asked == [None, "bytes=100000-"]


def test_fetch_starts_again_where_the_server_knows_no_ranges(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    path.with_name("data.zip.part").write_bytes(server.body[:1000])
    server.ranges = False
    fetch(server.url, path, server.md5)
    assert path.read_bytes() == server.body


def test_fetch_takes_a_part_that_is_complete(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "data.zip"
    path.with_name("data.zip.part").write_bytes(server.body)
    fetch(server.url, path, server.md5)
    assert path.read_bytes() == server.body


@pytest.mark.parametrize("part", [None, b"of another file"])
def test_fetch_refuses_a_wrong_checksum(server: Server, tmp_path: Path, part: bytes | None) -> None:
    path = tmp_path / "data.zip"
    if part is not None:
        path.with_name("data.zip.part").write_bytes(part)
    wrong = "0" * 32 if part is None else server.md5
    with pytest.raises(InputError, match=f"md5 .*not {wrong}"):
        fetch(server.url, path, wrong)
    assert list(tmp_path.iterdir()) == []


def test_fetch_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/data.zip"
    with pytest.raises(InputError) as caught:
        fetch(url, tmp_path / "data.zip", "0" * 32)
    assert url in str(caught.value)
    assert str(tmp_path / "data.zip") in str(caught.value)


def test_fetch_names_the_servers_refusal(server: Server, tmp_path: Path) -> None:
    server.status = 404
    with pytest.raises(InputError, match="answers 404"):
        fetch(server.url, tmp_path / "data.zip", server.md5)


def test_fetch_into_a_place_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        fetch(server.url, tmp_path / "file" / "data.zip", server.md5)


def png(value: int = 1) -> bytes:
    """A one-bit image of Omniglot's size."""
    file = io.BytesIO()
    Image.new("1", (105, 105), value).save(file, "png")
    return file.getvalue()


def small_omniglot(root: Path, drawings: int = 20, bad: bytes | None = None) -> Path:
    """Two zips with one character each."""
    root.mkdir(exist_ok=True)
    for name, character in (
        ("images_background", "Hebrew/character01"),
        ("images_evaluation", "Angelic/character01"),
    ):
        with zipfile.ZipFile(root / f"{name}.zip", "w") as archive:
            for i in range(drawings):
                data = bad if bad is not None and i == 3 else png(i % 2)
                archive.writestr(f"{name}/{character}/0001_{i + 1:02d}.png", data)
    return root


@pytest.fixture(scope="module")
def characters(shared_cache: Path) -> Pools:
    """Omniglot without rotations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INNERLOOP_CACHE", str(shared_cache))
        return omniglot(OMNIGLOT, rotations=False)


@needs_omniglot
def test_omniglot_counts_of_the_vinyals_split(characters: Pools) -> None:
    parts = (characters.train, characters.val, characters.test)
    assert [part.classes for part in parts] == [1028, 172, 423]
    assert sum(len(part.x) for part in parts) == 32_460
    assert all(part.sizes.eq(20).all() for part in parts)
    assert len({name for part in parts for name in part.names}) == 1623
    assert characters.test.x.dtype == torch.uint8
    assert characters.test.shape == (1, 28, 28)
    assert characters.name == "omniglot"


@needs_omniglot
def test_omniglot_rotations(characters: Pools, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNERLOOP_CACHE", str(shared_cache))
    kept = sorted(shared_cache.glob("omniglot-*"))
    rotated = omniglot(OMNIGLOT)
    assert [part.classes for part in (rotated.train, rotated.val, rotated.test)] == [4112, 688, 1692]
    name = characters.test.names[7]
    upright = image_of(characters.test, name, 3)
    assert image_of(rotated.test, name, 3).equal(upright)
    assert image_of(rotated.test, f"{name}/rot090", 3).equal(upright.rot90(1, (1, 2)))
    assert image_of(rotated.test, f"{name}/rot180", 3).equal(upright.flip(1, 2))
    assert kept
    assert sorted(shared_cache.glob("omniglot-*")) == kept


@needs_omniglot
def test_omniglot_image_equals_an_independent_decode(characters: Pools) -> None:
    with zipfile.ZipFile(OMNIGLOT / "images_background.zip") as archive:
        image = Image.open(io.BytesIO(archive.read("images_background/Hebrew/character05/0470_07.png")))
        gray = Image.fromarray(numpy.asarray(image).astype(numpy.uint8) * 255)
    gray = gray.resize((28, 28), Image.Resampling.LANCZOS)
    drawing = image_of(characters.val, "Hebrew/character05", 6)
    assert drawing[0].equal(255 - torch.from_numpy(numpy.asarray(gray).copy()))
    assert 0 < drawing.float().mean() < 64


@pytest.fixture(scope="module")
def extracted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip and a folder with something that a file manager left there."""
    root = tmp_path_factory.mktemp("extracted")
    shutil.copy(OMNIGLOT / "images_background.zip", root)
    with zipfile.ZipFile(OMNIGLOT / "images_evaluation.zip") as archive:
        archive.extractall(root)
    (root / "images_evaluation" / "Angelic" / ".DS_Store").write_text("left by a file manager")
    return root


@needs_omniglot
def test_omniglot_extracted_folder_equals_the_zip(characters: Pools, extracted: Path) -> None:
    assert same(omniglot(extracted, rotations=False, cache=False), characters)


@needs_omniglot
def test_omniglot_background_split(characters: Pools, extracted: Path) -> None:
    pools = omniglot(extracted, split="background", size=4, rotations=False, cache=False)
    assert pools.train.classes + pools.val.classes == 964
    assert [pools.val.classes, pools.test.classes] == [172, 659]
    assert pools.val.names == characters.val.names
    assert pools.train.shape == (1, 4, 4)
    with zipfile.ZipFile(OMNIGLOT / "images_evaluation.zip") as archive:
        there = {"/".join(name.split("/")[1:3]) for name in archive.namelist()}
    assert set(pools.test.names) == there


@needs_omniglot
def test_omniglot_download_leaves_what_is_there_alone(
    characters: Pools, shared_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INNERLOOP_CACHE", str(shared_cache))
    assert same(omniglot(OMNIGLOT, rotations=False, download=True), characters)


def test_omniglot_refuses_unknown_options(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'nosuch'"):
        omniglot(tmp_path, split="nosuch")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="size is 0"):
        omniglot(tmp_path, size=0)


@pytest.mark.parametrize("zipped", [True, False])
def test_omniglot_small_sets_zipped_and_extracted(tmp_path: Path, zipped: bool) -> None:
    root = tmp_path / "data"
    small_omniglot(root)
    if not zipped:
        for path in list(root.glob("*.zip")):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(root)
            path.unlink()
    with pytest.raises(InputError, match="2 of Omniglot's 1,623 characters are there"):
        omniglot(root)


def test_omniglot_missing_root_and_zips(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        omniglot(tmp_path / "nowhere")
    with pytest.raises(InputError) as caught:
        omniglot(tmp_path)
    assert str(tmp_path / "images_background.zip") in str(caught.value)
    assert f"folder {tmp_path / 'images_background'}" in str(caught.value)


def test_omniglot_truncated_zip(tmp_path: Path) -> None:
    root = small_omniglot(tmp_path / "data")
    path = root / "images_evaluation.zip"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"images_evaluation\.zip .*truncated"):
        omniglot(root)


def test_omniglot_damaged_member_is_named(tmp_path: Path) -> None:
    root = small_omniglot(tmp_path / "data")
    path = root / "images_background.zip"
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 8] ^= 255
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"images_background/Hebrew/character01/0001_01\.png"):
        omniglot(root)


@pytest.mark.parametrize("bad", [b"no image at all", png()[:50]], ids=["nonsense", "truncated"])
def test_omniglot_unreadable_image_is_named(tmp_path: Path, bad: bytes) -> None:
    root = small_omniglot(tmp_path / "data", bad=bad)
    with pytest.raises(InputError, match=r"Hebrew/character01/0001_04\.png .*not a readable image"):
        omniglot(root)


def test_omniglot_incomplete_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="character Hebrew/character01 has 19 drawings"):
        omniglot(small_omniglot(tmp_path / "few", drawings=19))
    with pytest.raises(InputError, match="the first is Alphabet_of_the_Magi/character01"):
        omniglot(small_omniglot(tmp_path / "small"))
    with pytest.raises(InputError, match="the first is Armenian/character01"):
        omniglot(tmp_path / "small", split="background")
    other = tmp_path / "other"
    other.mkdir()
    for name in ("images_background", "images_evaluation"):
        with zipfile.ZipFile(other / f"{name}.zip", "w") as archive:
            archive.writestr("readme.txt", "nothing here")
    with pytest.raises(InputError, match="holds no image"):
        omniglot(other)


@needs_cifar
def test_cifar_fs(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNERLOOP_CACHE", str(shared_cache))
    pools = cifar_fs(CIFAR)
    parts = (pools.train, pools.val, pools.test)
    assert [part.classes for part in parts] == [64, 16, 20]
    assert all(part.sizes.eq(600).all() for part in parts)
    assert pools.train.shape == (3, 32, 32)
    assert pools.train.x.dtype == torch.uint8
    with Image.open(CIFAR / "test" / "bicycle.webp") as sheet:
        tile = sheet.convert("RGB").crop((3 * 32, 2 * 32, 4 * 32, 3 * 32))
    expected = torch.from_numpy(numpy.asarray(tile).copy()).permute(2, 0, 1)
    assert image_of(pools.test, "bicycle", 43).equal(expected)
    assert same(cifar_fs(CIFAR), pools)


@pytest.fixture
def small_cifar(tmp_path: Path) -> Path:
    """Three classes of 40 tiles."""
    root = tmp_path / "cifar"
    index = {}
    for split, name in (("train", "ant"), ("val", "bee"), ("test", "cat")):
        (root / split).mkdir(parents=True)
        Image.new("RGB", (640, 64), (10, 20, 30)).save(root / split / f"{name}.webp", lossless=True)
        index[name] = {"split": split, "n": 40, "files": []}
    (root / "index.json").write_text(json.dumps(index))
    return root


def test_cifar_fs_reads_any_sheets_of_that_form(small_cifar: Path) -> None:
    pools = cifar_fs(small_cifar)
    assert pools.val.names == ("bee",)
    assert pools.val.x.shape == (40, 3, 32, 32)
    assert pools.val.x[0, :, 0, 0].tolist() == [10, 20, 30]


def test_cifar_fs_errors(small_cifar: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        cifar_fs(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"index\.json is missing"):
        cifar_fs(tmp_path)
    sheet = small_cifar / "test" / "cat.webp"
    sheet.write_bytes(sheet.read_bytes()[:40])
    with pytest.raises(InputError, match=r"cat\.webp is not a readable image"):
        cifar_fs(small_cifar)
    Image.new("RGB", (640, 32)).save(sheet)
    with pytest.raises(InputError, match=r"cat\.webp has 640x32 pixels; 40 tiles"):
        cifar_fs(small_cifar)
    sheet.unlink()
    with pytest.raises(InputError, match=r"cat\.webp is missing"):
        cifar_fs(small_cifar)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "cannot be read"),
        ('{"ant": {"n": 40}}', "cannot be read"),
        ('{"ant": {"split": "training", "n": 40}}', "'training'"),
        ('{"ant": {"split": "train", "n": 0}}', "0 tiles"),
        ('{"ant": {"split": "train", "n": 40}}', "no class of the split 'val'"),
    ],
)
def test_cifar_fs_refuses_a_bad_index(small_cifar: Path, index: str, message: str) -> None:
    (small_cifar / "index.json").write_text(index)
    with pytest.raises(InputError, match=message):
        cifar_fs(small_cifar)


@pytest.fixture(scope="module")
def letters(shared_cache: Path) -> Pools:
    """The glyphs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INNERLOOP_CACHE", str(shared_cache))
        return glyphs()


def scripts(pool: Pool) -> set[str]:
    """The scripts of a pool's classes."""
    return {name.split("/")[0] for name in pool.names}


def test_glyphs_scripts_and_counts(letters: Pools) -> None:
    parts = (letters.train, letters.val, letters.test)
    train, val, test = map(scripts, parts)
    assert len(train | val | test) >= 15
    assert len(train) + len(val) + len(test) == len(train | val | test)
    assert len(val) >= 2
    assert len(test) >= 5
    assert letters.test.classes >= 100
    assert letters.train.classes > letters.val.classes + letters.test.classes
    assert all(part.sizes.eq(20).all() and part.shape == (1, 28, 28) and part.x.dtype == torch.uint8 for part in parts)
    assert letters.name == "glyphs"


def test_glyphs_have_ink_on_paper_and_are_all_different(letters: Pools) -> None:
    x = torch.cat([part.x for part in (letters.train, letters.val, letters.test)]).flatten(1)
    ink = x.ge(128).sum(1)
    assert int(ink.min()) >= 4
    assert int(ink.max()) < 28 * 28 / 2
    assert int(x.amin(1).max()) == 0
    assert len(x.unique(dim=0)) == len(x)


def test_glyphs_keep_one_of_the_letters_that_look_alike(letters: Pools) -> None:
    names = {name for part in (letters.train, letters.val, letters.test) for name in part.names}
    assert "Latin/U+0041" in names
    assert names.isdisjoint({"Greek/U+0391", "Cyrillic/U+0410", "Lisu/U+A4EE"})
    assert names.isdisjoint({"Latin/U+006F", "Greek/U+039F", "Armenian/U+0555", "Tifinagh/U+2D54"})


def test_glyphs_drawings_of_a_letter_resemble_each_other_more_than_other_letters(letters: Pools) -> None:
    x = letters.test.x.float().flatten(1).view(letters.test.classes, 20, -1)
    within = torch.cdist(x, x).sum((1, 2)) / (20 * 19)
    means = x.mean(1)
    assert float(within.min()) > 500
    nearest = torch.cdist(x.flatten(0, 1), means).argmin(1)
    right = nearest.eq(torch.arange(letters.test.classes).repeat_interleave(20)).float().mean()
    assert float(right) > 0.5


def test_glyphs_are_the_same_every_time(letters: Pools, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert same(glyphs(cache=False), letters)
    monkeypatch.setenv("INNERLOOP_CACHE", str(shared_cache))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(glyphs(), letters)


def test_glyphs_name_a_missing_font(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matplotlib.get_data_path", lambda: str(tmp_path))
    with pytest.raises(InputError, match=r"DejaVuSans\.ttf is missing"):
        glyphs()
