"""Parents, in `default`."""
