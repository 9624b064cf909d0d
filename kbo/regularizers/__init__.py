"""Regularizers and constraints R of a vector: their proximal steps, and where they are smooth.

They act on the coefficients of ``RegularizedFeatures``, or on ω: as the ``penalty`` of a problem
(see ``optimizers.ProximalGradient``) or as the set of ``optimizers.ProjectedGradient``. Near a
solution R is smooth along a manifold (the coefficients that are not zero, say), and the
solution moves within that manifold as ω changes.
"""

from .base import Part, Regularizer
from .penalties import L1, GroupLasso
from .sets import Ball, Box, NonNegative, Simplex

__all__ = ["L1", "Ball", "Box", "GroupLasso", "NonNegative", "Part", "Regularizer", "Simplex"]
