"""Several ranks: the laws of ``ranks.py``, and a run under torchrun that outlives the death of a rank."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import ranks
from laws import assert_same

import innerloop as il
from innerloop.core import checkpoint, distributed

HERE = Path(__file__).parent


def python(*words: object) -> subprocess.CompletedProcess[str]:
    """Runs Python on a script of this folder, with one thread a process."""
    path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *map(str, words)], env=environment, capture_output=True, text=True, check=True, timeout=300
    )


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, str]]]:
    """For each size of a group, what each rank found in each check: an empty word or why not."""
    folder = tmp_path_factory.mktemp("ranks")
    python("-W", "error", HERE / "ranks.py", folder)
    return {
        size: [json.loads((folder / f"{size}-{rank}.json").read_text()) for rank in range(size)] for size in ranks.SIZES
    }


@pytest.mark.parametrize("size", ranks.SIZES)
@pytest.mark.parametrize("check", ranks.CHECKS)
def test_holds_on_every_rank(found: dict[int, list[dict[str, str]]], size: int, check: str) -> None:
    for rank, results in enumerate(found[size]):
        assert not results[check], f"rank {rank}: {results[check]}"


def test_a_run_outlives_the_death_of_a_rank(tmp_path: Path) -> None:
    """The restarted processes go on by themselves, and end with the weights of a run in peace, bit for bit."""
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "--max-restarts", 1)
    done = python(*launch, HERE / "killed.py", tmp_path)
    assert "exitcode: -9" in done.stderr
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    assert (broken / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    assert_same(*(checkpoint.load(run / "last.safetensors")[0] for run in (broken, whole)))
    assert_same(*(il.bundle.read(run).weights for run in (broken, whole)))
    # One rank speaks, and what it says is what one process finds.
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(reports) == 2
    assert reports[0] == reports[1]
    # Threads of the group that outlive it abort the process as it ends, now and then.
    for rank in range(2):
        assert "gloo" not in (tmp_path / f"threads{rank}").read_text()


def test_one_process_needs_no_group() -> None:
    """Everything is a no-op: its own share is everything, its own answer everyone's."""
    assert not distributed.launched()
    with distributed.start():
        assert (distributed.rank(), distributed.size()) == (0, 1)
        assert distributed.first(lambda: 7) == 7
        assert distributed.clock(1.5) == 1.5
        assert [distributed.anywhere(here) for here in (False, True)] == [False, True]
        assert list(distributed.shared("ab")) == [(0, "a"), (1, "b")]
        assert distributed.collect({1: "b", 0: "a"}) == ["a", "b"]
