"""Problems with a known solution: instrumental variables and synthetic bilevel problems."""

from .bilevel import make_bilevel_quadratics, make_mehra_hamm
from .dsprites import make_iv_dsprites, render_hearts
from .iv import make_iv_demand, make_iv_linear, make_iv_sigmoid

__all__ = [
    "make_bilevel_quadratics", "make_iv_demand", "make_iv_dsprites", "make_iv_linear",
    "make_iv_sigmoid", "make_mehra_hamm", "render_hearts",
]
