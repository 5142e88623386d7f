"""Metrics as objects: their direction and words, those of other libraries, intervals of shares, comparisons."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from cases import pool
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from torch import Tensor

import innerloop as il
from innerloop.core.metric import ACCURACY, DELTA_AUPRC, LOG_LIKELIHOOD, MSE, NLL, ROC_AUC, Predictions
from innerloop.data import FewShot, Sinusoid
from innerloop.evaluation import stats

QUICK: dict[str, Any] = {"tasks": 12, "how": "loop"}


def blobs(ways: int = 3) -> FewShot:
    return FewShot(pool("blobs", "test"), ways=ways, shots=2, queries=5)


def protonet() -> il.ProtoNet:
    torch.manual_seed(0)
    return il.ProtoNet(il.nets.mlp(8, 16, 4))


def maml(lr: float = 0.01, scale: float | None = 1.0, seed: int = 0) -> il.MAML:
    torch.manual_seed(seed)
    net = il.nets.mlp(1, 8, 1 if scale is not None else 2)
    return il.MAML(net, lr=lr, likelihood=il.Gaussian(scale=scale))


def test_directions_and_words() -> None:
    assert [one.sign for one in (ACCURACY, ROC_AUC, DELTA_AUPRC, LOG_LIKELIHOOD)] == [1] * 4
    assert [one.sign for one in (MSE, NLL)] == [-1, -1]
    assert ACCURACY.text(0.5, (0.4, 0.6)) == "50.00 ± 10.00 %"
    assert ACCURACY.text(0.95, (0.8, 1.0)) == "95.00 % (80.00 to 100.00)"
    assert ACCURACY.text(0.5, (math.nan, math.nan)) == "50.00 %"
    assert ACCURACY.text(math.nan, (math.nan, math.nan)) == "no value"
    assert MSE.text(2.0, (1.5, 2.5)) == "2.0000 ± 0.5000"
    assert ACCURACY.points == "points"
    assert MSE.points == ""


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"better": "more"}, "'more'; choose 'higher' or 'lower'"),
        ({"name": ""}, "needs a name"),
        ({"bounds": (1.0, 0.0)}, r"bounds \(1.0, 0.0\) must rise"),
    ],
)
def test_what_is_no_metric_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(il.InputError, match=message):
        dataclasses.replace(MSE, **wrong)


def test_a_class_called_impossible_costs_what_the_smallest_probability_does() -> None:
    """Minus infinity as a logit, as without support: 744.4 nats, and the other queries as they are."""
    raw = torch.tensor([[[[0.0, -math.inf], [0.0, 0.0]]]])
    found = Predictions(il.Categorical(), raw, torch.tensor([[[0.0, 1.0], [1.0, 0.0]]]))
    assert found.nll[0].tolist() == pytest.approx([744.44007, math.log(2)])
    assert not found.failed.any()


def test_without_an_answer_the_ranking_is_the_worst() -> None:
    """A positive query goes to the end, a negative one to the front; a certain one does not vanish among infinities."""
    y = torch.eye(2)[torch.tensor([1, 1, 0, 0])].unsqueeze(0)
    sure = torch.tensor([[-9.0, 9.0], [-9.0, 9.0], [9.0, -9.0], [9.0, -9.0]])
    for query, area in ((0, 0.5), (2, 0.5)):
        raw = sure.clone()
        raw[query] = math.nan
        found = Predictions(il.Categorical(), raw.view(1, 1, 4, 2), y)
        assert ROC_AUC.score(found).tolist() == [area]
        assert ACCURACY.score(found).tolist() == [0.75]
        assert found.failed.tolist() == [True]
    certain = torch.tensor([[-math.inf, 0.0], [0.0, -math.inf], [0.0, -math.inf], [0.0, -math.inf]])
    found = Predictions(il.Categorical(), certain.view(1, 1, 4, 2), y)
    # One positive first, the other tied with both negatives at the end: precision 1 and 2 / 4, less the share.
    assert DELTA_AUPRC.score(found).tolist() == pytest.approx([(1 + 0.5) / 2 - 0.5])


def test_torchmetrics_are_scored_task_by_task() -> None:
    """Multiclass, with state, against accuracy; and the calibration of one task, which no mean over tasks gives."""
    classification = pytest.importorskip("torchmetrics.classification")
    given = [
        classification.MulticlassAccuracy(num_classes=3, average="micro"),
        classification.MulticlassF1Score(num_classes=3),
        classification.MulticlassCalibrationError(num_classes=3, n_bins=15),
    ]
    given[0].update(torch.tensor([0, 1]), torch.tensor([1, 2]))
    report = il.evaluate(protonet(), blobs(), metrics=given, **QUICK)
    np.testing.assert_allclose(report.per_task["MulticlassAccuracy"], report.per_task["accuracy"], rtol=1e-6)
    assert report.metrics["MulticlassCalibrationError"].better == "lower"
    assert report.metrics["MulticlassF1Score"].bounds == (0.0, 1.0)
    tasks = blobs().gather(report.indices)
    mean = il.lift(protonet().eval(), "loop").predict(tasks).softmax(-1).mean(1)
    for task in range(3):
        fresh = classification.MulticlassF1Score(num_classes=3)
        wanted = float(fresh(mean[task], tasks.query.y[task].argmax(1)))
        assert report.per_task["MulticlassF1Score"][task] == pytest.approx(wanted, abs=1e-6)
    # What was given is left with what it had seen.
    assert float(given[0].compute()) == 0.0
    assert report.asked == ("MulticlassAccuracy", "MulticlassF1Score", "MulticlassCalibrationError")
    assert "MulticlassF1Score 0." in str(report)
    assert report.json()["MulticlassF1Score"] == pytest.approx(float(report.per_task["MulticlassF1Score"].mean()))


def test_binary_and_regression_torchmetrics() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    two = il.evaluate(protonet(), blobs(2), metrics=[torchmetrics.classification.BinaryAUROC()], **QUICK)
    np.testing.assert_allclose(two.per_task["BinaryAUROC"], two.per_task["roc_auc"], atol=1e-6)
    given = [torchmetrics.MeanSquaredError(), torchmetrics.MeanAbsoluteError()]
    sines = il.evaluate(maml(), Sinusoid(), metrics=given, **QUICK)
    np.testing.assert_allclose(sines.per_task["MeanSquaredError"], sines.per_task["mse"], rtol=1e-5)
    assert sines.metrics["MeanAbsoluteError"].sign == -1


def test_functions_are_metrics() -> None:
    def worst(mean: Tensor, y: Tensor) -> float:
        return -float((mean - y).abs().max())

    most = il.Metric.of(lambda mean, y: (mean - y).abs().max(), "largest_error", better="lower")
    report = il.evaluate(maml(), Sinusoid(), metrics=[worst, most], **QUICK)
    assert report.per_task["largest_error"].tolist() == (-report.per_task["worst"]).tolist()
    assert (report.metrics["largest_error"].sign, report.metrics["worst"].sign) == (-1, 1)
    assert report.metric is MSE


def test_other_metrics_are_refused_by_name() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    classification = torchmetrics.classification
    cases: list[tuple[Any, str]] = [
        ([3], "3 is no metric"),
        ([classification.MulticlassAccuracy], "is no metric"),
        ([classification.MulticlassConfusionMatrix(num_classes=3)], "does not say whether higher"),
        ([classification.MulticlassAccuracy(num_classes=3, average=None)], r"shape \(3,\) for one task"),
        ([classification.MulticlassAccuracy(num_classes=5)], "MulticlassAccuracy cannot score .* 3 target columns"),
        ([il.Metric.of(lambda mean, y: 0.0, "accuracy")], "'accuracy' stands twice, or has the name"),
        ([il.Metric.of(lambda mean, y: 0.0, "a"), il.Metric.of(lambda mean, y: 1.0, "a")], "'a' stands twice"),
        ([lambda mean, y: mean], r"shape \(15, 3\) for one task"),
    ]
    for several, message in cases:
        with pytest.raises(il.InputError, match=message):
            il.evaluate(protonet(), blobs(), metrics=several, **QUICK)


def test_a_sampler_states_its_metric() -> None:
    """What it states is what a report is about, with its sign."""
    sampler = blobs()
    sampler.metric = NLL
    report = il.evaluate(protonet(), sampler, **QUICK)
    assert report.metric is NLL
    assert report.value == pytest.approx(float(report.per_task["nll"].mean()))
    assert report.score == -report.value
    assert report.open_interval[0] < report.value < report.open_interval[1]
    assert str(report).startswith("3-way 2-shot: nll ")


shares = st.lists(st.sampled_from([k / 15 for k in range(16)]), min_size=2, max_size=40)


@settings(deadline=None, max_examples=200)
@given(shares)
def test_an_interval_of_shares_holds_its_mean_and_stays_within_its_bounds(values: list[float]) -> None:
    """Whatever the shares; also as float32, as accuracies come, and for other bounds."""
    for kind in (np.float64, np.float32):
        found = np.array(values, dtype=kind)
        low, high = stats.interval(found, bounds=(0.0, 1.0))
        assert 0 <= low <= float(np.mean(found, dtype=np.float64)) <= high <= 1
        assert low < high
        moved = stats.interval(found * 2 - 1, bounds=(-1.0, 1.0))
        assert -1 <= moved[0] <= moved[1] <= 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_an_interval_without_bounds_holds_its_mean(values: list[float]) -> None:
    low, high = stats.interval(np.array(values))
    assert low <= float(np.mean(values)) <= high


def test_within_its_bounds_an_interval_is_students() -> None:
    values = np.random.default_rng(0).uniform(0.3, 0.7, 20)
    assert stats.interval(values, bounds=(0, 1)) == stats.interval(values)


def test_shares_that_are_all_alike_have_the_exact_binomial_interval() -> None:
    """Clopper and Pearson's, by scipy: a task is a try."""
    for hits in (0, 10):
        wanted = scipy_stats.binomtest(hits, 10).proportion_ci(0.95, "exact")
        found = stats.interval(np.full(10, hits / 10), bounds=(0, 1))
        assert found == pytest.approx((wanted.low, wanted.high))
    low, high = stats.interval(np.full(10, 0.5), bounds=(0, 1))
    wanted = scipy_stats.binomtest(5, 10).proportion_ci(0.95, "exact")
    assert (low, high) == pytest.approx((wanted.low, wanted.high))


@pytest.mark.parametrize(
    ("share", "tasks"), [(0.5, 6), (0.9, 10), (0.9, 100), (0.97, 30), (0.97, 300), (0.995, 10), (0.995, 600)]
)
def test_intervals_of_shares_cover_95_of_100_times(share: float, tasks: int) -> None:
    """Accuracies of 75 queries, tasks of different difficulty; near 1 Student's alone covers too few."""
    generator, repeats = np.random.default_rng(tasks), 400
    difficulty = generator.beta(30 * share, 30 * (1 - share), (repeats, tasks))
    values = generator.binomial(75, difficulty) / 75
    ends = [stats.interval(row, bounds=(0.0, 1.0)) for row in values]
    covered = np.mean([low <= share <= high for low, high in ends])
    assert 0.915 <= covered <= 1


def test_reports_say_when_there_are_too_few_tasks() -> None:
    """One task has no interval, up to five have one that is not to be relied on; the open one counts its own."""
    texts = {
        tasks: str(il.evaluate(protonet(), blobs(), tasks=tasks, how="loop", open=False)) for tasks in (1, 2, 5, 6)
    }
    assert texts[1].endswith("1 task, seed 0, norm none, not transductive; too few tasks for an interval")
    assert "±" not in texts[1]
    assert texts[2].endswith("2 tasks are too few for an interval that one can rely on")
    assert texts[5].endswith("5 tasks are too few for an interval that one can rely on")
    assert "too few" not in texts[6]
    wide = il.evaluate(protonet(), blobs(11), tasks=300, how="vmap")
    assert "from only" in str(wide)
    assert " classes)" in str(wide)
    assert 0 <= wide.open_interval[0] <= wide.open_interval[1] <= 1


def test_json_has_null_where_there_is_no_number() -> None:
    """One task: no interval. Strict JSON throughout."""
    for learner, sampler in ((protonet(), blobs()), (maml(), Sinusoid())):
        found = il.evaluate(learner, sampler, tasks=1, how="loop").json()
        again = json.loads(json.dumps(found, allow_nan=False))
        assert again["interval"] == [None, None]
        assert again["half_width"] is None
        assert again["tasks"] == 1


def test_less_error_is_better() -> None:
    """Above 0 the first is better, whichever way the metric runs."""
    good, bad = il.evaluate(maml(0.01), Sinusoid(), **QUICK), il.evaluate(maml(3.0), Sinusoid(), **QUICK)
    assert good.value < bad.value
    found = il.compare(good, bad)
    assert found.metric is MSE
    assert found.difference.mean == pytest.approx(bad.value - good.value)
    assert found.difference.wins == int((good.per_task["mse"] < bad.per_task["mse"]).sum())
    assert il.compare(bad, good).difference.mean == -found.difference.mean
    assert f"difference +{found.difference.mean:.4f}" in str(found)
    assert "mse, lower is better" in str(found)
    assert found.json()["better"] == "lower"


def test_reports_with_different_metrics_meet_on_one_that_both_have() -> None:
    """A learner that predicts its spread has a log likelihood, the other has not: both have a squared error."""
    spread, plain = il.evaluate(maml(scale=None), Sinusoid(), **QUICK), il.evaluate(maml(), Sinusoid(), **QUICK)
    assert (spread.metric, plain.metric) == (LOG_LIKELIHOOD, MSE)
    for first, second in ((spread, plain), (plain, spread)):
        found = il.compare(first, second)
        assert found.metric is MSE
        assert found.difference.mean == pytest.approx(second.mean("mse") - first.mean("mse"))
    on = il.compare(spread, plain, "nll")
    assert on.difference.mean == pytest.approx(plain.mean("nll") - spread.mean("nll"))
    with pytest.raises(il.InputError, match=r"'log_likelihood' is not in both .* they share mse, nll"):
        il.compare(spread, plain, "log_likelihood")
    with pytest.raises(il.InputError, match=r"did you mean mse\?"):
        il.compare(spread, plain, "mze")


def test_what_cannot_be_compared_is_refused_by_name() -> None:
    sines, classes = il.evaluate(maml(), Sinusoid(), **QUICK), il.evaluate(protonet(), blobs(), **QUICK)
    with pytest.raises(il.InputError, match="do not see the same tasks"):
        il.compare(sines, classes)
    other = dataclasses.replace(classes, episodes=sines.episodes)
    other.metrics = {"accuracy": ACCURACY}
    with pytest.raises(il.InputError, match="share no metric: the first has mse, nll, the second accuracy"):
        il.compare(sines, other)
    turned = dataclasses.replace(sines, metrics={"mse": dataclasses.replace(MSE, better="higher")})
    with pytest.raises(il.InputError, match="share no metric"):
        il.compare(dataclasses.replace(sines, metrics={"mse": MSE}), turned)
    one = il.evaluate(maml(), Sinusoid(), tasks=1, how="loop")
    with pytest.raises(il.InputError, match="two or more tasks"):
        il.compare(one, one)


def test_a_difference_of_shares_stays_within_what_shares_can_differ_by() -> None:
    """Two tasks, one lost and one won altogether."""
    first, second = np.array([1.0, 0.0]), np.array([0.0, 0.5])
    assert il.paired(first, second).interval[1] > 1
    assert il.paired(first, second, bounds=(0.0, 1.0)).interval == (-1.0, 1.0)
