"""The scales of robust losses, from the residuals of the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .._common.scale import NORMAL, within_reach
from .losses import LEAST_SCALE, ROBUST, start_loss
from .tuning import held_out_values


class RobustScales:
    """The part of the regressor that gives its losses their start values."""

    def _losses(self, scale=None):
        chosen = self.loss if self.outer_loss is None else self.outer_loss
        return tuple(
            start_loss(name, value, self.quantile, self._unit, scale)
            for name, value in (("loss", self.loss), ("outer_loss", chosen))
        )

    def _in_units_of_residuals(self, task):
        """The task with robust losses, given by name, scaled by the held-out residuals.

        Targets of a robust outer loss are clipped. Such a loss is linear far out, where an outlier
        adds a large constant to L, beside which other differences would be lost.
        """
        chosen = self.loss if self.outer_loss is None else self.outer_loss
        robust = [isinstance(value, str) and value in ROBUST for value in (self.loss, chosen)]
        self._robust = any(robust)
        if not any(robust):
            return task
        model, test = task.model, task.criterion.test
        y, best = task.targets[1].reshape(len(task.X), -1), np.inf
        fold, row = np.nonzero(test)
        for values in held_out_values(task.session, model, len(y)):
            residuals = (y - np.broadcast_to(model.offset, y.shape[1:]) - values)[fold, row]
            _, typical = within_reach(residuals, test[fold, row])
            best = min(best, NORMAL * float(np.sqrt(np.mean(typical**2))))
        if not np.isfinite(best):
            return task
        inner, outer = self._losses(max(best, LEAST_SCALE * self._unit))
        model = replace(
            model, inner_loss=model.inner_loss.at_base(inner),
            outer_loss=model.outer_loss.at_base(outer),
        )
        targets = task.targets
        if robust[1]:
            near, _ = within_reach(y, task.criterion.weight)
            targets = targets[0], near.reshape(targets[1].shape)
        return replace(task, model=model, targets=targets)
