"""In-context learning beside scikit-learn on small real tables: ``python benchmarks/tables.py``, minutes on one core.

For each table and number of training rows, seeded stratified splits; mean ROC-AUC (one against the rest, macro, for
more than two classes), rank by it, Brier score (squared error of the probability vector), calibration error over all
queries, and seconds to fit and predict. ``--tuned`` (ten minutes a split on one core) adds each baseline with settings
chosen by inner cross-validation on the training rows (left at the default where a class has one training row). Figures
are kept in runs/results/tables, so that an interrupted benchmark goes on where it was; delete them to measure again.
Classes of fewer than 10 rows are dropped (two in ecoli have 2). Tables come from INNERLOOP_DATA (default
../shared/data) and from scikit-learn. The in-context learner takes text columns as they are, the baselines take them
one-hot, and all but boosting take missing cells imputed by the mean.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from page import DATA, RUNS, record
from scipy.stats import rankdata
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from innerloop.encoders.pretrained import shipped
from innerloop.estimators import InContextClassifier
from innerloop.evaluation.metrics import calibration_error

OURS, ALONE = "in-context", "in-context, network alone"
KEPT = RUNS / "tables"


class Table(NamedTuple):
    """A table: with text columns as they are (ours), and with text columns one-hot (the baselines)."""

    name: str
    mixed: np.ndarray
    encoded: np.ndarray
    labels: np.ndarray


def read(task: str) -> Iterator[Table]:
    """The tables of the data folder for a task, their targets as words."""
    folder = DATA / "tabular_small"
    for name, facts in json.loads((folder / "index.json").read_text()).items():
        if facts["task"] != task:
            continue
        with (folder / facts["file"]).open() as file:
            rows = list(csv.reader(file))
        header = rows.pop(0) if facts["header"] else [str(i) for i in range(len(rows[0]))]
        target = header.index(str(facts["target_column"]))
        dropped = {target, *(header.index(column) for column in facts.get("drop_columns", []))}
        columns = [column([row[i] for row in rows]) for i in range(len(header)) if i not in dropped]
        mixed, encoded = zip(*columns, strict=True)
        yield Table(name, np.stack(mixed, 1), np.concatenate(encoded, 1), np.array([row[target] for row in rows]))


def tables() -> Iterator[Table]:
    """All that are measured."""
    for table in read("classification"):
        yield frequent(*table)
    for name, load in (("breast_cancer", load_breast_cancer), ("iris", load_iris)):
        x, y = load(return_X_y=True)
        yield frequent(name, x, x, y)


def frequent(name: str, mixed: np.ndarray, encoded: np.ndarray, y: np.ndarray) -> Table:
    """Without the classes of fewer than 10 rows."""
    classes, counts = np.unique(y, return_counts=True)
    kept = np.isin(y, classes[counts >= 10])
    return Table(name, mixed[kept], encoded[kept], y[kept])


def column(cells: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """A column ``[N]`` of floats or strings, NaN where a cell is missing, and as floats ``[N, 1]`` or one-hot."""
    missing = np.isin(cells, ("", "NA", "?"))
    try:
        value = np.array([np.nan if gone else float(cell) for cell, gone in zip(cells, missing, strict=True)])
    except ValueError:
        levels = sorted({cell for cell, gone in zip(cells, missing, strict=True) if not gone})
        text = np.array(cells, dtype=object)
        text[missing] = np.nan
        return text, np.array(cells)[:, None] == np.array(levels)
    return value, value[:, None]


def methods(tuned: bool, ours: dict[str, Any]) -> dict[str, Callable[[np.ndarray], Any]]:
    """By name, a function from the training labels to an estimator."""
    grids: dict[str, tuple[Any, dict[str, list[Any]]]] = {
        "logistic": (
            make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression(max_iter=1000)),
            {"logisticregression__C": [0.01, 0.1, 1.0, 10.0, 100.0]},
        ),
        "random forest": (
            make_pipeline(SimpleImputer(), RandomForestClassifier(random_state=0)),
            {
                "randomforestclassifier__min_samples_leaf": [1, 3, 8],
                "randomforestclassifier__max_features": ["sqrt", 0.7],
            },
        ),
        "boosting": (
            HistGradientBoostingClassifier(random_state=0),
            {"learning_rate": [0.03, 0.1], "min_samples_leaf": [3, 10, 20], "max_iter": [50]},
        ),
        "nearest neighbors": (
            make_pipeline(SimpleImputer(), StandardScaler(), KNeighborsClassifier()),
            {
                "kneighborsclassifier__n_neighbors": [1, 3, 5, 9],
                "kneighborsclassifier__weights": ["uniform", "distance"],
            },
        ),
    }
    made: dict[str, Callable[[np.ndarray], Any]] = {
        OURS: lambda y: InContextClassifier(**ours),
        ALONE: lambda y: InContextClassifier(**ours, trees=0),
    }
    for name, (model, grid) in grids.items():
        made[name] = lambda y, model=model: model
        if tuned:
            made[f"{name}, tuned"] = lambda y, model=model, grid=grid: searched(model, grid, y)
    return made


def searched(model: Any, grid: dict[str, list[Any]], y: np.ndarray) -> Any:
    folds = min(5, int(np.unique(y, return_counts=True)[1].min()))
    if folds < 2:
        return model
    return GridSearchCV(model, grid, scoring="neg_log_loss", cv=StratifiedKFold(folds, shuffle=True, random_state=0))


def score(make: Callable[[np.ndarray], Any], x: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray) -> Any:
    """AUC, Brier score and seconds on one split, and the probabilities ``[Q, D]``; ``y`` holds 0 to D - 1."""
    model = make(y[train])
    start = time.perf_counter()
    model.fit(x[train], y[train])
    found = model.predict_proba(x[test])
    seconds = time.perf_counter() - start
    p = np.zeros((len(test), int(y.max()) + 1))
    p[:, model.classes_] = found / found.sum(1, keepdims=True)
    truth = np.eye(p.shape[1])[y[test]]
    auc = np.mean([roc_auc_score(truth[:, c], p[:, c]) for c in range(p.shape[1])])
    return float(auc), float(((p - truth) ** 2).sum(1).mean()), seconds, p, truth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--rows", nargs="+", default=["20", "50", "100", "half"])
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("--members", type=int, default=2, help="of our ensemble")
    parser.add_argument("--weights", help="a checkpoint in place of the package's")
    parser.add_argument("--methods", nargs="+", help="names of methods")
    parser.add_argument("--only", nargs="+", help="names of tables")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    KEPT.mkdir(parents=True, exist_ok=True)
    made = methods(given.tuned, {"n_estimators": given.members, "weights": given.weights})
    if given.methods:
        made = {name: make for name, make in made.items() if name in given.methods}
    bundle = (Path(given.weights) if given.weights else shipped(regression=False)) / "bundle.json"
    digest = hashlib.sha256(bundle.read_bytes()).hexdigest()[:8]
    mark = {OURS: f"{OURS}-trees-{given.members}-{digest}", ALONE: f"{OURS}-{given.members}-{digest}"}
    figures: list[dict[str, Any]] = []
    for table in tables():
        if given.only and table.name not in given.only:
            continue
        for rows in given.rows:
            for name, make in made.items():
                kept = KEPT / f"{table.name}-{rows}-{mark.get(name, name)}-{given.splits}.json".replace(" ", "_")
                if not kept.exists():
                    kept.write_text(json.dumps(measured(table, rows, name, make, given.splits)) + "\n")
                figures.append(json.loads(kept.read_text()))
        if given.json:
            given.json.write_text(json.dumps(figures, indent=1) + "\n")
    text = report(figures, list(made), given.rows)
    print(text)
    if not (given.only or given.weights or given.methods):
        record("tables_tuned" if given.tuned else "tables", text)


def measured(table: Table, rows: str, name: str, make: Callable[[np.ndarray], Any], splits: int) -> dict[str, Any]:
    """The figures of a method on a table, over all splits."""
    y = np.unique(table.labels, return_inverse=True)[1]
    x = table.mixed if name in (OURS, ALONE) else table.encoded
    size = len(y) // 2 if rows == "half" else int(rows)
    scores, answers = [], []
    for split in range(splits):
        train, test = train_test_split(np.arange(len(y)), train_size=size, stratify=y, random_state=split)
        auc, brier, seconds, p, truth = score(make, x, y, train, test)
        scores.append((auc, brier, seconds))
        answers.append((p, truth))
    p, truth = (torch.from_numpy(np.concatenate(side)) for side in zip(*answers, strict=True))
    auc, brier, seconds = (float(value) for value in np.mean(scores, 0))
    found = {"table": table.name, "rows": rows, "method": name, "auc": auc, "brier": brier}
    return found | {"ece": calibration_error(p, truth), "seconds": seconds, "aucs": [one[0] for one in scores]}


def report(figures: list[dict[str, Any]], names: list[str], rows: list[str]) -> str:
    """The means over tables, and the AUC table by table, in Markdown."""
    value = {(f["table"], f["rows"], f["method"]): f for f in figures}
    places = list(dict.fromkeys((f["table"], f["rows"]) for f in figures))
    ranks = {place: rankdata([-value[(*place, name)]["auc"] for name in names]) for place in places}
    wanted = [f"AUC (rank), {r} rows" for r in rows]
    lines = [f"| method | {' | '.join(wanted)} | Brier | ECE | seconds |", "|---|" + "---|" * (len(rows) + 3)]
    for i, name in enumerate(names):
        cells = []
        for r in rows:
            here = [place for place in places if place[1] == r]
            auc = np.mean([value[(*place, name)]["auc"] for place in here])
            cells.append(f"{auc:.4f} ({np.mean([ranks[place][i] for place in here]):.2f})")
        cells += [f"{np.mean([value[(*p, name)][key] for p in places]):.3f}" for key in ("brier", "ece", "seconds")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", f"| table, rows | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for place in places:
        cells = [f"{value[(*place, name)]['auc']:.3f}" for name in names]
        lines.append(f"| {place[0]}, {place[1]} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
