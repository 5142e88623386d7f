"""scikit-learn estimators."""

from innerloop.estimators.classifier import InContextClassifier
from innerloop.estimators.fewshot import FewShotClassifier
from innerloop.estimators.fewshot_regressor import FewShotRegressor
from innerloop.estimators.regressor import InContextRegressor

__all__ = ["FewShotClassifier", "FewShotRegressor", "InContextClassifier", "InContextRegressor"]
