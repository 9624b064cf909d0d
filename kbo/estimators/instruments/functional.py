"""Instrumental-variable regression as a bilevel problem with learned treatment features."""

from __future__ import annotations

from numbers import Real

import jax
import numpy as np
from scipy.spatial.distance import pdist
from sklearn.utils._param_validation import Interval, StrOptions

from ...arithmetic import arithmetic
from ...hypergradients import Method
from ...kernels import Gaussian
from ...losses import Readout, SquaredTo
from ...networks import LastLayer, Network
from ...optimizers import Optax
from ...problem import BilevelProblem, Sample
from ...search.verbs import minimize
from ...solvers import Auto, Gradient
from ...spaces import RKHS, NeuralFeatures, NeuralSpace
from .networks import BODY_FEATURES, NeuralIVBase

HEURISTIC_ROWS = 1000  # rows of Z in the median of pairwise distances


class FuncIVRegressor(NeuralIVBase):
    """h(x) = u·Ψ_ω(x) + b, with ω the weights of Ψ, by functional bilevel optimization::

        inner   g_ω = argmin_g E₁ ½‖g(z) − Ψ_ω(x)‖² + (first_ridge/2)‖g‖²
        outer   L(ω) = min_{u,b} E₂ ½(y − u·g_ω(z) − b)² + (second_ridge/2)‖u‖²

    E₁ and E₂ are means over two random halves of the data. ω is trained by AdamW with the
    functional hypergradient. All computations are in single precision.

    Parameters
    ----------
    space : {"last_layer", "network", "rkhs"}
        The space of g. "last_layer": a network whose last layer is solved for exactly, with the
        adjoint on the same features (FuncID-linear). "network": the same network, with a second
        one for the adjoint (FuncID). "rkhs": the RKHS of a Gaussian kernel whose lengthscale is
        set by the median heuristic.
    n_features : int
        The dimension of Ψ.
    treatment_network, instrument_network : kbo.networks.Network, default MLP((64, 64))
        Ψ before its tanh, and the body of g, with 32 features below its last layer; the latter is
        unused with "rkhs".
    adjoint_network : kbo.networks.Network, optional
        The adjoint, for space="network" only; None means ``instrument_network`` with n_features
        outputs.
    first_ridge : float, optional
        None means 1e-2, and 1e-4 with "rkhs", where the ridge affects all but the smoothest
        functions of z. With "network" it is the decay of g's last layer (kbo.networks.LastLayer).
    second_ridge : float
    max_iter : int
        Number of steps of ω.
    average : float
        ω becomes the mean of its iterates over this last share of the steps, see
        kbo.optimizers.Optax. With "rkhs", where values are exact, it does so only if the mean has
        the lowest outer value.
    inner_iter : int
        Number of steps of the instrument network, and of the adjoint network, per step of ω.
    learning_rate, weight_decay : float
        Settings of AdamW, for all networks.
    adjoint_l2 : float
        For space="network" only: the coefficient c of a penalty (c/2)‖ψ‖² on the weights ψ of the
        adjoint network. That network regresses the slopes of the outer loss, which contain the
        noise of y, on z, and Ψ follows whatever it fits of that noise. AdamW's weight decay is not
        part of the objective and does not replace the penalty.
    method : kbo.hypergradients.Method, optional
        How the hypergradient is computed; None means Implicit().
    standardize : bool
        Whether the columns of X are centred and scaled to variance 1, as y and Z always are. Use
        False for columns of one unit, such as pixels, some of which may be pure noise.
    random_state : int, RandomState or None
        Draws the halves and the initial weights.
    callback : callable, optional
        Called with the StepRecord of every step of ω; a true return value stops the search.
    verbose : int
        1 shows the progress of the search.

    Attributes
    ----------
    readout_ : ndarray (n_features,)
        u.
    first_stage_strength_ : float
        The share of the variance of Ψ(x) that g(z) explains on the second half.
    history_ : list of kbo.StepRecord
        Outer values, gradient norms and seconds, step by step.
    n_iter_ : int
        Number of steps of ω taken, including the final one to the mean.
    n_features_in_, n_instruments_in_ : int

    Notes
    -----
    There is no confidence band: no theory covers features that were learned from the same data.

    References
    ----------
    Petrulionyte, Mairal, Arbel (2024), Functional Bilevel Optimization, Section 4.1. Xu et al.
    (2021), Learning Deep Features in Instrumental Variable Regression.
    """

    _parameter_constraints = NeuralIVBase._parameter_constraints | {
        "first_ridge": [Interval(Real, 0, None, closed="neither"), None],
        "space": [StrOptions({"last_layer", "network", "rkhs"})],
        "adjoint_network": [Network, None],
        "adjoint_l2": [Interval(Real, 0, None, closed="left")],
        "average": [Interval(Real, 0, 1, closed="left")],
        "method": [Method, None],
        "callback": [callable, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self, space="last_layer", *, n_features=16, treatment_network=None,
        instrument_network=None, first_ridge=None, second_ridge=1e-2, max_iter=200,
        average=0.5, inner_iter=20, learning_rate=3e-3, weight_decay=1e-3, adjoint_network=None,
        adjoint_l2=1e-2, method=None, standardize=True,
        random_state=None, callback=None, verbose=0,
    ):
        self.space = space
        self.n_features = n_features
        self.treatment_network = treatment_network
        self.instrument_network = instrument_network
        self.first_ridge = first_ridge
        self.second_ridge = second_ridge
        self.max_iter = max_iter
        self.average = average
        self.inner_iter = inner_iter
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.standardize = standardize
        self.adjoint_network = adjoint_network
        self.adjoint_l2 = adjoint_l2
        self.method = method
        self.random_state = random_state
        self.callback = callback
        self.verbose = verbose

    @arithmetic(double=False)
    def fit(self, X, y, Z=None, sample_weight=None):
        """Fit to treatments X (n, d), outcomes y (n,) and instruments Z (n, q).

        Parameters
        ----------
        X : array-like (n, d)
            Treatment and exogenous covariates.
        y : array-like (n,)
        Z : array-like (n, q), optional
            Instruments, and the exogenous columns of X again. None: all of X is exogenous.
        sample_weight : array-like (n,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If an argument is not finite or has the wrong shape, Z contains no instrument, fewer
            than four samples have weight, or the readout diverges.
        kbo.BilevelError
            If training diverges.
        """
        (first, second), seed = self._prepare(X, y, Z, sample_weight)
        if self.adjoint_network is not None and self.space != "network":
            raise ValueError(
                f'adjoint_network is of space="network": leave it out with space={self.space!r}'
            )
        features, params = self._start(first, seed)
        usual = 1e-4 if self.space == "rkhs" else 1e-2
        ridge = usual if self.first_ridge is None else self.first_ridge
        space, solver = self._space(first, seed, ridge)
        problem = BilevelProblem(
            inner_loss=SquaredTo(features), outer_loss=Readout(self.second_ridge),
            inner_data=Sample(first.z, first.x, first.weight),
            outer_data=Sample(second.z, second.y, second.weight),
            space=space, n_outputs=self.n_features,
            ridge=0.0 if self.space == "network" else ridge,
        )
        result = minimize(
            problem, params, solver=solver, method=self.method, callback=self.callback,
            progress=self.verbose > 0,
            optimizer=Optax(
                self._optimizer(), max_steps=self.max_iter, tol=-np.inf, average=self.average
            ),
        )
        self.history_ = result.history
        omega = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), result.omega)
        predicted = result.function(second.z)
        self._finish(features, omega, second, predicted)
        self.n_iter_ = result.n_steps
        return self

    def _space(self, first, seed, ridge):
        """The space of g, and the solver of the inner problem."""
        if self.space == "rkhs":
            rows = np.asarray(first.z)[:HEURISTIC_ROWS]
            return RKHS(Gaussian(max(float(np.median(pdist(rows))), 1e-3))), Auto()
        network = self._networks()[1]
        if self.space == "last_layer":
            space = NeuralFeatures(network, BODY_FEATURES)
        else:
            below = LastLayer(network, BODY_FEATURES, decay=ridge)
            space = NeuralSpace(below, adjoint=self.adjoint_network or network)
        return space, Gradient(
            self.inner_iter, optimizer=self._optimizer(), seed=seed,
            adjoint_optimizer=self._optimizer(self.adjoint_l2),
        )
