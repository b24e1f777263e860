"""Benchmarks: the product compared with alternatives and with the limit of the servers."""
