"""Tables in the classifier of few examples: columns of any kind, the in-context head, heads on standardized columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

import innerloop as il
from innerloop.encoders import find
from innerloop.encoders.incontext import InContextHead
from innerloop.encoders.table import Table
from innerloop.evidence import leave_one_out, refits

pandas = pytest.importorskip("pandas")


def wine(count: int = 25) -> tuple[object, object, object, object]:
    """A table with a category and gaps: some rows to learn from, all others to ask about."""
    X, y = load_wine(return_X_y=True, as_frame=True)
    X["tone"] = np.where(X["hue"] > 1, "light", "dark")
    X.iloc[3, 2] = np.nan
    labels = y.map({0: "barolo", 1: "grignolino", 2: "barbera"})
    order = np.random.default_rng(0).permutation(len(X))
    return X.iloc[order[:count]], labels.iloc[order[:count]], X.iloc[order[count:]], labels.iloc[order[count:]]


def test_a_data_frame_is_a_table() -> None:
    X, y, more, truth = wine()
    few = il.FewShotClassifier().fit(X, y)
    assert (few.encoder_, few.n_features_in_) == ("table", 14)
    assert list(few.feature_names_in_) == list(X.columns)
    assert few.score(more, truth) > 0.93
    low, high = few.accuracy_interval_
    assert low < few.score(more, truth) <= high
    with pytest.raises(ValueError, match="feature names"):
        few.predict(more.rename(columns={"hue": "color"}))
    with pytest.raises(il.InputError, match=r"column 'hue' held numbers at fit and holds 'red' in row 0"):
        few.predict(more.assign(hue="red"))


def test_it_is_kept_and_moved(tmp_path: Path) -> None:
    X, y, more, _ = wine()
    few = il.FewShotClassifier().fit(X, y)
    again = il.load(few.save(tmp_path / "wine"))
    np.testing.assert_array_equal(again.predict_proba(more), few.predict_proba(more))
    # The package's network is no part of it.
    assert sum(file.stat().st_size for file in (tmp_path / "wine").iterdir()) < 60_000
    more_learned = again.partial_fit(more[:5], np.array(["other"] * 5))
    assert list(more_learned.classes_) == ["barbera", "barolo", "grignolino", "other"]


def test_sets_hold_the_class() -> None:
    X, y, more, truth = wine()
    sets = il.FewShotClassifier().fit(X, y).predict_set(more, coverage=0.9)
    held = np.mean([label in found for label, found in zip(truth, sets, strict=True)])
    assert held > 0.8
    assert np.mean([len(found) for found in sets]) < 1.5


@pytest.mark.parametrize("head", ["in-context", "ridge", "logistic", "prototypes", "nearest"])
def test_every_head_of_a_table(head: str) -> None:
    X, y, more, truth = wine()
    few = il.FewShotClassifier(head=head).fit(X, y)
    assert few.head_ == head
    assert few.score(more, truth) > 0.88
    # The unit of a column is nobody's business.
    other = X.assign(proline=X["proline"] * 1e6, hue=X["hue"] - 1e3)
    queries = more.assign(proline=more["proline"] * 1e6, hue=more["hue"] - 1e3)
    again = il.FewShotClassifier(head=head).fit(other, y)
    np.testing.assert_allclose(again.predict_proba(queries), few.predict_proba(more), atol=1e-4)


def test_more_classes_than_the_network_reads_go_to_other_heads() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 3)
    frame = pandas.DataFrame({"a": labels % 4 + random.normal(0, 0.05, 36), "b": labels // 4})
    few = il.FewShotClassifier().fit(frame, labels)
    assert few.head_ != "in-context"
    assert few.score(frame, labels) > 0.9


def test_scaled_is_the_head_on_what_a_standard_scaler_gives() -> None:
    random = np.random.default_rng(1)
    x, y = random.normal(3, [1, 50, 1e-4, 0], (20, 4)), torch.eye(2, dtype=torch.float64)[torch.arange(20) % 2]
    inner = il.learners.Ridge(normalize=False).double()
    scaled = il.learners.Scaled(inner).eval()
    standard = StandardScaler().fit(x)
    z = torch.from_numpy(standard.transform(x))
    raw = scaled.predict(scaled.adapt(il.Examples(torch.from_numpy(x), y)), torch.from_numpy(x))
    torch.testing.assert_close(raw, inner.predict(inner.adapt(il.Examples(z, y)), z), rtol=1e-9, atol=1e-9)


def test_scaled_learns_the_scale_of_a_subset_from_the_subset() -> None:
    x = torch.randn(9, 3, dtype=torch.float64) * torch.tensor([1.0, 100.0, 0.01], dtype=torch.float64)
    x[4, 1] = torch.nan
    support = il.Examples(x, torch.eye(3, dtype=torch.float64)[torch.arange(9) % 3])
    head = il.learners.Scaled(il.learners.Prototypes(), start=1).double().eval()
    found = leave_one_out(head, support)
    for row in range(9):
        rest = [other for other in range(9) if other != row]
        state = head.adapt(il.Examples(x[rest], support.y[rest]))
        torch.testing.assert_close(found[row], head.predict(state, x[row : row + 1])[0, 0])


def test_in_context_leaves_out_as_a_loop_would() -> None:
    x = torch.randn(8, 3, dtype=torch.float64)
    support = il.Examples(x, torch.eye(2, dtype=torch.float64)[torch.arange(8) % 2])
    head = InContextHead(orders=2).eval()
    found = leave_one_out(head, support)
    for row in (0, 5):
        rest = [other for other in range(8) if other != row]
        state = head.adapt(il.Examples(x[rest], support.y[rest]))
        torch.testing.assert_close(found[row], head.predict(state, x[row : row + 1])[0, 0], atol=1e-4, rtol=1e-4)
    state = refits(head, support, torch.tensor([[0, 1, 2], [3, 4, 5]]))
    assert state.x.shape == (2, 3, 3)


def test_in_context_reads_few_classes() -> None:
    head = InContextHead()
    with pytest.raises(il.InputError, match="11 target columns, this network reads 10"):
        head.adapt(il.Examples(torch.rand(11, 2), torch.eye(11)))
    with pytest.raises(il.InputError, match="orders is 0"):
        InContextHead(orders=0)


def test_columns_by_hand() -> None:
    frame = pandas.DataFrame({"size": [1.5, 2.0, None], "color": ["red", "blue", "red"]})
    table = Table().fit(frame)
    assert table.blocks == {"cells": slice(0, 2), "columns": slice(2, 5)}
    made = table.transform(frame)
    np.testing.assert_array_equal(made[:, 1:], [[1, 1.5, 0, 1], [0, 2.0, 1, 0], [1, np.nan, 0, 1]])
    again = Table().restore(table.state())
    np.testing.assert_array_equal(again.transform(frame), made)
    assert again.fingerprint() == table.fingerprint() != Table().fit(frame[["size"]]).fingerprint()
    assert find("table", frame).name == "table"
