"""In-context regression beside scikit-learn on small real tables: ``python benchmarks/tables_regression.py``.

For each table and number of training rows, seeded splits: mean R^2, the share of targets within the central 50, 90 and
95 % of the predicted distribution (ours alone has one), and seconds to fit and predict. Some minutes on one core.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from page import record
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tables import OURS, Table, read

from innerloop.estimators import InContextRegressor

LEVELS = (0.5, 0.9, 0.95)


def tables() -> Iterator[Table]:
    """All that are measured."""
    yield from read("regression")
    x, y = load_diabetes(return_X_y=True)
    yield Table("diabetes", x, x, y)
    x = load_iris().data
    yield Table("iris, petal width", x[:, :3], x[:, :3], x[:, 3])
    x = load_wine().data
    yield Table("wine, alcohol", x[:, 1:], x[:, 1:], x[:, 0])


def methods() -> dict[str, Any]:
    """By name, an estimator with its default settings."""
    return {
        OURS: InContextRegressor(),
        "ridge, cross-validated": make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 20))),
        "random forest": RandomForestRegressor(random_state=0),
        "boosting": HistGradientBoostingRegressor(random_state=0),
    }


def main() -> None:
    """Measure, print, and put the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--rows", nargs="+", type=int, default=[20, 50, 100])
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    names = list(methods())
    lines = [
        f"| table, rows | {' | '.join(names)} | {', '.join(f'{100 * level:g}' for level in LEVELS)} % hold |",
        "|---" * (len(names) + 2) + "|",
    ]
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for title, mixed, encoded, labels in tables():
        y = labels.astype(float)
        for rows in given.rows:
            found: dict[str, list[float]] = {name: [] for name in names}
            inside = []
            for split in range(given.splits):
                train, test = train_test_split(np.arange(len(y)), train_size=rows, random_state=split)
                for name, model in methods().items():
                    x = mixed if name == OURS else encoded
                    start = time.perf_counter()
                    predicted = model.fit(x[train], y[train]).predict(x[test])
                    seconds[name].append(time.perf_counter() - start)
                    found[name].append(r2_score(y[test], predicted))
                    if name == OURS:
                        ends = [share for level in LEVELS for share in ((1 - level) / 2, (1 + level) / 2)]
                        low, high = np.moveaxis(model.quantiles(x[test], tuple(ends)).reshape(-1, len(LEVELS), 2), 2, 0)
                        inside.append(((y[test, None] >= low) & (y[test, None] <= high)).mean(0))
            cells = [f"{np.mean(found[name]):.3f}" for name in names]
            hold = ", ".join(f"{100 * share:.0f}" for share in np.mean(inside, 0))
            lines.append(f"| {title}, {rows} | {' | '.join(cells)} | {hold} |")
            print(lines[-1], flush=True)
    lines.append(f"| seconds | {' | '.join(f'{np.mean(seconds[name]):.2f}' for name in names)} | |")
    text = "\n".join(lines)
    print(text)
    record("tables_regression", text)


if __name__ == "__main__":
    main()
