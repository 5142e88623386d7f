"""How many examples a learner saves: curves on nested tasks, and what a baseline needs instead, with its interval."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from test_cli import Cli

import innerloop as il
from innerloop.data import Pool, write_pool
from innerloop.data.fitted import fitted, inverted, turned
from innerloop.data.fixed import Fixed, mislabeled, nested, within
from innerloop.evidence import baselines
from innerloop.evidence.efficiency import Curve, curve, shots_of
from innerloop.evidence.several import judged


def clusters(classes: int = 12, examples: int = 30, spread: float = 0.6, size: int = 4) -> Pool:
    """Classes as Gaussian clusters."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(classes, 1, size, generator=generator)
    x = centers + spread * torch.randn(classes, examples, size, generator=generator)
    return Pool(x.flatten(0, 1), torch.full((classes,), examples), tuple(f"c{i}" for i in range(classes)))


def test_more_shots_are_the_fewer_ones_and_some_and_the_queries_stay() -> None:
    found = nested(clusters(), [1, 3, 10], ways=5, queries=4, tasks=6, seed=2)
    for few, many in ((1, 3), (3, 10)):
        assert torch.equal(found[few].given.support, found[many].given.support[:, : few * 5])
        assert torch.equal(found[few].given.query, found[many].given.query)
    assert not set(found[10].given.support[0].tolist()) & set(found[10].given.query[0].tolist())
    assert (found[1].shots, found[1].queries, found[1].ways) == (1, 4, 5)


@pytest.mark.parametrize(("share", "wrong"), [(0.0, 0), (0.1, 2.5), (0.2, 5), (0.4, 10), (0.5, 12.5)])
def test_so_many_labels_are_wrong_and_the_classes_as_large_as_before(share: float, wrong: float) -> None:
    right = nested(clusters(), [5], ways=5, queries=4, tasks=20)[5]
    found = mislabeled(right, share, seed=1)
    labels = [tasks.pool.labels(tasks.given.support) for tasks in (right, found)]
    assert (labels[0] != labels[1]).sum(1).double().mean() == wrong
    assert torch.equal(found.given.support.sort(1).values, right.given.support.sort(1).values)
    assert torch.equal(found.given.query, right.given.query)


def test_two_ways_trade_labels_in_pairs() -> None:
    right = nested(clusters(), [5], ways=2, queries=4, tasks=8)[5]
    found = mislabeled(right, 0.3)
    wrong = (right.pool.labels(right.given.support) != right.pool.labels(found.given.support)).sum(1)
    assert set(wrong.tolist()) == {2}


def test_tasks_within_groups_take_turns() -> None:
    pool = clusters()
    groups = [["c0", "c1", "c2"], ["c5"], ["c8", "c9", "c10", "c11"]]
    found = within(pool, groups, ways=3, shots=2, queries=1, tasks=6)
    assert all(set(row) == {0, 1, 2} for row in found.given.classes[::2].tolist())
    assert all(set(row) <= {8, 9, 10, 11} for row in found.given.classes[1::2].tolist())
    ways = torch.arange(6) % 3
    assert torch.equal(pool.labels(found.given.support), found.given.classes[:, ways])
    with pytest.raises(il.InputError, match="no group has 5"):
        within(pool, groups, ways=5, shots=1, queries=1, tasks=1)


def test_images_come_to_another_form_as_pillow_makes_them() -> None:
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (2, 3, 40, 32), generator=generator, dtype=torch.uint8)
    pool = Pool(x, torch.tensor([2]), ("c",))
    gray = fitted(pool, (1, 40, 32)).x
    pillow = [np.asarray(Image.fromarray(one.permute(1, 2, 0).numpy()).convert("L")) for one in x]
    assert np.abs(gray[:, 0].numpy().astype(int) - np.stack(pillow)).max() <= 1
    small = fitted(pool, (3, 20, 16)).x
    resized = [Image.fromarray(one.permute(1, 2, 0).numpy()).resize((16, 20), Image.Resampling.BILINEAR) for one in x]
    assert np.abs(small.permute(0, 2, 3, 1).numpy().astype(int) - np.stack(resized)).max() <= 2
    assert fitted(fitted(pool, (1, 40, 32)), (3, 40, 32)).x[:, 2].equal(gray[:, 0])
    assert torch.equal(inverted(inverted(pool)).x, x)
    assert torch.equal(turned(pool, 4).x, x)
    assert fitted(pool, pool.shape) is pool
    with pytest.raises(il.InputError, match="cannot be fitted"):
        fitted(clusters(), (1, 28, 28))


def test_the_images_of_a_mapped_pool_are_those_that_it_means(tmp_path: Path) -> None:
    x = torch.rand(3, 2, 1, 4, 4)
    mapped = write_pool(tmp_path, [(f"c{i}", x[i]) for i in range(3)]).only(["c2", "c0"]).rotated()
    found = inverted(mapped)
    assert found.names == mapped.names
    torch.testing.assert_close(found.x, 1 - mapped.get(torch.arange(mapped.examples)))


def test_learners_that_share_an_encoder_have_the_scores_of_evaluate() -> None:
    torch.manual_seed(0)
    pool = Pool.of(torch.rand(60, 1, 8, 8), [i % 6 for i in range(60)])
    net = il.nets.conv4((1, 8, 8), width=4, pools=1)
    learners = {"proto": il.ProtoNet(net).eval(), "head": baselines.on_features(il.ProtoNet(net))}
    learners["maml"] = il.MAML(il.nets.conv4((1, 8, 8), width=4, pools=1, out=3, norm="batch"), steps=1)
    tasks = nested(pool, [1, 4], ways=3, queries=2, tasks=5)
    found = judged(learners, {str(k): one for k, one in tasks.items()}, number=5)
    for name, learner in learners.items():
        for shots, one in tasks.items():
            alone = il.evaluate(learner, one, tasks=5, open=False)
            np.testing.assert_allclose(found[name][str(shots)].per_task["nll"], alone.per_task["nll"], rtol=1e-4)


def straight(own: float, *best: float, tasks: int = 40, spread: float = 0.0) -> Curve:
    """A learner of one score, and a baseline of others at 1, 4 and 16 shots; all tasks alike, or spread alike."""
    shift = np.linspace(-spread, spread, tasks)
    values = {"ours": np.full((3, tasks), own) + shift, "plain": np.array(best)[:, None] + shift}
    return Curve((1, 4, 16), values, ("plain",), np.arange(2 * tasks).reshape(tasks, 2))


@pytest.mark.parametrize(
    ("own", "best", "needed"),
    [
        (0.7, (0.5, 0.7, 0.9), 4),
        (0.6, (0.5, 0.7, 0.9), 2),  # half way in the logarithm
        (0.8, (0.5, 0.7, 0.9), 8),
        (0.95, (0.5, 0.7, 0.9), math.inf),
        (0.4, (0.5, 0.7, 0.9), 1),
        (0.9, (0.5, 0.7, 0.9), 16),
        (0.55, (0.5, 0.4, 0.9), 4 * 4 ** (0.1 / 0.45)),  # a dip is leveled: .45 at both
    ],
)
def test_what_a_baseline_needs_is_read_off_its_rising_curve(own: float, best: tuple[float, ...], needed: float) -> None:
    found = straight(own, *best).saved("ours")
    assert found.needed == pytest.approx(needed)
    assert found.interval == pytest.approx((needed, needed))


def test_the_words_say_where_the_measured_shots_end() -> None:
    assert straight(0.95, 0.5, 0.7, 0.9).saved("ours").cell() == "more than 16"
    assert straight(0.4, 0.5, 0.7, 0.9).saved("ours").cell() == "at most 1"
    assert str(straight(0.6, 0.5, 0.7, 0.9).saved("ours")) == "ours with 1 shot equals plain with 2.0 (2.0 to 2.0)"
    assert straight(0.95, 0.5, 0.7, 0.9).saved("ours").json()["needed"] is None


def test_the_best_baseline_counts_at_each_number_of_shots() -> None:
    base = straight(0.7, 0.5, 0.6, 0.65)
    other = np.repeat(np.array([[0.3], [0.7], [0.9]]), 40, 1)
    both = Curve(base.shots, {**base.values, "other": other}, ("plain", "other"))
    assert both.best(1) == "plain"
    assert both.best(4) == "other"
    assert both.saved("ours").needed == pytest.approx(4)
    assert both.saved("ours").baseline == "other"


def test_pairing_takes_out_what_tasks_have_in_common() -> None:
    # Tasks differ a lot, alike for both: the number does not.
    found = straight(0.6, 0.5, 0.7, 0.9, spread=0.09).saved("ours")
    assert found.interval == pytest.approx((2, 2), rel=1e-6)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Simulated: baselines rise by the logarithm of the shots, the truth is 2; and so if classes carry the spread."""
    rng = np.random.default_rng(0)
    inside = {"tasks": 0, "classes": 0}
    repeats = 120
    for _ in range(repeats):
        classes = np.stack([rng.permutation(60)[:3] for _ in range(150)])
        ease = 0.05 * rng.standard_normal((2, 60))
        for over in inside:
            shared = ease[:, classes].sum(2) if over == "classes" else np.zeros((2, 150))
            noise = 0.08 * rng.standard_normal((2, 3, 150))
            ours = 0.6 + shared[0] + noise[0]
            plain = np.array([[0.5], [0.7], [0.9]]) + shared[1] + noise[1]
            found = Curve((1, 4, 16), {"ours": ours, "plain": plain}, ("plain",), classes)
            low, high = found.saved("ours", over=over, draws=200).interval  # type: ignore[arg-type]
            inside[over] += low <= 2 <= high
    assert 0.89 <= inside["tasks"] / repeats <= 0.99
    # Over classes the spread of tasks counts more than once: no less than it says.
    assert inside["classes"] / repeats >= 0.91


def test_a_curve_of_heads_on_clusters() -> None:
    pool = clusters(spread=1.0)
    found = curve(
        {"prototypes": il.learners.Prototypes()}, pool, baselines={"logistic": il.learners.LogisticRegression()},
        shots=(4, 1), ways=4, tasks=40,
    )  # fmt: skip
    assert found.shots == (1, 4)
    assert found.mean("prototypes", 4)[0] > found.mean("prototypes", 1)[0] > 0.4
    assert found.gap("prototypes", 1).tasks == 40
    assert "4 shots" in str(found)
    with pytest.raises(il.InputError, match="a learner and a baseline"):
        curve({"a": il.learners.Prototypes()}, pool, baselines={"a": il.learners.Prototypes()})


def test_shots_go_as_far_as_the_examples_do() -> None:
    assert shots_of(clusters(examples=30), 5) == (1, 2, 5, 10, 20)
    assert shots_of(clusters(examples=13), 5) == (1, 2, 5, 8)
    with pytest.raises(il.InputError, match="take fewer queries"):
        shots_of(clusters(examples=5), 5)


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(il.InputError, match="must rise"):
        Curve((4, 1), {"a": np.zeros((2, 3))})
    with pytest.raises(il.InputError, match="for each shots and task"):
        Curve((1,), {"a": np.zeros((1, 3)), "b": np.zeros((1, 4))})
    with pytest.raises(il.InputError, match="did you mean plain"):
        Curve((1,), {"plain": np.zeros((1, 3))}, ("plian",))
    with pytest.raises(il.InputError, match="no baseline"):
        Curve((1,), {"plain": np.zeros((1, 3))}).saved("plain")


def test_given_tasks_are_given_and_no_more() -> None:
    tasks = nested(clusters(), [1], ways=3, queries=1, tasks=4)[1]
    with pytest.raises(il.InputError, match="5 tasks are asked for, 4 are given"):
        tasks.draw(torch.Generator(), 5)
    given = tasks.given
    with pytest.raises(il.InputError, match="same number of examples"):
        Fixed(tasks.pool, il.data.Episodes(given.classes, given.support[:, :2], given.query))


def test_the_command_prints_a_table_json_and_a_picture(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    cli = Cli(monkeypatch, capsys)
    for split in ("train", "val", "test"):
        write_pool(tmp_path / split, [(f"{split}{i}", torch.rand(8, 1, 8, 8)) for i in range(6)])
    common = ["--data", "mapped", "--root", tmp_path, "--width", "4", "--set", "net.pools=1", "--steps", "0", "--quiet"]
    common += ["--set", "validation.tasks=2", "--set", "validation.queries=2"]
    small = ["--ways", "3", "--queries", "2"]
    assert cli("train", "protonet", *common, *small, "--out", tmp_path / "a")[0] == 0
    assert cli("train", "finetune", *common, "--out", tmp_path / "b")[0] == 0
    words = ["curve", tmp_path / "a", tmp_path / "b", "--ways", "3", "--queries", "2", "--tasks", "4"]
    code, out, said = cli(*words, "--json", "--plot", tmp_path / "c.svg")
    assert code == 0, said
    found = json.loads(out)
    assert found["shots"] == [1, 2, 5, 6]
    assert set(found["learners"]) == {"a", "b", "b, logistic head", "logistic regression on inputs"}
    assert [row["learner"] for row in found["saved"]] == ["a"] * 4
    assert (tmp_path / "c.svg").read_text().startswith("<?xml")
    code, out, said = cli(*words, "--shots", "1,2", "--over", "classes")
    assert code == 0, said
    assert "shots for which the best baseline equals a" in out
    code, _, said = cli(*words, "--plot", tmp_path / "c.png")
    assert code == 2
    assert "must end in .svg" in said
