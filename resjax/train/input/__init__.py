"""Input strategies: how the training and test images reach the devices."""
