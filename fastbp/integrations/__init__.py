"""Other libraries that drive trainings."""
