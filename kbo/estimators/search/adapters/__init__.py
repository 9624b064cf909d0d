"""Estimators as bilevel problems, in their own parameters."""
