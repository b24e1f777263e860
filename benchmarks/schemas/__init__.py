"""Settings and models that the benchmarks run with."""
