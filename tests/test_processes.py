"""Neural processes: exact values against dense oracles, their limits, and what is built on their predictions."""

from __future__ import annotations

import math

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

import innerloop as il
from innerloop.learners.generative.draws import Normal
from innerloop.nets import Memory, SetEncoder, TransformerBlock, attend

PROCESSES = {
    "cnp": lambda: il.CNP(1, 1, width=16),
    "canp": lambda: il.learners.CANP(1, 1, width=16, heads=4),
    "tnp": lambda: il.TNP(1, 1, width=16, layers=3),
    "convcnp": lambda: il.ConvCNP(1, 1, points_per_unit=8, width=8, layers=3),
    "np": lambda: il.learners.NP(1, 1, width=16, draws=(2, 5)),
    "anp": lambda: il.learners.ANP(1, 1, width=16, heads=4, draws=(2, 5)),
    "recalibrated": lambda: il.learners.Recalibrated(il.CNP(1, 1, width=16)),
}
every_process = pytest.mark.parametrize("name", PROCESSES)


def examples(n: int, inputs: int = 1, targets: int = 1) -> il.Examples:
    x = 4 * torch.rand(n, inputs, dtype=torch.float64) - 2
    return il.Examples(x, torch.sin(3 * x[:, :1]) + 0.1 * torch.randn(n, targets, dtype=torch.float64))


def made(name: str) -> il.Learner:
    return PROCESSES[name]().double().eval()


def softmax(scores: numpy.ndarray) -> numpy.ndarray:
    e = numpy.exp(scores - scores.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# Attention and sets


def test_attention_is_a_softmax_weighted_mean_per_head() -> None:
    heads, N, M, size = 3, 4, 5, 2
    q, k, v = (torch.randn(heads, n, size, dtype=torch.float64) for n in (N, M, M))
    wanted = numpy.concatenate(
        [softmax(q[h].numpy() @ k[h].numpy().T / math.sqrt(size)) @ v[h].numpy() for h in range(heads)], 1
    )
    numpy.testing.assert_allclose(attend(q, Memory(k, v)).numpy(), wanted, rtol=1e-12)


def test_attention_has_no_favorite_among_equal_keys() -> None:
    values = torch.randn(2, 6, 3)
    read = attend(torch.randn(2, 4, 3), Memory(torch.ones(2, 6, 3), values))
    torch.testing.assert_close(read, values.mean(1).flatten().expand(4, -1))


def test_attention_to_nothing_reads_zeros_and_has_gradients() -> None:
    block = TransformerBlock(8, heads=2)
    rows, nothing = torch.randn(3, 8), torch.zeros(0, 8)
    read = block(rows, block.memory(nothing))
    read.sum().backward()
    assert read.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in block.parameters())


def test_attention_composes_with_per_task_gradients() -> None:
    block, x = TransformerBlock(8, heads=2).double(), torch.randn(3, 5, 8, dtype=torch.float64)

    def value(rows: Tensor) -> Tensor:
        return block(rows).square().sum()

    # Second derivatives too: a learner with an inner loop may have such a block inside.
    def slope(rows: Tensor) -> Tensor:
        return torch.func.grad(value)(rows).square().sum()

    vectorized = torch.func.vmap(torch.func.grad(slope))(x)
    torch.testing.assert_close(vectorized, torch.stack([torch.func.grad(slope)(rows) for rows in x]))
    assert torch.autograd.gradcheck(value, x[0].requires_grad_())


@given(st.integers(0, 10_000), st.integers(1, 9))
def test_a_sets_code_knows_neither_order_nor_grouping(seed: int, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    encoder = SetEncoder(3, 4, width=8).double()
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    order = torch.randperm(n, generator=generator)
    cut = int(torch.randint(n + 1, (), generator=generator))
    whole = encoder(encoder.sums(x))
    torch.testing.assert_close(encoder(encoder.sums(x[order])), whole)
    torch.testing.assert_close(encoder(encoder.sums(x[:cut]).plus(encoder.sums(x[cut:]))), whole)
    torch.testing.assert_close(whole, encoder.after(encoder.before(x).mean(0)))


# All processes


@every_process
def test_predicts_from_nothing(name: str) -> None:
    learner, query = made(name), examples(4)
    raw = learner.predict(learner.adapt(examples(0)), query.x)
    assert raw.isfinite().all()
    assert learner.loss(il.Task(examples(0), query)).isfinite()


@every_process
def test_several_columns(name: str) -> None:
    if name == "convcnp":
        learner = il.ConvCNP(1, 2, points_per_unit=8, width=8, layers=2)
    elif name == "recalibrated":
        learner = il.learners.Recalibrated(il.CNP(3, 2, width=8))
    else:
        learner = {
            "cnp": il.CNP,
            "canp": il.learners.CANP,
            "tnp": il.TNP,
            "np": il.learners.NP,
            "anp": il.learners.ANP,
        }[name](3, 2, width=16)
    learner = learner.double().eval()
    inputs = 1 if name == "convcnp" else 3
    support, query = examples(6, inputs, 2), examples(4, inputs, 2)
    raw = learner.predict(learner.adapt(support), query.x)
    assert raw.shape[1:] == (4, 4)
    assert learner.likelihood.nll(raw, query.y).shape == (4,)


@every_process
def test_a_binned_density_in_place_of_the_gaussian(name: str) -> None:
    bars = il.core.likelihood.Bars(torch.linspace(-2, 2, 9))
    if name == "recalibrated":
        with pytest.raises(il.InputError, match="no deviation to widen"):
            il.learners.Recalibrated(il.CNP(1, 1, likelihood=bars))
        return
    learner = type(PROCESSES[name]())(1, 1, likelihood=bars).double().eval()
    task = il.Task(examples(5), examples(4))
    assert learner.predict(learner.adapt(task.support), task.query.x).shape[1:] == (4, 8)
    assert learner.loss(task).isfinite()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: il.CNP(0, 1), "inputs is 0"),
        (lambda: il.CNP(1, 1, depth=(4, 0, 3)), "at least 1 layer before and after"),
        (lambda: il.CNP(1, 1, depth=(4, 2, 1)), "layers of the decoder, is 1"),
        (lambda: il.learners.NP(1, 1, bound="elbow"), "'elbow' is unknown"),
        (lambda: il.learners.NP(1, 1, draws=(0, 5)), "draws in training is 0"),
        (lambda: il.learners.ANP(1, 1, heads=3), "3 attention heads do not divide a width of 128"),
        (lambda: il.learners.CANP(1, 1, heads=3), "3 attention heads do not divide"),
        (lambda: il.TNP(1, 1, width=10), "4 attention heads do not divide a width of 10"),
        (lambda: il.TNP(1, 1, layers=0), "layers is 0"),
        (lambda: il.ConvCNP(2, 1), "1 input, not 2"),
        (lambda: il.ConvCNP(1, 1, lo=2.0), "from 2.0 to 2.0"),
        (lambda: il.ConvCNP(1, 1, kernel=4), "kernel of 4"),
        (lambda: il.learners.GridConvCNP(1, 1), "2 inputs"),
        (lambda: il.learners.GridConvCNP(2, 1, size=(1, 5)), "in pixels, is 1"),
        (lambda: il.learners.Recalibrated(il.CNP(1, 1), folds=1), "folds is 1"),
        (lambda: il.learners.Recalibrated(il.CNP(1, 1, likelihood=il.Gaussian(scale=1.0))), "no deviation to widen"),
        (lambda: il.TNP(2, 1).adapt(examples(5)), r"x must be \[N, 2\]"),
    ],
)
def test_bad_input_is_refused(make: object, words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        make()


# The transformer


def dense_masked(learner: il.TNP, support: il.Examples, x: Tensor) -> Tensor:
    """TNP-D as its paper has it: all tokens in one sequence, and a mask that hides the targets from everyone."""
    N, M, width = len(support.x), len(x), learner.embed[0].out_features
    zeros, ones = x.new_zeros(M, learner.targets + 1), x.new_ones(N, 1)
    tokens = learner.embed(torch.cat((torch.cat((support.x, support.y, ones), 1), torch.cat((x, zeros), 1))))
    hidden = torch.zeros(N + M, N + M, dtype=torch.bool)
    hidden[:, N:] = True
    for block in learner.blocks:
        z = F.layer_norm(tokens, (width,))
        keys, values = block.key_value(z).split(width, 1)
        queries, size, read = block.query(z), width // block.heads, []
        for h in range(block.heads):
            part = slice(h * size, (h + 1) * size)
            scores = queries[:, part] @ keys[:, part].T / math.sqrt(size)
            read.append(scores.masked_fill(hidden, -math.inf).softmax(1) @ values[:, part])
        tokens = tokens + block.out(torch.cat(read, 1))
        tokens = tokens + block.narrow(block.widen(F.layer_norm(tokens, (width,))).relu())
    return learner.head(F.layer_norm(tokens[N:], (width,))).unsqueeze(0)


def test_the_transformer_is_the_dense_masked_one() -> None:
    learner, support, query = il.TNP(2, 1, width=12, layers=3, heads=3).double(), examples(5, 2), examples(4, 2)
    wanted = dense_masked(learner, support, query.x)
    torch.testing.assert_close(learner.predict(learner.adapt(support), query.x), wanted, rtol=1e-10, atol=1e-12)
    loss = learner.likelihood.nll(wanted, query.y).mean()
    torch.testing.assert_close(learner.loss(il.Task(support, query)), loss, rtol=1e-10, atol=1e-12)


def test_the_transformer_knows_a_target_from_an_observed_zero() -> None:
    """A context point with y = 0 and a target look alike but for the flag."""
    learner = il.TNP(1, 1, width=12, heads=3)
    x = torch.tensor([[0.5]])
    assert not torch.equal(learner.embed(learner._known(il.Examples(x, 0 * x))), learner.embed(learner._asked(x)))


# Latent processes


@given(st.integers(0, 10_000))
def test_gaussians_agree_with_torch(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = (Normal.of(torch.randn(10, generator=generator, dtype=torch.float64)) for _ in range(2))
    theirs = [torch.distributions.Normal(*n) for n in (a, b)]
    torch.testing.assert_close(a.divergence(b), torch.distributions.kl_divergence(*theirs).sum())
    z = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(a.log_prob(z), theirs[0].log_prob(z).sum(1))
    assert float(a.divergence(a)) == 0


@pytest.mark.parametrize("name", ["np", "anp"])
def test_the_bound_by_hand(name: str) -> None:
    """Mean log likelihood of the queries over draws from the posterior, minus the divergence, per query."""
    learner, task = made(name), il.Task(examples(5), examples(4))
    both = il.Examples(torch.cat((task.support.x, task.query.x)), torch.cat((task.support.y, task.query.y)))
    state = learner.adapt(task.support)
    prior, posterior = (torch.distributions.Normal(*learner.belief(s)) for s in (state, learner.adapt(both)))
    z = posterior.mean + posterior.stddev * learner.draws.table
    fit, weight = [], []
    for one in z:
        mean, scale = learner.likelihood.parameters_of(learner.decode(state, one.unsqueeze(0), task.query.x))
        fit.append(torch.distributions.Normal(mean, scale).log_prob(task.query.y).sum())
        weight.append(prior.log_prob(one).sum() - posterior.log_prob(one).sum())
    fit, weight = torch.stack(fit), torch.stack(weight)
    divergence = torch.distributions.kl_divergence(posterior, prior).sum()
    torch.testing.assert_close(learner.loss(task), (divergence - fit.mean()) / 4)
    learner.bound = "importance"
    torch.testing.assert_close(learner.loss(task), -(fit + weight).exp().mean().log() / 4)
    # Tighter than the plain bound on the same draws, its divergence taken by those draws too (Jensen).
    assert learner.loss(task) < -(fit + weight).mean() / 4


@pytest.mark.parametrize("bound", ["elbo", "importance", "likelihood"])
@pytest.mark.parametrize("name", ["np", "anp"])
def test_without_an_influence_of_z_every_bound_is_the_conditional_one(name: str, bound: str) -> None:
    learner, task = made(name).train(), il.Task(examples(5), examples(4))
    learner.bound = bound
    # The decoder is deaf to z, and the code of the set is the same for every set: the posterior is the prior.
    torch.nn.init.zeros_(learner.decoder.of_codes[0].weight)
    after = learner.encoder.after
    torch.nn.init.zeros_(after[-1].weight)
    conditional = il.Learner.loss(learner, task)
    torch.testing.assert_close(learner.loss(task), conditional)


def test_a_latent_of_no_width_gives_one_function() -> None:
    learner = made("np")
    state, x = learner.adapt(examples(5)), examples(7).x
    torch.nn.init.zeros_(learner.decoder.of_codes[0].weight)
    raw = learner.predict(state, x)
    torch.testing.assert_close(raw, raw[:1].expand_as(raw))


@pytest.mark.parametrize("name", ["np", "anp"])
def test_a_draw_is_one_function(name: str) -> None:
    """A sample at some points is the same function at some of them: the latent vector is shared."""
    learner, x = made(name), examples(7).x
    state = learner.adapt(examples(5))
    few, many = (learner.sample(state, points, 3, torch.Generator().manual_seed(1)) for points in (x[:2], x))
    assert many.shape == (3, 7, 1)
    torch.testing.assert_close(few, many[:, :2])
    assert not torch.equal(many[0], many[1])


# Convolutional processes


def small_conv() -> il.ConvCNP:
    """Two blocks of kernel 3: a place sees three grid steps to either side."""
    return il.ConvCNP(1, 1, lo=-2.0, hi=2.0, margin=2.0, points_per_unit=16, width=8, layers=2, kernel=3)


@given(st.integers(0, 10_000), st.integers(-16, 16))
def test_shifting_all_points_shifts_the_prediction(seed: int, steps: int) -> None:
    torch.manual_seed(seed)
    learner, support, x = small_conv().double(), examples(6), examples(5).x
    shift = steps / 16
    raw = learner.predict(learner.adapt(support), x)
    moved = learner.predict(learner.adapt(il.Examples(support.x + shift, support.y)), x + shift)
    torch.testing.assert_close(moved, raw, rtol=1e-9, atol=1e-11)


def test_a_shift_that_context_and_targets_do_not_share_is_seen() -> None:
    learner, support, x = small_conv().double(), examples(6), examples(5).x
    raw = learner.predict(learner.adapt(support), x)
    assert not torch.allclose(learner.predict(learner.adapt(support), x + 1 / 16), raw)


def test_the_grid_holds_the_kernel_sums() -> None:
    learner, support = small_conv().double(), examples(6)
    sums = learner.adapt(support).sums.detach().numpy()
    x, y = support.x.numpy()[:, 0], support.y.numpy()[:, 0]
    scale = math.exp(learner.log_scales.tolist()[0])
    grid = -4 + numpy.arange(129) / 16
    assert sums.shape == (129, 2)
    for g in (0, 40, 64, 100):
        weights = numpy.exp(-0.5 * ((x - grid[g]) / scale) ** 2)
        numpy.testing.assert_allclose(sums[g], [weights.sum(), (weights * y).sum()], rtol=1e-6, atol=1e-12)


def image(size: tuple[int, int], channels: int = 1) -> il.Examples:
    rows, columns = (torch.linspace(-1, 1, side, dtype=torch.float64) for side in size)
    x = torch.cartesian_prod(rows, columns)
    return il.Examples(x, torch.rand(len(x), channels, dtype=torch.float64))


def test_pixels_land_on_their_place() -> None:
    size = (5, 7)
    learner, whole = il.learners.GridConvCNP(2, 3, size=size, width=4, layers=1).double(), image(size, 3)
    chosen = torch.randperm(35)[:12]
    sums = learner.adapt(il.Examples(whole.x[chosen], whole.y[chosen])).sums
    mask = torch.zeros(35, 1, dtype=torch.float64)
    mask[chosen] = 1
    torch.testing.assert_close(sums, torch.cat((mask, mask * whole.y), 1).T.reshape(4, *size))


def test_every_pixel_reads_its_own_feature() -> None:
    size = (5, 7)
    learner, whole = il.learners.GridConvCNP(2, 1, size=size, width=4, layers=2).double(), image(size)
    state = learner.adapt(il.Examples(whole.x[:9], whole.y[:9]))
    wanted = learner.head(state.features.flatten(1).T).unsqueeze(0)
    torch.testing.assert_close(learner.predict(state, whole.x), wanted)


# Predictions that hang together


class Exact(il.Learner):
    """The posterior of a Gaussian process with a known kernel: consistent, so its chain rule is its joint density."""

    noise = 0.1

    def __init__(self) -> None:
        super().__init__(il.Gaussian(floor=1e-9))

    @staticmethod
    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-0.5 * (a - b.T) ** 2)

    def adapt(self, support: il.Examples, state: il.Examples | None = None) -> il.Examples:
        return (
            support if state is None else il.Examples(*(torch.cat(pair) for pair in zip(state, support, strict=True)))
        )

    def joint(self, state: il.Examples, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance of noisy values at ``x``."""
        known = self.kernel(state.x, state.x) + self.noise**2 * torch.eye(len(state.x), dtype=x.dtype)
        gain = torch.linalg.solve(known, self.kernel(state.x, x)).T
        noise = self.noise**2 * torch.eye(len(x), dtype=x.dtype)
        return gain @ state.y, self.kernel(x, x) + noise - gain @ self.kernel(state.x, x)

    def predict(self, state: il.Examples, x: Tensor) -> Tensor:
        mean, covariance = self.joint(state, x)
        spread = covariance.diagonal().sqrt().unsqueeze(1) - 1e-9
        return torch.cat((mean, spread + torch.log(-torch.expm1(-spread))), 1).unsqueeze(0)


@pytest.mark.parametrize("order", [None, torch.tensor([3, 0, 4, 2, 1])])
def test_the_chain_rule_of_a_consistent_process_is_its_joint_density(order: Tensor | None) -> None:
    learner, support, query = Exact(), examples(6), examples(5)
    mean, covariance = learner.joint(support, query.x)
    wanted = torch.distributions.MultivariateNormal(mean[:, 0], covariance).log_prob(query.y[:, 0])
    terms = il.processes.log_likelihood(learner, support, query, order)
    assert terms.shape == (5,)
    torch.testing.assert_close(terms.sum(), wanted, rtol=1e-7, atol=1e-7)


@every_process
def test_the_chain_is_the_sum_of_its_steps(name: str) -> None:
    learner, support, query = made(name), examples(6), examples(4)
    order = torch.tensor([2, 0, 3, 1])
    terms = il.processes.log_likelihood(learner, support, query, order)
    x, y = support
    for i in order.tolist():
        point = il.Examples(query.x[i : i + 1], query.y[i : i + 1])
        raw = learner.predict(learner.adapt(il.Examples(x, y)), point.x)
        torch.testing.assert_close(terms[i], -learner.likelihood.nll(raw, point.y)[0])
        x, y = torch.cat((x, point.x)), torch.cat((y, point.y))


def test_autoregressive_draws_have_the_joint_moments() -> None:
    learner, support, x = Exact(), examples(3), torch.tensor([[0.0], [0.2], [1.5]], dtype=torch.float64)
    order = torch.tensor([2, 0, 1])
    drawn = il.processes.autoregressive(
        learner, support, x, samples=20_000, order=order, generator=torch.Generator().manual_seed(0)
    )[..., 0]
    mean, covariance = learner.joint(support, x)
    torch.testing.assert_close(drawn.mean(0), mean[:, 0], rtol=0, atol=0.03)
    torch.testing.assert_close(drawn.T.cov(), covariance, rtol=0.05, atol=0.03)


@every_process
def test_autoregressive_draws_of_every_process(name: str) -> None:
    learner, support, x = made(name), examples(6), examples(3).x
    generator = torch.Generator().manual_seed(0)
    drawn = il.processes.autoregressive(learner, support, x, samples=4, generator=generator)
    assert drawn.shape == (4, 3, 1)
    assert len(drawn.unique()) == 12
    generator.manual_seed(0)
    assert torch.equal(il.processes.autoregressive(learner, support, x, samples=4, generator=generator), drawn)


def test_autoregressive_draws_need_a_gaussian() -> None:
    learner = il.CNP(1, 1, width=8, likelihood=il.core.likelihood.Bars(torch.linspace(-2, 2, 9)))
    with pytest.raises(il.InputError, match="not Bars"):
        il.processes.autoregressive(learner, examples(3), examples(3).x)


# Recalibration


class Sure(il.Learner):
    """Predicts the mean of the support set with one deviation, whatever comes."""

    def __init__(self, deviation: float, draws: int = 1) -> None:
        super().__init__(il.Gaussian(floor=1e-4))
        self.deviation, self.draws = deviation, draws

    def adapt(self, support: il.Examples, state: Tensor | None = None) -> Tensor:
        return support.y.mean(0)

    def predict(self, state: Tensor, x: Tensor) -> Tensor:
        spread = torch.as_tensor(self.deviation - 1e-4, dtype=x.dtype)
        mean = state.expand(self.draws, len(x), -1) + torch.arange(self.draws).view(-1, 1, 1)
        return torch.cat((mean, (spread + torch.log(-torch.expm1(-spread))).expand_as(mean)), -1)


def test_the_factor_by_hand() -> None:
    support = il.Examples(
        torch.tensor([[3.0], [0.0], [2.0], [1.0]]).double(), torch.tensor([[4.0], [0.0], [1.0], [2.0]]).double()
    )
    learner = il.learners.Recalibrated(Sure(0.5), folds=2, shrink=2.0)
    # Along x the targets are 0, 2, 1, 4: folds (0, 1) and (2, 4) with means 0.5 and 3.
    squares = sum(((y - m) / 0.5) ** 2 for y, m in ((0, 3), (1, 3), (2, 0.5), (4, 0.5)))
    state = learner.adapt(support)
    assert float(state.factor) == pytest.approx(math.sqrt((2 + squares) / (2 + 4)))
    mean, scale = learner.likelihood.parameters_of(learner.predict(state, support.x))
    torch.testing.assert_close(scale, torch.full_like(scale, 0.5 * float(state.factor)))
    torch.testing.assert_close(mean, torch.full_like(mean, 1.75))


def test_a_mixture_is_widened_as_a_whole() -> None:
    learner, x = il.learners.Recalibrated(Sure(0.5, draws=3), folds=2, shrink=0.0), examples(8).x
    state = learner.adapt(il.Examples(x, 100 * torch.randn(8, 1, dtype=torch.float64)))
    narrow = learner._moments(learner.process.predict(state.process, x))
    wide = learner._moments(learner.predict(state, x))
    torch.testing.assert_close(wide[0], narrow[0])
    torch.testing.assert_close(wide[1], narrow[1] * state.factor)


def test_predictions_that_hold_are_left_alone() -> None:
    process = Sure(10.0)
    learner, support = il.learners.Recalibrated(process), examples(12)
    state = learner.adapt(support)
    assert float(state.factor) == 1
    torch.testing.assert_close(learner.predict(state, support.x), process.predict(process.adapt(support), support.x))


@pytest.mark.parametrize("number", [0, 1])
def test_too_few_points_to_judge_leave_all_as_it_is(number: int) -> None:
    state = il.learners.Recalibrated(Sure(0.01)).adapt(examples(number))
    assert float(state.factor) == 1


def test_the_factor_is_of_the_support_set_alone() -> None:
    learner, support = made("recalibrated"), examples(9)
    state = learner.adapt(support)
    a, b = (il.Examples(5 * torch.randn(7, 1).double(), 100 * torch.randn(7, 1).double()) for _ in range(2))
    raw = learner.predict(state, torch.cat((a.x, b.x)))
    torch.testing.assert_close(raw, torch.cat((learner.predict(state, a.x), learner.predict(state, b.x)), 1))
    # And it is that of the support set in any order.
    order = torch.randperm(9)
    torch.testing.assert_close(learner.adapt(il.Examples(support.x[order], support.y[order])).factor, state.factor)


def test_recalibration_rescues_a_process_on_unfamiliar_functions() -> None:
    """A process that was trained on slow waves of amplitude 1, and meets loud noise."""
    process, generator = il.CNP(1, 1, width=32), torch.Generator().manual_seed(0)

    class Waves(il.data.Sampler):
        classifies = False

        def draw(self, generator: torch.Generator, tasks: int) -> il.Task:
            x = torch.rand(tasks, 20, 1, generator=generator)
            y = torch.sin(x + torch.rand(tasks, 1, 1, generator=generator))
            return il.Task(il.Examples(x[:, :10], y[:, :10]), il.Examples(x[:, 10:], y[:, 10:]))

    il.fit(process, Waves(), steps=100, lr=3e-3, how="vmap", progress=False)
    x = torch.rand(20, 20, 1, generator=generator)
    y = 3 * torch.randn(20, 20, 1, generator=generator)
    noise = il.Task(il.Examples(x[:, :10], y[:, :10]), il.Examples(x[:, 10:], y[:, 10:]))
    familiar = Waves().draw(generator, 20)
    scores = {}
    for name, learner in (("plain", process.eval()), ("widened", il.learners.Recalibrated(process).eval())):
        for kind, tasks in (("noise", noise), ("familiar", familiar)):
            raw = il.lift(learner, "vmap").predict(tasks)
            scores[name, kind] = -float(torch.func.vmap(process.likelihood.nll)(raw, tasks.query.y).mean())
    assert scores["widened", "noise"] > scores["plain", "noise"] + 5
    assert scores["widened", "noise"] > -6
    assert scores["widened", "familiar"] > scores["plain", "familiar"] - 0.3
