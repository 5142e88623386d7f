"""Shares of the meta-training data: nested, seeded, whole characters with their turns, kept by a run."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from test_cli import Cli

import innerloop as il
from innerloop.data import Pool, Pools, Shares, write_pool


def pool(classes: int, examples: int = 12, prefix: str = "c") -> Pool:
    """Images that say which class and which example they are: pixel 0 and 1 of a 4x4 image."""
    x = torch.zeros(classes * examples, 1, 4, 4, dtype=torch.uint8)
    x[:, 0, 0, 0] = torch.arange(classes).repeat_interleave(examples).to(torch.uint8)
    x[:, 0, 0, 1] = torch.arange(examples).repeat(classes).to(torch.uint8)
    return Pool(x, torch.full((classes,), examples), tuple(f"{prefix}{i:03d}" for i in range(classes)))


def drawn(part: Pool) -> dict[str, set[int]]:
    """The numbers of the examples of each class."""
    starts = part.starts.tolist()
    return {
        name: set(part.x[start : start + int(size), 0, 0, 1].tolist())
        for name, start, size in zip(part.names, starts, part.sizes, strict=True)
    }


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    whole = pool(40)
    found = [drawn(Shares(share, share, seed=3).of_pool(whole)) for share in (0.1, 0.25, 0.5, 1.0)]
    assert [len(part) for part in found] == [4, 10, 20, 40]
    assert [len(next(iter(part.values()))) for part in found] == [1, 3, 6, 12]
    for less, more in pairwise(found):
        assert all(less[name] <= more[name] for name in less)


def test_another_seed_is_another_choice_and_the_same_seed_the_same() -> None:
    whole = pool(40)
    first, again, other = (drawn(Shares(0.25, 0.5, seed=seed).of_pool(whole)) for seed in (0, 0, 1))
    assert first == again
    assert first.keys() != other.keys()


def test_the_examples_of_a_class_do_not_depend_on_the_other_classes() -> None:
    whole = pool(40)
    few, all_ = drawn(Shares(0.25, 0.5).of_pool(whole)), drawn(Shares(1.0, 0.5).of_pool(whole))
    assert all(few[name] == all_[name] for name in few)


def test_a_class_and_its_turns_go_together_with_the_same_examples() -> None:
    part = Shares(0.25, 0.5).of_pool(pool(20).rotated())
    bases = [name for name in part.names if "/rot" not in name]
    assert len(bases) == 5
    assert set(part.names) == {name + turn for name in bases for turn in ("", "/rot090", "/rot180", "/rot270")}
    # The images of a turned class are the turned images of the class.
    position = {name: i for i, name in enumerate(part.names)}
    for name in bases:
        own, turned = (part.x[part.starts[position[n]] :][:6] for n in (name, f"{name}/rot090"))
        assert torch.equal(torch.rot90(own, 1, (2, 3)), turned)


def test_validation_and_test_stay_whole_and_no_share_is_the_source_itself() -> None:
    pools = Pools(pool(20), pool(8, prefix="v"), pool(8, prefix="t"))
    part = Shares(0.25).of(pools)
    assert isinstance(part, Pools)
    assert part.train.classes == 5
    assert part.val is pools.val
    assert part.test is pools.test
    assert Shares().of(pools) is pools


def test_a_mapped_pool_has_shares_of_classes_and_no_shares_of_examples(tmp_path: Path) -> None:
    mapped = write_pool(tmp_path, [(f"c{i}", torch.zeros(3, 1, 4, 4)) for i in range(8)])
    assert Shares(0.5).of_pool(mapped).classes == 4
    with pytest.raises(il.InputError, match="share of its classes"):
        Shares(examples=0.5).of_pool(mapped)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": 0.0}, "classes is 0"),
        ({"examples": 1.5}, "examples is 1.5"),
        ({"seed": -1}, "it must be at least 0"),
    ],
)
def test_a_share_out_of_range_is_refused(options: dict[str, float], said: str) -> None:
    with pytest.raises(il.InputError, match=said):
        Shares(**options)  # type: ignore[arg-type]


def test_functions_have_no_shares() -> None:
    with pytest.raises(il.InputError, match="leave share out"):
        Shares(0.5).of(il.data.registry.read("sinusoid"))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capsys)


def test_a_run_keeps_its_share_and_resumes_with_it(cli: Cli, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write_pool(tmp_path / split, [(f"{split}{i}", torch.rand(4, 1, 8, 8)) for i in range(12)])
    out = tmp_path / "run"
    words = ["train", "finetune", "--data", "mapped", "--root", tmp_path, "--width", "4", "--set", "net.pools=1"]
    words += ["--set", "validation.tasks=2", "--set", "validation.queries=2", "--quiet", "--steps", "2"]
    words += ["--set", "episodes.size=8", "--set", "share.classes=0.25"]
    assert cli(*words, "--seed", "5", "--out", out)[0] == 0
    kept = json.loads((out / "recipe.json").read_text())
    assert kept["recipe"]["share"] == {"classes": 0.25}
    # A classifier over 3 of 12 classes: the same that the seed of the run chooses.
    pools = il.data.mapped(tmp_path)
    assert kept["facts"]["classes"] == list(Shares(0.25, seed=5).of_pool(pools.train).names)
    assert cli("resume", out, "--quiet")[0] == 0
    # Another share is other data, and so another run.
    before = (out / "recipe.json").read_text()
    (out / "recipe.json").write_text(before.replace('"classes": 0.25', '"classes": 0.5'))
    code, _, said = cli("resume", out, "--quiet")
    assert code == 2, said
    (out / "recipe.json").write_text(before)
    # A ProtoNet that is trained on more ways than are left is told of the share.
    code, _, said = cli(
        "train", "protonet", "--data", "mapped", "--root", tmp_path, "--ways", "5", "--shots", "1", "--queries", "1",
        "--set", "share.classes=0.25", "--steps", "0", "--out", tmp_path / "other",
    )  # fmt: skip
    assert code == 2
    assert "the pool has 3" in said
    assert "share of the meta-training data is classes 0.25" in said
    assert not (tmp_path / "other").exists()
