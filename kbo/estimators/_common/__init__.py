"""Shared code of the estimators: argument checks, folds, start values, solvers by name."""
