"""Studies of trained nets: lesions, gradients, landscape, identity construction. Checkpoints in, records out."""
