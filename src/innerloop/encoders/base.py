"""An encoder as a scikit-learn transformer: one input at a time to a feature vector, whatever comes with it."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from innerloop.core.task import InputError, as_shares
from innerloop.encoders.items import Picture, as_float, pictures, sentences
from innerloop.encoders.store import Folder, Memory
from innerloop.learners.head import Head

Floats = npt.NDArray[np.float32]
Kind = Literal["images", "text", "vectors", "table"]

_MEMORY = Memory()
#: Inputs from which on progress is shown, and seconds that it waits.
_LONG, _PATIENCE = 64, 2.0


class Network(NamedTuple):
    """The network of an encoder as a function of tensors, for graphs that run without it."""

    module: nn.Module
    """From the inputs, in their order, to features ``[n, H]``."""
    inputs: dict[str, Tensor]
    """One input of the right kind by name, ``[1, ...]``."""
    preprocessing: tuple[dict[str, Any], ...]
    """Steps from what a person has to the inputs, each ``{"step": name, ...}``."""
    changing: dict[int, str] = {}  # noqa: RUF012
    """Axes of the inputs beside the first whose size may change, and what they are called."""


class Encoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turns inputs into feature vectors, and brings heads that suit them.

    A subclass says what it is (``name``, ``kind``, ``features``) and implements ``transform`` and ``_fingerprint``. One
    that looks at each input by itself is an :class:`Each`.
    """

    #: What it is called where encoders go by name.
    name: ClassVar[str]
    kind: ClassVar[Kind]
    #: The name of the head where every class has a single example, so that nothing can be left out to choose by.
    single: ClassVar[str] = "prototypes"

    @property
    @abstractmethod
    def features(self) -> int:
        """H, the numbers in a feature vector."""

    @property
    def blocks(self) -> Mapping[str, slice]:
        """Parts of a feature vector by name, such as depths of a network."""
        return {"all": slice(0, self.features)}

    def heads(self) -> Mapping[str, Callable[[], Head]]:
        """Heads of its own that a choice among heads tries beside the usual ones, by name."""
        return {}

    def fingerprint(self) -> str:
        """sha256 of the weights and of all options that change features."""
        return hashlib.sha256(f"{self.name} {self._fingerprint()}".encode()).hexdigest()

    def network(self) -> Network:
        """What it computes, as a torch module, for an export.

        Raises:
            InputError: where it is no module.
        """
        raise InputError(f"the encoder {self.name} is no torch module, so that no graph is made of it: give features")

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """Nothing: it is here for pipelines."""
        return self

    @abstractmethod
    def transform(self, X: Any) -> npt.NDArray[Any]:
        """Feature vectors ``[N, H]``."""

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[Any]:
        """Names of the features, for data frames."""
        return np.array([f"{self.name}{number}" for number in range(self.features)], dtype=object)

    def state(self) -> dict[str, Any]:
        """What ``fit`` found, as plain values; nothing where there is nothing to fit."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> Self:
        """Fitted again, from :meth:`state`."""
        return self

    @abstractmethod
    def _fingerprint(self) -> str:
        """All that changes features, as text: weights' digest, options."""


class Each(Encoder):
    """Turns inputs into feature vectors, each by itself: there is nothing to fit.

    Features are computed once: they are kept by the content of the input and the encoder's weights and options, in
    memory, and on disk where ``cache`` names a folder.

    A subclass implements ``_prepare`` (one checked input, a :class:`~innerloop.encoders.items.Picture` or a string, to
    what the network takes) and ``_encode`` (a list of these to features ``[n, H]``). Its constructor takes ``cache``
    and ``device`` beside its own arguments.

    Args:
        cache: the folder that features are kept in beside memory.
        device: what the network runs on.
    """

    #: Inputs that are encoded at a time.
    batch: ClassVar[int] = 32

    def __init__(self, *, cache: str | Path | None = None, device: str = "cpu") -> None:
        self.cache = cache
        self.device = device

    def transform(self, X: Any) -> Floats:
        """Feature vectors, float32 ``[N, H]``.

        Args:
            X: pictures (paths, Pillow images, arrays), or sentences.

        Raises:
            InputError: for an input that cannot be read, by its name or row.
        """
        items = self._items(X)
        if not items:
            raise InputError("X is empty: give one input at least")
        stamp = self.fingerprint().encode()
        keys = [hashlib.sha256(stamp + _digest(item)).digest() for item in items]
        found = {key: row for key in set(keys) if (row := _MEMORY.get(key)) is not None}
        folder = Folder(self.cache) if self.cache is not None else None
        if folder and (missing := [key for key in set(keys) if key not in found]):
            found |= folder.get(missing)
        left = {key: item for key, item in zip(keys, items, strict=True) if key not in found}
        for part in _shown(_parts(list(left), self.batch), len(left), self.name):
            rows = self._rows([left[key] for key in part])
            fresh = dict(zip(part, rows, strict=True))
            found |= fresh
            _MEMORY.put(fresh)
            if folder:
                folder.put(fresh)
        return np.stack([found[key] for key in keys])

    def _rows(self, items: Sequence[Any]) -> list[Floats]:
        with torch.inference_mode():
            made = as_float(self._encode([self._prepare(item) for item in items]).flatten(1))
        if not made.isfinite().all():
            raise InputError(f"the encoder {self.name} gives features that are not finite: check its weights")
        return [row.copy() for row in made.numpy()]

    def inputs(self, X: Any) -> Tensor:
        """What its :meth:`network` takes of inputs, ``[N, ...]``: pictures with values 0 to 1, tokens with 0 behind."""
        prepared = [torch.as_tensor(self._prepare(item)) for item in self._items(X)]
        return pad_sequence(prepared, batch_first=True) if self.kind == "text" else as_shares(torch.stack(prepared))

    def _items(self, X: Any) -> Sequence[Any]:
        return sentences(X) if self.kind == "text" else pictures(X)

    @abstractmethod
    def _prepare(self, item: Any) -> Any:
        """One input, ready for the network."""

    @abstractmethod
    def _encode(self, prepared: list[Any]) -> Tensor:
        """Features ``[n, H]`` of some inputs."""

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.two_d_array = False
        tags.input_tags.string = self.kind == "text"
        return tags


def _digest(item: Any) -> bytes:
    return item.digest if isinstance(item, Picture) else hashlib.sha256(str(item).encode()).digest()


def _parts(keys: list[bytes], size: int) -> Iterator[list[bytes]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def _shown(parts: Iterator[list[bytes]], count: int, name: str) -> Iterator[list[bytes]]:
    """The parts, with a bar on a terminal where it takes long."""
    import sys
    import time

    if count < _LONG or not sys.stderr.isatty():
        yield from parts
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    begun = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=False) as bar:
        task = bar.add_task(name, total=count, visible=False)
        for part in parts:
            yield part
            bar.update(task, advance=len(part), visible=time.monotonic() - begun > _PATIENCE)
