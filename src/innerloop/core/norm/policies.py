"""Which policy a network has, read off its layers, and what follows from it."""

from __future__ import annotations

from torch import nn

from innerloop.core.norm.layers import BatchNorm, Layer, SupportNorm
from innerloop.core.task import InputError

POLICIES = ("group", "support", "running", "batch", "none")

_INSTANCE = nn.modules.instancenorm._InstanceNorm


def policy_of(layer: nn.Module) -> str | None:
    """The policy of a single layer; None for one that normalizes nothing.

    Example:
        >>> policy_of(nn.LayerNorm(8)), policy_of(nn.Linear(8, 8))
        ('group', None)
    """
    if isinstance(layer, SupportNorm):
        return "support"
    if isinstance(layer, nn.GroupNorm | nn.LayerNorm | nn.RMSNorm):
        return "group"
    if isinstance(layer, _INSTANCE) and not layer.track_running_stats:
        return "group"
    if isinstance(layer, Layer | _INSTANCE):
        return "running" if layer.track_running_stats else "batch"
    return None


def policy(module: nn.Module) -> str:
    """The policy of a module's layers; where several are mixed the first of batch, support, running, group."""
    found = {policy_of(part) for part in module.modules()}
    return next((name for name in ("batch", "support", "running", "group") if name in found), "none")


def folds(module: nn.Module) -> bool:
    """Whether the examples of many tasks can run through ``module`` as one batch without changing what a task sees.

    As far as its layers tell; :func:`innerloop.core.alone.folds` tries it.
    """
    return policy(module) not in ("support", "batch")


def learning(module: nn.Module) -> list[Layer]:
    """The batch-norm layers that are in training mode and keep running statistics."""
    layers = (part for part in module.modules() if isinstance(part, Layer))
    return [part for part in layers if part.training and policy_of(part) == "running"]


def couples(module: nn.Module) -> bool:
    """Whether examples that run through ``module`` together, as it is now, are normalized by each other's statistics.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8))
        >>> couples(net), couples(net.eval())
        (True, False)
    """
    return bool(learning(module))


def freeze_running(module: nn.Module) -> None:
    """Put layers with running statistics into evaluation mode: under an inner loop their statistics are constants."""
    for part in module.modules():
        if policy_of(part) == "running":
            part.eval()


def frozen(module: nn.Module) -> list[nn.Module]:
    """The layers with running statistics whose scale and shift are frozen: training must leave the statistics too."""
    layers = [(part, list(part.parameters())) for part in module.modules() if policy_of(part) == "running"]
    return [part for part, own in layers if own and not any(p.requires_grad for p in own)]


def check_inner_loop(module: nn.Module) -> None:
    """Refuse, before any training, layers that an inner loop cannot run: running statistics that nobody calibrated.

    Raises:
        InputError: naming the offending layer and the remedy.
    """
    for name, part in module.named_modules():
        if policy_of(part) != "running":
            continue
        seen = getattr(part, "num_batches_tracked", None)
        if seen is None or int(seen) == 0:
            raise InputError(
                f"layer {name!r} ({type(part).__name__}) has running statistics that were never calibrated, and an "
                f"inner loop must not update them: use innerloop.norm.convert(net, 'support') (or 'group', 'batch') or "
                f"innerloop.norm.calibrate(net, batches) to freeze them"
            )


def suspect(module: nn.Module) -> str | None:
    """The first layer, in words, whose second-order gradient PyTorch (up to 2.13) gets wrong under ``vmap``, if any.

    These are batch, instance and layer norm where they have a scale of their own; group norm is right. Whether a
    gradient is wrong is found by trying it (:mod:`innerloop.core.agreement`); this is for the message.
    """
    for name, part in module.named_modules():
        scaled = getattr(part, "weight", None) is not None
        if scaled and policy_of(part) in ("group", "batch") and not isinstance(part, nn.GroupNorm | BatchNorm):
            return f"layer {name!r} ({type(part).__name__})"
    return None
