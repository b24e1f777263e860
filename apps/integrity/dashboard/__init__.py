"""The pages inside the Django admin. `report` computes their figures; the engine does the work."""
