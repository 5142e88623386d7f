"""What is given in place of a network, a learner, a sampler or a tensor is refused at the door, by its kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import innerloop as il
from innerloop.data.fixed import nested
from innerloop.evidence.answers import answers
from innerloop.evidence.quality import score_evidence
from innerloop.learners.tempered import Tempered
from innerloop.learners.under_views import OverViews, UnderViews


def network() -> nn.Sequential:
    return il.nets.mlp(4, 8, 3)


def looped(net: Any) -> None:
    with il.inner_loop(net, il.inner.SGD(lr=0.1)):
        pass


@pytest.mark.parametrize("made", [il.MAML, il.Reptile, il.ANIL, il.MAMLPlusPlus, il.MetaSGD, il.ProtoNet, looped])
def test_what_is_no_network(made: Callable[[Any], object]) -> None:
    with pytest.raises(il.InputError, match=r"the class Linear is no network: give an object of it, Linear\(\.\.\.\)"):
        made(nn.Linear)
    with pytest.raises(il.InputError, match=r"type int is no network: give a torch\.nn\.Module"):
        made(3)


def test_a_norm_policy_is_of_a_network() -> None:
    with pytest.raises(il.InputError, match="type str is no network"):
        il.norm.convert("conv4", "support")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "use",
    [
        il.lift,
        Tempered,
        OverViews,
        lambda net: UnderViews(net, flip=True),
        lambda net: il.evaluate(net, il.data.Sinusoid(), tasks=2),
        lambda net: il.fit(net, il.data.Sinusoid(), steps=1),
    ],
)
def test_what_is_no_learner(use: Callable[[Any], object]) -> None:
    with pytest.raises(il.InputError, match=r"a learner, not a Sequential: il\.ProtoNet\(network\), say"):
        use(network())


def test_what_is_no_sampler() -> None:
    learner = il.ProtoNet(network())
    for use in (lambda: il.evaluate(learner, [], tasks=2), lambda: il.fit(learner, [], steps=1)):
        with pytest.raises(il.InputError, match="sampler is a list: give what draws tasks"):
            use()


@pytest.mark.parametrize("array", [np.asarray, np.ndarray.tolist])
def test_examples_that_are_no_tensors(array: Callable[[Any], Any]) -> None:
    """One task, and a batch of them."""
    learner = il.ProtoNet(network())
    x, y = np.zeros((4, 4), dtype=np.float32), np.eye(2, dtype=np.float32).repeat(2, 0)
    kind = type(array(x)).__name__
    with pytest.raises(il.InputError, match=rf"the support set's x is a {kind}, and examples are tensors"):
        learner.adapt(il.Examples(array(x), torch.from_numpy(y)))
    with pytest.raises(il.InputError, match=rf"the support set's y is a {kind}, and examples are tensors"):
        learner.adapt(il.Examples(torch.from_numpy(x), array(y)))
    known = il.Examples(torch.from_numpy(x[None]), torch.from_numpy(y[None]))
    with pytest.raises(il.InputError, match=rf"the query set's x is a {kind}, and examples are tensors"):
        il.lift(learner).loss(il.Task(known, il.Examples(array(x[None]), array(y[None]))))


@pytest.mark.parametrize("rule", [torch.optim.SGD, torch.optim.Adam([torch.zeros(1, requires_grad=True)]), "SGD"])
def test_what_is_no_inner_optimizer(rule: Any) -> None:
    kind = rule.__name__ if isinstance(rule, type) else type(rule).__name__
    match = rf"^{kind} is no inner optimizer: give one of il\.inner"
    with pytest.raises(il.InputError, match=match), il.inner_loop(network(), rule):
        pass


@pytest.mark.parametrize(
    "made",
    [
        lambda pool: il.FewShot(pool, ways=5, shots=1, queries=1),
        lambda pool: il.data.Batches(pool, size=4),
        il.data.Completion,
        lambda pool: il.data.ClassStream(pool, ways=5, shots=1, queries=1),
    ],
)
def test_a_data_set_in_place_of_one_of_its_splits(made: Callable[[Any], object]) -> None:
    with pytest.raises(
        il.InputError, match=r"a Pools is no pool of examples: give one split of a data set, pools\.train"
    ):
        made(il.data.glyphs())


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, "7", True])
def test_a_seed_is_what_a_generator_takes(seed: Any) -> None:
    blobs = il.Pool.of(torch.rand(24, 4), [i % 4 for i in range(24)])
    tasks = il.FewShot(blobs, ways=2, shots=1, queries=1)
    for use in (
        lambda: il.evaluate(il.ProtoNet(network()), tasks, tasks=2, seed=seed),
        lambda: nested(blobs, [1, 2], ways=2, queries=1, tasks=2, seed=seed),
        lambda: answers(il.ProtoNet(network()), tasks, tasks=2, seed=seed),
    ):
        with pytest.raises(il.InputError, match=re.escape(f"seed={seed!r} is no seed: give a whole number from 0 to")):
            use()


def test_a_seed_of_numpy_is_that_number() -> None:
    scores = [
        il.evaluate(
            il.MAML(il.nets.mlp(1, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0)),
            il.data.Sinusoid(),
            tasks=2,
            seed=seed,
        ).episodes
        for seed in (3, np.int64(3), 4)
    ]
    assert scores[0] == scores[1] != scores[2]


@pytest.mark.parametrize("inputs", [{"a": "one"}, {"a", "b"}, (word for word in "ab"), iter("ab")])
def test_inputs_without_an_order_or_for_one_reading_are_no_column(inputs: Any) -> None:
    with pytest.raises(il.InputError, match=rf"X is a {type(inputs).__name__}: give a list, an array or a column"):
        il.FewShotClassifier().fit(inputs, ["a", "b"])


def test_one_input_and_none_are_no_column() -> None:
    with pytest.raises(il.InputError, match="X is one str, 'a sentence': give a list, even of this one alone"):
        il.FewShotClassifier().fit("a sentence", ["a"])
    with pytest.raises(il.InputError, match="X is empty: give one input at least"):
        il.FewShotClassifier().fit([], [])


def test_a_fitted_estimator_is_asked_by_name() -> None:
    """What stands in the place of a support set is not taken apart for one."""
    few = il.FewShotClassifier().fit([[0.0], [1.0], [4.0], [5.0]], ["low", "low", "high", "high"])
    with pytest.raises(il.InputError, match=r"there are no queries: .* il\.explain\(few, x=queries\)"):
        il.explain(few, [[0.5], [4.5]])
    assert [reason.answer for reason in il.explain(few, x=[[0.5], [4.5]])] == ["low", "high"]


def test_the_largest_seed_serves_what_is_drawn_beside_the_tasks() -> None:
    """Seeds that are derived from it stay seeds."""
    last = 2**64 - 1
    blobs = il.Pool.of(torch.randn(24, 4, generator=torch.Generator().manual_seed(0)), [i % 4 for i in range(24)])
    tasks = il.FewShot(blobs, ways=2, shots=2, queries=2)
    found = answers(il.ProtoNet(network()), tasks, others={"strange": tasks}, tasks=2, seed=last)
    assert set(found.strangers) == {"strange"}
    assert score_evidence(il.learners.Prototypes(), tasks, tasks=2, orders=2, seed=last).most == 1
    replay = il.learners.ExperienceReplay(il.nets.mlp(4, 2), memory=2, replay=1, seed=last)
    batch = il.Examples(torch.zeros(2, 4), torch.eye(2))
    assert replay.predict(replay.adapt(batch, replay.adapt(batch)), batch.x).isfinite().all()
    with pytest.raises(il.InputError, match="no seed"):
        il.learners.ExperienceReplay(il.nets.mlp(4, 2), seed=-1)
