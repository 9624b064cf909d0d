"""Methods that make one step of θ, or a few, for each step of ω; most of them on batches."""

from .coupled import FSLA, SABA, SOBA, AmIGO
from .first_order import BOME, F2SA
from .loop import SingleLoop, as_method
from .neumann import BSA, TTSA, StocBiO
from .penalty import Penalty
from .recursive import MRBO, SUSTAIN, VRBO
from .stepper import Stepper
from .tuning_free import STFBO

__all__ = [
    "BOME", "BSA", "F2SA", "FSLA", "MRBO", "SABA", "SOBA", "STFBO", "SUSTAIN", "TTSA", "VRBO",
    "AmIGO", "Penalty", "SingleLoop", "Stepper", "StocBiO", "as_method",
]
