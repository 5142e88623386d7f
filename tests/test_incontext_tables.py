"""What a person's tables hold: kinds of columns, scales, levels, names of classes, and weights of the wrong kind."""

from __future__ import annotations

import copy
import datetime
import pickle

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import innerloop as il
from innerloop.encoders.pretrained import pretrained, shipped
from innerloop.estimators import InContextClassifier, InContextRegressor
from innerloop.estimators.coverage import SHARES, held, left_out_levels
from innerloop.estimators.trend import Trend
from innerloop.learners.generative.pfn import InContext, describe, joined

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(90, 4))
SIGNAL = 2 * X[:, 0] + X[:, 1]
Y = SIGNAL + 0.3 * RANDOM.normal(size=90)
LABELS = np.where(SIGNAL > 0, "up", np.where(X[:, 2] > 0, "down", "aside"))


def explained(y: np.ndarray, level: float = 0.0, scale: float = 1.0) -> float:
    """R² on rows 60 to 90 after a fit on the others, worked out in the units of ``Y``."""
    got = (InContextRegressor(n_estimators=2).fit(X[:60], y[:60]).predict(X[60:]) - level) / scale
    return float(1 - np.square(got - Y[60:]).sum() / np.square(Y[60:] - Y[60:].mean()).sum())


# Targets


@pytest.mark.parametrize("constant", [0.1, 0.0, -7.0, 1e8, 1e39, -1.7e308])
def test_a_constant_target_is_predicted_as_it_is(constant: float) -> None:
    model = InContextRegressor(n_estimators=1).fit(X[:20], np.full(20, constant))
    assert set(model.predict(X)) == {constant}
    assert set(model.quantiles(X).ravel()) == {constant}


@pytest.mark.parametrize(
    ("level", "scale"), [(1e8, 1), (-1e15, 10), (0, 1e39), (0, 1e300), (0, 1e-310), (1e8, 1e-5), (3, 1e-9)]
)
def test_targets_have_any_level_and_scale(level: float, scale: float) -> None:
    assert explained(level + scale * Y, level, scale) == pytest.approx(explained(Y), abs=0.02)


def test_the_largest_targets_stay_finite() -> None:
    model = InContextRegressor(n_estimators=2).fit(X[:8], np.array([-1.79e308, 1.79e308] * 4))
    assert model.predict(X).dtype == np.float64
    assert np.isfinite(model.predict(X)).all()
    assert np.isfinite(model.quantiles(X, (1e-9, 0.5, 1 - 1e-9))).all()


@pytest.mark.parametrize("outlier", [1e6, -1e30, 1e300])
def test_an_outlier_among_the_targets_leaves_the_rest_readable(outlier: float) -> None:
    y = Y.copy()
    y[3] = outlier
    assert explained(y) > 0.8


def test_heavy_tails_that_the_features_explain_are_followed() -> None:
    y = np.exp(3 * SIGNAL)
    model = InContextRegressor(n_estimators=2).fit(X[:60], y[:60])
    low, middle, high = model.quantiles(X[60:]).T
    large = SIGNAL[60:] > 0
    assert np.corrcoef(np.log(middle[large]), SIGNAL[60:][large])[0, 1] > 0.9
    assert ((low <= middle) & (middle <= high)).all()


def test_a_prediction_does_not_depend_on_what_else_is_asked() -> None:
    model = InContextRegressor().fit(X[:60], Y[:60])
    alone = np.concatenate([model.predict(X[i : i + 1]) for i in range(60, 70)])
    np.testing.assert_allclose(alone, model.predict(X[60:70]), rtol=1e-10, atol=1e-10)


def test_targets_that_are_no_numbers_are_refused() -> None:
    dates = np.datetime64("2020-01-01") + np.arange(90)
    with pytest.raises(il.InputError, match="datetime64"):
        InContextRegressor().fit(X, dates)


@pytest.mark.parametrize("labels", [["a", None, "b"] * 30, ["a", float("nan"), "b"] * 30])
def test_rows_without_a_label_are_refused_by_number(labels: list[object]) -> None:
    with pytest.raises(ValueError, match=r"row 1|NaN"):
        InContextClassifier().fit(X, np.array(labels, dtype=object))


def test_labels_without_an_order_are_refused() -> None:
    with pytest.raises(il.InputError, match="int, str"):
        InContextClassifier().fit(X, np.array(["a", 1] * 45, dtype=object))


def test_a_linear_trend_goes_on_where_rows_end() -> None:
    x = np.linspace(-1, 1, 40)[:, None]
    model = InContextRegressor().fit(x[5:35], 3 * x[5:35, 0])
    assert model.score(x, 3 * x[:, 0]) > 0.99


def test_what_a_trend_leaves_out_is_what_the_others_tell() -> None:
    """Beside a regression without each row, whose penalty is known."""
    trend = Trend.of(X[:20], Y[:20])
    assert trend.share > 0.9
    fits = []
    for penalty in np.logspace(-2, 3, 21):
        scores = 10 * np.tanh((X[:20] - X[:20].mean(0)) / X[:20].std(0) / 10)
        left = [
            Ridge(penalty).fit(scores[rows != i], Y[:20][rows != i]).predict(scores[[i]])[0]
            for rows in [np.arange(20)]
            for i in rows
        ]
        fits.append((np.square(left - Y[:20]).sum(), np.array(left)))
    told = min(fits, key=lambda fit: fit[0])[1]
    level = Y[:20].mean()
    np.testing.assert_allclose(trend.left_out, level + trend.share * (told - level), atol=1e-9)


def test_a_trend_that_chance_explains_is_none() -> None:
    random = np.random.default_rng(0)
    shares = [Trend.of(random.normal(size=(15, 8)), random.normal(size=15)).share for _ in range(40)]
    assert np.mean(shares) < 0.15
    assert Trend.of(np.ones((5, 0)), np.arange(5.0)).share == 0


@pytest.mark.slow
def test_intervals_hold_their_share() -> None:
    """Of a skewed noise that differs along the first column, over four tables: their share has a deviation of .025."""
    random, inside = np.random.default_rng(0), []
    for _ in range(4):
        x = random.normal(size=(180, 3))
        y = x[:, 1] + np.exp(0.7 * x[:, 0]) * random.exponential(size=180)
        low, high = InContextRegressor().fit(x[:60], y[:60]).quantiles(x[60:], (0.05, 0.95)).T
        inside.append((low <= y[60:]) & (y[60:] <= high))
    assert np.mean(inside) == pytest.approx(0.9, abs=0.05)


def test_levels_of_rows_left_out_are_their_own() -> None:
    """Of targets that lie where a known distribution has them the shares stay, but for the rank among n + 1."""
    y = np.arange(1, 100) / 100
    levels = left_out_levels(y, lambda rows, asked: np.tile(SHARES, (len(asked), 1)))
    np.testing.assert_allclose(levels, np.sort(np.abs(2 * y - 1)), atol=1e-12)
    np.testing.assert_allclose(held(np.array([0.05, 0.5, 0.95]), levels), [0.05, 0.5, 0.95], atol=0.011)
    wide = left_out_levels(y, lambda rows, asked: np.tile(2 * SHARES - 0.5, (len(asked), 1)))
    np.testing.assert_allclose(held(np.array([0.05, 0.95]), wide), [0.275, 0.725], atol=0.011)


# Features


@pytest.mark.parametrize(("level", "scale"), [(0, 1e19), (0, 1e-23), (1e6, 1), (1e9, 1e-3), (0, 1e300), (0, 1e-300)])
@pytest.mark.parametrize("trees", [0, 100])
def test_features_have_any_level_and_scale(level: float, scale: float, trees: int) -> None:
    wanted = InContextClassifier(trees=trees).fit(X[:60], LABELS[:60]).predict_proba(X[60:])
    x = level + scale * X
    got = InContextClassifier(trees=trees).fit(x[:60], LABELS[:60]).predict_proba(x[60:])
    # A cell that lost all digits but four may come to the other side of a threshold, in a tree of a hundred.
    lost = np.abs((x - level) / scale - X).max() > 1e-6
    np.testing.assert_allclose(got, wanted, atol=0.02 if trees and lost else 1e-3)


@pytest.mark.parametrize("scale", [1e19, 1e-23, 1e37, 1e-37])
def test_cells_are_described_the_same_in_any_unit_of_float32(scale: float) -> None:
    x = torch.from_numpy(X).float()
    torch.testing.assert_close(describe(scale * x, scale * x), describe(x, x), rtol=1e-4, atol=1e-5)


def test_a_small_spread_around_a_level_is_described() -> None:
    x = torch.tensor([[1.0], [1.0 + 2**-20], [1.0 + 2**-19]])
    score = describe(x, x)[:, 0, 0]
    torch.testing.assert_close(score, describe((x - 1) * 2**20, (x - 1) * 2**20)[:, 0, 0], rtol=1e-5, atol=1e-6)
    assert score[2] > 1


def test_an_empty_table_describes_nothing() -> None:
    got = describe(torch.tensor([[1.0], [torch.nan]]), torch.zeros(0, 1))
    assert got[:, 0].tolist() == [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize("constant", [3.0, 0.1, np.nan, 1e300])
@pytest.mark.parametrize("model", [InContextClassifier(n_estimators=2), InContextRegressor(n_estimators=2)])
def test_constant_columns_change_nothing(model: object, constant: float) -> None:
    y = LABELS if isinstance(model, InContextClassifier) else Y
    answer = "predict_proba" if isinstance(model, InContextClassifier) else "predict"
    wider = np.insert(X, [0, 2, 4], constant, axis=1)
    later = wider[60:].copy()
    later[::2, 0] = 5.0
    plain = getattr(clone(model).fit(X[:60], y[:60]), answer)(X[60:])
    np.testing.assert_array_equal(getattr(clone(model).fit(wider[:60], y[:60]), answer)(later), plain)


def test_a_table_of_constant_columns_gives_about_the_shares_of_the_classes() -> None:
    p = InContextClassifier().fit(np.ones((40, 3)), [0] * 30 + [1] * 10).predict_proba(np.ones((2, 3)))
    np.testing.assert_allclose(p[:, 0], 0.75, atol=0.1)


# Kinds of columns


def mixed() -> tuple[object, np.ndarray]:
    """A frame with a column of every kind of pandas."""
    pandas = pytest.importorskip("pandas")
    random = np.random.default_rng(1)
    color, n = random.choice(["red", "green", "blue"], 80), 80
    frame = pandas.DataFrame(
        {
            "string": color,
            "text": pandas.array(color, dtype="string"),
            "bool": random.random(n) > 0.5,
            "Int64": pandas.array(random.integers(0, 5, n), dtype="Int64"),
            "boolean": pandas.array(random.random(n) > 0.5, dtype="boolean"),
            "Float64": pandas.array(random.normal(size=n), dtype="Float64"),
            "size": pandas.Categorical(random.choice(["s", "m", "l"], n), categories=["s", "m", "l"], ordered=True),
            "day": pandas.date_range("2020-01-01", periods=n),
            "zone": pandas.date_range("2020-01-01", periods=n, tz="Europe/Berlin"),
            "month": pandas.period_range("2020-01", periods=n, freq="M"),
            "took": pandas.to_timedelta(random.integers(0, 90, n), unit="min"),
            "none": [None] * n,
        }
    )
    frame.loc[3, ["Int64", "boolean", "Float64"]] = pandas.NA
    frame.loc[4, "day"] = pandas.NaT
    frame.loc[5, ["string", "size"]] = None
    return frame, np.where(color == "green", "yes", "no")


def test_frames_of_every_kind_of_column() -> None:
    frame, y = mixed()
    model = InContextClassifier(n_estimators=2).fit(frame[:60], y[:60])
    assert model.feature_names_in_.tolist() == list(frame.columns)
    assert model.score(frame[60:], y[60:]) > 0.85
    kinds = {column.name.strip("'"): column.kind for column in model._columns}
    assert [name for name, kind in kinds.items() if kind == "categories"] == ["string", "text", "size", "none"]
    assert [name for name, kind in kinds.items() if kind == "dates"] == ["day", "zone", "month"]
    assert kinds["took"] == "lengths of time"
    assert next(c.codes for c in model._columns if c.name == "'size'") == {"s": 0, "m": 1, "l": 2}


def test_polars_gives_what_pandas_gives() -> None:
    polars = pytest.importorskip("polars")
    frame, y = mixed()
    frame = frame[["string", "bool", "Int64", "boolean", "Float64", "day", "none"]]
    other = polars.DataFrame(
        {name: frame[name].astype(object).where(frame[name].notna(), None).tolist() for name in frame}
    )
    one, two = (InContextClassifier(n_estimators=2).fit(x[:60], y[:60]).predict_proba(x[60:]) for x in (frame, other))
    np.testing.assert_allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("as_objects", [False, True])
def test_dates_are_numbers_and_stand_beside_numbers(as_objects: bool) -> None:
    days = np.datetime64("2021-03-01") + np.arange(80)
    moments = days.astype(object) if as_objects else days
    y = np.arange(80) + 0.0
    model = InContextRegressor(n_estimators=2).fit(moments[::2, None], y[::2])
    assert model.score(moments[1::2, None], y[1::2]) > 0.98
    rows = [[moment, float(i % 3)] for i, moment in enumerate(days.astype(object))]
    rows[6][0] = None
    assert InContextRegressor(n_estimators=2).fit(rows[::2], y[::2]).score(rows[1::2], y[1::2]) > 0.95


def test_dates_of_every_spelling_are_the_same_days() -> None:
    pandas = pytest.importorskip("pandas")
    days = pandas.date_range("2021-03-01", periods=40)
    model = InContextRegressor(n_estimators=1).fit(pandas.DataFrame({"day": days}), np.arange(40) + 0.0)
    wanted = model.predict(pandas.DataFrame({"day": days[7:8]}))
    noon = datetime.datetime(2021, 3, 8, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    for spelling in (
        datetime.date(2021, 3, 8),
        noon,
        "2021-03-08",
        "2021-03-08T00:00:00Z",
        np.datetime64("2021-03-08"),
    ):
        cell = np.array([spelling], dtype=object)
        assert model.predict(pandas.DataFrame({"day": cell})) == pytest.approx(wanted, abs=1e-6), spelling


def test_a_column_without_a_cell_takes_a_word_later() -> None:
    for nothing in (np.nan, None):
        rows = np.array([[value, nothing] for value in X[:, 0]], dtype=object)
        model = InContextClassifier(n_estimators=1).fit(rows, LABELS)
        later = np.array([[0.5, "word"], [0.5, 3.0], [0.5, nothing]], dtype=object)
        assert len(np.unique(model.predict_proba(later), axis=0)) == 1


def test_the_kind_of_a_column_is_that_of_fit() -> None:
    rows = [["a", 1.0], ["b", 2.0], ["7", 3.0], ["a", 4.0]] * 5
    model = InContextClassifier(n_estimators=1).fit(rows, [0, 1, 1, 0] * 5)
    # Alone, these columns would be numbers: by then they are categories.
    np.testing.assert_array_equal(model.predict_proba([[7, 1.0]]), model.predict_proba([["7", "1.0"]]))
    np.testing.assert_array_equal(model.predict_proba([[8, 1.0]]), model.predict_proba([[None, 1.0]]))
    with pytest.raises(il.InputError, match=r"column 1 held numbers at fit and holds 'many' in row 1"):
        model.predict([["a", 1.0], ["a", "many"]])
    with pytest.raises(il.InputError, match=r"column 1 held numbers at fit and holds .*2020"):
        model.predict([["a", datetime.date(2020, 1, 1)]])


def test_numbers_as_words_and_empty_strings_are_numbers() -> None:
    y = np.arange(40) % 2
    numbers = np.arange(40) * 1.5
    words = np.array([str(number) for number in numbers], dtype=object)
    words[3], words[4] = "", " "
    gone = numbers.copy()
    gone[3:5] = np.nan
    one, two = (InContextClassifier(n_estimators=1).fit(x[:, None], y).predict_proba([[3.0]]) for x in (words, gone))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("cell", "words"), [(1j, "complex"), ({}, "dict"), ([1], "list"), (float("inf"), "infinity"), ("inf", "infinity")]
)
def test_cells_that_cannot_be_read_are_refused(cell: object, words: str) -> None:
    x = np.empty((4, 1), dtype=object)
    x[:, 0] = [1.0, cell, 2.0, 3.0]
    with pytest.raises(il.InputError, match=words):
        InContextClassifier().fit(x, [0, 1, 0, 1])


def test_frames_without_rows_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="0 sample"):
        InContextClassifier().fit(pandas.DataFrame({"a": [1.0]}), [1]).predict(pandas.DataFrame({"a": []}))


# Classes


def test_other_names_for_the_classes_change_nothing() -> None:
    names = {"up": "m", "down": "z", "aside": "a"}
    one = InContextClassifier().fit(X[:60], LABELS[:60])
    two = InContextClassifier().fit(X[:60], np.vectorize(names.get)(LABELS[:60]))
    order = [two.classes_.tolist().index(names[name]) for name in one.classes_]
    assert order != [0, 1, 2]
    np.testing.assert_array_equal(two.predict_proba(X[60:])[:, order], one.predict_proba(X[60:]))


def test_other_names_choose_the_same_rows_of_a_large_table() -> None:
    x = np.random.default_rng(0).normal(size=(2100, 1))
    y = (x[:, 0] > 1).astype(int)
    one, two = (InContextClassifier(n_estimators=1).fit(x, labels).predict_proba(x[:5]) for labels in (y, 1 - y))
    np.testing.assert_array_equal(one, two[:, ::-1])


@pytest.mark.parametrize("count", [11, 30, 120])
def test_any_number_of_classes(count: int) -> None:
    random = np.random.default_rng(0)
    centers = 6 * random.normal(size=(count, 4))
    y = np.arange(6 * count) % count
    x = centers[y] + random.normal(size=(len(y), 4))
    model = InContextClassifier(n_estimators=1).fit(x, y)
    p = model.predict_proba(centers)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
    assert (model.classes_[p.argmax(1)] == np.arange(count)).mean() > 0.7
    renamed = InContextClassifier(n_estimators=1).fit(x, count - 1 - y)
    np.testing.assert_array_equal(renamed.predict_proba(centers)[:, ::-1], p)


def test_more_classes_than_the_network_reads_are_told_apart_better_than_by_their_means() -> None:
    """Twenty-six classes that share two elongated clouds each, as strokes of letters do."""
    random = np.random.default_rng(0)
    y = np.arange(26 * 10) % 26
    centers, sides = random.normal(size=(26, 6)), random.normal(size=(26, 6))
    x = centers[y] + np.where(random.random(len(y)) < 0.5, 1, -1)[:, None] * sides[y]
    x += 0.15 * random.normal(size=x.shape)
    known, asked = slice(0, 182), slice(182, None)
    model = InContextClassifier().fit(x[known], y[known])
    proba = model.predict_proba(x[asked])
    np.testing.assert_allclose(proba.sum(1), 1, atol=1e-5)
    nearest = NearestCentroid().fit(x[known], y[known]).score(x[asked], y[asked])
    assert model.score(x[asked], y[asked]) > nearest + 0.1


def test_rare_classes_keep_their_rate() -> None:
    """Where the columns tell nothing of a class of one in twenty, nothing is lost to its rate."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(600, 5)), (np.arange(600) % 20 == 0).astype(int)
    proba = InContextClassifier().fit(x[:200], y[:200]).predict_proba(x[200:])
    assert log_loss(y[200:], proba) < log_loss(y[200:], np.tile([0.95, 0.05], (400, 1))) + 0.02
    assert proba[:, 1].mean() == pytest.approx(0.05, abs=0.02)


def test_rows_that_come_twice_do_no_harm() -> None:
    plain = InContextClassifier().fit(X[:60], LABELS[:60])
    double = InContextClassifier().fit(np.repeat(X[:60], 2, 0), np.repeat(LABELS[:60], 2))
    assert double.score(X[60:], LABELS[60:]) >= plain.score(X[60:], LABELS[60:]) - 0.05
    assert (plain.predict_proba(X[60:]).argmax(1) == double.predict_proba(X[60:]).argmax(1)).mean() > 0.85


def test_categories_of_many_levels_are_learned() -> None:
    """Twelve words of no order, of which every third means yes."""
    random = np.random.default_rng(0)
    words = random.choice([f"word {letter}" for letter in "abcdefghijkl"], 300)
    y = np.array([ord(word[-1]) % 3 == 0 for word in words])
    x = np.stack((words.astype(object), random.normal(size=300)), 1)
    assert InContextClassifier().fit(x[:200], y[:200]).score(x[200:], y[200:]) > 0.98


# Weights, types and scikit-learn


def test_weights_of_the_other_kind_are_refused_by_name() -> None:
    with pytest.raises(il.InputError, match=r"incontext_classifier.*those of a classifier.*InContextClassifier"):
        InContextRegressor(weights=shipped(regression=False)).fit(X, Y)
    with pytest.raises(il.InputError, match=r"incontext_regressor.*those of a regressor.*InContextRegressor"):
        InContextClassifier(weights=shipped(regression=True)).fit(X, LABELS)


@pytest.mark.parametrize("model", [InContextClassifier, InContextRegressor])
def test_the_default_type_of_torch_does_not_matter(model: type) -> None:
    y = LABELS if model is InContextClassifier else Y
    wanted = model(n_estimators=2).fit(X[:60], y[:60])
    pretrained.__globals__["_read"].cache_clear()
    torch.set_default_dtype(torch.float64)
    try:
        got = model(n_estimators=2).fit(X[:60], y[:60])
        np.testing.assert_array_equal(got.predict(X[60:]), wanted.predict(X[60:]))
        assert got.score(X[60:], y[60:]) > 0.5
    finally:
        torch.set_default_dtype(torch.float32)


def test_loading_weights_draws_no_random_numbers() -> None:
    pretrained.__globals__["_read"].cache_clear()
    torch.manual_seed(0)
    wanted = torch.rand(3)
    torch.manual_seed(0)
    InContextClassifier(n_estimators=1).fit(X, LABELS)
    assert torch.equal(torch.rand(3), wanted)


def test_pipelines_searches_and_frames_out_of_transformers() -> None:
    x, y = load_iris(return_X_y=True, as_frame=pytest.importorskip("pandas") is not None)
    pipeline = make_pipeline(StandardScaler(), InContextClassifier(n_estimators=2)).set_output(transform="pandas")
    search = GridSearchCV(pipeline, {"incontextclassifier__random_state": [0, 1]}, cv=2).fit(x[::3], y[::3])
    assert search.best_score_ > 0.8
    plain = InContextClassifier(n_estimators=2).fit(x[::3], y[::3]).predict_proba(x)
    with config_context(transform_output="pandas"):
        np.testing.assert_array_equal(InContextClassifier(n_estimators=2).fit(x[::3], y[::3]).predict_proba(x), plain)


def test_copies_and_pickles_are_small_and_predict_the_same() -> None:
    model = InContextClassifier().fit(X[:60], LABELS[:60])
    kept = pickle.dumps(model)
    assert len(kept) < 100_000
    for other in (pickle.loads(kept), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))


def test_a_table_too_large_to_be_kept_encoded_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = InContextClassifier().fit(X[:60], LABELS[:60]).predict_proba(X)
    monkeypatch.setattr("innerloop.estimators.ensemble._KEPT", 0)
    monkeypatch.setattr("innerloop.estimators.ensemble._CELLS", 1)
    model = InContextClassifier().fit(X[:60], LABELS[:60])
    assert not model._tree.top._encoded
    np.testing.assert_allclose(model.predict_proba(X), wanted, atol=1e-5)


# The learner


class Gaps(il.data.TablePrior):
    """Tables with missing cells, in support and query sets."""

    def draw(self, generator: torch.Generator, tasks: int) -> il.Task:
        drawn = super().draw(generator, tasks)
        parts = []
        for x, y in drawn:
            x = x.clone()
            x[:, ::3, 0] = torch.nan
            parts.append(il.Examples(x, y))
        return il.Task(*parts)


def test_missing_cells_pass_through_fit_and_evaluate() -> None:
    tables = Gaps(rows=(12, 12), features=(3, 3), queries=6)
    learner = InContext(width=8, depth=2, heads=2)
    history = il.fit(learner, tables, steps=3, tasks_per_step=2, progress=False)
    assert history is not None
    assert np.isfinite(il.evaluate(learner, tables, tasks=4).per_task["accuracy"]).all()


@pytest.mark.parametrize("bad", [float("inf"), -float("inf")])
def test_infinite_cells_are_still_refused(bad: float) -> None:
    class Infinite(Gaps):
        def draw(self, generator: torch.Generator, tasks: int) -> il.Task:
            drawn = super().draw(generator, tasks)
            drawn.query.x[0, 0, 0] = bad
            return drawn

    with pytest.raises(il.InputError, match=r"1 of .* query set's x"):
        il.evaluate(InContext(width=8, depth=2, heads=2), Infinite(rows=(12, 12), features=(3, 3), queries=6), tasks=4)


def test_other_learners_still_refuse_missing_cells() -> None:
    with pytest.raises(il.InputError, match="not finite"):
        il.evaluate(il.ProtoNet(torch.nn.Linear(3, 4)), Gaps(rows=(12, 12), features=(3, 3), queries=6), tasks=4)


def test_a_table_that_is_encoded_once_is_read_the_same() -> None:
    torch.manual_seed(0)
    learner = InContext(width=16, depth=3, heads=2).double().eval()
    x, y = torch.randn(3, 8, 4, dtype=torch.float64), torch.eye(2, dtype=torch.float64).repeat(4, 1).expand(3, -1, -1)
    query = torch.randn(3, 6, 4, dtype=torch.float64)
    table = learner.encode(il.Examples(x, y))
    batched = learner.read(table, query)[0]
    for i in range(3):
        wanted = learner.predict(learner.adapt(il.Examples(x[i], y[i])), query[i])[0]
        torch.testing.assert_close(batched[i], wanted)
        alone = learner.encode(il.Examples(x[i], y[i]))
        torch.testing.assert_close(torch.cat([learner.read(alone, part)[0] for part in query[i].split(2)]), wanted)
    assert learner.net.held(8, 4) * 3 == sum(part.numel() for memory in table.memory for part in memory)


def test_orders_of_the_classes_share_a_description_of_the_rows() -> None:
    torch.manual_seed(0)
    learner = InContext(width=16, depth=3, heads=2, classes=3).double().eval()
    x, query = torch.randn(1, 9, 4, dtype=torch.float64), torch.randn(1, 6, 4, dtype=torch.float64)
    y = torch.eye(3, dtype=torch.float64).repeat(3, 1)
    targets = torch.stack([y, y[:, [1, 2, 0]], y[:, [2, 0, 1]]])
    together = learner.read(learner.encode(il.Examples(x, targets)), query)[0]
    apart = joined([learner.encode(il.Examples(x, part)) for part in targets.split(1)])
    torch.testing.assert_close(learner.read(apart, query)[0], together)
    for got, own in zip(together, targets, strict=True):
        torch.testing.assert_close(got, learner.predict(il.Examples(x[0], own), query[0])[0])


def test_no_class_is_twice_in_one_place() -> None:
    def orders(members: int, labels: object) -> list[list[list[int]]]:
        views = InContextClassifier(n_estimators=members).fit(X[:60], labels)._tree.top.views
        return [view.orders.tolist() for view in views]

    two = Y[:60] > 0
    (one,), (other,) = orders(2, two)
    assert one == other[::-1]
    assert [sorted(view) for view in orders(4, two)] == [[[0, 1], [1, 0]]] * 2
    three = np.concatenate(orders(3, LABELS[:60]))
    assert np.sort(three, 0).T.tolist() == [[0, 1, 2]] * 3
    parts = InContextRegressor(n_estimators=5).fit(X, Y)._reading.parts
    assert [part.ensemble.views[0].counts for part in parts] == [(3,), (2,)]
    assert [part.ensemble.views[0].warp is None for part in parts] == [True, False]


def test_fused_attention_is_attention() -> None:
    torch.manual_seed(0)
    learner = InContext(width=16, depth=3, heads=2).double().eval()
    support, query = il.Examples(torch.randn(8, 4).double(), torch.eye(2).double().repeat(4, 1)), torch.randn(6, 4)
    wanted = learner.predict(support, query.double())
    learner.net.fuse()
    torch.testing.assert_close(learner.predict(support, query.double()), wanted)
