"""Evaluation as in the paper: one crop, ten crops, several scales, ensembles (Sec. 3.4, 4.1)."""
