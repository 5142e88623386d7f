"""Why an answer: the evidence of each example, exactly, by refits without it.

With few examples a refit is one pass, so what an example did to an answer is not estimated: the answer is computed
again without it. Head, hyperparameters and temperature stay as they were chosen with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from innerloop.core.device import device_of
from innerloop.core.learner import Learner
from innerloop.core.task import Examples, InputError
from innerloop.evidence.cheap import alike, cheap_evidence
from innerloop.evidence.explanation import Explanation
from innerloop.evidence.judging import check_explained, embedded, judging, tells_classes
from innerloop.evidence.reasoned import Refits, Shown, numpy_of, reasons_of_classes, reasons_of_numbers
from innerloop.evidence.reasons import Floats
from innerloop.evidence.refits import answered


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
        return _of_estimator(what, support, x, {"k": shown, "turn": turn, "shapley": shapley, "groups": groups})
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
        cheap = {name: numpy_of(found) for name, found in cheap_evidence(learner, support, x, answers).items()}
        told = Shown(names, near, cheap, shown)
        return reasons_of_classes(refits, support.y, len(x), classes, told, temperature, turn, shapley, groups)


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
        columns = torch.full((len(x),), column, device=x.device)
        cheap = {name: numpy_of(found) for name, found in cheap_evidence(learner, support, x, columns).items()}
        told, refits = Shown(names, alike(learner, support, x), cheap, shown), _refits_of(learner, support, x)
        return reasons_of_numbers(refits, support.y, len(x), told, shapley, groups, column)


def _refits_of(learner: Learner, support: Examples, x: Tensor) -> Refits:
    return lambda subsets, rows: answered(learner, support, subsets, x[rows])


def _of_estimator(what: Any, support: Any, x: Any, options: dict[str, Any]) -> Explanation:
    if not (hasattr(what, "explain") and hasattr(what, "fit")):
        raise InputError(
            f"{type(what).__name__} cannot be explained: give a learner, or one of il.FewShotClassifier, "
            f"FewShotRegressor, InContextClassifier and InContextRegressor"
        )
    if x is None:
        raise InputError(
            "there are no queries: give x, as at the estimator's predict; one that is fitted has its support set, "
            "il.explain(few, x=queries)"
        )
    if support is not None:
        from sklearn.base import clone

        if not (isinstance(support, tuple | list) and len(support) == 2):
            raise InputError(f"the support is a {type(support).__name__}: give an estimator (X, y), to be fitted to")
        what = clone(what).fit(*support)
    # A number has no turn.
    taken = signature(what.explain).parameters
    found: Explanation = what.explain(x, **{name: value for name, value in options.items() if name in taken})
    return found
