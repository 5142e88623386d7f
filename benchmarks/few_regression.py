"""A number from 5 to 50 rows of one's own: ``python benchmarks/few_regression.py``, an hour on one core.

On each draw of a table all contestants learn from the same rows and are asked the same others; what is compared is the
root of the mean square error in percent of the standard deviation of the whole table's targets (100: no better than
knowing the mean), in pairs. That tables go to the in-context network alone was decided on draws of seed 0, so figures
are of seed 1; nothing else was tuned on these tables. The chosen regressor also says how far it will be off
(``error_``) and where targets lie (80 %).
Tables come from INNERLOOP_DATA (default ../shared/data) and from scikit-learn.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from page import DATA, record
from sklearn.datasets import load_diabetes, load_wine
from sklearn.ensemble import RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import innerloop as il
from innerloop.evaluation.stats import interval, paired

COVERAGE = 0.8
QUERIES, ASKED = 100, 15


class Table(NamedTuple):
    """A table and what is to be predicted."""

    name: str
    frame: pd.DataFrame
    y: np.ndarray


def tables() -> Iterator[Table]:
    """Real ones, of three to twenty columns."""
    x, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
    yield Table("diabetes", x, y.to_numpy())
    wine = load_wine(as_frame=True).data
    yield Table("wine, alcohol", wine.drop(columns="alcohol"), wine.alcohol.to_numpy())
    abalone = pd.read_csv(DATA / "tabular_small" / "abalone.csv", header=None).rename(columns=str)
    yield Table("abalone", abalone[abalone.columns[:-1]], abalone[abalone.columns[-1]].to_numpy(dtype=float))
    folder = DATA / "multitask_regression"
    for name, columns, target in (
        ("gapminder", ["continent", "year", "pop", "gdpPercap"], "lifeExp"),
        ("Exam", ["standLRT", "sex", "type", "vr", "intake", "schavg"], "normexam"),
        ("storms", ["month", "hour", "lat", "long", "wind"], "pressure"),
    ):
        table = pd.read_csv(folder / f"{name}.csv").dropna(subset=[*columns, target])
        yield Table(name, table[columns], table[target].to_numpy(dtype=float))


def contestants() -> dict[str, Any]:
    """By name; all but the library's own take words as columns of zeros and ones."""
    kernel = ConstantKernel() * RBF() + WhiteKernel()
    return {
        "chosen": il.FewShotRegressor(),
        "ridge": make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 20))),
        "Gaussian process": make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True)),
        "forest": RandomForestRegressor(random_state=0),
    }


def main() -> None:
    """Measure, print, and put the tables into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--rows", nargs="+", type=int, default=[5, 10, 20, 50])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--print-only", action="store_true", help="leave the page as it is")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    names = list(contestants())
    lines = [f"| table, rows | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    gains = [
        "| rows | gain on ridge | on the Gaussian process | on the forest | `error_` less the error | "
        f"{100 * COVERAGE:g} % intervals hold | of width | s to learn |",
        "|---|---|---|---|---|---|---|---|",
    ]
    pooled: dict[int, dict[str, list[float]]] = {rows: defaultdict(list) for rows in given.rows}
    for table in tables():
        words = pd.get_dummies(table.frame).to_numpy(dtype=float)
        unit = table.y.std()
        for rows in given.rows:
            found: dict[str, list[float]] = defaultdict(list)
            for draw in range(given.draws):
                order = np.random.default_rng((given.seed, draw)).permutation(len(table.y))
                train, test = order[:rows], order[rows : rows + QUERIES]
                for name, model in contestants().items():
                    ours = isinstance(model, il.FewShotRegressor)
                    start = time.perf_counter()
                    model.fit(table.frame.iloc[train] if ours else words[train], table.y[train])
                    seconds = time.perf_counter() - start
                    predicted = model.predict(table.frame.iloc[test] if ours else words[test])
                    error = float(np.sqrt(np.mean((predicted - table.y[test]) ** 2)))
                    found[name].append(100 * error / unit)
                    if name == "chosen":
                        low, high, *_ = model.predict_interval(table.frame.iloc[test[:ASKED]], COVERAGE)
                        inside = (low <= table.y[test[:ASKED]]) & (table.y[test[:ASKED]] <= high)
                        pooled[rows]["bias"].append(100 * (model.error_ - error) / unit)
                        pooled[rows]["hold"].append(100 * float(inside.mean()))
                        pooled[rows]["width"].append(100 * float(np.median(high - low)) / unit)
                        pooled[rows]["seconds"].append(seconds)
            for name in names:
                pooled[rows][name] += found[name]
            cells = " | ".join(f"{np.mean(found[name]):.0f}" for name in names)
            lines.append(f"| {table.name}, {rows} | {cells} |")
            print(lines[-1], flush=True)
    for rows, values in pooled.items():
        cells = []
        for name in ("ridge", "Gaussian process", "forest"):
            difference = paired(np.array(values[name]), np.array(values["chosen"]))
            cells.append(f"{difference.mean:+.1f} ({difference.interval[0]:+.1f} to {difference.interval[1]:+.1f})")
        for name in ("bias", "hold"):
            low, high = interval(np.array(values[name]))
            cells.append(f"{np.mean(values[name]):{'+' if name == 'bias' else ''}.1f} ± {(high - low) / 2:.1f}")
        width, seconds = float(np.median(values["width"])), float(np.median(values["seconds"]))
        gains.append(f"| {rows} | {' | '.join(cells)} | {width:.0f} | {seconds:.2f} |")
    text = "\n".join([*lines, "", *gains])
    print("\n".join(gains))
    if not given.print_only:
        record("few_regression", text)


if __name__ == "__main__":
    sys.exit(main())
