"""The deletion log's only writer. Each state change is one function, safe to repeat.

Due times follow the clock of the log's database.
"""
