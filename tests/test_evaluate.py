"""Evaluation: the same tasks for everyone, intervals that are right, and reports that can be kept."""

from __future__ import annotations

import json
import math
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
from innerloop.data import Augment, Batches, FewShot, Pool, Sinusoid
from innerloop.evaluation import metrics, stats
from innerloop.evaluation.evaluate import save_report

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


def test_the_closed_interval_is_scipys() -> None:
    """Student's t interval of the mean over tasks."""
    report = il.evaluate(protonet(), blobs(), **QUICK)
    values = report.per_task["accuracy"].astype(numpy.float64)
    wanted = scipy_stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=scipy_stats.sem(values))
    assert report.interval == pytest.approx(wanted, rel=1e-6)
    assert report.value == pytest.approx(values.mean())
    assert report.tasks == 12


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_intervals_of_any_level(level: float) -> None:
    """Against scipy; one value or none has no interval."""
    values = numpy.random.default_rng(0).normal(size=17)
    wanted = scipy_stats.ttest_1samp(values, 0).confidence_interval(level)
    assert stats.interval(values, level) == pytest.approx((wanted.low, wanted.high))
    for few in (values[:1], values[:0]):
        assert all(math.isnan(end) for end in stats.interval(few))
    assert stats.interval(numpy.ones(5)) == (1.0, 1.0)


def test_the_open_interval_is_of_disjoint_episodes() -> None:
    """Few-shot reports score as many class-disjoint episodes as the pool gives, at most as many as asked for."""
    assert len(il.evaluate(protonet(), blobs(), seed=2, **QUICK).open_tasks) == QUICK["tasks"]
    report = il.evaluate(protonet(), blobs(), seed=2, tasks=20, how="vmap")
    assert len(report.open_tasks) == pool("blobs", "test").classes // WAYS
    values = report.open_tasks.astype(numpy.float64)
    wanted = scipy_stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=scipy_stats.sem(values))
    assert report.open_interval == pytest.approx(wanted, rel=1e-6)
    # By hand: the generator draws the closed episodes first, then the disjoint ones.
    generator = torch.Generator().manual_seed(2)
    blobs().episodes(generator, 20)
    tasks = blobs().gather(blobs().disjoint(generator))
    answers = il.lift(protonet().eval(), "loop").predict(tasks).mean(1)
    assert report.open_tasks.tolist() == metrics.accuracy(answers, tasks.query.y).tolist()


def test_there_is_no_open_interval_without_enough_classes_or_classes_at_all() -> None:
    """One disjoint episode gives none, nor do drawn functions."""
    assert il.evaluate(protonet(), blobs(ways=21), **QUICK).open_interval is None
    assert il.evaluate(maml(), Sinusoid(), **QUICK).open_interval is None


def test_paired_is_scipys() -> None:
    """Mean difference, t interval, t test and rank test, wins and losses."""
    generator = numpy.random.default_rng(0)
    first, second = generator.normal(0.2, 1, 30), generator.normal(0, 1, 30)
    second[:3] = first[:3]
    got = il.paired(first, second)
    test = scipy_stats.ttest_rel(first, second)
    assert got.mean == pytest.approx((first - second).mean())
    assert got.interval == pytest.approx((test.confidence_interval().low, test.confidence_interval().high))
    assert got.p_value == pytest.approx(test.pvalue)
    assert got.p_rank == pytest.approx(scipy_stats.wilcoxon(first - second).pvalue)
    assert (got.wins + got.losses, got.tasks) == (27, 30)
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

    def __init__(self, answer: Any, likelihood: il.Likelihood) -> None:
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
    assert report.metric == "mse"
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
    assert report.metric == "log_likelihood"
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
    assert report.metric == "accuracy"
    assert sorted(report.per_task) == ["accuracy", "nll"]
    assert 0 < report.value < 1
    assert report.open_interval is not None
    assert report.calibration_error is None


@pytest.mark.parametrize(
    ("learner", "sampler", "message"),
    [
        (lambda: il.MAML(il.nets.mlp(8, 16, 5)), lambda: blobs(), "cannot run a task with .* 3 target columns"),
        (lambda: il.MAML(il.nets.mlp(8, 16, 1)), lambda: blobs(), "gives 1 outputs a query, Categorical needs 3"),
        (lambda: maml(2), Sinusoid, "gives 2 outputs a query, Gaussian needs 1"),
        (lambda: maml(1, scale=None), Sinusoid, "cannot run a task with .* 1 target columns"),
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


def test_other_refusals() -> None:
    """No task, augmented episodes, images of another shape, features that are not finite."""
    with pytest.raises(il.InputError, match="at least 1 task, not 0"):
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
    protocol = {"tasks": 12, "ways": 3, "shots": 2, "queries": 5, "norm": "none", "transductive": False, "seed": 3}
    assert {name: facts[name] for name in protocol} == protocol
    assert facts["interval"] == list(report.interval)
    assert facts["half_width"] == pytest.approx(report.interval[1] - report.value)
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
    save_report(report, tmp_path / "report.safetensors")
    tensors, facts = checkpoint.load(tmp_path / "report.safetensors")
    assert facts == report.json()
    assert tensors["task.accuracy"].numpy().tolist() == report.per_task["accuracy"].tolist()
    assert tensors["task.nll"].numpy().tolist() == report.per_task["nll"].tolist()
    again = il.data.Episodes(*(tensors[f"episodes.{name}"] for name in ("classes", "support", "query")))
    assert all(torch.equal(a, b) for a, b in zip(again, report.indices, strict=True))
    tasks = blobs().gather(again)
    answers = il.lift(protonet().eval(), "loop").predict(tasks).mean(1)
    assert metrics.accuracy(answers, tasks.query.y).tolist() == report.per_task["accuracy"].tolist()
    save_report(il.evaluate(maml(), Sinusoid(), **QUICK), tmp_path / "sines.safetensors")
    assert sorted(checkpoint.load(tmp_path / "sines.safetensors")[0]) == ["task.mse", "task.nll"]


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
