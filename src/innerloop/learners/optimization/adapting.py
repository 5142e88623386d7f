"""Which parameters an inner loop changes, by name, and from when on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from torch import nn

from innerloop.core.task import InputError


def names(net: nn.Module, adapts: str | Sequence[str], shared_head: str | None = None) -> list[str]:
    """The names of the parameters that ``adapts`` means, in the network's order.

    See :class:`~innerloop.learners.GradientLearner`.

    Raises:
        InputError: for a pattern that no name matches, ``"body"`` of a network that is all head, or a parameter that
            layers share of which only some adapt.

    Example:
        >>> import innerloop as il
        >>> names(il.nets.mlp(1, 40, 1), "head")
        ['2.weight', '2.bias']
    """
    known = [name for name, _ in net.named_parameters()]
    if adapts in ("all", "none"):
        return known if adapts == "all" else []
    if adapts in ("head", "body"):
        last = shared_head or last_layer(net)[0]
        head = [name for name in known if name.rpartition(".")[0] == last]
        body = [name for name in known if name not in head]
        if not body:
            raise InputError(f"the network has a single layer with parameters ({', '.join(known)}): adapt 'all' of it")
        chosen = head if adapts == "head" else body
        _check_untied(net, adapts, lambda name: (name.rpartition(".")[0] == last) == (adapts == "head"))
        return chosen
    patterns = [adapts] if isinstance(adapts, str) else list(adapts)
    _check_untied(net, adapts, lambda name: any(fnmatchcase(name, pattern) for pattern in patterns))
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise InputError(
                f"adapts={pattern!r} matches no parameter of the network: choose 'all', 'head', 'body', 'none', or a "
                f"pattern of {', '.join(known)}"
            )
    return [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]


def last_layer(net: nn.Module) -> tuple[str, nn.Module]:
    """The last layer that has parameters, with its name; the network itself where it is that layer.

    Raises:
        InputError: for a network without parameters.

    Example:
        >>> import innerloop as il
        >>> last_layer(il.nets.mlp(1, 40, 1))[0]
        '2'
    """
    found = [(name, part) for name, part in net.named_modules() if any(True for _ in part.parameters(recurse=False))]
    if not found:
        raise InputError(f"{type(net).__name__} has no layer with parameters: there is none to look into")
    return found[-1]


def _check_untied(net: nn.Module, adapts: str | Sequence[str], chosen: Callable[[str], bool]) -> None:
    """Refuse to adapt one of several layers that share a parameter: the others would adapt with it, or none of them."""
    # Each layer under its first name: the same layer under two names shares nothing.
    owners: dict[int, list[str]] = {}
    for prefix, part in net.named_modules():
        for name, p in part.named_parameters(recurse=False, remove_duplicate=False):
            owners.setdefault(id(p), []).append(f"{prefix}.{name}" if prefix else name)
    for shared in owners.values():
        if len({chosen(name) for name in shared}) > 1:
            raise InputError(
                f"{' and '.join(shared)} are one parameter, and adapts={adapts!r} means only some of these: give the "
                f"layers weights of their own, or adapt all of them"
            )
