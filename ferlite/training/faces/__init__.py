"""Training and evaluation of face detectors; part of `pip install ferlite[train]`."""
