"""MAML++ against hand-written sums and MAML, its stages within a run, and the temperature of gradient learners."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import laws
import pytest
import torch
from cases import episodes
from torch import Tensor, nn

import innerloop as il
from innerloop.bundle.weights import fill
from innerloop.core.checkpoint import load_weights
from innerloop.core.learner import stages, tell
from innerloop.evidence import answered
from innerloop.evidence.descents import example_gradients
from innerloop.learners import MAMLPlusPlus
from innerloop.learners.by_size import ByShots, parted, with_shots
from innerloop.learners.optimization.mamlplusplus import importance
from innerloop.learners.tempered import fitted_temperature

LATER = {"multi_step_until": 0.0, "second_order_from": 0.0}


def tasks(kind: str = "blobs", count: int = 2) -> il.Task:
    drawn = episodes(kind, "train")().draw(torch.Generator().manual_seed(0), count)
    return il.Task(*(il.Examples(part.x.double(), part.y.double()) for part in drawn))


def net(**options: object) -> nn.Module:
    torch.manual_seed(0)
    return il.nets.conv4((1, 8, 8), width=6, pools=2, **{"out": 3, "norm": "support", **options})


def gradients(learner: il.Learner, task: il.Task) -> dict[str, Tensor]:
    loss = learner.loss(task)
    found = torch.autograd.grad(loss, list(learner.parameters()), allow_unused=True, materialize_grads=True)
    return {"loss": loss.detach(), **{name: g for (name, _), g in zip(learner.named_parameters(), found, strict=True)}}


@pytest.mark.parametrize("first_order", [False, True])
def test_with_one_step_it_is_maml_with_learned_rates(first_order: bool) -> None:
    torch.manual_seed(0)
    inner = il.nets.mlp(8, 16, 3)
    options = {"steps": 1, "lr": 0.3, "first_order": first_order}
    maml, learner = il.MAML(inner, learn_lr=True, **options), MAMLPlusPlus(inner, **options, **LATER).double()
    maml.double()
    found = gradients(learner, laws.one(tasks(), 0))
    wanted = {name: g.view(1) if "rates" in name else g for name, g in gradients(maml, laws.one(tasks(), 0)).items()}
    assert found.keys() == wanted.keys()
    for name, g in wanted.items():
        torch.testing.assert_close(found[name], g, rtol=1e-12, atol=1e-14)


def naive(learner: MAMLPlusPlus, task: il.Task, weights: list[float], second: bool) -> Tensor:
    """The outer loss by hand: each step has its rates, scales and shifts, and the queries are asked after it."""
    theta = dict(learner.net.named_parameters())
    rates = {name.replace("/", "."): rate for name, rate in learner.inner.rates.items()}
    changes = {name.replace("/", "."): change for name, change in learner.changes.items()}
    phi = {name: p for name, p in theta.items() if name not in changes}
    total = torch.zeros(()).double()
    for step, weight in enumerate(weights):
        scales = {k: theta[k] + (change[step - 1] if step else 0) for k, change in changes.items()}
        raw = torch.func.functional_call(learner.net, {**scales, **phi}, (task.support.x,))
        loss = learner.likelihood.nll(raw[None], task.support.y).mean()
        slopes = torch.autograd.grad(loss, list(phi.values()), create_graph=second, retain_graph=True)
        phi = {k: p - rates[k][step] * g for (k, p), g in zip(phi.items(), slopes, strict=True)}
        with il.norm.recording() as statistics:
            torch.func.functional_call(learner.net, {**scales, **phi}, (task.support.x,))
        with il.norm.replaying(statistics):
            raw = torch.func.functional_call(learner.net, {**scales, **phi}, (task.query.x,))
        total = total + weight * learner.likelihood.nll(raw[None], task.query.y).mean()
    return total


@pytest.mark.parametrize(
    ("used", "weights", "second"),
    [
        (0.0, [1 / 3, 1 / 3, 1 / 3], False),
        (0.1, [1 / 6, 1 / 6, 2 / 3], False),
        (0.3, [0.0, 0.0, 1.0], False),
        (1.0, [0.0, 0.0, 1.0], True),
    ],
)
def test_losses_and_gradients_are_the_hand_written_ones(used: float, weights: list[float], second: bool) -> None:
    """At the start first order and a mean over steps, later the last step alone, at the end second order."""
    learner = MAMLPlusPlus(net(), steps=3, lr=0.2, multi_step_until=0.2, second_order_from=0.5).double()
    with torch.no_grad():
        for p in itertools.chain(learner.inner.parameters(), learner.changes.parameters()):
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    task = laws.one(tasks("pictures"), 0)
    learner.progress(used)
    found, loss = gradients(learner, task), naive(learner, task, weights, second)
    torch.testing.assert_close(found.pop("loss"), loss.detach(), rtol=1e-10, atol=1e-12)
    wanted = torch.autograd.grad(loss, list(learner.parameters()), allow_unused=True, materialize_grads=True)
    for g, other in zip(found.values(), wanted, strict=True):
        torch.testing.assert_close(g, other, rtol=1e-8, atol=1e-11)


def test_importance_starts_equal_and_ends_at_the_last_step() -> None:
    torch.testing.assert_close(importance(5, 0.0, 0.1), torch.full((5,), 0.2).double())
    assert importance(5, 0.1, 0.1).tolist() == importance(5, 0.0, 0.0).tolist() == [0, 0, 0, 0, 1]
    rows = torch.stack([importance(5, used / 100, 0.1) for used in range(12)])
    torch.testing.assert_close(rows.sum(1), torch.ones(12).double())
    assert (rows[:, :-1].diff(dim=0) <= 0).all()
    torch.testing.assert_close(rows[:10, 0].diff(), torch.full((9,), -0.02).double())


def test_outside_training_nothing_depends_on_the_progress() -> None:
    learner, task = MAMLPlusPlus(net(), steps=2, lr=0.2).double().eval(), laws.one(tasks("pictures"), 0)
    before = learner.loss(task)
    learner.progress(0.0)
    assert torch.equal(learner.loss(task), before)


def test_learners_within_hear_of_the_progress() -> None:
    learner = MAMLPlusPlus(il.nets.mlp(8, 16, 3), steps=2)
    around = il.learners.Tempered(learner)
    assert stages(around) == ((True, True, True),)
    tell(around, 0.0)
    assert stages(around) == ((True, False, True),)
    tell(around, 1.0)
    assert stages(around) == ((False, True, True),)
    assert learner.importance.tolist() == [0, 1]
    assert stages(il.MAML(il.nets.mlp(8, 16, 3))) == ()


@pytest.mark.parametrize("made", [il.MAML, MAMLPlusPlus])
def test_before_its_body_adapts_a_learner_is_anil(made: Callable[..., il.MAML | MAMLPlusPlus]) -> None:
    """The same losses and gradients in training; outside training all adapts at any time."""
    options: dict[str, Any] = {"steps": 2, "lr": 0.2}
    more = {"norm_per_step": False, "multi_step_until": 0.0, "second_order_from": 0.0} if made is MAMLPlusPlus else {}
    network, task = net().double(), laws.one(tasks("pictures"), 0)
    learner, whole = (made(network, body_from=share, **options, **more).double() for share in (0.5, 0.0))
    anil = il.learners.ANIL(network, **options)
    for used, other in ((0.4, anil), (0.5, whole)):
        learner.progress(used)
        found = gradients(learner, task)
        for name, g in gradients(other, task).items():
            torch.testing.assert_close(found[name], g, rtol=1e-10, atol=1e-12)
    learner.progress(0.0)
    assert torch.equal(learner.eval().loss(task), whole.eval().loss(task))
    assert not torch.equal(learner.loss(task), anil.eval().loss(task))


def test_a_body_that_starts_from_a_rate_of_zero_makes_no_jump() -> None:
    """Where it begins to adapt the loss stays what it was, and its rates have gradients by which they leave zero."""
    learner = MAMLPlusPlus(net(), steps=2, lr=0.2, body_lr=0.0, body_from=0.5, multi_step_until=0.0).double()
    jumping = MAMLPlusPlus(learner.net, steps=2, lr=0.2, body_from=0.5, multi_step_until=0.0).double()
    task = laws.one(tasks("pictures"), 0)
    found = {}
    for used in (0.4, 0.6):
        for name, one in (("steady", learner), ("jumping", jumping)):
            one.progress(used)
            found[name, used] = gradients(one, task)
    torch.testing.assert_close(found["steady", 0.6]["loss"], found["steady", 0.4]["loss"], rtol=1e-12, atol=0)
    assert (found["jumping", 0.6]["loss"] - found["jumping", 0.4]["loss"]).abs() > 1e-3
    head = {k.rpartition("/")[0] for k, rates in learner.inner.rates.items() if rates.all()}
    assert head == {"out"}
    for name, g in found["steady", 0.6].items():
        if name.startswith("inner.rates.") and "out" not in name:
            assert (g != 0).any()
            assert not found["steady", 0.4][name].any()


@pytest.mark.parametrize("ways", [3, 6])
def test_a_rate_of_many_ways_is_scaled_to_the_ways_of_a_task(ways: int) -> None:
    """The rows of a shared head take the steps of a rate times C / ``lr_ways``; the body takes those of the rate."""
    network = il.nets.mlp(8, 16, 1).double()
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2 * ways, 8, generator=generator).double(), torch.eye(ways).double().repeat(2, 1)
    support = il.Examples(x, y)
    options: dict[str, Any] = {"steps": 3, "shared_head": "2"}
    head, other = (
        il.ANIL(network, lr=lr, lr_ways=of, **options).eval() for lr, of in ((0.6, 6), (0.6 * ways / 6, None))
    )
    for name, p in head.adapt(support).parameters.items():
        torch.testing.assert_close(p, other.adapt(support).parameters[name], rtol=1e-12, atol=1e-14)
    maml, plain = (il.MAML(network, lr_ways=of, **options).eval() for of in (6, None))
    own = plain.adapt(support).parameters
    found = maml.inner_gradient(own, own, support)
    for name, g in plain.inner_gradient(own, own, support).items():
        torch.testing.assert_close(found[name], g * (ways / 6 if name in maml.shared else 1))


@pytest.mark.parametrize("kind", ["blobs", "pictures"])
def test_gradients_of_single_examples_are_parts_of_a_scaled_one(kind: str) -> None:
    """Of which evidence is made, where an example is seen alone and where layers tie the batch together."""
    support = laws.one(tasks(kind), 0).support
    network, head = (il.nets.mlp(8, 16, 1), "2") if kind == "blobs" else (net(out=1), "out")
    maml = il.MAML(network, steps=2, shared_head=head, lr_ways=12).double().eval()
    own = maml.adapt(support).parameters
    whole, parts = maml.inner_gradient(own, own, support), example_gradients(maml, own, support)
    assert maml.shared <= whole.keys()
    for name, g in whole.items():
        torch.testing.assert_close(parts[name].mean(0), g)


def test_a_rate_of_many_ways_needs_a_head_that_they_share() -> None:
    with pytest.raises(il.InputError, match="lr_ways=20 is of a head that classes share"):
        il.MAML(il.nets.mlp(8, 16, 3), lr_ways=20)
    with pytest.raises(il.InputError, match="lr_ways is 0; it must be at least 1"):
        il.MAML(il.nets.mlp(8, 16, 1), shared_head="2", lr_ways=0)


def test_a_beginning_of_the_head_alone_needs_a_head_and_a_body() -> None:
    for adapts in ("head", "body"):
        with pytest.raises(il.InputError, match=r"body_from=0\.5 begins with the head alone"):
            il.MAML(il.nets.mlp(8, 16, 3), adapts=adapts, body_from=0.5)
    with pytest.raises(il.InputError, match=r"body_from is 1\.5; it must be at least 0 and at most 1"):
        il.MAML(il.nets.mlp(8, 16, 3), body_from=1.5)
    assert stages(il.MAML(il.nets.mlp(8, 16, 3), body_from=0.5)) == (True,)


def test_a_run_passes_through_the_stages_and_is_kept_as_a_bundle(tmp_path: Path) -> None:
    heard: list[tuple[object, list[float]]] = []

    class Watching(il.training.Callback):
        def on_step(self, step: int, row: dict[str, float]) -> None:
            heard.append((learner.stage, [round(w, 3) for w in learner.importance.tolist()]))

    learner = MAMLPlusPlus(il.nets.mlp(8, 16, 3), steps=2, multi_step_until=0.5, second_order_from=0.25)
    options = {"tasks_per_step": 2, "how": "vmap", "progress": False, "callbacks": [Watching()]}
    il.fit(learner, episodes("blobs", "train")(), steps=4, out=tmp_path / "run", **options)
    assert heard == [
        ((True, False, True), [0.5, 0.5]),
        ((True, True, True), [0.25, 0.75]),
        ((False, True, True), [0, 1]),
        ((False, True, True), [0, 1]),
    ]
    loaded = il.load(tmp_path / "run").eval()
    task = laws.one(episodes("blobs", "test")().draw(torch.Generator(), 1), 0)
    assert torch.equal(laws.predict(loaded, task), laws.predict(learner, task))


def test_a_way_that_is_wrong_at_a_later_stage_is_refused_at_once(tmp_path: Path) -> None:
    """First order is right with this layer under vmap, second order is not: no run is begun that would end there."""

    def made() -> MAMLPlusPlus:
        layers = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3))
        return MAMLPlusPlus(layers, steps=1, norm_per_step=False)

    sampler = episodes("blobs", "train")()
    with pytest.raises(il.InputError, match="wrong second-order gradient under vmap"):
        il.fit(made(), sampler, steps=4, how="vmap", out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    learner = made().double()
    learner.progress(0.0)
    lifted = il.lift(learner, "vmap")
    lifted.backward(tasks())
    learner.progress(1.0)
    with pytest.raises(il.InputError, match="wrong second-order gradient under vmap"):
        lifted.backward(tasks())


def test_a_traced_step_follows_the_importance_and_the_stage() -> None:
    from innerloop.core.compiled import Compiled

    learner, batch = MAMLPlusPlus(il.nets.mlp(8, 16, 3), steps=2).double(), tasks()
    lifted = il.lift(learner, "vmap")
    for uses in ((0.02, 0.07), (0.2,), (0.5,)):
        learner.progress(uses[0])
        step = Compiled(learner, lifted._losses)
        graph = step.trace(batch)
        for used in uses:
            learner.progress(used)
            losses, slopes = graph(step.inputs(), batch)
            learner.zero_grad()
            wanted = lifted.backward(batch, "sum")
            torch.testing.assert_close(losses, wanted)
            for p, slope in zip(learner.parameters(), slopes, strict=True):
                torch.testing.assert_close(p.grad, slope)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"multi_step_until": 1.5}, "multi_step_until is 1.5"),
        ({"second_order_from": -0.1}, "second_order_from is -0.1"),
        ({"steps": 0}, "steps is 0"),
        ({"body_lr": -0.1}, r"learning rate of 0\.weight is -0\.1; it must be at least 0 and finite"),
        ({"tempered": True, "likelihood": il.Gaussian(scale=1.0)}, "no logits"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(il.InputError, match=says):
        MAMLPlusPlus(il.nets.mlp(8, 16, 3), **options)


def test_rates_of_steps_that_were_not_learned_are_those_of_the_last() -> None:
    rates = il.inner.LearnedRates(["w"], 0.5, steps=2)
    with torch.no_grad():
        rates.rates["w"].copy_(torch.tensor([0.5, 0.25]))
    w, memory = {"w": torch.tensor([1.0])}, rates.init({})
    seen = []
    for _ in range(3):
        w, memory = rates.update({"w": torch.tensor([1.0])}, w, memory)
        seen.append(w["w"].item())
    assert seen == [0.5, 0.25, 0.0]
    with pytest.raises(il.InputError, match="steps is 0"):
        il.inner.LearnedRates(["w"], 0.5, steps=0)
    by_name = il.inner.LearnedRates(["v", "w"], {"v": 0.0, "w": 0.5}, steps=2)
    assert {name: rates.tolist() for name, rates in by_name.rates.items()} == {"v": [0, 0], "w": [0.5, 0.5]}
    with pytest.raises(il.InputError, match="no learning rate is given for 'w'"):
        il.inner.LearnedRates(["v", "w"], {"v": 0.1})


@pytest.fixture(scope="module")
def trained() -> tuple[il.MAML, il.FewShot]:
    """A MAML of glyphs after a short run, and tasks of other scripts."""
    pools = il.data.glyphs()
    train, test = (il.FewShot(pool, ways=5, shots=1, queries=5) for pool in (pools.train, pools.test))
    torch.manual_seed(0)
    network = il.nets.conv4((1, 28, 28), width=8, out=1, pool="stride", norm="support")
    learner = il.MAML(network, steps=2, lr=0.4, test_steps=1, shared_head="out", tempered=True)
    il.fit(learner, train, steps=100, lr=1e-2, how="vmap", progress=False)
    return learner, test


def test_a_temperature_from_meta_training_tasks_mends_calibration_and_no_answer(
    trained: tuple[il.MAML, il.FewShot], tmp_path: Path
) -> None:
    learner, test = trained
    scoring = {"tasks": 60, "how": "vmap", "open": False}
    found = learner.temperature.item()
    after = il.evaluate(learner, test, **scoring)
    learner.temperature.fill_(1.0)
    before = il.evaluate(learner, test, **scoring)
    learner.temperature.fill_(found)
    assert found < 0.8
    assert before.per_task["accuracy"].mean() > 0.4
    assert (after.per_task["accuracy"] == before.per_task["accuracy"]).all()
    assert after.calibration_error < 0.6 * before.calibration_error
    il.save(tmp_path / "kept", learner)
    loaded = il.load(tmp_path / "kept")
    assert torch.equal(loaded.temperature, learner.temperature)
    assert il.evaluate(loaded, test, **scoring).calibration_error == after.calibration_error


def test_a_shared_head_has_a_temperature_for_each_number_of_ways(tmp_path: Path) -> None:
    """Found on tasks of 9 ways it is the likeliest there and at 3, where one inner step leads 3 times as far."""
    pool = il.data.glyphs().train
    torch.manual_seed(0)
    network = il.nets.conv4((1, 28, 28), width=8, out=1, pool="stride", norm="support")
    learner = il.MAML(network, steps=1, lr=2.0, shared_head="out", tempered=True)
    il.fit(learner, il.FewShot(pool, ways=9, shots=1, queries=3), steps=60, lr=1e-2, how="vmap", progress=False)
    learner.eval()
    assert learner.by_ways is not None
    assert learner.by_ways(9).item() == 1
    plain = il.MAML(learner.net, steps=1, lr=2.0, shared_head="out").eval()
    drawn = il.FewShot(pool, ways=9, shots=1, queries=5).draw(torch.Generator().manual_seed(5), 200)
    nine = [laws.one(drawn, index) for index in range(200)]
    for ways, asked in ((9, nine), (3, [part for task in nine for part in parted(task, 3)])):
        found = [(laws.predict(learner, task), task.query.y) for task in asked]
        assert fitted_temperature(il.Categorical(), found) == pytest.approx(1, abs=0.25)
        one = learner.temperature * learner.by_ways(ways)
        torch.testing.assert_close(found[0][0] * one, laws.predict(plain, asked[0]))
    assert learner.by_ways(3).item() > 2
    il.save(tmp_path / "kept", learner)
    assert torch.equal(laws.predict(il.load(tmp_path / "kept"), asked[0]), laws.predict(learner, asked[0]))
    earlier = {name: p for name, p in learner.state_dict().items() if not name.startswith("by_")}
    load_weights(learner, earlier, "an earlier version")
    assert fill(learner, earlier) is None
    half = {name: p for name, p in learner.state_dict().items() if name != "by_ways.power"}
    assert fill(learner, half) == "lacks the weight 'by_ways.power'"


def test_all_classes_of_a_task_tell_the_temperature_of_few() -> None:
    """Whichever classes come first, each is in a part of its own number of ways."""
    pool = il.data.glyphs().train
    torch.manual_seed(0)
    network = il.nets.conv4((1, 28, 28), width=4, out=1, pool="stride", norm="support")
    learner = il.MAML(network, steps=1, lr=2.0, shared_head="out", tempered=True)
    batch = il.FewShot(pool, ways=9, shots=1, queries=2).draw(torch.Generator().manual_seed(1), 4)
    rolled = il.Task(*(il.Examples(part.x, part.y.roll(3, -1)) for part in batch))
    found = []
    for tasks in (batch, rolled):
        learner.calibrate([tasks])
        assert learner.by_ways is not None
        found.append((learner.temperature.item(), learner.by_ways.power.item()))
    assert found[0] == pytest.approx(found[1], rel=0.01)
    assert found[0][1] != 0


@pytest.mark.parametrize(("tempered", "left"), [(False, 1), (True, 0)])
def test_a_learner_without_a_temperature_leaves_the_tasks_of_a_calibration(tempered: bool, left: int) -> None:
    """A sampler that draws them one by one draws none that is not looked at."""
    drawn = iter([tasks()])
    il.MAML(il.nets.mlp(8, 3), steps=1, lr=0.1, tempered=tempered).double().calibrate(drawn)
    assert len(list(drawn)) == left


def test_a_temperature_follows_the_shots(tmp_path: Path) -> None:
    """Found on tasks of three shots it is the likeliest there, at one and at ten, where few say less of a class."""
    pool = il.data.glyphs().train
    torch.manual_seed(0)
    network = il.nets.conv4((1, 28, 28), width=4, out=1, pool="stride", norm="support")
    learner = il.ANIL(network, steps=1, lr=2.0, shared_head="out", tempered=True)
    il.fit(learner, il.FewShot(pool, ways=5, shots=3, queries=5), steps=60, lr=1e-2, how="vmap", progress=False)
    learner.eval()
    assert learner.by_shots is not None
    drawn = il.FewShot(pool, ways=5, shots=10, queries=5).draw(torch.Generator().manual_seed(5), 200)
    ten = [laws.one(drawn, index) for index in range(200)]
    least = {}
    for shots in (1, 3, 10):
        found = [(laws.predict(learner, task), task.query.y) for task in (with_shots(one, shots) for one in ten)]
        least[shots] = fitted_temperature(il.Categorical(), found)
    assert least == pytest.approx({1: 1, 3: 1, 10: 1}, abs=0.1)
    assert learner.by_shots(torch.tensor(3.0)).item() == 1
    assert learner.by_shots(torch.tensor(1.0)).item() > 1.2
    il.save(tmp_path / "kept", learner)
    task = with_shots(ten[0], 1)
    assert torch.equal(laws.predict(il.load(tmp_path / "kept"), task), laws.predict(learner, task))


@pytest.mark.parametrize(
    ("shots", "temperature", "others", "other", "factors"),
    [
        # a + b / K through (1, 4) and (2, 3): 2 + 2 / K.
        (1, 4.0, 2, 3.0, {1: 1.0, 2: 0.75, 4: 0.625}),
        # Rising with the shots: no part falls.
        (1, 2.0, 2, 3.0, {1: 1.0, 2: 1.0, 50: 1.0}),
        # Falling faster than one over them: what is left where they are many stays above zero.
        (1, 4.0, 2, 1.0, {1: 1.0, 2: (1 + 100 / 2) / 101, 100: 2 / 101}),
    ],
)
def test_the_part_that_falls_with_shots(
    shots: int, temperature: float, others: int, other: float, factors: dict[int, float]
) -> None:
    by_shots = ByShots()
    by_shots.fit(shots, temperature, others, other)
    assert {k: by_shots(torch.tensor(float(k))).item() for k in factors} == pytest.approx(factors)


def test_tasks_of_other_shots_hold_each_example_once() -> None:
    """With any number of shots the examples of a class are the first ones, and no query is a support example."""
    y = torch.eye(3)[torch.tensor([0, 1, 2, 2, 1, 0, 1, 1, 0, 2, 0, 2, 0, 1, 2])]
    x = torch.arange(15.0).view(15, 1)
    task = il.Task(il.Examples(x[:6], y[:6]), il.Examples(x[6:], y[6:]))
    fewer, more = with_shots(task, 1), with_shots(task, 3)
    assert fewer.support.x.flatten().tolist() == [0, 1, 2]
    assert torch.equal(fewer.query.x, task.query.x)
    assert more.support.x.flatten().tolist() == [*range(6), 6, 8, 9]
    assert more.query.x.flatten().tolist() == [7, 10, 11, 12, 13, 14]
    for part in (*fewer, *more):
        assert torch.equal(part.y, y[part.x.flatten().long()])


def test_neither_loop_sees_the_temperature(trained: tuple[il.MAML, il.FewShot]) -> None:
    learner, test = trained
    task = laws.one(test.draw(torch.Generator().manual_seed(0), 1), 0)
    found = learner.temperature.item()
    learner.eval()
    state, raw = learner.adapt(task.support), laws.predict(learner, task)
    loss = learner.train().loss(task)
    learner.temperature.fill_(1.0)
    torch.testing.assert_close(laws.predict(learner.eval(), task), raw * found)
    assert all(map(torch.equal, learner.adapt(task.support).parameters.values(), state.parameters.values()))
    assert torch.equal(learner.train().loss(task), loss)
    learner.temperature.fill_(found)
    learner.eval()


def test_a_head_that_is_refitted_alone_keeps_its_temperature() -> None:
    """Where the head alone adapts its refits run on features, by the temperature that the learner has."""
    torch.manual_seed(0)
    learner = il.ANIL(il.nets.mlp(8, 16, 3), steps=2, tempered=True).double().eval()
    task = laws.one(tasks(), 0)
    assert learner.by_shots is not None
    for temperature, noise in ((0.5, 0.0), (0.25, 0.0), (0.25, 2.0)):
        learner.temperature.fill_(temperature)
        learner.by_shots.noise.fill_(noise)
        for kept in (torch.arange(len(task.support.x))[None], torch.arange(1, len(task.support.x))[None]):
            found = answered(learner, task.support, kept, task.query.x)
            rest = il.Task(il.Examples(*(part[kept[0]] for part in task.support)), task.query)
            torch.testing.assert_close(found[0], laws.predict(learner, rest)[0])


def test_where_every_training_answer_is_right_the_temperature_stays_above_zero() -> None:
    """Beside n right answers one is told at random among D: the likeliest confidence is (n + 1 / D) / (n + 1)."""
    raw, y = torch.tensor([[[1.0, 0.0, 0.0]] * 17]).double(), torch.eye(3).double()[[0] * 17]
    temperature = fitted_temperature(il.Categorical(), [(raw, y)], prior=1.0)
    assert (raw / temperature).softmax(-1)[0, 0, 0].item() == pytest.approx((17 + 1 / 3) / 18, rel=1e-3)
    assert fitted_temperature(il.Categorical(), [(raw, y)]) < 0.01
    assert fitted_temperature(il.Categorical(), [(raw * torch.nan, y)]) is None
