"""Batch normalization as a named policy, never an accident.

============  =========================================================================================================
``group``     GroupNorm: an example is normalized by itself, nothing leaks between examples.
``support``   the statistics of the support set, kept in the state and used for the queries.
``running``   frozen statistics at test time, calibrated by a separate pass over the meta-training pool.
``batch``     the statistics of whatever batch is at hand: on the query set, **transductive**.
``none``      no normalization layer at all.
============  =========================================================================================================

The policy of a learner is printed with each of its scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innerloop.core.task import InputError

POLICIES = ("group", "support", "running", "batch", "none")

Statistics = list[tuple[Tensor, Tensor]]

_RECORDED: ContextVar[Statistics | None] = ContextVar("recorded", default=None)
_REPLAYED: ContextVar[Iterator[tuple[Tensor, Tensor]] | None] = ContextVar("replayed", default=None)
_FUSED: ContextVar[bool] = ContextVar("fused", default=False)


@contextmanager
def fused() -> Iterator[None]:
    """Allow the kernels that are faster, and that only ``vmap`` gets wrong (see :func:`check_vmap`)."""
    token = _FUSED.set(True)
    try:
        yield
    finally:
        _FUSED.reset(token)


Layer = nn.modules.batchnorm._BatchNorm


def affine(layer: nn.Module, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift ``[C]`` of a normalization layer for what has such a mean and variance."""
    scale: Tensor = (var + layer.eps).rsqrt()  # type: ignore[operator]
    if layer.weight is None:
        return scale, -mean * scale
    scale = layer.weight * scale  # type: ignore[operator]
    return scale, layer.bias - mean * scale  # type: ignore[operator]


@torch.no_grad()
def track(layer: Layer, mean: Tensor, var: Tensor, count: Tensor | int) -> None:
    """Move the layer's running statistics, where it has any, towards those of ``count`` numbers a channel."""
    if layer.num_batches_tracked is None or layer.running_mean is None or layer.running_var is None:
        return
    layer.num_batches_tracked.add_(1)
    weight = layer.momentum if layer.momentum is not None else 1 / float(layer.num_batches_tracked)
    layer.running_mean.lerp_(mean, weight)
    layer.running_var.lerp_(var * count / (count - 1), weight)


def moved(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """``x [N, C, *F]``, each channel scaled and shifted."""
    shape = [1, -1] + [1] * (x.ndim - 2)
    return x * scale.view(shape) + shift.view(shape)


def _normalized(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """``x [N, C, *F]`` by its own statistics, scaled and shifted."""
    if _FUSED.get():
        return F.batch_norm(x, None, None, weight, bias, training=True, eps=eps)
    return moved(F.batch_norm(x, None, None, training=True, eps=eps), weight, bias)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization by the statistics of the batch at hand, in every mode; under ``vmap`` too."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels, eps=eps, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, *F] -> [N, C, *F]``."""
        return _normalized(x, self.weight, self.bias, self.eps)


def _record(examples: int) -> Statistics | None:
    """Where the statistics of a support set of so many examples are to be written down, within :func:`recording`."""
    recorded = _RECORDED.get()
    if recorded is not None and not examples and _REPLAYED.get() is None:
        raise InputError(
            "the norm policy 'support' normalizes by the support set, and these tasks have 0 support examples: use the "
            "policy 'running' (or 'group')"
        )
    return recorded


class SupportNorm(nn.Module):
    """Normalizes with the statistics of the support set.

    Within :func:`recording` it writes down the statistics of what it sees; within :func:`replaying` it uses the ones
    written down. Outside both it uses those of the batch at hand (inside the inner loop that *is* the support set).

    Args:
        channels: size of axis 1.
        eps: added to the variance.

    References:
        "Conventional batch normalization" with support statistics in Bronskill et al., *TaskNorm*, ICML 2020,
        https://arxiv.org/abs/2003.03284.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, *F] -> [N, C, *F]``."""
        recorded, replayed = _record(len(x)), _REPLAYED.get()
        if recorded is None and replayed is None:
            return _normalized(x, self.weight, self.bias, self.eps)
        if replayed is not None:
            mean, var = next(replayed)
        else:
            axes = [0, *range(2, x.ndim)]
            mean, var = x.mean(axes), x.var(axes, unbiased=False)
            if recorded is not None:
                recorded.append((mean, var))
        return moved(x, *affine(self, mean, var))


def convolved(convolution: nn.Module, layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """``layer(convolution(x))`` in two parts: what is still to be added to the first, ``[1, C, 1, 1]``, or None.

    A batch norm whose statistics are known before the convolution is a scale of its kernel and a shift: the passes over
    the images that normalizing takes are saved, and pooling may come before the shift. They are known where they are
    kept, and for few input channels: those of the patches that the kernel sees give those of the result.
    """
    plain = isinstance(convolution, nn.Conv2d) and convolution.bias is None and _bare(convolution, layer)
    if not (plain and isinstance(layer, nn.BatchNorm2d | SupportNorm)):
        return layer(convolution(x)), None
    assert isinstance(convolution, nn.Conv2d)
    moments = _known(layer) or _foreseen(convolution, layer, x)
    if moments is None:
        return layer(convolution(x)), None
    scale, shift = affine(layer, *moments)
    kernel = (convolution.weight * scale.view(-1, 1, 1, 1)).to(convolution.weight.dtype)
    y = convolution._conv_forward(x, kernel, None)
    return y, shift.to(y.dtype).view(1, -1, 1, 1)


def _bare(*modules: nn.Module) -> bool:
    """Whether nobody looks at what goes in and out of the modules, or has put another function in their place."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return not any("forward" in vars(part) or any(getattr(part, name) for name in hooks) for part in modules)


def _known(layer: nn.BatchNorm2d | SupportNorm) -> tuple[Tensor, Tensor] | None:
    """Mean and variance that a layer uses whatever it sees."""
    if isinstance(layer, SupportNorm):
        replayed = _REPLAYED.get()
        return None if replayed is None else next(replayed)
    if layer.training or layer.running_mean is None or layer.running_var is None:
        return None
    return layer.running_mean, layer.running_var


def _foreseen(convolution: nn.Conv2d, layer: nn.BatchNorm2d | SupportNorm, x: Tensor) -> tuple[Tensor, Tensor] | None:
    """Mean and variance of the convolution's result, by those of the patches of ``x``; None where that does not pay."""
    kernel, stride, padding = convolution.weight, convolution.stride, convolution.padding
    plain = convolution.dilation == (1, 1) and convolution.groups == 1 and convolution.padding_mode == "zeros"
    if not plain or kernel[0].numel() >= len(kernel) or isinstance(padding, str):
        return None
    recorded = _record(len(x)) if isinstance(layer, SupportNorm) else None
    dtype = torch.promote_types(x.dtype, torch.float32)
    padded = F.pad(x, (padding[1], padding[1], padding[0], padding[0])).to(dtype)
    rows, columns = (
        [slice(start, size - kernel.shape[axis] + 1 + start, stride[axis - 2]) for start in range(kernel.shape[axis])]
        for axis, size in ((2, padded.shape[-2]), (3, padded.shape[-1]))
    )
    patches = torch.stack([padded[:, :, row, column] for row in rows for column in columns])
    patches = patches.permute(2, 0, 1, 3, 4).flatten(0, 1).flatten(1)
    if patches.shape[1] < 2:
        # Nothing to take a variance of: the layer says so itself.
        return None
    center = patches.mean(1)
    rest = patches - center.unsqueeze(1)
    flat = kernel.flatten(1).to(dtype)
    with torch.autocast(x.device.type, enabled=False):
        mean = flat @ center
        var = ((flat @ (rest @ rest.T / rest.shape[1])) * flat).sum(1)
    if recorded is not None:
        recorded.append((mean, var))
    if not isinstance(layer, SupportNorm):
        track(layer, mean, var, rest.shape[1])
    return mean, var


@contextmanager
def recording() -> Iterator[Statistics]:
    """Collect the support statistics of every :class:`SupportNorm` that runs within, in order."""
    statistics: Statistics = []
    token = _RECORDED.set(statistics)
    try:
        yield statistics
    finally:
        _RECORDED.reset(token)


@contextmanager
def replaying(statistics: Statistics) -> Iterator[None]:
    """Use recorded statistics, in the order in which they were recorded."""
    token = _REPLAYED.set(iter(statistics))
    try:
        yield
    finally:
        _REPLAYED.reset(token)


def layer(policy: str, channels: int) -> nn.Module:
    """A normalization layer over ``channels`` for a policy.

    Raises:
        InputError: for an unknown policy.

    Example:
        >>> layer("group", 64).num_groups
        8
    """
    if policy == "group":
        return nn.GroupNorm(next(g for g in (8, 4, 2, 1) if channels % g == 0), channels)
    if policy == "support":
        return SupportNorm(channels)
    if policy == "running":
        return nn.BatchNorm2d(channels)
    if policy == "batch":
        return BatchNorm(channels)
    if policy == "none":
        return nn.Identity()
    raise InputError(f"norm policy {policy!r} is unknown; choose one of {', '.join(POLICIES)}")


def _policy_of(module: nn.Module) -> str | None:
    if isinstance(module, SupportNorm):
        return "support"
    if isinstance(module, nn.GroupNorm | nn.LayerNorm):
        return "group"
    if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.modules.instancenorm._InstanceNorm):
        if isinstance(module, nn.modules.instancenorm._InstanceNorm) and not module.track_running_stats:
            return "group"
        return "running" if module.track_running_stats else "batch"
    return None


def policy(module: nn.Module) -> str:
    """The policy of a module's layers; where several are mixed the first of batch, support, running, group."""
    found = {_policy_of(part) for part in module.modules()}
    return next((name for name in ("batch", "support", "running", "group") if name in found), "none")


def convert(module: nn.Module, policy: str) -> nn.Module:
    """Replace every batch-norm layer of ``module``, in place, by the policy's layer with the same scale and shift.

    A layer with running statistics stays as it is where these are wanted. Use the result: where ``module`` is itself
    such a layer, it is another object.

    Example:
        >>> convert(nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8)), "support")[1]
        SupportNorm()
    """
    kind = _policy_of(module)
    if kind in ("running", "batch", "support") and not kind == policy == "running":
        return _replacement(module, policy)
    for name, child in module.named_children():
        setattr(module, name, convert(child, policy))
    return module


def _replacement(old: nn.Module, policy: str) -> nn.Module:
    weight: Tensor | None = old.weight  # type: ignore[assignment]
    channels = len(weight) if weight is not None else int(old.num_features)  # type: ignore[arg-type]
    flat = policy == "running" and isinstance(old, nn.BatchNorm1d)
    new = nn.BatchNorm1d(channels) if flat else layer(policy, channels)
    if weight is not None:
        if getattr(new, "weight", None) is not None:
            new.load_state_dict({"weight": weight, "bias": old.bias}, strict=False)  # type: ignore[dict-item]
        new.to(weight.device, weight.dtype)
    return new.train(old.training)


def folds(module: nn.Module) -> bool:
    """Whether the examples of many tasks can run through ``module`` as one batch without changing what a task sees."""
    return policy(module) not in ("support", "batch")


def learning(module: nn.Module) -> list[Layer]:
    """The batch-norm layers that are in training mode and keep running statistics."""
    layers = (part for part in module.modules() if isinstance(part, Layer))
    return [part for part in layers if part.training and _policy_of(part) == "running"]


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
        if _policy_of(part) == "running":
            part.eval()


def frozen(module: nn.Module) -> list[nn.Module]:
    """The layers with running statistics whose scale and shift are frozen: training must leave the statistics too."""
    layers = [(part, list(part.parameters())) for part in module.modules() if _policy_of(part) == "running"]
    return [part for part, own in layers if own and not any(p.requires_grad for p in own)]


def check_inner_loop(module: nn.Module) -> None:
    """Refuse, before any training, layers that an inner loop cannot run: running statistics that nobody calibrated.

    Raises:
        InputError: naming the offending layer and the remedy.
    """
    for name, part in module.named_modules():
        if _policy_of(part) != "running":
            continue
        seen = getattr(part, "num_batches_tracked", None)
        if seen is None or int(seen) == 0:
            raise InputError(
                f"layer {name!r} ({type(part).__name__}) has running statistics that were never calibrated, and an "
                f"inner loop must not update them: use innerloop.norm.convert(net, 'support') (or 'group', 'batch') or "
                f"innerloop.norm.calibrate(net, batches) to freeze them"
            )


def check_vmap(module: nn.Module) -> None:
    """Refuse layers whose second-order gradient ``vmap`` gets wrong, without a word, in PyTorch up to 2.13 at least.

    These are batch, instance and layer norm where they have a scale of their own; group norm is right.

    Raises:
        InputError: naming the offending layer and the remedy.
    """
    for name, part in module.named_modules():
        kind = _policy_of(part)
        affine = getattr(part, "weight", None) is not None
        if affine and kind in ("group", "batch") and not isinstance(part, nn.GroupNorm | BatchNorm):
            raise InputError(
                f"layer {name!r} ({type(part).__name__}) has a wrong second-order gradient under vmap: use how='loop' "
                f"(or 'auto'), first_order=True, or innerloop.norm.convert(net, 'batch') for batch norm"
            )


@torch.no_grad()
def calibrate(module: nn.Module, batches: Iterable[Tensor], keep: Iterable[nn.Module] = ()) -> None:
    """Set the running statistics to the average over ``batches`` of inputs ``[N, *F]``, in a pass of its own.

    Layers of other policies, those to ``keep`` and all parameters are left alone; each layer gets its momentum and mode
    back.
    """
    kept = set(keep)
    layers = [part for part in module.modules() if _policy_of(part) == "running" and part not in kept]
    if not layers:
        return
    modes = {part: part.training for part in module.modules()}
    momenta = [part.momentum for part in layers]
    module.eval()
    for part in layers:
        part.reset_running_stats()  # type: ignore[operator]
        part.momentum = None  # type: ignore[assignment]
        part.train()
    for x in batches:
        module(x)
    for part, momentum in zip(layers, momenta, strict=True):
        part.momentum = momentum
    for part, mode in modes.items():
        part.training = mode
