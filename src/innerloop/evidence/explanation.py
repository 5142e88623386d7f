"""Why some answers: their reasons in order, as text, for a notebook, or as plain values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from innerloop.evidence.agreement import Agreement
from innerloop.evidence.reasons import Floats, Reason


@dataclass(frozen=True)
class Explanation:
    """The reasons of some answers, in their order: a sequence of :class:`Reason`."""

    reasons: tuple[Reason, ...]
    method: Literal["leave-one-out"] = "leave-one-out"
    """How evidence was found: exactly, by refits without each example."""

    def __len__(self) -> int:
        return len(self.reasons)

    def __iter__(self) -> Iterator[Reason]:
        return iter(self.reasons)

    def __getitem__(self, place: int) -> Reason:
        return self.reasons[place]

    @property
    def evidence(self) -> Floats:
        """Of all queries, ``[Q, N]``."""
        return np.stack([reason.evidence for reason in self.reasons])

    @property
    def cheap(self) -> dict[str, Floats]:
        """Evidence that takes no refit, by its name, of all queries: ``[Q, N]`` each."""
        names = self.reasons[0].cheap if self.reasons else ()
        return {name: np.stack([reason.cheap[name] for reason in self.reasons]) for name in names}

    @property
    def agreement(self) -> dict[str, Agreement]:
        """How each cheap evidence ranks the examples beside the exact one: the mean over queries where it is told."""
        names = self.reasons[0].agreement if self.reasons else ()
        return {name: Agreement.mean([reason.agreement[name] for reason in self.reasons]) for name in names}

    def __str__(self) -> str:
        return "\n\n".join(map(str, self.reasons))

    def _repr_html_(self) -> str:
        return "".join(reason._repr_html_() for reason in self.reasons)

    def json(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``.

        Example:
            >>> nobody = Explanation(())
            >>> nobody.json()
            {'method': 'leave-one-out', 'reasons': []}
        """
        return {"method": self.method, "reasons": [reason.json() for reason in self.reasons]}
