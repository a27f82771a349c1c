"""Benchmark sequences and training clips."""
