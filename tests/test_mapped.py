"""Pools in mapped files: the same draws as in memory, whatever the file's size, and what damaged files say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import memory
import pytest
import torch
from PIL import Image
from torch import Generator, Tensor

import innerloop as il
from innerloop.cli.app import main
from innerloop.data import (
    Batches,
    ClassStream,
    Completion,
    FewShot,
    MappedPool,
    Pool,
    Sampler,
    mapped,
    open_pool,
    write_images,
    write_pool,
)

SIDE = 6


def pictures(classes: int = 8, seed: int = 0, dtype: torch.dtype = torch.uint8) -> Pool:
    """Random images of classes of unequal sizes."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.arange(classes) % 3 + 6
    x = torch.randint(256, (int(sizes.sum()), 1, SIDE, SIDE), generator=generator)
    x = x.to(dtype) if dtype == torch.uint8 else (x / 255).to(dtype)
    return Pool(x, sizes, tuple(f"{seed}/{i}" for i in range(classes)))


def written(pool: Pool, folder: Path) -> MappedPool:
    return write_pool(folder, zip(pool.names, pool.x.split(pool.sizes.tolist()), strict=True))


@pytest.fixture
def both(tmp_path: Path) -> tuple[Pool, MappedPool]:
    pool = pictures()
    return pool, written(pool, tmp_path / "pool")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64, torch.float16])
def test_what_is_written_is_read(tmp_path: Path, dtype: torch.dtype) -> None:
    pool = pictures(dtype=dtype)
    back = written(pool, tmp_path)
    assert back.x.dtype == dtype
    assert (back.names, back.shape, back.examples) == (pool.names, pool.shape, pool.examples)
    assert torch.equal(back.sizes, pool.sizes)
    everything = torch.arange(pool.examples)
    assert torch.equal(back.get(everything), pool.get(everything))
    assert torch.equal(open_pool(tmp_path).get(everything.view(5, 11)), pool.get(everything.view(5, 11)))


def test_blocks_of_an_iterator_are_written_as_they_come(tmp_path: Path) -> None:
    """A class's blocks are taken one by one, each after the one before is in the file."""
    pool, seen = pictures(), list[int]()

    def blocks(x: Tensor) -> Iterator[Tensor]:
        for part in x.split(2):
            seen.append((tmp_path / "x.bin.part").stat().st_size)
            yield part

    parts = pool.x.split(pool.sizes.tolist())
    back = write_pool(tmp_path, ((name, blocks(x)) for name, x in zip(pool.names, parts, strict=True)))
    assert torch.equal(back.x, pool.x)
    assert seen == sorted(seen)
    assert not (tmp_path / "x.bin.part").exists()


SAMPLERS = {
    "few-shot": lambda pool: FewShot(pool, ways=3, shots=2, queries=3),
    "batches": lambda pool: Batches(pool, size=7),
    "stream": lambda pool: ClassStream(pool, ways=3, shots=2, queries=1, remember=4),
    "completion": lambda pool: Completion(pool, shots=5),
}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("change", ["as it is", "rotated", "only", "only rotated", "rotated twice"])
def test_draws_are_those_of_a_pool_in_memory(both: tuple[Pool, MappedPool], name: str, change: str) -> None:
    """Chosen classes and turned ones too, though nothing is copied."""
    drawn = []
    for pool in both:
        chosen: Pool = pool
        if "only" in change:
            chosen = chosen.only(pool.names[::-2])
        if "rotated" in change:
            chosen = chosen.rotated()
        if change == "rotated twice":
            chosen = chosen.only([n for n in chosen.names if "rot" in n]).rotated()
        sampler: Sampler = SAMPLERS[name](chosen)
        drawn.append(sampler.draw(Generator().manual_seed(5), 4))
        if isinstance(chosen, MappedPool):
            assert chosen.x.data_ptr() == both[1].x.data_ptr()
    for a, b in zip(drawn[0], drawn[1], strict=True):
        assert torch.equal(a.x, b.x)
        assert torch.equal(a.y, b.y)


def test_a_digest_follows_the_file_and_the_choice(both: tuple[Pool, MappedPool], tmp_path: Path) -> None:
    """The same one for the same content wherever it lies, read from what was recorded; another for anything else."""
    pool, file = both
    again = written(pool, tmp_path / "elsewhere")
    assert again.digest == file.digest == open_pool(tmp_path / "pool").digest
    changed = Pool(pool.x.clone().index_fill_(0, torch.tensor([3]), 7), pool.sizes, pool.names)
    others = [written(changed, tmp_path / "changed"), file.only(file.names[:3]), file.only(file.names[1:4])]
    others += [file.rotated(), file.rotated().only([n for n in file.rotated().names if "rot090" in n])]
    assert len({file.digest, *(other.digest for other in others)}) == 6
    assert FewShot(file, ways=2, shots=1, queries=1).digest == FewShot(again, ways=2, shots=1, queries=1).digest


def test_evaluation_is_that_of_a_pool_in_memory(both: tuple[Pool, MappedPool]) -> None:
    """Embedding once, and an embedding for each episode; the open interval too."""
    shape = (1, SIDE, SIDE)
    maml = il.MAML(il.nets.conv4(shape, width=4, pools=1, norm="group", out=3))
    for learner in (il.ProtoNet(il.nets.conv4(shape, width=4, pools=1)), maml):
        memory, file = (il.evaluate(learner, SAMPLERS["few-shot"](pool), tasks=20, how="vmap") for pool in both)
        assert memory.json() == file.json()


def test_what_would_take_all_into_memory_is_refused(both: tuple[Pool, MappedPool]) -> None:
    with pytest.raises(il.InputError, match="not changed at once"):
        both[1].map(lambda x: x)
    with pytest.raises(il.InputError, match="give the device to fit and evaluate"):
        both[1].to("meta")
    assert both[1].to("cpu") is both[1]


def test_turns_need_square_images(tmp_path: Path) -> None:
    pool = write_pool(tmp_path, [("a", torch.zeros(2, 3))])
    with pytest.raises(il.InputError, match="need square images"):
        pool.rotated()


def test_peak_memory_does_not_follow_the_size_of_the_pool(tmp_path: Path) -> None:
    """1.6 GB of images take no more than 8 MB of them, but for the pages that are drawn from."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, memory.__file__, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    small, large = json.loads(done.stdout)
    assert large - small < 48
    assert (tmp_path / "2000" / "x.bin").stat().st_size > 1.5e9


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([("a", torch.zeros(2, 3)), ("b", torch.zeros(2, 4))], "class 'b' has examples torch.float32 (4,)"),
        ([("a", torch.zeros(2, 3)), ("b", torch.zeros(2, 3).double())], "bring all to one type and shape"),
        ([("a", torch.full((2, 3), torch.nan))], "class 'a' holds a value that is not finite"),
        ([("a", torch.zeros(2, 3, dtype=torch.int64))], "not torch.int64"),
        ([("a", torch.zeros(2, 3)), ("a", torch.zeros(2, 3))], "class 'a' stands twice"),
        ([("a", torch.zeros(0, 3))], "class 'a' has no example"),
        ([("a", iter([]))], "class 'a' has no example"),
        ([], "needs at least one"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path, classes: object, message: str) -> None:
    with pytest.raises(il.InputError, match=re.escape(message)):
        write_pool(tmp_path, classes)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_folders_that_cannot_be_made_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(il.InputError, match="cannot be made"):
            write_pool(folder, [("a", torch.zeros(2, 3))])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.bin.part").symlink_to("/dev/full")
    with pytest.raises(il.InputError, match=r"x\.bin\.part cannot be written \(No space left"):
        write_pool(tmp_path, [("a", torch.zeros(2, 3))])
    assert list(tmp_path.iterdir()) == []


def test_a_pool_is_not_overwritten(both: tuple[Pool, MappedPool], tmp_path: Path) -> None:
    before = (tmp_path / "pool" / "x.bin").read_bytes()
    with pytest.raises(il.InputError, match="already holds a pool"):
        written(pictures(seed=1), tmp_path / "pool")
    assert (tmp_path / "pool" / "x.bin").read_bytes() == before


def test_damage_is_refused(both: tuple[Pool, MappedPool], tmp_path: Path) -> None:
    """Whatever byte is missing, and whatever the facts lack."""
    folder = tmp_path / "pool"
    data, text = (folder / "x.bin").read_bytes(), (folder / "pool.json").read_text()
    for damaged in (data[:-1], b"", data + b"x"):
        (folder / "x.bin").write_bytes(damaged)
        with pytest.raises(il.InputError, match=f"has {len(damaged)} bytes, its 55 examples need {len(data)}"):
            open_pool(folder)
    (folder / "x.bin").unlink()
    with pytest.raises(il.InputError, match="has 0 bytes"):
        open_pool(folder)
    facts = json.loads(text)
    wrong: list[object] = [text[:-9], "[]", "{}", *({k: v for k, v in facts.items() if k != gone} for gone in facts)]
    wrong += [{**facts, "sizes": [0] * 8}, {**facts, "names": ["a"] * 8}, {**facts, "dtype": "int3"}]
    wrong += [
        {**facts, "sizes": [n + 0.5 for n in facts["sizes"]]},
        {**facts, "shape": [-1, 6, 6]},
        text.encode("utf-16"),
    ]
    wrong += [{**facts, "format": 2}, {**facts, "sizes": "many"}, {**facts, "shape": None}]
    for damage in wrong:
        content = damage if isinstance(damage, (str, bytes)) else json.dumps(damage)
        (folder / "pool.json").write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(il.InputError, match="it is damaged; write the pool again"):
            open_pool(folder)
    (folder / "pool.json").unlink()
    with pytest.raises(il.InputError, match="holds no mapped pool"):
        open_pool(folder)


def draw(path: Path, color: tuple[int, int, int], size: tuple[int, int] = (9, 7)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def test_a_folder_of_images(tmp_path: Path) -> None:
    """Each folder with images is a class; others and other files play no part."""
    source = tmp_path / "images"
    for i in range(3):
        draw(source / "birds" / "crow" / f"{i}.png", (10 * i, 20, 30))
    draw(source / "fish" / "a.JPG", (200, 200, 200), (20, 20))
    (source / "fish" / "notes.txt").write_text("no image")
    pool = write_images(tmp_path / "pool", source, size=5)
    assert (pool.names, pool.sizes.tolist(), pool.shape) == (("birds/crow", "fish"), [3, 1], (3, 5, 5))
    assert pool.x[2, :, 2, 2].tolist() == [20, 20, 30]
    gray = write_images(tmp_path / "gray", source, size=5, channels=1)
    assert gray.shape == (1, 5, 5)
    assert int(gray.x[3, 0, 0, 0]) == 200
    (source / "fish" / "b.png").write_bytes(b"no image at all")
    with pytest.raises(il.InputError, match=r"b\.png is not a readable image"):
        write_images(tmp_path / "third", source)
    with pytest.raises(il.InputError, match="holds no folder with images"):
        write_images(tmp_path / "fourth", tmp_path / "gray")
    with pytest.raises(il.InputError, match="channels is 2; it must be 1 or 3"):
        write_images(tmp_path / "fourth", source, channels=2)


def test_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """``--data mapped`` counts, trains and evaluates; a missing split is said."""
    root = tmp_path / "pools"

    def innerloop(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["innerloop", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    written(pictures(seed=1), root / "train")
    code, _, err = innerloop("data", "mapped", "--root", root)
    assert (code, "val holds no mapped pool" in err) == (2, True)
    written(pictures(seed=2), root / "val")
    written(pictures(seed=3), root / "test")
    assert mapped(root, rotations=True).test.classes == 32
    counts = json.loads(innerloop("data", "mapped", "--root", root, "--json")[1])
    assert [(row["split"], row["classes"], row["examples"]) for row in counts] == [
        ("train", 8, 55), ("val", 8, 55), ("test", 8, 55)
    ]  # fmt: skip
    options = ["--ways", "3", "--shots", "1", "--queries", "2", "--steps", "2", "--tasks-per-step", "2", "--quiet"]
    small = ["--set", "validation.ways=3", "--set", "validation.queries=2", "--set", "net.pools=1"]
    small += ["--set", "validation.tasks=4", "--set", "net.width=4"]
    train = ("train", "protonet", "--data", "mapped", "--root", root, "--out", tmp_path / "run")
    assert innerloop(*train, *options, *small)[0] == 0
    code, out, _ = innerloop("evaluate", tmp_path / "run", "--tasks", 20, "--json")
    assert (code, json.loads(out)["tasks"]) == (0, 20)
