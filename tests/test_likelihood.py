"""Likelihoods: densities that integrate to 1, draws mixed in probability space, and the edges."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

import innerloop as il

BORDERS = torch.tensor([-2.0, -1.5, 0.0, 0.5, 3.0, 4.0], dtype=torch.float64)


def integral(likelihood: il.core.likelihood.Likelihood, raw: Tensor, low: float, high: float, moment: int = 0) -> float:
    """The integral of y^moment p(y | raw) for one query, by the trapezoidal rule."""
    y = torch.linspace(low, high, 400_001, dtype=torch.float64)
    density = likelihood.log_prob(raw.expand(raw.shape[0], len(y), -1), y.unsqueeze(1)).exp().mean(0)
    return torch.trapezoid(density * y**moment, y).item()


def gaussian_raw() -> Tensor:
    """Two draws of mean and spread for one query."""
    return torch.tensor([[[0.3, -1.0]], [[-1.2, 0.7]]], dtype=torch.float64)


def bars_raw() -> Tensor:
    """Two draws of five logits for one query, with much mass in the tails."""
    return torch.tensor([[[1.0, 0.2, -0.5, 0.0, 0.9]], [[-1.0, 0.3, 1.0, 0.4, 2.0]]], dtype=torch.float64)


def test_gaussian_integrates_to_one() -> None:
    """The density has mass 1."""
    assert integral(il.Gaussian(), gaussian_raw(), -40, 40) == pytest.approx(1, abs=1e-9)


def test_gaussian_mean_is_the_integral() -> None:
    """``mean`` is the first moment of the mixture of draws."""
    wanted = integral(il.Gaussian(), gaussian_raw(), -40, 40, moment=1)
    assert il.Gaussian().mean(gaussian_raw()).item() == pytest.approx(wanted, abs=1e-9)


def test_gaussian_is_scipys() -> None:
    """The log density is the sum over columns of normal log densities; the scale is floor + softplus."""
    raw = torch.randn(1, 3, 4, dtype=torch.float64)
    y = torch.randn(3, 2, dtype=torch.float64)
    scale = 1e-3 + torch.log1p(raw[0, :, 2:].exp())
    wanted = stats.norm.logpdf(y.numpy(), raw[0, :, :2].numpy(), scale.numpy()).sum(1)
    torch.testing.assert_close(il.Gaussian().log_prob(raw, y)[0], torch.from_numpy(wanted))
    fixed = stats.norm.logpdf(y.numpy(), raw[0, :, :2].numpy(), 0.7).sum(1)
    torch.testing.assert_close(il.Gaussian(scale=0.7).log_prob(raw[..., :2], y)[0], torch.from_numpy(fixed))


def test_gaussian_scale_has_a_floor() -> None:
    """However far the network pushes it, the deviation stays above the floor, and the density finite."""
    raw = torch.tensor([[[0.0, -1e4]]])
    assert il.Gaussian(floor=0.01).parameters_of(raw)[1].item() == pytest.approx(0.01)
    assert il.Gaussian(floor=0.01).log_prob(raw, torch.zeros(1, 1)).isfinite().all()


@pytest.mark.parametrize("options", [{"scale": 0.0}, {"scale": -1.0}, {"scale": math.nan}, {"floor": 0.0}])
def test_gaussian_refuses_a_deviation_that_is_none(options: dict[str, float]) -> None:
    """A deviation is positive and finite."""
    with pytest.raises(il.InputError, match="must be above 0 and finite"):
        il.Gaussian(**options)


def test_bars_integrate_to_one() -> None:
    """Bars and both half-normal tails have mass 1 together."""
    assert integral(il.core.likelihood.Bars(BORDERS), bars_raw(), -12, 14) == pytest.approx(1, abs=1e-4)


def test_bars_mass_is_the_softmax() -> None:
    """Each bar has its softmax share of the mass; half of an outer bar's lies beyond the outer border."""
    bars, raw = il.core.likelihood.Bars(BORDERS), bars_raw()[:1]
    mass = raw.softmax(-1).flatten().tolist()
    for i in range(1, 4):
        inside = integral(bars, raw, BORDERS[i].item() + 1e-9, BORDERS[i + 1].item())
        assert inside == pytest.approx(mass[i], rel=1e-5)
    assert integral(bars, raw, -40, -1.5) == pytest.approx(mass[0], rel=1e-3)
    assert integral(bars, raw, -40, -2.0) == pytest.approx(mass[0] / 2, rel=1e-3)
    assert integral(bars, raw, 4.0, 40) == pytest.approx(mass[4] / 2, rel=1e-3)


def test_bars_mean_is_the_integral() -> None:
    """``mean`` is the first moment, tails included."""
    wanted = integral(il.core.likelihood.Bars(BORDERS), bars_raw(), -12, 14, moment=1)
    assert il.core.likelihood.Bars(BORDERS).mean(bars_raw()).item() == pytest.approx(wanted, abs=1e-3)


def test_the_distribution_function_is_the_integral() -> None:
    """``cdf`` is the integral of the density up to the target, for bars, tails and mixtures of Gaussians."""
    for value in (-3.5, -1.2, 0.3, 2.4, 5.0):
        y = torch.tensor([[value]], dtype=torch.float64)
        wanted = integral(il.core.likelihood.Bars(BORDERS), bars_raw(), -40, value)
        assert il.core.likelihood.Bars(BORDERS).cdf(bars_raw(), y).item() == pytest.approx(wanted, abs=1e-3)
        raw = torch.tensor([[[0.0, 0.5]], [[1.0, -2.0]]], dtype=torch.float64)
        assert il.Gaussian().cdf(raw, y).item() == pytest.approx(integral(il.Gaussian(), raw, -40, value), abs=1e-3)
    with pytest.raises(il.InputError, match="Categorical has no distribution function"):
        il.Categorical().cdf(torch.zeros(1, 1, 2), torch.eye(2)[:1])


def test_quantiles_invert_the_distribution_function() -> None:
    """On flat bars by hand (the tails are half-normals whose median is the outer border), and on any mixture."""
    bars = il.core.likelihood.Bars(torch.arange(5.0, dtype=torch.float64))
    flat = torch.zeros(1, 1, 4, dtype=torch.float64)
    got = [float(bars.quantile(flat, q)) for q in (0.125, 0.25, 0.3, 0.5, 0.75, 0.875)]
    assert got == pytest.approx([0.0, 1.0, 1.2, 2.0, 3.0, 4.0], abs=1e-6)
    for share in (0.001, 0.2, 0.5, 0.9, 0.999):
        reached = il.core.likelihood.Bars(BORDERS).cdf(
            bars_raw(), il.core.likelihood.Bars(BORDERS).quantile(bars_raw(), share)
        )
        assert reached.item() == pytest.approx(share, abs=1e-9)


def test_raw_numbers_of_a_gaussian_invert_its_parameters() -> None:
    """``raw_of`` and ``parameters_of`` undo each other, down to scales just above the floor."""
    gaussian, mean = il.Gaussian(floor=0.01), torch.randn(2, 5, 1, dtype=torch.float64)
    scale = torch.tensor([0.0101, 0.02, 0.5, 3.0, 80.0], dtype=torch.float64).view(1, 5, 1).expand(2, 5, 1)
    for got, wanted in zip(gaussian.parameters_of(gaussian.raw_of(mean, scale)), (mean, scale), strict=True):
        torch.testing.assert_close(got, wanted)


def test_bars_reach_every_target() -> None:
    """Far outside the borders the density is small, finite and differentiable."""
    raw = bars_raw()[:1].clone().requires_grad_()
    log_p = il.core.likelihood.Bars(BORDERS).log_prob(
        raw.expand(1, 2, 5), torch.tensor([[-50.0], [60.0]], dtype=torch.float64)
    )
    log_p.sum().backward()
    assert log_p.isfinite().all()
    assert (log_p < -100).all()
    assert raw.grad.isfinite().all()


def test_bars_have_as_many_outputs_as_bars() -> None:
    """One target column, one logit a bar."""
    assert il.core.likelihood.Bars(BORDERS).size(1) == 5
    with pytest.raises(il.InputError, match="one target column, the task has 2"):
        il.core.likelihood.Bars(BORDERS).size(2)


@pytest.mark.parametrize("borders", [[0.0, 1.0, 2.0], [0.0, 1.0, 1.0, 2.0], [0.0, 2.0, 1.0, 3.0]])
def test_bars_refuse_borders_that_do_not_rise(borders: list[float]) -> None:
    """At least four increasing borders."""
    with pytest.raises(il.InputError, match="at least 4 increasing borders"):
        il.core.likelihood.Bars(torch.tensor(borders))


@pytest.mark.parametrize(
    ("likelihood", "raw", "y"),
    [
        (il.Categorical(), torch.randn(5, 4, 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)[[0, 2, 1, 1]]),
        (il.Gaussian(), torch.randn(5, 4, 4, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)),
        (
            il.core.likelihood.Bars(BORDERS),
            torch.randn(5, 4, 5, dtype=torch.float64),
            torch.randn(4, 1, dtype=torch.float64),
        ),
    ],
    ids=["categorical", "gaussian", "bars"],
)
def test_draws_mix_in_probability_space(likelihood: il.core.likelihood.Likelihood, raw: Tensor, y: Tensor) -> None:
    """Nll = -log of the mean over draws of the probability, not the mean of the logs."""
    probability = likelihood.log_prob(raw, y).exp()
    torch.testing.assert_close(likelihood.nll(raw, y), -probability.mean(0).log())
    assert (likelihood.nll(raw, y) < -likelihood.log_prob(raw, y).mean(0)).all()
    torch.testing.assert_close(likelihood.nll(raw[:1], y), -likelihood.log_prob(raw[:1], y)[0])
    torch.testing.assert_close(likelihood.mean(raw), torch.stack([likelihood.mean(r[None]) for r in raw]).mean(0))


def test_categorical_is_cross_entropy() -> None:
    """One-hot and soft targets; the mean is the class probabilities."""
    logits = torch.randn(1, 4, 3)
    y = torch.eye(3)[[0, 2, 1, 1]]
    wanted = torch.nn.functional.cross_entropy(logits[0], y, reduction="none")
    torch.testing.assert_close(il.Categorical().nll(logits, y), wanted)
    soft = torch.full((4, 3), 1 / 3)
    wanted = torch.nn.functional.cross_entropy(logits[0], soft, reduction="none")
    torch.testing.assert_close(il.Categorical().nll(logits, soft), wanted)
    torch.testing.assert_close(il.Categorical().mean(logits), logits[0].softmax(-1))
    assert il.Categorical().size(7) == 7


def test_smoothing_is_for_training_only() -> None:
    """In training mode torch's label smoothing, else none."""
    logits, y = torch.randn(1, 4, 3), torch.eye(3)[[0, 2, 1, 1]]
    smooth = il.Categorical(smoothing=0.2)
    wanted = torch.nn.functional.cross_entropy(logits[0], y, reduction="none", label_smoothing=0.2)
    torch.testing.assert_close(smooth.train().nll(logits, y), wanted)
    torch.testing.assert_close(smooth.eval().nll(logits, y), il.Categorical().nll(logits, y))
    for value in (-0.1, 1.0):
        with pytest.raises(il.InputError, match=r"must be at least 0 and below 1"):
            il.Categorical(smoothing=value)


def test_impossible_classes_are_fine() -> None:
    """A logit of minus infinity on a class that is not the target changes neither loss nor gradient of the others."""
    logits = torch.tensor([[[0.5, -math.inf, 1.0]]], requires_grad=True)
    loss = il.Categorical().nll(logits, torch.tensor([[0.0, 0.0, 1.0]]))
    loss.sum().backward()
    small = torch.tensor([[[0.5, 1.0]]])
    torch.testing.assert_close(loss.detach(), il.Categorical().nll(small, torch.tensor([[0.0, 1.0]])))
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 0, 1] == 0
    wrong = il.Categorical().nll(logits, torch.tensor([[0.0, 1.0, 0.0]]))
    assert wrong.item() == math.inf


@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_outputs_for_other_targets_are_refused_and_never_broadcast(outputs: int) -> None:
    """One logit for three classes would be right always, at a loss of 0."""
    raw, y = torch.zeros(1, 6, outputs), torch.eye(3).repeat(2, 1)
    with pytest.raises(il.InputError, match=f"gives {outputs} outputs a query, Categorical needs 3 for 3 target"):
        il.Categorical().nll(raw, y)
    net = il.nets.mlp(4, outputs)
    with pytest.raises(il.InputError, match=rf"gives {outputs} outputs a query, .* build it with out=3"):
        il.MAML(net).adapt(il.Examples(torch.zeros(6, 4), y))
    if outputs != 1:
        with pytest.raises(il.InputError, match=f"gives {outputs} outputs a query, Gaussian needs 1 for 1 target"):
            il.Gaussian(scale=1.0).nll(raw, y[:, :1])
