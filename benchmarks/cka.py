"""Does MAML learn rapidly or reuse its features? The study of the ANIL paper on Omniglot and CIFAR-FS.

    python benchmarks/cka.py --train --device cuda    the runs, three minutes each on a GPU; what is there is kept
    python benchmarks/cka.py                          tables and plot, of the runs that are there (3 minutes a run)
    python benchmarks/cka.py maml-cifar boil-cifar    of some of them

What was found of a run stands beside it, so that it is not computed again.

The first table has linear CKA of each block's output before and after the inner loop, on the queries of the test
classes' tasks; the second what accuracy is left where blocks do not adapt at test time, with the paired difference in
brackets. Both and docs/images/layers.png are kept where all runs are asked for. The network has 4 blocks and a head of
its own for each class, and the recipe 5 inner steps in training and 10 at test time, as in the paper; the published
images (miniImageNet) are not at hand.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from page import DATA, HOME, RUNS, record, run

from innerloop.cli.runs import judged_by
from innerloop.evidence import freezing, layer_change
from innerloop.evidence.freezing import Freezing
from innerloop.evidence.layers import LayerChange
from innerloop.recipes import load, load_run

OWN_HEAD = (
    '--set options.shared_head="" --set options.body_from="" --ways 5 --queries 5 --set net.width=64 '
    "--set augment.probability=0 --lr 1e-3 --set training.average=0.99 --inner-steps 5 --set options.test_steps=10 "
    "--tasks-per-step 4 --how vmap"
)
CIFAR = f"--data cifar_fs --root {DATA / 'cifar_fs'} --shots 5 {OWN_HEAD}"
OMNIGLOT = f"--data omniglot --root {DATA / 'omniglot'} --shots 1 {OWN_HEAD}"
#: What is trained, by the name of the run: its title, and the arguments.
ROWS = {
    "maml-cifar": ("MAML, CIFAR-FS 5w5s", f"maml {CIFAR} --norm batch --inner-lr 0.03"),
    "maml-support-cifar": ("MAML, CIFAR-FS 5w5s, support statistics", f"maml {CIFAR} --norm support --inner-lr 0.03"),
    "maml-omniglot": ("MAML, Omniglot 5w1s", f"maml {OMNIGLOT} --norm batch --inner-lr 0.1"),
    "anil-cifar": ("ANIL, CIFAR-FS 5w5s", f"anil {CIFAR} --norm batch --inner-lr 0.1"),
    "boil-cifar": ("BOIL, CIFAR-FS 5w5s", f"boil {CIFAR} --norm batch --inner-lr 0.1"),
}
#: Outputs of the blocks' norms and of the head, and the parameters of each block.
LAYERS = {**{f"block {i + 1}": f"norms.{i}" for i in range(4)}, "head": "out"}
PARTS = {**{f"block {i + 1}": [f"convolutions.{i}.*", f"norms.{i}.*"] for i in range(4)}, "head": ["out.*"]}
#: The titles of what is frozen.
FROZEN = {"nothing": "nothing", "block 1": "block 1", "block 1 to block 2": "1 to 2", "block 1 to block 3": "1 to 3",
          "block 1 to block 4": "body", "all": "body and head", "all, nearest class mean": "no head"}  # fmt: skip


def places(name: str) -> list[Path]:
    """The runs of a row that are there, one a seed."""
    return sorted(place for place in RUNS.glob(f"inside-{name}-seed*") if (place / "best").exists())


def train(names: list[str], seeds: list[int], minutes: float, device: str) -> None:
    """Train what is not there yet."""
    for name in names:
        for seed in seeds:
            folder = RUNS / f"inside-{name}-seed{seed}"
            if not folder.exists():
                how = ["--minutes", str(minutes), "--seed", str(seed), "--device", device, "--quiet"]
                print(run(["train", *ROWS[name][1].split(), *how, "--out", str(folder)]), flush=True)


def cell(mean: float, ends: np.ndarray, scale: float = 1.0, digits: int = 3, sign: str = "") -> str:
    """A mean with half of its interval."""
    return f"{scale * mean:{sign}.{digits}f} ± {scale * (ends[1] - ends[0]) / 2:.{digits}f}"


def measured(folder: Path, tasks: int, seed: int, device: str) -> tuple[LayerChange, Freezing]:
    """Both studies of a run, which are kept beside it."""
    kept = folder / f"inside-{tasks}-{seed}.json"
    if kept.exists():
        found = json.loads(kept.read_text())
        changed, frozen = found["layers"], found["frozen"]
        return (
            LayerChange(tuple(changed["names"]), np.array(changed["cka"]), np.array(changed["plain"]), "start"),
            Freezing(tuple(frozen["names"]), np.array(frozen["scores"]), "accuracy"),
        )
    recipe, _ = load_run(folder)
    shots = recipe.episodes["shots"]
    sampler, _ = judged_by(folder, 5, shots, 15, "test", data=recipe.data, root=DATA / recipe.data)
    learner = load(folder).to(device)
    changed = layer_change(learner, sampler, layers=LAYERS, tasks=tasks, seed=seed)
    frozen = freezing(learner, sampler, parts=PARTS, tasks=tasks, seed=seed)
    said = {
        "layers": {"names": changed.layers, "cka": changed.values.tolist(), "plain": changed.plain.tolist()},
        "frozen": {"names": frozen.parts, "scores": frozen.values.tolist()},
    }
    kept.write_text(json.dumps(said))
    return changed, frozen


def plot(found: dict[str, tuple[LayerChange, Freezing]], path: Path) -> None:
    """Similarity by layer, and accuracy by what is frozen, of every row."""
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for (title, (changed, frozen)), color in zip(found.items(), plt.colormaps["tab10"].colors, strict=False):
        half = np.diff(changed.intervals, axis=1)[:, 0] / 2
        left.errorbar(changed.layers, changed.mean, half, marker="o", markersize=3, label=title, color=color, capsize=2)
        half = np.diff(frozen.intervals, axis=1)[:, 0] / 2
        names = [FROZEN[part] for part in frozen.parts]
        right.errorbar(names, frozen.mean, half, marker="o", markersize=3, color=color, capsize=2)
    left.set(ylabel="CKA before and after", ylim=(None, 1.03))
    right.set(ylabel="accuracy", xlabel="frozen at test time")
    right.tick_params(axis="x", labelrotation=20)
    left.legend(fontsize=7)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="row", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--tasks", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the tasks")
    parser.add_argument("--train", action="store_true", help="train first what is not there")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the trainings")
    parser.add_argument("--minutes", type=float, default=3, help="of each training")
    parser.add_argument("--device", default="cpu", help="of the trainings and of the studies")
    arguments = parser.parse_args()
    names = arguments.rows or list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"{unknown[0]} is none of {', '.join(ROWS)}")
    torch.set_num_threads(1)
    if arguments.train:
        train(names, arguments.seeds, arguments.minutes, arguments.device)
    found: dict[str, tuple[LayerChange, Freezing]] = {}
    for name in names:
        for number, place in enumerate(places(name)):
            seed = place.name.rpartition("seed")[2]
            title = ROWS[name][0] + (f", seed {seed}" if number else "")
            found[title] = measured(place, arguments.tasks, arguments.seed, arguments.device)
            print(f"{title}\n{found[title][0]}\n{found[title][1]}\n", flush=True)
    layers = ["| run | estimator | " + " | ".join(LAYERS) + " |", "|---" * (2 + len(LAYERS)) + "|"]
    frozen = ["| run | " + " | ".join(FROZEN.values()) + " |", "|---" * (1 + len(FROZEN)) + "|"]
    for title, (changed, kept) in found.items():
        cells = " | ".join(map(cell, changed.mean, changed.intervals))
        plain = " | ".join(f"{value:.3f}" for value in changed.plain.mean(0))
        layers += [f"| {title} | unbiased | {cells} |", f"| {title} | plain | {plain} |"]
        scores = {}
        for part, mean, ends, (gap, *apart) in zip(kept.parts, kept.mean, kept.intervals, kept.losses, strict=True):
            lost = f"{100 * mean:.1f} ({cell(gap, np.array(apart), 100, 1, sign='+')})"
            scores[part] = cell(mean, ends, 100, 1) if part == "nothing" else lost
        frozen.append(f"| {title} | " + " | ".join(scores.get(part, "") for part in FROZEN) + " |")
    print("\n".join([*layers, "", *frozen]))
    if not arguments.rows:
        record("inside-layers", "\n".join(layers))
        record("inside-freezing", "\n".join(frozen))
        plot(found, HOME / "docs" / "images" / "layers.png")


if __name__ == "__main__":
    main()
