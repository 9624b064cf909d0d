"""Checks that a scorer suits the estimator that it scores."""

from __future__ import annotations

from collections.abc import Iterable

from sklearn.metrics import get_scorer

# What scikit-learn's metrics compare, by the module that defines them; others are not checked.
COMPARES = {
    "sklearn.metrics._regression": "numbers",
    "sklearn.metrics._classification": "classes",
    "sklearn.metrics._scorer": "classes",  # the likelihood ratios
    "sklearn.metrics.cluster._supervised": "classes",
}


def check_scoring_suits(scoring, classifier):
    """Refuse metrics of classes for a regressor, and metrics of numbers for a classifier.

    Parameters
    ----------
    scoring : None, str, scorer, or list, tuple, set or dict of them
        As in GridSearchCV; metrics other than scikit-learn's are accepted unchecked.
    classifier : bool

    Raises
    ------
    ValueError
        For a metric that does not suit the estimator, or a name unknown to scikit-learn.
    """
    if isinstance(scoring, dict):
        scoring = list(scoring.values())
    elif isinstance(scoring, str) or not isinstance(scoring, Iterable):
        scoring = [scoring]
    for one in scoring:
        scorer = get_scorer(one) if isinstance(one, str) else one
        compares = _compares(scorer)
        if compares == ("numbers" if classifier else "classes"):
            kind, remedy = ("classifier", "'neg_log_loss' or 'accuracy'") if classifier else (
                "regressor", "'neg_mean_squared_error' or 'r2'"
            )
            raise ValueError(
                f"scoring={one!r} compares {compares}, but the estimator is a {kind}: use one such "
                f"as {remedy}"
            )


def _compares(scorer):
    """What a scorer compares: "numbers", "classes", or None if it suits both or is unknown."""
    asked = getattr(scorer, "_response_method", "predict")
    if "predict" not in ([asked] if isinstance(asked, str) else asked):
        return "classes"  # the scorer asks for their probabilities or scores
    metric = getattr(scorer, "_score_func", None)
    return COMPARES.get(getattr(metric, "__module__", None))
