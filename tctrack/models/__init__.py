"""Tracking networks: TCTrack, TCTrack++ and the compact default."""
