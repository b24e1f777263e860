"""A hypothesis state machine over the log and the engine; see `machine.py`."""
