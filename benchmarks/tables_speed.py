"""What the in-context estimators take for a table: ``python benchmarks/tables_speed.py``, seconds on one core.

A table of 100 rows and 20 columns with three classes (and a real target), 100 queries; milliseconds of one core's time,
the least of ``--times``. *Anew* is a prediction that reads the table each time, as without a state. The last column is
what a product of matrices reaches meanwhile, to tell a busy machine from a quiet one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from innerloop.estimators import InContextClassifier, InContextRegressor


def least(run: Callable[[], object], times: int) -> float:
    """Milliseconds of the processor."""
    run()
    found = []
    for _ in range(times):
        start = time.process_time()
        run()
        found.append(time.process_time() - start)
    return 1e3 * min(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--members", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--times", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(1)
    x = np.random.default_rng(0).normal(size=(given.rows + given.queries, given.columns))
    score = x[:, 0] + x[:, 1] * x[:, 2]
    known, asked = slice(0, given.rows), slice(given.rows, None)
    print("| estimator | members | fit | predict | predict, anew | product, GFLOP/s |\n|---|---|---|---|---|---|")
    left, right = torch.randn(2048, 96), torch.randn(96, 192)
    for name, make, y in (
        ("classifier", InContextClassifier, np.digitize(score, (-0.5, 0.5))),
        ("regressor", InContextRegressor, score),
    ):
        for members in given.members:
            model = make(n_estimators=members)
            fit = least(lambda model=model, y=y: model.fit(x[known], y[known]), given.times)
            ask = model.predict_proba if name == "classifier" else model.predict
            predict = least(lambda ask=ask: ask(x[asked]), given.times)
            speed = 2 * 2048 * 96 * 192 / least(lambda: left @ right, 100) / 1e6
            print(f"| {name} | {members} | {fit:.0f} | {predict:.0f} | {fit + predict:.0f} | {speed:.0f} |", flush=True)


if __name__ == "__main__":
    main()
