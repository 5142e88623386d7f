"""Freezing: parameters that training leaves as they are, by name."""

from __future__ import annotations

from fnmatch import fnmatchcase

from torch import nn

from innerloop.core.task import InputError, did_you_mean


def freeze(module: nn.Module, *patterns: str) -> list[str]:
    """Freeze the parameters whose names match one of the patterns; without a pattern all.

    :func:`innerloop.fit` leaves them alone, and batch norm whose scale and shift are frozen keeps its running
    statistics. The inner loop of a MAML-like learner still adapts a task's copy of them (``adapts=`` says which).

    Args:
        module: any module; a learner's names begin with ``encoder.`` or ``net.``.
        patterns: as a shell's: ``"encoder.*"``, ``"*.norms.?.bias"``.

    Returns:
        the names of the parameters that were frozen.

    Raises:
        InputError: for a pattern that no name matches; nothing is changed then.

    Example:
        >>> import innerloop as il
        >>> net = il.nets.mlp(2, 8, 3)
        >>> freeze(net, "0.*")
        ['0.weight', '0.bias']
        >>> unfreeze(net, "*.bias")
        ['0.bias', '2.bias']
    """
    return _set(module, patterns, False)


def unfreeze(module: nn.Module, *patterns: str) -> list[str]:
    """Undo :func:`freeze` for the parameters whose names match one of the patterns; without a pattern for all.

    Returns:
        the names of the parameters that train again.

    Raises:
        InputError: for a pattern that no name matches; nothing is changed then.

    Example:
        >>> import innerloop as il
        >>> unfreeze(il.nets.mlp(2, 3))
        ['0.weight', '0.bias']
    """
    return _set(module, patterns, True)


def _set(module: nn.Module, patterns: tuple[str, ...], trained: bool) -> list[str]:
    patterns = patterns or ("*",)
    # A parameter that layers share has several names, and any of them means it.
    named = dict(module.named_parameters(remove_duplicate=False))
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise InputError(
                f"pattern {pattern!r} matches no parameter of {type(module).__name__}{did_you_mean(pattern, named)}; "
                f"choose among {', '.join(named)}, * for any letters"
            )
    chosen = {p for name, p in named.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}
    for p in chosen:
        p.requires_grad_(trained)
    return [name for name, p in module.named_parameters() if p in chosen]
