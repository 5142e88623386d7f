"""scikit-learn estimators."""

from innerloop.estimators.incontext import InContextClassifier, InContextRegressor

__all__ = ["InContextClassifier", "InContextRegressor"]
