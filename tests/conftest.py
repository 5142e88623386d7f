"""Fixtures that every test may use, and what holds for all of them: a fixed seed, a cache of their own."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import settings

# The same examples on every machine and run; how long one takes is no law.
settings.register_profile("innerloop", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("innerloop")


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test starts from the same random state, whatever ran before it."""
    random.seed(0)
    numpy.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _signals() -> Iterator[None]:
    """A test hears the signals that it sends, and so do its processes, where ``nohup`` or ``&`` began the suite."""
    heard = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    ignored = [number for number in heard if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, heard[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Caches of prepared data go to a folder of this session, one for all its workers, unless one is asked for."""
    if "INNERLOOP_CACHE" in os.environ:
        yield
        return
    base = tmp_path_factory.getbasetemp()
    # A worker's folder is within the session's: what one worker has drawn, the others read.
    session = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    os.environ["INNERLOOP_CACHE"] = str(session / "cache")
    yield
    del os.environ["INNERLOOP_CACHE"]


@pytest.fixture(scope="session")
def device() -> torch.device:
    """Where learners run: ``INNERLOOP_TEST_DEVICE``, by default the CPU."""
    found = torch.device(os.environ.get("INNERLOOP_TEST_DEVICE", "cpu"))
    if found.type == "cuda":
        # What is equal to the bit on the CPU is so there where kernels add in a fixed order and in full precision.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.allow_tf32 = False
    return found


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of the data sets: ``INNERLOOP_DATA``, by default ``shared/data`` beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("INNERLOOP_DATA", beside))
    if not root.is_dir():
        pytest.skip(f"no data sets at {root}: set INNERLOOP_DATA to their folder")
    return root
