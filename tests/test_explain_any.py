"""il.explain of any learner and estimator: evidence against plain refits, cheap evidence against its mathematics."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from cases import CASES
from torch import Tensor
from torch.nn import functional as F

import innerloop as il
from innerloop.evidence import Agreement, agreement, answered, cheap_evidence, own_evidence
from innerloop.evidence.judging import tells_classes
from innerloop.evidence.turns import log_odds
from innerloop.learners.heads.linear import SoftmaxRegression

KNOWN = {case.name: case for case in CASES}


def task_of(name: str, examples: int = 6, queries: int = 2) -> tuple[il.Learner, il.Examples, Tensor]:
    torch.manual_seed(0)
    case = KNOWN[name]
    (xs, ys), (xq, _) = case.test().draw(torch.Generator().manual_seed(3), 1)
    return (
        case.make().double(),
        il.Examples(xs[0, :examples].double(), ys[0, :examples].double()),
        xq[0, :queries].double(),
    )


@pytest.mark.parametrize(
    ("name", "cheap"),
    [
        ("protonet-euclidean", {"prototypes"}),
        ("protonet-support", {"prototypes"}),
        ("relationnet-scores", {"relations"}),
        ("maml", {"inner steps", "gradient", "prior gradient"}),
        ("maml-support", {"inner steps", "gradient", "prior gradient"}),
        ("metasgd", {"inner steps", "gradient", "prior gradient"}),
        ("mamlplusplus-support", {"inner steps", "gradient", "prior gradient"}),
        ("finetune", {"representer"}),
        ("logistic", {"representer"}),
        ("versa", {"state"}),
        ("cnp", {"state"}),
        ("canp", {"attention"}),
        ("in-context", {"attention"}),
        ("in-context-regression", {"attention"}),
        ("mixed-ridge", set()),
    ],
)
def test_evidence_is_that_of_plain_refits(name: str, cheap: set[str]) -> None:
    learner, support, x = task_of(name)
    learner.train()
    found = il.explain(learner, support, x, turn=False)
    assert learner.training
    learner.eval()
    classes = tells_classes(learner.likelihood, support.y)
    count = len(support.x)

    def said(kept: list[int]) -> Tensor:
        with torch.no_grad():
            raw = learner.predict(learner.adapt(il.Examples(support.x[kept], support.y[kept])), x)
            return learner.likelihood.mean(raw)

    whole = said(list(range(count)))
    column = whole.argmax(1) if classes else torch.zeros(len(x), dtype=torch.int64)

    def value(kept: list[int]) -> Tensor:
        own = said(kept).gather(1, column.unsqueeze(1))[:, 0]
        return own.logit() if classes else own

    for place in range(count):
        expected = value(list(range(count))) - value([other for other in range(count) if other != place])
        np.testing.assert_allclose(found.evidence[:, place], expected, rtol=1e-4, atol=1e-6)
    if classes:
        assert [reason.answer for reason in found] == column.tolist()
    else:
        # In another batch a sum may round otherwise, on some processors.
        np.testing.assert_allclose([reason.answer for reason in found], whole[:, 0], rtol=1e-12)
    assert found.cheap.keys() == cheap | {"similarity"}
    for named, values in found.cheap.items():
        assert values.shape == (len(x), count)
        assert np.isfinite(values).all()
        for row, reason in enumerate(found):
            assert reason.agreement[named] == pytest.approx(agreement(values[row], found.evidence[row]), nan_ok=True)


def test_shares_of_a_state_are_the_derivative_by_an_examples_weight() -> None:
    """Prototypes: 2 (z - m) (z_i - m) / n for the answer's class, minus its share for another."""
    learner, support, x = task_of("protonet-euclidean")
    found = cheap_evidence(learner, support, x)["prototypes"]
    assert isinstance(learner, il.ProtoNet)
    with torch.no_grad():
        known, z = learner.encoder(support.x), learner.encoder(x)
        raw = learner.predict(learner.adapt(support), x)[0]
    codes, answers = support.y.argmax(1), raw.argmax(1)
    for row, answer in enumerate(answers.tolist()):
        rest = raw[row].clone()
        rest[answer] = -math.inf
        share = rest.softmax(0)
        for place, code in enumerate(codes.tolist()):
            mean, n = known[codes == code].mean(0), int((codes == code).sum())
            towards = 2 * (z[row] - mean) @ (known[place] - mean) / n
            expected = towards if code == answer else -share[code] * towards
            torch.testing.assert_close(found[row, place], expected, rtol=1e-6, atol=1e-8)


def test_the_only_example_of_a_class_takes_the_class_with_it() -> None:
    support = il.Examples(torch.tensor([[0.0], [1.0], [5.0]]), torch.eye(3))
    found = cheap_evidence(il.learners.Prototypes(), support, torch.tensor([[0.2]]))["prototypes"][0]
    raw = -(torch.tensor([0.0, 1.0, 5.0]) - 0.2).square()
    assert found[0] > 1e15
    for other, left in ((1, [0, 2]), (2, [0, 1])):
        without = raw[left][0] - raw[left][1]
        torch.testing.assert_close(found[other], log_odds(raw[None], torch.tensor([0]))[0] - without)


def test_relations_add_up_to_the_logit_of_the_answer() -> None:
    learner, support, x = task_of("relationnet-scores")
    found = cheap_evidence(learner, support, x)["relations"]
    with torch.no_grad():
        raw = learner.eval().predict(learner.adapt(support), x)[0]
    answers = raw.argmax(1)
    own = support.y[:, answers].mT
    torch.testing.assert_close((found * own).sum(1), raw.amax(1))


def test_inner_steps_of_one_step_are_the_derivative_by_an_examples_weight() -> None:
    """Of the log odds after one step on a weighted loss, by finite differences."""
    learner, support, x = task_of("maml")
    assert isinstance(learner, il.MAML)
    found = cheap_evidence(learner, support, x)["inner steps"]
    theta = {k: p.detach() for k, p in learner.net.named_parameters()}
    answers = answered(learner, support, torch.arange(len(support.x))[None], x)[0].argmax(1)

    def odds(weights: Tensor) -> Tensor:
        def loss(phi: dict[str, Tensor]) -> Tensor:
            return (weights * learner.likelihood.nll(learner.raw(phi, support.x), support.y)).mean()

        slope = torch.func.grad(loss)(theta)
        phi = {k: p - 0.4 * slope[k] for k, p in theta.items()}
        return log_odds(learner.raw(phi, x)[0], answers)

    ones = torch.ones(len(support.x), dtype=torch.float64)
    by_weight = torch.func.jacrev(odds)(ones)
    torch.testing.assert_close(0.4 / len(ones) * found, by_weight.detach(), rtol=1e-6, atol=1e-9)


def test_attention_of_a_table_is_a_share_of_its_rows() -> None:
    learner, support, x = task_of("in-context")
    found = cheap_evidence(learner, support, x)["attention"]
    torch.testing.assert_close(found.abs().sum(1), torch.ones(len(x), dtype=torch.float64))
    answers = answered(learner, support, torch.arange(len(support.x))[None], x)[0].argmax(1)
    assert torch.equal(found > 0, support.y[:, answers].mT == 1)


def test_representer_values_add_up_to_the_logits() -> None:
    """Where the penalized loss of a linear classifier is least its weights are a sum over the examples."""
    torch.manual_seed(0)
    support = il.Examples(torch.randn(12, 4, dtype=torch.float64), torch.eye(3, dtype=torch.float64).repeat(4, 1))
    x = torch.randn(3, 4, dtype=torch.float64)
    head = SoftmaxRegression(steps=3000, weight_decay=0.05)
    (weight, _), answers = head.adapt(support), torch.zeros(3, dtype=torch.int64)
    z, raw = F.normalize(x, dim=1), head.predict(head.adapt(support), x)[0]
    rest = raw[:, 1:].softmax(1)
    slope = torch.cat((torch.ones(3, 1, dtype=torch.float64), -rest), 1)
    expected = (slope * (z @ weight.mT)).sum(1)
    found = cheap_evidence(head, support, x, answers)["representer"]
    missing = support.y - head.predict(head.adapt(support), support.x)[0].softmax(1)
    torch.testing.assert_close((found - slope @ missing.mT).sum(1) / (0.05 * 12), expected, rtol=1e-6, atol=1e-8)


def test_ranks_agree_as_scipy_says() -> None:
    from scipy.stats import kendalltau, spearmanr

    generator = np.random.default_rng(0)
    one, other = generator.normal(size=20), generator.normal(size=20).round(1)
    found = agreement(one, other)
    assert found == pytest.approx((spearmanr(one, other).statistic, kendalltau(one, other).statistic))
    assert all(math.isnan(value) for value in agreement(np.zeros(3), np.arange(3.0)))
    mean = Agreement.mean([Agreement(1.0, 0.5), Agreement(math.nan, math.nan), Agreement(0.0, 0.0)])
    assert mean == (0.5, 0.25)


def test_a_turn_of_a_learner_turns_its_answer() -> None:
    learner, support, x = task_of("protonet-euclidean")
    for row, reason in enumerate(il.explain(learner, support, x, classes=["a", "b", "c"], names=list("ABCDEF"))):
        assert reason.turn is not None
        kept = [place for place in range(len(support.x)) if place not in reason.turn.without]
        raw = answered(learner, support, torch.tensor([kept]), x[row : row + 1])[0, 0]
        assert "abc"[int(raw.argmax())] == reason.turn.answer != reason.answer
        assert f"it would be {reason.turn.answer} without" in str(reason)


def test_shares_of_groups_and_of_a_number() -> None:
    learner, support, x = task_of("maml-sinusoid")
    found = il.explain(learner, support, x, shapley=True)
    predicted = answered(learner, support, torch.arange(len(support.x))[None], x)[0, :, 0]
    for reason, said in zip(found, predicted.tolist(), strict=True):
        assert reason.shapley is not None
        assert reason.shapley.sum() == pytest.approx(said - float(support.y.mean()))
    groups = [[0, 1], [2], [3, 4, 5]]
    (reason,) = il.explain(learner, support, x[:1], groups=groups)
    assert reason.groups == ((0, 1), (2,), (3, 4, 5))
    assert reason.shapley is not None
    assert len(reason.shapley) == 3
    assert "group 0 " in str(reason)


def test_plain_values_are_json() -> None:
    learner, support, x = task_of("protonet-euclidean", 3)
    found = il.explain(learner, support, x, shapley=True)
    told = json.loads(json.dumps(found.json(), allow_nan=False))
    first = told["reasons"][0]
    assert first["evidence"][found[0].answer] == "inf"
    assert len(first["cheap"]["prototypes"]["evidence"]) == 3
    assert first["shapley"] == pytest.approx(found[0].shapley)
    assert first["cheap"]["similarity"]["spearman"] == found[0].agreement["similarity"].spearman


def test_one_brings_evidence_of_ones_own() -> None:
    class Mine(il.learners.NearestNeighbor):
        """Nearest neighbor with evidence of its own."""

    @own_evidence.register(Mine)
    def _(learner: Mine, support: il.Examples, x: Tensor, answers: Tensor) -> dict[str, Tensor]:
        return {"mine": torch.cdist(x, support.x)}

    support = il.Examples(torch.tensor([[0.0], [3.0]]), torch.eye(2))
    found = il.explain(Mine(), support, torch.tensor([[1.0]]), turn=False)
    assert found.cheap["mine"].tolist() == [[1.0, 2.0]]


def test_estimators_are_explained_fitted_or_not() -> None:
    X, y = np.array([[0.0], [0.2], [4.0], [4.1]]), ["a", "a", "b", "b"]
    few = il.FewShotClassifier("features", "prototypes-euclidean")
    found = il.explain(few, (X, y), [[0.1]])
    assert not hasattr(few, "X_")
    assert str(found) == str(il.explain(few.fit(X, y), x=[[0.1]])) == str(few.explain([[0.1]]))
    assert found.cheap.keys() == {"prototypes", "similarity"}


def test_what_cannot_be_explained_is_refused() -> None:
    learner, support, x = task_of("maml")
    few = il.FewShotClassifier("features")
    for run, said in (
        (lambda: il.explain(learner, None, x), "NoneType"),
        (lambda: il.explain(learner, support, x.numpy()), "ndarray"),
        (lambda: il.explain(learner, support, x, names=["a"]), "1 entries for 6"),
        (lambda: il.explain(learner, support, x, classes=["a"]), "1 entries for 3"),
        (lambda: il.explain(learner, support, x, groups=[[0], [6]]), r"\[6\]"),
        (lambda: il.explain(learner, il.Examples(support.x[:1], support.y[:1]), x), "two at least"),
        (lambda: il.explain(object(), support, x), "object cannot be explained"),
        (lambda: il.explain(few, [1, 2, 3], [[0.0]]), r"\(X, y\)"),
        (lambda: il.explain(few.fit([[0.0], [1.0]], [0, 1])), "no queries"),
    ):
        with pytest.raises(il.InputError, match=said):
            run()
    sines, known, asked = task_of("maml-sinusoid")
    with pytest.raises(il.InputError, match="column is 1"):
        il.explain(sines, known, asked, column=1)


def test_a_table_of_the_in_context_classifier_is_read_anew_without_a_row() -> None:
    """With a missing cell, a column that a subset leaves constant, words, and a class of a single row."""
    X = np.array([[0.0, 1, 0], [0.3, 1, 5], [np.nan, 2, 1], [4.0, 1, 2], [4.4, 1, 9], [8.0, 1, 3]])
    y = np.array(["b", "b", "b", "a", "a", "c"])
    model = il.InContextClassifier(n_estimators=3).fit(X, y)
    asked = [[0.2, 1.0, 4.0], [4.1, 1.0, np.nan]]
    found, proba = model.explain(asked), model.predict_proba(asked)
    for row, reason in enumerate(found):
        assert reason.answer == model.predict(asked)[row]
        assert reason.probability == pytest.approx(proba[row].max(), abs=1e-5)
        for place in range(6):
            kept = np.arange(6) != place
            other = il.InContextClassifier(n_estimators=3).fit(X[kept], y[kept])
            own = dict(zip(other.classes_, other.predict_proba(asked)[row].astype(float), strict=True))
            left = own[reason.answer]
            expected = math.log(reason.probability / (1 - reason.probability)) - math.log(left / (1 - left))
            assert reason.evidence[place] == pytest.approx(expected, abs=2e-4)
    assert set(found.cheap) == {"attention", "similarity"}
    np.testing.assert_allclose(np.abs(found.cheap["attention"]).sum(1), 1, rtol=1e-5)


def test_a_table_of_the_in_context_regressor_is_read_anew_without_a_row() -> None:
    X, y = np.array([[0.0], [1.0], [2.0], [3.0], [4.5]]), np.array([1.0, 2.0, 2.0, 9.0, 400.0])
    model = il.InContextRegressor(n_estimators=2).fit(X, y)
    found = il.explain(model, x=[[1.5], [4.0]], shapley=True)
    predicted = model.predict([[1.5], [4.0]])
    for place in range(5):
        kept = np.arange(5) != place
        left = il.InContextRegressor(n_estimators=2).fit(X[kept], y[kept]).predict([[1.5], [4.0]])
        np.testing.assert_allclose(found.evidence[:, place], predicted - left, rtol=1e-6, atol=1e-6)
    for reason, said in zip(found, predicted, strict=True):
        assert reason.shapley is not None
        assert reason.shapley.sum() == pytest.approx(said - y.mean())


def test_quantiles_are_those_of_scikit_learn() -> None:
    from sklearn.preprocessing import QuantileTransformer

    from innerloop.estimators.ensemble import warped

    generator = np.random.default_rng(0)
    for rows in (2, 7, 300):
        x = generator.normal(size=(rows, 3)).round(1)
        x[1:][generator.random((rows - 1, 3)) < 0.2] = np.nan
        warp = QuantileTransformer(n_quantiles=min(rows, 200), output_distribution="normal", subsample=None).fit(x)
        asked = np.concatenate((x, 3 * generator.normal(size=(20, 3))))
        np.testing.assert_array_equal(warped(warp, asked), warp.transform(asked))


@pytest.mark.parametrize("head", ["auto", "ridge", "gp", "nearest"])
def test_shares_of_a_regressors_number(head: str) -> None:
    X, y = np.array([[0.0], [1.0], [2.0], [3.5]]), np.array([0.0, 1.0, 2.2, 3.0])
    few = il.FewShotRegressor("features", head).fit(X, y)
    (reason,) = il.explain(few, x=[[1.8]], groups=[[0, 1], [2], [3]])
    assert reason.shapley is not None
    assert reason.shapley.sum() == pytest.approx(few.predict([[1.8]])[0] - y.mean())
