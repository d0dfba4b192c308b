"""Faults that happen to runs, tried as often as one likes: `python -m tests.faults`, or `make faults`."""
