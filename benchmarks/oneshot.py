"""Omniglot by the official one-shot protocol: 20 letters of an alphabet by one drawer, told by those of another.

    python benchmarks/oneshot.py                 trains what is not there, twice 40 minutes of one thread; scores
    python benchmarks/oneshot.py --print-only    trains nothing

All is chosen on a network that was trained on 25 background alphabets, by the five others; the 20 evaluation alphabets
are drawn from at the end alone, and judge a network that was trained on 29 of the 30 by the same recipe. A draw is 20
runs of 20 trials, as in Lake et al. (2015).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from page import DATA, RUNS, record, run, steps_done
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.stats import t
from torch import Tensor, nn

import innerloop as il
from innerloop.data import Pool, omniglot_oneshot, trials
from innerloop.data.fixed import Fixed
from innerloop.learners import NearestView
from innerloop.learners.metric.views import ManyViews
from innerloop.recipes import defaults

#: By how many pixels of 64 a letter is moved; chosen by the five background alphabets as 1.5 of 32.
MOVES = {"shift": 3.0}
#: How many background alphabets are held out of training, where all is chosen and where it is judged.
CHOSEN, JUDGED = 5, 1
#: Images that are seen at a time.
BATCH = 64
RECIPE = defaults("protonet", "omniglot_oneshot")
BOTH = "eight forms, moved, both networks"
UNLEARNED = "modified Hausdorff distance, nothing trained"


class Way(NamedTuple):
    """A way to compare: which of the views and forms, and whether all queries of a run are assigned at once."""

    name: str
    views: slice
    forms: slice
    together: bool = False


ONE, EIGHT, ALL = slice(0, 1), slice(0, 8), slice(None)
#: From what was trained, as it is, to all that helps.
WAYS = [
    Way("as trained", ONE, ONE),
    Way("eight forms", ONE, EIGHT),
    Way("moved, the best match either way", ALL, ONE),
    Way("eight forms, moved", ALL, EIGHT),
    Way(BOTH, ALL, ALL),
    Way("eight forms, transductive: a run's queries assigned at once", ONE, EIGHT, together=True),
]


def encoder(held_out: int, train: bool) -> nn.Module:
    """The network of the recipe on all but some background alphabets, trained where it is not yet."""
    folder = RUNS / f"oneshot-{held_out}"
    if train and steps_done(folder) < RECIPE.training["steps"]:
        data = ["--data", "omniglot_oneshot", "--root", str(DATA / "omniglot"), "--set", f"pool.held_out={held_out}"]
        # A few alphabets tell too little to stop early by: the last weights are kept.
        last = ["--set", f"training.validate_every={RECIPE.training['steps']}"]
        run(["train", "protonet", *data, *last, "--quiet", "--out", str(folder)])
    network, _ = il.load(folder).split()
    assert network is not None
    return network.eval()


@torch.no_grad()
def seen(views: ManyViews, pool: Pool, tasks: Fixed) -> Iterator[tuple[Tensor, Tensor]]:
    """The features of the support and of the query images of each run."""
    for part in zip(tasks.given.support, tasks.given.query, strict=True):
        z = torch.cat([views(pool.get(index)) for index in torch.cat(part).split(BATCH)])
        yield z[: tasks.ways], z[tasks.ways :]


def errors(views: ManyViews, pool: Pool, tasks: Fixed) -> np.ndarray:
    """Percent of errors of each way to compare and each run, ``[ways, runs]``."""
    head, labels = NearestView(), torch.arange(tasks.ways)
    found = []
    for support, query in seen(views, pool, tasks):
        row = []
        for way in WAYS:
            z, q = (part[:, way.views, way.forms] for part in (support, query))
            logits = head.predict(head.adapt(il.Examples(z, torch.eye(tasks.ways))), q)[0]
            said = torch.from_numpy(linear_sum_assignment(-logits.numpy())[1]) if way.together else logits.argmax(1)
            row.append(100 * float((said != labels).double().mean()))
        found.append(row)
    return np.array(found).T


def ink(image: Tensor) -> np.ndarray:
    """The places of an image's ink, from their mean on."""
    places = np.argwhere(image[0].numpy() > 0.5).astype(float)
    return places - places.mean(0)


def unlearned(pool: Pool, tasks: Fixed) -> np.ndarray:
    """Percent of errors of each run by the modified Hausdorff distance: untrained, it says how hard they are.

    Of two sets of places the mean distance from one to the nearest of the other, whichever way is larger (Dubuisson,
    Jain 1994, https://doi.org/10.1109/ICPR.1994.576361).
    """
    found = []
    for part in zip(tasks.given.support, tasks.given.query, strict=True):
        known, asked = ([ink(image) for image in pool.get(index).float()] for index in part)
        near, back = ([cKDTree(places) for places in side] for side in (known, asked))
        wrong = 0
        for number, (places, tree) in enumerate(zip(asked, back, strict=True)):
            away = [max(to.query(places)[0].mean(), tree.query(k)[0].mean()) for to, k in zip(near, known, strict=True)]
            wrong += int(np.argmin(away)) != number
        found.append(100 * wrong / tasks.ways)
    return np.array(found)


def compared(views: ManyViews, pool: Pool, fine: Pool, tasks: Fixed) -> np.ndarray:
    """Percent of errors of each row of the table and each run; ``fine`` has the same images in their own size."""
    return np.vstack((unlearned(fine, tasks), errors(views, pool, tasks)))


def words(values: np.ndarray) -> str:
    """The mean over runs and its 95 % interval."""
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():.2f} ± {half:.2f}"


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=5, help="of 400 trials")
    parser.add_argument("--print-only", action="store_true", help="train nothing")
    given = parser.parse_args()
    chooses, judges = (encoder(held_out, not given.print_only) for held_out in (CHOSEN, JUDGED))
    # The first network is that of all ways but one.
    few, both = (ManyViews(networks, **MOVES).eval() for networks in ([chooses], [judges, chooses]))
    pools = omniglot_oneshot(DATA / "omniglot", size=RECIPE.pool["size"], symmetries=False)
    fine = omniglot_oneshot(DATA / "omniglot", size=105, symmetries=False)
    chosen = [compared(few, pools.val, fine.val, trials(pools.val, groups=5, runs=4, seed=draw)) for draw in range(2)]
    judged = [compared(both, pools.test, fine.test, trials(pools.test, seed=draw)) for draw in range(given.draws)]
    val, test = np.concatenate(chosen, 1), np.concatenate(judged, 1)
    lines = [
        "| comparison | validation alphabets: errors, % | evaluation alphabets, 400 trials | "
        f"{400 * given.draws:,} trials |",
        "|---|---|---|---|",
    ]
    for number, name in enumerate([UNLEARNED, *(way.name for way in WAYS)]):
        # The second network has seen the alphabets that validate.
        cells = ("" if name == BOTH else words(val[number]), words(judged[0][number]), words(test[number]))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    record("oneshot", "\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
