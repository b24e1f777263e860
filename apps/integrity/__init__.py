"""Foreign keys between databases, with the `on_delete` that Django cannot give them.

Add the app to `INSTALLED_APPS`; the project's models stay as they are.
"""
