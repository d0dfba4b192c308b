"""Injects faults into short runs: `python -m tests.faults`, or `make faults`."""
