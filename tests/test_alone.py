"""Whether an example is seen by itself is tried, where types do not tell."""

from __future__ import annotations

import laws
import pytest
import torch
from cases import episodes
from torch import Generator, Tensor, nn
from torch.nn import functional as F

import innerloop as il
from innerloop.core.alone import folds, looks_at_other_queries


class Standardized(nn.Module):
    """Batch norm by a function, which no list of layers knows."""

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, training=True)


class Sorted(nn.Module):
    """Looks at the other examples without normalizing anything."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.max(0).values


def encoder(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), *layers, nn.Linear(16, 16))


@pytest.mark.parametrize(
    ("layer", "alone"),
    [
        (nn.Identity(), True),
        (nn.LayerNorm(16), True),
        (nn.BatchNorm1d(16), True),
        (nn.Dropout(), True),
        (Standardized(), False),
        (Sorted(), False),
        (nn.BatchNorm1d(16, track_running_stats=False), False),
        (il.norm.SupportNorm(16), False),
    ],
    ids=repr,
)
def test_an_encoder_folds_if_it_sees_each_example_alone(layer: nn.Module, alone: bool) -> None:
    """Outside training, in any number of examples above one; the encoder stays as it was."""
    net = encoder(layer)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    for count in (2, 3, 9):
        assert folds(net, torch.randn(count, 8)) == alone
    assert all(part.training for part in net.modules())
    laws.assert_same(net.state_dict(), before)


@pytest.mark.parametrize("layer", [Standardized(), Sorted()], ids=repr)
def test_evaluation_reports_what_it_finds(layer: nn.Module) -> None:
    """A score that depends on the other queries is transductive; the examples are embedded task by task, as by hand."""
    sampler = episodes("blobs", "test")()
    learner = il.ProtoNet(encoder(layer))
    assert not learner.transductive
    report = il.evaluate(learner, sampler, tasks=6, open=False)
    assert report.transductive
    assert str(report).endswith("norm none, transductive")
    tasks = sampler.draw(Generator().manual_seed(0), 6)
    answers = [laws.predict(learner, laws.one(tasks, t))[0].argmax(1) for t in range(6)]
    hits = [float((a == tasks.query.y[t].argmax(1)).float().mean()) for t, a in enumerate(answers)]
    assert list(report.per_task["accuracy"]) == pytest.approx(hits)
    assert not il.evaluate(il.ProtoNet(encoder()), sampler, tasks=2, open=False).transductive


@pytest.mark.parametrize("layer", [Standardized(), Sorted()], ids=repr)
def test_training_runs_such_an_encoder_task_by_task(layer: nn.Module) -> None:
    """A task's loss does not depend on the other tasks of its batch; half precision is refused by name."""
    learner, tasks = il.ProtoNet(encoder(layer)).double(), episodes("blobs", "train")().draw(Generator(), 4)
    tasks = il.Task(*(il.Examples(part.x.double(), part.y.double()) for part in tasks))
    alone = torch.stack([learner.loss(laws.one(tasks, t)) for t in range(4)])
    for how in ("loop", "vmap", "auto"):
        torch.testing.assert_close(il.lift(learner, how).loss(tasks), alone)
    with pytest.raises(il.InputError, match="in Sequential the features of an example change with the others"):
        il.lift(learner, precision="bfloat16").backward(tasks)


class Centered(il.ProtoNet):
    """Subtracts the mean of the queries: transductive, and says so."""

    looks_at_queries = True


class Wrapper(il.Learner):
    """Says nothing of what is within."""

    def __init__(self, within: il.Learner) -> None:
        super().__init__(within.likelihood)
        self.within = within

    def adapt(self, support: il.Examples, state: object = None) -> object:
        return self.within.adapt(support, state)

    def predict(self, state: object, x: Tensor) -> Tensor:
        return self.within.predict(state, x - x.mean(0) if isinstance(self.within, Centered) else x)


def test_transductivity_is_that_of_all_learners_within() -> None:
    """No wrapper has to hand it on."""
    assert Wrapper(Centered(encoder())).transductive
    assert not Wrapper(il.ProtoNet(encoder())).transductive
    task = laws.one(episodes("blobs", "test")().draw(Generator(), 1), 0)
    assert looks_at_other_queries(Wrapper(Centered(encoder())), task)
    assert not looks_at_other_queries(Wrapper(il.ProtoNet(encoder(nn.Dropout()))), task)


def test_one_query_tells_nothing() -> None:
    """There is nothing to compare it with."""
    task = laws.one(episodes("blobs", "test", queries=1)().draw(Generator(), 1), 0)
    alone = il.Task(task.support, il.Examples(task.query.x[:1], task.query.y[:1]))
    assert not looks_at_other_queries(il.ProtoNet(encoder(Sorted())), alone)
    assert looks_at_other_queries(il.ProtoNet(encoder(Sorted())), task)
