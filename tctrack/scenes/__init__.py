"""Drawn aerial scenes: the demo, training clips, and scenes that test identity."""
