"""Scores of explanations: each against a naive version, a library, or what must hold of it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, spearmanr
from test_cli import Cli
from torch import Tensor

import innerloop as il
from innerloop.evidence import answered, leave_one_out
from innerloop.evidence.deletion import area, drawn_orders, greedy, own_first, removed
from innerloop.evidence.quality import LEFT_OUT, left_out, ranks_agree, score_evidence
from innerloop.evidence.ratios import ratio
from innerloop.evidence.scores import ANY
from innerloop.evidence.suspicion import (
    SUSPICIONS,
    by_evidence,
    influence,
    likeliest_other,
    mislabeled,
    relabel,
    relabeled,
)


def task(ways: int = 3, shots: int = 3, queries: int = 6, noise: float = 1.0) -> tuple[il.Examples, Tensor]:
    """Normal classes in float64: a support set, the class running fastest, and queries."""
    centers = 2 * torch.randn(ways, 4, dtype=torch.float64)
    places = torch.arange(ways * shots) % ways
    x = centers[places] + noise * torch.randn(ways * shots, 4, dtype=torch.float64)
    asked = centers[torch.arange(queries) % ways] + noise * torch.randn(queries, 4, dtype=torch.float64)
    return il.Examples(x, torch.eye(ways, dtype=torch.float64)[places]), asked


def raw_of(head: il.Learner, support: il.Examples, kept: list[int], x: Tensor) -> Tensor:
    """By what is learned from some examples alone."""
    return head.predict(head.adapt(il.Examples(support.x[kept], support.y[kept])), x)[0]


def own_log_p(raw: Tensor, y: Tensor) -> Tensor:
    return (raw.log_softmax(-1) * y).sum(-1)


def test_removal_is_that_of_plain_refits() -> None:
    support, x = task()
    head = il.learners.Prototypes()
    orders = torch.stack([torch.randperm(9) for _ in range(6)])
    found = removed(partial(answered, head, support, x=x), orders, 4)
    answers = raw_of(head, support, list(range(9)), x).argmax(1)
    for query in range(6):
        for gone in range(5):
            kept = sorted(set(range(9)) - set(orders[query, :gone].tolist()))
            raw = raw_of(head, support, kept, x[query : query + 1])[0]
            assert float(found.probability[query, gone]) == pytest.approx(float(raw.softmax(0)[answers[query]]))
            assert bool(found.turned[query, gone]) == (int(raw.argmax()) != int(answers[query]))


def test_several_orders_give_their_mean() -> None:
    support, x = task()
    asked = partial(answered, il.learners.Prototypes(), support, x=x)
    orders = drawn_orders(9, 6, 3, torch.Generator().manual_seed(0))
    each = [removed(asked, order, 2) for order in orders]
    both = removed(asked, orders, 2)
    torch.testing.assert_close(both.probability, torch.stack([one.probability for one in each]).mean(0))
    torch.testing.assert_close(both.turned, torch.stack([one.turned for one in each]).mean(0))
    torch.testing.assert_close(area(both, both), torch.zeros(6, dtype=torch.float64))


def test_removing_a_whole_class_turns_its_answer() -> None:
    support, x = task()
    head = il.learners.Prototypes()
    asked = partial(answered, head, support, x=x)
    answers = raw_of(head, support, list(range(9)), x).argmax(1)
    orders = own_first(drawn_orders(9, 6, 2, torch.Generator()), support.y, answers)
    assert (support.y.argmax(1)[orders[:, :, :3]] == answers.view(1, -1, 1)).all()
    assert (orders.sort(2).values == torch.arange(9)).all()
    assert (removed(asked, orders, 3).turned[:, 3] == 1).all()


def test_no_more_can_go_than_are_there() -> None:
    support, x = task()
    with pytest.raises(il.InputError, match="9 of 9"):
        removed(partial(answered, il.learners.Prototypes(), support, x=x), torch.arange(9).expand(6, -1), 9)


def test_greedy_removal_lowers_the_log_odds_most_at_each_step() -> None:
    support, x = task()
    head = il.learners.Prototypes()
    orders = greedy(partial(answered, head, support, x=x), 9, 2)
    assert (orders.sort(1).values == torch.arange(9)).all()
    answers = raw_of(head, support, list(range(9)), x).argmax(1)
    for query, answer in enumerate(answers.tolist()):
        gone: list[int] = []
        for step in range(2):
            odds = {}
            for place in set(range(9)) - set(gone):
                kept = sorted(set(range(9)) - {*gone, place})
                raw = raw_of(head, support, kept, x[query : query + 1])[0]
                rest = torch.arange(3) != answer
                odds[place] = float(raw[answer] - raw[rest].logsumexp(0))
            gone.append(min(odds, key=odds.__getitem__))
            assert int(orders[query, step]) == gone[-1]


def test_exact_evidence_is_that_of_plain_refits() -> None:
    support, x = task()
    head = il.learners.Ridge().double()
    answers = torch.tensor([0, 1, 2, 2, 1, 0])

    def odds(kept: list[int]) -> Tensor:
        p = raw_of(head, support, kept, x).softmax(1).gather(1, answers[:, None])[:, 0]
        return (p / (1 - p)).log()

    found = left_out(head, support, x, answers)
    for place in range(9):
        without = odds([other for other in range(9) if other != place])
        torch.testing.assert_close(found[:, place], odds(list(range(9))) - without)


def test_ranks_agree_as_scipy_says() -> None:
    one, other = np.random.default_rng(0).integers(0, 4, (2, 5, 12))
    spearman, kendall = ranks_agree(torch.from_numpy(one), torch.from_numpy(other))
    assert spearman == pytest.approx(np.mean([spearmanr(a, b).statistic for a, b in zip(one, other, strict=True)]))
    assert kendall == pytest.approx(np.mean([kendalltau(a, b).statistic for a, b in zip(one, other, strict=True)]))


def test_what_says_nothing_agrees_with_nothing() -> None:
    assert ranks_agree(torch.ones(2, 4), torch.arange(8.0).view(2, 4)) == (0.0, 0.0)
    assert ranks_agree(torch.tensor([[1.0, torch.inf, 0.0]]), torch.tensor([[2.0, 9.0, 1.0]])) == pytest.approx(
        (1.0, 1.0)
    )


def test_influence_is_that_of_plain_refits() -> None:
    support, _ = task()
    head, everyone = il.learners.Prototypes(), set(range(9))

    def loss(place: int, without: set[int]) -> float:
        raw = raw_of(head, support, sorted(everyone - without - {place}), support.x[place : place + 1])
        return float(own_log_p(raw, support.y[place : place + 1])[0])

    expected = [
        sum(loss(other, {place}) - loss(other, set()) for other in everyone - {place}) - loss(place, set())
        for place in range(9)
    ]
    torch.testing.assert_close(influence(head, support), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("head", [il.learners.Prototypes(), il.learners.LogisticRegression()])
def test_relabeling_is_that_of_plain_leave_one_out(head: il.learners.Head) -> None:
    support, _ = task(ways=2, shots=3)
    head = head.double().eval()
    before = float(own_log_p(leave_one_out(head, support), support.y).sum())
    codes = torch.tensor([1, 0, 1, 0, 1, 0])
    found = relabeled(head, support, codes)
    for place in range(6):
        y = support.y.clone()
        y[place] = torch.eye(2)[codes[place]]
        after = float(own_log_p(leave_one_out(head, il.Examples(support.x, y)), y).sum())
        assert float(found[place]) == pytest.approx(after - before, rel=1e-3, abs=1e-6)


def test_relabeling_without_a_closed_form_is_the_same() -> None:
    support, _ = task(ways=2, shots=3)

    class Plain(il.learners.Prototypes):
        """Leave-one-out by refits."""

        def held_out(self, support: il.Examples) -> None:
            return None

    class Refitted(il.Learner):
        """No head at all."""

        def __init__(self) -> None:
            super().__init__(il.Categorical())
            self.head = Plain()

        def adapt(self, support: il.Examples, state: object = None) -> object:
            return self.head.adapt(support)

        def predict(self, state: object, x: Tensor) -> Tensor:
            return self.head.predict(state, x)

    codes = torch.tensor([1, 0, 1, 0, 1, 0])
    plain, expected = Refitted().eval(), relabeled(il.learners.Prototypes(), support, codes)
    torch.testing.assert_close(relabeled(plain, support, codes), expected)
    torch.testing.assert_close(influence(plain, support), influence(il.learners.Prototypes(), support))


def test_relabeling_finds_the_example_and_its_true_label() -> None:
    support, _ = task(ways=4, shots=4, noise=0.3)
    generator = torch.Generator().manual_seed(1)
    head = il.learners.Prototypes()
    for _ in range(5):
        y, wrong = mislabeled(support.y, 1, generator)
        faulty = il.Examples(support.x, y)
        place = int(relabel(head, faulty).argmax())
        assert wrong[place]
        assert support.y[place, likeliest_other(leave_one_out(head, faulty), y)[place]] == 1


def test_wrong_labels_are_of_another_class_and_as_many_as_asked() -> None:
    y = torch.eye(4)[torch.arange(20) % 4]
    found, wrong = mislabeled(y, 3, torch.Generator().manual_seed(0))
    assert int(wrong.sum()) == 3
    assert ((found != y).any(1) == wrong).all()
    assert (found.sum(1) == 1).all()


def test_every_suspicion_finds_a_wrong_label_among_classes_far_apart() -> None:
    support, _ = task(ways=3, shots=4, noise=0.2)
    y, wrong = mislabeled(support.y, 1, torch.Generator().manual_seed(0))
    for name, score in SUSPICIONS.items():
        assert int(score(il.learners.Prototypes(), il.Examples(support.x, y)).argmax()) == int(wrong.int().argmax()), (
            name
        )


def test_evidence_without_refits_finds_it_too() -> None:
    support, _ = task(ways=3, shots=4, noise=0.2)
    y, wrong = mislabeled(support.y, 1, torch.Generator().manual_seed(0))
    for head in (il.learners.Prototypes(), il.learners.LogisticRegression().double()):
        found = by_evidence(head, il.Examples(support.x, y))
        assert len(found) == 2
        for name, score in found.items():
            assert wrong[int(score.argmax())], name


def test_relations_leave_one_out_by_leaving_out_a_column() -> None:
    head = il.learners.Relations(features=(4, 6, 6)).eval()
    support = il.Examples(torch.randn(6, 4, 6, 6), torch.eye(3).repeat(2, 1))
    found = head.held_out(support)
    assert found is not None
    for place in range(6):
        kept = [other for other in range(6) if other != place]
        expected = raw_of(head, support, kept, support.x[place : place + 1])[0]
        torch.testing.assert_close(found[place], expected, atol=1e-5, rtol=1e-4)


def test_intervals_of_ratios_cover() -> None:
    """Of 95 %, in simulated tasks of two correlated counts."""
    random, held = np.random.default_rng(0), 0
    for _ in range(1000):
        base = random.poisson(2.0, 50)
        first, second = base + random.poisson(4.0, 50), 0.5 * base + random.poisson(1.0, 50)
        _, (low, high) = ratio(first, second)
        held += low <= 6 / 2 <= high
    assert 0.93 <= held / 1000 <= 0.97


def test_a_ratio_to_what_may_be_nothing_has_no_end() -> None:
    found, (low, high) = ratio(np.array([1.0, 1.0, 0.9, 1.0]), np.array([0.0, 0.0, 0.0, 0.1]))
    assert found == pytest.approx(39.0)
    assert high == np.inf
    assert 0 < low < found
    assert ratio(np.ones(4), np.zeros(4))[0] == np.inf


def sampler(shots: int = 4) -> il.data.FewShot:
    x = torch.randn(6, 1, 4) + 0.4 * torch.randn(6, 12, 4)
    pool = il.data.Pool.of(x.flatten(0, 1), [c for c in range(6) for _ in range(12)])
    return il.data.FewShot(pool, ways=3, shots=shots, queries=3)


def test_scores_of_prototypes() -> None:
    drawn, head = sampler(), il.learners.Prototypes()
    found = score_evidence(head, drawn, tasks=6, wrong=0.1, thorough=True)
    assert found.most == 3
    assert found.wrong_labels == 1
    assert float(found.wrong["relabel"].mean()) > 0.9
    exact, random = found.deletion[LEFT_OUT], found.deletion[ANY]
    # The first to go is the one without which the answer is least probable.
    assert (exact.probability[:, 1] <= random.probability[:, 1] + 1e-9).all()
    assert exact.turned[:, 1].mean() >= random.turned[:, 1].mean()
    np.testing.assert_allclose(exact.probability[:, 0], random.probability[:, 0])
    np.testing.assert_allclose(exact.area, (random.probability - exact.probability)[:, 1:].mean(1))
    again = score_evidence(head, drawn, tasks=6, wrong=0.1, thorough=True)
    assert again.json() == found.json()
    assert json.loads(json.dumps(found.json()))["tasks"] == 6


def test_a_learner_is_as_stable_as_it_can_be_against_itself() -> None:
    maml = il.MAML(il.nets.mlp(4, 8, 3), steps=2, lr=0.1).train()
    found = score_evidence(maml, sampler(2), tasks=2, other=maml)
    assert {float(values.mean()) for values in found.stability.values()} == {1.0}
    assert maml.training


def test_single_examples_have_no_wrong_labels_to_be_told_by() -> None:
    found = score_evidence(il.learners.Prototypes(), sampler(1), tasks=5)
    assert found.wrong == {}
    # The only example of the answer's class is one of three.
    assert (found.deletion[LEFT_OUT].turned[:, 1] == 1).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tasks": 0}, "tasks is 0"),
        ({"orders": 0}, "orders is 0"),
        ({"wrong": 0.0}, "share of wrong labels"),
        ({"wrong": 1.0}, "share of wrong labels"),
        ({"removals": 12}, "12 of 12"),
        ({"removals": 0}, "0 of 12"),
    ],
)
def test_sizes_that_cannot_be_are_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        score_evidence(il.learners.Prototypes(), sampler(), **options)  # type: ignore[arg-type]


def test_tasks_of_numbers_are_refused() -> None:
    maml = il.MAML(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0))
    with pytest.raises(il.InputError, match="numbers"):
        score_evidence(maml, il.data.Sinusoid(), tasks=2)


def test_the_command_prints_every_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = Cli(monkeypatch, capsys)
    for split in ("train", "val", "test"):
        il.data.write_pool(tmp_path / "pools" / split, [(f"{split}{c}", torch.rand(8, 1, 8, 8)) for c in range(6)])
    data = ["--data", "mapped", "--root", tmp_path / "pools", "--ways", "2", "--shots", "2", "--queries", "1"]
    words = ["--steps", "0", "--quiet", "--width", "4", "--set", "validation.tasks=2", "--set", "net.pools=1"]
    for seed in ("0", "1"):
        assert cli("train", "protonet", *data, *words, "--seed", seed, "--out", tmp_path / seed)[0] == 0
    sizes = ["--tasks", "2", "--split", "val"]
    code, out, _ = cli("evidence", tmp_path / "0", *sizes, "--against", tmp_path / "1", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["learner"], found["data"], found["support"], found["wrong"]) == ("protonet", "mapped", 4, 1)
    kinds = {row["score"].split(",")[0].split(" of ")[0] for row in found["scores"]}
    assert kinds >= {"answers turned", "area between", "AUROC", "agreement with exact", "stability"}
    code, out, _ = cli("evidence", tmp_path / "0", *sizes)
    assert code == 0
    assert "AUROC of 1 wrong in 4" in out
    assert "2 tasks of 4 support examples, seed 0" in out
