"""What all estimators share: checks of their arguments, folds, starts, solvers by name."""
