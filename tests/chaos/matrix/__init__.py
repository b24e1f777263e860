"""The matrix: each fault at each moment of a deletion, on real servers and workers."""
