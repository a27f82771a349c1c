"""Training trackers: clips, losses, and one loop for every network."""
