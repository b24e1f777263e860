"""Databases that are put back to earlier base backups in the middle of deletes, and the replay."""
