"""Memory, time and cost of runs on hardware that is not present, from its compiler and its published specifications."""
