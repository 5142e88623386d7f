"""A module run with other tensors in place of its parameters and buffers, and left as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from innerloop.core.task import InputError, did_you_mean


@contextmanager
def swapped(module: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Within, the module has other tensors where it has those named; then all of its own again.

    A tensor that the module holds in several places is exchanged in all of them, a part that can be reached under
    several names once: ``torch.func.functional_call`` leaves the other tensors in such a part.

    Args:
        module: any module.
        tensors: by the names of ``named_parameters`` and ``named_buffers``.

    Raises:
        InputError: for a name that the module does not have.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> with swapped(net, {"weight": torch.zeros(1, 2), "bias": torch.ones(1)}):
        ...     net(torch.rand(1, 2)).tolist()
        [[1.0]]
    """
    slots: list[tuple[dict[str, Tensor | None], str, Tensor]] = []
    other: dict[int, Tensor] = {}
    found = 0
    for prefix, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            continue
        dot = f"{prefix}." if prefix else ""
        for holder in (part._parameters, part._buffers):
            for key, tensor in holder.items():
                if tensor is None:
                    continue
                slots.append((holder, key, tensor))  # type: ignore[arg-type]
                if (new := tensors.get(dot + key)) is not None:
                    found += 1
                    other.setdefault(id(tensor), new)
    if found < len(tensors):
        known = {name for name, _ in (*module.named_parameters(), *module.named_buffers())}
        name = next((name for name in tensors if name not in known), next(iter(tensors)))
        raise InputError(
            f"{type(module).__name__} has no parameter or buffer {name!r}{did_you_mean(name, known)}: give the names "
            f"of named_parameters()"
        )
    try:
        for holder, key, tensor in slots:
            holder[key] = other.get(id(tensor), tensor)
        yield
    finally:
        # All of them: what was bound anew within would otherwise stay, a transform's own tensors included.
        for holder, key, tensor in slots:
            holder[key] = tensor


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Within, the module may be run and trained by way of trial: then it is as it was, and so are random numbers.

    Kept are its parameters and buffers, their gradients, the attributes of every part (modes, caches, counters) and the
    state of torch's random generators. Nothing is copied but buffers, so a module that cannot be copied is fine.

    Example:
        >>> net = nn.BatchNorm1d(2)
        >>> with undisturbed(net):
        ...     net(torch.rand(4, 2)).sum().backward()
        >>> net.running_mean.tolist(), net.weight.grad
        ([0.0, 0.0], None)
    """
    parts = [
        (part, dict(vars(part)), dict(part._parameters), dict(part._buffers), dict(part._modules))
        for part in module.modules()
        if not isinstance(part, torch.jit.ScriptModule)
    ]
    gradients = [(p, p.grad) for p in module.parameters()]
    values = [(b, b.detach().clone()) for b in module.buffers()]
    for p, _ in gradients:
        p.grad = None
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        for part, attributes, parameters, buffers, modules in parts:
            vars(part).clear()
            vars(part).update(attributes)
            for holder, kept in ((part._parameters, parameters), (part._buffers, buffers), (part._modules, modules)):
                holder.clear()
                holder.update(kept)  # type: ignore[arg-type]
        with torch.no_grad():
            for buffer, value in values:
                buffer.copy_(value)
        for p, gradient in gradients:
            p.grad = gradient
