"""What of the input an answer comes from: contributions of pixels, patches, words and columns, and how true they are.

The adapted learner is one function of the query; what each part of the query does to its answer is found by captum's
methods, or by Shapley values, and is held against what happens where parts are really taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from innerloop.core.learner import Learner
from innerloop.core.likelihood import Likelihood
from innerloop.core.modes import evaluating
from innerloop.core.task import Examples, InputError
from innerloop.evidence.attributed import Attribution, Attributions, Described
from innerloop.evidence.judging import answer_of
from innerloop.evidence.parts import (
    Parts,
    TensorParts,
    check_method,
    contributions,
    infidelity,
    parts_of,
    patch_of,
    sensitivity,
)
from innerloop.evidence.turns import log_odds

Of = Literal["log odds", "probability"]
#: How far a number of the query is moved to try how sensitive contributions are, as a share of the inputs' range.
RADIUS = 0.02


def attribute(
    learner: Learner,
    support: Examples,
    x: Tensor,
    method: str = "integrated gradients",
    *,
    target: int | Sequence[int] | Tensor | None = None,
    of: Of = "log odds",
    baseline: Literal["support", "zeros"] | Tensor = "support",
    patch: int | None = None,
    groups: Tensor | None = None,
    names: Sequence[str] | None = None,
    classes: Sequence[Any] | None = None,
    temperature: float = 1.0,
    steps: int = 50,
    samples: int = 50,
    sensitive: int = 5,
    seed: int = 0,
) -> Attributions:
    """What each part of a query contributes to the answer that an adapted learner gives.

    Explained are the log odds of a class against all others (or its probability), or a predicted number. A part that is
    not there is replaced by the baseline's. Contributions of ``"integrated gradients"`` and ``"shapley"`` add up to the
    difference of the value to that of the baseline; those of ``"occlusion"`` and ``"saliency"`` need not.

    Args:
        learner: any that sees each query alone; it is run in evaluation mode and left in the mode it had.
        support: of the task, ``[N, *F]`` and ``[N, D]``.
        x: queries ``[Q, *F]``.
        method: ``"integrated gradients"``, ``"saliency"`` (the derivative times the way to the baseline),
            ``"occlusion"`` or ``"shapley"`` (exact up to 12 parts), see
            :func:`innerloop.evidence.parts.contributions`.
        target: the column that is explained, one or one for each query; default the answer (of numbers the first).
        of: of classes, what is explained.
        baseline: ``"support"``, the mean of the support inputs; ``"zeros"``; or inputs ``[*F]``, or several
            ``[R, *F]``, over which the value is averaged.
        patch: of images, the side of a part in pixels; default 1 with a derivative, a seventh of the image without.
        groups: of other inputs, the part that each number belongs to, int64 ``[*F]``, from 0 without a gap; default
            each number is one.
        names: of the parts.
        classes: what the columns are called.
        temperature: that raw predictions of classes are divided by.
        steps: of integrated gradients.
        samples: sets of parts that are taken away to find the infidelity; 0 leaves it out.
        sensitive: changes of the query that are tried to find the sensitivity, each of which is one more attribution;
            0 leaves it out.
        seed: of all that is drawn.

    Raises:
        InputError: for inputs that do not fit, a column that there is not, a method that needs a derivative where there
            is none, a learner whose prediction depends on the other queries, or where captum is not installed.

    Example:
        >>> import innerloop as il
        >>> support = il.Examples(torch.tensor([[0.0, 0.0], [4.0, 0.0]]), torch.eye(2))
        >>> found = attribute(il.learners.Prototypes(), support, torch.tensor([[4.0, 9.0]]))
        >>> found[0].values.round(2).tolist(), found[0].answer
        ([16.0, 0.0], 1)

    References:
        Sundararajan, Taly, Yan, *Axiomatic Attribution for Deep Networks*, ICML 2017,
        https://arxiv.org/abs/1703.01365. Zeiler, Fergus, *Visualizing and Understanding Convolutional Networks*, ECCV
        2014 (occlusion). Yeh et al., *On the (In)fidelity and Sensitivity of Explanations*, NeurIPS 2019,
        https://arxiv.org/abs/1901.09392.
    """
    check_method(method)
    if tuple(x.shape[1:]) != tuple(support.x.shape[1:]) or not len(x):
        raise InputError(
            f"queries are {tuple(x.shape)}, support inputs {tuple(support.x.shape)}: give at least one query [Q, *F] "
            f"with the same F"
        )
    asked = Asked(method, steps, samples, sensitive, seed)
    grouped, grid = parts_of(x[0], method, patch, groups)
    away, called = _baseline(baseline, support.x)
    radius = RADIUS * float(support.x.max() - support.x.min())
    classifies = learner.likelihood.classifies
    told = list(classes) if classes is not None else list(range(support.y.shape[1]))
    found = []
    with evaluating(learner):
        if learner.transductive:
            raise InputError(
                f"{type(learner).__name__} predicts a query by the other queries too, so that no part of one query "
                f"stands for its answer: convert its norm (innerloop.norm.convert(learner, 'support')), or take another"
            )
        with torch.no_grad():
            state = learner.adapt(support)
            mean = learner.likelihood.mean(learner.predict(state, x))
        for row, column, said in zip(x, _targets(target, mean, classifies), mean, strict=True):

            def score(inputs: Tensor, column: int = column) -> Tensor:
                return value_of(learner.likelihood, learner.predict(state, inputs), column, of, temperature)

            def parts(query: Tensor, score: Callable[[Tensor], Tensor] = score) -> Parts:
                return TensorParts(score, query, away, grouped, grid)

            described = Described(
                answer=told[column] if classifies else float(said[column]),
                of=of if classifies else "number",
                baseline=called,
                names=tuple(map(str, names)) if names is not None else None,
                picture=row.detach().cpu().numpy() if grid is not None else None,
                patch=patch_of(row, method, patch) if grid is not None else 1,
            )
            found.append(asked.attribution(parts(row), described, (row, parts, radius)))
    return Attributions(tuple(found))


@dataclass(frozen=True)
class Asked:
    """How contributions are found, and how they are checked; the arguments are those of :func:`attribute`."""

    method: str
    steps: int = 50
    samples: int = 50
    sensitive: int = 5
    seed: int = 0
    orders: int = 50

    def attribution(
        self, parts: Parts, described: Described, moved: tuple[Tensor, Callable[[Tensor], Parts], float] | None = None
    ) -> Attribution:
        """The contributions of parts, and how true they are.

        Args:
            parts: what is explained.
            described: what is said of it.
            moved: the query ``[*F]``, the parts of another query like it, and by how much its numbers are moved to find
                the sensitivity; ``None`` where there is no small change.
        """

        def found(of: Parts) -> tuple[Tensor, Tensor | None]:
            return contributions(of, self.method, steps=self.steps, orders=self.orders, seed=self.seed)

        values, error = found(parts)
        whole, nothing = parts.at(parts.whole), parts.at(0 * parts.whole)
        unfaithful = infidelity(parts, values, samples=self.samples, seed=self.seed) if self.samples else None
        sensitive = None
        if self.sensitive and moved is not None and moved[0].isfinite().all() and moved[2] > 0:
            x, other, radius = moved
            sensitive = sensitivity(
                lambda query: found(other(query))[0], x, radius=radius, samples=self.sensitive, seed=self.seed
            )
        shape = parts.grid or (parts.count,)
        return Attribution(
            values=values.cpu().numpy().reshape(shape),
            error=None if error is None else error.cpu().numpy().reshape(shape),
            value=whole,
            nothing=nothing,
            method=self.method,
            infidelity=unfaithful and unfaithful[0],
            unexplained=unfaithful and unfaithful[1],
            sensitivity=sensitive,
            described=described,
        )


def value_of(likelihood: Likelihood, raw: Tensor, column: int, of: Of, temperature: float = 1.0) -> Tensor:
    """What is explained of raw predictions ``[S, B, P]``: ``[B]``.

    Args:
        likelihood: what they mean.
        raw: of B inputs.
        column: the class, or the column of numbers.
        of: ``"log odds"`` of the class against all others, or its ``"probability"``; nothing for numbers.
        temperature: that raw predictions of classes are divided by.

    Raises:
        InputError: for something else to be explained.

    Example:
        >>> import innerloop as il
        >>> value_of(il.Categorical(), torch.tensor([[[3.0, 1.0]]]), 0, "log odds")
        tensor([2.])
    """
    if not likelihood.classifies:
        return likelihood.mean(raw)[:, column]
    if of not in ("log odds", "probability"):
        raise InputError(f"of={of!r} is unknown: choose 'log odds' or 'probability'")
    raw = raw / temperature
    if of == "probability":
        return likelihood.mean(raw)[:, column]
    logits = answer_of(likelihood, raw, likelihood.mean(raw).shape[1])
    return log_odds(logits, torch.full_like(logits[:, 0], column, dtype=torch.int64))


def _targets(target: int | Sequence[int] | Tensor | None, mean: Tensor, classifies: bool) -> list[int]:
    """The column of each query."""
    queries, columns = mean.shape
    if target is None:
        return mean.argmax(1).tolist() if classifies else [0] * queries
    given = torch.as_tensor(target)
    wanted = (given.expand(queries) if given.ndim == 0 else given).tolist()
    if len(wanted) != queries or not all(isinstance(one, int) and 0 <= one < columns for one in wanted):
        raise InputError(
            f"target={target!r}: give one column of 0 to {columns - 1}, or one for each of the {queries} queries"
        )
    return wanted


def _baseline(baseline: Any, known: Tensor) -> tuple[Tensor, str]:
    """What stands for parts that are not there, ``[R, *F]``, and what that is called."""
    if isinstance(baseline, Tensor):
        rows = baseline.unsqueeze(0) if baseline.ndim == known.ndim - 1 else baseline
        if tuple(rows.shape[1:]) != tuple(known.shape[1:]):
            raise InputError(
                f"the baseline is {tuple(baseline.shape)}, an input {tuple(known.shape[1:])}: give [*F] or [R, *F]"
            )
        return rows.to(known), "inputs that were given"
    if baseline == "zeros":
        return torch.zeros_like(known[:1]), "zeros"
    if baseline != "support":
        raise InputError(f"baseline={baseline!r} is unknown: choose 'support' or 'zeros', or give inputs")
    return known.mean(0, keepdim=True), "the mean of the support set"
