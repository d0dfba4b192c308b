"""Launchers, which start the runs of an experiment on other machines as `python -m resjax.main --index N`."""
