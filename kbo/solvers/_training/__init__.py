"""What trained networks share: the loop, and the objectives that it descends."""
