"""Sweeps: runs of one recipe that differ in a few values, searched by Optuna for the best validation score.

A trial is an ordinary run folder. The storage, a database that Optuna knows by its URL, is all that the processes of a
sweep share beside the folder; so a sweep needs no head process, and one that was killed goes on where it was.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
import math
import re
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from innerloop.core.folder import prepare_folder
from innerloop.core.learner import Learner
from innerloop.core.numbers import check_count
from innerloop.core.task import InputError, did_you_mean
from innerloop.data import Sampler
from innerloop.data.source import Source
from innerloop.recipes.recipe import Recipe
from innerloop.recipes.runs import RECIPE_FILE, save_run, start_from
from innerloop.training.fit import fit
from innerloop.training.outer import NonFiniteLoss

try:
    import optuna
    from sqlalchemy.exc import SQLAlchemyError
except ImportError:
    # The extra is not installed, which `run` says.
    optuna = None  # type: ignore[assignment]

#: What every trial has to share, or their scores could not be compared.
_FIXED = ("pool", "share", "validation")
_RANGE = re.compile(r"(?P<low>[^:]+?)\.\.(?P<high>[^:]+?)(?P<scale>:log)?")


@dataclass(frozen=True)
class Axis:
    """One value of a recipe that a sweep tries: ``PART.NAME``, among choices or between two bounds.

    Example:
        >>> Axis.read("training.lr=1e-4..1e-2:log")
        Axis(part='training', name='lr', choices=(), low=0.0001, high=0.01, log=True)
        >>> Axis.read("episodes.ways=[5, 20]").choices
        (5, 20)
    """

    part: str
    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    log: bool = False

    @classmethod
    def read(cls, text: str) -> Axis:
        """``PART.NAME=LOW..HIGH``, ``PART.NAME=LOW..HIGH:log`` or ``PART.NAME=[A, B, C]``; whole bounds: whole numbers.

        Raises:
            InputError: for anything else, a part that no recipe has or that trials have to share, or an empty range.
        """
        path, equals, word = text.partition("=")
        part, dot, name = path.strip().partition(".")
        parts = [key for key, value in vars(Recipe("")).items() if isinstance(value, dict) and key not in _FIXED]
        if not equals or not dot or not name or part not in parts:
            why = " (all trials have to see the same data and validation tasks)" if part in _FIXED else ""
            raise InputError(
                f"--try {text!r} must read PART.NAME=RANGE with PART one of {', '.join(parts)}"
                f"{why or did_you_mean(part, parts)}"
            )
        known = inspect.signature(fit).parameters
        if part == "training" and name not in known:
            raise InputError(f"--try {text!r}: innerloop.fit has no argument {name!r}{did_you_mean(name, known)}")
        if word.strip().startswith("["):
            return cls(part, name, _choices(text, word))
        match = _RANGE.fullmatch(word.strip())
        try:
            low, high = (_number(match[end]) for end in ("low", "high")) if match else (math.nan, math.nan)
        except ValueError:
            low = high = math.nan
        log = bool(match and match["scale"])
        if not (low < high and math.isfinite(high - low)) or (log and low <= 0):
            raise InputError(
                f"--try {text!r}: a range reads LOW..HIGH with LOW below HIGH, both finite (and above 0 with :log), or "
                f"[A, B, C]"
            )
        return cls(part, name, low=low, high=high, log=log)

    @property
    def path(self) -> str:
        """``PART.NAME``."""
        return f"{self.part}.{self.name}"

    def suggest(self, trial: Any) -> Any:
        """The value that Optuna gives a trial."""
        if self.choices:
            return trial.suggest_categorical(self.path, self.choices)
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        return (trial.suggest_int if whole else trial.suggest_float)(self.path, self.low, self.high, log=self.log)


def _number(word: str) -> float:
    return int(word) if re.fullmatch(r"\s*-?\d+\s*", word) else float(word)


def _choices(text: str, word: str) -> tuple[Any, ...]:
    try:
        found = tomllib.loads(f"value = {word}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"--try {text!r}: {word} is no list ({error}); words need quotes: ['a', 'b']") from None
    if not found or not all(isinstance(value, bool | int | float | str) for value in found):
        raise InputError(f"--try {text!r}: choices are numbers, words, true or false, at least one of them")
    return tuple(found)


def run(
    recipe: Recipe,
    axes: list[Axis],
    *,
    out: Path,
    trials: int,
    storage: str | None = None,
    name: str | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:
    """Run trials until the sweep has ``trials`` of them, or until Ctrl-C.

    Finished trials are not repeated. One whose process has died is marked as failed, and its values are tried again.
    Any number of processes may run the same sweep at once, with the same folder or, on other machines, with another.

    Args:
        recipe: what all trials have in common, its seed and its validation tasks included.
        axes: what differs.
        out: folder of the sweep; trial 7 is the run folder ``trial-0007`` in it.
        trials: how many in all.
        storage: the URL of a database, by default ``sweep.db`` in ``out``.
        name: of the sweep within the storage, by default learner and data set.
        say: told one line for each trial.

    Returns:
        a row for each trial, the best first.

    Raises:
        InputError: without Optuna, for a storage that cannot be opened or holds another sweep under this name, a folder
            that holds other runs, or an axis that does not fit the recipe.

    References:
        Akiba, Sano, Yanase, Ohta, Koyama, *Optuna: A Next-generation Hyperparameter Optimization Framework*, KDD 2019,
        https://arxiv.org/abs/1907.10902.
    """
    if optuna is None:
        raise InputError("a sweep needs Optuna: install it with pip install 'innerloop[sweep]'")
    check_count("trials", trials, 1)
    if not axes or len({axis.path for axis in axes}) < len(axes):
        raise InputError("a sweep needs at least one value to try, each only once")
    recipe = _pinned(recipe)
    source = recipe.source()
    for axis in axes:
        for value in axis.choices or (axis.low, axis.high):
            _built(_changed(recipe, {axis.path: value}), source)
    storage = storage or _database(out.absolute() / "sweep.db")
    prepare_folder(out)
    study = _study(recipe, axes, storage, name, out)
    while (begun := _begin(study, axes, recipe.seed, trials, out)) is not None:
        trial, folder, lock = begun
        try:
            stopped = _train(study, trial, _changed(recipe, trial.params), source, folder)
        finally:
            lock.release()
        row = _row(study.trials[trial.number], out)
        values = ", ".join(f"{path}={_short(value)}" for path, value in trial.params.items())
        why = f": {row['why']}" if stopped == "failed" else ""
        say(f"trial {trial.number} ({values}): {row['state'] if row['score'] is None else _short(row['score'])}{why}")
        if stopped == "interrupted":
            say("the same command goes on")
            break
    rows = [_row(trial, out) for trial in study.trials]
    return sorted(rows, key=lambda row: math.inf if row["score"] is None else -row["score"])


def _database(path: Path) -> str:
    """The URL of a database file; refused where the path holds what means something else in a URL."""
    for letter in "?%":
        if letter in str(path):
            raise InputError(
                f"{path} holds a {letter!r}, which no database's URL can: give another --out, or --storage"
            )
    return f"sqlite:///{path}"


def _train(study: Any, trial: Any, recipe: Recipe, source: Source, folder: Path) -> str:
    """Run a trial, tell the study, and say how it ended."""
    try:
        learner, sampler, validation = _built(recipe, source)
        save_run(recipe, folder, sampler.facts)
        tasks = recipe.validation.get("tasks", 200)
        history = fit(
            learner, sampler, **recipe.fit_options(), validate=validation, validate_tasks=tasks, seed=recipe.seed,
            out=folder, progress=False, origin={"data": recipe.data},
        )  # fmt: skip
    except (NonFiniteLoss, InputError) as error:
        trial.set_user_attr("why", str(error))
        # Pruned and not failed: the search then keeps away from such values.
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        return "refused"
    except Exception as error:
        # Whatever it is, the sweep goes on with other values: the same would end the same way.
        trial.set_user_attr("why", f"{type(error).__name__}: {error}")
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return "failed"
    # An interrupted trial stays open: whoever goes on finds it without a process, and repeats it.
    if history.stopped != "interrupted" and history.best is None:
        trial.set_user_attr("why", "no validation gave a finite score")
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    elif history.stopped != "interrupted":
        study.tell(trial, history.best)
    return history.stopped


def _begin(study: Any, axes: list[Axis], seed: int, trials: int, out: Path) -> tuple[Any, Path, FileLock] | None:
    """The next trial with its values, its folder, and the lock that its process holds; ``None`` if none is left."""
    states = optuna.trial.TrialState
    # One process at a time: another could take a trial that has only just begun for one without a process.
    with FileLock(out / ".lock"):
        counted = 0
        for old in study.get_trials(deepcopy=False):
            if old.state == states.RUNNING and _abandoned(_folder(out, old.number)):
                study.tell(old.number, state=states.FAIL)
                study.enqueue_trial(old.params, user_attrs={"repeats": old.number})
            else:
                # One that failed by itself counts; one whose process died is tried again.
                failed = old.state == states.FAIL and "why" in old.user_attrs
                counted += failed or old.state in (states.RUNNING, states.COMPLETE, states.PRUNED)
        if counted >= trials:
            return None
        # A seed for each trial: a sweep that goes on does not draw its first values again.
        digest = hashlib.blake2b(f"{seed}/sweep/{len(study.trials)}".encode(), digest_size=4).digest()
        study.sampler = optuna.samplers.TPESampler(seed=int.from_bytes(digest, "big"))
        trial = study.ask()
        for axis in axes:
            axis.suggest(trial)
        folder = _folder(out, trial.number)
        if (folder / RECIPE_FILE).exists():
            study.tell(trial, state=states.FAIL)
            raise InputError(f"{folder} already holds a run, of another sweep: give another --out")
        prepare_folder(folder)
        lock = FileLock(folder / ".lock")
        lock.acquire()
        return trial, folder, lock


def _folder(out: Path, number: int) -> Path:
    return out / f"trial-{number:04d}"


def _abandoned(folder: Path) -> bool:
    """Whether an open trial has no process any more; one without a folder here belongs to another machine."""
    if not folder.is_dir():
        return False
    try:
        with FileLock(folder / ".lock", blocking=False):
            return True
    except Timeout:
        return False


def _study(recipe: Recipe, axes: list[Axis], storage: str, name: str | None, out: Path) -> Any:
    """The study of this sweep in its storage: a new one, or the one that goes on."""
    facts = asdict(recipe)
    # The same sweep on another machine may read its data elsewhere and train on another device.
    facts = {**facts, "root": None, "training": {k: v for k, v in recipe.training.items() if k != "device"}}
    asked = json.loads(json.dumps({"recipe": facts, "axes": {axis.path: asdict(axis) for axis in axes}}))
    name = name or f"{recipe.learner}-{recipe.data}"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with FileLock(out / ".lock"):
            study = optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
    except (SQLAlchemyError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"the storage {storage} cannot be opened ({reason}): give a database's URL, such as sqlite:///sweep.db"
        ) from None
    if study.user_attrs.setdefault("sweep", asked) != asked:
        raise InputError(
            f"{storage} holds a sweep {name!r} of another recipe or other ranges: repeat its command, or give another "
            f"--storage or --name"
        )
    study.set_user_attr("sweep", asked)
    return study


def _pinned(recipe: Recipe) -> Recipe:
    """The recipe with all sizes of its validation tasks said, so that no change of its episodes changes them."""
    recipe = copy.deepcopy(recipe)
    for name in ("ways", "shots", "queries"):
        if name in recipe.episodes:
            recipe.validation.setdefault(name, recipe.episodes[name])
    return recipe


def _changed(recipe: Recipe, values: dict[str, Any]) -> Recipe:
    recipe = copy.deepcopy(recipe)
    for path, value in values.items():
        part, _, name = path.partition(".")
        getattr(recipe, part)[name] = value
    return recipe


def _built(recipe: Recipe, source: Source) -> tuple[Learner, Sampler, Sampler]:
    sampler = recipe.check().sampler(source)
    learner = recipe.build(sampler.facts)
    if recipe.init is not None:
        start_from(learner, recipe.init)
    return learner, sampler, recipe.validation_sampler(source)


def _row(trial: Any, out: Path) -> dict[str, Any]:
    """What is known of a trial, ready for JSON."""
    done = trial.state == optuna.trial.TrialState.COMPLETE
    state = "refused" if trial.state == optuna.trial.TrialState.PRUNED else trial.state.name.lower()
    row = {"trial": trial.number, "score": trial.value if done else None, "state": state}
    return {**row, **trial.user_attrs, "parameters": trial.params, "folder": str(_folder(out, trial.number))}


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def shown(rows: list[dict[str, Any]], most: int = 10) -> list[dict[str, str]]:
    """The best rows of :func:`run` as a table: a column for each value that was tried."""
    return [
        {
            "trial": str(row["trial"]),
            "score": row["state"] if row["score"] is None else f"{row['score']:.4f}",
            **{path: _short(value) for path, value in row["parameters"].items()},
        }
        for row in rows[:most]
    ]
