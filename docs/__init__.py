"""The documentation; `./run docs` builds it."""
