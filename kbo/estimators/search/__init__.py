"""GridSearchCV's place taken by a search along hypergradients."""

from .search import HypergradientSearchCV

__all__ = ["HypergradientSearchCV"]
