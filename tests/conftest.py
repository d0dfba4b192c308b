"""Every test sees eight devices, as on a slice: eight simulated ones on the CPU."""

import jax

jax.config.update("jax_num_cpu_devices", 8)
