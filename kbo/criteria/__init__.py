"""Criteria of a kernel ridge regression that need one factorisation, for ``method=``."""

from .complexity import NystromComplexity
from .gcv import GCV
from .leave_out import LeaveOut
from .marginal_likelihood import MarginalLikelihood
from .regularized import Regularized

__all__ = ["GCV", "LeaveOut", "MarginalLikelihood", "NystromComplexity", "Regularized"]
