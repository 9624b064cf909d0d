"""What trained networks share: the training loop, and the objectives that it minimises."""
