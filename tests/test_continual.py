"""Continual learning: streams, the accuracy matrix, and the learners that fold over them."""

from __future__ import annotations

import gzip
import json
import struct
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from cases import blob_pool
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Generator, nn

import innerloop as il
from innerloop import continual
from innerloop.cli.app import main
from innerloop.continual import Result, Rotated, Sines, Split, Stream, digits, mnist, run, summary
from innerloop.continual.named import maker, stream
from innerloop.data import ClassStream
from innerloop.learners.continual.agem import project
from innerloop.learners.continual.online import Memory

DOUBLE = {"dtype": torch.float64}


def result(matrix: list[list[float]], guess: float = 0.1) -> Result:
    return Result(np.array(matrix), np.full(len(matrix), guess), 0, np.full(len(matrix), 2))


def batch(count: int = 6, inputs: int = 4, classes: int = 3, seed: int = 0) -> il.Examples:
    generator = Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    return il.Examples(torch.randn(count, inputs, generator=generator, **DOUBLE), torch.eye(classes, **DOUBLE)[labels])


def linear(inputs: int = 4, classes: int = 3) -> nn.Module:
    return nn.Linear(inputs, classes).double()


def online_learners() -> dict[str, il.Learner]:
    """One of each, on the same network."""
    return {
        "naive": il.learners.Naive(linear(), lr=0.1),
        "replay": il.learners.ExperienceReplay(linear(), lr=0.1, memory=5, replay=3, glances=2),
        "agem": il.learners.AGEM(linear(), lr=0.1, memory=5, replay=3, glances=2),
        "ewc": il.learners.EWC(linear(), lr=0.1, every=2),
        "lamaml": il.learners.LaMAML(linear(), memory=5, replay=3, glances=2),
        "cmaml": il.learners.CMAML(linear(), memory=5, replay=3, lr=0.1),
        "mer": il.learners.MER(linear(), lr=0.1, memory=5, replay=3, glances=2),
        "joint": il.learners.Joint(linear(), epochs=2),
    }


def test_metrics_of_a_hand_made_matrix() -> None:
    """Three tasks; transfer and forgetting are divided by T - 1 = 2."""
    found = result([[0.9, 0.2, 0.1], [0.5, 0.8, 0.3], [0.6, 0.7, 1.0]])
    assert found.acc == pytest.approx((0.6 + 0.7 + 1.0) / 3)
    assert found.bwt == pytest.approx(((0.6 - 0.9) + (0.7 - 0.8)) / 2)
    assert found.fwt == pytest.approx(((0.2 - 0.1) + (0.3 - 0.1)) / 2)
    assert found.forgetting == pytest.approx(((0.9 - 0.6) + (0.8 - 0.7)) / 2)
    assert found.curve == pytest.approx([0.9, 0.65, 2.3 / 3])
    assert found.seen.tolist() == [2, 4, 6]


def test_forgetting_counts_from_the_best_and_may_be_negative() -> None:
    """The best score before the last task is what is forgotten, not the one right after learning."""
    assert result([[0.5, 0.0, 0.0], [0.9, 0.4, 0.0], [0.7, 0.6, 0.8]]).forgetting == pytest.approx((0.2 - 0.2) / 2)


def test_a_result_survives_json() -> None:
    rows = np.array([[np.nan, np.nan], [0.25, 0.75]])
    found = Result(rows, np.array([0.5, 0.5]), 12, np.array([1, 1]))
    again = Result.of(json.loads(json.dumps(found.json())))
    np.testing.assert_array_equal(again.matrix, rows)
    assert (again.acc, again.memory) == (0.5, 12)
    assert np.isnan(again.bwt)
    assert found.json()["bwt"] is None


def test_summary_has_the_interval_over_orders() -> None:
    several = [result([[a, 0.0], [a, a]]) for a in (0.5, 0.6, 0.7)]
    found = summary(several)
    half = stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    assert found["acc"]["mean"] == pytest.approx(0.6)
    assert found["acc"]["interval"] == pytest.approx([0.6 - half, 0.6 + half])
    assert found["curve"]["seen"] == [2, 4]
    assert summary(several[:1])["acc"]["interval"] is None


def test_intervals_of_shares_stay_within_0_and_1() -> None:
    """Over few orders Student's interval would leave them; errors of real targets have no such bounds."""
    matrices = [[[a, 0.0], [a, a]] for a in (0.4, 0.6, 0.8)]
    found = summary([result(matrix) for matrix in matrices])
    half = stats.t.ppf(0.975, 2) * 0.2 / np.sqrt(3)
    assert found["acc"]["interval"] == pytest.approx([0.6 - half, 1.0])
    assert found["curve"]["interval"][0] == pytest.approx([0.6 - half, 1.0])
    assert found["fwt"]["interval"] == pytest.approx([-0.1, -0.1])
    errors = [Result(np.array(matrix), np.zeros(2), 0, np.ones(2, dtype=int), shares=False) for matrix in matrices]
    assert summary(errors)["acc"]["interval"] == pytest.approx([0.6 - half, 0.6 + half])
    assert Result.of(errors[0].json()).shares is False


def test_a_class_that_tasks_share_is_new_once() -> None:
    """By the columns that each task's held-out set has: 2, then one more, none, and one."""
    rows = torch.eye(4)
    groups = [rows[[0, 1]], rows[[1, 2]], rows[[0, 2]], rows[[0, 3]]]
    parts = [il.Examples(torch.zeros(2, 3), y) for y in groups]
    found = run(Remembers(), Stream(parts, [0, 1, 2, 3], parts))
    assert found.new.tolist() == [2, 1, 0, 1]
    assert found.seen.tolist() == [2, 3, 3, 4]
    assert found.json()["new"] == [2, 1, 0, 1]
    scenario = run(Remembers(), Stream(parts, [0, 1, 2, 3], parts, scenario="domain"))
    assert scenario.new.tolist() == [1, 1, 1, 1]


class Remembers(il.Learner):
    """Answers the class that it saw last."""

    def __init__(self) -> None:
        super().__init__(il.Categorical())

    def adapt(self, support: il.Examples, state: torch.Tensor | None = None) -> torch.Tensor:
        return support.y[-1]

    def predict(self, state: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return 10 * state.expand(1, len(x), -1)


def test_run_fills_the_matrix() -> None:
    """A learner that only knows the last class has the identity for its matrix, and its state's bytes for memory."""
    pool = blob_pool(0, classes=4, each=6)
    found = run(Remembers(), Split(pool, shots=3, held_out=2), seed=5)
    np.testing.assert_array_equal(found.matrix, np.eye(4))
    assert (found.acc, found.bwt, found.forgetting, found.memory) == (0.25, -1.0, 1.0, 16)
    np.testing.assert_array_equal(found.guess, np.full(4, 0.25))


def test_run_measures_only_where_asked() -> None:
    pool = blob_pool(0, classes=4, each=6)
    found = run(Remembers(), Split(pool, shots=3, held_out=2), after=[2])
    assert np.isnan(found.matrix[[0, 2]]).all()
    assert found.curve[1] == 0.5
    assert np.isnan(found.bwt)
    with pytest.raises(il.InputError, match="4 tasks"):
        run(Remembers(), Split(pool, shots=3, held_out=2), after=[5])


def test_task_incremental_answers_are_the_tasks_own() -> None:
    """Two classes a task: a learner that knows nothing of a task is right for one of its two classes."""
    pool = blob_pool(0, classes=4, each=6)
    found = run(Remembers(), Split(pool, per_task=2, shots=3, held_out=2, scenario="task"))
    np.testing.assert_array_equal(found.matrix, np.full((2, 2), 0.5))
    np.testing.assert_array_equal(found.guess, [0.5, 0.5])


def test_run_embeds_once_and_changes_nothing() -> None:
    """The matrix is that of the learner folded by hand over the raw inputs; modes and weights stay."""
    learner = il.ProtoNet(il.nets.mlp(8, 16, 4)).train()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    drawn = Split(blob_pool(0, classes=5, each=8), shots=5, held_out=3).draw(1)
    found = run(learner, drawn)
    state = None
    with torch.no_grad():
        for part in drawn.batches:
            state = learner.adapt(part, state)
        scores = [
            float((learner.predict(state, part.x)[0].argmax(1) == part.y.argmax(1)).double().mean())
            for part in drawn.held_out
        ]
    np.testing.assert_allclose(found.matrix[-1], scores)
    assert learner.training
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


def test_regression_scores_are_minus_squared_errors() -> None:
    found = run(
        il.learners.Naive(il.nets.mlp(1, 8, 1), lr=0.01, likelihood=il.Gaussian(scale=1.0)), Sines(tasks=3, shots=20)
    )
    assert (found.matrix < 0).all()
    held_out = Sines(tasks=3, shots=20).draw(0).held_out
    np.testing.assert_allclose(found.guess, [-float(part.y.square().mean()) for part in held_out])


def test_plot_is_a_picture(tmp_path: Path) -> None:
    several = [result([[0.4, 0.1], [0.3, 0.5]]), result([[0.5, 0.1], [0.3, 0.6]])]
    path = continual.plot({"naive": several, "other": several[:1]}, tmp_path / "curves.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_split_streams_show_each_example_once() -> None:
    """No example is seen twice, none is both trained on and held out, and a class belongs to one task."""
    pool = blob_pool(0, classes=6, each=10)
    drawn = Split(pool, per_task=2, shots=6, held_out=4, batch=5).draw(3)
    seen = torch.cat([part.x for part in [*drawn.batches, *drawn.held_out]])
    assert len(seen.unique(dim=0)) == len(seen) == 60
    assert (drawn.length, drawn.targets, len(drawn.batches)) == (3, 6, 9)
    for task, part in enumerate(drawn.held_out):
        assert part.y.sum(0).nonzero().flatten().tolist() == [2 * task, 2 * task + 1]
    for task, part in zip(drawn.tasks, drawn.batches, strict=True):
        assert set(part.y.argmax(1).tolist()) <= {2 * task, 2 * task + 1}


def test_streams_follow_from_their_seed() -> None:
    for family in (Split(blob_pool(0, classes=4, each=8), shots=5, held_out=3), Sines(tasks=2, shots=20)):
        one, same, other = family.draw(1), family.draw(1), family.draw(2)
        assert all(torch.equal(a.x, b.x) for a, b in zip(one.batches, same.batches, strict=True))
        assert not all(torch.equal(a.x, b.x) for a, b in zip(one.batches, other.batches, strict=True))


def test_domain_incremental_split_keeps_the_targets() -> None:
    drawn = Split(blob_pool(0, classes=4, each=8), per_task=2, shots=5, held_out=3, scenario="domain").draw(0)
    assert drawn.targets == 2
    assert drawn.own is None


def test_rotated_digits_turn() -> None:
    """A turn by nothing is the image; by half a turn, the image upside down and mirrored."""
    images = digits()
    family = Rotated(images, tasks=1, shots=5)
    x, y = images.x[:5], images.y[:5]
    torch.testing.assert_close(family._turned(x, y, 0.0).x.view(5, 8, 8), x)
    torch.testing.assert_close(family._turned(x, y, 180.0).x.view(5, 8, 8), x.flip(1, 2), atol=1e-5, rtol=0)
    quarter = family._turned(x, y, 90.0).x.view(5, 8, 8)
    assert min(float((quarter - torch.rot90(x, k, (1, 2))).abs().max()) for k in (1, 3)) < 1e-5


def test_digits_hold_out_a_fifth_of_each_class() -> None:
    found = digits()
    assert len(found.x) + len(found.held_out_x) == 1797
    share = torch.bincount(found.held_out_y).double() / torch.bincount(torch.cat((found.y, found.held_out_y)))
    assert ((share - 0.2).abs() < 0.01).all()


def test_mnist_is_read_from_both_kinds_of_file(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 256, (7, 4, 4), dtype=np.uint8), np.arange(7, dtype=np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])
    folder = tmp_path / "idx"
    folder.mkdir()
    for split, n in (("train", 7), ("t10k", 2)):
        images = bytes([0, 0, 8, 3]) + struct.pack(">iii", n, 4, 4) + x[:n].tobytes()
        (folder / f"{split}-images-idx3-ubyte").write_bytes(images)
        labels = bytes([0, 0, 8, 1]) + struct.pack(">i", n) + y[:n].tobytes()
        (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    for found in (mnist(tmp_path / "mnist.npz"), mnist(folder)):
        assert torch.equal(found.x, torch.from_numpy(x).float() / 255)
        assert found.held_out_y.tolist() == [0, 1]
    for wrong in (tmp_path / "nothing.npz", tmp_path):
        with pytest.raises(il.InputError, match="no MNIST"):
            mnist(wrong)
    whole = (tmp_path / "mnist.npz").read_bytes()
    (tmp_path / "mnist.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(il.InputError, match="no MNIST"):
        mnist(tmp_path / "mnist.npz")
    packed = folder / "t10k-labels-idx1-ubyte.gz"
    for damaged in (b"", packed.read_bytes()[:12]):
        packed.write_bytes(damaged)
        with pytest.raises(il.InputError, match="no MNIST"):
            mnist(folder)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": 5, "per_task": 2}, "multiple of 2"),
        ({"shots": 9, "held_out": 9}, "need 18"),
        ({"batch": 0}, "batch is 0"),
    ],
)
def test_impossible_streams_are_refused(options: dict[str, int], words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        Split(blob_pool(0, classes=6, each=8), **options)


def test_malformed_streams_are_refused() -> None:
    part = batch()
    for tasks, words in (([0], "2 batches"), ([1, 0], "one after the other"), ([0, 2], "task numbers")):
        with pytest.raises(il.InputError, match=words):
            Stream([part, part], tasks, [part, part])


def test_class_streams_come_class_by_class() -> None:
    """The support set is sorted by class, the draws do not depend on how many are made together."""
    pool = blob_pool(0, classes=10, each=8)
    sampler = ClassStream(pool, ways=3, shots=4, queries=2)
    task = sampler.draw(Generator().manual_seed(0), 5)
    assert task.support.y[0].argmax(1).tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert task.query.y[0].sum(0).tolist() == [2, 2, 2]
    generator = Generator().manual_seed(0)
    parts = [sampler.draw(generator, 2), sampler.draw(generator, 3)]
    assert torch.equal(torch.cat([part.query.x for part in parts]), task.query.x)


def test_class_streams_with_a_remember_set_name_the_pools_classes() -> None:
    pool = blob_pool(0, classes=10, each=8)
    task = ClassStream(pool, ways=2, shots=3, queries=1, remember=40).draw(Generator().manual_seed(0), 1)
    assert task.query.y.shape == (1, 42, 10)
    assert len(set(task.support.y[0].argmax(1).tolist())) == 2
    for part in task:
        for x, y in zip(part.x[0], part.y[0], strict=True):
            row = int((pool.x == x).all(1).nonzero())
            assert row // 8 == int(y.argmax())
    assert len(set(task.query.y[0].argmax(1).tolist())) > 5


def test_the_reservoir_is_uniform() -> None:
    """Each of 30 examples is among the 6 kept equally often (chi-square), however they came in batches."""
    counts = np.zeros(30)
    for seed in range(600):
        generator = Generator().manual_seed(seed)
        memory = Memory.empty(6, il.Examples(torch.zeros(1, 1), torch.zeros(1, 1)))
        for part in torch.arange(30.0).view(-1, 1).split(7):
            memory = memory.offer(il.Examples(part, part), generator)
        counts[memory.x.flatten().long()] += 1
        assert int(memory.seen) == 30
        assert len(memory.x.unique()) == 6
    expected = 600 * 6 / 30
    # Six of thirty without replacement: the counts vary less than independent ones, by 24 / 29.
    statistic = ((counts - expected) ** 2 / expected).sum() * 29 / 24
    assert stats.chi2.sf(statistic, 29) > 0.01


def test_the_memory_gives_different_examples_it_has() -> None:
    part = batch(4)
    memory = Memory.empty(6, part).offer(part, Generator())
    assert len(memory.draw(10, Generator()).x) == 4
    assert len(memory.draw(3, Generator()).x.unique(dim=0)) == 3
    assert len(Memory.empty(6, part).draw(3, Generator()).x) == 0


vectors = st.lists(st.floats(-10, 10), min_size=3, max_size=3).map(lambda v: torch.tensor(v, **DOUBLE))


@given(vectors, vectors)
def test_agem_projects_onto_the_half_space(g: torch.Tensor, r: torch.Tensor) -> None:
    """It is the nearest vector with a product of at least 0; one that has it already stays as it is."""
    found = torch.cat(list(project({"a": g[:1], "b": g[1:]}, {"a": r[:1], "b": r[1:]}).values()))
    if float(g @ r) >= 0 or float(r @ r) == 0:
        assert torch.equal(found, g)
    else:
        torch.testing.assert_close(found, g - (g @ r) / (r @ r) * r)
        assert abs(float(found @ r)) < 1e-9 * (1 + float(r @ r))


def test_agem_step_does_not_raise_the_memorys_loss() -> None:
    """To first order: the step's gradient does not point against the memory's."""
    torch.manual_seed(1)
    learner = il.learners.AGEM(linear(), lr=0.1)
    theta, old, new = learner.start(), batch(seed=1), batch(seed=2)
    # The same inputs with another class: gradients that contradict each other.
    new = il.Examples(old.x, old.y.roll(1, 1))
    step = {name: theta[name] - p for name, p in learner.step(theta, new, old).items()}
    reference = learner.gradient(theta, old)
    plain = learner.gradient(theta, new)
    assert float(sum((plain[name] * r).sum() for name, r in reference.items())) < 0
    assert float(sum((step[name] * r).sum() for name, r in reference.items())) == pytest.approx(0, abs=1e-12)


def test_ewc_gradient_is_exact_on_a_linear_model() -> None:
    """Squared error: the gradient is that of the loss plus lambda F (theta - anchor), with F by hand."""
    torch.manual_seed(0)
    net = nn.Linear(3, 1, bias=False).double()
    learner = il.learners.EWC(net, lr=0.1, every=1, strength=7.0, likelihood=il.Gaussian(scale=1.0))
    x, y = torch.randn(5, 3, **DOUBLE), torch.randn(5, 1, **DOUBLE)
    state = learner.adapt(il.Examples(x, y))
    w = state.parameters["weight"]
    each = (x @ w.T - y) * x
    torch.testing.assert_close(state.fisher["weight"], each.square().mean(0, keepdim=True))
    torch.testing.assert_close(state.anchor["weight"], w)
    theta = {"weight": w + 0.5}
    more, target = torch.randn(4, 3, **DOUBLE), torch.randn(4, 1, **DOUBLE)
    loss = ((more @ theta["weight"].T - target) * more).mean(0, keepdim=True)
    wanted = loss + 7.0 * state.fisher["weight"] * 0.5
    torch.testing.assert_close(learner.penalized(theta, il.Examples(more, target), state)["weight"], wanted)


def test_ewc_consolidates_at_the_end_of_a_task_only() -> None:
    learner = il.learners.EWC(linear(), lr=0.1, every=3, decay=0.5)
    state = learner.adapt(batch(), learner.adapt(batch()))
    assert float(state.batches) == 2
    assert not state.fisher["weight"].any()
    state = learner.adapt(batch(), state)
    assert float(state.batches) == 0
    first = state.fisher["weight"]
    for _ in range(3):
        state = learner.adapt(batch(), state)
    assert (state.fisher["weight"] >= 0.5 * first).all()


@pytest.mark.parametrize("clip", [0.01, 1.0])
def test_lookahead_clipping_bounds_the_gradient(clip: float) -> None:
    """Each entry of an inner gradient, and the norm of the outer ones, on inputs that make them huge."""
    part = batch()
    large = il.Examples(1000 * part.x, part.y)
    learner = il.learners.CMAML(linear(), inner_lr=1.0, lr=1.0, clip=clip)
    theta = learner.start()
    rates = {name: torch.ones_like(p) for name, p in theta.items()}
    for found in learner.outer(theta, rates, large, large):
        assert float(torch.cat([g.flatten() for g in found.values()]).norm()) <= clip * (1 + 1e-9)
    seen = []
    learner.gradient = lambda phi, at: seen.append(phi) or il.learners.CMAML.gradient(learner, phi, at)
    learner.outer(theta, rates, large, large)
    # The last call is the outer one. Unclipped the steps are near a thousand: the bound is reached, and not passed.
    steps = [float((b["weight"] - a["weight"]).abs().max()) for a, b in pairwise(seen[:-1])]
    assert max(steps) == pytest.approx(clip)


def test_lamaml_gradients_are_those_of_autograd() -> None:
    """Of the mean loss after each inner step, with respect to start and rates, inner gradients taken for constants."""
    learner = il.learners.LaMAML(linear(), inner_lr=0.2, lr=0.05, clip=1e6, memory=3)
    part, theta = batch(), learner.start()
    start = {name: p.clone().requires_grad_() for name, p in theta.items()}
    alpha = {name: torch.full_like(p, 0.2).requires_grad_() for name, p in theta.items()}

    def loss_at(at: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(x @ at["weight"].T + at["bias"], y.argmax(1))

    phi, losses = dict(start), []
    for x, y in zip(part.x.split(1), part.y.split(1), strict=True):
        at = {name: p.detach().requires_grad_() for name, p in phi.items()}
        inner = dict(zip(at, torch.autograd.grad(loss_at(at, x, y), list(at.values())), strict=True))
        phi = {name: p - alpha[name] * inner[name] for name, p in phi.items()}
        losses.append(loss_at(phi, *part))
    loss = torch.stack(losses).mean()
    by_theta = dict(zip(start, torch.autograd.grad(loss, list(start.values()), retain_graph=True), strict=True))
    by_alpha = dict(zip(alpha, torch.autograd.grad(loss, list(alpha.values())), strict=True))
    state = learner.adapt(part)
    for name, p in theta.items():
        rates = 0.2 - 0.05 * by_alpha[name]
        torch.testing.assert_close(state.rates[name], rates)
        torch.testing.assert_close(state.parameters[name], p - rates.relu() * by_theta[name])


def test_mer_with_one_example_is_a_shrunken_step() -> None:
    """Nothing in memory and one example: beta and gamma of a gradient step."""
    learner = il.learners.MER(linear(), lr=0.1, within=0.5, across=0.4)
    one = batch(1)
    theta, state = learner.start(), learner.adapt(one)
    gradient = learner.gradient(theta, one)
    for name, p in theta.items():
        torch.testing.assert_close(state.parameters[name], p - 0.5 * 0.4 * 0.1 * gradient[name])


def test_replay_without_a_past_is_naive() -> None:
    """The first batch meets an empty memory; C-MAML's outer step on it is a step from the parameters ahead."""
    net, part = linear(), batch()
    naive, replay = il.learners.Naive(net, lr=0.1), il.learners.ExperienceReplay(net, lr=0.1)
    for name, p in naive.adapt(part).parameters.items():
        torch.testing.assert_close(replay.adapt(part).parameters[name], p)
        torch.testing.assert_close(il.learners.AGEM(net, lr=0.1).adapt(part).parameters[name], p)
        torch.testing.assert_close(il.learners.EWC(net, lr=0.1, every=9).adapt(part).parameters[name], p)


def test_naive_is_what_torchs_sgd_does() -> None:
    net, parts = linear(), [batch(seed=s) for s in range(3)]
    learner, state = il.learners.Naive(net, lr=0.1, glances=2), None
    for part in parts:
        state = learner.adapt(part, state)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for part in parts:
        for _ in range(2):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(part.x), part.y.argmax(1)).backward()
            optimizer.step()
    for name, p in net.named_parameters():
        torch.testing.assert_close(state.parameters[name], p.detach())


@pytest.mark.parametrize("name", list(online_learners()))
def test_online_learners_are_pure_functions(name: str) -> None:
    """The same batch and state give the same new state, the old one and the network stay as they were, and it saves."""
    learner = online_learners()[name].eval()
    leaves = torch.utils._pytree.tree_leaves
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    first = learner.adapt(batch())
    kept = [leaf.clone() for leaf in leaves(first)]
    one, two = learner.adapt(batch(seed=1), first), learner.adapt(batch(seed=1), first)
    assert all(torch.equal(a, b) for a, b in zip(leaves(one), leaves(two), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(leaves(first), kept, strict=True))
    assert all(torch.equal(value, before[key]) for key, value in learner.state_dict().items())
    assert torch.equal(learner.predict(one, batch().x), learner.predict(two, batch().x))
    assert learner.predict(one, batch().x).dtype == torch.float64


@pytest.mark.parametrize("name", [name for name in online_learners() if name != "joint"])
def test_online_learners_learn(name: str) -> None:
    """Five classes of blobs, mixed, one pass: better than guessing by far."""
    pool = blob_pool(0, classes=5, each=40)
    pool = il.Pool(pool.x[:, :2].clone(), pool.sizes, pool.names)
    family = Split(pool, per_task=5, shots=30, held_out=10, batch=5)
    make = maker(name if name != "replay" else "experiencereplay", family, options={"lr": 0.1})
    assert run(make(0), family).acc > 0.5


def test_replay_forgets_less_than_naive_and_joint_is_the_bound() -> None:
    """Split digits, two classes at a time: the order of the three that every paper reports."""
    family = stream("split_digits")
    after = [5]
    scores = {
        name: run(maker(name, family, options=options)(0), family, after=after).acc
        for name, options in {
            "naive": {"lr": 0.3},
            "experiencereplay": {"lr": 0.3},
            "joint": {"epochs": 5},
        }.items()
    }
    assert scores["naive"] < 0.3
    assert scores["experiencereplay"] > scores["naive"] + 0.2
    assert scores["joint"] > scores["experiencereplay"]


def test_batch_dependent_norms_are_refused() -> None:
    with pytest.raises(il.InputError, match="single class"):
        il.learners.Naive(il.nets.conv4(norm="batch", out=3))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: il.learners.Naive(linear(), lr=0.0), "lr is 0"),
        (lambda: il.learners.ExperienceReplay(linear(), memory=0), "memory is 0"),
        (lambda: il.learners.EWC(linear(), every=0), "every is 0"),
        (lambda: il.learners.LaMAML(linear(), clip=0.0), "clip is 0"),
        (lambda: il.learners.CMAML(linear(), inner_lr=-1.0), "inner_lr is -1"),
        (lambda: il.learners.MER(linear(), within=0.0), "within is 0"),
        (lambda: il.learners.Joint(linear(), epochs=0), "epochs is 0"),
        (lambda: il.learners.OML(nn.Identity()), "features="),
        (lambda: il.learners.OML(il.nets.conv4(), lr=0.0), "rate of the online steps"),
    ],
)
def test_impossible_options_are_refused(make: object, words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        make()


def test_the_prototype_fold_does_not_forget() -> None:
    """Its state at the end is that of any other order, to rounding, and within a task's own classes nothing changes."""
    learner = il.ProtoNet(il.nets.mlp(8, 16, 4)).double().eval()
    pool = blob_pool(0, classes=6, each=10)
    pool = il.Pool(pool.x.double(), pool.sizes, pool.names)
    drawn = Split(pool, per_task=2, shots=6, held_out=4, scenario="task").draw(0)
    found = run(learner, drawn)
    rows = found.matrix
    for task in range(3):
        assert (rows[task:, task] == rows[task, task]).all()
    assert (found.forgetting, found.bwt) == (0.0, 0.0)
    with torch.no_grad():
        states = []
        for batches in (drawn.batches, drawn.batches[::-1]):
            state = None
            for part in batches:
                state = learner.adapt(part, state)
            states.append(state.head)
    torch.testing.assert_close(states[0].sums, states[1].sums, rtol=1e-12, atol=1e-12)
    assert torch.equal(states[0].counts, states[1].counts)


def test_oml_meta_gradient_is_that_of_autograd() -> None:
    """A tiny network, every online step written out, the outer gradient by torch.autograd through all of them."""
    torch.manual_seed(0)
    learner = il.learners.OML(nn.Linear(3, 4), features=4, lr=0.5).double()
    support, query = batch(7, inputs=3), batch(5, inputs=3, seed=1)
    loss = learner.loss(il.Task(support, query))
    names = [name for name, _ in learner.named_parameters()]
    found = torch.autograd.grad(loss, list(learner.parameters()))
    encoder, rate = learner.encoder, learner.head.log_rate.exp()

    def unit(x: torch.Tensor) -> torch.Tensor:
        z = encoder(x)
        return z / z.norm(dim=1, keepdim=True)

    weight = torch.zeros(3, 4, requires_grad=True, **DOUBLE)
    for x, y in zip(support.x.split(1), support.y.split(1), strict=True):
        step = torch.nn.functional.cross_entropy(unit(x) @ weight.T, y.argmax(1))
        (gradient,) = torch.autograd.grad(step, weight, create_graph=True)
        weight = weight - rate * gradient
    logits = learner.head.log_scale.exp() * unit(query.x) @ weight.T
    outer = torch.nn.functional.cross_entropy(logits, query.y.argmax(1))
    torch.testing.assert_close(loss, outer)
    for name, got, wanted in zip(names, found, torch.autograd.grad(outer, list(learner.parameters())), strict=True):
        assert float(wanted.abs().max()) > 1e-6, name
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-12)


def test_oml_remembers_the_known_classes_in_training_only() -> None:
    """Rows of classes outside the stream start as meta-learned, those of the stream from 0; at test time all from 0."""
    head = il.learners.OnlineHead(features=4, classes=3, lr=1e-9)
    with torch.no_grad():
        head.known.copy_(torch.arange(12.0).view(3, 4) + 1)
    support = il.Examples(torch.ones(2, 4), torch.eye(3)[[1, 1]])
    weight = head.adapt(support).weight
    torch.testing.assert_close(weight[[0, 2]], head.known[[0, 2]], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(weight[1], torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(head.eval().adapt(support).weight, torch.zeros(3, 4), atol=1e-6, rtol=0)


def command(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["innerloop", "continual", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_cli_on_digits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["naive", "--stream", "split_digits", "--orders", 2, "--set", "lr=0.1", "--out", tmp_path / "out"]
    assert command(monkeypatch, *words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["orders"], found["seeds"], found["curve"]["seen"]) == (2, [0, 1], [2, 4, 6, 8, 10])
    assert found["acc"]["mean"] == pytest.approx(np.mean([r["acc"] for r in found["results"]]))
    assert json.loads((tmp_path / "out" / "continual.json").read_text()) == found
    assert (tmp_path / "out" / "continual.png").stat().st_size > 1000
    assert command(monkeypatch, *words) == 0
    assert f"{found['acc']['mean']:.4f} ±" in capsys.readouterr().out


def test_cli_folds_a_run_and_starts_from_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Two steps of OML on streams of glyphs; its learner over a stream, and another on its encoder."""
    words = ["--steps", "2", "--ways", "3", "--queries", "1", "--quiet"]
    small = {"net.width": 8, "episodes.remember": 4, "validation.tasks": 2, "validation.ways": 3, "validation.shots": 2}
    words += [word for name, value in small.items() for word in ("--set", f"{name}={value}")]
    monkeypatch.setattr(sys, "argv", ["innerloop", "train", "oml", *words, "--out", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    stream_of = ["--stream", "split_glyphs", "--classes", 4, "--orders", 1, "--json"]
    capsys.readouterr()
    assert command(monkeypatch, tmp_path / "run", *stream_of) == 0
    assert json.loads(capsys.readouterr().out)["curve"]["seen"] == [1, 2, 3, 4]
    assert command(monkeypatch, "naive", "--init", tmp_path / "run", *stream_of) == 0
    assert json.loads(capsys.readouterr().out)["memory"] > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["naive", "--stream", "split_digit"], "did you mean split_digits"),
        (["niave", "--stream", "split_digits"], "neither an online learner"),
        (["naive", "--stream", "split_digits", "--set", "rate=1"], "the learner naive has no option 'rate'"),
        (["naive", "--stream", "split_digits", "--set", "lr"], "NAME=VALUE"),
        (["naive", "--stream", "split_digits", "--orders", 0], "--orders 1"),
        (["naive", "--stream", "split_digits", "--classes", 11], "11 classes"),
        (
            ["naive", "--stream", "rotated_digits", "--classes", 4],
            "has no option 'classes'",
        ),
        (["naive", "--stream", "split_digits", "--scenario", "words"], "scenario is 'words'"),
    ],
)
def test_cli_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[object], said: str
) -> None:
    assert command(monkeypatch, *words) == 2
    assert said in capsys.readouterr().err


def test_the_pages_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).resolve().parents[1] / "docs" / "continual.md"
    example = page.read_text().split("```python\n")[1].split("```")[0]
    exec(example, {})
    acc = float(capsys.readouterr().out.splitlines()[-1].split()[0])
    assert acc > 0.5


def test_a_batch_without_examples_changes_nothing_of_a_head_that_learns_online() -> None:
    torch.manual_seed(0)
    learner = il.learners.OML(il.nets.mlp(4, 8)).eval()
    seen = learner.adapt(il.Examples(torch.randn(3, 4), torch.eye(3)))
    nothing = il.Examples(torch.zeros(0, 4), torch.zeros(0, 3))
    x = torch.randn(2, 4)
    assert learner.predict(learner.adapt(nothing, seen), x).equal(learner.predict(seen, x))
    assert learner.predict(learner.adapt(nothing), x).eq(0).all()
