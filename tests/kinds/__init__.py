"""Models for every kind of relation that can cross databases, and for what may hang below one."""
