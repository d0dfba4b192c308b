"""Training: `study.run` runs the runs of an experiment; `loop.train` is one run."""
