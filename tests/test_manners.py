"""The few-shot estimators among scikit-learn's tools: searches in two processes, frames out, progress, HTML."""

from __future__ import annotations

from email.message import Message
from typing import Any

import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import innerloop as il
from innerloop.encoders import Module
from innerloop.estimators import manners

X, Y = load_iris(return_X_y=True)
FEW = (X[::5], Y[::5])
NUMBERS = tuple(part[:30] for part in load_diabetes(return_X_y=True))


def test_a_search_runs_in_two_processes() -> None:
    model = make_pipeline(StandardScaler(), PCA(3), il.FewShotClassifier("features", "ridge"))
    search = GridSearchCV(model, {"pca__n_components": [2, 3]}, cv=2, n_jobs=2).fit(*FEW)
    assert search.best_score_ > 0.8
    numbers = make_pipeline(StandardScaler(), il.FewShotRegressor(head="ridge"))
    both = [cross_val_score(numbers, *NUMBERS, cv=2, n_jobs=jobs) for jobs in (None, 2)]
    np.testing.assert_allclose(*both)


def test_encoders_give_frames_with_names() -> None:
    pandas = pytest.importorskip("pandas")
    encoder = Module(nn.AdaptiveAvgPool2d(1), size=8).set_output(transform="pandas")
    made = encoder.transform([np.full((9, 9, 3), value, np.uint8) for value in (0, 255)])
    assert isinstance(made, pandas.DataFrame)
    assert list(made.columns) == ["module0", "module1", "module2"]
    assert made.iloc[1].tolist() == [1, 1, 1]


class Heard:
    """A callback that keeps what it is told."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, str]] = []

    def setup(self, estimator: Any, context: Any) -> None:
        self.tasks.append(("setup", context.task_name))

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        self.tasks.append(("begin", context.task_name))

    def on_fit_task_end(self, estimator: Any, context: Any) -> None:
        self.tasks.append(("end", context.task_name))

    def teardown(self, estimator: Any, context: Any) -> None:
        self.tasks.append(("teardown", context.task_name))


@pytest.mark.parametrize(
    ("model", "data"), [(il.FewShotClassifier(), FEW), (il.FewShotRegressor(), NUMBERS)], ids=["classes", "numbers"]
)
def test_callbacks_hear_of_both_tasks(model: Any, data: Any) -> None:
    pytest.importorskip("sklearn.callback", reason="callbacks came with scikit-learn 1.9")
    heard = Heard()
    model = clone(model).set_callbacks(heard).fit(*data)
    named = [task for hook, task in heard.tasks if hook == "begin"]
    assert named == ["fit", "encoding", "choice"]
    assert heard.tasks[0] == ("setup", "fit")
    assert heard.tasks[-2:] == [("end", "fit"), ("teardown", "fit")]
    np.testing.assert_array_equal(model.predict(data[0]), clone(model).set_callbacks().fit(*data).predict(data[0]))
    heard.tasks.clear()
    with pytest.raises(ValueError, match=r"label|number"):
        model.fit(data[0], [None] * len(data[0]))
    assert heard.tasks[-1] == ("teardown", "fit")


@pytest.mark.parametrize("model", [il.FewShotClassifier(), il.FewShotRegressor()])
def test_the_html_form_names_it_and_links_where_there_is_an_address(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sklearn.config_context(display="diagram"):
        name = type(model).__name__
        assert name in model._repr_html_()
        assert "https://scikit-learn.org" not in model._repr_html_()
        said = Message()
        said["Project-URL"] = "Documentation, https://example.org/docs"
        monkeypatch.setattr(manners, "metadata", lambda package: said)
        manners._documentation.cache_clear()
        assert f"https://example.org/docs#{name.lower()}" in model._repr_html_()
    manners._documentation.cache_clear()
