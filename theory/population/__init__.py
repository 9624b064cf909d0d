"""Population oracles: what estimates are compared with, each with a bound on its own error."""

from .base import Population
from .linear import LinearPopulation
from .quadrature import QuadraturePopulation
from .random_features import RandomFeaturePopulation
from .spectra import Discretised, GaussianHermite, Spectrum
from .surrogate import LargeSamplePopulation
from .waves import ProductWaves, TorusWaves, Waves

__all__ = [
    "Discretised", "GaussianHermite", "LargeSamplePopulation", "LinearPopulation", "Population",
    "ProductWaves", "QuadraturePopulation", "RandomFeaturePopulation", "Spectrum",
    "TorusWaves", "Waves",
]
