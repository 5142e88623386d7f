"""Own examples as a source of tasks: classes split by chance, as given, or so that what belongs together stays so."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from innerloop.core.labels import listed
from innerloop.core.random import seeded
from innerloop.core.task import InputError
from innerloop.data.cache import cached_pools
from innerloop.data.images import Fit
from innerloop.data.own.pixels import pixels_of
from innerloop.data.own.record import OwnData
from innerloop.data.pool import Pool
from innerloop.data.pools import Pools
from innerloop.data.sets.folder import stamp
from innerloop.data.source import Source
from innerloop.data.splits import SPLITS, shared
from innerloop.data.tables import TableTasks

#: How classes are split.
By = Literal["class", "given", "group", "coarse"]
#: Features of inputs: a function, or whatever has ``transform``.
Encode = Callable[[list[Any]], Any]


def own_pools(
    own: OwnData,
    *,
    by: By | None = None,
    shares: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    size: int = 84,
    channels: int = 3,
    fit: Fit = "squash",
    encoder: Any = None,
) -> Pools:
    """Examples as pools for meta-training, validation and meta-testing that share no class.

    Args:
        own: the examples, of which the labelled ones count.
        by: ``"class"``: every class by itself, at random; ``"given"``: as the examples' splits say; ``"group"``:
            classes that share a group stay in one split, ``"coarse"``: those of one coarsest class. Default: as given,
            where train, val and test are and share no class, otherwise by class. Classes of many tasks are
            ``task/class``, and those of a task stay together.
        shares: of the classes for training, validation and test.
        seed: of the shuffle.
        size: height and width to which pictures are resized, in pixels.
        channels: of pictures: 3 for colors, 1 for grays.
        fit: ``"squash"`` or ``"crop"``, see :func:`innerloop.data.read_image`.
        encoder: what makes features ``[N, H]`` of the inputs: a function, or an object with ``transform``. Sentences
            need one.

    Raises:
        InputError: for real targets, a split left without a class, classes in two given splits, or inputs that make no
            tensor.

    Example:
        >>> rows = [([float(i), 1.0], str(i // 2)) for i in range(12)]
        >>> pools = own_pools(il.data.read_own(rows))
        >>> pools.train.classes, pools.test.classes
        (4, 1)
    """
    if by not in (None, "class", "given", "group", "coarse"):
        raise InputError(f"by={by!r}: give 'class', 'given', 'group' or 'coarse'")
    if own.objective == "regression":
        raise InputError(
            f"{own.origin}: {own.label} holds real numbers, and pools are of classes: split tables by task="
        )
    own = own.labeled()
    tasks = own.tasks if own.tasks is not None else [""] * len(own)
    names = [f"{task}/{label}" if task else str(label) for task, label in zip(tasks, own.y.tolist(), strict=True)]
    placed = _given(own, names, by) or _shared_out(own, names, by, shares, seed)
    x = _tensor(own, size, channels, fit, encoder, torch.tensor([placed[name] == "train" for name in names]))
    train, val, test = (_pool(x, names, [placed[name] == split for name in names]) for split in SPLITS)
    return Pools(train, val, test, "own data")


def _given(own: OwnData, names: Sequence[str], by: By | None) -> dict[str, str]:
    """The split of each class as the examples say; nothing where they are to be split."""
    if by not in (None, "given"):
        return {}
    splits: dict[str, set[str]] = defaultdict(set)
    for name, split in zip(names, own.splits or (), strict=False):
        splits[name].add(split)
    both = sorted(name for name, found in splits.items() if len(found) > 1)
    other = sorted(set().union(*splits.values()) - set(SPLITS))
    if by is None and (both or other or not set(SPLITS) <= set(own.splits or ())):
        return {}
    if own.splits is None:
        raise InputError(f"{own.origin} says of no example in which split it is: give by='class'")
    if both:
        raise InputError(
            f"{len(both)} classes of {own.origin} stand in several splits (the first is {both[0]!r}): meta-training "
            f"splits classes, give by='class'"
        )
    if other:
        raise InputError(f"{own.origin} has the split {other[0]!r}: it must be train, val or test, or give by='class'")
    return {name: next(iter(found)) for name, found in splits.items()}


def _shared_out(
    own: OwnData, names: Sequence[str], by: By | None, shares: Sequence[float], seed: int
) -> dict[str, str]:
    """The split of each class, with those that belong together in one."""
    ties: list[Hashable] = [None] * len(names)
    if by == "group":
        if own.groups is None:
            raise InputError(f"{own.origin} has no groups: read it with group=, or split by='class'")
        ties = list(own.groups)
    elif by == "coarse":
        if not own.hierarchy:
            raise InputError(f"{own.origin} has no coarser classes: read it with coarse=, or split by='class'")
        ties = [own.hierarchy[label][0] if label in own.hierarchy else None for label in own.y.tolist()]
    if own.tasks is not None:
        ties = [("task", task) for task in own.tasks] if by is None else ties
    together = _components(names, ties)
    order = torch.randperm(len(together), generator=seeded(seed)).tolist()
    counts = shared(len(set(names)), shares)
    left = dict(zip(SPLITS, counts, strict=True))
    placed = {}
    # The largest first, so that the small ones fill what is left.
    for place in sorted(order, key=lambda i: -len(together[i])):
        split = max(SPLITS, key=lambda name: left[name])
        left[split] -= len(together[place])
        placed.update(dict.fromkeys(together[place], split))
    empty = [split for split, share in zip(SPLITS, shares, strict=True) if share and split not in placed.values()]
    if empty:
        what = f"{len(together)} sets of classes that belong together" if len(together) < len(set(names)) else "classes"
        raise InputError(
            f"{own.origin} holds {len(set(names))} classes ({what}), which leaves none for {listed(empty)}: add "
            f"classes or change the shares {tuple(shares)}; a single task is learned by an estimator"
        )
    return placed


def _components(names: Sequence[str], ties: Sequence[Hashable]) -> list[list[str]]:
    """Classes that share a tie, also over several steps."""
    parent = {name: name for name in names}

    def top(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    first: dict[Hashable, str] = {}
    for name, tie in zip(names, ties, strict=True):
        if tie is not None and tie != "":
            parent[top(name)] = top(first.setdefault(tie, name))
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(parent):
        found[top(name)].append(name)
    return [found[name] for name in sorted(found)]


def _tensor(own: OwnData, size: int, channels: int, fit: Fit, encoder: Any, train: Tensor) -> Tensor:
    """All inputs as one tensor."""
    if encoder is not None:
        encode = getattr(encoder, "transform", encoder)
        if not callable(encode):
            raise InputError(f"encoder={encoder!r}: give a function, or an object with transform")
        return torch.as_tensor(np.asarray(encode(own.X)), dtype=torch.get_default_dtype())
    if own.kind == "images":
        x = torch.empty(len(own), channels, size, size, dtype=torch.uint8)
        for row, item in enumerate(own.X):
            x[row] = pixels_of(item, own.names[row], size=size, channels=channels, fit=fit)
        return x
    if own.kind == "text":
        raise InputError(f"{own.origin} holds sentences: give encoder=, which makes features of them")
    if own.kind == "vectors":
        return torch.as_tensor(own.X, dtype=torch.get_default_dtype())
    return _columns(own, train)


def _columns(own: OwnData, train: Tensor) -> Tensor:
    """Numbers, standardized by the training classes, and categories as one-hot columns."""
    parts = []
    for name in own.X.columns:
        column = own.X[name]
        if column.isna().any():
            raise InputError(
                f"column {name!r} of {own.origin} lacks {int(column.isna().sum())} values: fill or drop them"
            )
        if column.dtype.kind == "f":
            values = torch.from_numpy(column.to_numpy(copy=True))
            center, scale = values[train].mean(), values[train].std(correction=0)
            parts.append(((values - center) / (scale if scale > 0 else 1)).unsqueeze(1))
        else:
            levels, codes = np.unique(column.astype(str), return_inverse=True)
            parts.append(torch.eye(len(levels), dtype=torch.float64)[torch.from_numpy(codes)])
    return torch.cat(parts, 1).to(torch.get_default_dtype())


def _pool(x: Tensor, names: Sequence[str], chosen: Sequence[bool]) -> Pool:
    rows = [row for row, is_in in enumerate(chosen) if is_in]
    if not rows:
        return Pool(x[:0], torch.zeros(0, dtype=torch.int64), ())
    return Pool.of(x[rows], [names[row] for row in rows])


def own_source(
    root: str,
    *,
    label: str | None = None,
    inputs: str | Iterable[str] | None = None,
    task: str | None = None,
    group: str | None = None,
    by: By | None = None,
    shares: Sequence[float] = (0.6, 0.2, 0.2),
    seed: int = 0,
    size: int = 84,
    channels: int = 3,
    fit: Fit = "squash",
    encoder: str | None = None,
) -> Source:
    """One's own data of any kind as a source of tasks: what ``innerloop train LEARNER --data PATH`` draws from.

    A table with a task column gives the tasks of its rows (:class:`TableTasks`), everything else pools of classes.

    Args:
        root: the file or folder.
        label: of these and the next: :func:`innerloop.data.read_own`.
        inputs: the input columns.
        task: the task column.
        group: the column of what belongs together.
        by: of this and the next: :func:`own_pools`.
        shares: of the classes, or tasks.
        seed: of the shuffle.
        size: of pictures, in pixels.
        channels: of pictures.
        fit: of pictures.
        encoder: ``package.module:Name`` of what makes features; a class is made without arguments.

    Raises:
        InputError: as these.
    """
    from innerloop.core.parts import own_part
    from innerloop.data.own.read import read_own

    columns = None if inputs is None else [inputs] if isinstance(inputs, str) else list(inputs)
    own = read_own(root, label=label, inputs=columns, task=task, group=group)
    if own.kind == "table" and own.tasks is not None:
        frame = own.X.assign(**{"task": list(own.tasks), own.label: own.y})
        kept = frame[own.known]
        return TableTasks.of(
            kept, task="task", inputs=list(own.X.columns), targets=own.label,
            categorical=[own.label] if own.objective == "classification" else [],
            shares=(shares[0], shares[1], shares[2]), seed=seed,
        )  # fmt: skip
    made: Any = None
    if encoder is not None:
        made = own_part(encoder, "encoder")
        made = made() if isinstance(made, type) else made

    def build() -> Pools:
        return own_pools(own, by=by, shares=shares, seed=seed, size=size, channels=channels, fit=fit, encoder=made)

    if made is not None or own.kind != "images" or not all(isinstance(item, Path) for item in own.X):
        return build()
    files = [(*stamp(item), str(label)) for item, label in zip(own.X, own.y.tolist(), strict=True)]
    ties = [own.splits, own.tasks, own.groups, {str(label): above for label, above in own.hierarchy.items()}]
    options = [by, list(shares), seed, size, channels, fit]
    digest = hashlib.sha256(json.dumps([files, ties, options]).encode()).hexdigest()
    return cached_pools("own", {"version": 1, "digest": digest}, build)
