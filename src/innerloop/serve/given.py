"""Features that are there already, as an encoder: of the examples from the database, of queries from a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from innerloop.encoders.base import Encoder, Network
from innerloop.learners.head import Head

Floats = npt.NDArray[np.float32]


def packed(row: npt.ArrayLike) -> bytes:
    """A feature vector as the database has it."""
    return np.asarray(row, "<f4").tobytes()


def unpacked(row: bytes) -> Floats:
    """A feature vector again, ``[H]``."""
    return np.frombuffer(row, "<f4")


class Given(Encoder):
    """An encoder whose features come as they are, and which is another one in all else.

    Args:
        base: the encoder that made the features.
        encode: what makes features of inputs that are no features yet, such as the words of labels.
    """

    def __init__(self, base: Encoder, encode: Callable[[Sequence[Any]], Floats]) -> None:
        self.base, self.encode = base, encode
        self.__dict__.update(name=base.name, kind=base.kind, single=base.single)

    @property
    def features(self) -> int:
        """H."""
        return self.base.features

    @property
    def blocks(self) -> Mapping[str, slice]:
        """As the encoder has them."""
        return self.base.blocks

    def heads(self) -> Mapping[str, Callable[[], Head]]:
        """Those that the encoder brings."""
        return self.base.heads()

    def fingerprint(self) -> str:
        """That of the encoder."""
        return self.base.fingerprint()

    def network(self) -> Network:
        """That of the encoder."""
        return self.base.network()

    def transform(self, X: Any) -> Floats:
        """Feature vectors as they are; of anything else those that the encoder makes."""
        return X if isinstance(X, np.ndarray) and X.ndim == 2 else self.encode(list(X))

    def state(self) -> dict[str, Any]:
        """That of the encoder."""
        return self.base.state()

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Those of the encoder, which is what a bundle keeps."""
        params: dict[str, Any] = self.base.get_params(deep)
        return params

    def __sklearn_clone__(self) -> Self:
        return self

    def _fingerprint(self) -> str:
        return self.base.fingerprint()
