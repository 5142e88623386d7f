"""Molecules: many small binary tasks on fingerprints, read without a chemistry library.

A task is an assay: which molecules are active in it. Its two classes mean the same in every task, so they are never
relabeled.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from innerloop.core.facts import Facts
from innerloop.core.metric import ROC_AUC
from innerloop.core.numbers import check_count
from innerloop.core.task import Examples, InputError, Task, did_you_mean
from innerloop.data.digest import digest_of
from innerloop.data.episodes import Sampler
from innerloop.data.known import KnownTasks
from innerloop.data.source import Description, Maker
from innerloop.data.splits import SPLITS, shared

#: Tasks of one draw of an evaluation.
_TOGETHER = 50
#: The classes of every task, in the order of its targets' columns.
CLASSES = ("inactive", "active")


@dataclass(frozen=True, eq=False)
class Molecules:
    """Fingerprints of molecules and which assays each is active in. Made by :meth:`read`.

    Example:
        >>> import numpy, pathlib, tempfile
        >>> path, random = pathlib.Path(tempfile.mkdtemp()) / "small.npz", numpy.random.default_rng(0)
        >>> bits, labels = random.integers(0, 256, (90, 2)), random.integers(0, 2, (90, 5))
        >>> numpy.savez(path, fp_packed=bits.astype("uint8"), labels=labels.astype("int8"), tasks=list("abcde"))
        >>> small = Molecules.read(path)
        >>> small.sampler("train", shots=2, queries=3).draw(torch.Generator(), 5).query.x.shape
        torch.Size([5, 6, 16])
    """

    bits: Tensor
    """Fingerprints of 0 and 1, uint8 ``[n, bits]``."""
    labels: Tensor
    """int8 ``[n, assays]``: 1 is active, 0 is inactive, -1 is not measured."""
    assays: tuple[str, ...]
    """The names of the columns of ``labels``."""
    groups: Tensor
    """Molecules with one fingerprint share a number, int64 ``[n]``: a fingerprint cannot tell them apart."""
    splits: dict[str, Tensor]
    """Which assays are for ``train``, ``val`` and ``test``, as positions in ``assays``."""
    drawn: dict[str, Tensor]
    """Which molecules each split draws from, bool ``[n]``."""

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        columns: tuple[int, int, int] | None = None,
        splits: Mapping[str, Sequence[str]] | None = None,
        shares: Sequence[float] = (0.6, 0.2, 0.2),
        disjoint: bool = True,
        seed: int = 0,
    ) -> Molecules:
        """Read fingerprints and labels from an ``.npz`` file.

        Args:
            path: holds ``fp_packed`` (uint8 ``[n, bits / 8]``, as ``numpy.packbits`` gives), ``labels`` (int8
                ``[n, assays]``, -1 is not measured) and ``tasks`` (the assays' names).
            columns: assays for training, validation and test, in the order of the file; ``None``: by ``shares``,
                shuffled by ``seed``.
            splits: names of the assays for each split, in place of both.
            shares: of the assays and, where disjoint, of the molecules for training, validation and test.
            disjoint: each split draws from molecules of its own, so that no molecule of a test task, nor any other
                with its fingerprint, was seen in meta-training under another assay. ``False`` is what published
                few-shot figures use: all splits share all molecules, only the assays are new.
            seed: of both shuffles.

        Raises:
            InputError: for a file that is not there or does not hold these arrays, or a split that does not fit it.
        """
        packed, labels, names = _arrays(Path(path))
        shared(0, shares)
        groups = torch.from_numpy(np.unique(packed, axis=0, return_inverse=True)[1].reshape(-1))
        random = np.random.default_rng(seed)
        order = random.permutation(len(names))
        if splits is not None:
            chosen = {split: _positions(splits.get(split, ()), names) for split in SPLITS}
            _check_splits(splits, chosen)
        else:
            if columns is not None and sum(columns) != len(names):
                raise InputError(f"columns={columns} are {sum(columns)} assays, the file has {len(names)}")
            order = order if columns is None else np.arange(len(names))
            counts = shared(len(names), shares) if columns is None else list(columns)
            chosen = dict(zip(SPLITS, torch.from_numpy(order).split(counts), strict=True))
        everything = torch.ones(len(labels), dtype=torch.bool)
        drawn = dict.fromkeys(SPLITS, everything)
        if disjoint:
            sides = torch.from_numpy(random.permutation(int(groups.max()) + 1)).split(
                shared(int(groups.max()) + 1, shares)
            )
            drawn = {split: torch.isin(groups, side) for split, side in zip(SPLITS, sides, strict=True)}
        bits = torch.from_numpy(np.unpackbits(packed, axis=1))
        return cls(bits, torch.from_numpy(labels), names, groups, chosen, drawn)

    @cached_property
    def digest(self) -> str:
        """Of the fingerprints, the labels and the splits: other molecules have another one."""
        return digest_of(self.bits, self.labels, self.assays, self.splits, self.drawn)

    def counts(self, split: str) -> Tensor:
        """Inactive and active molecules of each assay among those that ``split`` draws from, int64 ``[assays, 2]``."""
        labels = self.labels[self.drawn[split]]
        return torch.stack([(labels == value).sum(0) for value in (0, 1)], 1)

    def without(self, other: Molecules, split: str | None = None) -> Molecules:
        """The same molecules and splits, save that none is drawn whose fingerprint ``other`` has.

        Fingerprints, because one molecule is written in several ways: of 8,576 in ToxCast 1,298 have a SMILES of Tox21
        but 6,537 a fingerprint of it.

        Args:
            other: other molecules with as many bits.
            split: only those that this split of ``other`` draws from.
        """
        rows = other.bits if split is None else other.bits[other.drawn[split]]
        known = {row.tobytes() for row in rows.numpy()}
        kept = torch.tensor([row.tobytes() not in known for row in self.bits.numpy()])
        return replace(self, drawn={split: mask & kept for split, mask in self.drawn.items()})

    @property
    def facts(self) -> Facts:
        """Of its tasks."""
        return Facts("molecules", tuple(self.bits.shape[1:]), 2, "classification", ("inactive", "active"))

    def makers(self, split: str) -> Mapping[str, Maker]:
        """Few-shot tasks, and known ones."""
        return {"episodes": partial(Assays, self, split), "known": partial(_known, self, split)}

    def part(self, split: str) -> tuple[Molecules, str]:
        """The molecules and the split."""
        return self, split

    def describe(self) -> Description:
        """Assays and molecules of each split."""
        rows = [
            {
                "split": split,
                "assays": len(members),
                "molecules": int(self.drawn[split].sum()),
                "measured": int(self.counts(split)[members].sum()),
                "active": int(self.counts(split)[members, 1].sum()),
            }
            for split, members in self.splits.items()
        ]
        return Description(self.facts, rows, self.digest)

    def sampler(self, split: str, **options: Any) -> Assays:
        """Draws tasks of ``split`` (``"train"``, ``"val"`` or ``"test"``); the options are those of :class:`Assays`."""
        return Assays(self, split, **options)


class Assays(Sampler):
    """Few-shot tasks of one split: k inactive and k active molecules of an assay, and others as queries.

    Support and query set are disjoint. Classes run evenly through each set: in a balanced one example i is of class
    ``i % 2``.

    Args:
        molecules: what to draw from.
        split: ``"train"``, ``"val"`` or ``"test"``.
        shots: support molecules of each class.
        queries: query molecules of each class; twice as many in all.
        balanced: whether both classes have as many queries. Otherwise the share of actives among the queries is the
            assay's own, rounded, but at least one of each class is there, so that ROC-AUC exists.
        only: names of assays to draw, in place of all of the split.

    Raises:
        InputError: for an unknown split or assay, or if no assay has enough molecules. Assays with too few are left
            out where others remain.

    References:
        Altae-Tran, Ramsundar, Pappu, Pande, *Low Data Drug Discovery with One-Shot Learning*, ACS Central Science 2017,
        https://arxiv.org/abs/1611.03199.
    """

    #: Classes are few and uneven, so it is the ranking of the queries that is scored.
    metric = ROC_AUC
    ways = 2

    def __init__(
        self,
        molecules: Molecules,
        split: str,
        *,
        shots: int = 1,
        queries: int = 15,
        balanced: bool = True,
        only: Sequence[str] | None = None,
    ) -> None:
        if split not in SPLITS:
            raise InputError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}")
        check_count("shots", shots, 1)
        check_count("queries", queries, 0)
        members = molecules.splits[split] if only is None else _positions(only, molecules.assays)
        strangers = members[~torch.isin(members, molecules.splits[split])]
        if len(strangers):
            raise InputError(f"assay {molecules.assays[int(strangers[0])]!r} is not one of the {split} assays")
        counts = molecules.counts(split)[members]
        active = torch.full((len(members),), queries)
        if not balanced and queries:
            rate = counts[:, 1] / counts.sum(1).clamp(min=1)
            active = (2 * queries * rate).round().long().clamp(1, 2 * queries - 1)
        wanted = shots + torch.stack((2 * queries - active, active), 1)
        enough = (counts >= wanted).all(1)
        #: The assays that have enough molecules, as positions in ``molecules.assays``.
        self.members = members[enough]
        if not len(self.members):
            most = int(counts.min(1).values.max()) if len(counts) else 0
            raise InputError(
                f"shots={shots} and queries={queries} need more molecules of a class than any of the {len(members)} "
                f"{split} assays has (at most {most} of its rarer class): lower one of them"
            )
        self.molecules, self.split, self.shots, self.queries = molecules, split, shots, queries
        self.balanced = balanced
        self._sizes, self._active, self._most = counts[enough], active[enough], wanted[enough].max(0).values
        drawn, labels = molecules.drawn[split].unsqueeze(1), molecules.labels[:, self.members]
        self._rows = [(drawn & (labels == value)).mT.nonzero()[:, 1] for value in (0, 1)]
        self._starts = self._sizes.cumsum(0) - self._sizes

    @property
    def facts(self) -> Facts:  # noqa: D102
        return Facts("molecules", (self.molecules.bits.shape[1],), 2, "classification", CLASSES)

    def draw(self, generator: Generator, tasks: int) -> Task:  # noqa: D102
        largest = self._sizes.max(0).values.tolist()
        row = 1 + sum(largest)
        u = torch.rand(tasks, row, generator=generator, device=generator.device, dtype=torch.float64).cpu()
        by_task, *by_molecule = u.split([1, *largest], 1)
        task = (by_task[:, 0] * len(self.members)).long()
        chosen = [self._chosen(by_molecule[value], task, value) for value in (0, 1)]
        support = self._part(chosen, torch.full_like(task, self.shots), 2 * self.shots)
        rest = [part[:, self.shots :] for part in chosen]
        return Task(support, self._part(rest, self._active[task], 2 * self.queries))

    def batches(self, generator: Generator, tasks: int) -> Iterator[Task]:
        """``tasks`` tasks, a few at a time: a thousand with 2,048 bits a molecule would take gigabytes."""
        for start in range(0, tasks, _TOGETHER):
            yield self.draw(generator, min(_TOGETHER, tasks - start))

    def _chosen(self, u: Tensor, task: Tensor, value: int) -> Tensor:
        """Molecules of a class in random order, ``[T, most]``; the last ones are not used where an assay has fewer."""
        absent = torch.arange(u.shape[1]) >= self._sizes[task, value].unsqueeze(1)
        rank = u.masked_fill(absent, -1).topk(int(self._most[value]), 1).indices
        place = (rank + self._starts[task, value].unsqueeze(1)).clamp(max=len(self._rows[value]) - 1)
        return self._rows[value][place]

    def _part(self, chosen: Sequence[Tensor], active: Tensor, size: int) -> Examples:
        """``size`` molecules of each task, ``active [T]`` of them active, spread evenly through the set."""
        before = torch.arange(size + 1) * active.unsqueeze(1) // max(size, 1)
        is_active, before = before.diff(dim=1), before[:, :-1]
        # Where an active one stands, the count of inactive ones may be past their end: it is not looked at.
        after = (torch.arange(size) - before).clamp(max=chosen[0].shape[1] - 1)
        rows = torch.where(is_active == 1, chosen[1].gather(1, before), chosen[0].gather(1, after))
        return Examples(self.molecules.bits[rows].float(), torch.nn.functional.one_hot(is_active, 2).float())


def _known(
    molecules: Molecules,
    split: str,
    *,
    shots: int = 10,
    queries: int = 10,
    known: int = 100,
    batch: int = 10,
    seed: int = 0,
) -> KnownTasks:
    """As many tasks as ``known`` says, drawn once and then known by their names, ``batch`` queries a draw."""
    drawn = Assays(molecules, split, shots=shots, queries=queries)
    return KnownTasks.of(drawn, known, seed=seed, queries=batch, named=True)


def _arrays(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Packed fingerprints, labels and names of a file, checked against each other."""
    if not path.is_file():
        raise InputError(f"there is no file {path}: check the path")
    try:
        # Opened here: NumPy leaves the file of a damaged archive open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            packed, labels, names = file["fp_packed"], file["labels"], tuple(map(str, file["tasks"]))
    except PermissionError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check its rights") from None
    except (KeyError, ValueError, TypeError, EOFError, OSError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} does not hold fp_packed, labels and tasks, or is damaged ({error}): see Molecules.read"
        ) from None
    if packed.dtype != np.uint8 or packed.ndim != 2 or not len(packed) or labels.shape != (len(packed), len(names)):
        raise InputError(
            f"{path.name} has fingerprints {packed.dtype} {packed.shape}, labels {labels.shape} and {len(names)} "
            f"names; it needs uint8 [n, bits / 8], [n, assays] and one name an assay"
        )
    if len(set(names)) < len(names):
        raise InputError(f"{path.name} names an assay twice: rename one, or leave it out")
    odd = np.setdiff1d(labels, (-1, 0, 1))
    if len(odd):
        raise InputError(f"{path.name} has the label {odd[0]}; 1 is active, 0 is inactive, -1 is not measured")
    return packed, labels.astype(np.int8), names


def _positions(wanted: Sequence[str], names: Sequence[str]) -> Tensor:
    for name in wanted:
        if name not in names:
            hint = did_you_mean(name, names)
            raise InputError(f"there is no assay {name!r}{hint}; the first of {len(names)} is {names[0]}")
    return torch.tensor([names.index(name) for name in wanted], dtype=torch.int64)


def _check_splits(splits: Mapping[str, Sequence[str]], chosen: Mapping[str, Tensor]) -> None:
    odd = [name for name in splits if name not in SPLITS]
    if odd:
        raise InputError(f"split {odd[0]!r} is unknown; choose {', '.join(SPLITS)}")
    everything = torch.cat(list(chosen.values()))
    if len(everything.unique()) != len(everything):
        raise InputError("an assay stands in two splits, or twice in one: take it out of one of them")
