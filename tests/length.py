"""How long tests take that may take any time: trainings and drawn examples.

``make test`` runs them in short, ``make soak`` whole (``soak/whole.py``).
"""

import os

WHOLE = os.environ.get("FASTBP_TESTS") == "whole"
