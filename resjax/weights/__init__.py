"""Weights from other projects in, ours out: a reader a file format (`torch_files`), the names of a project (`pytorch`).

Everything here is numpy arrays by name; `resjax.train.run_files` makes a run directory of it.
"""
