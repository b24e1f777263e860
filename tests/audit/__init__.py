"""`./run audit`: what a security engineer would run over this repository first."""
