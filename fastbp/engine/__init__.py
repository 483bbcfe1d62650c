"""From a network to compiled calls."""
