"""Refits of any learner, many at a time, against the naive loop: adapt to a subset, predict, in float64."""

from __future__ import annotations

import pytest
import torch
from cases import CASES, Case
from torch import Tensor

import innerloop as il
from innerloop.evidence import answered, leave_one_out, others
from innerloop.evidence.judging import answer_of, tells_classes

#: One of each family, and each that runs its refits in a way of its own.
NAMES = [
    "protonet-euclidean", "protonet-support", "protonet-running", "relationnet-scores", "relationnet-squared-error",
    "maml", "maml-three-steps", "maml-inner-adam", "maml-sinusoid", "maml-group", "maml-support", "reptile-minibatches",
    "finetune", "versa", "statistician", "cnp", "np", "tnp", "in-context", "in-context-regression", "anil", "metasgd",
    "mamlplusplus", "mamlplusplus-support",
    "cavia", "gradient-learner", "imaml",
]  # fmt: skip
KNOWN = {case.name: case for case in CASES}


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    return KNOWN[request.param]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def task_of(case: Case, queries: int = 3) -> tuple[il.Learner, il.Examples, Tensor]:
    """A learner in float64, a support set of at most eight examples and some queries."""
    learner = case.make().double()
    (xs, ys), (xq, _) = case.test().draw(torch.Generator().manual_seed(3), 1)
    return learner, il.Examples(xs[0, :8].double(), ys[0, :8].double()), xq[0, :queries].double()


def by_hand(learner: il.Learner, support: il.Examples, kept: Tensor, x: Tensor) -> Tensor:
    learner.eval()
    with torch.no_grad():
        raw = learner.predict(learner.adapt(il.Examples(support.x[kept], support.y[kept])), x)
    classes = support.y.shape[1] if tells_classes(learner.likelihood, support.y) else None
    return answer_of(learner.likelihood, raw, classes)


def test_answers_are_those_of_a_plain_loop(case: Case) -> None:
    learner, support, x = task_of(case)
    learner.train()
    next(reversed(list(learner.modules()))).eval()
    modes = [part.training for part in learner.modules()]
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    kept = others(len(support.x))[[0, 3, 5]]
    found, own = answered(learner, support, kept, x), leave_one_out(learner, support)
    assert [part.training for part in learner.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    assert not found.requires_grad
    for row, subset in enumerate(kept):
        torch.testing.assert_close(found[row], by_hand(learner, support, subset, x), rtol=1e-6, atol=1e-8)
    for row, subset in enumerate(others(len(support.x))):
        expected = by_hand(learner, support, subset, support.x[row : row + 1])[0]
        torch.testing.assert_close(own[row], expected, rtol=1e-6, atol=1e-8)


def test_what_no_refit_explains_is_refused() -> None:
    learner, support, x = task_of(KNOWN["protonet-batch"])
    with pytest.raises(il.InputError, match=r"ProtoNet is transductive \(norm batch\)"):
        answered(learner, support, others(8), x)
    learner, support, x = task_of(KNOWN["maml"])
    with pytest.raises(il.InputError, match="transductive"):
        leave_one_out(il.MAML(il.nets.conv4((1, 8, 8), width=4, norm="batch", out=3, pools=2)), support)
    with pytest.raises(il.InputError, match="no example"):
        answered(learner, il.Examples(support.x[:0], support.y[:0]), others(8), x)
    with pytest.raises(il.InputError, match=r"queries are \(3, 7\)"):
        answered(learner, support, others(8), x[:, :7])
    with pytest.raises(il.InputError, match="0 to 5"):
        answered(learner, support, torch.tensor([[0, 8]]), x)
    with pytest.raises(il.InputError, match="others"):
        leave_one_out(learner, il.Examples(support.x[:1], support.y[:1]))
