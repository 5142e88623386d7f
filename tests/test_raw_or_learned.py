"""Raw inputs and learned features, weighed for each task by pairs of examples that are left out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import innerloop as il
from innerloop.core.facts import Facts
from innerloop.core.task import InputError
from innerloop.evidence import leave_one_out
from innerloop.learners import LogisticRegression, Prototypes, RawOrLearned, Ridge, Stacked, Tanimoto
from innerloop.learners.head import Head
from innerloop.nets import Beside, NetSpec

HEADS = {
    "prototypes": lambda: Prototypes(),
    "cosines": lambda: Prototypes(distance="cosine"),
    "ridge": lambda: Ridge(),
    "tanimoto": lambda: Tanimoto(),
}


def examples(counts: tuple[int, ...] = (3, 2, 4), size: int = 6) -> il.Examples:
    """Uneven classes in random order, in float64."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels))]
    return il.Examples(torch.rand(len(labels), size).double(), il.one_hot(labels, len(counts)).double())


@pytest.mark.parametrize("name", HEADS)
def test_pairs_that_are_left_out_are_refits_without_them(name: str) -> None:
    head, support = HEADS[name]().double(), examples((3, 2, 1))
    with torch.no_grad():
        found = head.held_out_pairs(support)
        for i, one in enumerate(support.y):
            for j, other in enumerate(support.y):
                if one @ other == 0:
                    kept = [n for n in range(len(support.x)) if n not in (i, j)]
                    state = head.adapt(il.Examples(support.x[kept], support.y[kept]))
                    torch.testing.assert_close(found[i, j], head.predict(state, support.x[i : i + 1])[0, 0])


@pytest.mark.parametrize("head", [LogisticRegression(), Prototypes()])
def test_heads_without_a_closed_form_are_refitted(head: Head) -> None:
    """The margins are those of a loop; a class with a single example tells nothing."""
    support = examples((3, 2, 1))
    margins, told = Stacked([head.double()], parts=[(0, 6)]).margins(support)
    labels = support.y.argmax(1)
    for i in range(6):
        for j in range(i + 1, 6):
            c, d = labels[i], labels[j]
            assert bool(told[i, j]) == (c != d and 2 not in (c, d))
            if told[i, j]:
                kept = [n for n in range(6) if n not in (i, j)]
                with torch.no_grad():
                    state = head.adapt(il.Examples(support.x[kept], support.y[kept]))
                    one, other = head.predict(state, support.x[[i, j]])[0]
                torch.testing.assert_close(margins[0, i, j], one[c] - one[d] + other[d] - other[c])


def test_weights_are_at_the_optimum_of_the_penalized_likelihood() -> None:
    support = examples((5, 4))
    support = il.Examples(support.x + 2 * support.y[:, :1], support.y)
    head = Stacked([Prototypes(), Ridge()], parts=[(0, 3), (3, 6)], prior=[0.7, 0.3], strength=2.0).double()
    head.typical.copy_(torch.tensor([0.5, 2.0]))
    margins, told = head.margins(support)
    rows, size = margins / head.typical.view(-1, 1, 1), len(support.x)
    weights = (head.adapt(support).weights * head.typical).requires_grad_()
    fit = nn.functional.logsigmoid(torch.einsum("h,hij->ij", weights, rows)) * told
    loss = (weights - torch.tensor([0.7, 0.3], dtype=torch.float64)).square().sum() - size * fit.sum() / told.sum()
    assert told.sum() == 20
    torch.testing.assert_close(torch.autograd.grad(loss, weights)[0], torch.zeros(2).double(), rtol=0, atol=1e-9)


def two_kinds(noisy: int) -> il.Task:
    """Tasks of two classes that show in one half of the numbers; the other half is noise."""
    y = torch.eye(2).repeat(8, 1).expand(50, -1, -1)

    def part() -> il.Examples:
        halves = [1.2 * y[..., 1:] + torch.randn(50, 16, 3), torch.randn(50, 16, 3)]
        return il.Examples(torch.cat(halves[::-1] if noisy == 0 else halves, 2), y)

    return il.Task(part(), part())


@pytest.mark.parametrize("noisy", [0, 1])
def test_what_knows_nothing_of_a_task_counts_little(noisy: int) -> None:
    torch.manual_seed(0)
    task = two_kinds(noisy)
    head = Stacked([Prototypes(), Prototypes()], parts=[(0, 3), (3, 6)]).eval()
    head.calibrate([two_kinds(0), two_kinds(1)])
    alike = Stacked([Prototypes(), Prototypes()], parts=[(0, 3), (3, 6)], strength=1e6).eval()
    alike.typical.copy_(head.typical)

    def right(learner: il.Learner) -> Tensor:
        raw = torch.func.vmap(lambda s, x: learner.predict(learner.adapt(s), x)[0])(task.support, task.query.x)
        return (raw.argmax(2) == task.query.y.argmax(2)).float().mean()

    weights = torch.func.vmap(lambda s: head.adapt(s).weights)(task.support) * head.typical
    assert (weights[:, 1 - noisy] > weights[:, noisy]).float().mean() > 0.9
    assert right(head) > right(alike) + 0.005


def test_one_example_a_class_leaves_the_prior() -> None:
    head = Stacked([Prototypes(), Prototypes()], parts=[(0, 3), (3, 6)], prior=[0.75, 0.25]).double()
    assert head.adapt(examples((1, 1, 1))).weights.tolist() == [0.75, 0.25]


def test_beyond_many_examples_one_is_left_out() -> None:
    support = examples((40, 40))
    head = Stacked([Prototypes()], parts=[(0, 6)])
    margins, _ = head.margins(support)
    alone = leave_one_out(Prototypes(), support)
    i, j = 3, int((support.y[:, 0] != support.y[3, 0]).nonzero()[0, 0])
    c, d = support.y[i].argmax(), support.y[j].argmax()
    torch.testing.assert_close(margins[0, i, j], alone[i, c] - alone[i, d] + alone[j, d] - alone[j, c])


def test_tanimoto_is_kernel_ridge_regression_on_shared_bits() -> None:
    x, y = torch.randint(0, 2, (9, 20)).double(), torch.eye(3).double().repeat(3, 1)
    kernel = torch.tensor([[float((a * b).sum() / ((a + b) > 0).sum()) for b in x] for a in x]).double()
    head = Tanimoto(penalty=0.2, scale=1.0)
    got = head.predict(head.adapt(il.Examples(x, y)), x)[0]
    middle = torch.eye(9).double() - 1 / 9
    centered = middle @ kernel @ middle
    wanted = centered @ torch.linalg.solve(centered + 0.2 * torch.eye(9).double(), y - y.mean(0)) + y.mean(0)
    torch.testing.assert_close(got, wanted)


def test_it_takes_a_trained_learner_as_it_is_and_is_kept(tmp_path: Path) -> None:
    proto = il.ProtoNet(il.nets.mlp(6, 8, 4))
    learner = RawOrLearned(*proto.split(), inputs=6).eval()
    support = il.Examples(torch.rand(6, 6), torch.eye(2).repeat(3, 1))
    learner.calibrate([il.Task(*(il.Examples(p.x.unsqueeze(0), p.y.unsqueeze(0)) for p in (support, support)))])
    assert learner.backbone() is proto.encoder
    assert (learner.split()[1].typical > 0).all()
    il.save(tmp_path / "kept", learner)
    loaded = il.load(tmp_path / "kept")
    assert torch.equal(learner.proba(learner.adapt(support), support.x), loaded.proba(loaded.adapt(support), support.x))


def test_a_recipe_builds_it_from_facts() -> None:
    molecules = Facts("molecules", (32,), 2, "classification", ("inactive", "active"))
    heads = RawOrLearned.from_facts(molecules, NetSpec("mlp", options={"width": [8, 4]})).split()[1].heads
    assert [type(one).__name__ for one in heads] == ["Prototypes", "Tanimoto", "Ridge"]
    images = Facts("images", (1, 28, 28), 5, "classification")
    learner = RawOrLearned.from_facts(images, NetSpec("conv4", options={"width": 4}))
    assert learner.split()[1].parts == ((0, 4), (4, 4 + 784))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stacked([], parts=[]), "0 heads and 0 parts"),
        (lambda: Stacked([Prototypes()], parts=[(2, 2)]), "a part from 2 to 2"),
        (lambda: Stacked([Prototypes()], parts=[(0, 2)], prior=[1.0, 2.0]), "one for each of the 1 heads"),
        (lambda: Stacked([Prototypes()], parts=[(0, 2)], strength=-1.0), "numbers of 0 or more"),
        (lambda: RawOrLearned(nn.Identity(), inputs=3), "sizes are unknown"),
        (lambda: Tanimoto(penalty=0.0), "penalty of the Tanimoto kernel"),
        (lambda: Beside(nn.Identity(), features=0, inputs=3), "at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]
