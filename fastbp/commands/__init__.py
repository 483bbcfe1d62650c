"""What ``python -m fastbp`` runs."""
