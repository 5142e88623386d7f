"""Evidence that a learner has by itself, without a refit: cheap, of its own unit, and judged beside the exact one.

Each gives ``[Q, N]``, larger where an example speaks more for the query's answer. What a learner has is registered for
its class by :func:`own_evidence`, so one's own learner brings its own. With ``s`` the log odds of the query's answer
(or the predicted number), ``l`` the logits and ``a`` the answer:

- **prototypes**, **state**: a learner whose state is a sum over examples, ``S = sum_i s_i``, loses ``s_i`` with
  example i, so ``s(S) - s(S - s_i)`` is ``<ds/dS, s_i>`` to first order. For class means m of n examples and squared
  distances that is ``2 (z - m) . (z_i - m) / n``: how far the example draws its prototype towards the query. An
  example that is alone in its class takes the class with it, which is counted exactly.
- **relations**: the logit of a class is the sum of its examples' relation scores r_i, so an example's share of the log
  odds is ``r_i`` for the answer's class, and ``-r_i p_c / (1 - p_a)`` for another class c.
- **attention**: what the query's target reads of each training row, the mean over blocks and heads, with the sign of
  the row's class (of its target against the prediction).
- **inner steps**, **gradient**, **prior gradient**: an inner step against an example's gradient g_i changes s by
  ``-<ds/dphi, g_i>`` for each unit of the rate (times the rates, where they are learned). With ds/dphi where the inner
  loop ends, g_i is summed over the places where the inner steps were taken (of one step that is the exact derivative
  by the example's weight), or taken where it ends; or both are taken where the task starts.
- **representer**: in a linear classifier on features at a stationary point of its loss, ``l`` is a sum over examples of
  ``(y_i - p_i) <z_i, z>``.
- **similarity**: how alike query and example are for the learner, with the sign of the example's class: near examples
  of the answer speak for it, near examples of other classes against it.

References:
    Snell, Swersky, Zemel, *Prototypical Networks*, NeurIPS 2017, https://arxiv.org/abs/1703.05175. Sung et al.,
    *Learning to Compare*, CVPR 2018, https://arxiv.org/abs/1711.06025. Koh, Liang, *Understanding Black-box
    Predictions via Influence Functions*, ICML 2017, https://arxiv.org/abs/1703.04730. Pruthi et al., *Estimating
    Training Data Influence by Tracing Gradient Descent*, NeurIPS 2020, https://arxiv.org/abs/2002.08484. Yeh et al.,
    *Representer Point Selection for Explaining Deep Neural Networks*, NeurIPS 2018, https://arxiv.org/abs/1811.09720.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from innerloop.core.inner import LearnedRates, Parameters
from innerloop.core.learner import Learner, State
from innerloop.core.task import Examples, InputError, Task
from innerloop.evidence.descents import example_gradients
from innerloop.evidence.folding import hidden
from innerloop.evidence.judging import answer_of, embedded, judging, tells_classes
from innerloop.evidence.similar import likeness, nearness
from innerloop.evidence.turns import log_odds
from innerloop.learners.embedded import Embedded
from innerloop.learners.generative.anp import ANP, CANP
from innerloop.learners.generative.pfn import InContext
from innerloop.learners.heads.linear import SoftmaxRegression
from innerloop.learners.heads.logistic import LogisticRegression
from innerloop.learners.heads.prototypes import Prototypes
from innerloop.learners.metric.relationnet import Relations, evened
from innerloop.learners.optimization.gradient import Adapted, GradientLearner
from innerloop.nets.attention import attention_of, heads_of

#: By name, ``[Q, N]`` each.
Evidence = dict[str, Tensor]


def cheap_evidence(learner: Learner, support: Examples, x: Tensor, answers: Tensor | None = None) -> Evidence:
    """All that a learner has by itself on what each support example is worth to each answer.

    Args:
        learner: any that is not transductive; it answers in evaluation mode, and its modes are left as they are.
        support: examples ``[N, *F]``, rows ``[N, D]``.
        x: queries ``[Q, *F]``.
        answers: the class of each query, or its column of numbers, int64 ``[Q]``; default what is answered, and the
            first column.

    Returns:
        by name, ``[Q, N]`` each, larger where the example speaks more for the answer (pulls the number up more).

    Example:
        >>> import innerloop as il
        >>> support = Examples(torch.tensor([[1.0], [3.0], [8.0]]), torch.eye(2)[[0, 0, 1]])
        >>> found = cheap_evidence(il.learners.Prototypes(), support, torch.tensor([[4.0]]))
        >>> {name: values[0].argmax().item() for name, values in found.items()}
        {'prototypes': 1, 'similarity': 1}
    """
    with judging(learner):
        learner, support, x = embedded(learner, support, x)
        if answers is None:
            said = _answer(learner, learner.adapt(support), support, x)
            classes = tells_classes(learner.likelihood, support.y)
            answers = said.argmax(1) if classes else torch.zeros_like(said[:, 0], dtype=torch.int64)
        if isinstance(learner, Embedded):
            # Its features depend on the support set: they are those of all of it.
            y = support.y.new_zeros(len(x), support.y.shape[1])
            (known, _), (asked, _) = learner.embed(Task(support, Examples(x, y)))
            learner, support, x = learner.head, Examples(known, support.y), asked
        found = own_evidence(learner, support, x, answers)
        return {**found, "similarity": similarity(learner, support, x, answers)}


@singledispatch
def own_evidence(learner: Learner, support: Examples, x: Tensor, answers: Tensor) -> Evidence:
    """What a learner of a class has beside similarity: by its state, where that is a sum over examples.

    Register what a class of one's own has: a function of the same arguments. It runs in evaluation mode, without a
    graph, on features where the learner's encoder sees each example alone.

    Args:
        learner: the learner, or what is behind its encoder.
        support: examples, or their features, ``[N, *F]``, and rows ``[N, D]``.
        x: queries ``[Q, *F]``.
        answers: the class of each query, or its column of numbers, int64 ``[Q]``.

    Example:
        >>> import innerloop as il
        >>> class Nearest(il.learners.NearestNeighbor):
        ...     '''By the nearest neighbor.'''
        >>> @own_evidence.register
        ... def _(learner: Nearest, support, x, answers):
        ...     own = support.y[:, answers].mT
        ...     return {"neighbors": own / torch.cdist(x, support.x)}
        >>> support = Examples(torch.tensor([[1.0], [3.0]]), torch.eye(2))
        >>> cheap_evidence(Nearest(), support, torch.tensor([[2.0]]))["neighbors"]
        tensor([[1., 0.]])
    """
    found = _by_state(learner, support, x, answers)
    return {} if found is None else {"state": found}


@own_evidence.register
def _of_prototypes(learner: Prototypes, support: Examples, x: Tensor, answers: Tensor) -> Evidence:
    found = _by_state(learner, support, x, answers)
    assert found is not None
    logits = learner.predict(learner.adapt(support), x)[0]
    alone = (support.y @ support.y.sum(0)) == 1
    return {"prototypes": torch.where(alone, _without_class(logits, answers) @ support.y.mT, found)}


@own_evidence.register
def _of_relations(learner: Relations, support: Examples, x: Tensor, answers: Tensor) -> Evidence:
    logits = _answer(learner, learner.adapt(support), support, x)
    slope = _slope(logits, answers)
    slope = slope * evened(support.y.sum(0)) if learner.combine == "scores" else slope
    return {"relations": learner.relation(x, support.x) * (slope @ support.y.mT)}


@own_evidence.register
def _of_tables(learner: InContext, support: Examples, x: Tensor, answers: Tensor) -> Evidence:
    read = learner.attention(learner.encode(learner.adapt(support)), x).mean((0, 1)).to(support.y.dtype)
    return {"attention": read * _signs(learner, support, x, answers)}


@own_evidence.register(ANP)
@own_evidence.register(CANP)
def _of_attention(learner: ANP | CANP, support: Examples, x: Tensor, answers: Tensor) -> Evidence:
    keys = learner.adapt(support).memory.keys
    read = attention_of(heads_of(learner.encoder.key(x), learner.encoder.heads), keys).mean(0)
    return {"attention": read * _signs(learner, support, x, answers)}


@own_evidence.register
def _of_descent(learner: GradientLearner, support: Examples, x: Tensor, answers: Tensor) -> Evidence:
    adapted = learner.adapt(support)
    if not (learner.adapts and isinstance(adapted, Adapted)):
        return {}
    path = [{k: p.detach() for k, p in own.items()} for own in learner.path(support, learner.test_steps)]
    prior = learner.state_of(path[0], support)
    steps = [_inner(learner, learner.of_step(own, step), support, step) for step, own in enumerate(path[:-1])]
    taken = {k: torch.stack([step[k] for step in steps]).sum(0) for k in learner.adapts} if steps else None
    slopes = _slopes(learner, adapted, support, x, answers)
    found = {} if taken is None else {"inner steps": _products(slopes, taken)}
    found["gradient"] = _products(slopes, _inner(learner, path[-1], support, learner.test_steps))
    first = steps[0] if steps else _inner(learner, path[0], support, 0)
    return {**found, "prior gradient": _products(_slopes(learner, prior, support, x, answers), first)}


@own_evidence.register(SoftmaxRegression)
@own_evidence.register(LogisticRegression)
def _of_linear(
    learner: SoftmaxRegression | LogisticRegression, support: Examples, x: Tensor, answers: Tensor
) -> Evidence:
    state: State = learner.adapt(support)
    missing = support.y - _answer(learner, state, support, support.x).softmax(1)
    slope = _slope(_answer(learner, state, support, x), answers)
    z, known = (F.normalize(part.flatten(1), dim=1) for part in (x, support.x))
    # The bias is a feature that is always 1.
    return {"representer": (slope @ missing.mT) * (z @ known.mT + 1)}


def similarity(learner: Learner, support: Examples, x: Tensor, answers: Tensor) -> Tensor:
    """How alike queries and examples are, with the sign of the example's class: ``[Q, N]``.

    Args:
        learner: in evaluation mode, on what it sees.
        support: examples ``[N, *F]``, rows ``[N, D]``.
        x: queries ``[Q, *F]``.
        answers: the class of each query, or its column of numbers, int64 ``[Q]``.
    """
    near = alike(learner, support, x)
    # Cosines, or minus distances.
    share = (1 + near) / 2 if (near > 0).any() else nearness(near)
    return torch.from_numpy(share).to(support.y) * _signs(learner, support, x, answers)


def alike(learner: Learner, support: Examples, x: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """How near queries are to examples for the learner, ``[Q, N]``: see :func:`~innerloop.evidence.similar.likeness`.

    Args:
        learner: in evaluation mode, on what it sees.
        support: examples ``[N, *F]``, rows ``[N, D]``.
        x: queries ``[Q, *F]``.
    """
    known = support.x
    if isinstance(learner, GradientLearner) and isinstance(state := learner.adapt(support), Adapted):
        known, x = hidden(learner, state, known), hidden(learner, state, x)
    return likeness(learner, known, x)


def _answer(learner: Learner, state: State, support: Examples, x: Tensor) -> Tensor:
    classes = support.y.shape[1] if tells_classes(learner.likelihood, support.y) else None
    return answer_of(learner.likelihood, learner.predict(state, x), classes)


def _score(learner: Learner, state: State, support: Examples, x: Tensor, answer: Tensor) -> Tensor:
    """The log odds of a class, or a predicted number, of one query ``[*F]``."""
    said = _answer(learner, state, support, x.unsqueeze(0))[0]
    chosen = torch.arange(len(said), device=said.device) == answer
    if not tells_classes(learner.likelihood, support.y):
        return torch.where(chosen, said, 0).sum()
    # What no example speaks for has the logit minus infinity, and no part in this.
    said = said.clamp(min=torch.finfo(said.dtype).min / 4)
    return torch.where(chosen, said, 0).sum() - torch.where(chosen, -torch.inf, said).logsumexp(0)


def _by_state(learner: Learner, support: Examples, x: Tensor, answers: Tensor) -> Tensor | None:
    """To first order, where the state is a sum over the examples; ``None`` where it is not."""
    try:
        whole = learner.adapt(support)
        each = torch.func.vmap(lambda x, y: learner.adapt(Examples(x.unsqueeze(0), y.unsqueeze(0))))(*support)
    except (InputError, RuntimeError, ValueError):
        return None
    leaves, shape = pytree.tree_flatten(whole)
    parts, other = pytree.tree_flatten(each)
    if shape != other or not leaves or not all(_sums(part, leaf) for part, leaf in zip(parts, leaves, strict=True)):
        return None

    def score(leaves: list[Tensor], x: Tensor, answer: Tensor) -> Tensor:
        return _score(learner, pytree.tree_unflatten(leaves, shape), support, x, answer)

    slopes = torch.func.vmap(torch.func.grad(score), in_dims=(None, 0, 0))(leaves, x, answers)
    products = [_flat(slope) @ _flat(part).mT for slope, part in zip(slopes, parts, strict=True)]
    return torch.stack(products).sum(0)


def _flat(rows: Tensor) -> Tensor:
    return rows.reshape(len(rows), -1)


def _sums(part: Tensor, whole: Tensor) -> bool:
    if not (isinstance(part, Tensor) and whole.is_floating_point() and part.shape[1:] == whole.shape):
        return False
    return torch.allclose(part.sum(0), whole, rtol=1e-3, atol=1e-5 * float(whole.abs().max()))


def _slopes(learner: GradientLearner, state: Adapted, support: Examples, x: Tensor, answers: Tensor) -> Parameters:
    """Of the log odds (the number) by what adapts, for each query, ``[Q, ...]`` by name."""
    own = {k: p.detach() for k, p in state.parameters.items()}

    def score(phi: Parameters, x: Tensor, answer: Tensor) -> Tensor:
        return _score(learner, state._replace(parameters={**own, **phi}), support, x, answer)

    slope: Callable[..., Parameters] = torch.func.vmap(torch.func.grad(score), in_dims=(None, 0, 0))
    return slope({k: own[k] for k in learner.adapts}, x, answers)


def _inner(learner: GradientLearner, own: Parameters, support: Examples, step: int) -> Parameters:
    """Of each example's inner loss by what adapts, times a step's learned rates, if any: ``[N, ...]`` by name."""
    found = example_gradients(learner, own, support)
    if isinstance(learner.inner, LearnedRates):
        return {k: learner.inner.rate(k, step).to(g) * g for k, g in found.items()}
    return found


def _products(slopes: Parameters, inner: Parameters) -> Tensor:
    return -torch.stack([_flat(slope) @ _flat(inner[k]).mT for k, slope in slopes.items()]).sum(0)


def _slope(logits: Tensor, answers: Tensor) -> Tensor:
    """The derivative of the log odds by each logit, ``[Q, D]``: 1 for the answer, minus each other's share."""
    chosen = F.one_hot(answers, logits.shape[1]).bool()
    rest = logits.masked_fill(chosen, -torch.inf).softmax(1).nan_to_num()
    return chosen.to(logits.dtype) - rest


def _without_class(logits: Tensor, answers: Tensor) -> Tensor:
    """What each class adds to the log odds of the answer by being there, ``[Q, D]``: all for the answer itself."""
    odds = log_odds(logits, answers).unsqueeze(1)
    chosen = F.one_hot(answers, logits.shape[1]).bool()
    eye = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    without = logits.unsqueeze(1).masked_fill(eye, -torch.inf)
    rest = without.masked_fill(chosen.unsqueeze(1), -torch.inf).logsumexp(2)
    own = logits.masked_fill(~chosen, -torch.inf).amax(1, keepdim=True)
    # A large number in the place of infinity, which a product with 0 would not survive.
    most = torch.finfo(logits.dtype).max ** 0.5
    return torch.where(chosen, most, (odds - (own - rest)).clamp(-most, most))


def _signs(learner: Learner, support: Examples, x: Tensor, answers: Tensor) -> Tensor:
    """Of each example for each query, ``[Q, N]``: 1 and -1 by class, or how far its number lies above what is said."""
    if tells_classes(learner.likelihood, support.y):
        return 2 * support.y[:, answers].mT - 1
    said = _answer(learner, learner.adapt(support), support, x).gather(1, answers.unsqueeze(1))
    return support.y[:, answers].mT - said
