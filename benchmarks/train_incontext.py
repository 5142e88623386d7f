"""Train the in-context learners that the package ships: ``python benchmarks/train_incontext.py --out runs/incontext``.

Writes a run folder (interrupt it and start again with ``--resume``) and, with ``--bundle``, the weights with their
recipe.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch

import innerloop as il
from innerloop import allocator
from innerloop.data.prior import TablePrior
from innerloop.learners.generative.pfn import InContext
from innerloop.training import checkpoint


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="run folder")
    parser.add_argument("--regression", action="store_true")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--steps", type=int)
    budget.add_argument("--minutes", type=float, help="the schedule then follows the clock")
    parser.add_argument("--tasks", type=int, default=8, help="tables a step")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--width", type=int, default=96)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--schedule", default="cosine")
    parser.add_argument("--rows", type=int, default=300, help="the most training rows of a table")
    parser.add_argument("--features", type=int, default=24, help="the most features")
    parser.add_argument("--queries", type=int, default=40, help="test rows of a table")
    parser.add_argument("--init", type=Path, help="start from the weights of this run folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--no-autocast", action="store_true", help="train in float32 throughout")
    parser.add_argument("--bundle", type=Path, help="write the best weights and the recipe to this file when done")
    parser.add_argument("--only-bundle", action="store_true", help="do not train: bundle the folder's best weights")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    allocator.keep_memory()
    options = {"regression": given.regression, "width": given.width, "depth": given.depth, "heads": given.heads}
    prior: dict[str, Any] = {"regression": given.regression, "queries": given.queries}
    prior |= {"rows": (10, given.rows), "features": (2, given.features)}
    torch.manual_seed(given.seed)
    learner = InContext(**options, hide=0.15, autocast=not given.no_autocast)
    if given.init:
        learner.load_state_dict(weights(given.init, learner))
    if not given.only_bundle:
        history = il.fit(
            learner,
            TablePrior(**prior),
            steps=given.steps,
            minutes=given.minutes,
            tasks_per_step=given.tasks,
            optimizer="AdamW",
            lr=given.lr,
            weight_decay=1e-2,
            schedule=given.schedule,
            warmup=0.03,
            clip=1.0,
            average=0.998,
            how="vmap",
            seed=given.seed,
            out=given.out,
            resume=given.resume,
        )
        print(f"{history.stopped} after {history.step} steps, {history.seconds / 60:.1f} minutes")
    if given.bundle:
        bundle(given, options)


def weights(folder: Path, learner: InContext) -> dict[str, torch.Tensor]:
    """A run's averaged weights: the best ones of a run that ended, the last ones of one that has not."""
    path = folder / "best.safetensors"
    if path.exists():
        return checkpoint.load(path)[0]
    tensors, _ = checkpoint.load(folder / "last.safetensors")
    return {name: tensors[f"average.module.{name}"] for name in learner.state_dict()}


def bundle(given: argparse.Namespace, options: dict[str, Any]) -> None:
    """The run's weights, with the options that build the learner and how it was trained."""
    tensors = weights(given.out, InContext(**options))
    left_out = ("out", "bundle", "resume", "only_bundle", "init")
    training = {key: value for key, value in vars(given).items() if key not in left_out}
    training["steps"] = len((given.out / "metrics.jsonl").read_text().splitlines())
    facts = {"options": options, "training": training, "torch": torch.__version__}
    facts |= {"python": platform.python_version(), "innerloop": il.__version__}
    checkpoint.save(given.bundle, tensors, facts)
    given.bundle.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")
    print(f"wrote {given.bundle} ({given.bundle.stat().st_size / 1e6:.2f} MB)")


if __name__ == "__main__":
    main()
