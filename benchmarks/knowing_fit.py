"""Fit the coefficients of estimators/estimate.py: small tasks of known accuracy, from the first half of the classes.

Called by ``knowing.py fit``. Every source counts the same, but normal classes less. The accuracy of a task is known
from so many right queries of so many, so the likelihood is beta-binomial. ``SHARE`` is what lets about 95 % of their
intervals hold.
"""

from __future__ import annotations

import numpy as np
import torch
from knowing_tasks import SETS, blobs, classes_of, digits, makers, sizes, task

import innerloop as il
from innerloop.estimators.choice import candidates, countable
from innerloop.estimators.estimate import facts
from innerloop.evidence import leave_one_out
from innerloop.evidence.conformal import misfits

WIDE = [0, 3, 6, 10]
MOST = 300
#: What normal classes count: most of them can hardly be told apart, unlike what people bring.
RARE = 0.2


def seen(random: np.random.Generator, name: str) -> tuple[np.ndarray, float, int] | None:
    """The facts of a task, the accuracy of its head on fresh queries, and how many these are."""
    of = {
        "digits": digits,
        "normal": lambda: blobs(random, 15),
    }.get(name, lambda: classes_of(name, "first"))()
    _, counts = sizes(random, len(of))
    x, y, q, t, _ = task(of, random, counts, max(30, 600 // len(counts)))
    support = il.Examples(torch.from_numpy(x), torch.eye(len(counts), dtype=torch.float64)[torch.from_numpy(y)])
    heads = candidates(len(x), len(counts), x.shape[1], makers(name))
    rows = countable(support.y, heads)
    if not rows.any():
        return None
    if len(x) > 25:
        heads.pop("logistic", None)
    if random.random() < 0.4:
        # A head that was asked for.
        only = str(random.choice(["ridge", "prototypes", "nearest", "gaussian"]))
        heads = {only: heads[only]}
    raws = {head: leave_one_out(made, support)[rows] for head, made in heads.items()}
    truth = support.y[rows]
    right = np.stack([(raw.argmax(1) == truth.argmax(1)).numpy() for raw in raws.values()])
    best = int(right.sum(1).argmax())
    chosen = heads[list(heads)[best]]
    margins = -misfits(list(raws.values())[best], truth).clamp(-1e6, 1e6).numpy()
    with torch.no_grad():
        found = chosen.predict(chosen.adapt(support), torch.from_numpy(q))[0].argmax(1).numpy() == t
    accuracy = np.average([found[t == c].mean() for c in range(len(counts))], weights=counts)
    order = [best, *(i for i in range(len(right)) if i != best)]
    return facts(right[order], margins, counts, x.shape[1]), float(accuracy), len(q)


def fit(tasks: int) -> None:
    """Print the coefficients."""
    torch.set_num_threads(1)
    sources = (*SETS, "digits", "normal")
    random, found, weights = np.random.default_rng(2), [], []
    for name in sources:
        each = [one for one in (seen(random, name) for _ in range(tasks)) if one is not None]
        found += each
        weights += [(RARE if name == "normal" else 1) / len(each)] * len(each)
    x, accuracy = torch.tensor(np.array([one[0] for one in found])), torch.tensor([one[1] for one in found])
    of = torch.tensor([float(min(one[2], MOST)) for one in found], dtype=torch.float64)
    weight, hits = torch.tensor(weights, dtype=torch.float64), of * accuracy.double()
    scale = x.std(0) + 1e-9
    scale[0] = 1
    z = x / scale
    mean = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    width = torch.zeros(len(WIDE), dtype=torch.float64, requires_grad=True)
    descent = torch.optim.LBFGS([mean, width], max_iter=500, line_search_fn="strong_wolfe")

    def log_beta(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)

    def closure() -> torch.Tensor:
        descent.zero_grad()
        m = torch.sigmoid(z @ mean).clamp(1e-4, 1 - 1e-4)
        worth = (2 + z[:, WIDE] @ width).clamp(-1, 7).exp()
        a, b = m * worth, (1 - m) * worth
        likely = log_beta(hits + a, of - hits + b) - log_beta(a, b)
        small = 1e-3 * (mean[1:].square().sum() + width[1:].square().sum())
        loss = -(weight * likely).sum() / weight.sum() + small
        loss.backward()
        return loss

    descent.step(closure)
    for name, values in (("MEAN", mean / scale), ("WIDTH", width / scale[WIDE])):
        print(name, "=", tuple(round(value, 4) for value in values.tolist()))
