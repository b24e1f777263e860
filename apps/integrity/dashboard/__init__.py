"""The pages inside the Django admin: figures of `report`, acts of the engine."""
