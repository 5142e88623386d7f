"""Every law over every learner. The laws are in ``laws.py``, the learners in ``cases.py``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import laws
import pytest
import torch
from cases import CASES, Case
from torch import Generator
from torch.utils import _pytree as pytree

import innerloop as il
from innerloop.data import FewShot, Sampler

pytestmark = pytest.mark.parametrize("case", CASES, ids=str)


def learner_of(case: Case, device: torch.device, seed: int = 0) -> il.Learner:
    """The row's learner in float64 and evaluation mode."""
    torch.manual_seed(seed)
    return case.make().double().to(device).eval()


def tasks_of(sampler: Sampler, device: torch.device, seed: int = 0, count: int = 5) -> il.Task:
    """A batch of tasks in float64."""
    drawn = sampler.draw(Generator().manual_seed(seed), count)
    return pytree.tree_map(lambda leaf: leaf.double().to(device), drawn)


def declared(holds: bool, law: Callable[..., None], *arguments: object) -> None:
    """The law holds where the row declares it, and only there."""
    if holds:
        law(*arguments)
    else:
        with pytest.raises(AssertionError):
            law(*arguments)


def test_lifting_changes_no_loss(case: Case, device: torch.device) -> None:
    """A loop = vmap, chunked = whole: loss and gradient."""
    learner = learner_of(case, device).train(case.alone)
    laws.assert_lifting_changes_no_loss(learner, tasks_of(case.train(), device))


def test_lifting_changes_no_prediction(case: Case, device: torch.device) -> None:
    """A loop = vmap, chunked = whole, and both equal the learner run task by task by hand."""
    laws.assert_lifting_changes_no_prediction(learner_of(case, device), tasks_of(case.test(), device))


def test_backward_is_the_gradient(case: Case, device: torch.device) -> None:
    """``backward`` gives the gradient of the mean loss, or of the sum."""
    learner = learner_of(case, device).train(case.alone)
    laws.assert_backward_is_the_gradient(learner, tasks_of(case.train(), device))


def test_loss_of_a_task_is_its_own(case: Case, device: torch.device) -> None:
    """In training mode a task's loss does not depend on the other tasks of its batch, where declared."""
    learner, tasks = learner_of(case, device).train(), tasks_of(case.train(), device)
    lifted = il.lift(learner, "vmap")
    first = pytree.tree_map(lambda leaf: leaf[:1], tasks)
    together, alone = lifted.loss(tasks)[:1], lifted.loss(first)
    assert torch.allclose(together, alone, **laws.CLOSE) == case.alone


def test_folds(case: Case, device: torch.device) -> None:
    """adapt(B, adapt(A)) = adapt(A and B), where declared."""
    task = laws.one(tasks_of(case.test(), device), 0)
    declared(case.folds, laws.assert_folds, learner_of(case, device), task)


def test_support_order_is_free(case: Case, device: torch.device) -> None:
    """The order of the support examples does not matter, where declared."""
    task = laws.one(tasks_of(case.test(), device), 0)
    declared(case.order_free, laws.assert_support_order_is_free, learner_of(case, device), task)


def test_relabeling_permutes(case: Case, device: torch.device) -> None:
    """Renaming the classes renames the predictions, where declared."""
    task = laws.one(tasks_of(case.test(), device), 0)
    declared(case.relabels, laws.assert_relabeling_permutes, learner_of(case, device), task)


def test_gradient_everywhere(case: Case, device: torch.device) -> None:
    """A gradient reaches every meta-parameter that it can reach."""
    learner = learner_of(case, device).train(case.alone)
    laws.assert_gradient_everywhere(learner, tasks_of(case.train(), device), case.exempt)


def test_learner_survives_saving(case: Case, device: torch.device, tmp_path: Path) -> None:
    """Saved and loaded weights predict the same, to the bit."""
    task = laws.one(tasks_of(case.test(), device), 0)
    learner, other = learner_of(case, device), learner_of(case, device, seed=1)
    laws.assert_learner_survives_saving(learner, other, task, tmp_path / "learner.safetensors")


def test_state_survives_saving(case: Case, device: torch.device, tmp_path: Path) -> None:
    """A saved and loaded state predicts the same, to the bit."""
    tasks = tasks_of(case.test(), device)
    path = tmp_path / "state.safetensors"
    laws.assert_state_survives_saving(learner_of(case, device), laws.one(tasks, 0), laws.one(tasks, 1), path)


def test_evaluation_changes_nothing(case: Case, device: torch.device) -> None:
    """No parameter, buffer or mode changes while a learner is evaluated."""
    laws.assert_evaluation_changes_nothing(case.make().to(device), case.test())


def test_policy_and_transduction_are_said(case: Case, device: torch.device) -> None:
    """The norm policy is the declared one; predictions depend on the other queries exactly if the learner says so."""
    learner = learner_of(case, device)
    assert learner.norm == case.norm
    assert learner.transductive == case.transductive
    task = laws.one(tasks_of(case.test(), device), 0)
    declared(not case.transductive, laws.assert_queries_are_judged_alone, learner, task)
    report = il.evaluate(case.make().to(device), case.test(), tasks=2, how="vmap", open=False)
    assert (report.norm, report.transductive) == (case.norm, case.transductive)


def test_embedding_once_changes_nothing(case: Case, device: torch.device) -> None:
    """Embedding a pool once scores what embedding each episode scores."""
    sampler = case.test()
    if not isinstance(sampler, FewShot):
        pytest.skip("functions are drawn afresh, there is no pool to embed")
    laws.assert_embedding_once_changes_nothing(case.make().to(device), sampler)


def test_prediction_is_deterministic(case: Case, device: torch.device) -> None:
    """Outside training, the same task gives the same predictions, to the bit, and uses no random number."""
    learner, task = learner_of(case, device), laws.one(tasks_of(case.test(), device), 0)
    before = torch.get_rng_state()
    assert torch.equal(laws.predict(learner, task), laws.predict(learner, task))
    assert torch.equal(torch.get_rng_state(), before)


def test_resumed_is_uninterrupted(case: Case, device: torch.device, tmp_path: Path) -> None:
    """Interrupted and resumed = uninterrupted, bit for bit: Adam, cosine, clipping, averaged weights, dropout."""
    laws.assert_resumed_is_uninterrupted(case.make, case.train(), tmp_path, tasks_per_step=2, device=device)


def test_learns(case: Case, device: torch.device) -> None:
    """It beats its untrained self on held-out tasks by the row's margin."""
    laws.assert_learns(case.make(), case.train(), case.test(), case.margin, **{"device": device, **case.fit})
