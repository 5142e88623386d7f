"""Commands that use a task: predict, test."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from innerloop.cli.options import Json
from innerloop.cli.show import show
from innerloop.cli.task import TaskFolder
from innerloop.core.plain import json_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Wrong or unsure examples that are shown.
_WORST = 10
#: What stands for no class.
_NONE = "none of these"


def predict(
    task: TaskFolder,
    files: Annotated[list[Path] | None, typer.Argument(help="pictures, folders, tables, texts; - reads lines")] = None,
    text: Annotated[list[str] | None, typer.Option(help="a sentence (repeatable)")] = None,
    coverage: Annotated[float | None, typer.Option(help="sets or intervals that hold the truth so often: 0.9")] = None,
    unknown: Annotated[str | None, typer.Option(help="reject: say so where an input is like no class")] = None,
    error: Annotated[float, typer.Option(help="share of known inputs that --unknown reject may turn down")] = 0.1,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="print CSV, a column of probabilities for each class")] = False,
) -> None:
    """Say what things are, and how probable that is; or their numbers, with --coverage as an interval.

    innerloop predict fruit new/*.jpg

    innerloop predict intents --text "where is my card" --coverage 0.9

    cat questions.txt | innerloop predict intents - --csv
    """
    from innerloop.cli import given, numbers
    from innerloop.core.task import InputError
    from innerloop.estimators.fewshot import FewShotClassifier

    if as_json and as_csv:
        raise InputError("--json and --csv are two ways to print: give one")
    model = given.task_of(task)
    if not isinstance(model, FewShotClassifier):
        if unknown is not None:
            raise InputError("--unknown is for classes, and the task predicts numbers: leave it out")
        asked = given.read(model, files or [], text or [])
        numbers.predicted(model, asked, coverage, numbers.Printed(as_json, as_csv))
        return
    asked = given.read(model, files or [], text or [])
    shares = model.predict_proba(asked.X)
    # Options are checked before anything is printed.
    sets = None if coverage is None else model.predict_set(asked.X, coverage=coverage)
    labels: list[Any] = model.classes_[shares.argmax(1)].tolist()
    if unknown is not None:
        labels = model.predict(asked.X, unknown=unknown, error=error).tolist()  # type: ignore[arg-type]
    classes = model.classes_.tolist()
    rows: list[dict[str, Any]] = []
    for i, name in enumerate(asked.names):
        row: dict[str, Any] = {"name": name, "label": labels[i], "probability": float(shares[i].max())}
        if sets is not None:
            row["set"] = sets[i].tolist()
        rows.append(row)
    if as_json:
        for row, share in zip(rows, shares, strict=True):
            row["probabilities"] = {str(label): float(p) for label, p in zip(classes, share, strict=True)}
        typer.echo(json_of(rows))
    elif as_csv:
        _csv(rows, classes, shares)
    else:
        for row in rows:
            row["label"] = _NONE if row["label"] is None else row["label"]
            row["probability"] = f"{row['probability']:.3f}"
        show(rows, False)


def _csv(rows: list[dict[str, Any]], classes: list[Any], shares: npt.NDArray[np.float64]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    names = [name for name in ("name", "label", "probability", "set") if name in rows[0]]
    writer.writerow([*names, *classes])
    for row, share in zip(rows, shares, strict=True):
        cells = ["|".join(map(str, row[name])) if name == "set" else row[name] for name in names]
        writer.writerow([*cells, *(f"{p:.6g}" for p in share)])


def score_task(
    task: TaskFolder,
    data: Annotated[Path, typer.Argument(help="labelled examples that it has not seen, as for `innerloop learn`")],
    label: Annotated[str | None, typer.Option(help="the column with the labels; default by its name")] = None,
    inputs: Annotated[list[str] | None, typer.Option(help="an input column (repeatable); default all others")] = None,
    worst: Annotated[int, typer.Option(help="how many of the worst examples are shown")] = _WORST,
    as_json: Json = False,
) -> None:
    """Try a task on labelled examples: accuracy, log loss, calibration, what is taken for what, the worst examples.

    Of a task that predicts numbers: the error, and the worst examples.

    innerloop test fruit more-photos
    """
    import numpy as np

    from innerloop.cli import given, numbers
    from innerloop.core.task import InputError
    from innerloop.data.own.read import read_own
    from innerloop.estimators.fewshot import FewShotClassifier
    from innerloop.evaluation.classified import Classified

    if worst < 0:
        raise InputError(f"--worst is {worst}: give 0 or more")
    model = given.task_of(task)
    own = read_own(data, label=label, inputs=inputs or None)
    if own.splits is not None and "test" in own.splits:
        own = own.part("test")
    own = given.fitting(model, own)
    if not isinstance(model, FewShotClassifier):
        numbers.scored(model, own, worst, numbers.Printed(as_json))
        return
    classes = list(map(str, model.classes_.tolist()))
    truth = np.array([classes.index(str(label)) for label in own.y.tolist()])
    shares = model.predict_proba(own.X)
    found = Classified(shares, truth)
    rows = [
        {
            "name": own.names[i] if own.kind != "text" else own.X[i],
            "label": classes[truth[i]],
            "taken_for": classes[shares[i].argmax()],
            "probability": float(shares[i, truth[i]]),
            "of_taken_for": float(shares[i].max()),
        }
        for i in found.worst(worst).tolist()
    ]
    low, high = found.interval
    if as_json:
        report = {
            "examples": len(truth),
            "accuracy": found.accuracy,
            "interval": [low, high],
            "log_loss": found.log_loss,
            "calibration_error": found.calibration_error,
            "expected_accuracy": model.accuracy_,
            "classes": classes,
            "confusion": found.confusion.tolist(),
            "worst": rows,
        }
        typer.echo(json_of(report))
        return
    typer.echo(f"accuracy {found.accuracy:.3f} ({low:.3f} to {high:.3f}, 95 %) on {len(truth)} examples")
    typer.echo(f"log loss {found.log_loss:.3f}, calibration error {found.calibration_error:.3f}")
    mixed = [
        {"label": classes[i], "taken_for": classes[j], "times": int(found.confusion[i, j])}
        for i, j in found.mixed_up(_WORST)
    ]
    if mixed:
        typer.echo("\nmost often taken for another")
        show(mixed, False)
    if rows:
        typer.echo("\nworst examples")
        show([{k: f"{v:.3f}" if isinstance(v, float) else v for k, v in row.items()} for row in rows], False)
