"""Deliberately naive versions of the clever parts: written for one glance, not for speed."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import innerloop as il


def maml_gradient(
    net: nn.Module,
    task: il.Task,
    loss: Callable[[Tensor, Tensor], Tensor],
    lr: float,
    steps: int,
    first_order: bool = False,
    adapts: Collection[str] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """MAML by ``autograd.grad`` alone: the query loss after ``steps`` steps, and its gradient at the start.

    ``adapts`` names the parameters that a step changes, all by default.
    """
    theta = {name: p.detach().clone().requires_grad_() for name, p in net.named_parameters()}
    phi = dict(theta)
    for _ in range(steps):
        inner = loss(torch.func.functional_call(net, phi, (task.support.x,)), task.support.y)
        slopes = torch.autograd.grad(inner, list(phi.values()), create_graph=not first_order)
        moves = {name: lr * slope for name, slope in zip(phi, slopes, strict=True) if adapts is None or name in adapts}
        phi = {name: p - moves.get(name, 0) for name, p in phi.items()}
    outer = loss(torch.func.functional_call(net, phi, (task.query.x,)), task.query.y)
    found = torch.autograd.grad(outer, list(theta.values()))
    return outer.detach(), dict(zip(theta, found, strict=True))


def implicit_gradient(
    net: nn.Module,
    task: il.Task,
    loss: Callable[[Tensor, Tensor], Tensor],
    proximal: float,
    phi: dict[str, Tensor],
) -> dict[str, Tensor]:
    """The gradient through a minimum ``phi`` of support loss + proximal / 2 |phi - theta|^2, with dense matrices.

    ``phi`` names what adapts. In theta it is ``proximal (H + proximal)^-1 g``; in all else, beside the direct gradient,
    ``-J^T (H + proximal)^-1 g`` with J the mixed second derivative of the support loss.
    """
    fixed = {name: p.detach() for name, p in net.named_parameters() if name not in phi}
    shapes = {name: p.shape for name, p in {**phi, **fixed}.items()}

    def value(part: il.Examples, adapted: Tensor, rest: Tensor) -> Tensor:
        pieces = torch.cat((adapted, rest)).split([shape.numel() for shape in shapes.values()])
        own = {name: piece.view(shapes[name]) for name, piece in zip(shapes, pieces, strict=True)}
        return loss(torch.func.functional_call(net, own, (part.x,)), part.y)

    adapted = torch.cat([p.detach().flatten() for p in phi.values()])
    rest = torch.cat([adapted.new_zeros(0), *(p.flatten() for p in fixed.values())])
    size = len(adapted)
    second = torch.autograd.functional.hessian(
        lambda both: value(task.support, both[:size], both[size:]), torch.cat((adapted, rest))
    )
    slope = torch.autograd.functional.jacobian(
        lambda both: value(task.query, both[:size], both[size:]), torch.cat((adapted, rest))
    )
    solved = torch.linalg.solve(second[:size, :size] + proximal * torch.eye(size, dtype=slope.dtype), slope[:size])
    found = torch.cat((proximal * solved, slope[size:] - second[size:, :size] @ solved))
    pieces = found.split([shape.numel() for shape in shapes.values()])
    return {name: piece.view(shapes[name]) for name, piece in zip(shapes, pieces, strict=True)}


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy against one-hot rows."""
    return F.cross_entropy(logits, y.argmax(1))


def half_squares(output: Tensor, y: Tensor) -> Tensor:
    """Minus the mean log density of a normal of deviation 1, up to its constant."""
    return 0.5 * (output - y).square().sum(1).mean()


def prototype_logits(support: numpy.ndarray, labels: list[int], query: numpy.ndarray, distance: str) -> numpy.ndarray:
    """Class means and distances to them, one pair at a time."""
    if distance == "cosine":
        support = numpy.stack([z / numpy.linalg.norm(z) for z in support])
    logits = numpy.zeros((len(query), max(labels) + 1))
    for label in range(max(labels) + 1):
        prototype = numpy.mean([z for z, own in zip(support, labels, strict=True) if own == label], axis=0)
        for row, z in enumerate(query):
            if distance == "cosine":
                angle = z @ prototype / (numpy.linalg.norm(z) * numpy.linalg.norm(prototype))
                logits[row, label] = 10 * angle
            else:
                logits[row, label] = -sum((z - prototype) ** 2)
    return logits


def relation_scores(module: il.nets.RelationModule, a: Tensor, b: Tensor) -> Tensor:
    """Each pair by itself: one map on top of the other, then the module's layers."""
    scores = torch.zeros(len(a), len(b), dtype=a.dtype)
    for i, left in enumerate(a):
        for j, right in enumerate(b):
            x = torch.cat((left, right)).unsqueeze(0)
            x = F.conv2d(x, module.first.weight, module.first.bias, padding=1)
            x = F.relu(module.first_norm(F.max_pool2d(x, 2)))
            x = F.conv2d(x, module.second.weight, module.second.bias, padding=1)
            if x.shape[-1] > 1:
                x = F.max_pool2d(x, 2)
            x = F.relu(module.second_norm(x)).flatten()
            scores[i, j] = module.score(F.relu(module.hidden(x)))
    return scores


def relation_network(learner: il.RelationNet, task: il.Task) -> Tensor:
    """Each class's confidence: its examples' mean score times their average number, or the score of their sum."""
    support, query = learner.encoder(task.support.x), learner.encoder(task.query.x)
    ways = task.support.y.shape[1]
    of_class = [support[task.support.y[:, c] == 1] for c in range(ways)]
    if learner.head.combine == "features":
        of_class = [z.sum(0, keepdim=True) for z in of_class]
        return torch.cat([relation_scores(learner.head.relation, query, z) for z in of_class], 1)
    average = len(support) / ways
    return torch.stack([average * relation_scores(learner.head.relation, query, z).mean(1) for z in of_class], 1)


def calibration_error(probabilities: numpy.ndarray, labels: numpy.ndarray, bins: int) -> float:
    """Expected calibration error, bin by bin, after Guo et al. (2017)."""
    confidence, answer = probabilities.max(1), probabilities.argmax(1)
    error = 0.0
    for b in range(bins):
        last = b == bins - 1
        inside = (confidence >= b / bins) & ((confidence < (b + 1) / bins) | last)
        if inside.any():
            share = inside.mean()
            error += share * abs((answer[inside] == labels[inside]).mean() - confidence[inside].mean())
    return float(error)


def average(values: list[Tensor], decay: float) -> Tensor:
    """Exponential moving average of a weight after each step: it starts at the first."""
    mean = values[0]
    for value in values[1:]:
        mean = decay * mean + (1 - decay) * value
    return mean


def joint_gradient(
    body: nn.Module, heads: list[nn.Linear], tasks: il.Task, loss: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Joint multi-task training in plain torch: the mean over tasks of each one's loss by its own head on one body.

    The gradients are those of the body's parameters, then weight and bias of each head.
    """
    everything = [*body.parameters(), *(p for head in heads for p in head.parameters())]
    total = sum(loss(head(body(tasks.query.x[t])), tasks.query.y[t]) for t, head in enumerate(heads)) / len(heads)
    return total.detach(), list(torch.autograd.grad(total, everything))


def pooled_gradient(
    net: nn.Module, tasks: il.Task, loss: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """Empirical risk minimization: all tasks' examples in one batch, one network."""
    total = loss(net(tasks.query.x.flatten(0, 1)), tasks.query.y.flatten(0, 1))
    return total.detach(), list(torch.autograd.grad(total, list(net.parameters())))
