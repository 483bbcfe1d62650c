"""What is asked of what users hand over, and what they are told."""
