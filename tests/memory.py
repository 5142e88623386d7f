"""Peak memory of work on mapped pools of black images: ``python memory.py FOLDER`` prints it in MiB, small and large.

Both files are sparse, so they take no disk. The first pool has 10 thousand images, the second one 2 million, 1.6 GB.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

import torch

import innerloop as il
from innerloop.data import Batches, FewShot, MappedPool, Pool, open_pool

CLASSES, EACH = 1000, (10, 2000)
SHAPE = (1, 28, 28)


def sparse(folder: Path, each: int) -> MappedPool:
    """A pool whose file is a hole."""
    folder.mkdir()
    names = [f"{i}" for i in range(CLASSES)]
    facts = {"format": 1, "dtype": "uint8", "shape": SHAPE, "names": names, "sizes": [each] * CLASSES, "sha256": ""}
    (folder / "pool.json").write_text(json.dumps(facts))
    with (folder / "x.bin").open("wb") as file:
        file.truncate(CLASSES * each * 28 * 28)
    return open_pool(folder)


def work(pool: Pool) -> None:
    """Training, evaluation with an encoder that embeds once, and one that does not; plain batches."""
    pool = pool.only(pool.names[::2]).rotated()
    sampler = FewShot(pool, ways=5, shots=1, queries=3)
    quick = {"tasks_per_step": 2, "how": "loop", "progress": False}
    protonet = il.ProtoNet(il.nets.conv4(SHAPE, width=4))
    il.fit(protonet, sampler, steps=2, validate=sampler, validate_tasks=20, **quick)
    il.fit(il.FineTune(il.nets.conv4(SHAPE, width=4), classes=pool.classes), Batches(pool, size=8), steps=2, **quick)
    il.evaluate(protonet, sampler, tasks=50, how="loop")
    il.evaluate(il.MAML(il.nets.conv4(SHAPE, width=4, norm="group", out=5)), sampler, tasks=5, how="loop")


if __name__ == "__main__":
    peaks = []
    for each in EACH:
        torch.manual_seed(0)
        work(sparse(Path(sys.argv[1]) / str(each), each))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(peaks))
