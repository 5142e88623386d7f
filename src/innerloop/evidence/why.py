"""Why an answer: the evidence of each example, exactly, by refits without it.

With few examples a refit is one pass, so what an example did to an answer is not estimated: the answer is computed
again without it. Head, hyperparameters and temperature stay as they were chosen with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from innerloop.core.device import device_of
from innerloop.core.learner import Learner
from innerloop.core.task import Examples, InputError
from innerloop.evidence.agreement import agreement
from innerloop.evidence.cheap import alike, cheap_evidence
from innerloop.evidence.explanation import Explanation
from innerloop.evidence.judging import check_explained, embedded, judging, tells_classes
from innerloop.evidence.reasons import Floats, Reason, Turn
from innerloop.evidence.refits import answered, others
from innerloop.evidence.shapley import Shapley, shares
from innerloop.evidence.turns import log_odds, turning

#: What is learned from each of some subsets of one size says to some queries: int64 ``[B, M]``, a slice of the queries
#: to logits or numbers ``[B, Q, D]``.
Refits = Callable[[Tensor, slice], Tensor]


class Shown(NamedTuple):
    """How a reason names things, and what it is told beside the refits."""

    names: npt.NDArray[Any]
    """Of the examples, ``[N]``."""
    similarity: Floats
    """Of queries and examples, ``[Q, N]``."""
    cheap: Mapping[str, Floats] = {}
    """Evidence without refits by name, ``[Q, N]`` each."""
    shown: int = 5
    """Examples in each list of the text."""


def explain(
    what: Any,
    support: Examples | tuple[Any, Any] | None = None,
    x: Any = None,
    *,
    classes: Sequence[Any] | None = None,
    names: Sequence[Any] | None = None,
    column: int = 0,
    temperature: float = 1.0,
    shown: int = 5,
    turn: bool = True,
    shapley: bool = False,
    groups: Sequence[Sequence[int]] | None = None,
) -> Explanation:
    """Why queries get their answers: what each support example did to each, exactly, by refits without it.

    Beside the exact leave-one-out there are what a learner has by itself without a refit (distances to prototypes,
    relation scores, attention, gradients: :mod:`innerloop.evidence.cheap`), each with its rank correlation with the
    exact one, and on request Shapley values.

    Args:
        what: a learner; or an estimator of this library, fitted or not.
        support: for a learner :class:`~innerloop.Examples` ``x [N, *F]``, ``y [N, D]``; for an estimator that is not
            fitted ``(X, y)``; ``None`` for a fitted one, which has its own.
        x: queries ``[Q, *F]``; for an estimator as at its ``predict``.
        classes: for a learner, what the columns of y are called; default their places.
        names: for a learner, what the examples are called; default their places.
        column: for a learner of several numbers, which one is explained.
        temperature: for a learner, what logits are divided by.
        shown: examples in each list of the text.
        turn: whether to search a smallest set of examples without which the answer is another one (greedily).
        shapley: whether to share each answer out among the examples too, over all orders of coming: exactly up to 12
            examples or groups, by random orders with their standard error beyond.
        groups: places of examples that come and go together, for the Shapley values.

    Returns:
        a sequence of reasons, which print as text, show as tables in a notebook, and are plain values by ``json()``.

    Raises:
        InputError: for fewer than two examples, a learner whose answer to a query depends on the other queries, and
            whatever does not fit.

    Example:
        >>> import innerloop as il
        >>> support = il.Examples(torch.tensor([[1.0], [3.0], [8.0]]), torch.eye(2)[[0, 0, 1]])
        >>> learner = il.ProtoNet(torch.nn.Identity())
        >>> found = il.explain(learner, support, torch.tensor([[4.5]]), classes=["low", "high"])
        >>> print(found)
        low, probability 0.998
          for it:
            +6.000  low  1
          against it:
            -inf  high  2
            -4.000  low  0
          nearest: low  1
          nearest of another label: high  2
          without refits, rank correlation with this: prototypes +1.00, similarity +1.00

    References:
        Koh, Liang, *Understanding Black-box Predictions via Influence Functions*, ICML 2017,
        https://arxiv.org/abs/1703.04730 (what leave-one-out is approximated by elsewhere). Shapley, *A Value for
        n-Person Games*, 1953. Ghorbani, Zou, *Data Shapley*, ICML 2019, https://arxiv.org/abs/1904.02868.
    """
    if not isinstance(what, Learner):
        return _of_estimator(what, support, x, k=shown, turn=turn, shapley=shapley)
    if not isinstance(support, Examples) or not isinstance(x, Tensor):
        raise InputError(
            f"the support is a {type(support).__name__} and x a {type(x).__name__}: a learner is explained on "
            f"il.Examples(x, y), which il.examples(x, labels, ways=...) makes, and a tensor of queries"
        )
    device = device_of(what)
    support, x = Examples(*(part.to(device) for part in support)), x.to(device)
    check_explained(what, support, x)
    called = np.array(range(len(support.x)) if names is None else list(names))
    if len(called) != len(support.x):
        raise InputError(f"names has {len(called)} entries for {len(support.x)} examples: give one for each")
    if tells_classes(what.likelihood, support.y):
        labels = np.array(range(support.y.shape[1]) if classes is None else list(classes))
        if len(labels) != support.y.shape[1]:
            raise InputError(f"classes has {len(labels)} entries for {support.y.shape[1]} columns: give one for each")
        return explain_classes(
            what, support, x, classes=labels, names=called, temperature=temperature, shown=shown, turn=turn,
            shapley=shapley, groups=groups,
        )  # fmt: skip
    if not 0 <= column < support.y.shape[1]:
        raise InputError(f"column is {column}, the targets have 0 to {support.y.shape[1] - 1}")
    return _explain_column(what, support, x, column, called, shown, shapley, groups)


def explain_classes(
    learner: Learner,
    support: Examples,
    x: Tensor,
    *,
    classes: npt.NDArray[Any],
    names: npt.NDArray[Any],
    similarity: Floats | None = None,
    temperature: float = 1.0,
    shown: int = 5,
    turn: bool = True,
    shapley: bool = False,
    groups: Sequence[Sequence[int]] | None = None,
) -> Explanation:
    """Why a learner gives queries their classes.

    Args:
        learner: any that is not transductive.
        support: examples ``[N, *F]``, one-hot rows ``[N, D]``.
        x: queries ``[Q, *F]``.
        classes: the labels of the columns, ``[D]``.
        names: of the examples, ``[N]``.
        similarity: of queries and examples, ``[Q, N]``; default as the learner sees them.
        temperature: that logits are divided by.
        shown: examples in each list of the text.
        turn: whether to search what would have to go for another answer.
        shapley: whether to share the probabilities out too.
        groups: places of examples that share together.

    Example:
        >>> import innerloop as il
        >>> support = Examples(torch.tensor([[1.0], [3.0], [8.0]]), torch.eye(2)[[0, 0, 1]])
        >>> found = explain_classes(
        ...     il.learners.Prototypes(),
        ...     support,
        ...     torch.tensor([[5.2]]),
        ...     classes=np.array(["low", "high"]),
        ...     names=np.array(["one", "three", "eight"]),
        ... )
        >>> print(found)
        high, probability 0.917
          for it:
            +inf  high  eight
            +5.400  low  one
          against it:
            -7.400  low  three
          nearest: low  three
          it would be low without eight
          without refits, rank correlation with this: prototypes +1.00, similarity +1.00
    """
    with judging(learner):
        learner, support, x = embedded(learner, support, x)
        refits = _refits_of(learner, support, x)
        answers = refits(torch.arange(len(support.x), device=x.device)[None], slice(None))[0].argmax(1)
        near = alike(learner, support, x) if similarity is None else similarity
        cheap = {name: _numpy(found) for name, found in cheap_evidence(learner, support, x, answers).items()}
        told = Shown(names, near, cheap, shown)
        return reasons_of_classes(refits, support.y, len(x), classes, told, temperature, turn, shapley, groups)


def reasons_of_classes(
    refits: Refits,
    y: Tensor,
    queries: int,
    classes: npt.NDArray[Any],
    told: Shown,
    temperature: float = 1.0,
    turn: bool = True,
    shapley: bool = False,
    groups: Sequence[Sequence[int]] | None = None,
) -> Explanation:
    """Why queries get their classes from whatever can be refitted.

    Args:
        refits: to subsets of the examples.
        y: one-hot rows of the examples, ``[N, D]``.
        queries: Q.
        classes: the labels of the columns, ``[D]``.
        told: how things are named, and what is told beside.
        temperature: that logits are divided by.
        turn: whether to search what would have to go for another answer.
        shapley: whether to share the probabilities out too.
        groups: places of examples that share together.
    """
    every = slice(0, queries)
    raw = refits(torch.arange(len(y), device=y.device)[None], every)[0] / temperature
    without = _without(refits, y, every) / temperature
    answers = raw.argmax(1)
    odds, left = log_odds(raw, answers), log_odds(without, answers)
    evidence = torch.where(odds == left, 0, odds - left)
    proba = raw.softmax(1).gather(1, answers.unsqueeze(1))[:, 0]
    index = answers.view(1, -1, 1).expand(len(without), -1, 1)
    shift = proba - without.softmax(2).gather(2, index)[:, :, 0]
    shared, groups = _shares(refits, y, every, answers, temperature, True, shapley, groups)
    labels, plain = classes[_numpy(y).argmax(1)], classes.tolist()
    reasons = []
    for row, answer in enumerate(answers.tolist()):
        turned = None
        if turn:
            here = slice(row, row + 1)
            turned = turning(lambda part, here=here: refits(part, here)[:, 0], y, answer, without[:, row])  # type: ignore[misc]
        reasons.append(
            _reason(
                plain[answer], float(proba[row]), _numpy(evidence[:, row]), _numpy(shift[:, row]), labels, told, row,
                turned and Turn(turned[0], plain[turned[1]]), shared, groups,
            )
        )  # fmt: skip
    return Explanation(tuple(reasons))


def explain_numbers(
    predicted: Floats,
    without: Floats,
    targets: Floats,
    *,
    names: npt.NDArray[Any],
    similarity: Floats,
    shown: int = 5,
    cheap: Mapping[str, Floats] | None = None,
) -> Explanation:
    """Why queries get their numbers.

    Args:
        predicted: with all examples, ``[Q]``.
        without: with all but each of them, ``[N, Q]``.
        targets: of the examples, ``[N]``.
        names: of the examples, ``[N]``.
        similarity: of queries and examples, ``[Q, N]``.
        shown: examples in each list of the text.
        cheap: evidence without refits by name, ``[Q, N]`` each.

    Example:
        >>> found = explain_numbers(
        ...     np.array([2.0]),
        ...     np.array([[3.0], [1.0]]),
        ...     np.array([1.0, 3.0]),
        ...     names=np.array(["a", "b"]),
        ...     similarity=np.array([[-1.0, -2.0]]),
        ... )
        >>> found[0].supporting.tolist(), found[0].contradicting
        ([1], 0)
    """
    return _numbers(predicted, without, targets, Shown(names, similarity, cheap or {}, shown), None, None)


def _numbers(
    predicted: Floats,
    without: Floats,
    targets: Floats,
    told: Shown,
    shared: Shapley | None,
    groups: Sequence[Sequence[int]] | None,
) -> Explanation:
    evidence = predicted[:, None] - without.T
    return Explanation(
        tuple(
            _reason(float(one), None, evidence[row], evidence[row], targets, told, row, None, shared, groups)
            for row, one in enumerate(predicted)
        )
    )


def _explain_column(
    learner: Learner,
    support: Examples,
    x: Tensor,
    column: int,
    names: npt.NDArray[Any],
    shown: int,
    shapley: bool,
    groups: Sequence[Sequence[int]] | None,
) -> Explanation:
    """Why a learner predicts a number."""
    with judging(learner):
        learner, support, x = embedded(learner, support, x)
        refits, every = _refits_of(learner, support, x), slice(0, len(x))
        columns = torch.full((len(x),), column, device=x.device)
        cheap = {name: _numpy(found) for name, found in cheap_evidence(learner, support, x, columns).items()}
        predicted = refits(torch.arange(len(support.x), device=x.device)[None], every)[0, :, column]
        without = _without(refits, support.y, every)[:, :, column]
        shared, groups = _shares(refits, support.y, every, columns, 1.0, False, shapley, groups)
        told = Shown(names, alike(learner, support, x), cheap, shown)
    return _numbers(_numpy(predicted), _numpy(without), _numpy(support.y[:, column]), told, shared, groups)


def _reason(
    answer: Any,
    probability: float | None,
    evidence: Floats,
    shift: Floats,
    labels: npt.NDArray[Any],
    told: Shown,
    row: int,
    turn: Turn | None,
    shared: Shapley | None,
    groups: Sequence[Sequence[int]] | None,
) -> Reason:
    cheap = {name: values[row] for name, values in told.cheap.items()}
    return Reason(
        answer,
        probability,
        evidence,
        shift,
        told.similarity[row],
        labels,
        told.names,
        turn,
        _numpy(shared.values[row]) if shared else None,
        _numpy(shared.error[row]) if shared else None,
        tuple(map(tuple, groups)) if groups is not None else None,
        cheap,
        {name: agreement(values, evidence) for name, values in cheap.items()},
        told.shown,
    )


def _refits_of(learner: Learner, support: Examples, x: Tensor) -> Refits:
    return lambda subsets, rows: answered(learner, support, subsets, x[rows])


def _without(refits: Refits, y: Tensor, every: slice) -> Tensor:
    """What is said without each example, ``[N, Q, D]``."""
    if len(y) < 2:
        raise InputError(f"{len(y)} example: without it there is nothing that was learned; give two at least")
    return refits(others(len(y), y.device), every)


def _shares(
    refits: Refits,
    y: Tensor,
    every: slice,
    columns: Tensor,
    temperature: float,
    classes: bool,
    shapley: bool,
    groups: Sequence[Sequence[int]] | None,
) -> tuple[Shapley | None, Sequence[Sequence[int]] | None]:
    if not shapley and groups is None:
        return None, None
    found = shares(
        lambda subsets: refits(subsets, every), y, columns, classes=classes, temperature=temperature, groups=groups
    )
    return found, groups


def _of_estimator(what: Any, support: Any, x: Any, **options: Any) -> Explanation:
    if not (hasattr(what, "explain") and hasattr(what, "fit")):
        raise InputError(
            f"{type(what).__name__} cannot be explained: give a learner, or one of il.FewShotClassifier, "
            f"FewShotRegressor, InContextClassifier and InContextRegressor"
        )
    if support is not None:
        from sklearn.base import clone

        if not (isinstance(support, tuple | list) and len(support) == 2):
            raise InputError(f"the support is a {type(support).__name__}: give an estimator (X, y), to be fitted to")
        what = clone(what).fit(*support)
    if x is None:
        raise InputError("there are no queries: give x, as at the estimator's predict")
    found: Explanation = what.explain(x, **options)
    return found


def _numpy(found: Tensor) -> Floats:
    values: Floats = found.detach().double().cpu().numpy()
    return values
