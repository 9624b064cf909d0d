"""Scores for model selection with instruments."""

from __future__ import annotations

import numpy as np
from sklearn import config_context
from sklearn.metrics import make_scorer
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.utils.validation import _check_sample_weight, check_array, check_consistent_length

__all__ = ["projected_mse", "projected_mse_scorer"]

ALPHAS = tuple(10.0 ** np.arange(-3, 4))
CENTERS = 500


def projected_mse(y_true, y_pred, *, Z=None, sample_weight=None, alpha=None):
    """(1/Σw) Σ_i w_i r_i g_{−i}(z_i), r = y − ŷ, g = Ê[r | Z] by kernel ridge regression.

    This estimates E[(E[y − ŷ | Z])²], which tells whether ŷ is the structural function. It is then
    zero, whatever the noise of y and however strong the confounding; it is positive for the result
    of a regression where X is endogenous. Since g_{−i} is fitted without sample i, noise adds next
    to nothing on average, and the value may be slightly negative. Errors of ŷ that do not depend on
    Z cannot be detected.

    Parameters
    ----------
    y_true, y_pred : array-like (n,)
    Z : array-like (n, q)
        Instruments and exogenous covariates; required.
    sample_weight : array-like (n,), optional
        Only its values relative to their mean matter.
    alpha : float, optional
        Ridge of g. Its kernel is Gaussian, with the median distance of the standardised rows of Z
        as lengthscale, and g lies in the span of at most 500 of these rows. By default, the one of
        1e-3, 1e-2, …, 1e3 with the smallest leave-one-out error. The mean of r is not penalised.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If Z is missing, an argument is not finite or has the wrong shape, there are fewer than two
        samples of positive weight, or ``alpha`` is not positive.

    References
    ----------
    Newey, Powell (2003), Instrumental Variable Estimation of Nonparametric Models: the
    conditional moment restriction E[y − h(X) | Z] = 0.
    """
    if Z is None:
        raise ValueError(
            "Z is missing: pass it, or where a search calls the scorer, enable scikit-learn's "
            "metadata routing and give Z to the search's fit"
        )
    y_true, y_pred = (
        check_array(values, dtype=np.float64, ensure_2d=False, input_name=name).ravel()
        for values, name in ((y_true, "y_true"), (y_pred, "y_pred"))
    )
    Z = check_array(Z, dtype=np.float64, input_name="Z")
    check_consistent_length(y_true, y_pred, Z)
    weight = _check_sample_weight(sample_weight, Z, dtype=np.float64, ensure_non_negative=True)
    if alpha is not None and not (np.isfinite(alpha) and alpha > 0):
        raise ValueError(f"alpha={alpha!r} must be a positive number or None")
    used = weight > 0
    if used.sum() < 2:
        raise ValueError("projected_mse needs at least two samples of positive weight")
    residual, Z, weight = (y_true - y_pred)[used], Z[used], weight[used]
    weight = weight / weight.mean()  # alpha is meant for weights of mean one
    guesses = _left_out(Z, residual, weight, ALPHAS if alpha is None else (alpha,))
    errors = [weight @ (residual - guess) ** 2 for guess in guesses]
    return float(np.average(residual * guesses[int(np.argmin(errors))], weights=weight))


def projected_mse_scorer(alpha=None):
    """−``projected_mse`` as a scorer that requests ``Z``; greater is better.

    With metadata routing, searches and cross_validate pass it the rows of Z of each test fold::

        with sklearn.config_context(enable_metadata_routing=True):
            search = GridSearchCV(model, grid, scoring=kbo.metrics.projected_mse_scorer())
            search.fit(X, y, Z=Z)

    Without routing scikit-learn does not pass Z to scorers, and scoring fails. In that case call
    ``projected_mse(y_test, model.predict(X_test), Z=Z_test)`` directly.

    Parameters
    ----------
    alpha : float, optional
        See ``projected_mse``.

    Returns
    -------
    scorer : callable
    """
    scorer = make_scorer(projected_mse, greater_is_better=False, alpha=alpha)
    with config_context(enable_metadata_routing=True):  # requests can be set only with routing on
        return scorer.set_score_request(Z=True)


def _left_out(Z, residual, weight, alphas):
    """g_{−i}(z_i), (n,), for each alpha."""
    scale = Z.std(0)
    Z = (Z - Z.mean(0)) / np.where(scale > 0, scale, 1.0)
    centers = np.unique(Z[np.random.RandomState(0).permutation(len(Z))[:CENTERS]], axis=0)
    squared = np.maximum(((centers[:, None] - centers) ** 2).sum(-1), 0.0)
    apart = squared[np.triu_indices(len(centers), 1)]
    gamma = 0.5 / np.median(apart) if len(apart) else 0.5
    levels, directions = np.linalg.eigh(rbf_kernel(centers, gamma=gamma))
    kept = levels > 1e-10 * levels[-1]
    features = rbf_kernel(Z, centers, gamma=gamma) @ (directions[:, kept] / np.sqrt(levels[kept]))
    share, root = weight / weight.sum(), np.sqrt(weight)
    U, levels, _ = np.linalg.svd(root[:, None] * (features - share @ features), full_matrices=False)
    mean = share @ residual
    rotated = U.T @ (root * (residual - mean))
    out = []
    for alpha in alphas:
        shrunk = levels**2 / (levels**2 + alpha)
        fitted = mean + (U @ (shrunk * rotated)) / root
        leverage = np.minimum(share + U**2 @ shrunk, 1 - 1e-9)
        out.append(residual - (residual - fitted) / (1 - leverage))
    return out
