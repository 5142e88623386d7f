"""How sure trained learners are: the table of docs/evidence.md "How sure".

    python benchmarks/uncertainty.py --runs RUNS             the rows whose run folders are there
    python benchmarks/uncertainty.py maml --runs RUNS        some rows

A row is a run that `innerloop train` wrote and what it is asked. Temperatures and learned scores are found on
episodes of the validation classes, by seed 1; the test episodes are those of seed 0. Of learners without an encoder
that runs once, a quarter of the episodes. The last columns are of strangers: queries of classes that an episode does
not have, and of another data set.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import torch
from page import DATA, HOME, RUNS, record_rows

import innerloop as il
from innerloop.core.task import InputError
from innerloop.data import registry
from innerloop.evaluation.resampling import Estimate
from innerloop.evidence import Uncertainty, uncertainty
from innerloop.recipes import load, load_run


class Row(NamedTuple):
    """One run and what it is asked."""

    title: str
    folders: tuple[str, ...]
    """The first that is there."""
    ways: int = 5
    shots: int = 1
    norm: str | None = None


ROWS = {
    "protonet": Row(
        "ProtoNet, Omniglot", ("omniglot-protonet-seed0-cuda", "omniglot-protonet-seed0", "protonet-seed0")
    ),
    "protonet-5": Row(
        "ProtoNet, Omniglot", ("omniglot-protonet-seed0-cuda", "omniglot-protonet-seed0", "protonet-seed0"), shots=5
    ),
    "relationnet": Row("RelationNet, Omniglot", ("omniglot-relationnet-seed0-cuda", "omniglot-relationnet-seed0")),
    "maml": Row("MAML from ProtoNet, 5 inner steps, Omniglot", ("omniglot-maml-from-protonet-seed0",)),
    "maml-scratch": Row("MAML, Omniglot", ("omniglot-maml-scratch-seed0-cuda", "omniglot-maml-seed0")),
    "reptile": Row("Reptile, Omniglot", ("omniglot-reptile-scratch-seed0-cuda", "omniglot-reptile-seed0")),
    "versa": Row("VERSA, Omniglot", ("omniglot-versa-seed0-cuda", "omniglot-versa-seed0")),
    "finetune": Row("Fine-tuned, Omniglot", ("omniglot-finetune-seed0-cuda", "omniglot-finetune-seed0")),
    "cifar-protonet": Row(
        "ProtoNet, CIFAR-FS", ("cifar_fs-protonet-seed0-cuda", "curves-cifar_fs-protonet-all-seed0"), shots=5
    ),
    "cifar-relationnet": Row(
        "RelationNet, CIFAR-FS", ("cifar_fs-relationnet-seed0-cuda", "cifar_fs-relationnet-seed0"), shots=5
    ),
    "cifar-maml": Row("MAML, CIFAR-FS", ("cifar_fs-maml-seed0-cuda", "cifar_fs-maml-seed0"), shots=5),
    "cifar-finetune": Row(
        "Fine-tuned, CIFAR-FS", ("cifar_fs-finetune-seed0-cuda", "curves-cifar_fs-finetune-all-seed0"), shots=5
    ),
}


def others_of(data: str, ways: int, shots: int) -> dict[str, il.FewShot]:
    """Other domains whose examples have the shape of a data set's."""
    if data == "omniglot":
        return {"glyphs": il.FewShot(registry.read("glyphs").part("test"), ways=ways, shots=shots, queries=15)}
    x, labels = groceries()
    return {"groceries in gray": il.FewShot(il.Pool.of(x, labels), ways=ways, shots=1, queries=15)}


def groceries() -> tuple[torch.Tensor, list[int]]:
    """Photographs of groceries, 32 x 32 pixels, each channel the gray; classes of 16 or more."""
    import csv

    from innerloop.data.images import read_image

    kept = HOME / "runs" / "uncertainty-groceries.pt"
    if not kept.exists():
        rows = list(csv.DictReader((DATA / "groceries" / "classes.csv").open()))
        print(len(rows), "classes")
        found, labels = [], []
        for number, folder in enumerate(sorted((DATA / "groceries" / "images").iterdir())):
            files = sorted(folder.rglob("*.*"))[:20] if folder.is_dir() else []
            if len(files) < 16:
                continue
            found += [read_image(file, size=32, channels=1, fit="crop") for file in files]
            labels += [number] * len(files)
        x = torch.stack([torch.as_tensor(image) for image in found]).expand(-1, 3, -1, -1).contiguous()
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save((x, labels), kept)
    x, labels = torch.load(kept)
    return x, labels


def measured(row: Row, folder: Path, tasks: int, known: int, seed: int, device: str | None) -> Uncertainty:
    """A run asked."""
    recipe = load_run(folder)[0]
    source = registry.read(recipe.data, DATA / recipe.data, **recipe.pool)
    sizes = {"ways": row.ways, "shots": row.shots, "queries": 15}
    validation, test = (recipe.episodes_of(source, split, **sizes) for split in ("val", "test"))
    learner = load(folder, policy=row.norm)
    others = others_of(recipe.data, row.ways, row.shots)
    # An inner loop for each of 1,600 episodes takes long.
    quick = learner.split()[0] is not None
    few, known = (tasks, known) if quick else (max(2, tasks // 4), max(2, known // 4))
    return uncertainty(
        learner, test, validation, others=others, tasks=few, validation_tasks=known, seed=seed, device=device
    )


def shown(one: Estimate, scale: float = 1.0, digits: int = 2) -> str:
    """A figure and its interval."""
    value, low, high = (f"{scale * part:.{digits}f}" for part in (one.value, *one.interval))
    return f"{value} ({low} to {high})"


def cells(row: Row, found: Uncertainty) -> str:
    """The row of the table."""
    before, after = found.before.reliability, found.after.reliability
    plain, learned = (found.area[name] for name in ("probability", "learned"))
    texts = [
        row.title,
        f"{row.ways}w{row.shots}s",
        shown(found.accuracy, 100),
        f"{100 * before.error:.2f}",
        f"{found.temperature:.2f}",
        f"{100 * after.error:.2f}",
        shown(Estimate(after.debiased, after.interval), 100),
        f"{found.before.nll.value:.4f} → {found.after.nll.value:.4f}",
        f"{found.before.brier.value:.4f} → {found.after.brier.value:.4f}",
        f"{100 * plain.value:.3f}, {100 * learned.value:.3f}; less by {shown(found.area_gain, 100, 3)}",
    ]
    for place, scores in found.strangers.items():
        each = ", ".join(f"{name} {one.value:.3f}" for name, one in scores.items())
        texts.append(f"{place}: {each}; learned more by {shown(found.strangers_gain[place], 1, 3)}")
    return f"| {' | '.join(texts)} | {found.tasks} |"


HEAD = (
    "| learner | task | accuracy, % | ECE, % | temperature | ECE with it, % | without noise, % | log loss | Brier "
    "| area under risk, %: probability, learned | other classes, AUROC | another data set, AUROC | tasks |"
)


def main() -> None:
    """Ask the runs, print the table, and put it into the page where all rows are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help=f"default all: {', '.join(ROWS)}")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where the run folders are")
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--known", type=int, default=600, help="validation tasks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", help="cpu, cuda, ...")
    parser.add_argument("--json", type=Path, help="keep all figures there")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"{unknown[0]!r} is no row: choose from {', '.join(ROWS)}")
    kept = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    lines = [HEAD, "|" + "---|" * HEAD.count(" | ") + "---|"]
    print("\n".join(lines), flush=True)
    for name in options.rows or ROWS:
        row = ROWS[name]
        folder = next((options.runs / one for one in row.folders if (options.runs / one / "best").exists()), None)
        if folder is None:
            continue
        try:
            found = measured(row, folder, options.tasks, options.known, options.seed, options.device)
        except InputError as error:
            print(f"{name}: {error}", flush=True)
            continue
        lines.append(cells(row, found))
        print(lines[-1], flush=True)
        if options.json:
            kept[name] = {"line": lines[-1], **found.json()}
            options.json.write_text(json.dumps(kept, indent=1))
    record_rows("uncertainty", lines, labels=2)


if __name__ == "__main__":
    main()
