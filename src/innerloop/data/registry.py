"""The data sets by name: one line each, all of one shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from innerloop.core.options import check_options, keywords
from innerloop.core.parts import is_own, own_part, unknown
from innerloop.core.task import InputError
from innerloop.data.families import Functions
from innerloop.data.functions import Sinusoid
from innerloop.data.gaussian_process import GaussianProcess, Sawtooth
from innerloop.data.mapped import mapped
from innerloop.data.molecules import Molecules
from innerloop.data.own.pools import own_source
from innerloop.data.pool import Pool
from innerloop.data.pools import Pools
from innerloop.data.prior import TablePrior
from innerloop.data.sets.cifar_fs import cifar_fs
from innerloop.data.sets.digits import Images, Rotated, digits, mnist
from innerloop.data.sets.folder import folder
from innerloop.data.sets.glyphs import glyphs
from innerloop.data.sets.molecules import KNOWN, molecules
from innerloop.data.sets.multitask import FAMILIES, multitask
from innerloop.data.sets.omniglot import omniglot
from innerloop.data.sets.omniglot_oneshot import omniglot_oneshot
from innerloop.data.source import Source
from innerloop.data.streams import Sines, Split
from innerloop.data.tables import TableTasks


@dataclass(frozen=True)
class DataSet:
    """A data set that recipes and the command line know.

    Args:
        make: the source, from its folder (if it has one) and options by name.
        kinds: what a recipe may say something of its own about, from the general to the particular, as
            :attr:`innerloop.core.facts.Facts.kinds`.
        what: it is, in a few words.
        root: whether it ``"needs"`` a folder, ``"takes"`` one, or has ``"none"``.
        options: the function or class whose arguments are its options, where ``make`` passes them on.
    """

    make: Callable[..., Source]
    kinds: tuple[str, ...]
    what: str
    root: Literal["needs", "takes", "none"] = "none"
    options: Callable[..., Any] | None = None


_DRAWINGS = ("classification", "images", "drawings")
_PHOTOGRAPHS = ("classification", "images", "photographs")
_FUNCTIONS = ("regression", "functions")
_STREAMS = ("streams",)

# The protocol of the convolutional process: one kernel, no noise.
_FIXED: dict[str, Any] = {"scale": 1.0, "noise": 0.0, "shots": (3, 50), "queries": (3, 50)}


def _functions(name: str, make: Callable[..., Any], what: str, kinds: tuple[str, ...] = _FUNCTIONS) -> DataSet:
    return DataSet(lambda: Functions(make, name), kinds, what)


def _images(root: str | None) -> Images:
    return digits() if root is None else mnist(root)


def _rotated_digits(root: str | None = None, **options: Any) -> Source:
    return Rotated(_images(root), **options)


def _split_digits(root: str | None = None, **options: Any) -> Source:
    x, y, more_x, more_y = _images(root)
    pool = Pool.of(torch.cat((x, more_x)).flatten(1), torch.cat((y, more_y)))
    return Split(pool, **{"per_task": 2, "shots": 120, "held_out": 50, "batch": 10, **options})


def _split(read: Callable[..., Pools], **defaults: Any) -> Callable[..., Source]:
    """The meta-test classes of a data set, so that meta-trained learners have not seen them."""

    def make(root: str | None = None, **options: Any) -> Source:
        return Split((read() if root is None else read(root)).test, **{**defaults, **options})

    return make


SETS: dict[str, DataSet] = {
    "glyphs": DataSet(glyphs, _DRAWINGS, "letters of many scripts, drawn here from fonts: embedded, no download"),
    "omniglot": DataSet(omniglot, (*_DRAWINGS, "rotated"), "1,623 handwritten characters of 50 alphabets", "needs"),
    "omniglot_oneshot": DataSet(
        omniglot_oneshot, (*_DRAWINGS, "alphabets"), "the same, 20 letters of an alphabet by two drawers", "needs"
    ),
    "cifar_fs": DataSet(cifar_fs, _PHOTOGRAPHS, "CIFAR-100 split for few-shot learning: 100 classes", "needs"),
    "mapped": DataSet(mapped, _PHOTOGRAPHS, "your own images, more than fit into memory: data.write_images", "needs"),
    "folder": DataSet(folder, _PHOTOGRAPHS, "your own images, one folder a class", "needs"),
    "own_images": DataSet(own_source, _PHOTOGRAPHS, "your own pictures, in any order: --data PATH", "needs"),
    "own_features": DataSet(
        own_source, ("classification", "vectors"), "your own features or sentences: --data PATH", "needs"
    ),
    "own_table": DataSet(own_source, ("classification", "table"), "your own table: --data PATH", "needs"),
    "sinusoid": _functions("sinusoid", Sinusoid, "sine waves of random amplitude and phase"),
    "gp_rbf": _functions("gp_rbf", partial(GaussianProcess, "rbf"), "Gaussian-process draws, RBF kernels"),
    "gp_matern52": _functions("gp_matern52", partial(GaussianProcess, "matern52"), "the same, Matern-5/2 kernels"),
    "gp_periodic": _functions("gp_periodic", partial(GaussianProcess, "periodic"), "the same, periodic kernels"),
    "gp_eq": _functions(
        "gp_eq", partial(GaussianProcess, "rbf", lengthscale=0.25, **_FIXED), "draws of one RBF kernel"
    ),
    "gp_weakly_periodic": _functions(
        "gp_weakly_periodic",
        partial(GaussianProcess, "weakly_periodic", lengthscale=0.5, period=0.25, **_FIXED),
        "draws of one such kernel",
    ),
    "table_prior": _functions(
        "table_prior", TablePrior, "random small tables, for in-context learners", ("classification", "table")
    ),
    "table_prior_regression": _functions(
        "table_prior_regression",
        partial(TablePrior, regression=True),
        "the same with a real target",
        ("regression", "table"),
    ),
    "sawtooth": _functions("sawtooth", Sawtooth, "sawtooth waves of random frequency and phase"),
    **{
        name: DataSet(
            partial(multitask, name=name),
            ("regression", "table"),
            f"{' and '.join(family.targets)} by {' and '.join(family.task)}",
            "needs",
            TableTasks.read,
        )
        for name, family in FAMILIES.items()
    },
    **{
        name: DataSet(
            partial(molecules, name=name), ("classification", "molecules"), known.what, "needs", Molecules.read
        )
        for name, known in KNOWN.items()
    },
    "rotated_digits": DataSet(_rotated_digits, _STREAMS, "8x8 digits at rising angles (or MNIST)", "takes", Rotated),
    "split_digits": DataSet(_split_digits, _STREAMS, "8x8 digits, two classes after two (or MNIST)", "takes", Split),
    "split_glyphs": DataSet(_split(glyphs, classes=50), _STREAMS, "letters, one after the other", "none", Split),
    "split_omniglot": DataSet(
        _split(partial(omniglot, rotations=False), classes=200),
        _STREAMS,
        "characters, one after the other",
        "needs",
        Split,
    ),
    "split_cifar_fs": DataSet(
        _split(cifar_fs, per_task=5, shots=100, held_out=100, batch=10),
        _STREAMS,
        "photographs, five classes after five",
        "needs",
        Split,
    ),
    "sines": DataSet(Sines, _STREAMS, "sine waves on pieces of the line: regression"),
}


def find(name: str) -> DataSet:
    """The data set of a name, or one of anybody's own.

    ``package.module:Name`` is a function that gives a source (or a source itself); with an argument ``root`` it takes a
    folder, and an attribute ``kinds`` says which tables of a recipe are for it.

    Raises:
        InputError: for an unknown name, with the nearest known one.
    """
    if not is_own(name):
        if name not in SETS:
            raise unknown("data set", name, SETS)
        return SETS[name]
    own = own_part(name, "data set")
    what = (getattr(own, "__doc__", None) or "of your own").strip().splitlines()[0]
    if isinstance(own, Source) and not isinstance(own, type):
        return DataSet(lambda: own, own.facts.kinds, what)
    if not callable(own):
        raise InputError(
            f"data set {name!r} is {type(own).__name__}: it must be a source, or a function that gives one"
        )
    folder = keywords(own).get("root")
    root: Literal["needs", "takes", "none"] = "none"
    if folder is not None:
        root = "needs" if folder.default is folder.empty else "takes"
    return DataSet(own, tuple(getattr(own, "kinds", ())), what, root)


def _call(make: Callable[..., Any]) -> str:
    """How a reader is called in Python."""
    if isinstance(make, partial):
        return f"{make.func.__name__}(root, {', '.join(map(repr, make.keywords.values()))})"
    return f"{make.__name__.lstrip('_')}(root)"


def read(name: str, root: str | Path | None = None, **options: Any) -> Source:
    """The source of a name.

    Args:
        name: of a data set, or ``package.module:Name``.
        root: its folder, where it is not embedded.
        options: of its reader.

    Raises:
        InputError: for an unknown name, a missing root, or options that the reader does not know.

    Example:
        >>> read("sinusoid").facts.targets
        1
    """
    found = find(name)
    if root is None and found.root == "needs":
        call = "" if is_own(name) else f" (in Python: data.{_call(found.make)})"
        raise InputError(f"data set {name} needs its folder: give --root DIR{call}")
    if root is not None and found.root == "none":
        raise InputError(f"data set {name} is not read from a folder: leave the root {root} out")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    # Of our own readers `make` fills in what else they need.
    given = ("root",) if is_own(name) else ("root", "path", "name", "pool", "images", "cls")
    check_options(found.options or found.make, values, f"the data set {name}", given=given, complete=is_own(name))
    source = found.make(**({"root": str(root)} if root is not None else {}), **values)
    if not isinstance(source, Source):
        raise InputError(
            f"data set {name} gives {type(source).__name__}, no source: it needs facts, makers, part and describe"
        )
    return source


def catalog() -> list[dict[str, Any]]:
    """The data sets: name, whether it needs its folder, and what it is.

    Example:
        >>> catalog()[0]["data"]
        'glyphs'
    """
    roots = {"needs": "--root", "takes": "(--root)", "none": ""}
    return [
        {"data": name, "needs": roots[one.root], "kind": list(one.kinds), "what": one.what}
        for name, one in SETS.items()
    ]
