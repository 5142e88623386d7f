"""Commands that make a task and change it: learn, add, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from innerloop.cli.options import Json
from innerloop.core.plain import json_of

if TYPE_CHECKING:
    from innerloop.cli.given import Task

TaskFolder = Annotated[Path, typer.Argument(help="a task's folder, written by `innerloop learn --out`")]
Replace = Annotated[bool, typer.Option("--replace", help="what is there gives way")]

_KINDS = {"images": "pictures", "text": "sentences", "table": "rows", "vectors": "rows"}


def learn(
    data: Annotated[Path, typer.Argument(help="a folder for each class, a table with labels, and so on")],
    out: Annotated[Path, typer.Option(help="folder of the task, which is made")],
    encoder: Annotated[str, typer.Option(help="auto, letters, photographs, sentences, table or features")] = "auto",
    head: Annotated[str, typer.Option(help="auto, or the name of one: ridge, logistic, prototypes, ...")] = "auto",
    label: Annotated[str | None, typer.Option(help="the column with the labels; default by its name")] = None,
    inputs: Annotated[list[str] | None, typer.Option(help="an input column (repeatable); default all others")] = None,
    cache: Annotated[Path | None, typer.Option(help="folder that features are kept in")] = None,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Learn a classifier from a few examples of one's own, or a regressor where the labels are numbers.

    innerloop learn photos --out fruit

    innerloop learn questions.csv --label intent --out intents

    innerloop learn flats.csv --label rent --out rents
    """
    from innerloop.bundle.folder import check_place
    from innerloop.data.own.read import read_own
    from innerloop.estimators.fewshot import FewShotClassifier
    from innerloop.estimators.fewshot_regressor import FewShotRegressor
    from innerloop.estimators.unlabeled import SOFT_MEANS

    check_place(out, replace)
    own = read_own(data, label=label, inputs=inputs or None)
    notes = list(own.notes)
    if own.splits is not None and "train" in own.splits:
        own = own.part("train")
        notes.append("learned from the part that is called train")
    labelled = own.labeled()
    if own.unlabeled:
        used = head == SOFT_MEANS and own.objective != "regression"
        notes.append(f"{own.unlabeled} examples have no label and were {'used without' if used else 'left out'}")
        own = own if used else labelled
    estimator = FewShotRegressor if own.objective == "regression" else FewShotClassifier
    model: Task = estimator(_encoder(encoder, own.kind, cache), head).fit(own.X, own.y)
    # As the folder has them: a task goes to other machines.
    model.names_ = _array(labelled.names)
    model.save(out, replace=replace)
    _said(model, out, own.kind, as_json, notes)


def add(
    task: TaskFolder,
    files: Annotated[list[Path] | None, typer.Argument(help="further examples of one class; - reads lines")] = None,
    label: Annotated[str | None, typer.Option(help="their class, a new one too")] = None,
    text: Annotated[list[str] | None, typer.Option(help="a sentence (repeatable)")] = None,
    forget: Annotated[str | None, typer.Option(help="a class to unlearn, with all of its examples")] = None,
    as_json: Json = False,
) -> None:
    """Fold further examples in, or a class out. The task's folder is replaced whole, at one moment.

    innerloop add fruit new/*.jpg --label pear

    innerloop add fruit --forget plum
    """
    from innerloop.cli import given
    from innerloop.core.task import InputError

    if (label is None) == (forget is None):
        raise InputError("give --label with further examples, or --forget with the class to unlearn")
    if forget is not None and (files or text):
        raise InputError("--forget takes no examples: leave them out, or give them another time")
    model: Task
    if forget is not None:
        known = given.classifier_of(task)
        model = known.forget(given.label_of(known, forget))
    else:
        model = given.task_of(task)
        more = given.read(model, files or [], text or [])
        model.partial_fit(more.X, [given.label_of(model, str(label))] * len(more.names))
    model.save(task, replace=True)
    _said(model, task, given.kind_of(model), as_json, [])


def export(
    task: TaskFolder,
    to: Annotated[Path, typer.Option(help="the file: .onnx, or .pt2 for torch.export")],
    form: Annotated[str, typer.Option(help="classify: what was learned; adapt: learning itself")] = "classify",
    quantize: Annotated[bool, typer.Option("--quantize", help="the encoder's weights in 8 bits (ONNX)")] = False,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Write a task as one file that runs without innerloop, after it gave the same probabilities.

    innerloop export fruit --to fruit.onnx

    innerloop export fruit --to fruit.pt2 --form adapt
    """
    from innerloop.cli import given
    from innerloop.export import write

    made = write(given.classifier_of(task), to, form=form, quantize=quantize, replace=replace)  # type: ignore[arg-type]
    if as_json:
        typer.echo(
            json_of(
                {
                    "path": str(made.path),
                    "form": made.form,
                    "inputs": {name: list(shape) for name, shape in made.inputs.items()},
                    "bytes": made.bytes,
                    "largest_difference": made.drift.largest,
                }
            )
        )
        return
    inputs = ", ".join(f"{name} [{', '.join(map(str, shape))}]" for name, shape in made.inputs.items())
    typer.echo(f"{made.path}: f({inputs}) -> probabilities, {made.bytes / 1e6:.2f} MB")
    typer.echo(f"largest difference from ours on {made.drift.tried} queries: {made.drift.largest:.2g}")


def _encoder(name: str, kind: str, cache: Path | None) -> Any:
    from innerloop.encoders.base import Each
    from innerloop.encoders.find import ENCODERS, find

    if name == "auto" and kind == "text":
        name = "sentences"
    if cache is None or name not in ENCODERS:
        return name
    found = find(name, None).encoder
    # A table's columns are nothing to keep.
    return found.set_params(cache=str(cache)) if isinstance(found, Each) else name


def _array(names: tuple[str, ...]) -> Any:
    import numpy as np

    return np.array(names)


def _said(model: Task, out: Path, kind: str, as_json: bool, notes: list[str]) -> None:
    import numpy as np
    from rich.console import Console

    from innerloop.cli import numbers
    from innerloop.estimators.fewshot import FewShotClassifier

    if not isinstance(model, FewShotClassifier):
        numbers.learned(model, out, _KINDS[kind], numbers.Printed(as_json), notes)
        return
    labels, counts = np.unique(model.y_, return_counts=True)
    if as_json:
        found = {
            "task": str(out),
            "examples": len(model.y_),
            "classes": {str(label): int(count) for label, count in zip(labels, counts, strict=True)},
            "encoder": model.encoder_,
            "head": model.head_,
            "accuracy": model.accuracy_,
            "interval": list(model.accuracy_interval_),
            "notes": notes,
        }
        typer.echo(json_of(found))
        return
    say = Console(stderr=True)
    for note in notes:
        say.print(note, highlight=False, soft_wrap=True)
    few, most = int(counts.min()), int(counts.max())
    each = f"{few}" if few == most else f"{few} to {most}"
    what = f"{len(model.y_)} {_KINDS[kind]} of {len(labels)} classes ({each} each)"
    typer.echo(f"{what}, by {model.encoder_}, head {model.head_}")
    if np.isnan(model.accuracy_):
        typer.echo("expected accuracy: unknown, every class has a single example")
    else:
        low, high = model.accuracy_interval_
        typer.echo(f"expected accuracy {model.accuracy_:.3f} ({low:.3f} to {high:.3f})")
    say.print(f"kept in {out}; next: innerloop predict {out} FILES", highlight=False, soft_wrap=True)
