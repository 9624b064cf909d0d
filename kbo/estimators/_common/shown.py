"""What a notebook shows of a fitted estimator, below scikit-learn's diagram of its parameters."""

from __future__ import annotations

import numpy as np

from ...html import curve, facts

FACTS = {
    "status_": "status", "criterion_start_": "criterion at the start", "criterion_": "criterion",
    "best_score_": "cross-validated score", "cv_loss_": "loss on other folds", "kept_": "kept",
    "alpha_": "alpha", "noise_": "standard deviation of noise", "best_params_": "best parameters",
    "first_stage_strength_": "share of variance explained by the first stage",
    "first_stage_statistic_": "first-stage F", "effective_f_": "effective F", "solver_": "solver",
    "n_evaluations_": "evaluations", "search_time_": "seconds",
}


class ShownFit:
    """The part of an estimator that adds facts and the course of its search to its HTML."""

    def _repr_html_inner(self):
        return super()._repr_html_inner() + self._fit_html()

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] += self._fit_html()
        return bundle

    def _fit_html(self):
        held = vars(self)
        rows = {name: _shown(held[key]) for key, name in FACTS.items() if held.get(key) is not None}
        if "coef_" in held and "standard_errors_" in held:
            names = held.get("feature_names_in_", [f"x{k}" for k in range(len(self.coef_))])
            rows |= {
                f"coefficient of {name}": f"{value:.4g} ± {error:.2g}"
                for name, value, error in
                zip(names, self.coef_, self.standard_errors_, strict=True)
            } if len(names) == len(self.coef_) else {}
        values = [
            entry["value"] if isinstance(entry, dict) else entry.value
            for entry in held.get("history_", ())
        ]
        return facts(rows) + curve(values, "criterion") if rows else ""


def _shown(value):
    """A value of a fitted attribute in few characters."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, float | np.floating):
        return f"{value:.5g}"
    return np.array2string(value, precision=4) if isinstance(value, np.ndarray) else value
