"""Several threads in one compiled call."""
