"""Boxes, crops and the decoding of response maps."""
