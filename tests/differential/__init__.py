"""The differential test: one random history on one database and on three, row by row."""
