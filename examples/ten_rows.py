"""Learn from a few rows of a table, of numbers, words, dates and gaps.

    python examples/ten_rows.py patients.csv --label outcome --rows 20
    python examples/ten_rows.py                       # wines that come with scikit-learn

Some rows are learned from, and all others are asked about.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import innerloop as il


def table(path: str | None, label: str | None) -> tuple[Any, Any]:
    """The columns, and the label of each row."""
    if path is not None:
        own = il.data.read_own(path, label=label).labeled()
        return own.X, own.y
    from sklearn.datasets import load_wine

    X, y = load_wine(return_X_y=True, as_frame=True)
    return X, np.array(["barolo", "grignolino", "barbera"])[y]


def main() -> None:
    """Learn, and score on all other rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", help="CSV, TSV, Parquet, Excel or JSON lines")
    parser.add_argument("--label", help="the column to predict")
    parser.add_argument("--rows", type=int, default=20, help="that are learned from")
    asked = parser.parse_args()
    X, y = table(asked.file, asked.label)
    order = np.random.default_rng(0).permutation(len(y))
    known, rest = order[: asked.rows], order[asked.rows :]
    few = il.FewShotClassifier(encoder="table").fit(X.iloc[known], y[known])
    low, high = few.accuracy_interval_
    print(f"{len(known)} rows; head {few.head_!r}; accuracy to expect {few.accuracy_:.1%} ({low:.1%} to {high:.1%})")
    if len(rest):
        print(f"accuracy on {len(rest)} other rows: {few.score(X.iloc[rest], y[rest]):.1%}")


if __name__ == "__main__":
    main()
