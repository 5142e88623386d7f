"""Conversion of a network's layers from one policy to another."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from innerloop.core.construction import maker, record
from innerloop.core.lazy import check_network
from innerloop.core.norm.layers import BatchNorm, SupportNorm, groups
from innerloop.core.norm.policies import POLICIES, policy_of
from innerloop.core.task import InputError

#: Kinds of layers that keep running statistics, as they are made again.
_KINDS: tuple[type[nn.Module], ...] = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
)


@maker
def convert(module: nn.Module, policy: str) -> nn.Module:
    """Replace every batch-norm layer of ``module``, in place, by the policy's layer with the same scale and shift.

    ``eps``, whether there is a scale and a shift, and whether they are frozen stay; where running statistics are wanted
    again, the layer is of the kind that it once was (for inputs of one, two or three axes) and has its momentum. A
    layer with running statistics stays as it is where these are wanted; a layer that is used in several places is
    replaced by one. Instance norm is converted where it keeps running statistics. Use the result: where ``module`` is
    itself such a layer, it is another object.

    Raises:
        InputError: for an unknown policy, what is no network, or a lazy layer that has seen no batch; nothing is
            changed then.

    Example:
        >>> convert(nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)), "support")[1]
        SupportNorm()
    """
    if policy not in POLICIES:
        raise InputError(f"norm policy {policy!r} is unknown; choose one of {', '.join(POLICIES)}")
    check_network(module)
    replaced: dict[nn.Module, nn.Module] = {}
    known = (t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point() and not is_lazy(t))
    like = next(known, torch.empty(0))
    for name, part in module.named_modules():
        kind = policy_of(part)
        if kind not in ("running", "batch", "support") or kind == policy == "running":
            continue
        if any(is_lazy(p) for p in (*part.parameters(), *part.buffers())):
            raise InputError(
                f"layer {name!r} ({type(part).__name__}) does not know its channels yet: run one batch through the "
                f"network first, then convert it"
            )
        replaced[part] = _replacement(part, policy, like)
    for part in list(module.modules()):
        # Not named_children: a layer that stands in two places of one module has two names there.
        for name, child in part._modules.items():
            if child in replaced:
                part._modules[name] = replaced[child]
    changed = set(replaced.values())
    for part in module.modules():
        if part not in changed and not changed.isdisjoint(part.modules()):
            record(part, convert, part, policy)
    return replaced.get(module, module)


def _replacement(old: Any, policy: str, like: Tensor) -> nn.Module:
    channels, scaled = int(old.num_features), old.weight is not None
    origin = next((kind for kind in _KINDS if isinstance(old, kind)), nn.BatchNorm2d)
    if isinstance(old, BatchNorm | SupportNorm):
        origin = old.origin
    instance = issubclass(origin, nn.modules.instancenorm._InstanceNorm)
    new: nn.Module
    if policy == "group":
        # Instance norm is group norm with a group for each channel.
        new = nn.GroupNorm(channels if instance else groups(channels), channels, eps=old.eps, affine=scaled)
    elif policy == "running":
        make: Any = origin
        new = make(channels, eps=old.eps, momentum=old.momentum, affine=scaled, track_running_stats=True)
    elif policy == "none":
        new = nn.Identity()
    else:
        new = (SupportNorm if policy == "support" else BatchNorm)(channels, old.eps, scaled, origin, old.momentum)
    # A layer without tensors has the type of the network.
    own = old.weight if scaled else getattr(old, "running_mean", None)
    new.to(like.device if own is None else own.device, like.dtype if own is None else own.dtype)
    for name in ("weight", "bias") if scaled and policy != "none" else ():
        value = getattr(old, name)
        if value is None:
            new.register_parameter(name, None)
        else:
            setattr(new, name, nn.Parameter(value.detach().clone(), value.requires_grad))
    return new.train(old.training)
