"""What was learned, as numbers, text and figures. matplotlib is imported only when drawing."""

from ._axes import COLORS
from .convergence import ConvergenceDisplay
from .effects import EffectDisplay, effect
from .features import RelevanceDisplay, TuningDisplay, relevance
from .report import Report, report
from .samples import SampleWeightDisplay, influence
from .search_path import SearchPathDisplay

__all__ = [
    "COLORS", "ConvergenceDisplay", "EffectDisplay", "RelevanceDisplay", "Report",
    "SampleWeightDisplay", "SearchPathDisplay", "TuningDisplay", "effect", "influence", "relevance",
    "report",
]
