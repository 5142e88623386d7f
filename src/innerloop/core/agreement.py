"""Whether two ways of running a learner agree: its losses and their gradient, on a task or two of the first batch.

A way that is faster is believed only then, since what goes wrong goes wrong in silence (PyTorch's second-order gradient
of some fused kernels under ``vmap``, up to 2.13 at least).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from innerloop.core.swap import swapped, undisturbed
from innerloop.core.task import Task, take

#: From a batch of tasks to losses, or predictions, of each.
Run = Callable[[Task], Tensor]
#: In float64 two right ways differ by rounding alone, which even long inner loops do not bring near this.
_CLOSE = 1e-5


class Finding(NamedTuple):
    """What a comparison found."""

    complaint: str | None
    """How the ways differ, in words; None where they agree or could not be compared."""
    note: str | None = None
    """What could not be compared."""


def compare(learner: nn.Module, tasks: Task, loop: Run, other: Run, *, by_inputs: bool, values: bool) -> Finding:
    """Compare two ways of running a learner.

    In float64 and at weights near its own (which may be special: a scale of 1, a last layer of zeros), or where it
    cannot be run so, at its own. Where it draws random numbers the ways are given the same ones, if they draw alike;
    if not, they are compared in evaluation mode. The learner is left as it was.

    Args:
        learner: what ``loop`` and ``other`` run.
        tasks: one or two.
        loop: the way that is right.
        other: the way that is to be believed.
        by_inputs: whether the gradient by the inputs counts too: there is an encoder before the learner.
        values: whether outputs are compared alone, without a gradient.
    """
    with undisturbed(learner), torch.enable_grad():
        found = _sampled(learner, tasks, loop, by_inputs, values)
        if found is None:
            return Finding(None, "the loop itself does not run in a trial")
        sample, wanted, drew = found
        try:
            return _judged(sample, tasks, loop, other, wanted, drew)
        except Exception as error:
            # What does not run at all says so itself, when it is asked to.
            return Finding(None, f"it could not be compared ({_line(error)})")


def _judged(sample: _Sample, tasks: Task, loop: Run, other: Run, wanted: dict[str, Tensor], drew: bool) -> Finding:
    if not drew:
        complaint = difference(wanted, sample(tasks, other))
        if complaint is not None and difference(wanted, sample(tasks, loop)) is not None:
            return Finding(None, "it has random numbers of its own, and gives another result each time")
        return Finding(complaint)
    # Of one task vmap draws the very numbers that the loop draws.
    one = take(tasks, slice(0, 1))
    if difference(sample(one, loop), sample(one, other)) is None:
        return Finding(None)
    sample.learner.eval()
    wanted, drew = _drawn(sample, tasks, loop)
    if drew:
        return Finding(None, "its random numbers differ from the loop's, so they could not be compared")
    return Finding(
        difference(wanted, sample(tasks, other)), "compared in evaluation mode, since training draws at random"
    )


class _Sample:
    """Runs a learner at some weights, in some precision."""

    def __init__(
        self, learner: nn.Module, dtype: torch.dtype | None, near: bool, by_inputs: bool, values: bool
    ) -> None:
        self.learner, self.dtype, self.by_inputs, self.values = learner, dtype, by_inputs, values
        generator = torch.Generator().manual_seed(0)
        trained = {name: p for name, p in learner.named_parameters() if p.requires_grad}
        self.free = {
            name: self._cast(_near(p, generator) if near else p.detach().clone()) for name, p in trained.items()
        }
        self.fixed = {
            name: tensor.detach()
            for name, tensor in (*learner.named_parameters(), *learner.named_buffers())
            if name not in self.free
        }

    def __call__(self, tasks: Task, run: Run) -> dict[str, Tensor]:
        """Losses and gradients, or predictions, by name."""
        tasks = pytree.tree_map(lambda leaf: self._cast(leaf.detach()), tasks)
        wanted = dict(self.free)
        if self.by_inputs:
            wanted |= {"support features": tasks.support.x, "query features": tasks.query.x}
        wanted = {name: tensor.requires_grad_() for name, tensor in wanted.items() if tensor.is_floating_point()}
        torch.manual_seed(0)
        # Buffers are copied each time, since a run may change them.
        with (
            torch.set_grad_enabled(not self.values),
            swapped(self.learner, {**self.free, **{k: self._cast(b.clone()) for k, b in self.fixed.items()}}),
        ):
            out = run(tasks)
        if self.values:
            return {"predictions": out.detach()}
        # Each task with a weight of its own, so that none can stand in for another.
        total = (out * torch.arange(1, len(out) + 1, dtype=out.dtype, device=out.device)).sum()
        found = {"losses": out.detach()}
        if total.requires_grad and wanted:
            slopes = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
            found |= {
                name: torch.zeros_like(tensor) if g is None else g
                for (name, tensor), g in zip(wanted.items(), slopes, strict=True)
            }
        return found

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.dtype) if self.dtype is not None and tensor.is_floating_point() else tensor


def _sampled(
    learner: nn.Module, tasks: Task, loop: Run, by_inputs: bool, values: bool
) -> tuple[_Sample, dict[str, Tensor], bool] | None:
    """The loop's results, and whether it drew random numbers; in float64 at nearby weights if it runs there."""
    for dtype, near in ((torch.float64, True), (torch.float64, False), (None, True), (None, False)):
        try:
            sample = _Sample(learner, dtype, near, by_inputs, values)
            wanted, drew = _drawn(sample, tasks, loop)
        except Exception:
            # Not every learner runs in float64.
            continue
        if all(bool(tensor.isfinite().all()) for tensor in wanted.values()):
            return sample, wanted, drew
    return None


def _near(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """The tensor with a twentieth of each number, and some more, of noise."""
    value = tensor.detach()
    if not value.is_floating_point():
        return value.clone()
    first, second = (torch.randn(value.shape, generator=generator).to(value) for _ in range(2))
    size = value.square().mean().sqrt() if value.numel() else value.sum()
    return value * (1 + 0.05 * first) + 0.01 * torch.where(size > 0, size, torch.ones_like(size)) * second


def _drawn(sample: _Sample, tasks: Task, run: Run) -> tuple[dict[str, Tensor], bool]:
    """A run's results, and whether it drew random numbers."""
    device = tasks.query.x.device
    state = partial(torch.cuda.get_rng_state, device) if device.type == "cuda" else torch.get_rng_state
    torch.manual_seed(0)
    before = state()
    return sample(tasks, run), not torch.equal(before, state())


def difference(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], tolerance: float | None = None) -> str | None:
    """The tensor whose difference is largest beyond rounding, in words; None where all agree.

    Args:
        wanted: tensors by name.
        found: the same names.
        tolerance: a share of a tensor's norm; default by the least precise type.
    """
    if tolerance is None:
        types = {tensor.dtype for tensor in (*wanted.values(), *found.values()) if tensor.is_floating_point()}
        tolerance = max([_CLOSE, *(3 * math.sqrt(torch.finfo(d).eps) for d in types - {torch.float64})])
    norms = {name: float(tensor.double().norm()) for name, tensor in wanted.items()}
    # A tensor whose gradient is zero but for rounding is judged by the size of the others.
    floor = 1e-2 * max(norms.values(), default=0.0)
    worst, name = 0.0, ""
    for key, tensor in wanted.items():
        if found[key].shape != tensor.shape:
            return f"{key} has the shape {tuple(found[key].shape)} in place of {tuple(tensor.shape)}"
        share = float((found[key].double() - tensor.double()).norm()) / max(norms[key], floor, 1e-300)
        share = math.inf if math.isnan(share) else share
        if share > worst:
            worst, name = share, key
    if worst <= tolerance:
        return None
    what = f"{name} differ" if name in ("losses", "predictions") else f"gradient by {name!r} differs"
    return f"the {what} from the loop's by {100 * worst:.2g} %"


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
