"""Sends the runs of an experiment elsewhere; all it ever starts is `python -m resjax.main --index N`."""
