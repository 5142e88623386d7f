"""Inside a learner: inner steps, layers before and after them, tasks as points. Laws, and naive versions as oracles."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import innerloop as il
from innerloop.evidence.adaptation import adaptation
from innerloop.evidence.cka import linear_cka
from innerloop.evidence.freezing import freezing
from innerloop.evidence.layers import layer_change
from innerloop.evidence.task_space import task_space


def scored(learner: il.Learner, sampler: il.data.Sampler, tasks: int, seed: int = 0) -> dict[str, np.ndarray]:
    """What evaluation measures on each task."""
    return dict(il.evaluate(learner, sampler, tasks=tasks, seed=seed, how="loop", open=False).per_task)


SQUARED = {"likelihood": il.Gaussian(scale=1.0)}


def blobs(queries: int = 4, seed: int = 0) -> il.FewShot:
    generator = torch.Generator().manual_seed(seed)
    centers = 2 * torch.randn(12, 1, 1, 1, generator=generator) + torch.randn(12, 1, 8, 8, generator=generator)
    labels = torch.arange(12).repeat_interleave(12)
    noise = torch.randn(len(labels), 1, 8, 8, generator=generator)
    return il.FewShot(il.Pool.of(centers[labels] + noise, labels), ways=3, shots=2, queries=queries)


def small(out: int | None = 3, norm: str = "support") -> nn.Module:
    return il.nets.conv4((1, 8, 8), width=6, out=out, norm=norm, pools=2)


GRADIENT: dict[str, tuple[Callable[[], il.Learner], Callable[[], il.data.Sampler]]] = {
    "maml": (lambda: il.MAML(small(), steps=3, lr=0.3), blobs),
    "maml, shared head": (lambda: il.MAML(small(1), steps=3, lr=0.3, shared_head="out"), blobs),
    "anil": (lambda: il.ANIL(small(norm="group"), steps=3, lr=0.3), blobs),
    "boil": (lambda: il.learners.BOIL(small(norm="none"), steps=3, lr=0.3), blobs),
    "maml++": (lambda: il.MAMLPlusPlus(small(), steps=3, lr=0.3), blobs),
    "meta-sgd": (lambda: il.learners.MetaSGD(small(), steps=3), blobs),
    "reptile, in turn, with momentum": (
        lambda: il.Reptile(small(), steps=3, inner=il.inner.SGD(0.1, momentum=0.9), batch_size=3),
        blobs,
    ),
    "reptile, adam": (lambda: il.Reptile(small(), steps=3, lr=0.01), blobs),
    "cavia": (lambda: il.learners.CAVIA(il.nets.mlp(6, 8, 1), steps=3), lambda: il.data.Sinusoid(queries=6)),
    "imaml": (lambda: il.learners.IMAML(il.nets.mlp(1, 8, 1), steps=3, **SQUARED), lambda: il.data.Sinusoid(queries=6)),
}


@pytest.mark.parametrize("name", GRADIENT)
def test_steps_of_one_run_are_the_ends_of_shorter_runs(name: str, device: torch.device) -> None:
    """What is measured after step j is what evaluation measures of a learner that takes j steps."""
    learner, sampler = GRADIENT[name][0]().to(device), GRADIENT[name][1]()
    found = adaptation(learner, sampler, steps=4, tasks=3, seed=5)
    assert (found.steps, found.tasks, found.test_steps) == (4, 3, 3)
    measure = "accuracy" if sampler.classifies else "mse"
    for step in range(5):
        learner.test_steps = step
        report = scored(learner, sampler, tasks=3, seed=5)
        np.testing.assert_allclose(found.values["query", measure][:, step], report[measure], rtol=1e-4)
        loss = "nll" if sampler.classifies else "log_likelihood"
        if loss in report:
            sign = 1 if sampler.classifies else -1
            np.testing.assert_allclose(found.values["query", "loss"][:, step], sign * report[loss], rtol=1e-4)


def test_adaptation_reads_as_what_it_is() -> None:
    found = adaptation(il.MAML(small(), steps=2, lr=0.3), blobs(), tasks=5)
    assert found.steps == 5
    assert str(found).splitlines()[0].split() == [
        "step", "support", "loss", "query", "loss", "support", "accuracy", "query", "accuracy", "support",
        "confidence", "query", "confidence",
    ]  # fmt: skip
    assert [line.split()[0] for line in str(found).splitlines()[1:]] == ["0", "1", "2*", "3", "4", "5"]
    assert found._repr_html_().count("<tr>") == 7
    kept = json.loads(json.dumps(found.json()))
    assert kept["support"]["loss"]["mean"][0] == pytest.approx(found.values["support", "loss"][:, 0].mean())
    gains = found.gains("loss", "support")
    assert gains.shape == (5, 3)
    assert gains[:, 0].sum() == pytest.approx(np.diff(found.mean("support", "loss")).sum())
    assert gains[0, 2] < 0  # the first step lowers the loss that it is a step on, on every task


def test_a_learner_is_left_as_it_was() -> None:
    learner = il.MAML(small(norm="group"), steps=2).train()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    adaptation(learner, blobs(), tasks=2, steps=1)
    layer_change(learner, blobs(), tasks=2)
    freezing(learner, blobs(), tasks=2)
    assert learner.training
    assert len(learner.adapts) == len(dict(learner.net.named_parameters()))
    assert all(torch.equal(value, learner.state_dict()[name]) for name, value in before.items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in learner.modules())


@pytest.mark.parametrize("ask", [adaptation, freezing])
def test_a_learner_without_an_inner_loop_is_told(ask: Callable[..., object]) -> None:
    with pytest.raises(il.InputError, match="ProtoNet has no inner loop of gradient steps"):
        ask(il.ProtoNet(small(None)), blobs())


def test_bad_numbers_of_tasks_and_steps_are_refused() -> None:
    maml = il.MAML(small())
    with pytest.raises(il.InputError, match="steps is -1"):
        adaptation(maml, blobs(), steps=-1)
    with pytest.raises(il.InputError, match="tasks is 0; it must be at least 1"):
        adaptation(maml, blobs(), tasks=0)
    with pytest.raises(il.InputError, match="2 tasks at least"):
        layer_change(il.ProtoNet(small(None)), blobs(), tasks=1)
    with pytest.raises(il.InputError, match="no layer 'head'"):
        layer_change(maml, blobs(), layers=["head"])
    with pytest.raises(il.InputError, match="none of tail adapts"):
        freezing(maml, blobs(), parts={"tail": ["tail.*"]}, tasks=1)


def naive_cka(x: Tensor, y: Tensor, unbiased: bool) -> float:
    """By the definitions: traces of centered Gram matrices, and the mean over all sets of four different examples."""
    n = len(x)
    k, l = (z.flatten(1) @ z.flatten(1).T for z in (x, y))  # noqa: E741
    center = torch.eye(n, dtype=x.dtype) - 1 / n

    def hsic(a: Tensor, b: Tensor) -> float:
        if not unbiased:
            return float(torch.trace(center @ a @ center @ center @ b @ center))
        terms = [
            a[i, j] * b[i, j] + a[i, j] * b[q, r] - 2 * a[i, j] * b[i, q]
            for i, j, q, r in itertools.permutations(range(n), 4)
        ]
        return float(torch.stack(terms).mean())

    return hsic(k, l) / (hsic(k, k) * hsic(l, l)) ** 0.5


@pytest.mark.parametrize("unbiased", [True, False])
def test_alignment_is_that_of_the_definition(unbiased: bool) -> None:
    x, y = torch.randn(7, 5).double(), torch.randn(7, 2, 2).double()
    y[:, 0, 0] += x[:, 0]
    assert float(linear_cka(x, y, unbiased=unbiased)) == pytest.approx(naive_cka(x, y, unbiased), rel=1e-9)


@pytest.mark.parametrize("unbiased", [True, False])
def test_alignment_ignores_turns_scales_and_shifts_and_is_symmetric(unbiased: bool) -> None:
    x, y = torch.randn(20, 6).double(), torch.randn(20, 9).double()
    y[:, :6] += x
    turn = torch.linalg.qr(torch.randn(9, 9).double())[0]
    known = float(linear_cka(x, y, unbiased=unbiased))
    assert float(linear_cka(x, 0.3 * y @ turn + 2, unbiased=unbiased)) == pytest.approx(known, rel=1e-9)
    assert float(linear_cka(y, x, unbiased=unbiased)) == pytest.approx(known, rel=1e-9)
    assert float(linear_cka(x, x, unbiased=unbiased)) == pytest.approx(1, rel=1e-12)
    # Any other stretch of the axes does change it.
    assert float(linear_cka(x, x * torch.tensor([9, 1, 1, 1, 1, 1]), unbiased=unbiased)) < 0.95


def test_the_plain_form_takes_many_features_for_alike_and_the_unbiased_one_does_not() -> None:
    drawn = [(torch.randn(15, 200), torch.randn(15, 200)) for _ in range(100)]
    plain, fair = (np.array([float(linear_cka(*pair, unbiased=u)) for pair in drawn]) for u in (False, True))
    assert plain.min() > 0.8
    assert abs(fair.mean()) < 4 * fair.std() / 10


def test_alignment_of_a_constant_is_none_and_of_other_examples_is_refused() -> None:
    assert linear_cka(torch.full((6, 3), 0.1), torch.randn(6, 3)).isnan()
    for x, y in ((torch.randn(5, 2), torch.randn(6, 2)), (torch.randn(3, 2), torch.randn(3, 2))):
        with pytest.raises(il.InputError, match="of the same n examples, 4 at least"):
            linear_cka(x, y)


def test_what_does_not_adapt_does_not_change() -> None:
    anil = layer_change(il.ANIL(small(norm="group"), steps=3, lr=1.0), blobs(), tasks=4)
    assert anil.layers == (*(f"{kind}.{i}" for i in range(4) for kind in ("convolutions", "norms")), "out")
    assert (anil.values[:, :-1] == pytest.approx(1.0, abs=1e-12)) is True
    assert anil.values[:, -1].max() < 0.99
    still = layer_change(il.MAML(small(), steps=3), blobs(), tasks=2, steps=0)
    assert still.values == pytest.approx(1.0, abs=1e-12)
    # Where the first layer adapts, everything behind it changes.
    boil = layer_change(il.learners.BOIL(small(norm="group"), steps=3, lr=1.0), blobs(), tasks=4)
    assert boil.values.max() < 1 - 1e-6


def test_a_learner_without_a_start_is_compared_with_another_task() -> None:
    found = layer_change(il.ProtoNet(small(None, norm="group")), blobs(), tasks=3)
    assert (found.against, len(found.values), found.layers[-1]) == ("another task", 2, "answer")
    assert found.values[:, :-1] == pytest.approx(1.0, abs=1e-12)
    assert found.values[:, -1].max() < 0.99
    text = str(found).splitlines()
    assert text[0].split() == ["layer", "CKA", "95", "%", "plain"]
    assert text[-1].startswith("answer")
    assert found._repr_html_().count("<tr>") == len(text)
    assert json.loads(json.dumps(found.json()))["layers"] == list(found.layers)


def test_layers_go_by_other_names() -> None:
    found = layer_change(il.MAML(small()), blobs(), layers={"head": "out", "first": "norms.0"}, tasks=2)
    assert found.layers == ("first", "head")


def test_freezing_nothing_is_evaluation_and_freezing_all_is_no_inner_loop() -> None:
    learner, sampler = il.MAML(small(), steps=3, lr=0.5), blobs(queries=6)
    found = freezing(learner, sampler, tasks=6, seed=3)
    assert found.parts[:2] == ("nothing", "convolutions.0")
    assert found.parts[-3:] == ("convolutions.0 to norms.3", "all", "all, nearest class mean")
    np.testing.assert_allclose(found.values[:, 0], scored(learner, sampler, tasks=6, seed=3)["accuracy"])
    learner.test_steps = 0
    np.testing.assert_allclose(found.values[:, -2], scored(learner, sampler, tasks=6, seed=3)["accuracy"])
    body = il.learners.Embedded(learner.net, il.learners.Prototypes(distance="cosine"))
    learner.net.out = nn.Identity()
    np.testing.assert_allclose(found.values[:, -1], scored(body, sampler, tasks=6, seed=3)["accuracy"])
    assert found.losses[0].tolist() == [0, 0, 0]
    assert found.losses[-2, 0] == pytest.approx(found.mean[-2] - found.mean[0])
    assert len(str(found).splitlines()) == len(found.parts) + 1
    assert json.loads(json.dumps(found.json()))["frozen"] == list(found.parts)


def test_freezing_the_body_is_anil() -> None:
    """A MAML whose body does not adapt is an ANIL with its weights."""
    net = small()
    parts = {"body": ["convolutions.*", "norms.*"], "head": ["out.*"]}
    found = freezing(il.MAML(net, steps=3, lr=0.5), blobs(queries=6), parts=parts, headless=False, tasks=4)
    assert found.parts == ("nothing", "body", "all")
    anil = il.ANIL(net, steps=3, lr=0.5)
    np.testing.assert_allclose(found.values[:, 1], scored(anil, blobs(queries=6), tasks=4)["accuracy"])


def sets_of_classes() -> dict[str, il.FewShot]:
    """Tasks of the same three classes, of different examples in any order, from each of three pools."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name in ("first", "second", "third"):
        centers = torch.randn(3, 1, 8, 8, generator=generator) + torch.randn(1, 1, 1, 1, generator=generator)
        labels = torch.arange(3).repeat_interleave(30)
        noise = 0.5 * torch.randn(90, 1, 8, 8, generator=generator)
        found[name] = il.FewShot(il.Pool.of(centers[labels] + noise, labels), ways=3, shots=4, queries=1)
    return found


LEARNERS = {
    "protonet": lambda: il.ProtoNet(small(None, norm="group")),
    "maml": lambda: il.MAML(small(norm="group"), steps=2, lr=0.1),
    "maml, batch": lambda: il.MAML(small(norm="batch"), steps=2, lr=0.1),
}


@pytest.mark.parametrize("method", ["features", "fisher"])
@pytest.mark.parametrize("name", ["protonet", "maml", "maml, batch"])
def test_tasks_of_the_same_classes_are_nearer_than_those_of_others(name: str, method: str) -> None:
    learner = LEARNERS[name]().train()
    found = task_space(learner, sets_of_classes(), method=method, tasks=4)
    assert learner.training
    assert found.points.shape[0] == 12
    assert found.groups == ("first",) * 4 + ("second",) * 4 + ("third",) * 4
    assert found.separation > (0.9 if method == "features" else 0.7)
    assert found.points.mean(0) == pytest.approx(0, abs=1e-6)
    assert np.diag(found.similarity) == pytest.approx(1)
    assert f"AUROC {found.separation:.3f}" in str(found)
    assert json.loads(json.dumps(found.json()))["separation"] == found.separation


def test_the_map_is_the_principal_components() -> None:
    from sklearn.decomposition import PCA

    found = task_space(LEARNERS["protonet"](), blobs(), tasks=9)
    pca = PCA(2).fit(found.points)
    # The largest part of each direction is positive.
    signs = np.sign(pca.components_[range(2), np.abs(pca.components_).argmax(1)])
    np.testing.assert_allclose(found.map, signs * pca.transform(found.points), rtol=1e-4, atol=1e-7)
    assert found.explained == pytest.approx(pca.explained_variance_ratio_.sum())
    assert np.isnan(found.separation)


def test_features_of_a_task_are_the_mean_of_its_support() -> None:
    net = small(None, norm="group")
    found = task_space(il.ProtoNet(net), blobs(), tasks=3, seed=1)
    tasks = blobs().draw(torch.Generator().manual_seed(1), 3)
    with torch.no_grad():
        means = torch.stack([net(x).mean(0) for x in tasks.support.x]).double().numpy()
    np.testing.assert_allclose(found.points, means - means.mean(0), rtol=1e-4, atol=1e-6)


def test_fisher_is_the_mean_squared_slope_of_answers_drawn_from_the_prediction() -> None:
    """Of logits that are linear in the filters: against the closed form of the softmax's information."""
    net = nn.Linear(3, 4, bias=False)
    pool = il.Pool.of(torch.randn(20, 3), [i % 2 for i in range(20)])
    sampler = il.FewShot(pool, ways=2, shots=3, queries=1)
    learner = il.learners.Embedded(net, il.learners.Prototypes())
    found = task_space(learner, sampler, method="fisher", tasks=2)
    rows = []
    for number in range(2):
        support = il.Examples(*(part[number] for part in sampler.draw(torch.Generator().manual_seed(0), 2).support))
        with torch.no_grad():
            state = learner.adapt(support)
        total = torch.zeros(4)
        for x in support.x:
            slopes = torch.func.jacrev(
                lambda w, x=x, state=state: learner.head.predict(state.head, (w @ x)[None])[0, 0].log_softmax(0)
            )(net.weight.detach())
            proba = learner.proba(state, x[None])[0]
            total += (proba[:, None, None] * slopes.square()).sum(0).mean(1)
        logs = (total / 6).log().detach()
        rows.append(logs - logs.mean())
    wanted = torch.stack(rows).double().numpy()
    np.testing.assert_allclose(found.points, wanted - wanted.mean(0), rtol=1e-3, atol=1e-5)


def test_task_space_of_numbers_and_of_learners_without_a_network() -> None:
    cavia = il.learners.CAVIA(il.nets.mlp(6, 8, 1), steps=2)
    for method in ("features", "fisher"):
        assert np.isfinite(task_space(cavia, il.data.Sinusoid(queries=3), method=method, tasks=3).points).all()
    plain = il.learners.Prototypes()
    pool = il.Pool.of(torch.randn(20, 3), [i % 4 for i in range(20)])
    sampler = il.FewShot(pool, ways=2, shots=2, queries=1)
    assert task_space(plain, sampler, tasks=3).points.shape == (3, 3)
    with pytest.raises(il.InputError, match="no network with filters"):
        task_space(plain, sampler, method="fisher", tasks=3)
    with pytest.raises(il.InputError, match="a single task is like no other"):
        task_space(plain, sampler, tasks=1)
    with pytest.raises(il.InputError, match="method='gradient' is unknown"):
        task_space(plain, sampler, method="gradient")
