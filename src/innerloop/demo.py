"""A few minutes that show the whole: letters drawn here, a learner and two baselines, one page with the results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from innerloop import nets
from innerloop.data.episodes import Batches, FewShot
from innerloop.data.glyphs import glyphs
from innerloop.data.pool import Pools
from innerloop.evaluation.evaluate import Report, evaluate
from innerloop.evaluation.report import compare, difference_text, open_text, picture, score_text, write_report
from innerloop.learners.metric.protonet import ProtoNet
from innerloop.learners.transfer.finetune import FineTune
from innerloop.nets.conv4 import Conv4
from innerloop.task import InputError
from innerloop.training.fit import fit
from innerloop.training.store import prepare_folder


def run_demo(
    out: str | Path,
    minutes: float = 3.0,
    seed: int = 0,
    progress: bool = True,
    pools: Pools | None = None,
    command: str | None = None,
) -> Path:
    """Train a prototypical network to read letters of unseen scripts, and compare it with two baselines.

    A fine-tuned classifier and the untrained network (the same initial weights) are judged on the same episodes.
    Prints the recipe and the results, and writes ``report.html``.

    Args:
        out: folder for the report, made if missing.
        minutes: wall-clock time, about; 85 % of it is training.
        seed: of the initial weights, of training and of the test episodes.
        progress: show a bar while training.
        pools: square images to use in place of :func:`innerloop.data.glyphs.glyphs`.
        command: printed on the page as what made it; default this call.

    Returns:
        The path of the report.

    Raises:
        InputError: if the folder cannot be written, the time is not positive, or the pools are too small.
    """
    if not minutes > 0:
        raise InputError(f"the demo is given {minutes} minutes; it needs more than 0, 3 give a good result")
    out = Path(out)
    prepare_folder(out)
    console = Console()
    pools = pools or glyphs()
    recipe = make_recipe(pools, minutes, seed)
    for part, values in recipe.items():
        console.print(f"{part}: {json.dumps(values)}", style="dim", markup=False, highlight=False)

    train = pools.train.rotated()
    episodes = FewShot(train, **recipe["protonet"])
    validate = FewShot(pools.val, **recipe["validation"])
    protonet, untrained = ProtoNet(_encoder(recipe)), ProtoNet(_encoder(recipe))
    finetune = FineTune(_encoder(recipe), classes=train.classes)
    histories = {}
    console.print("Training a prototypical network", style="bold")
    histories["ProtoNet"] = fit(protonet, episodes, validate=validate, progress=progress, **recipe["protonet_fit"])
    console.print("Training the baseline: one classifier over all training classes", style="bold")
    batches = Batches(train, **recipe["finetune"])
    histories["Fine-tuned"] = fit(finetune, batches, validate=validate, progress=progress, **recipe["finetune_fit"])
    # No steps, but the statistics of its normalisation layers are measured like those of the others.
    fit(untrained, episodes, progress=False, **{**recipe["protonet_fit"], "minutes": None, "steps": 0})

    console.print(f"Testing on letters of scripts that were never trained on ({pools.test.classes})", style="bold")
    test = recipe["test"]
    samplers = {
        f"{ways}-way {test['shots']}-shot": FewShot(pools.test, ways=ways, shots=test["shots"], queries=test["queries"])
        for ways in test["ways"]
    }
    results = {
        name: {kind: evaluate(learner, s, tasks=test["tasks"], seed=test["seed"]) for kind, s in samplers.items()}
        for name, learner in (("ProtoNet", protonet), ("Fine-tuned", finetune), ("Untrained", untrained))
    }
    for table in _tables(results):
        console.print(table)
    kind, sampler = next(iter(samplers.items()))
    path = write_report(
        out / "report.html",
        title="Learning letters of unseen scripts from one example",
        results=results,
        histories=histories,
        episode=picture(protonet, sampler, results["ProtoNet"][kind]),
        recipe=recipe,
        seeds=[seed],
        command=command or f"innerloop.demo.run_demo({str(out)!r}, minutes={minutes}, seed={seed})",
    )
    console.print(f"The report: {path}", markup=False, highlight=False, soft_wrap=True)
    return path


def make_recipe(pools: Pools, minutes: float = 3.0, seed: int = 0) -> dict[str, Any]:
    """What :func:`run_demo` runs, as plain values; smaller pools get fewer ways and queries.

    Args:
        pools: the data; the training classes are used in four rotations.
        minutes: wall-clock time of the whole demo.
        seed: of all that is random.
    """
    spare = int(pools.train.sizes.min()) - 1
    training = {"tasks_per_step": 1, "lr": 2e-3, "schedule": "cosine", "average": 0.99, "seed": seed}
    return {
        "data": {"name": pools.name, "rotations_as_classes": True, "classes": 4 * pools.train.classes},
        "encoder": {"shape": list(pools.train.shape), "width": 64, "norm": "running"},
        "protonet": {"ways": min(60, 4 * pools.train.classes), "shots": 1, "queries": min(5, spare)},
        "protonet_fit": {"minutes": 0.6 * minutes, **training},
        "finetune": {"size": 128},
        "finetune_fit": {"minutes": 0.25 * minutes, **training},
        "validation": {
            "ways": min(20, pools.val.classes), "shots": 1, "queries": min(5, int(pools.val.sizes.min()) - 1)
        },
        "test": {
            "ways": [ways for ways in (5, 20) if ways <= pools.test.classes] or [pools.test.classes],
            "shots": 1, "queries": min(15, int(pools.test.sizes.min()) - 1), "tasks": 600, "seed": seed,
        },
    }  # fmt: skip


def _encoder(recipe: dict[str, Any]) -> Conv4:
    torch.manual_seed(recipe["protonet_fit"]["seed"])
    return nets.conv4(**recipe["encoder"])


def _tables(results: dict[str, dict[str, Report]]) -> tuple[Table, Table]:
    protocols = list(next(iter(results.values())))
    scores = Table("Learner", *protocols, "Norm", "Transductive", title="Accuracy on unseen classes, 95 % intervals")
    for name, reports in results.items():
        first = reports[protocols[0]]
        cells = (f"{score_text(r)}\nopen {open_text(r)}\nECE {r.calibration_error:.3f}" for r in reports.values())
        scores.add_row(name, *cells, first.norm, "yes" if first.transductive else "no", end_section=True)
    pairs = Table("ProtoNet against", "Tasks", "Difference", "95 % interval", "p", "Wins/ties/losses",
                  title="Paired differences on the same tasks")  # fmt: skip
    for one in compare(results):
        pairs.add_row(one.second, one.protocol, *difference_text(one))
    return scores, pairs
