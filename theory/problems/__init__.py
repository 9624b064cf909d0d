"""Problems whose population is known, by name."""

from .instrumental import kbo_paper_iv
from .line import huber_targets, logistic_weights, poisson_rates
from .torus import SobolevTorus, torus_networks, torus_regression
from .tuned import calibrated_logistic, predictive_likelihood

PROBLEMS = {
    "kbo_paper_iv": kbo_paper_iv, "torus_regression": torus_regression,
    "torus_networks": torus_networks,
    "logistic_weights": logistic_weights, "huber_targets": huber_targets,
    "poisson_rates": poisson_rates, "predictive_likelihood": predictive_likelihood,
    "calibrated_logistic": calibrated_logistic,
}

__all__ = [
    "PROBLEMS", "SobolevTorus", "calibrated_logistic", "huber_targets", "kbo_paper_iv",
    "logistic_weights", "poisson_rates", "predictive_likelihood", "torus_networks",
    "torus_regression",
]
