"""Other libraries' networks."""
