"""Running trackers over benchmarks and judging them."""
