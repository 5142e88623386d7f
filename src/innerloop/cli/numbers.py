"""What the commands on a task say where it predicts a number: learn, add, predict, test."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from innerloop.cli.show import show
from innerloop.core.plain import json_of

if TYPE_CHECKING:
    from pathlib import Path

    from innerloop.cli.given import Given
    from innerloop.data.own.record import OwnData
    from innerloop.estimators.fewshot_regressor import FewShotRegressor


class Printed(NamedTuple):
    """How an answer is printed."""

    as_json: bool
    as_csv: bool = False


def learned(model: FewShotRegressor, out: Path, words: str, how: Printed, notes: list[str]) -> None:
    """What was learned, and how far it is expected to be off."""
    from rich.console import Console

    low, high = model.error_interval_
    if how.as_json:
        found = {
            "task": str(out),
            "examples": len(model.y_),
            "encoder": model.encoder_,
            "heads": model.weights_,
            "error": model.error_,
            "interval": [low, high],
            "notes": notes,
        }
        typer.echo(json_of(found))
        return
    say = Console(stderr=True)
    for note in notes:
        say.print(note, highlight=False, soft_wrap=True)
    typer.echo(f"{len(model.y_)} {words} with a number, by {model.encoder_}, head {model.head_}")
    typer.echo(f"expected error (root mean square) {model.error_:.4g} ({low:.4g} to {high:.4g})")
    say.print(f"kept in {out}; next: innerloop predict {out} FILES", highlight=False, soft_wrap=True)


def predicted(model: FewShotRegressor, asked: Given, coverage: float | None, how: Printed) -> None:
    """A number for each input; with a coverage the interval that holds the true one so often."""
    values = model.predict(asked.X)
    rows: list[dict[str, Any]] = [
        {"name": name, "number": float(value)} for name, value in zip(asked.names, values, strict=True)
    ]
    if coverage is not None:
        found = model.predict_interval(asked.X, coverage=coverage)
        for row, low, high in zip(rows, found.low.tolist(), found.high.tolist(), strict=True):
            row |= {"low": low, "high": high}
    if how.as_json:
        typer.echo(json_of(rows))
    elif how.as_csv:
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        show([_short(row) for row in rows], False)


def scored(model: FewShotRegressor, own: OwnData, worst: int, how: Printed) -> None:
    """How far a task is off on labelled examples, and the worst of them."""
    import numpy as np

    from innerloop.estimators.mixture import root_mean_square

    truth = np.asarray(own.y, dtype=np.float64)
    errors = model.predict(own.X) - truth
    absolute = float(np.abs(errors).mean())
    error, (low, high) = root_mean_square(errors)
    rows = [
        {
            "name": own.names[i] if own.kind != "text" else own.X[i],
            "number": float(truth[i]),
            "taken_for": float(truth[i] + errors[i]),
        }
        for i in np.argsort(-np.abs(errors), kind="stable")[:worst].tolist()
    ]
    if how.as_json:
        report = {
            "examples": len(truth),
            "error": error,
            "interval": [low, high],
            "mean_absolute_error": absolute,
            "expected_error": model.error_,
            "worst": rows,
        }
        typer.echo(json_of(report))
        return
    typer.echo(f"error (root mean square) {error:.4g} ({low:.4g} to {high:.4g}, 95 %) on {len(truth)} examples")
    typer.echo(f"mean absolute error {absolute:.4g}; a root mean square of {model.error_:.4g} was expected")
    if rows:
        typer.echo("\nworst examples")
        show([_short(row) for row in rows], False)


def _short(row: dict[str, Any]) -> dict[str, Any]:
    return {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in row.items()}
