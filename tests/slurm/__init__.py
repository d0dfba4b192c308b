"""A real Slurm on this machine, and runs sent to it: `make test-slurm`."""
