"""GridSearchCV's place taken by a search along hypergradients."""

from .adapters import register_adapter
from .search import HypergradientSearchCV

__all__ = ["HypergradientSearchCV", "register_adapter"]
