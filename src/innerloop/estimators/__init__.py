"""scikit-learn estimators."""

from innerloop.estimators.classifier import InContextClassifier
from innerloop.estimators.regressor import InContextRegressor

__all__ = ["InContextClassifier", "InContextRegressor"]
