"""How sure a learner is: temperatures, reliability, risk against coverage, strangers; beside other libraries."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from torchmetrics.classification import MulticlassCalibrationError

import innerloop as il
from innerloop.core.lifting import embed
from innerloop.evaluation.resampling import jackknife
from innerloop.evidence import (
    LearnedScore,
    answers,
    area_under_risk,
    auroc,
    excess_area,
    plain_scores,
    reliability,
    risk_coverage,
    tempered,
    uncertainty,
)
from innerloop.evidence.answers import OTHER_CLASSES
from innerloop.evidence.selective import area_statistic, auroc_statistic
from innerloop.evidence.tempering import temperature_of

WAYS = 3


def pool(seed: int, classes: int = 12, shape: tuple[int, ...] = (4,)) -> il.Pool:
    """Classes that overlap a little."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(12)
    centers = 1.5 * torch.randn(classes, *shape, generator=generator)
    return il.Pool.of(centers[labels] + torch.randn(len(labels), *shape, generator=generator), labels)


def tasks(seed: int = 0, **sizes: int) -> il.FewShot:
    return il.FewShot(pool(seed), **{"ways": WAYS, "shots": 2, "queries": 5, **sizes})


def protonet(scale: float = 1.0) -> il.ProtoNet:
    torch.manual_seed(0)
    return il.ProtoNet(il.nets.mlp(4, 8, 6), scale=scale)


def maml() -> il.MAML:
    torch.manual_seed(0)
    return il.MAML(il.nets.mlp(4, 8, WAYS), steps=2, lr=0.1)


LEARNERS = {"protonet": protonet, "maml": maml}


@pytest.mark.parametrize("name", LEARNERS)
def test_a_temperature_divides_the_logits_and_changes_no_answer(name: str, device: torch.device) -> None:
    learner = LEARNERS[name]().to(device).eval()
    task = il.data.FewShot(pool(1), ways=WAYS, shots=2, queries=5).draw(torch.Generator(), 1)
    support, query = (il.Examples(part.x[0].to(device), part.y[0].to(device)) for part in task)
    whole = il.learners.Tempered(learner, 2.5)
    raw, cool = (one.predict(one.adapt(support), query.x) for one in (learner, whole))
    assert torch.equal(cool, raw / 2.5)
    for one in (il.learners.Tempered(learner), il.learners.Tempered(whole, 0.4)):
        again = one.predict(one.adapt(support), query.x)
        assert torch.allclose(again, raw, atol=1e-5)


@pytest.mark.parametrize("name", LEARNERS)
def test_evaluation_and_bundle_carry_the_temperature(name: str, tmp_path) -> None:
    learner, sampler = LEARNERS[name](), tasks()
    cool = il.learners.Tempered(learner, 3.0)
    il.save(tmp_path / "cool", cool)
    again = il.load(tmp_path / "cool")
    assert isinstance(again, il.learners.Tempered)
    assert again.temperature == 3.0
    plain, own, kept = (il.evaluate(one, sampler, tasks=20, how="loop") for one in (learner, cool, again))
    assert plain.value == own.value
    assert plain.mean("nll") != own.mean("nll")
    assert np.array_equal(own.per_task["nll"], kept.per_task["nll"])


def test_the_encoder_still_runs_once_and_training_is_the_learners() -> None:
    learner = protonet()
    cool = il.learners.Tempered(learner, 3.0)
    encoder, head = cool.split()
    assert encoder is learner.encoder
    assert isinstance(head, il.learners.Tempered)
    assert cool.backbone() is learner.backbone()
    batch = tasks().draw(torch.Generator(), 2)
    assert torch.equal(il.lift(cool, "loop").loss(batch), il.lift(learner, "loop").loss(batch))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_is_positive(temperature: float) -> None:
    with pytest.raises(il.InputError, match="must be above 0"):
        il.learners.Tempered(protonet(), temperature)


def test_real_targets_have_no_temperature() -> None:
    sines = il.MAML(il.nets.mlp(1, 4, 1), likelihood=il.Gaussian(scale=1.0))
    with pytest.raises(il.InputError, match="no logits"):
        il.learners.Tempered(sines)
    with pytest.raises(il.InputError, match="of classes"):
        answers(sines, il.data.Sinusoid())


def test_the_temperature_is_the_likeliest_of_a_grid() -> None:
    found = answers(protonet(), tasks(), tasks=50)
    best = temperature_of(found)
    losses = {t: float(found.tempered(t).nll.mean()) for t in (best, *np.geomspace(0.05, 50, 40))}
    assert min(losses, key=losses.get) == best
    # Of logits that are three times as large it is three times as large.
    assert temperature_of(found.tempered(1 / 3)) == pytest.approx(3 * best, rel=1e-3)
    assert tempered(protonet(), tasks(), tasks=50, seed=0).temperature == best
    with pytest.raises(il.InputError, match="has a temperature"):
        tempered(tempered(protonet(), tasks(), tasks=5), tasks())


@pytest.mark.parametrize("name", LEARNERS)
def test_answers_are_those_of_evaluate(name: str) -> None:
    """The same tasks, probabilities and mode; distances are from class means of features."""
    learner, sampler = LEARNERS[name]().train(), tasks()
    found = answers(learner, sampler, tasks=30, seed=3)
    assert learner.training
    report = il.evaluate(learner, sampler, tasks=30, seed=3)
    assert found.right.double().mean(1).numpy() == pytest.approx(report.per_task["accuracy"])
    assert found.nll.mean(1).numpy() == pytest.approx(report.per_task["nll"], rel=1e-4)
    if name == "maml":
        assert found.own.distance is None
        return
    batch = sampler.draw(torch.Generator().manual_seed(3), 30)
    with torch.no_grad():
        support, query = (embed(learner.encoder, part.x.flatten(0, 1)).unflatten(0, part.x.shape[:2]) for part in batch)
    means = torch.stack([support[:, way::WAYS].mean(1) for way in range(WAYS)], 1)
    wanted = (query.unsqueeze(2) - means.unsqueeze(1)).norm(dim=3).amin(2)
    assert torch.allclose(found.own.distance.float(), wanted, atol=1e-4)


def test_strangers_share_no_class_and_other_domains_are_asked() -> None:
    """A learner that says what it is asked: the strangers' examples are of other classes than their task's."""
    labels = torch.arange(12).repeat_interleave(12)
    told = il.Pool.of(torch.stack((labels.float(), torch.ones(len(labels))), 1), labels)
    sampler = il.FewShot(told, ways=WAYS, shots=2, queries=5)
    other = il.FewShot(il.Pool.of(torch.full((36, 2), 99.0), [i % 3 for i in range(36)]), ways=3, shots=1, queries=4)
    learner = il.ProtoNet(torch.nn.Identity())
    found = answers(learner, sampler, tasks=40, strangers=True, others={"far": other})
    assert list(found.strangers) == [OTHER_CLASSES, "far"]
    assert float(found.own.distance.max()) < 1e-6
    assert float(found.strangers[OTHER_CLASSES].distance.min()) > 0.9
    assert found.strangers["far"].raw.shape == (40, 1, 12, 3)
    assert float(found.strangers["far"].distance.min()) > 80
    with pytest.raises(il.InputError, match="read it at that size"):
        answers(learner, sampler, tasks=4, others={"wide": tasks()})
    # Where any two tasks have a class in common nobody is a stranger, and no score of strangers can be learned.
    crowded = il.FewShot(told, ways=7, shots=1, queries=1)
    assert not answers(learner, crowded, tasks=4, strangers=True).strangers
    near = uncertainty(learner, crowded, crowded, others={"far": other}, tasks=9, validation_tasks=9)
    assert (list(near.strangers), near.strangers_gain) == (["far"], {})
    assert "far told from its own" in str(near)


def test_the_calibration_error_is_torchmetrics() -> None:
    generator = np.random.default_rng(0)
    proba = softmax(2 * generator.standard_normal((40, 25, 4)), 2)
    truth = generator.integers(4, size=(40, 25))
    found = reliability(proba.max(2), proba.argmax(2) == truth)
    theirs = MulticlassCalibrationError(4, n_bins=15)(torch.tensor(proba).flatten(0, 1), torch.tensor(truth).flatten())
    assert found.error == pytest.approx(float(theirs), abs=1e-6)
    assert found.share.sum() == pytest.approx(1)
    assert found.error == pytest.approx(float((found.share * np.abs(found.confidence - found.accuracy)).sum()))
    mass = reliability(proba.max(2), proba.argmax(2) == truth, equal="mass")
    assert mass.share == pytest.approx(np.full(15, 1 / 15), abs=2e-3)
    json.dumps(found.json())


def test_noise_alone_is_no_calibration_error() -> None:
    """Of a calibrated learner 0 is within the interval, of one that is off by .2 the interval holds .2."""
    generator = np.random.default_rng(1)
    said = generator.uniform(0.5, 0.75, (60, 20))
    drawn = generator.uniform(size=said.shape)
    calibrated, timid = reliability(said, drawn < said), reliability(said, drawn < said + 0.2)
    assert calibrated.error > 0.01
    assert calibrated.debiased < calibrated.error / 2
    assert calibrated.interval[0] == 0
    assert timid.interval[0] < 0.2 < timid.interval[1]
    assert timid.interval[0] <= timid.debiased <= timid.interval[1]
    assert timid.interval[1] - timid.interval[0] < 0.12
    sure = reliability(np.ones((3, 2)), np.ones((3, 2), bool))
    assert (sure.error, sure.debiased, sure.interval) == (0, 0, (0, 0))


def test_reliability_refuses() -> None:
    one = np.ones((4, 2))
    for confidence, right, options in ((one, one[:2], {}), (one[:1], one[:1], {}), (one, one, {"bins": 0})):
        with pytest.raises(il.InputError):
            reliability(confidence, right > 0, **options)
    with pytest.raises(il.InputError, match="'mass'"):
        reliability(one, one > 0, equal="size")


def test_risk_and_coverage_by_hand() -> None:
    """Exact values, and a naive version without ties."""
    coverage, risk = risk_coverage(np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, False, True, True]))
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk == pytest.approx([0, 0.25, 1 / 3, 0.25])
    generator = np.random.default_rng(0)
    score, right = generator.standard_normal(50), generator.uniform(size=50) < 0.8
    order = sorted(range(50), key=lambda i: -score[i])
    naive = [sum(not right[i] for i in order[:k]) / k for k in range(1, 51)]
    assert area_under_risk(score, right) == pytest.approx(np.mean(naive))
    assert excess_area(right.astype(float), right) == 0
    assert excess_area(score, right) > 0
    # A score without meaning has the error rate everywhere.
    assert area_under_risk(np.zeros(50), right) == pytest.approx(1 - right.mean())
    with pytest.raises(il.InputError):
        area_under_risk(np.zeros(0), np.zeros(0, bool))


def test_auroc_is_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    own, other = np.round(generator.standard_normal((6, 9)) + 1, 1), np.round(generator.standard_normal((6, 7)), 1)
    truth = np.r_[np.ones(54), np.zeros(42)]
    wanted = roc_auc_score(truth, np.r_[own.ravel(), other.ravel()])
    assert auroc(own, other) == pytest.approx(wanted)
    kept = np.array([0, 2, 5])
    wanted = roc_auc_score(np.r_[np.ones(27), np.zeros(21)], np.r_[own[kept].ravel(), other[kept].ravel()])
    assert auroc_statistic(own, other)(kept) == pytest.approx(wanted)
    assert np.isnan(auroc(own, np.zeros(0)))


def test_an_area_of_some_tasks() -> None:
    generator = np.random.default_rng(0)
    score, right = np.round(generator.standard_normal((6, 9)), 1), generator.uniform(size=(6, 9)) < 0.8
    kept = np.array([1, 2, 4])
    assert area_statistic(score, right)(kept) == pytest.approx(area_under_risk(score[kept], right[kept]))


def test_the_jackknife_of_a_mean_is_students_interval() -> None:
    """Of one task a part; with bounds it stays within them; at a bound it is the binomial one."""
    values = np.random.default_rng(0).uniform(size=30)
    mean = lambda kept: float(values[kept].mean())  # noqa: E731
    found = jackknife(mean, 30)
    assert found.interval == pytest.approx(il.evaluation.stats.interval(values))
    within = jackknife(mean, 30, bounds=(0, 1))
    assert 0 < within.interval[0] < within.value < within.interval[1] < 1
    assert jackknife(lambda kept: 1.0, 20, bounds=(0, 1)).interval[1] == 1
    coarse = jackknife(mean, 30, groups=10)
    assert coarse.value == found.value
    with pytest.raises(il.InputError):
        jackknife(mean, 1)


def test_a_learned_score_tells_strangers() -> None:
    """It is at least as good as the largest probability, on classes that it has not seen."""
    learner = il.ProtoNet(torch.nn.Identity())
    known = answers(learner, tasks(0), tasks=60, strangers=True)
    found = answers(learner, tasks(5), tasks=60, seed=9, strangers=True)
    score = LearnedScore(known, "own")
    theirs = found.strangers[OTHER_CLASSES]
    learned = auroc(score(found.likelihood, found.own), score(found.likelihood, theirs))
    plain = [plain_scores(found.likelihood, seen)["probability"] for seen in (found.own, theirs)]
    assert learned > auroc(*plain)
    assert learned > 0.75


def test_uncertainty_says_all_of_it() -> None:
    found = uncertainty(protonet(5.0), tasks(1), tasks(0), others={"far": tasks(7)}, tasks=60, validation_tasks=60)
    assert found.temperature > 1
    assert found.after.nll.value < found.before.nll.value
    assert found.after.reliability.error < found.before.reliability.error
    low, high = found.after.nll.interval
    assert low < found.after.nll.value < high
    assert set(found.area) == {"probability", "energy", "distance", "learned"}
    assert found.area["probability"].value - found.area["learned"].value == pytest.approx(found.area_gain.value)
    assert list(found.strangers) == [OTHER_CLASSES, "far"]
    gain = found.strangers["far"]["learned"].value - found.strangers["far"]["probability"].value
    assert found.strangers_gain["far"].value == pytest.approx(gain)
    assert "with the temperature: calibration error" in str(found)
    values = json.loads(json.dumps(found.json()))
    assert values["after"]["reliability"]["error"] == found.after.reliability.error
    again = uncertainty(protonet(5.0), tasks(1), tasks(0), others={"far": tasks(7)}, tasks=60, validation_tasks=60)
    assert again.json() == found.json()


def test_a_learner_without_an_encoder_has_fewer_scores() -> None:
    found = uncertainty(maml(), tasks(1), tasks(0), tasks=20, validation_tasks=20)
    assert set(found.area) == {"probability", "energy", "learned"}
    with pytest.raises(il.InputError, match="tasks is 1; it must be at least 2"):
        uncertainty(maml(), tasks(1), tasks(0), tasks=1)
