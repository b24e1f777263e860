"""The ORM's form of what engines do: for every engine that has no room of its own."""
