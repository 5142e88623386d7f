"""Facts: all that a network and a learner are built from, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, get_args

from torch import nn

from innerloop.core.task import InputError, did_you_mean

Kind = Literal["images", "vectors", "table", "functions", "molecules", "text"]
Objective = Literal["classification", "regression"]


@dataclass(frozen=True)
class Facts:
    """What tasks are made of: enough to build a network and a learner, with no data at hand.

    Args:
        kind: of input.
        shape: of one example, without the axis of examples.
        targets: D, the columns of a task's targets: real targets, or the ways (or classes) that are trained for.
        objective: whether targets are classes (one-hot rows) or real numbers.
        classes: the names of the D classes, where they are fixed: a classifier over all of a pool, an adapted task.
        tasks: known tasks, where a target row ends with its task's name, a one-hot row over them.

    Raises:
        InputError: for an unknown kind or objective, or sizes that cannot be.

    Example:
        >>> facts = Facts("images", (1, 28, 28), 5, "classification")
        >>> facts.kinds
        ('classification', 'images', 'drawings')
        >>> Facts.read(facts.json()) == facts
        True
    """

    kind: Kind
    shape: tuple[int, ...]
    targets: int
    objective: Objective
    classes: tuple[str, ...] | None = None
    tasks: int | None = None

    def __post_init__(self) -> None:
        """Check the values against each other."""
        for name, value, known in (("kind", self.kind, Kind), ("objective", self.objective, Objective)):
            if value not in get_args(known):
                hint = did_you_mean(str(value), get_args(known))
                raise InputError(
                    f"facts: {name} {value!r} is unknown{hint}; choose one of {', '.join(get_args(known))}"
                )
        if self.targets < 1 or any(size < 1 for size in self.shape) or (self.tasks is not None and self.tasks < 1):
            raise InputError(
                f"facts: shape {self.shape}, {self.targets} targets, {self.tasks} tasks: all must be at least 1"
            )
        if self.classes is not None and len(self.classes) != self.targets:
            raise InputError(f"facts: {len(self.classes)} class names for {self.targets} target columns: give one each")

    @property
    def kinds(self) -> tuple[str, ...]:
        """What a recipe may say something of its own about, from the general to the particular."""
        images = ("drawings" if self.shape[0] == 1 else "photographs",) if self.kind == "images" else ()
        return (self.objective, self.kind, *images)

    def json(self) -> dict[str, Any]:
        """The facts as plain values; what is not known is left out."""
        return {name: _plain(value) for name, value in asdict(self).items() if value is not None}

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Facts:
        """The facts that :meth:`json` gave.

        Raises:
            InputError: for values that are no facts.
        """
        try:
            classes = values.get("classes")
            return cls(
                **{
                    **values,
                    "shape": tuple(int(size) for size in values["shape"]),
                    "classes": tuple(map(str, classes)) if classes is not None else None,
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{dict(values)} are no facts ({error})") from None


class Networks(Protocol):
    """Makes the networks that learners are built on (:class:`innerloop.nets.NetSpec`)."""

    def encoder(self, shape: tuple[int, ...]) -> nn.Module:
        """From examples of a shape to feature vectors."""

    def maps(self, shape: tuple[int, ...]) -> nn.Module:
        """From images to feature maps."""

    def classifier(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """From examples to raw outputs."""


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
