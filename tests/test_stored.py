"""Fitted classifiers in the hands of others: pickle, joblib, skops, and copies."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris

import innerloop as il
from innerloop.estimators.choice import HEADS

X, Y = load_iris(return_X_y=True)
WORDS = np.array(["setosa", "versicolor", "virginica"])[Y]


def through_joblib(model: Any) -> Any:
    import joblib

    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


def through_skops(model: Any) -> Any:
    sio = pytest.importorskip("skops.io", reason="skops is not installed")
    content = sio.dumps(model)
    untrusted = sio.get_untrusted_types(data=content)
    # Nothing of torch: only what one expects to find.
    assert set(untrusted) <= {"innerloop.estimators.fewshot.FewShotClassifier"}
    return sio.loads(content, trusted=untrusted)


@pytest.mark.parametrize(
    "through",
    [lambda model: pickle.loads(pickle.dumps(model)), through_joblib, through_skops, copy.deepcopy],
    ids=["pickle", "joblib", "skops", "copy"],
)
@pytest.mark.parametrize("head", HEADS)
def test_a_stored_classifier_predicts_what_it_did_and_goes_on(through: Any, head: str) -> None:
    model = il.FewShotClassifier(head=head).fit(X[::10], WORDS[::10])
    again = through(model)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert again.classes_.tolist() == model.classes_.tolist()
    assert again.get_params() == model.get_params()
    more, other = again.partial_fit(X[1::10], WORDS[1::10]), model.partial_fit(X[1::10], WORDS[1::10])
    np.testing.assert_array_equal(more.predict_proba(X), other.predict_proba(X))


def test_a_head_of_ones_own_is_pickled_too() -> None:
    model = il.FewShotClassifier(head=il.learners.Ridge(penalty=0.3)).fit(X[::10], Y[::10])
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_what_is_not_fitted_is_stored_as_well() -> None:
    assert pickle.loads(pickle.dumps(il.FewShotClassifier(head="ridge"))).head == "ridge"


def test_fitted_attributes_are_arrays_and_plain_values() -> None:
    model = il.FewShotClassifier().fit(X[::10], Y[::10])
    public = {name: value for name, value in vars(model).items() if name.endswith("_") and not name.startswith("_")}
    for name in ("X_", "y_", "classes_", "names_"):
        assert isinstance(public[name], np.ndarray), name
    rest = {name: value for name, value in public.items() if not isinstance(value, np.ndarray)}
    assert all(isinstance(value, (str, float, int, tuple)) for value in rest.values()), rest
