"""The data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from innerloop.core.task import InputError, did_you_mean
from innerloop.data.episodes import Sampler
from innerloop.data.functions import Sinusoid
from innerloop.data.gaussian_process import GaussianProcess, Sawtooth
from innerloop.data.mapped import mapped
from innerloop.data.molecules import Molecules
from innerloop.data.pool import Pools
from innerloop.data.prior import TablePrior
from innerloop.data.sets.cifar_fs import cifar_fs
from innerloop.data.sets.glyphs import glyphs
from innerloop.data.sets.molecules import KNOWN, molecules
from innerloop.data.sets.multitask import FAMILIES as FAMILIES_OF_TASKS
from innerloop.data.sets.multitask import multitask
from innerloop.data.sets.omniglot import omniglot
from innerloop.data.tables import TableTasks


class DataSet(NamedTuple):
    """A data set that the command line knows."""

    read: Callable[..., Pools]
    needs_root: bool
    what: str


SETS = {
    "glyphs": DataSet(glyphs, False, "letters of many scripts, drawn here from fonts: embedded, no download"),
    "omniglot": DataSet(omniglot, True, "1,623 handwritten characters of 50 alphabets (--root, or --download)"),
    "cifar_fs": DataSet(cifar_fs, True, "CIFAR-100 split for few-shot learning: 100 classes of photographs (--root)"),
    "mapped": DataSet(mapped, True, "images of your own, more than fit into memory: data.write_images (--root)"),
}


class FunctionFamily(NamedTuple):
    """A family of functions that the command line knows: tasks without a pool, the same in every split."""

    make: Callable[..., Sampler]
    what: str
    objective: str = "regression"


# The protocol of the convolutional process: one kernel, no noise.
_FIXED: dict[str, Any] = {"scale": 1.0, "noise": 0.0, "shots": (3, 50), "queries": (3, 50)}

FAMILIES = {
    "sinusoid": FunctionFamily(Sinusoid, "sine waves of random amplitude and phase"),
    "gp_rbf": FunctionFamily(partial(GaussianProcess, "rbf"), "Gaussian-process draws, RBF kernels of random scales"),
    "gp_matern52": FunctionFamily(partial(GaussianProcess, "matern52"), "the same with Matern-5/2 kernels"),
    "gp_periodic": FunctionFamily(partial(GaussianProcess, "periodic"), "the same with periodic kernels"),
    "gp_eq": FunctionFamily(partial(GaussianProcess, "rbf", lengthscale=0.25, **_FIXED), "draws of one RBF kernel"),
    "gp_weakly_periodic": FunctionFamily(
        partial(GaussianProcess, "weakly_periodic", lengthscale=0.5, period=0.25, **_FIXED), "draws of one such kernel"
    ),
    "table_prior": FunctionFamily(TablePrior, "random small tables, for in-context learners", "classification"),
    "table_prior_regression": FunctionFamily(partial(TablePrior, regression=True), "the same with a real target"),
    "sawtooth": FunctionFamily(Sawtooth, "sawtooth waves of random frequency and phase"),
}


TABLES = FAMILIES_OF_TASKS
MOLECULES = KNOWN


def check_name(name: str) -> None:
    """Refuse an unknown data set.

    Raises:
        InputError: with the nearest known name.
    """
    known = [*SETS, *FAMILIES, *TABLES, *MOLECULES]
    if name not in known:
        hint = did_you_mean(name, known)
        raise InputError(f"data set {name!r} is unknown{hint}; choose one of {', '.join(known)}")


def objective(name: str) -> str:
    """Whether the targets of a data set are classes (``"classification"``) or real (``"regression"``)."""
    if name in FAMILIES:
        return FAMILIES[name].objective
    return "regression" if name in TABLES else "classification"


def kinds(name: str) -> tuple[str, ...]:
    """What a recipe may say something of its own about, from the general to the data set itself."""
    return objective(name), *(["molecules"] if name in MOLECULES else []), name


def read(name: str, root: str | None, **options: Any) -> Pools | TableTasks | Molecules:
    """The pools of a data set, the tasks of a table, or the assays of molecules.

    Args:
        name: one of ``SETS``, of the tables or of the molecules.
        root: its folder, where it is not embedded.
        options: of its reader.

    Raises:
        InputError: for an unknown name, a missing root, or options that the reader does not know.
    """
    check_name(name)
    if name in FAMILIES:
        raise InputError(f"{name} is a family of functions: there is nothing to read")
    by_name = "multitask" if name in TABLES else "molecules" if name in MOLECULES else ""
    if root is None and (by_name or SETS[name].needs_root):
        call = f"{by_name}(root, {name!r})" if by_name else f"{name}(root)"
        raise InputError(f"data set {name} needs its folder: give --root DIR (in Python: data.{call})")
    try:
        if name in TABLES:
            return multitask(str(root), name, **options)
        if name in MOLECULES:
            return molecules(str(root), name, **options)
        return SETS[name].read(root, **options) if SETS[name].needs_root else SETS[name].read(**options)
    except TypeError as error:
        raise InputError(f"options {options} do not fit the data set {name} ({error})") from None
