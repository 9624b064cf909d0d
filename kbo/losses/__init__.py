"""Losses ℓ(ω, prediction, target) of one sample, and outer losses of all samples at once."""

from ..registry import Registry
from .base import Joint, Loss, OwnLoss, as_loss
from .classification import Logistic, Multinomial, ScaledLoss
from .readout import Readout
from .regression import Huber, Poisson, SmoothQuantile, Squared, SquaredPerOutput, SquaredTo

# As the regressor's ``loss=`` knows them; a class is constructed without arguments.
NAMED = Registry(Loss, squared=Squared, huber=Huber, quantile=SmoothQuantile, poisson=Poisson)
register_loss = NAMED.register

__all__ = [
    "NAMED", "Huber", "Joint", "Logistic", "Loss", "Multinomial", "OwnLoss", "Poisson", "Readout",
    "ScaledLoss", "SmoothQuantile", "Squared", "SquaredPerOutput", "SquaredTo", "as_loss",
    "register_loss",
]
