"""Amortized and latent-variable classifiers, and generated examples: formulas, limits and identities."""

from __future__ import annotations

import math
from functools import partial

import numpy
import pytest
import torch
from cases import SHAPE, WAYS, conv, episodes
from torch import Generator, Tensor
from torch.distributions import Bernoulli, MultivariateNormal, Normal, kl_divergence

import innerloop as il
from innerloop.learners.generative.draws import Draws
from innerloop.learners.generative.draws import Normal as Gaussian
from innerloop.learners.generative.features import FeatureGenerator
from innerloop.learners.generative.metagan import Reverse
from innerloop.learners.generative.statistician import StatisticianHead

H = 6


def vectors(seed: int = 0, shots: int = 2, queries: int = 4, ways: int = WAYS) -> il.Task:
    """Feature vectors ``[H]`` of a task, float64."""
    generator = Generator().manual_seed(seed)
    eye = torch.eye(ways, dtype=torch.float64)
    parts = (
        il.Examples(torch.randn(n * ways, H, generator=generator, dtype=torch.float64), eye.repeat(n, 1))
        for n in (shots, queries)
    )
    return il.Task(*parts)


def drawings(seed: int = 0, shots: int = 1, queries: int = 2) -> il.Task:
    """Images in 0 to 1 of a task, float64."""
    generator = Generator().manual_seed(seed)
    eye = torch.eye(WAYS, dtype=torch.float64)
    parts = (
        il.Examples(torch.rand(n * WAYS, *SHAPE, generator=generator, dtype=torch.float64), eye.repeat(n, 1))
        for n in (shots, queries)
    )
    return il.Task(*parts)


def still(head: il.learners.AmortizedHead) -> il.learners.AmortizedHead:
    """The head with variances that vanish."""
    with torch.no_grad():
        head.log_variance[-1].weight.zero_()
        head.log_variance[-1].bias.fill_(-200.0)
    return head


def test_rows_keep_their_noise_in_another_order_and_have_their_own() -> None:
    draws, rows = Draws(4, test=7).double().eval(), torch.randn(5, 3, dtype=torch.float64)
    order = torch.randperm(5)
    noise = draws.each(rows)
    assert noise.shape == (7, 5, 4)
    assert torch.equal(draws.each(rows[order]), noise[:, order])
    for draw in noise:
        assert len(draw.unique(dim=0)) == 5
    for row in noise.unbind(1):
        assert torch.equal(row.sort(0).values, draws.table.sort(0).values)


def test_fresh_draws_are_standard_normal_and_differ_each_time() -> None:
    draws = Draws(4, train=500).train()
    first, second = draws.each(torch.zeros(10, 3)), draws.each(torch.zeros(10, 3))
    assert not torch.equal(first, second)
    assert abs(float(first.mean())) < 0.03
    assert abs(float(first.std()) - 1) < 0.03


def test_versa_without_variance_is_one_linear_classifier() -> None:
    head = still(il.learners.AmortizedHead(features=H, hidden=5)).double().eval()
    task = vectors()
    state = head.adapt(task.support)
    weights, deviation = head.posterior(state)
    assert float(deviation.detach().max()) < 1e-40
    raw = head.predict(state, task.query.x)
    assert raw.shape == (50, len(task.query.x), WAYS)
    wanted = task.query.x @ weights[:, :-1].mT + weights[:, -1]
    torch.testing.assert_close(raw, wanted.expand_as(raw))


def test_versa_starts_as_prototypes() -> None:
    task = vectors()
    head = still(il.learners.AmortizedHead(features=H, scale=0.3)).double().eval()
    with torch.no_grad():
        for parameter in head.mean[-1].parameters():
            parameter.zero_()
    prototypes = il.learners.Prototypes(scale=0.3).double()
    got = head.predict(head.adapt(task.support), task.query.x)[0].log_softmax(1)
    wanted = prototypes.predict(prototypes.adapt(task.support), task.query.x)[0].log_softmax(1)
    torch.testing.assert_close(got, wanted)


def test_versa_mixes_classifiers_in_probability_space() -> None:
    task = vectors()
    head = il.learners.AmortizedHead(features=H, test_draws=9).double().eval()
    with torch.no_grad():
        head.log_variance[-1].bias.fill_(0.5)
    state = head.adapt(task.support)
    mean, deviation = (part.detach().numpy() for part in head.posterior(state))
    noise = head.draws.each(torch.from_numpy(mean)).numpy()
    x, y = task.query.x.numpy(), task.query.y.numpy()
    probability = numpy.zeros(len(x))
    for draw in noise:
        weights = mean + deviation * draw
        logits = x @ weights[:, :-1].T + weights[:, -1]
        shares = numpy.exp(logits) / numpy.exp(logits).sum(1, keepdims=True)
        probability += (shares * y).sum(1) / len(noise)
    got = head.likelihood.nll(head.predict(state, task.query.x), task.query.y)
    numpy.testing.assert_allclose(got.detach().numpy(), -numpy.log(probability), rtol=1e-10)
    numpy.testing.assert_allclose(float(head.loss(task).detach()), -numpy.log(probability).mean(), rtol=1e-10)


def test_versa_classes_are_independent() -> None:
    head = il.learners.AmortizedHead(features=H, test_draws=4000).double().eval()
    with torch.no_grad():
        head.log_variance[-1].bias.fill_(0.0)
    task = vectors()
    raw = head.predict(head.adapt(task.support), task.query.x[:1])[:, 0].detach()
    correlation = torch.corrcoef(raw.mT)
    assert float((correlation - torch.eye(WAYS)).abs().max()) < 0.05


@pytest.mark.parametrize("kind", ["versa", "statistician"])
def test_a_class_without_support_is_never_the_answer(kind: str) -> None:
    if kind == "versa":
        learner: il.Learner = il.Versa(torch.nn.Identity(), features=H).double().eval()
        task = vectors()
    else:
        learner, task = il.learners.Statistician(conv("none"), hidden=8, context=4).double().eval(), drawings()
    y = torch.cat((task.support.y, torch.zeros(len(task.support.y), 1, dtype=torch.float64)), 1)
    raw = learner.predict(learner.adapt(il.Examples(task.support.x, y)), task.query.x)
    assert torch.equal(raw[..., -1], torch.full_like(raw[..., -1], -math.inf))
    assert raw[..., :-1].isfinite().all()


def head_and_task(posterior: str = "all", **options: object) -> tuple[StatisticianHead, il.Task]:
    """A head whose features are the first H pixels."""
    task = drawings()
    flat = [il.Examples(torch.cat((x.flatten(1)[:, :H], x.flatten(1)), 1), y) for x, y in task]
    head = StatisticianHead(
        features=H, shape=SHAPE, context=4, latent=3, hidden=8, width=4, posterior=posterior, **options
    )  # type: ignore[arg-type]
    return head.double().eval(), il.Task(*flat)


def random_gaussian() -> Gaussian:
    return Gaussian(torch.randn(50, 5, dtype=torch.float64), torch.randn(50, 5, dtype=torch.float64).exp())


def test_divergence_is_that_of_torch_and_never_negative() -> None:
    q, p = random_gaussian(), random_gaussian()
    wanted = kl_divergence(Normal(*q), Normal(*p)).sum(-1)
    torch.testing.assert_close(q.divergence(p), wanted)
    assert float(q.divergence(p).min()) >= 0
    assert float(q.divergence(q).abs().max()) < 1e-12


def test_statistician_predicts_minus_the_divergence_from_each_class() -> None:
    head, task = head_and_task()
    state = head.adapt(task.support)
    raw = head.predict(state, task.query.x)[0]
    means = torch.stack([task.support.x[task.support.y[:, d] == 1, :H].mean(0) for d in range(WAYS)])
    for n in range(len(raw)):
        alone = Normal(*head.statistic(task.query.x[n, :H]))
        for d in range(WAYS):
            wanted = -kl_divergence(alone, Normal(*head.statistic(means[d]))).sum()
            torch.testing.assert_close(raw[n, d], wanted)


@pytest.mark.parametrize("posterior", ["all", "support"])
def test_bound_is_the_one_of_the_paper_class_by_class(posterior: str) -> None:
    head, task = head_and_task(posterior)
    x, y = torch.cat((task.support.x, task.query.x)), torch.cat((task.support.y, task.query.y))
    seen = il.Examples(x, y) if posterior == "all" else task.support
    q_c = head.context(head.adapt(seen))
    noise_c = head.noise_c.each(q_c[0])[0]
    c = q_c.mean + q_c.scale * noise_c
    q_z = head.posterior_z(torch.cat((x[:, :H], y @ c), 1))
    z = q_z.mean + q_z.scale * head.noise_z.each(q_z[0])[0]
    total = 0.0
    for d in range(WAYS):
        mine = y[:, d] == 1
        mean, scale = (part[d] for part in q_c)
        standard = Normal(torch.zeros_like(mean), torch.ones_like(mean))
        total -= kl_divergence(Normal(mean, scale), standard).sum()
        for n in mine.nonzero()[:, 0].tolist():
            q, p = Normal(q_z.mean[n], q_z.scale[n]), Normal(*head.prior_z(c[d]))
            total -= kl_divergence(q, p).sum()
            logits = head.decoder(torch.cat((z[n], c[d])).unsqueeze(0)).flatten()
            total += Bernoulli(logits=logits, validate_args=False).log_prob(x[n, H:]).sum()
    torch.testing.assert_close(head.loss(task), -total / len(x))
    parts = head.bound(x, y, head.adapt(seen))
    assert all(float(part.detach()) <= 0 for part in parts)


def test_bound_on_a_conjugate_model_is_below_the_evidence_and_tight_at_the_posterior() -> None:
    # c ~ N(0, 1), x_i ~ N(c, s): log p(x) - ELBO = KL(q, posterior), where the ELBO has the parts that bound() sums.
    x, s = torch.tensor([0.3, 1.1, -0.2], dtype=torch.float64), 0.7
    covariance = torch.ones(3, 3, dtype=torch.float64) + s**2 * torch.eye(3, dtype=torch.float64)
    evidence = MultivariateNormal(torch.zeros(3, dtype=torch.float64), covariance).log_prob(x)
    precision = 1 + 3 / s**2
    zero = torch.zeros(1, dtype=torch.float64)

    def bound(mean: float, variance: float) -> Tensor:
        q = Gaussian(torch.full_like(zero, mean), torch.full_like(zero, math.sqrt(variance)))
        fit = (-0.5 * ((x - mean) ** 2 + variance) / s**2 - math.log(s) - 0.5 * math.log(2 * math.pi)).sum()
        return fit - q.divergence(Gaussian(zero, zero + 1))

    torch.testing.assert_close(bound(float(x.sum()) / s**2 / precision, 1 / precision), evidence)
    for mean, variance in ((0.0, 1.0), (0.5, 0.3), (-1.0, 0.01)):
        assert bound(mean, variance) < evidence


def test_statistician_does_not_see_the_order_of_a_data_set() -> None:
    learner, task = (
        il.learners.Statistician(conv("group"), hidden=16, context=8, latent=4).double().eval(),
        drawings(queries=3),
    )
    order = torch.randperm(len(task.query.x))
    shuffled = il.Task(task.support, il.Examples(task.query.x[order], task.query.y[order]))
    encoded = [[il.Examples(learner.encoder(x), y) for x, y in one] for one in (task, shuffled)]
    losses = [learner.head.loss(il.Task(*one)) for one in encoded]
    torch.testing.assert_close(losses[1], losses[0])


def test_discriminative_term_adds_the_classifiers_loss() -> None:
    plain, task = head_and_task()
    both, _ = head_and_task(discriminative=2.5)
    both.load_state_dict(plain.state_dict())
    nll = il.Learner.loss(plain, task)
    torch.testing.assert_close(both.loss(task), plain.loss(task) + 2.5 * nll)


def test_samples_are_pixels_that_follow_the_generator() -> None:
    learner, task = il.learners.Statistician(conv("group"), hidden=16, context=8, latent=4).double().eval(), drawings()
    state = learner.adapt(task.support)
    first, again, other = (learner.sample(state, 5, Generator().manual_seed(seed)).detach() for seed in (0, 0, 1))
    assert first.shape == (WAYS, 5, *SHAPE)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0 < float(first.min()) < float(first.max()) < 1


def test_trained_statistician_draws_the_class_and_varies_the_rest() -> None:
    torch.manual_seed(0)
    learner = il.learners.Statistician(conv("group"), hidden=32, context=8, latent=4, width=8)
    train, options = episodes("drawings", "train")(), {"schedule": "constant", "how": "vmap", "progress": False}
    il.fit(learner, train, steps=200, lr=1e-2, tasks_per_step=4, **options)
    tasks = episodes("drawings", "test", queries=1)().draw(Generator().manual_seed(0), 20)
    right_ones, left_spread, right_spread = [], [], []
    learner.eval()
    for x, y in zip(*tasks.support, strict=True):
        with torch.no_grad():
            left, right = learner.sample(learner.adapt(il.Examples(x, y)), 10, Generator().manual_seed(0)).split(4, -1)
        # The spot on the left is the class's, the one on the right is each image's own.
        left_spread.append(left.std(1).mean())
        right_spread.append(right.std(1).mean())
        seen = (y.mT @ x[..., :4].flatten(1)) / 2
        nearest = torch.cdist(left.mean(1).flatten(1), seen).argmin(1)
        right_ones.append((nearest == torch.arange(WAYS)).float().mean())
    assert float(torch.stack(right_ones).mean()) > 0.6
    assert float(torch.stack(right_spread).mean()) > 2 * float(torch.stack(left_spread).mean())


def test_decoder_gives_the_shape_it_was_asked_for() -> None:
    for shape in ((1, 28, 28), (3, 10, 10), (2, 5, 5)):
        assert il.nets.Decoder(7, shape, width=2)(torch.randn(4, 7)).shape == (4, *shape)


def base(classes: int = 5, each: int = 12) -> tuple[Tensor, Tensor]:
    generator = Generator().manual_seed(1)
    labels = torch.arange(classes).repeat(each)
    centers = 2 * torch.rand(classes, H, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(labels), H, generator=generator, dtype=torch.float64)
    return centers[labels] + 0.4 * noise, labels


def test_base_statistics_are_numpys() -> None:
    features, labels = base()
    means, covariances = il.learners.DistributionCalibration.fit_base(features, labels)
    for label in range(5):
        rows = features[labels == label].numpy()
        numpy.testing.assert_allclose(means[label], rows.mean(0))
        numpy.testing.assert_allclose(covariances[label], numpy.cov(rows, rowvar=False))


def test_draws_have_the_calibrated_mean_and_covariance() -> None:
    means, covariances = il.learners.DistributionCalibration.fit_base(*base())
    head = il.learners.DistributionCalibration(means, covariances, count=3, neighbors=2, alpha=0.2).double().eval()
    task = vectors()
    z = torch.sign(task.support.x) * task.support.x.abs().sqrt()
    mean, roots = head.calibrated(z)
    for n, row in enumerate(z.numpy()):
        nearest = numpy.argsort(((means.numpy() - row) ** 2).sum(1))[:2]
        numpy.testing.assert_allclose(mean[n], (means.numpy()[nearest].sum(0) + row) / 3)
        got = (roots[n] @ roots[n].mT).mean(0) + 0.2
        numpy.testing.assert_allclose(got, covariances.numpy()[nearest].mean(0) + 0.2, rtol=1e-6, atol=1e-8)


def test_the_pull_moves_the_draws_mean_from_the_feature_to_its_neighbors() -> None:
    means, covariances = il.learners.DistributionCalibration.fit_base(*base())
    z = vectors().support.x.double()
    make = partial(il.learners.DistributionCalibration, means, covariances, neighbors=2)
    near, far = (make(pull=pull).calibrated(z)[0] for pull in (0.0, 1.0))
    numpy.testing.assert_allclose(near, z)
    numpy.testing.assert_allclose(make(pull=0.25).calibrated(z)[0], 0.75 * z + 0.25 * far)
    numpy.testing.assert_allclose(make().calibrated(z)[0], (z + 2 * far) / 3)
    with pytest.raises(il.InputError, match=r"pull is 1\.5; it must be at least 0 and at most 1"):
        make(pull=1.5)


def test_drawn_features_join_the_support() -> None:
    means, covariances = il.learners.DistributionCalibration.fit_base(*base())
    options = {"neighbors": 2, "alpha": 0.2, "steps": 10}
    head = il.learners.DistributionCalibration(means, covariances, count=4, **options).double().eval()
    plain = il.learners.DistributionCalibration(means, covariances, count=0, power=1.0, **options).double()
    task = vectors()
    z = torch.sign(task.support.x) * task.support.x.abs().sqrt()
    mean, roots = head.calibrated(z)
    rows, labels = [z], [task.support.y]
    for noise in head.draws(z):
        each = noise[:-1].view(2, H)
        spread = sum(roots[:, k] @ each[k] for k in range(2)) / math.sqrt(2)
        rows.append(mean + spread + math.sqrt(0.2) * noise[-1])
        labels.append(task.support.y)
    wanted = plain.adapt(il.Examples(torch.cat(rows), torch.cat(labels)))
    got = head.adapt(task.support)
    torch.testing.assert_close(got.weight, wanted.weight)
    torch.testing.assert_close(got.bias, wanted.bias)


def test_calibrated_draws_have_the_stated_moments() -> None:
    means, covariances = il.learners.DistributionCalibration.fit_base(*base())
    head = il.learners.DistributionCalibration(
        means, covariances, count=20_000, neighbors=2, alpha=0.2, power=1.0, steps=0
    )
    head.double().eval()
    task = vectors(shots=1, ways=1)
    mean, roots = head.calibrated(task.support.x)
    noise = head.draws(task.support.x)
    each = noise[:, :-1].unflatten(1, (2, -1))
    drawn = mean + torch.einsum("nkij,skj->sni", roots, each)[:, 0] / math.sqrt(2) + math.sqrt(0.2) * noise[:, -1:]
    wanted = (roots[0] @ roots[0].mT).mean(0) + 0.2
    assert float((drawn.mT.cov() - wanted).abs().max()) < 0.03


def test_calibration_without_draws_is_the_linear_head_on_transformed_features() -> None:
    head = il.learners.DistributionCalibration(
        *il.learners.DistributionCalibration.fit_base(*base()), count=0, steps=10
    ).double()
    linear = il.learners.LinearHead(features=H, classes=5, steps=10).double()
    task = vectors()
    support, query = (il.Examples(x.sign() * x.abs().sqrt(), y) for x, y in task)
    got = head.predict(head.adapt(task.support), task.query.x)
    torch.testing.assert_close(got, linear.predict(linear.adapt(support), query.x))


def test_hallucinator_without_examples_is_the_head() -> None:
    task = vectors()
    head = il.learners.Prototypes(scale=0.5)
    learner = il.learners.Hallucinator(torch.nn.Identity(), head=head, count=0, features=H).double()
    assert list(learner.parameters()) == []
    got = learner.predict(learner.adapt(task.support), task.query.x)
    assert torch.equal(got, head.predict(head.adapt(task.support), task.query.x))


def test_hallucinator_that_changes_nothing_is_the_head_with_examples_repeated() -> None:
    task = vectors()
    learner = il.learners.Hallucinator(torch.nn.Identity(), count=3, features=H).double().eval()
    with torch.no_grad():
        for parameter in learner.head.generator.change[-1].parameters():
            parameter.zero_()
    state = learner.adapt(task.support)
    torch.testing.assert_close(state.head.counts, torch.full((WAYS,), 8.0, dtype=torch.float64))
    head = il.learners.Prototypes().double()
    torch.testing.assert_close(
        learner.predict(state, task.query.x), head.predict(head.adapt(task.support), task.query.x)
    )


def test_generated_features_carry_the_class_of_their_source() -> None:
    task = vectors(shots=1)
    learner = il.learners.Hallucinator(torch.nn.Identity(), count=2, features=H, noise=3).double().eval()
    generator, draws = learner.head.generator, learner.head.draws
    state = learner.adapt(task.support)
    for d in range(WAYS):
        z = task.support.x[d]
        mine = [z + generator.change(torch.cat((z, noise))) for noise in draws(z)]
        torch.testing.assert_close(state.head.sums[d], z + sum(mine))


def test_feature_generator_keeps_the_shape_of_maps() -> None:
    generator = FeatureGenerator(2 * 3 * 3, noise=4, context=5)
    made = generator(torch.randn(6, 2, 3, 3), torch.randn(7, 4), torch.randn(5))
    assert made.shape == (42, 2, 3, 3)


def test_reversed_gradient_is_minus_the_gradient_under_vmap_too() -> None:
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def value(row: Tensor, turn: bool) -> Tensor:
        w = Reverse.apply(weight) if turn else weight
        return (w * row).tanh().sum()

    plain = torch.func.vmap(lambda row: value(row, False))(x).sum()
    turned = torch.func.vmap(lambda row: value(row, True))(x).sum()
    assert torch.equal(plain, turned)
    wanted, untouched = torch.autograd.grad(plain, (weight, x))
    got, same = torch.autograd.grad(turned, (weight, x))
    torch.testing.assert_close(got, -wanted)
    torch.testing.assert_close(same, untouched)


def test_generator_climbs_the_loss_that_the_rest_descends() -> None:
    task = vectors()
    learner = il.learners.MetaGAN(il.nets.mlp(H, 8, H), features=H, weight=0.7).double().eval()
    named = dict(learner.named_parameters())
    head = learner.head

    def loss(turn: bool) -> Tensor:
        z = il.Task(*(il.Examples(learner.encoder(x), y) for x, y in task))
        if turn:
            return head.loss(z)
        state = head.head.adapt(z.support)
        fakes = head.generator(z.support.x, head.draws(z.support.x), z.support.x.mean(0))
        total = torch.zeros((), dtype=torch.float64)
        for rows, label, factor in (
            (z.query.x, z.query.y.argmax(1), 1.0),
            (fakes, torch.full((len(fakes),), WAYS), 0.7),
        ):
            logits = head.head.predict(state, rows)[0]
            logits = torch.cat((logits, head.fake.expand(len(rows), 1)), 1)
            total = total + factor * torch.nn.functional.cross_entropy(logits, label)
        return total

    turned, plain = loss(True), loss(False)
    torch.testing.assert_close(turned, plain)
    got, wanted = (
        dict(zip(named, torch.autograd.grad(value, named.values()), strict=True)) for value in (turned, plain)
    )
    for name in named:
        sign = -1 if "generator" in name else 1
        torch.testing.assert_close(got[name], sign * wanted[name], msg=lambda text, name=name: f"{name}: {text}")


def test_metagan_predicts_as_the_plain_head_with_its_weights() -> None:
    task = vectors()
    encoder = il.nets.mlp(H, 8, H)
    adversarial = il.learners.MetaGAN(encoder, features=H, scale=0.3).double().eval()
    plain = il.ProtoNet(encoder, scale=0.3).double().eval()
    predictions = [learner.predict(learner.adapt(task.support), task.query.x) for learner in (adversarial, plain)]
    assert torch.equal(*predictions)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: il.Versa(torch.nn.Identity()), "pass features="),
        (lambda: il.Versa(il.nets.conv4(), scale=-1.0), "-1.0"),
        (lambda: il.Versa(il.nets.conv4(), draws=0), "at least 1"),
        (lambda: il.learners.Statistician(il.nets.mlp(4, 4), features=4), "pass shape="),
        (lambda: il.learners.Statistician(il.nets.conv4(), posterior="query"), "'query'"),
        (lambda: il.learners.Statistician(il.nets.conv4(), discriminative=-0.5), "-0.5"),
        (lambda: il.nets.Decoder(3, (1, 8, 9)), "square"),
        (lambda: il.learners.Hallucinator(il.nets.conv4(), count=-1), "-1"),
        (lambda: il.learners.MetaGAN(il.nets.conv4(), likelihood=il.Gaussian(scale=1.0)), "Gaussian"),
        (lambda: il.learners.DistributionCalibration(torch.zeros(3, 4), torch.zeros(3, 4, 5)), "fit_base"),
        (
            lambda: il.learners.DistributionCalibration(torch.zeros(3, 4), torch.zeros(3, 4, 4), neighbors=4),
            "neighbors is 4",
        ),
        (
            lambda: il.learners.DistributionCalibration(torch.zeros(3, 4), torch.zeros(3, 4, 4), power=0.0),
            "power is 0.0",
        ),
        (lambda: il.learners.DistributionCalibration.fit_base(torch.zeros(3, 4), torch.zeros(2)), "one label each"),
        (lambda: il.learners.DistributionCalibration.fit_base(torch.zeros(3, 4), torch.tensor([0, 0, 7])), "class 7"),
    ],
)
def test_bad_input_is_refused_with_its_remedy(make: object, words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        make()  # type: ignore[operator]
