"""Gradient-based hyperparameter search with the interface of GridSearchCV."""

from .adapters import register_adapter
from .search import HypergradientSearchCV

__all__ = ["HypergradientSearchCV", "register_adapter"]
