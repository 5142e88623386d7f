"""Evaluation: the same tasks for everyone, intervals that are right, and reports that can be kept."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from cases import WAYS, episodes, pool
from scipy import stats as scipy_stats
from torch import Tensor, nn

import innerloop as il
from innerloop.core import checkpoint
from innerloop.core import metric as metrics
from innerloop.data import Augment, Batches, FewShot, Pool, Sampler, Sinusoid
from innerloop.evaluation import stats
from innerloop.evaluation.classes import open_interval
from innerloop.evaluation.save import check_writable, save_report

QUICK: dict[str, Any] = {"tasks": 12, "how": "vmap"}


def protonet(seed: int = 0) -> il.ProtoNet:
    """A small classification learner."""
    torch.manual_seed(seed)
    return il.ProtoNet(il.nets.mlp(8, 16, 4))


def maml(out: int = 1, **options: Any) -> il.MAML:
    """A small regression learner."""
    return il.MAML(il.nets.mlp(1, 8, out), lr=0.01, likelihood=il.Gaussian(**{"scale": 1.0, **options}))


def blobs(**options: int) -> FewShot:
    """Episodes of feature vectors."""
    return FewShot(pool("blobs", "test"), **{"ways": WAYS, "shots": 2, "queries": 5, **options})


def test_a_seed_gives_the_same_episodes_to_every_learner() -> None:
    """Digest and indices agree between learners and ways of lifting, and differ between seeds."""
    first = il.evaluate(protonet(), blobs(), seed=3, **QUICK)
    second = il.evaluate(protonet(1), blobs(), seed=3, tasks=12, how="loop")
    other = il.evaluate(protonet(), blobs(), seed=4, **QUICK)
    assert first.episodes == second.episodes != other.episodes
    assert all(torch.equal(a, b) for a, b in zip(first.indices, second.indices, strict=True))
    assert first.seed == 3
    assert first.per_task["accuracy"].tolist() != second.per_task["accuracy"].tolist()
    again = il.evaluate(protonet(), blobs(), seed=3, **QUICK)
    assert again.per_task["nll"].tolist() == first.per_task["nll"].tolist()


def test_drawn_tasks_have_a_digest_too() -> None:
    """Functions are drawn afresh; the digest is of their values."""
    first, second = (il.evaluate(maml(), Sinusoid(), seed=3, **QUICK) for _ in range(2))
    assert first.episodes == second.episodes
    assert first.episodes != il.evaluate(maml(), Sinusoid(), seed=4, **QUICK).episodes


def test_the_open_interval_changes_no_episode() -> None:
    """Asking for it or not, the closed figures are the same."""
    with_open = il.evaluate(protonet(), blobs(), **QUICK)
    without = il.evaluate(protonet(), blobs(), open=False, **QUICK)
    assert with_open.episodes == without.episodes
    assert with_open.per_task["accuracy"].tolist() == without.per_task["accuracy"].tolist()
    assert without.open_interval is None


@pytest.mark.parametrize("chunk", [1, 5, None])
@pytest.mark.parametrize("how", ["vmap", "loop", "auto"])
def test_chunks_and_lifting_change_no_figure(how: Any, chunk: int | None) -> None:
    """However many tasks at a time and in whatever way: the same accuracies."""
    wanted = il.evaluate(protonet(), blobs(), **QUICK)
    got = il.evaluate(protonet(), blobs(), tasks=12, how=how, chunk=chunk)
    assert got.per_task["accuracy"].tolist() == wanted.per_task["accuracy"].tolist()
    numpy.testing.assert_allclose(got.per_task["nll"], wanted.per_task["nll"], rtol=1e-5)
    assert got.calibration_error == pytest.approx(wanted.calibration_error, rel=1e-5)


def test_the_closed_interval_is_students_without_the_skewness() -> None:
    """Its ends are where Hall's transform of the studentized mean is a quantile of Student's t."""
    report = il.evaluate(protonet(), blobs(), **QUICK)
    values = report.per_task["accuracy"].astype(numpy.float64)
    n, t = len(values), scipy_stats.t.ppf(0.975, len(values) - 1)
    g = scipy_stats.skew(values) * ((n - 1) / n) ** 1.5 / math.sqrt(n)
    for end, wanted in zip(report.interval, (t, -t), strict=True):
        w = (values.mean() - end) / scipy_stats.sem(values)
        assert w + g * w**2 / 3 + g**2 * w**3 / 27 + g / 6 == pytest.approx(wanted)
    assert report.value == pytest.approx(values.mean())
    assert report.tasks == 12


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_intervals_of_any_level(level: float) -> None:
    """Against scipy, of values without skewness; one value or none has no interval."""
    half = numpy.random.default_rng(0).normal(size=17)
    values = numpy.concatenate((half, -half))
    wanted = scipy_stats.ttest_1samp(values, 0).confidence_interval(level)
    assert stats.interval(values, level) == pytest.approx((wanted.low, wanted.high))
    for few in (values[:1], values[:0]):
        assert all(math.isnan(end) for end in stats.interval(few))
    assert stats.interval(numpy.ones(5)) == (1.0, 1.0)


def test_the_open_interval_is_of_the_reports_classes() -> None:
    """Of the same episodes, by the classes of each; wider than the closed one where classes differ."""
    report = il.evaluate(protonet(), blobs(), seed=2, tasks=200, how="vmap")
    wanted = open_interval(report.per_task["accuracy"], report.indices.classes.numpy(), (0, 1))
    assert report.open_interval == wanted
    assert wanted[1] - wanted[0] > report.interval[1] - report.interval[0]
    assert report.open_interval_of("nll")[0] < report.mean("nll") < report.open_interval_of("nll")[1]


def test_the_variance_of_an_open_interval_is_by_pairs_without_a_common_class() -> None:
    """Against every pair looked at one by one: the variance, and the ends without skewness or bounds."""
    generator = numpy.random.default_rng(0)
    classes = numpy.stack([generator.permutation(12)[:3] for _ in range(60)])
    values = generator.normal(size=12)[classes].mean(1) + 0.1 * generator.normal(size=60)
    values, classes = numpy.concatenate((values, -values)), numpy.concatenate((classes, classes + 12))
    pairs = [(i, j) for i in range(120) for j in range(120) if not set(classes[i]) & set(classes[j])]
    apart = numpy.mean([(values[i] - values[j]) ** 2 / 2 for i, j in pairs])
    own = values.var(ddof=1) / 120
    variance = apart - values.var()
    degrees = variance**2 / ((variance - own) ** 2 / ((24 - 3) / 2) + own**2 / 119)
    half = scipy_stats.t.ppf(0.975, degrees) * math.sqrt(variance)
    assert open_interval(values, classes) == pytest.approx((-half, half), rel=1e-3)
    # Order says nothing, nor do the names of classes; what is not finite is left out.
    order = generator.permutation(120)
    assert open_interval(values[order], 5 * classes[order] + 2) == pytest.approx((-half, half), rel=1e-3)
    more = numpy.append(values, numpy.nan), numpy.concatenate((classes, classes[:1]))
    assert open_interval(*more) == open_interval(values, classes)


def test_episodes_of_classes_that_are_used_once_are_independent() -> None:
    """Where no two episodes share a class the open interval is the closed one."""
    values = numpy.random.default_rng(0).exponential(size=30)
    wanted = stats.interval(values)
    assert open_interval(values, numpy.arange(90).reshape(30, 3)) == pytest.approx(wanted)
    alike = open_interval(numpy.ones(50), numpy.stack([numpy.roll(numpy.arange(20), i)[:2] for i in range(50)]), (0, 1))
    assert alike == stats.interval(numpy.ones(10), bounds=(0, 1))


def test_there_is_no_open_interval_without_enough_classes_or_classes_at_all() -> None:
    """Where any two episodes share a class there is none, nor is there of drawn functions."""
    assert il.evaluate(protonet(), blobs(ways=21), **QUICK).open_interval is None
    assert il.evaluate(maml(), Sinusoid(), **QUICK).open_interval is None


def test_paired_is_scipys() -> None:
    """Mean difference, t interval and t test of differences without skewness, rank test, wins and losses."""
    generator = numpy.random.default_rng(0)
    first, second = generator.normal(0.2, 1, 30), generator.normal(0, 1, 30)
    second[:3] = first[:3]
    gaps = generator.normal(0.3, 1, 15)
    second[15:], second[:15] = first[15:] - gaps, first[:15] - (0.6 - gaps)
    second[[0, 1, 2, 15, 16, 17]] = first[[0, 1, 2, 15, 16, 17]] - 0.3
    got = il.paired(first, second)
    test = scipy_stats.ttest_rel(first, second)
    assert got.mean == pytest.approx((first - second).mean())
    assert got.interval == pytest.approx((test.confidence_interval().low, test.confidence_interval().high))
    assert got.p_value == pytest.approx(test.pvalue)
    assert got.p_rank == pytest.approx(scipy_stats.wilcoxon(first - second).pvalue)
    assert (got.wins + got.losses, got.tasks) == (30, 30)
    assert got.wins == int((first > second).sum())
    swapped = il.paired(second, first)
    assert (swapped.mean, swapped.wins) == (pytest.approx(-got.mean), got.losses)


def test_paired_edges() -> None:
    """No difference is no evidence; a constant one is the plainest; other tasks or too few are refused."""
    same = il.paired(numpy.ones(4), numpy.ones(4))
    assert (same.mean, same.p_value, same.p_rank, same.wins, same.losses) == (0.0, 1.0, 1.0, 0, 0)
    constant = il.paired(numpy.full(8, 0.75), numpy.full(8, 0.5))
    assert (constant.mean, constant.interval, constant.wins) == (0.25, (0.25, 0.25), 8)
    assert constant.p_value == 0.0
    for a, b in ((3, 4), (1, 1)):
        with pytest.raises(il.InputError, match=f"got {a} and {b}"):
            il.paired(numpy.ones(a), numpy.ones(b))


def test_pairing_sharpens_a_comparison() -> None:
    """On the same episodes a report differs from itself by nothing at all."""
    first, second = (il.evaluate(protonet(), blobs(), **QUICK).per_task["accuracy"] for _ in range(2))
    assert il.paired(first, second).interval == (0.0, 0.0)
    assert stats.interval(first)[1] - stats.interval(first)[0] > 0.01


class Oracle(il.Learner):
    """Answers with a fixed function of the query; it learns nothing."""

    def __init__(self, answer: Any, likelihood: il.core.likelihood.Likelihood) -> None:
        super().__init__(likelihood)
        self.answer = answer

    def adapt(self, support: il.Examples, state: Any = None) -> il.Examples:
        """The support set itself."""
        return support

    def predict(self, state: il.Examples, x: Tensor) -> Tensor:
        """The fixed function."""
        return self.answer(state, x)


def test_figures_by_hand() -> None:
    """A learner without parameters that always answers the first class: accuracy 1/3, and its calibration error."""

    def first(state: il.Examples, x: Tensor) -> Tensor:
        return torch.tensor([math.log(0.5), math.log(0.25), math.log(0.25)]).expand(1, len(x), 3)

    report = il.evaluate(Oracle(first, il.Categorical()), blobs(), **QUICK)
    assert report.per_task["accuracy"].tolist() == pytest.approx([1 / 3] * 12)
    wanted = -(math.log(0.5) + 2 * math.log(0.25)) / 3
    assert report.per_task["nll"].tolist() == pytest.approx([wanted] * 12)
    assert report.calibration_error == pytest.approx(0.5 - 1 / 3)
    assert report.score == report.value == pytest.approx(1 / 3)


def test_regression_figures_by_hand() -> None:
    """A constant answer has the mean square of the targets as its error, the score is its negative."""
    report = il.evaluate(
        Oracle(lambda state, x: torch.zeros(1, len(x), 1), il.Gaussian(scale=2.0)), Sinusoid(), **QUICK
    )
    tasks = Sinusoid().draw(torch.Generator().manual_seed(0), 12)
    wanted = tasks.query.y.square().mean((1, 2))
    assert report.metric.name == "mse"
    assert report.per_task["mse"].tolist() == pytest.approx(wanted.tolist())
    nll = wanted / 8 + math.log(2) + 0.5 * math.log(2 * math.pi)
    assert report.per_task["nll"].tolist() == pytest.approx(nll.tolist(), rel=1e-5)
    assert report.score == -report.value
    assert report.calibration_error is None


def test_a_predicted_spread_is_judged_by_likelihood_and_coverage() -> None:
    """Log likelihood per point is the score; coverage is the share of targets within the central intervals."""
    spread = math.log(math.expm1(2.0 - 1e-3))

    def normal(state: il.Examples, x: Tensor) -> Tensor:
        return torch.tensor([0.0, spread]).expand(1, len(x), 2)

    report = il.evaluate(Oracle(normal, il.Gaussian()), Sinusoid(), **QUICK)
    y = Sinusoid().draw(torch.Generator().manual_seed(0), 12).query.y.squeeze(2)
    assert report.metric.name == "log_likelihood"
    wanted = -0.5 * (y / 2) ** 2 - math.log(2) - 0.5 * math.log(2 * math.pi)
    assert report.per_task["log_likelihood"].tolist() == pytest.approx(wanted.mean(1).tolist(), rel=1e-4)
    assert report.score == report.value == pytest.approx(-report.per_task["nll"].mean())
    assert report.json()["mse"] == pytest.approx(float(y.square().mean()), rel=1e-5)
    z = {"50": 0.67449, "90": 1.64485, "95": 1.95996}
    assert report.coverage == pytest.approx({k: float((y.abs() <= 2 * q).float().mean()) for k, q in z.items()})


def test_draws_are_mixed() -> None:
    """Several draws a query: the mean answers, the mixture is scored."""

    def two(state: il.Examples, x: Tensor) -> Tensor:
        return torch.tensor([1.0, 3.0]).view(2, 1, 1).expand(2, len(x), 1)

    report = il.evaluate(Oracle(two, il.Gaussian(scale=1.0)), Sinusoid(), **QUICK)
    tasks = Sinusoid().draw(torch.Generator().manual_seed(0), 12)
    assert report.per_task["mse"].tolist() == pytest.approx((tasks.query.y - 2).square().mean((1, 2)).tolist())
    y = tasks.query.y.squeeze(2)
    density = 0.5 * ((-0.5 * (y - 1) ** 2).exp() + (-0.5 * (y - 3) ** 2).exp()) / math.sqrt(2 * math.pi)
    assert report.per_task["nll"].tolist() == pytest.approx((-density.log()).mean(1).tolist(), rel=1e-4)


def test_one_hot_rows_fitted_by_squared_error_are_classified() -> None:
    """Few-shot tasks are scored by accuracy, whatever the likelihood; there is no calibration without probabilities."""

    def nearest(state: il.Examples, x: Tensor) -> Tensor:
        return state.y[torch.cdist(x, state.x).argmin(1)].unsqueeze(0)

    report = il.evaluate(Oracle(nearest, il.Gaussian(scale=1.0)), blobs(), **QUICK)
    assert report.metric.name == "accuracy"
    assert sorted(report.per_task) == ["accuracy", "nll"]
    assert 0 < report.value < 1
    assert report.open_interval is not None
    assert report.calibration_error is None


@pytest.mark.parametrize(
    ("learner", "sampler", "message"),
    [
        (lambda: il.MAML(il.nets.mlp(8, 16, 5)), lambda: blobs(), "gives 5 outputs a query, Categorical needs 3"),
        (lambda: il.MAML(il.nets.mlp(8, 16, 1)), lambda: blobs(), "gives 1 outputs a query, Categorical needs 3"),
        (lambda: maml(2), Sinusoid, "gives 2 outputs a query, Gaussian needs 1"),
        (lambda: maml(1, scale=None), Sinusoid, "gives 1 outputs a query, Gaussian needs 2 for 1 target columns"),
        (lambda: maml(4, scale=None), Sinusoid, "gives 4 outputs a query, Gaussian needs 2"),
        (lambda: il.MAML(il.nets.mlp(7, 16, 3)), lambda: blobs(), r"cannot run a task with support x \(6, 8\)"),
        (maml, lambda: Sinusoid(queries=0), "no queries to score"),
        (protonet, lambda: blobs(queries=0), "no queries to score"),
    ],
)
def test_outputs_that_do_not_fit_are_refused(learner: Any, sampler: Any, message: str) -> None:
    """Both sizes are named before anything is scored."""
    with pytest.raises(il.InputError, match=message):
        il.evaluate(learner(), sampler(), **QUICK)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_inputs_of_another_type_than_the_parameters_are_refused_by_name(dtype: torch.dtype) -> None:
    """What PyTorch says of it, and what to do."""
    said = rf"the inputs are {dtype} and its parameters torch.float32: give inputs of that type"
    with pytest.raises(il.InputError, match=said):
        il.evaluate(il.ProtoNet(il.nets.mlp(8, 16, 4)), Cast(blobs(), dtype), **QUICK)


class Cast(Sampler):
    """The tasks of another sampler, their inputs in another type."""

    def __init__(self, sampler: Sampler, dtype: torch.dtype) -> None:
        self.sampler, self.dtype = sampler, dtype

    def draw(self, generator: torch.Generator, tasks: int) -> il.Task:
        return il.Task(*(il.Examples(x.to(self.dtype), y) for x, y in self.sampler.draw(generator, tasks)))


def test_other_refusals() -> None:
    """No task, augmented episodes, images of another shape, features that are not finite."""
    with pytest.raises(il.InputError, match="tasks is 0; it must be at least 1"):
        il.evaluate(protonet(), blobs(), tasks=0)
    images = FewShot(pool("pictures", "test"), ways=3, shots=1, queries=1, support_augment=Augment(flip=True))
    with pytest.raises(il.InputError, match="evaluation episodes are not augmented"):
        il.evaluate(il.ProtoNet(nn.Flatten()), images, **QUICK)
    with pytest.raises(il.InputError, match=r"built for examples of shape \(1, 28, 28\), it got \(1, 8, 8\)"):
        il.evaluate(il.ProtoNet(il.nets.conv4(width=4)), episodes("pictures", "test")(), **QUICK)
    diverged = protonet()
    nn.init.constant_(diverged.encoder[0].weight, math.nan)
    with pytest.raises(il.InputError, match="its training diverged"):
        il.evaluate(diverged, blobs(), **QUICK)


def test_a_failed_evaluation_restores_the_modes() -> None:
    """An error within leaves the learner in training mode, if it was."""
    learner = il.MAML(il.nets.mlp(8, 16, 5)).train()
    with pytest.raises(il.InputError):
        il.evaluate(learner, blobs(), **QUICK)
    assert learner.training
    assert learner.net.training


def test_a_learner_is_evaluated_in_evaluation_mode() -> None:
    """Dropout is off, test steps are on, whichever mode it was in."""
    torch.manual_seed(0)
    learner = il.MAML(il.nets.mlp(8, 16, 3, dropout=0.5), steps=1, test_steps=4, lr=0.1)
    reports = [il.evaluate(learner.train(mode), blobs(), **QUICK) for mode in (True, False)]
    assert reports[0].per_task["nll"].tolist() == reports[1].per_task["nll"].tolist()
    learner.test_steps = 1
    assert il.evaluate(learner, blobs(), **QUICK).per_task["nll"].tolist() != reports[0].per_task["nll"].tolist()


def test_json_is_the_whole_report() -> None:
    """Plain values under fixed keys."""
    report = il.evaluate(protonet(), blobs(), seed=3, **QUICK)
    facts = json.loads(json.dumps(report.json()))
    assert facts == report.json()
    assert set(facts) == {
        "accuracy",
        "metric",
        "failed",
        "interval",
        "half_width",
        "open_interval",
        "nll",
        "calibration_error",
        "tasks",
        "ways",
        "shots",
        "queries",
        "norm",
        "transductive",
        "seed",
        "episodes",
        "coverage",
    }
    assert (facts["metric"], facts["failed"]) == ("accuracy", [])
    protocol = {"tasks": 12, "ways": 3, "shots": 2, "queries": 5, "norm": "none", "transductive": False, "seed": 3}
    assert {name: facts[name] for name in protocol} == protocol
    assert facts["interval"] == list(report.interval)
    assert facts["half_width"] == pytest.approx((report.interval[1] - report.interval[0]) / 2)
    sines = il.evaluate(maml(), Sinusoid(), **QUICK).json()
    assert set(facts) - {"accuracy"} == set(sines) - {"mse"}
    assert (sines["ways"], sines["shots"], sines["open_interval"]) == (None, 10, None)


def test_a_report_reads_as_one_line() -> None:
    """The figure, its interval, the protocol, the norm policy and whether it is transductive."""
    report = il.evaluate(protonet(), blobs(), **QUICK)
    half = 100 * (report.interval[1] - report.interval[0]) / 2
    low, high = (100 * end for end in report.open_interval)
    figure = f"3-way 2-shot: accuracy {100 * report.value:.2f} ± {half:.2f} % (open {low:.2f} to {high:.2f})"
    assert str(report) == f"{figure}, 12 tasks, seed 0, norm none, not transductive"
    torch.manual_seed(0)
    images = episodes("pictures", "test")()
    batch = il.evaluate(il.ProtoNet(il.nets.conv4((1, 8, 8), width=4, pools=1, norm="batch")), images, **QUICK)
    assert str(batch).endswith("norm batch, transductive")
    assert str(il.evaluate(maml(), Sinusoid(), **QUICK)).startswith("10-shot: mse ")


def test_a_saved_report_comes_back(tmp_path: Path) -> None:
    """Every task's value and every episode's indices, with the facts; the episodes can be scored again."""
    report = il.evaluate(protonet(), blobs(), **QUICK)
    path = save_report(report, tmp_path / "new", "test", {"data": "blobs", "split": "test"})
    assert (path.parent, path.name[:5]) == (tmp_path / "new", "test-")
    tensors, facts = checkpoint.load(path)
    assert facts == {**report.json(), "weights": report.weights, "data": "blobs", "split": "test"}
    assert tensors["task.accuracy"].numpy().tolist() == report.per_task["accuracy"].tolist()
    assert tensors["task.nll"].numpy().tolist() == report.per_task["nll"].tolist()
    again = il.data.Episodes(*(tensors[f"episodes.{name}"] for name in ("classes", "support", "query")))
    assert all(torch.equal(a, b) for a, b in zip(again, report.indices, strict=True))
    tasks = blobs().gather(again)
    answers = il.lift(protonet().eval(), "loop").predict(tasks).mean(1)
    assert metrics.accuracy(answers, tasks.query.y).tolist() == report.per_task["accuracy"].tolist()
    sines = save_report(il.evaluate(maml(), Sinusoid(), **QUICK), tmp_path, "sines")
    assert sorted(checkpoint.load(sines)[0]) == ["task.mse", "task.nll"]


def test_no_saved_report_is_replaced(tmp_path: Path) -> None:
    """Other weights or other data have another file; the same evaluation again leaves its file as it is."""
    first = save_report(il.evaluate(protonet(), blobs(), **QUICK), tmp_path, "test")
    before = first.read_bytes(), first.stat().st_mtime_ns
    assert save_report(il.evaluate(protonet(), blobs(), **QUICK), tmp_path, "test") == first
    other = save_report(il.evaluate(protonet(1), blobs(), **QUICK), tmp_path, "test")
    # Other examples, on which the figures may well be the same.
    known = pool("blobs", "test")
    shifted = FewShot(Pool(known.x + 1, known.sizes, known.names), ways=WAYS, shots=2, queries=5)
    moved = save_report(il.evaluate(protonet(), shifted, **QUICK), tmp_path, "test")
    told = save_report(il.evaluate(protonet(), blobs(), **QUICK), tmp_path, "test", {"root": "elsewhere"})
    assert len({first, other, moved, told}) == len(list(tmp_path.iterdir())) == 4
    assert (first.read_bytes(), first.stat().st_mtime_ns) == before


def test_a_place_that_cannot_be_written_is_known_before_the_work(tmp_path: Path) -> None:
    """A file in the way, a full disk; a check leaves no trace, where the folder is missing neither."""
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(il.InputError, match=r"cannot be written .* nothing was evaluated"):
            check_writable(place)
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(il.InputError, match="cannot be written"):
            check_writable(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(il.InputError, match="cannot be written"):
        save_report(il.evaluate(maml(), Sinusoid(), **QUICK), tmp_path / "file", "test")


def test_one_task_has_no_interval() -> None:
    """A single task gives a figure and no interval."""
    report = il.evaluate(protonet(), blobs(), tasks=1, how="vmap", open=False)
    assert report.tasks == 1
    assert all(math.isnan(end) for end in report.interval)


def test_bytes_and_unequal_classes_are_embedded_as_they_are() -> None:
    """A pool of uint8 images with classes of different sizes scores what its float copy scores."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(6).repeat_interleave(torch.tensor([4, 9, 5, 4, 7, 6]))
    images = torch.randint(0, 256, (len(labels), 1, 8, 8), generator=generator, dtype=torch.uint8)
    torch.manual_seed(0)
    learner = il.ProtoNet(il.nets.conv4((1, 8, 8), width=8, pools=1))
    reports = []
    for x in (images, images.float() / 255):
        sampler = FewShot(Pool.of(x, labels), ways=3, shots=2, queries=2)
        reports.append(il.evaluate(learner, sampler, **QUICK))
    assert reports[0].per_task["nll"].tolist() == reports[1].per_task["nll"].tolist()
    assert reports[0].episodes == reports[1].episodes


def test_a_pool_is_embedded_once() -> None:
    """Each example that an episode uses passes the encoder once, the others never."""
    seen: list[Tensor] = []

    class Watched(nn.Flatten):
        def forward(self, x: Tensor) -> Tensor:
            # A trial of whether examples see each other runs in double precision.
            if x.dtype == torch.float32:
                seen.append(x)
            return super().forward(x)

    report = il.evaluate(il.ProtoNet(Watched()), blobs(), tasks=50, how="vmap", open=False)
    used = torch.cat((report.indices.support.flatten(), report.indices.query.flatten())).unique()
    assert torch.equal(torch.cat(seen), pool("blobs", "test").x[used])


def test_batches_of_classes_are_no_few_shot_episodes() -> None:
    """Plain batches have no support set: a metric learner has no class to answer with."""
    task = Batches(pool("blobs", "test"), size=8).draw(torch.Generator().manual_seed(0), 1)
    learner = protonet()
    raw = il.lift(learner, "loop").predict(task)
    assert (raw == -math.inf).all()


class Sometimes(il.Learner):
    """Answers with its network, but not where a support input says that it is hard."""

    def __init__(self, net: nn.Module, likelihood: il.core.likelihood.Likelihood, answer: float = math.nan) -> None:
        super().__init__(likelihood)
        self.net, self.answer = net, answer

    def adapt(self, support: il.Examples, state: Any = None) -> Tensor:
        """Whether the task is hard."""
        return support.x.flatten()[0] > 4

    def predict(self, state: Tensor, x: Tensor) -> Tensor:
        """The network's outputs, or none for the first query."""
        raw = self.net(x).unsqueeze(0)
        first = torch.arange(len(x)).view(1, -1, 1) == 0
        return torch.where(state & first, torch.full_like(raw, self.answer), raw)


def hard(tasks: int = 40) -> list[int]:
    """The tasks of seed 0 that are hard."""
    x = Sinusoid().draw(torch.Generator().manual_seed(0), tasks).support.x
    return (x[:, 0, 0] > 4).nonzero().flatten().tolist()


@pytest.mark.parametrize("answer", [math.nan, math.inf, -math.inf])
def test_tasks_without_a_finite_prediction_are_left_out_of_errors_and_named(answer: float) -> None:
    """The mean is over the others; for choosing weights such a task counts as the worst of them."""
    torch.manual_seed(0)
    learner = Sometimes(il.nets.mlp(1, 8, 1), il.Gaussian(scale=1.0), answer)
    report = il.evaluate(learner, Sinusoid(), tasks=40, how="vmap")
    good = il.evaluate(Sometimes(learner.net, learner.likelihood, 0.0), Sinusoid(), tasks=40, how="vmap")
    few = hard()
    assert report.failed == tuple(few)
    assert 0 < len(few) < 20
    rest = numpy.delete(good.per_task["mse"].astype(float), few)
    assert report.value == pytest.approx(rest.mean())
    assert report.score == pytest.approx(-(rest.sum() + len(few) * rest.max()) / 40)
    assert report.interval == pytest.approx(stats.interval(rest))
    assert f"{len(few)} tasks have predictions that are not finite and are left out: {few[0]}" in str(report)
    assert json.loads(json.dumps(report.json(), allow_nan=False))["failed"] == few
    paired = il.compare(report, good)
    assert (paired.left_out, paired.difference.tasks) == (len(few), 40 - len(few))
    assert paired.difference.mean == 0


def test_a_class_without_a_finite_probability_is_a_wrong_answer() -> None:
    """One of 15 queries of a hard task: its share of right answers loses it, its log loss is left out."""
    torch.manual_seed(0)
    net = il.nets.mlp(8, 16, 3)
    learner = Sometimes(net, il.Categorical())
    report = il.evaluate(learner, blobs(), tasks=300, how="vmap", open=False)
    tasks = blobs().gather(report.indices)
    few = (tasks.support.x[:, 0, 0] > 4).nonzero().flatten().tolist()
    assert report.failed == tuple(few) != ()
    right = net(tasks.query.x).argmax(-1) == tasks.query.y.argmax(-1)
    right[few, 0] = False
    assert report.per_task["accuracy"].tolist() == pytest.approx(right.double().mean(1).tolist())
    assert report.value == report.score == pytest.approx(float(right.double().mean()))
    assert report.mean("nll") == pytest.approx(numpy.delete(report.per_task["nll"], few).mean(), rel=1e-5)
    assert 0 <= report.calibration_error <= 1
    assert f"{len(few)} tasks have predictions that are not finite: " in str(report)


def test_a_learner_that_always_fails_has_no_value() -> None:
    """Every task is named, nothing is a number, and no weights are chosen for it."""
    learner = Sometimes(il.nets.mlp(1, 8, 1), il.Gaussian(scale=1.0))
    nn.init.constant_(learner.net[-1].bias, math.nan)
    report = il.evaluate(learner, Sinusoid(), tasks=5, how="vmap")
    assert report.failed == (0, 1, 2, 3, 4)
    assert report.score == -math.inf
    assert report.json()["mse"] is None
    assert "mse no value" in str(report)


def test_an_error_beyond_all_numbers_is_left_out_with_a_word() -> None:
    """The prediction is finite, its square is not."""
    huge = Oracle(lambda state, x: torch.full((1, len(x), 1), 1e30), il.Gaussian(scale=1.0))
    report = il.evaluate(huge, Sinusoid(), tasks=3, how="vmap")
    assert report.failed == ()
    assert "3 tasks have no finite mean squared error and are left out: 0, 1, 2" in str(report)


def test_a_task_that_linear_algebra_cannot_solve_fails_alone() -> None:
    """The learner inverts a matrix that is singular for a hard task."""

    class Solves(Sometimes):
        def predict(self, state: Tensor, x: Tensor) -> Tensor:
            factor = torch.linalg.cholesky(torch.eye(2) * torch.where(state, -1.0, 1.0))
            return self.net(x).unsqueeze(0) * factor[0, 0]

    torch.manual_seed(0)
    learner = Solves(il.nets.mlp(1, 8, 1), il.Gaussian(scale=1.0))
    for how in ("vmap", "loop"):
        report = il.evaluate(learner, Sinusoid(), tasks=40, how=how)
        assert report.failed == tuple(hard())
    with pytest.raises(il.InputError, match="cannot adapt to any of 1 tasks"):
        il.evaluate(learner, Only(Sinusoid(), hard()[0]), tasks=1, how="loop")


class Only(Sampler):
    """One task of another sampler."""

    classifies = False

    def __init__(self, sampler: Sampler, number: int) -> None:
        self.sampler, self.number = sampler, number

    def draw(self, generator: torch.Generator, tasks: int) -> il.Task:
        """That task."""
        drawn = self.sampler.draw(generator, 40)
        return il.Task(*(il.Examples(part.x[[self.number]], part.y[[self.number]]) for part in drawn))


def test_one_example_that_overflows_in_the_encoder_fails_its_tasks_alone() -> None:
    """Features that are not finite for one example of the pool: only the tasks that use it lose answers."""
    known = pool("blobs", "test")
    x = known.x.clone()
    x[7] = 3e38
    sampler = FewShot(Pool(x, known.sizes, known.names), ways=WAYS, shots=2, queries=5)
    report = il.evaluate(protonet(), sampler, tasks=200, how="vmap", open=False)
    asked, shown = ((part == 7).any(1).nonzero().flatten().tolist() for part in reversed(report.indices[1:]))
    assert set(asked) <= set(report.failed) <= {*asked, *shown}
    assert asked
    assert 0 < report.value < 1


def test_a_validation_with_failed_tasks_does_not_end_a_run() -> None:
    """Training goes on, the scores are numbers, and there is a best one."""
    torch.manual_seed(0)
    learner = Sometimes(il.nets.mlp(1, 8, 1), il.Gaussian(scale=1.0))
    calm = FromTheLeft(shots=10, queries=10)
    history = il.fit(learner, calm, steps=4, validate=Sinusoid(), validate_every=2, validate_tasks=40, progress=False)
    assert [step for step, _ in history.scores] == [2, 4]
    assert all(math.isfinite(score) for _, score in history.scores)
    assert history.best == max(score for _, score in history.scores)


class FromTheLeft(Sinusoid):
    """Sine waves whose tasks are not hard."""

    def draw(self, generator: torch.Generator, tasks: int) -> il.Task:
        """Inputs up to 0."""
        return il.Task(*(il.Examples(-part.x.abs(), part.y) for part in super().draw(generator, tasks)))


def test_the_digest_sees_the_examples() -> None:
    """Two pools with the same sizes and names give the same indices, and yet other tasks."""
    known = pool("blobs", "test")
    other = Pool(known.x.flip(0), known.sizes, known.names)
    copied = Pool.of(known.x, known.labels(torch.arange(len(known.x))), known.names)
    samplers = [FewShot(part, ways=WAYS, shots=2, queries=5) for part in (known, other, copied)]
    reports = [il.evaluate(protonet(), sampler, **QUICK) for sampler in samplers]
    assert all(torch.equal(a, b) for a, b in zip(reports[0].indices, reports[1].indices, strict=True))
    assert reports[0].episodes != reports[1].episodes
    assert reports[0].episodes == reports[2].episodes
    with pytest.raises(il.InputError, match="do not see the same tasks"):
        il.compare(reports[0], reports[1])


def test_sizes_that_tasks_do_not_have_are_not_read_out() -> None:
    """Neither ways nor shots: the line begins with the figure; varying shots read as a range."""
    text = str(il.evaluate(maml(), Only(Sinusoid(), 3), tasks=1, how="loop"))
    assert text.startswith("mse ")
    assert "None" not in text
    task = torch.arange(8).repeat_interleave(9)
    lines = "".join(f"{t},{i},{i % 5}\n" for i, t in enumerate(task.tolist()))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.csv"
        path.write_text("task,x,y\n" + lines)
        table = il.data.TableTasks.read(path, task="task", inputs="x", targets="y")
    for shots, said in ((3, "3-shot: mse"), ((2, 4), "2 to 4-shot: mse"), ((3, 3), "3-shot: mse")):
        assert str(il.evaluate(maml(), table.sampler("train", shots=shots, queries=2), **QUICK)).startswith(said)


def test_augmented_tasks_are_refused_whatever_draws_them() -> None:
    """Streams and batches too."""
    images, change = pool("pictures", "test"), Augment(flip=True)
    for sampler in (
        il.data.ClassStream(images, ways=3, shots=2, queries=1, augment=change),
        FewShot(images, ways=3, shots=2, queries=1, query_augment=change),
        Batches(images, size=4, augment=change),
    ):
        with pytest.raises(il.InputError, match="evaluation episodes are not augmented"):
            il.evaluate(il.ProtoNet(nn.Flatten()), sampler, **QUICK)


def test_batches_of_tasks_are_scored_as_they_come() -> None:
    """No batch is drawn before the one before it was scored."""
    events: list[str] = []

    class Watched(Sinusoid):
        def batches(self, generator: torch.Generator, tasks: int) -> Any:
            for _ in range(3):
                events.append("drawn")
                yield self.draw(generator, tasks // 3)

    def scored(mean: Tensor, y: Tensor) -> float:
        events.append("scored")
        return 0.0

    il.evaluate(maml(), Watched(), tasks=3, how="loop", metrics=[scored])
    assert events == ["drawn", "scored"] * 3


def test_a_class_without_support_costs_a_finite_log_loss() -> None:
    """Support of two of three classes: the third has the logit minus infinity."""

    class Lacking(FewShot):
        def gather(self, episodes: il.data.Episodes) -> il.Task:
            task = super().gather(episodes)
            kept = torch.tensor([0, 1, 3, 4])
            return il.Task(il.Examples(task.support.x[:, kept], task.support.y[:, kept]), task.query)

    report = il.evaluate(protonet(), Lacking(pool("blobs", "test"), ways=3, shots=2, queries=5), **QUICK)
    assert report.failed == ()
    assert numpy.isfinite(report.per_task["nll"]).all()
    assert (report.per_task["nll"] > 744.4 / 3).all()
    assert report.value <= 2 / 3


def test_what_cannot_be_judged_on_is_known_before_a_run(tmp_path: Path) -> None:
    """Augmented validation tasks are refused before the first step, and nothing is written."""
    images = pool("pictures", "test")
    validate = FewShot(images, ways=3, shots=1, queries=1, augment=Augment(flip=True))
    learner = il.ProtoNet(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)))
    plain = FewShot(images, ways=3, shots=1, queries=1)
    with pytest.raises(il.InputError, match="validation: evaluation episodes are not augmented"):
        il.fit(learner, plain, steps=50, validate=validate, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_pools_of_every_type_are_trained_on_and_scored(dtype: torch.dtype) -> None:
    """Features of half the digits too: digests, metrics and intervals are those of any pool."""
    pool = il.Pool.of(torch.rand(60, 4).to(dtype), [i % 6 for i in range(60)])
    sampler = il.FewShot(pool, ways=3, shots=2, queries=3)
    for learner in (il.ProtoNet(il.nets.mlp(4, 8, 3)), il.MAML(il.nets.mlp(4, 8, 3), lr=0.1)):
        il.fit(learner.to(dtype), sampler, steps=1, validate=sampler, validate_tasks=3, progress=False)
        report = il.evaluate(learner, sampler, tasks=3)
        assert 0 <= report.interval[0] <= report.value <= report.interval[1] <= 1
        assert report.episodes == il.evaluate(learner, sampler, tasks=3).episodes
