"""Evaluation of trained networks with one crop, ten crops or several scales, and of ensembles (Sec. 3.4, 4.1)."""
