"""Whether an example is seen by itself: found by trying it, since the types of layers do not always tell."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from innerloop.core import norm
from innerloop.core.learner import Learner
from innerloop.core.swap import swapped, undisturbed
from innerloop.core.task import Task


def folds(encoder: nn.Module, x: Tensor) -> bool:
    """Whether an encoder, outside training, gives an example the same features whichever others come with it.

    Only then may the examples of many tasks run through it as one batch. By its layers where these say no, or where
    there is nothing to try.

    Args:
        encoder: any module.
        x: some inputs ``[N, *F]``.

    Example:
        >>> folds(nn.Linear(2, 3), torch.rand(4, 2)), folds(norm.layer("batch", 2), torch.rand(4, 2))
        (True, False)
    """
    if not norm.folds(encoder):
        return False
    return not _depends(encoder, lambda x: encoder(x), x[:4])


def looks_at_other_queries(learner: Learner, task: Task) -> bool:
    """Whether a query's prediction changes with the other queries, outside training: whether a score is transductive.

    Args:
        learner: any learner.
        task: one task, with at least 2 queries, or there is nothing to try.

    Example:
        >>> import innerloop as il
        >>> task = il.Task(*(il.Examples(torch.rand(6, 4), torch.eye(3).repeat(2, 1)) for _ in range(2)))
        >>> nets = [nn.Sequential(nn.Linear(4, 3), norm.layer(policy, 3)) for policy in ("group", "batch")]
        >>> [looks_at_other_queries(il.MAML(net), task) for net in nets]
        [False, True]
    """
    support = task.support

    def predict(x: Tensor) -> Tensor:
        own = type(support)(*(leaf.to(x.dtype) if leaf.is_floating_point() else leaf for leaf in support))
        with torch.no_grad():
            return learner.predict(learner.adapt(own), x).transpose(0, 1)

    return learner.transductive or _depends(learner, predict, task.query.x)


def _depends(module: nn.Module, run: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Whether a row of what ``run`` gives for the rows of ``x`` depends on the other rows."""
    half = len(x) // 2
    if half == 0 or torch.is_inference_mode_enabled():
        return False
    # As many rows, so that kernels round and random numbers fall alike.
    other = torch.cat((x[:half], x[:1].expand(len(x) - half, *x.shape[1:])))
    for dtype in (torch.float64, None):
        try:
            with undisturbed(module), torch.no_grad():
                module.eval()
                seen = [_rows(module, run, value, dtype)[:half] for value in (x, other)]
        except Exception:
            # It may not run in float64; whatever else is wrong, the run itself will say.
            continue
        together, apart = seen
        if together.isfinite().all() and apart.isfinite().all():
            tolerance = max(1e-6, 10 * torch.finfo(together.dtype).eps)
            return bool((together - apart).abs().max() > tolerance * together.abs().max())
    return False


def _rows(module: nn.Module, run: Callable[[Tensor], Tensor], x: Tensor, dtype: torch.dtype | None) -> Tensor:
    def cast(tensor: Tensor) -> Tensor:
        return tensor.detach().to(dtype or tensor.dtype, copy=True) if tensor.is_floating_point() else tensor.clone()

    torch.manual_seed(0)
    with swapped(module, {k: cast(t) for k, t in (*module.named_parameters(), *module.named_buffers())}):
        return run(cast(x))
