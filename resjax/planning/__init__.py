"""What runs will take of a machine that is not there: memory by its compiler, time by its figures."""
