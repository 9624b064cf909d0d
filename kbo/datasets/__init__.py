"""Instrumental-variable benchmarks whose structural function is known."""

from .dsprites import make_iv_dsprites, render_hearts
from .iv import make_iv_demand, make_iv_linear, make_iv_sigmoid

__all__ = [
    "make_iv_demand", "make_iv_dsprites", "make_iv_linear", "make_iv_sigmoid", "render_hearts",
]
