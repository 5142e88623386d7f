"""How sharp the mean of network and trees should be: ``python benchmarks/sharpened.py``, some minutes on one core.

Prints the weights of ``innerloop.estimators.sharpened``, and what they are worth: log loss and calibration error of the
in-context classifier on tables that had no part in them (each table left out in turn, with those that come from the
same data), beside one power for all. Tables are those of ``tables.py`` and, since these are few, others from the same
folder and from scikit-learn: real targets cut at their quantiles, and digits by some of their pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import train_test_split
from tables import Table, read, tables

from innerloop.estimators import InContextClassifier
from innerloop.estimators.base import learned, queried
from innerloop.estimators.sharpened import Sharpened, raised
from innerloop.evaluation.metrics import calibration_error

#: Rows that are learned from; of the other rows so many are asked.
ROWS, ASKED = (20, 50, 100, 200), 400
#: One power for all tables, as it was before.
ONE = 1.25


class Case(NamedTuple):
    """A split of a table: the plain mean of both probabilities ``[Q, D]``, and what a power could follow from."""

    table: str
    family: str
    rows: int
    mean: np.ndarray
    rates: np.ndarray
    labels: np.ndarray
    told: np.ndarray

    def sharpened(self, power: float) -> np.ndarray:
        """The answer by a power."""
        return raised(torch.from_numpy(self.mean), torch.from_numpy(self.rates), power).numpy()

    def loss(self, power: float) -> float:
        """The mean log loss by a power."""
        p = self.sharpened(power)[np.arange(len(self.labels)), self.labels]
        return float(-np.log(np.maximum(p, 1e-3)).mean())


def everything() -> Iterator[tuple[str, Table]]:
    """All tables, each with the data that it comes from."""
    for table in tables():
        yield table.name, table
    for table in read("regression"):
        values = np.array([float(value) for value in table.labels])
        for classes in (2, 4):
            labels = np.digitize(values, np.quantile(values, np.linspace(0, 1, classes + 1)[1:-1]))
            yield table.name, Table(f"{table.name}-{classes}", table.mixed, table.encoded, labels)
    x, y = load_diabetes(return_X_y=True)
    yield "diabetes", Table("diabetes-3", x, x, np.digitize(y, np.quantile(y, [1 / 3, 2 / 3])))
    x, y = load_digits(return_X_y=True)
    random = np.random.default_rng(0)
    for name, labels, pixels in (
        ("10-a", y, 16), ("10-b", y, 16), ("10-c", y, 16), ("odd", y % 2, 16), ("3", y // 4, 24),
    ):  # fmt: skip
        some = x[:, random.permutation(64)[:pixels]]
        yield "digits", Table(f"digits-{name}", some, some, labels)


def cases(splits: int) -> Iterator[Case]:
    for family, table in everything():
        y = np.unique(table.labels, return_inverse=True)[1]
        for rows in ROWS:
            for split in range(splits if rows <= 0.6 * len(y) else 0):
                train, test = train_test_split(np.arange(len(y)), train_size=rows, stratify=y, random_state=split)
                yield case(table, family, y, train, test[:ASKED])


def case(table: Table, family: str, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> Case:
    model = InContextClassifier(trees=0)
    columns, x, labels = learned(model, table.mixed[train], y[train], numeric=False)
    network = model.fit(table.mixed[train], y[train]).predict_proba(table.mixed[test])
    present, places = np.unique(labels, return_inverse=True)
    trees = Sharpened(x[None], places[None], places[None], len(present), trees=100, seed=0)
    mean = np.zeros((len(test), int(y.max()) + 1))
    mean[:, present] = (network + trees.forest.probabilities(queried(model, columns, table.mixed[test]))[0]) / 2
    rates = np.bincount(labels, minlength=mean.shape[1]) / len(labels)
    return Case(table.name, family, len(train), mean, rates, y[test], trees.told[0])


def fitted(some: list[Case]) -> np.ndarray:
    """The weights under which the mean log loss is the least; data from which many tables come count once."""
    grid = np.exp(np.linspace(np.log(0.3), np.log(5.0), 57))
    curves = np.array([[one.loss(power) for power in grid] for one in some])
    known = np.stack([one.told for one in some])
    families = [one.family for one in some]
    counts = np.array([1 / families.count(family) for family in families])

    def loss(weights: np.ndarray) -> float:
        wanted = known @ weights
        found = [np.interp(value, np.log(grid), curve) for value, curve in zip(wanted, curves, strict=True)]
        return float(np.average(found, weights=counts))

    return minimize(loss, [0.1, 0.1, 0.1, 0.6], method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-6}).x


def scores(some: list[Case], power: Callable[[Case], float]) -> str:
    """Log loss and calibration error, the mean over tables, for each number of rows."""
    cells = []
    for rows in ROWS:
        losses, errors = [], []
        for table in dict.fromkeys(one.table for one in some if one.rows == rows):
            here = [one for one in some if (one.table, one.rows) == (table, rows)]
            p = torch.from_numpy(np.concatenate([one.sharpened(power(one)) for one in here]))
            truth = np.eye(p.shape[1])[np.concatenate([one.labels for one in here])]
            losses.append(np.mean([one.loss(power(one)) for one in here]))
            errors.append(calibration_error(p, torch.from_numpy(truth)))
        cells.append(f"{rows} rows: {np.mean(losses):.4f}, {np.mean(errors):.4f}")
    return "; ".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=6)
    given = parser.parse_args()
    torch.set_num_threads(1)
    every = list(cases(given.splits))
    families = list(dict.fromkeys(one.family for one in every))
    without = {family: fitted([one for one in every if one.family != family]) for family in families}
    twelve = {table.name for table in tables()}
    print("weights:", ", ".join(f"{weight:.3f}" for weight in fitted(every)))
    print("log loss, calibration error")
    for name, some in (
        ("tables of tables.py", [one for one in every if one.table in twelve]),
        ("the others", [one for one in every if one.table not in twelve]),
    ):
        print(f"{name}, power {ONE}: {scores(some, lambda one: ONE)}")
        print(f"{name}, told: {scores(some, lambda one: float(np.exp(one.told @ without[one.family])))}")


if __name__ == "__main__":
    main()
