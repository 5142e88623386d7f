"""Run folders: a recipe with what it was run with, and the trained learner back from it."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from innerloop import bundle
from innerloop.core import checkpoint, distributed, norm
from innerloop.core.device import device_name, find_device
from innerloop.core.facts import Facts
from innerloop.core.files import write_text_atomically
from innerloop.core.learner import Learner
from innerloop.core.numbers import check_count
from innerloop.core.parts import is_own
from innerloop.core.random import generator
from innerloop.core.task import InputError
from innerloop.core.version import versions
from innerloop.learners.optimization.gradient import GradientLearner
from innerloop.learners.under_views import UnderViews
from innerloop.recipes.defaults import defaults
from innerloop.recipes.recipe import Recipe, learner_names
from innerloop.training.callbacks import Callback
from innerloop.training.validation import CALIBRATION_BATCHES

RECIPE_FILE = "recipe.json"


def save_run(recipe: Recipe, folder: Path, facts: Facts, command: list[str] | None = None) -> None:
    """Write a recipe, the facts of its tasks, the versions, the device and the command into a run folder."""
    values = {
        "format": checkpoint.FORMAT,
        "recipe": recipe.json(),
        "facts": facts.json(),
        "versions": {**versions(), "platform": platform.platform(), "threads": str(torch.get_num_threads())},
        "device": device_name(find_device(recipe.fit_options().get("device", "cpu"))),
        "command": command if command is not None else sys.argv,
    }
    write_text_atomically(folder / RECIPE_FILE, json.dumps(values, indent=2) + "\n")


class RecipeWriter(Callback):
    """Writes the recipe into the run folder when a run begins, which is after all that could be refused.

    Args:
        recipe: of the run.
        facts: of its meta-training tasks.
    """

    def __init__(self, recipe: Recipe, facts: Facts) -> None:
        self.recipe, self.facts = recipe, facts

    def on_start(self, learner: Learner, folder: Path | None) -> None:  # noqa: D102
        if folder is not None and distributed.rank() == 0:
            save_run(self.recipe, folder, self.facts)


def load_run(folder: str | Path) -> tuple[Recipe, dict[str, Any]]:
    """The recipe of a run folder, and all that stands beside it.

    Raises:
        InputError: if the folder holds no run, a damaged one, or one of another version.
    """
    path = Path(folder) / RECIPE_FILE
    if not path.is_file():
        raise InputError(
            f"{folder} holds no run ({RECIPE_FILE} is missing): give a folder that `innerloop train --out` wrote, "
            f"or say --data for a bundle without a recipe"
        )
    try:
        facts = json.loads(path.read_text())
        written = facts["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read ({error}): it is damaged; train again") from None
    if written != checkpoint.FORMAT:
        raise InputError(
            f"{path} has format {written}, this version of innerloop reads {checkpoint.FORMAT}: use innerloop "
            f"{facts.get('versions', {}).get('innerloop', 'of that time')}, or train again"
        )
    try:
        return Recipe.read(facts["recipe"]), facts
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a recipe ({error}): it is damaged; train again") from None


def recipe_for(folder: str | Path, data: str) -> Recipe:
    """A recipe to judge a bundle without one by, such as ``fit(out=)`` leaves: that of its learner on a data set.

    Raises:
        InputError: if the folder holds no bundle, or the data set is unknown.
    """
    name = bundle.read(folder).name or ""
    return defaults(name, data) if name in learner_names() else Recipe(name, data)


def load(
    folder: str | Path,
    *,
    policy: str | None = None,
    test_steps: int | None = None,
    views: bool = False,
    root: str | Path | None = None,
) -> Learner:
    """The trained learner of a run folder, in evaluation mode; its data are not needed, with one exception.

    Args:
        folder: written by ``innerloop train --out``.
        policy: a normalization policy in place of the recipe's. For running statistics of a network that was trained
            without any they are measured now, on unaugmented meta-training tasks, and a temperature with them.
        root: the folder of these, in place of the recipe's.
        test_steps: inner steps in place of the recipe's.
        views: see each image under views as well, :class:`~innerloop.learners.UnderViews` of half the largest changes
            that training made.

    Raises:
        InputError: if the folder holds no run, a damaged one, or one of another version, no learner, or for views of a
            run that was trained without changes.
    """
    named = load_run(folder)[0].parts() if (Path(folder) / RECIPE_FILE).exists() else []
    # What a recipe names by package.module:Name was asked for by whoever trained it.
    own = {name.partition(":")[0] for name in named if is_own(name)}
    learner = bundle.load(folder, allow=own)
    if not isinstance(learner, Learner):
        raise InputError(
            f"{folder} keeps a {type(learner).__qualname__}, and this is for learners: `innerloop test` tries a task "
            f"on labelled examples"
        )
    if test_steps is not None:
        if not hasattr(learner, "test_steps"):
            raise InputError(f"{type(learner).__name__} takes no inner steps: leave their number ({test_steps}) out")
        check_count("the number of inner steps", test_steps, 0)
        learner.test_steps = test_steps  # type: ignore[assignment]
    if policy is not None:
        measured = policy == "running" and norm.policy(learner) in ("support", "batch")
        norm.convert(learner, policy)
        if measured:
            _measure(learner, folder, root)
    return (_under_views(learner, folder) if views else learner).eval()


def _measure(learner: Learner, folder: str | Path, root: str | Path | None) -> None:
    """Let a learner look at the tasks that it would have looked at in training, had it had running statistics."""
    recipe = load_run(folder)[0]
    recipe.root = str(root) if root is not None else recipe.root
    sampler = recipe.sampler(recipe.source())
    tasks = [sampler.plain(generator(recipe.seed, "calibrate", i), 1) for i in range(CALIBRATION_BATCHES)]
    if isinstance(learner, GradientLearner):
        # Its inner loop must not move them, so that it does not measure them either.
        norm.calibrate(learner.backbone(), (part.x.flatten(0, 1) for task in tasks for part in task if part.x.numel()))
    learner.eval().calibrate(tasks)


def _under_views(learner: Learner, folder: str | Path) -> Learner:
    changes = load_run(folder)[0].augment
    moves = {name: changes[name] / 2 for name in ("shift", "rotate", "scale", "shear") if changes.get(name)}
    flip = bool(changes.get("flip"))
    if changes.get("probability") == 0 or not (moves or flip):
        raise InputError(
            f"{folder} was trained on images as they are, so that nothing says which views to see: leave views out, or "
            f"wrap the learner in innerloop.learners.UnderViews"
        )
    return UnderViews(learner, **moves, flip=flip)


def start_from(learner: Learner, folder: str | Path) -> list[str]:
    """Transfer: give the learner's network the trained weights of a run, of whichever learner, where they fit.

    Args:
        learner: its parameters are changed in place.
        folder: a run folder; the network of its learner is what is taken.

    Returns:
        the names of the network's parameters and buffers that were taken over.

    Raises:
        InputError: if the networks have nothing in common, or a layer of other sizes.
    """
    given, own = load(folder).backbone().state_dict(), learner.backbone().state_dict()
    common = [name for name in own if name in given]
    # The last layer of a classifier belongs to the classes of its run.
    fitting = [name for name in common if given[name].shape == own[name].shape]
    odd = [name for name in common if name not in fitting and not name.startswith("out.")]
    if odd or not fitting:
        what = (
            f"{odd[0]} has shape {tuple(own[odd[0]].shape)} here and {tuple(given[odd[0]].shape)} there"
            if odd else "they have no parameter in common"
        )  # fmt: skip
        raise InputError(
            f"the network of {folder} does not fit {type(learner).__name__}: {what}; give both the same [net]"
        )
    learner.backbone().load_state_dict({name: given[name] for name in fitting}, strict=False)
    return fitting
