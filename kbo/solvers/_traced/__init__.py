"""Newton's method inside a JAX program, and the derivatives of what it finds."""

from .assemble import feature_equations, kernel_equations
from .newton import ENDINGS, Report, newton
from .stationary import stationary

__all__ = ["ENDINGS", "Report", "feature_equations", "kernel_equations", "newton", "stationary"]
