"""What each sample shows of the model that has not seen it, nor the samples of its group.

With the smoother H_ij = ∂ĥ(x_i)/∂y_j of kernel ridge regression, without the samples of a group G

    R_G = y_G − ĥ₋G(x_G) = (I − H)_GG⁻¹ (y − ĥ)_G,    ĥ₋G(x) = ĥ(x) − Σ_{j∈G} ∂ĥ(x)/∂y_j R_j,

and y_i given all others has the variance s² (alpha/w_i) ((I − H)_GG⁻¹)_ii for weight w_i.
"""

from __future__ import annotations

import numpy as np


class LeftOut:
    """Residuals of samples left out, one at a time or in groups.

    Parameters
    ----------
    posterior : Posterior
    rest : ndarray (n, p)
        y − ĥ at the samples.
    groups : ndarray (n,) of int or None
        The group of each sample, 0 … K − 1; None means that each is alone.

    Attributes
    ----------
    residuals : ndarray (n, p)
        R.
    variance : ndarray (n,)
        Of each target given the samples of other groups, over s².
    groups : ndarray (n,) of int
    """

    def __init__(self, posterior, rest, groups=None):
        self._together = groups is not None
        self.groups = groups if self._together else np.arange(len(rest))
        noise = posterior.alpha / posterior.weight
        if not self._together:
            self.residuals = rest / posterior.slack[:, None]
            self.variance = noise / posterior.slack
            return
        self._order = np.argsort(groups, kind="stable")
        self._starts = np.unique(groups[self._order], return_index=True)[1]
        self.residuals, self.variance = np.empty_like(rest), np.empty(len(rest))
        for members in np.split(self._order, self._starts[1:]):
            inverse = np.linalg.inv(posterior.slack_within(members))
            self.residuals[members] = inverse @ rest[members]
            self.variance[members] = noise[members] * inverse.diagonal()

    def changes(self, smoother):
        """ĥ(x) − ĥ₋G(i)(x) for each sample i, (k, n, p), of ∂ĥ(x)/∂y (k, n)."""
        alone = smoother[:, :, None] * self.residuals
        if not self._together:
            return alone
        return np.add.reduceat(alone[:, self._order], self._starts, axis=1)[:, self.groups]
