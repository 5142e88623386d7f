"""What the commands share: values of a recipe from words, run folders begun, trained and scored.

Everything heavy is imported in the functions, so that ``innerloop --help`` is there at once.
"""

from __future__ import annotations

import tomllib
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console


def begun(recipe: Any, out: Path) -> bool:
    """Whether a folder holds this very run, which torchrun starts again after a rank died; another run is refused."""
    from innerloop.core import distributed
    from innerloop.core.task import InputError
    from innerloop.recipes import load_run

    if not (out / "recipe.json").exists():
        return False
    if not distributed.launched() or load_run(out)[0] != recipe:
        raise InputError(f"{out} already holds a run: give another --out, or resume it; nothing was changed")
    return (out / "last.safetensors").exists()


def begin(recipe: Any, out: Path) -> None:
    """Make a run's folder, with its recipe."""
    from innerloop.core.folder import prepare_folder

    prepare_folder(out)
    recipe.save(out)


def console() -> Console:
    """Standard error, for one rank of several."""
    from innerloop.core import distributed

    return Console(stderr=True, quiet=distributed.rank() > 0)


def override(values: dict[str, Any], **changes: Any) -> None:
    """Put in what was given."""
    values.update({name: value for name, value in changes.items() if value is not None})


def set_value(recipe: Any, text: str) -> None:
    """Apply one ``--set part.name=value``; the value is read as TOML, or as a word."""
    from innerloop.core.task import InputError

    path, equals, word = text.partition("=")
    part, dot, name = path.partition(".")
    values = getattr(recipe, part, None)
    if not equals or not dot or not isinstance(values, dict):
        parts = [key for key, value in vars(recipe).items() if isinstance(value, dict)]
        raise InputError(f"--set {text!r} must read PART.NAME=VALUE with PART one of {', '.join(parts)}")
    values.update([value(f"{name}={word}")])


def value(text: str) -> tuple[str, Any]:
    """Name and value of ``NAME=VALUE``; the value is read as TOML, or as a word."""
    from innerloop.core.task import InputError

    name, equals, word = text.partition("=")
    if not equals:
        raise InputError(f"{text!r} must read NAME=VALUE")
    try:
        return name, tomllib.loads(f"value = {word}")["value"]
    except tomllib.TOMLDecodeError:
        return name, word


def parts(recipe: Any) -> tuple[Any, ...]:
    """Learner, meta-training sampler and validation sampler of a recipe."""
    source = recipe.source()
    learner = recipe.build(source)
    return learner, recipe.sampler(source), recipe.validation_sampler(source)


def trained(recipe: Any, built: tuple[Any, ...], out: Path, *, resume: bool, quiet: bool) -> None:
    """Train by a recipe, and say on standard error how it went."""
    import innerloop as il
    from innerloop.core.allocator import keep_memory
    from innerloop.core.task import InputError

    keep_memory()
    learner, sampler, validation = built
    tasks = recipe.validation.get("tasks", 200)
    try:
        history = il.fit(
            learner, sampler, **recipe.training, validate=validation, validate_tasks=tasks, seed=recipe.seed,
            out=out, resume=resume, progress=not quiet,
        )  # fmt: skip
    except TypeError as error:
        if "fit()" not in str(error):
            raise
        raise InputError(f"the recipe's training table does not fit innerloop.fit ({error})") from None
    say = partial(console().print, highlight=False)
    say(f"{history.stopped} after {history.step} steps, {history.seconds / 60:.1f} minutes")
    say(f"tasks by {history.how}: {history.why}")
    if history.stopped == "interrupted":
        say(f"saved; go on with: innerloop resume {out}")
    elif history.best is not None:
        say(f"best validation score {history.best:.4f}; next: innerloop evaluate {out}")


def scored(
    run: Path,
    ways: int | None,
    shots: int | None,
    queries: int | None,
    tasks: int,
    seed: int,
    split: str,
    device: str | None,
    *,
    inner_steps: int | None = None,
    norm: str | None = None,
    data: str | None = None,
    root: Path | None = None,
) -> Any:
    """The report of a run on tasks of a split, of its own data set or of another."""
    import innerloop as il
    from innerloop.core.allocator import keep_memory
    from innerloop.recipes import load

    keep_memory()
    learner, recipe, source = load(run, norm=norm, test_steps=inner_steps)
    if data is not None:
        recipe.data, recipe.root = data, str(root.absolute()) if root is not None else None
        source = recipe.source()
    sampler = recipe.episodes_of(source, split, ways=ways, shots=shots, queries=queries)
    return il.evaluate(learner, sampler, tasks=tasks, seed=seed, device=device)
