"""A row of the tables again: its run trained, resumed or found, and scored; or the command of its table run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from innerloop.cli import runs
from innerloop.cli.train import asked_by

if TYPE_CHECKING:
    from innerloop.recipes import Recipe
    from innerloop.reproduction import Printed, Trained
    from innerloop.reproduction.trained import Record


@dataclass(frozen=True)
class How:
    """How rows are made again.

    Args:
        runs: folder of the runs; those that are there are resumed, or scored as they are.
        root: folder of the data sets.
        device: where to train and to score.
        check: train and compute nothing, only score the runs that are there.
        quiet: no progress bars.
    """

    runs: Path
    root: Path | None
    device: str
    check: bool
    quiet: bool

    def place(self, table: Trained, row: str, seed: int) -> Path:
        """The folder of a run."""
        return self.runs / f"{table.name}-{table.rows[row].run or row}-seed{seed}"

    def recipe(self, table: Trained, row: str, seed: int) -> Recipe:
        """The recipe of a row's run."""
        from innerloop.core.task import InputError
        from innerloop.data import registry

        one = table.rows[table.rows[row].run or row]
        root = None
        if registry.find(table.data).root == "needs":
            if self.root is None or not (self.root / table.data).is_dir():
                raise InputError(
                    f"there is no folder {(self.root or Path()) / table.data}: give the folder that holds the data "
                    f"set {table.data} by --root or INNERLOOP_DATA"
                )
            root = self.root / table.data
        init = self.place(table, one.init, seed) if one.init else None
        device = {} if self.device == "cpu" else {"device": self.device}
        return asked_by(one.train.split(), data=table.data, root=root, init=init, seed=seed, **device)


class UnfinishedError(Exception):
    """A run that is not there, or not done, where nothing is to be trained."""


def ready(how: How, table: Trained, row: str, seed: int) -> Path:
    """The folder of a row's trained run: as it is, resumed, or trained.

    Raises:
        InputError: for a folder that holds another run.
        UnfinishedError: where nothing is to be trained.
    """
    row = table.rows[row].run or row
    folder, recipe = how.place(table, row, seed), how.recipe(table, row, seed)
    there = (folder / "recipe.json").exists()
    if there:
        _same(how, folder, recipe)
    if there and steps_of(folder)[0] >= recipe.training["steps"] and (folder / "best").exists():
        return folder
    if how.check:
        raise UnfinishedError(f"{folder} holds no finished run; without --check it is trained")
    if table.rows[row].init:
        ready(how, table, table.rows[row].init, seed)
    code = runs.trained(recipe, folder, resume=(folder / "last.safetensors").exists(), quiet=how.quiet)
    if code:
        raise typer.Exit(code)
    return folder


def steps_of(folder: Path) -> tuple[int, float | None]:
    """Outer steps of a run so far, and the minutes that they took, where its last checkpoint is kept."""
    from innerloop.core import checkpoint

    if (folder / "last.safetensors").exists():
        facts = checkpoint.load(folder / "last.safetensors")[1]
        return facts["step"], facts["seconds"] / 60
    metrics = folder / "metrics.jsonl"
    return len(metrics.read_text().splitlines()) if metrics.exists() else 0, None


def scored(how: How, table: Trained, row: str, seeds: list[int]) -> Record:
    """What the runs of a row are worth now, on the fixed test tasks.

    Raises:
        InputError: for a folder that holds another run, or a run without a finite figure.
        UnfinishedError: where nothing is to be trained.
    """
    import datetime

    import numpy as np

    from innerloop.core.task import InputError
    from innerloop.recipes import load_run
    from innerloop.reproduction.trained import Found, Record

    folders = [ready(how, table, row, seed) for seed in seeds]
    found: dict[str, Found] = {}
    first: list[dict[str, Any]] = []
    for column, asked in table.judged_on(row).items():
        reports = [_report(how, folder, asked) for folder in folders]
        first = first or reports
        values = [report[report["metric"]] for report in reports]
        if None in values:
            raise InputError(f"{table.name}/{row} has no finite {reports[0]['metric']} in the column {column}")
        wide = [report["open_interval"] for report in reports if report["open_interval"]]
        found[column] = Found(
            value=round(float(np.mean(values)), 6),
            closed=round(float(np.mean([report["half_width"] for report in reports])), 6),
            open=round(float(np.mean([high - low for low, high in wide])) / 2, 6) if wide else None,
            tasks=reports[0]["tasks"],
            each=[round(value, 6) for value in values],
        )
    done = [steps_of(folder) for folder in folders]
    known = [minutes for _, minutes in done if minutes is not None]
    errors = [report["calibration_error"] for report in first if report["calibration_error"] is not None]
    trained = load_run(folders[0])[1]
    return Record(
        device=trained.get("device", "CPU"),
        seeds=seeds,
        date=datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        minutes=round(float(np.mean(known)), 1) if known else None,
        steps=done[0][0],
        figures=found,
        calibration=round(float(np.mean(errors)), 6) if errors else None,
        norm=first[0]["norm"] if errors else "",
        transductive=first[0]["transductive"],
        versions={name: version for name, version in trained["versions"].items() if name != "platform"},
    )


def printed(how: How, table: Printed, rows: list[str], seeds: list[int] | None) -> dict[str, Any]:
    """What the command of a table prints now.

    Raises:
        InputError: outside the repository, or where the command fails.
    """
    from innerloop.core.task import InputError
    from innerloop.reproduction.tables import checkout

    home = checkout()
    words = table.words(rows, seeds=seeds, check=how.check)
    if home is None:
        raise InputError(
            f"{table.name} is printed by `{table.command}`, which is not part of the package: run this in a clone of "
            f"the repository"
        )
    folder = (how.runs / "printed").absolute()
    (folder / f"{table.name}.json").unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    if words[0] == "python":
        words[0] = sys.executable
    places = {"INNERLOOP_RUNS": str(how.runs.absolute()), "INNERLOOP_RECORDS": str(folder)}
    if how.root is not None:
        places["INNERLOOP_DATA"] = str(how.root.absolute())
    runs.console().print(f"{table.name}: {' '.join(words[1:])}", highlight=False, soft_wrap=True)
    # What it prints goes to standard error: standard output is for what was found.
    said = subprocess.DEVNULL if how.quiet else 2
    ended = subprocess.run(words, cwd=home, env={**os.environ, **places}, stdout=said, check=False).returncode
    record = table.record(folder)
    if ended or record is None:
        how_it_ended = f"ended with code {ended}" if ended else "kept no table of that name"
        raise InputError(f"`{table.command}` {how_it_ended}: see what it says above")
    return record


def _same(how: How, folder: Path, recipe: Recipe) -> None:
    """Refuse a folder with a run of another recipe, or of another device where it is not only scored.

    Where its data lie may differ, and where the run that it started from.
    """
    from innerloop.core.task import InputError
    from innerloop.recipes import load_run

    found, facts = load_run(folder)
    there, here = found.json(), recipe.json()
    where = facts.get("device", "CPU")
    if not how.check and (where == "CPU") != (how.device == "cpu"):
        raise InputError(
            f"{folder} holds a run that was trained on {where}: give another --runs to train on {how.device}, or "
            f"--check to score this one"
        )
    for values in (there, here):
        values["training"] = {name: value for name, value in values["training"].items() if name != "device"}
        values.update(root=None, init=bool(values["init"]))
    odd = [name for name, value in here.items() if there[name] != value]
    if odd:
        raise InputError(
            f"{folder} holds another run (its {', '.join(odd)} differ): give another --runs, or remove it; nothing "
            f"was changed"
        )


def _report(how: How, folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """The report of one evaluation, computed once for a run's weights and this code, and kept beside the run."""
    from innerloop.bundle.folder import digest_of
    from innerloop.core.files import write_text_atomically

    what = "-".join(f"{name}{value}" for name, value in asked.items())
    kept = folder / "reproduced" / f"{what}.json"
    of = f"{_scoring()} {digest_of(folder / 'best')}"
    if kept.exists() and (before := json.loads(kept.read_text()))["of"] == of:
        return dict(before["report"])
    sizes = {name: asked.get(name) for name in ("ways", "shots", "queries")}
    root = _root(how, folder)
    sampler, _ = runs.judged_by(folder, **sizes, split="test", root=root)
    report = runs.scored(
        folder, sampler, tasks=asked["tasks"], seed=0, device=how.device, inner_steps=asked.get("inner_steps"),
        norm=asked.get("norm"), views=asked.get("views", False), root=root,
    ).json()  # fmt: skip
    kept.parent.mkdir(exist_ok=True)
    write_text_atomically(kept, json.dumps({"of": of, "report": report}) + "\n")
    return report


def _scoring() -> str:
    """A digest of the code that scores: what was kept by another is scored anew."""
    import hashlib

    from innerloop import evaluation

    files = sorted(Path(evaluation.__path__[0]).glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _root(how: How, folder: Path) -> Path | None:
    from innerloop.data import registry
    from innerloop.recipes import load_run

    data = load_run(folder)[0].data
    return how.root / data if how.root is not None and registry.find(data).root == "needs" else None
