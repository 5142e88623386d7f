"""Networks by name: what recipes and bundles hold of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from torch import nn

from innerloop.core.construction import record
from innerloop.core.options import check_options, keywords
from innerloop.core.parts import is_own, own_part, unknown
from innerloop.core.task import InputError
from innerloop.nets.conv4 import conv4
from innerloop.nets.mlp import mlp
from innerloop.nets.resnet12 import resnet12


def perceptron(
    shape: Sequence[int], *, width: int | Sequence[int] = 40, out: int | None = None, dropout: float = 0.0
) -> nn.Sequential:
    """Hidden layers for vectors: an encoder to the last of them, or a classifier with ``out`` outputs.

    Args:
        shape: of one vector, ``(F,)``.
        width: of the two hidden layers, or a number for each.
        out: outputs of a linear layer at the end; ``None`` for an encoder.
        dropout: probability after each hidden activation.

    Example:
        >>> perceptron((3,), width=8, out=2)[-1]
        Linear(in_features=8, out_features=2, bias=True)
    """
    if len(shape) != 1:
        raise InputError(
            f"a perceptron takes vectors, not examples of shape {tuple(shape)}: use conv4, or flatten them"
        )
    hidden = (width, width) if isinstance(width, int) else tuple(width)
    return mlp(shape[0], *hidden, *([out] if out is not None else []), dropout=dropout)


MAKERS: dict[str, Callable[..., nn.Module]] = {"conv4": conv4, "resnet12": resnet12, "mlp": perceptron}


@dataclass(frozen=True)
class NetSpec:
    """A network that is yet to be built: name and options, as plain values.

    Args:
        name: ``"conv4"``, ``"resnet12"``, ``"mlp"``, or ``package.module:Name`` for one's own: a function or class of
            an example's shape, which is given ``norm``, ``out`` (outputs) and ``maps`` (feature maps wanted) where it
            has such arguments. Default: conv4 for images, mlp for vectors.
        norm: normalization policy.
        options: of the network's function.

    Example:
        >>> NetSpec(options={"width": 8}).classifier((1, 28, 28), 5).out
        Linear(in_features=8, out_features=5, bias=True)
    """

    name: str | None = None
    norm: str = "running"
    options: Mapping[str, Any] = field(default_factory=dict)

    def encoder(self, shape: tuple[int, ...]) -> nn.Module:
        """From examples of a shape to feature vectors."""
        return self._made(shape)

    def maps(self, shape: tuple[int, ...]) -> nn.Module:
        """From images to feature maps."""
        return self._made(shape, maps=True)

    def classifier(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """From examples to raw outputs."""
        return self._made(shape, out=outputs)

    def _made(self, shape: tuple[int, ...], **wanted: Any) -> nn.Module:
        name = self.name or ("conv4" if len(shape) == 3 else "mlp")
        make = self._maker(name)
        known = keywords(make)
        # What is filled in here is no option of a recipe.
        given = ("shape", "norm", "maps", *wanted)
        check_options(make, self.options, f"the network {name}", given=given, complete=False)
        for key, word in (("out", "a number of outputs"), ("maps", "feature maps")):
            if key in wanted and key not in known:
                raise InputError(f"the network {name} cannot give {word}: it has no argument {key!r}; use another")
        if "norm" in known:
            wanted["norm"] = self.norm
        elif self.norm not in ("running", "none"):
            raise InputError(
                f"the network {name} has no normalization layers, norm={self.norm!r} cannot be had: leave it"
            )
        if wanted.get("maps") and "pools" in known:
            wanted["pools"] = 2
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in self.options.items()}
        wanted = {key: value for key, value in wanted.items() if key not in values}
        net = make(tuple(shape), **wanted, **values)
        if not isinstance(net, nn.Module):
            raise InputError(f"the network {name} gives {type(net).__name__}; it must give a torch.nn.Module")
        # What somebody else's function makes of its arguments cannot be read off the network.
        return record(net, make, tuple(shape), **wanted, **values) if is_own(name) else net

    @staticmethod
    def _maker(name: str) -> Callable[..., nn.Module]:
        if is_own(name):
            return cast(Callable[..., nn.Module], own_part(name, "network"))
        if name not in MAKERS:
            raise unknown("network", name, MAKERS)
        return MAKERS[name]
