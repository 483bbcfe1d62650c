"""scikit-learn's ``MLPClassifier`` and ``MLPRegressor`` over the compiled engine: the same results, sooner."""

try:
    import sklearn
except ImportError as error:
    raise ImportError('fastbp.sklearn needs scikit-learn: pip install "fastbp[sklearn]"') from error

from fastbp.sklearn.bagging import BaggingClassifier, BaggingRegressor
from fastbp.sklearn.classifier import MLPClassifier
from fastbp.sklearn.from_model import from_model
from fastbp.sklearn.regressor import MLPRegressor

__all__ = ["BaggingClassifier", "BaggingRegressor", "MLPClassifier", "MLPRegressor", "from_model"]

del sklearn
