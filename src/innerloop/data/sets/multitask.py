"""Families of real regression tasks: storms, schools, growing children, countries, patients."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from innerloop.core.task import InputError, did_you_mean
from innerloop.data.tables import TableTasks


class Family(NamedTuple):
    """A file, and which of its columns are what."""

    file: str
    task: tuple[str, ...]
    inputs: tuple[str, ...]
    targets: tuple[str, ...]


_VOICE = (
    "Jitter(%) Jitter(Abs) Jitter:RAP Jitter:PPQ5 Jitter:DDP Shimmer Shimmer(dB) Shimmer:APQ3 Shimmer:APQ5 "
    "Shimmer:APQ11 Shimmer:DDA NHR HNR RPDE DFA PPE"
)

#: Families of real regression tasks: file, task columns, input columns, target columns.
FAMILIES = {
    "storms": Family("storms.csv", ("name", "year"), ("month", "day", "hour", "lat", "long", "wind"), ("pressure",)),
    "nyc_weather": Family("nyc_weather.csv.gz", ("origin", "year", "month", "day"), ("hour",), ("temp",)),
    "parkinsons": Family(
        "parkinsons_updrs.csv",
        ("subject#",),
        (*_VOICE.split(), "age", "sex", "test_time"),
        ("motor_UPDRS", "total_UPDRS"),
    ),
    "ChickWeight": Family("ChickWeight.csv", ("Chick",), ("Time",), ("weight",)),
    "Oxboys": Family("Oxboys.csv", ("Subject",), ("age",), ("height",)),
    "Loblolly": Family("Loblolly.csv", ("Seed",), ("age",), ("height",)),
    "Theoph": Family("Theoph.csv", ("Subject",), ("Time", "Dose", "Wt"), ("conc",)),
    "Exam": Family("Exam.csv", ("school",), ("standLRT", "sex", "type", "vr", "intake"), ("normexam",)),
    "Hsb82": Family("Hsb82.csv", ("school",), ("ses", "sx", "minrty"), ("mAch",)),
    "gapminder": Family("gapminder.csv", ("country",), ("year", "pop", "gdpPercap"), ("lifeExp",)),
}


def multitask(root: str | Path, name: str, **options: Any) -> TableTasks:
    """A family of real regression tasks.

    Args:
        root: the folder of the CSV files, or the folder that has it as ``multitask_regression``.
        name: ``storms``, ``nyc_weather``, ``parkinsons``, ``ChickWeight``, ``Oxboys``, ``Loblolly``, ``Theoph``,
            ``Exam``, ``Hsb82`` or ``gapminder``.
        options: of :meth:`TableTasks.read`: ``seed``, ``shares``, or other columns (``targets=("lat", "long")``).

    Raises:
        InputError: for an unknown name or a file that is not there.
    """
    if name not in FAMILIES:
        hint = did_you_mean(name, FAMILIES)
        raise InputError(f"family {name!r} is unknown{hint}; choose one of {', '.join(FAMILIES)}")
    family = FAMILIES[name]
    inside = Path(root) / "multitask_regression"
    path = (inside if inside.is_dir() else Path(root)) / family.file
    columns = {"task": family.task, "inputs": family.inputs, "targets": family.targets}
    return TableTasks.read(path, **{**columns, **options})
