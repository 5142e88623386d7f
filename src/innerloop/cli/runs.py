"""What the commands share: values of a recipe from words, run folders begun, trained and scored.

Everything heavy is imported in the functions, so that ``innerloop --help`` is there at once.
"""

from __future__ import annotations

import tomllib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from innerloop.data.episodes import Sampler
    from innerloop.evaluation.reports import Report
    from innerloop.evidence.uncertainty import Uncertainty
    from innerloop.recipes import Recipe
    from innerloop.training.callbacks import Callback


def recipe_of(
    learner: str,
    data: str | None,
    *,
    change: list[str] | None = None,
    root: Path | None = None,
    init: Path | None = None,
    tables: dict[str, dict[str, Any]] | None = None,
    **values: Any,
) -> Recipe:
    """The committed recipe with what the options of a command change in it, checked.

    Args:
        learner: its name.
        data: name of the data set, or the path of one's own data; ``None`` for the recipe's own.
        change: ``PART.NAME=VALUE``, each.
        root: folder of the data set.
        init: run folder whose network the training starts from.
        tables: values by table, then name; those that are ``None`` are left as they are.
        values: of the recipe itself, likewise.
    """
    from innerloop.recipes import defaults
    from innerloop.recipes.recipe import Recipe

    data, root = placed(data, root, change)
    recipe = defaults(learner, data)
    found = recipe.json()
    places = {"root": _absolute(root), "init": _absolute(init)}
    found.update({name: value for name, value in {**places, **values}.items() if value is not None})
    for table, changes in (tables or {}).items():
        if table == "training" and (changes.get("steps") is not None or changes.get("minutes") is not None):
            found["training"] = {k: v for k, v in found["training"].items() if k not in ("steps", "minutes")}
        found[table].update({name: value for name, value in changes.items() if value is not None})
    for text in change or []:
        set_value(found, text)
    return Recipe.read(found)


def placed(data: str | None, root: Path | None, change: list[str] | None = None) -> tuple[str | None, Path | None]:
    """The name of a data set and its folder; what is a path and no name is one's own data, called by what they are.

    Args:
        data: a name or a path.
        root: the folder that was given.
        change: ``pool.label=NAME`` and others that say which column is what.
    """
    from innerloop.core.parts import is_own
    from innerloop.data import read_own, registry

    if data is None or root is not None or data in registry.SETS or is_own(data) or not Path(data).exists():
        return data, root
    said = dict(value(text.removeprefix("pool.")) for text in change or [] if text.startswith("pool.") and "=" in text)
    columns = {name: said[name] for name in ("label", "inputs", "task", "group") if name in said}
    kinds = {"images": "own_images", "table": "own_table"}
    return kinds.get(read_own(data, **columns).kind, "own_features"), Path(data)


def _absolute(path: Path | None) -> str | None:
    return str(path.absolute()) if path is not None else None


def set_value(found: dict[str, Any], text: str) -> None:
    """Apply one ``--set part.name=value`` to the values of a recipe; the value is read as TOML, or as a word."""
    from innerloop.core.task import InputError, did_you_mean

    path, equals, word = text.partition("=")
    part, dot, name = path.strip().partition(".")
    parts = [key for key, value in found.items() if isinstance(value, dict)]
    if not equals or not dot or not name or part not in parts:
        raise InputError(
            f"--set {text!r} must read PART.NAME=VALUE with PART one of {', '.join(parts)}{did_you_mean(part, parts)}"
        )
    found[part].update([value(f"{name}={word}")])


def value(text: str) -> tuple[str, Any]:
    """Name and value of ``NAME=VALUE``; the value is read as TOML, or as a word."""
    from innerloop.core.task import InputError

    name, equals, word = text.partition("=")
    if not equals or not name.strip():
        raise InputError(f"{text!r} must read NAME=VALUE")
    try:
        return name.strip(), tomllib.loads(f"value = {word}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return name.strip(), word


def begun(recipe: Recipe, out: Path) -> bool:
    """Whether a folder holds this very run, which torchrun starts again after a rank died; another run is refused.

    A folder without a checkpoint was never begun: a killed or refused start does not block the next one.
    """
    from innerloop.core import distributed
    from innerloop.core.task import InputError
    from innerloop.recipes import load_run

    if not (out / "last.safetensors").exists():
        return False
    if not distributed.launched() or load_run(out)[0] != recipe:
        raise InputError(f"{out} already holds a run: give another --out, or resume it; nothing was changed")
    return True


def console() -> Console:
    """Standard error, for one rank of several."""
    from innerloop.core import distributed

    return Console(stderr=True, quiet=distributed.rank() > 0)


def trained(recipe: Recipe, out: Path, *, resume: bool, quiet: bool, track: str | None = None) -> int:
    """Train by a recipe, say on standard error how it went, and give the exit code.

    All that can be refused is refused before anything is written.

    Args:
        recipe: of the run.
        out: its folder.
        resume: go on with it.
        quiet: no progress bar.
        track: name of a tracker, or ``"none"``; a run that is resumed has the one that it had.
    """
    from innerloop.core.allocator import keep_memory
    from innerloop.recipes import RecipeWriter, start_from
    from innerloop.training.fit import fit

    keep_memory()
    callbacks = _followed(recipe, out, track, resume)
    source = recipe.source()
    sampler, validation = recipe.sampler(source), recipe.validation_sampler(source)
    learner = recipe.build(sampler.facts)
    if recipe.init is not None and not resume:
        start_from(learner, recipe.init)
    tasks = recipe.validation.get("tasks", 200)
    history = fit(
        learner, sampler, **recipe.fit_options(), validate=validation, validate_tasks=tasks, seed=recipe.seed,
        out=out, resume=resume, progress=not quiet, origin={"data": recipe.data},
        callbacks=callbacks if resume else [RecipeWriter(recipe, sampler.facts), *callbacks],
    )  # fmt: skip
    say = partial(console().print, highlight=False, soft_wrap=True)
    say(f"{history.stopped} after {history.step} steps, {history.seconds / 60:.1f} minutes")
    say(f"tasks by {history.how}: {history.why}")
    if history.stopped == "interrupted":
        say(f"saved; go on with: innerloop resume {out}")
    elif history.best is not None:
        say(f"best validation score {history.best:.4f}; next: innerloop evaluate {out}")
    return 128 + (history.signal or 2) if history.stopped == "interrupted" else 0


def _followed(recipe: Recipe, out: Path, track: str | None, resume: bool) -> list[Callback]:
    """What sends the metrics of a run to a tracker, if any is asked for, or was when the run began."""
    from innerloop.training.record import read_facts
    from innerloop.training.trackers import TRACKERS, Track

    if track is None and resume:
        before = [state["to"] for name, state in read_facts(out).get("callbacks", []) if name == Track.__name__]
        track = next((name for name in before if name in TRACKERS), None)
    return [] if track in (None, "none") else [Track(str(track), config=recipe.json())]


def judged_by(
    run: Path,
    ways: int | None,
    shots: int | None,
    queries: int | None,
    split: str,
    *,
    data: str | None = None,
    root: Path | None = None,
) -> tuple[Sampler, dict[str, Any]]:
    """What a run is judged on, tasks of a split of its own data set or of another, and the facts of it to be kept."""
    from innerloop.core.version import versions
    from innerloop.recipes import defaults, load_run, recipe_for
    from innerloop.recipes.runs import RECIPE_FILE

    data, root = placed(data, root)
    recipe = load_run(run)[0] if (run / RECIPE_FILE).exists() or data is None else recipe_for(run, data)
    if data is not None and data != recipe.data:
        recipe.data, recipe.root, recipe.pool = data, None, defaults(recipe.learner, data).pool
        recipe.share = {}
    recipe.root = _absolute(root) or recipe.root
    facts = {"run": str(run), "learner": recipe.learner, "data": recipe.data, "root": recipe.root, "split": split}
    sampler = recipe.episodes_of(recipe.source(), split, ways=ways, shots=shots, queries=queries)
    return sampler, {**facts, "versions": versions()}


def scored(
    run: Path,
    sampler: Sampler,
    *,
    tasks: int,
    seed: int,
    device: str | None,
    inner_steps: int | None = None,
    norm: str | None = None,
    views: bool = False,
    root: Path | None = None,
) -> Report:
    """The report of a run on tasks."""
    from innerloop.core.allocator import keep_memory
    from innerloop.evaluation.evaluate import evaluate
    from innerloop.recipes import load

    keep_memory()
    learner = load(run, policy=norm, test_steps=inner_steps, views=views, root=root)
    return evaluate(learner, sampler, tasks=tasks, seed=seed, device=device)


def known_tasks(
    run: Path,
    sampler: Sampler,
    ways: int | None,
    shots: int | None,
    queries: int | None,
    split: str,
    *,
    data: str | None,
    root: Path | None,
) -> Sampler:
    """The validation tasks by which a temperature is found, as those that a run is judged on in all but the classes.

    Raises:
        InputError: for tasks without classes, or if the run is judged on its validation tasks.
    """
    from innerloop.core.task import InputError

    if split == "val":
        raise InputError(
            "the temperature is found on the validation tasks, which are no test of it: give another --split"
        )
    if not sampler.classifies:
        raise InputError(
            "--uncertainty is about probabilities of classes, and these tasks have real targets: leave it out"
        )
    return judged_by(run, ways, shots, queries, "val", data=data, root=root)[0]


def uncertain(
    run: Path,
    sampler: Sampler,
    known: Sampler,
    *,
    tasks: int,
    seed: int,
    device: str | None,
    inner_steps: int | None = None,
    norm: str | None = None,
    views: bool = False,
    root: Path | None = None,
) -> Uncertainty:
    """How far the probabilities of a run can be trusted; whatever is fitted sees the known tasks alone."""
    from innerloop.evidence.uncertainty import uncertainty
    from innerloop.recipes import load

    learner = load(run, policy=norm, test_steps=inner_steps, views=views, root=root)
    return uncertainty(learner, sampler, known, tasks=tasks, seed=seed, device=device)
