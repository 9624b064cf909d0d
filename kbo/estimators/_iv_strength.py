"""How strong instruments are, and the warning where they are too weak."""

WEAK_R2 = 0.02  # share of variance explained out of sample below which a first stage is weak


class WeakInstrumentWarning(UserWarning):
    """The instruments explain so little of the treatment that the estimate is not to be trusted."""
