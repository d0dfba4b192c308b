"""Every test sees eight devices, as on a slice: eight simulated ones on the CPU."""

import os

os.environ["JAX_NUM_CPU_DEVICES"] = "8"
