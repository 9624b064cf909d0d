"""What the Newton solvers share: the iteration, and the ridge systems of each space."""
