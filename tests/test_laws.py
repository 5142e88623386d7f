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
from innerloop.data import Sampler

pytestmark = pytest.mark.parametrize("case", CASES, ids=str)


def learner_of(case: Case, device: torch.device, seed: int = 0) -> il.Learner:
    """The row's learner in float64 and evaluation mode."""
    torch.manual_seed(seed)
    return case.make().double().to(device).eval()


def tasks_of(sampler: Sampler, device: torch.device, seed: int = 0, count: int = 5) -> il.Task:
    """A batch of tasks in float64."""
    drawn = sampler.draw(Generator().manual_seed(seed), count)
    return pytree.tree_map(lambda leaf: leaf.double().to(device), drawn)


#: So many tasks, in chunks of two, make a chunk that is full and one that is not.
LIFTED = 3


def declared(holds: bool, law: Callable[..., None], *arguments: object) -> None:
    """The law holds where the row declares it, and only there: broken by what it compares, not by another error."""
    if holds:
        law(*arguments)
    else:
        with pytest.raises(laws.LawBroken):
            law(*arguments)


def test_lifting_changes_no_loss(case: Case, device: torch.device) -> None:
    """A loop = vmap, chunked = whole: loss and gradient."""
    learner = learner_of(case, device).train(case.alone)
    laws.assert_lifting_changes_no_loss(learner, tasks_of(case.train(), device, count=LIFTED))


def test_lifting_changes_no_prediction(case: Case, device: torch.device) -> None:
    """A loop = vmap, chunked = whole, and both equal the learner run task by task by hand."""
    tasks = tasks_of(case.test(), device, count=LIFTED)
    laws.assert_lifting_changes_no_prediction(learner_of(case, device), tasks)


def test_lifting_changes_no_fold(case: Case, device: torch.device) -> None:
    """A loop = vmap where states are folded on."""
    laws.assert_lifting_changes_no_fold(learner_of(case, device), tasks_of(case.test(), device, count=LIFTED))


def test_backward_is_the_gradient(case: Case, device: torch.device) -> None:
    """``backward`` gives the gradient of the mean loss, or of the sum, where the row has something to train."""
    learner = learner_of(case, device).train(case.alone)
    tasks = tasks_of(case.train(), device, count=LIFTED)
    if case.untrained:
        laws.assert_nothing_to_train(learner, tasks)
    else:
        laws.assert_backward_is_the_gradient(learner, tasks)


def test_loss_of_a_task_is_its_own(case: Case, device: torch.device) -> None:
    """In training mode a task's loss does not depend on the other tasks of its batch, where declared."""
    learner, tasks = learner_of(case, device).train(), tasks_of(case.train(), device)
    declared(case.alone, laws.assert_loss_is_its_own, learner, tasks)


def test_folds(case: Case, device: torch.device) -> None:
    """adapt(B, adapt(A)) = adapt(A and B), where declared."""
    task = laws.one(tasks_of(case.test(), device), 0)
    declared(case.folds, laws.assert_folds, learner_of(case, device), task)


def test_support_order_is_free(case: Case, device: torch.device) -> None:
    """The order of the support examples does not matter, where declared."""
    task = laws.one(tasks_of(case.test(), device), 0)
    declared(case.order_free, laws.assert_support_order_is_free, learner_of(case, device), task)


def test_relabeling_permutes(case: Case, device: torch.device) -> None:
    """Renaming the classes renames the predictions, where declared; a single column has no other name."""
    task = laws.one(tasks_of(case.test(), device), 0)
    assert (case.relabels is None) == (task.support.y.shape[1] == 1)
    if case.relabels is not None:
        declared(case.relabels, laws.assert_relabeling_permutes, learner_of(case, device), task)


def test_gradient_everywhere(case: Case, device: torch.device) -> None:
    """A gradient reaches every meta-parameter that it can reach."""
    learner, tasks = learner_of(case, device).train(case.alone), tasks_of(case.train(), device)
    if case.untrained:
        laws.assert_nothing_to_train(learner, tasks)
    else:
        laws.assert_gradient_everywhere(learner, tasks, case.exempt)


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


def test_evaluation_is_by_hand(case: Case, device: torch.device) -> None:
    """Evaluation, which embeds a pool once, scores what adapting to each task by hand scores."""
    laws.assert_evaluation_is_by_hand(case.make().to(device), case.test())


def test_prediction_is_deterministic(case: Case, device: torch.device) -> None:
    """Outside training, the same task gives the same predictions, to the bit, and uses no random number."""
    learner, task = learner_of(case, device), laws.one(tasks_of(case.test(), device), 0)
    before = torch.get_rng_state()
    assert torch.equal(laws.predict(learner, task), laws.predict(learner, task))
    assert torch.equal(torch.get_rng_state(), before)


def test_resumed_is_uninterrupted(case: Case, device: torch.device, tmp_path: Path) -> None:
    """Interrupted and resumed = uninterrupted, bit for bit: Adam, cosine, clipping, averaged weights, dropout."""
    if case.untrained:
        laws.assert_training_is_refused(case.make(), case.train(), tmp_path, device=device)
    else:
        laws.assert_resumed_is_uninterrupted(case.make, case.train(), tmp_path, tasks_per_step=2, device=device)


def test_learns(case: Case, device: torch.device) -> None:
    """It beats its untrained self on held-out tasks; what is not trained, itself adapted to another task."""
    if case.untrained:
        laws.assert_adapting_helps(case.make().to(device), case.test(), case.margin)
    else:
        laws.assert_learns(case.make(), case.train(), case.test(), case.margin, **{"device": device, **case.fit})
