"""Draw new characters from one example each, and show that they are not copies.

    innerloop train statistician --data omniglot --root PATH --out runs/statistician
    python examples/draw_characters.py runs/statistician characters.png

A row is a class of the split that the model never saw. From the left: the one example, then pairs of a new sample and
the meta-training image that is nearest to it (L2 distance of pixels).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import torch
from torch import Generator, Tensor

import innerloop as il
from innerloop import recipes


def load(run: Path) -> tuple[il.learners.Statistician, il.Pools]:
    """The trained model and its pools."""
    learner, (recipe, _) = recipes.load(run), recipes.load_run(run)
    pools = recipe.source()
    if not isinstance(learner, il.learners.Statistician) or not isinstance(pools, il.Pools):
        raise il.InputError(f"{run} holds a run of {recipe.learner}, which draws no examples: give a statistician's")
    return learner, pools


def nearest(samples: Tensor, pool: il.Pool, chunk: int = 4096) -> tuple[Tensor, Tensor]:
    """For each of ``samples [N, *F]`` the pool's nearest image ``[N, *F]``, and their L2 distance ``[N]``."""
    best = torch.full((len(samples),), torch.inf)
    which = torch.zeros(len(samples), dtype=torch.int64)
    for start in range(0, len(pool.x), chunk):
        images = pool.get(torch.arange(start, min(start + chunk, len(pool.x))))
        distance, index = torch.cdist(samples.flatten(1), images.flatten(1)).min(1)
        which = torch.where(distance < best, index + start, which)
        best = torch.minimum(distance, best)
    return pool.get(which), best


def main() -> None:
    """Write the picture and print the distances."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder of a statistician")
    parser.add_argument("out", type=Path, help="the picture, a PNG file")
    parser.add_argument("--classes", type=int, default=6)
    parser.add_argument("--samples", type=int, default=5, help="new examples a class")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    learner, pools = load(options.run)
    generator = Generator().manual_seed(options.seed)
    task = il.FewShot(pools.test, ways=options.classes, shots=1, queries=0).plain(generator, 1)
    support = il.Examples(task.support.x[0], task.support.y[0])
    with torch.no_grad():
        samples = learner.sample(learner.adapt(support), options.samples, generator)
    copies, distance = nearest(samples.flatten(0, 1), pools.train)
    copies, distance = copies.view_as(samples), distance.view(samples.shape[:2])
    _, usual = nearest(support.x, pools.train)
    print(f"{pools.name}: L2 distance to the nearest of {len(pools.train.x)} meta-training images")
    print(f"  of a new sample:      median {distance.median():.2f}, smallest {distance.min():.2f}")
    print(f"  of the examples seen: median {usual.median():.2f}, smallest {usual.min():.2f}")

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    columns = 1 + 2 * options.samples
    figure, axes = plt.subplots(
        options.classes, columns, figsize=(0.75 * columns, 0.8 * options.classes), squeeze=False, layout="constrained"
    )
    for row in range(options.classes):
        pictures = [support.x[row]] + [x for pair in zip(samples[row], copies[row], strict=True) for x in pair]
        titles = ["seen", *["new", "nearest"] * options.samples]
        for axis, picture, title in zip(axes[row], pictures, titles, strict=True):
            axis.imshow(1 - picture.movedim(0, -1).squeeze(-1).clamp(0, 1), cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
            for side in axis.spines.values():
                side.set_color("tab:blue" if title == "new" else "lightgray")
            if row == 0:
                axis.set_title(title, fontsize=7)
    figure.savefig(options.out, dpi=150)
    print(options.out)


if __name__ == "__main__":
    main()
