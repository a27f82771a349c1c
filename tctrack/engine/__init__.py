"""Running and judging trackers: metrics, benchmarks, latency, reports, training."""
