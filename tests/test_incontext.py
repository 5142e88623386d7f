"""In-context learning on tables: the learner's symmetries, the estimators, and the weights that the package ships."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import Generator

import innerloop as il
from innerloop.data import TablePrior
from innerloop.estimators import InContextClassifier, InContextRegressor
from innerloop.learners.generative.pfn import InContext, describe, standard_borders


def small(**options: object) -> InContext:
    torch.manual_seed(0)
    return InContext(**{"width": 16, "depth": 3, "heads": 2, **options}).double().eval()


def table(seed: int = 0, **options: object) -> il.Task:
    drawn = TablePrior(**{"rows": (30, 30), "features": (5, 5), **options}).draw(Generator().manual_seed(seed), 1)
    return il.Task(*(il.Examples(part.x[0].double(), part.y[0].double()) for part in drawn))


def predict(learner: il.Learner, support: il.Examples, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return learner.predict(learner.adapt(support), x)


@parametrize_with_checks([InContextClassifier(n_estimators=2), InContextRegressor(n_estimators=2)])
def test_scikit_learn_contract(estimator: object, check: object) -> None:
    check(estimator)


@pytest.mark.parametrize("regression", [False, True])
def test_neither_rows_nor_columns_have_an_order(regression: bool) -> None:
    learner, ((x, y), (q, _)) = small(regression=regression), table(regression=regression)
    wanted = predict(learner, il.Examples(x, y), q)
    rows, columns = torch.randperm(len(x)), torch.randperm(x.shape[1])
    torch.testing.assert_close(predict(learner, il.Examples(x[rows], y[rows]), q), wanted)
    torch.testing.assert_close(predict(learner, il.Examples(x[:, columns], y), q[:, columns]), wanted)


def test_units_of_the_features_do_not_matter() -> None:
    learner, ((x, y), (q, _)) = small(), table()
    scale = torch.tensor([1e-3, 2.0, 1e4, 0.3, 7.0], dtype=torch.float64)
    moved = predict(learner, il.Examples(scale * x + 5, y), scale * q + 5)
    torch.testing.assert_close(moved, predict(learner, il.Examples(x, y), q), rtol=1e-6, atol=1e-8)


def test_constant_and_missing_columns_are_finite() -> None:
    learner, ((x, y), (q, _)) = small(), table()
    x, q = x.clone(), q.clone()
    x[:, 0], q[0, 0] = 3.0, 4.0
    x[:, 1] = torch.nan
    x[::3, 2] = torch.nan
    q[1] = torch.nan
    assert predict(learner, il.Examples(x, y), q).isfinite().all()


def test_a_cell_is_described_by_score_rank_and_absence() -> None:
    support = torch.tensor([[1.0], [3.0], [torch.nan]])
    got = describe(torch.tensor([[2.0], [3.0], [torch.nan], [1e9]]), support)
    score = 10 * torch.tanh(torch.tensor(0.1))
    wanted = torch.tensor([[0.0, 0.0, 0.0], [score, 0.5, 0.0], [0.0, 0.0, 1.0], [10.0, 1.0, 0.0]])
    torch.testing.assert_close(got[:, 0], wanted)


def test_missing_is_not_the_mean() -> None:
    learner, ((x, y), (q, _)) = small(), table()
    mean = q.clone()
    mean[:, 0] = x[:, 0].mean()
    gone = q.clone()
    gone[:, 0] = torch.nan
    assert not torch.allclose(predict(learner, il.Examples(x, y), mean), predict(learner, il.Examples(x, y), gone))


def test_folding_is_exact_however_the_table_is_cut() -> None:
    learner, ((x, y), (q, _)) = small(), table()
    state = None
    for start, end in ((0, 4), (4, 5), (5, 30)):
        state = learner.adapt(il.Examples(x[start:end], y[start:end]), state)
    torch.testing.assert_close(learner.predict(state, q), learner.predict(learner.adapt(il.Examples(x, y)), q))


def test_hiding_changes_training_only() -> None:
    learner, task = small(hide=1.0), table()
    plain = small()
    assert torch.equal(learner.loss(task), plain.loss(task))
    assert not torch.equal(learner.train().loss(task), plain.train().loss(task))


def test_bfloat16_training_is_close_to_float32() -> None:
    task = table()
    task = il.Task(*(il.Examples(part.x.float(), part.y.float()) for part in task))
    losses = [small(autocast=autocast).float().train().loss(task) for autocast in (False, True)]
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(losses[1], losses[0], rtol=0.03, atol=0.03)


class Table(torch.nn.Module):
    """The estimators' fit and predict: a table is read once, and the queries beside it."""

    def __init__(self, learner: InContext) -> None:
        super().__init__()
        self.learner = learner

    def forward(self, x: torch.Tensor, y: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        return self.learner.read(self.learner.encode(il.Examples(x, y)), q)


def test_fit_and_predict_are_one_graph_for_tables_of_any_values() -> None:
    learner, ((x, y), (q, _)) = small(depth=2), table(classes=2)
    graph = torch.export.export(Table(learner), (x, y, q)).module()
    (other, targets), (asked, _) = table(1, classes=2)
    other = other.clone()
    other[3, 1] = torch.nan
    torch.testing.assert_close(graph(other, targets, asked), predict(learner, il.Examples(other, targets), asked))


def test_borders_increase_and_cover() -> None:
    borders = standard_borders(50)
    assert len(borders) == 51
    assert (borders.diff() > 0).all()
    torch.testing.assert_close(borders, -borders.flip(0), rtol=1e-5, atol=1e-5)
    assert borders[-2] > 2


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: InContext(hide=2.0), "hide, a share of tables, is 2.0"),
        (lambda: InContext(width=10, heads=3), "heads"),
        (lambda: InContext(depth=0), "depth is 0"),
        (lambda: standard_borders(2), "bars is 2"),
        (lambda: small(classes=3).adapt(il.Examples(torch.zeros(4, 2), torch.eye(4))), "4 target columns"),
    ],
)
def test_bad_options_are_refused(make: object, words: str) -> None:
    with pytest.raises(il.InputError, match=words):
        make()


def test_shipped_weights_beat_chance_by_far() -> None:
    for load, least in ((load_breast_cancer, 0.97), (load_iris, 0.97), (load_wine, 0.97)):
        x, y = load(return_X_y=True)
        p = InContextClassifier().fit(x[::3], y[::3]).predict_proba(x[1::3])
        truth = np.eye(p.shape[1])[y[1::3]]
        assert np.mean([roc_auc_score(truth[:, c], p[:, c]) for c in range(p.shape[1])]) > least


def test_shipped_regressor_explains_diabetes() -> None:
    x, y = load_diabetes(return_X_y=True)
    assert cross_val_score(InContextRegressor(), x, y, cv=3).mean() > 0.3


def test_quantiles_bracket_their_share() -> None:
    x, y = load_diabetes(return_X_y=True)
    model = InContextRegressor().fit(x[:150], y[:150])
    low, middle, high = model.quantiles(x[150:], (0.1, 0.5, 0.9)).T
    assert (low < middle).all()
    assert (middle < high).all()
    assert 0.65 < float(((y[150:] > low) & (y[150:] < high)).mean()) < 0.95
    with pytest.raises(il.InputError, match="above 0 and below 1"):
        model.quantiles(x, (0.0,))


@pytest.mark.parametrize("model", [InContextClassifier, InContextRegressor])
def test_same_seed_same_predictions_and_pickles(model: type) -> None:
    x, y = load_iris(return_X_y=True)
    one, two = (model(random_state=3).fit(x[::2], y[::2]) for _ in range(2))
    again = pickle.loads(pickle.dumps(one))
    np.testing.assert_array_equal(one.predict(x), two.predict(x))
    np.testing.assert_array_equal(one.predict(x), again.predict(x))


def test_text_columns_missing_cells_and_unknown_categories() -> None:
    generator = np.random.default_rng(0)
    color = generator.choice(["red", "green", "blue"], 120)
    x = np.empty((120, 3), dtype=object)
    x[:, 0], x[:, 1], x[:, 2] = color, generator.normal(size=120), generator.normal(size=120)
    y = np.where(color == "green", "yes", "no")
    x[5, 0], x[6, 1], x[7, 2] = None, np.nan, None
    model = InContextClassifier().fit(x[:80], y[:80])
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.score(x[80:], y[80:]) > 0.9
    new = x[80:].copy()
    new[:, 0] = "purple"
    gone = x[80:].copy()
    gone[:, 0] = None
    np.testing.assert_array_equal(model.predict_proba(new), model.predict_proba(gone))


def test_limits_are_said() -> None:
    x = np.zeros((30, 101)) + np.arange(30)[:, None]
    with pytest.raises(ValueError, match=r"101 features.*at most 100.*SelectKBest"):
        InContextClassifier().fit(x, np.arange(30) % 2)
    with pytest.raises(ValueError, match="n_estimators is 0"):
        InContextRegressor(n_estimators=0).fit(x[:, :2], np.arange(30))


def test_large_tables_are_read_in_part_but_every_class_is_there() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2300, 2))
    y = (x[:, 0] > 0).astype(int)
    y[:2] = 2
    model = InContextClassifier(n_estimators=1).fit(x, y)
    rows = model._tree.top.views[0].rows
    assert len(rows) == len(set(rows)) == 2000
    assert {0, 1} <= set(rows)
    assert model.score(x[:100], y[:100]) > 0.9


def test_other_weights_can_be_named(tmp_path: Path) -> None:
    learner = InContext(classes=3, width=16, depth=2, heads=2)
    il.save(tmp_path / "own", learner)
    x, y = load_iris(return_X_y=True)
    p = InContextClassifier(weights=tmp_path / "own").fit(x, y).predict_proba(x)
    assert p.shape == (150, 3)
    with pytest.raises(il.InputError, match="no bundle"):
        InContextClassifier(weights=tmp_path / "none").fit(x, y)
