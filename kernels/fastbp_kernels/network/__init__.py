"""A whole network in one compiled call, read from a table."""
