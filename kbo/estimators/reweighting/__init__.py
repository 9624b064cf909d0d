"""Estimators that learn which training samples to trust."""

from .estimators import SampleReweightingClassifier, SampleReweightingRegressor

__all__ = ["SampleReweightingClassifier", "SampleReweightingRegressor"]
