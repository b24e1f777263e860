"""The people of the sample project: Django's users, and their admin."""
