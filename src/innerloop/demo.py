"""A few minutes that show the whole: letters drawn here, a learner and two baselines, one page with the results."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from innerloop import nets
from innerloop.core.allocator import keep_memory
from innerloop.core.folder import prepare_folder
from innerloop.core.learner import Learner
from innerloop.core.task import InputError
from innerloop.data.episodes import Batches, FewShot, Sampler
from innerloop.data.pools import Pools
from innerloop.data.sets.glyphs import glyphs
from innerloop.evaluation.evaluate import evaluate
from innerloop.learners.metric.protonet import ProtoNet
from innerloop.learners.transfer.finetune import FineTune
from innerloop.report.page import write_report
from innerloop.report.picture import picture
from innerloop.report.tables import Results, cell_text, difference_text, pairs, policy_text
from innerloop.training.fit import fit

#: Outer steps of ProtoNet, and images of the classifier's batches (as in its committed recipe).
STEPS, _BATCH = 660, 256


def run_demo(
    out: str | Path, steps: int = STEPS, seed: int = 0, progress: bool = True,
    pools: Pools | None = None, tasks: int = 600,
) -> Path:  # fmt: skip
    """Train a prototypical network to read letters of unseen scripts, and compare it with two baselines.

    A fine-tuned classifier and the untrained network (the same initial weights) are judged on the same episodes. Both
    trained ones see equally many training images, on any machine: images through the encoder are the compute. Prints
    the recipe and the results, and writes ``report.html``.

    Args:
        out: folder for the report, made if missing.
        steps: outer steps of the prototypical network; the classifier gets as many images in larger batches.
        seed: of all that is random.
        progress: show a bar while training.
        pools: square images to use in place of :func:`innerloop.data.sets.glyphs.glyphs`.
        tasks: test tasks of each kind.

    Returns:
        The path of the report.

    Raises:
        InputError: if the folder cannot be written, there is no step, or a pool is too small.
        KeyboardInterrupt: if the training is interrupted.
    """
    if steps < 1:
        raise InputError(f"the demo is given {steps} steps; it needs at least 1, and {STEPS} for a good result")
    out, console = Path(out), Console()
    prepare_folder(out)
    keep_memory()
    options = f"--out {shlex.quote(str(out))} --steps {steps} --seed {seed}"
    command = f"innerloop demo {options}" if pools is None and tasks == 600 else ""
    pools = pools or glyphs()
    recipe = make_recipe(pools, steps, seed, tasks)
    for part, values in recipe.items():
        console.print(f"{part}: {json.dumps(values)}", style="dim", markup=False, highlight=False, soft_wrap=True)

    validate = FewShot(pools.val, **recipe["validation"])
    samplers: dict[str, Sampler] = {"ProtoNet": FewShot(pools.train.rotated(), **recipe["episodes"])}
    samplers["FineTune"] = Batches(pools.train, **recipe["batches"])
    learners: dict[str, Learner] = {
        "ProtoNet": ProtoNet(_encoder(recipe), **recipe["protonet"]),
        "FineTune": FineTune(_encoder(recipe), classes=pools.train.classes),
        "Untrained": ProtoNet(_encoder(recipe), **recipe["protonet"]),
    }
    histories, common = {}, {"seed": seed, **recipe["training"]}
    for name, sampler in samplers.items():
        budget = {"steps": recipe["budget"]["steps"][name], "validate_every": recipe["validate_every"][name]}
        images = recipe["budget"]["images"]
        console.print(f"Training {name}: {budget['steps']} steps, {images:,} images", style="bold", highlight=False)
        histories[name] = fit(learners[name], sampler, validate=validate, progress=progress, **budget, **common)
        if histories[name].stopped == "interrupted":
            raise KeyboardInterrupt
    # Without a step, yet its normalization statistics are measured, as those of the others are.
    fit(learners["Untrained"], samplers["ProtoNet"], steps=0, progress=False, **common)

    console.print(f"Testing on {pools.test.classes} unseen classes", style="bold")
    tests = {name: FewShot(pools.test, **values) for name, values in recipe["test"].items()}
    results = {
        name: {test: evaluate(learner, tests[test], seed=seed, **recipe["evaluation"]) for test in tests}
        for name, learner in learners.items()
    }
    for table in _tables(results):
        console.print(table)
    test = next(iter(tests))
    return write_report(
        out / "report.html",
        title="New letters from one example each",
        results=results,
        histories=histories,
        episode=picture(learners["ProtoNet"], tests[test], results["ProtoNet"][test]),
        recipe=recipe,
        seeds=[seed],
        command=command,
    )


def make_recipe(pools: Pools, steps: int = STEPS, seed: int = 0, tasks: int = 600) -> dict[str, Any]:
    """What :func:`run_demo` runs, as plain values; small pools get fewer ways and queries.

    Args:
        pools: the data. ProtoNet takes the four rotations of a training class for four classes; FineTune, which in this
            time learns better without them, does not.
        steps: outer steps of ProtoNet.
        seed: of all that is random.
        tasks: test tasks of each kind.
    """
    classes = 4 * pools.train.classes
    queries = {part: int(getattr(pools, part).sizes.min()) - 1 for part in ("train", "val", "test")}
    ways = [n for n in (5, 20) if n <= pools.test.classes] or [pools.test.classes]
    shown = min(60, classes) * (1 + min(5, queries["train"]))
    return {
        "seed": seed,
        "data": {"name": pools.name, "classes": {"ProtoNet": classes, "FineTune": pools.train.classes}},
        "encoder": {"shape": list(pools.train.shape), "width": 64, "norm": "running"},
        "protonet": {"scale": 0.1},
        "episodes": {"ways": min(60, classes), "shots": 1, "queries": min(5, queries["train"])},
        "batches": {"size": _BATCH},
        # In images and not by the clock, so that a slow machine changes nothing but the time.
        "budget": {
            "what": "training images through the encoder, as many for both",
            "images": steps * shown,
            "steps": {"ProtoNet": steps, "FineTune": max(1, round(steps * shown / _BATCH))},
        },
        "validate_every": {"ProtoNet": 100, "FineTune": 150},
        "training": {"tasks_per_step": 1, "lr": 2e-3, "schedule": "cosine", "average": 0.99, "how": "vmap"},
        "validation": {"ways": min(20, pools.val.classes), "shots": 1, "queries": min(5, queries["val"])},
        "test": {f"{n}-way 1-shot": {"ways": n, "shots": 1, "queries": min(15, queries["test"])} for n in ways},
        "evaluation": {"tasks": tasks, "how": "vmap"},
    }


def _encoder(recipe: dict[str, Any]) -> torch.nn.Module:
    torch.manual_seed(recipe["seed"])
    return nets.conv4(**recipe["encoder"])


def _tables(results: Results) -> tuple[Table, Table]:
    tests = next(iter(results.values()))
    scores = Table("Learner", *tests, title="Accuracy on unseen classes, 95 % intervals")
    for name, reports in results.items():
        about = policy_text(next(iter(reports.values())))
        cells = ("\n".join(cell_text(one)) for one in reports.values())
        scores.add_row(f"{name}\n{about}", *cells, end_section=True)
    paired = Table("ProtoNet against", "Difference", "p", "Wins/ties/losses", title="Task by task, 95 % intervals")
    for two in pairs(results):
        mean, ends, p, counts = difference_text(two.comparison)
        paired.add_row(f"{two.second}\n{two.protocol}", f"{mean}\n{ends}", p, counts, end_section=True)
    return scores, paired
