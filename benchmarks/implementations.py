"""Training as resjax does it, as one writes it first in Flax, and as PyTorch does it: sides of the comparisons."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.measure import Side
from benchmarks.plain_flax import PlainResNet
from resjax import mesh, models
from resjax.config import Config, Data, Model, Train
from resjax.data.augment import statistics
from resjax.train import batched_runs, state, step

IMAGE = (32, 32, 3)
INTERVAL = 100  # steps a dispatch, at most


class Resjax:
  """The whole step of a run on all devices, with order, crop and mirror, on random images.

  Attributes:
    compiled: The program of up to `INTERVAL` steps.
  """

  def __init__(
    self,
    depth: int,
    batch_size: int,
    loop: models.ScanOptions | None = None,
    precision: str = "float32",
    seeds: int = 1,
    survival: float = 1.0,
    compiler_options: dict[str, bool | str] | None = None,
  ):
    """Compiles the step of `seeds` runs as one program."""
    model, train, data = (
      Model(depth=depth, precision=precision, survival=survival),
      Train(batch_size=batch_size),
      Data(),
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4096, *IMAGE), np.uint8)
    labels = rng.integers(0, 10, 4096).astype(np.int32)
    net = models.build(model, 10, loop)
    with jax.set_mesh(mesh.make(Config(train=train))):
      everywhere = mesh.replicated(jax.sharding.get_mesh())
      starts = [state.initial(model, train, 10, IMAGE, seed) for seed in range(seeds)]
      self._states = jax.device_put(batched_runs.stack(starts), everywhere)
      training_set = jax.device_put(step.TrainingData(images, labels, statistics(images, data)), everywhere)
      hyperparameters = jax.device_put(batched_runs.hyperparameters([train] * seeds), everywhere)
      self._inputs = hyperparameters, training_set
      lowered = step.train_steps.lower(
        step.Program(net, train, data), INTERVAL, self._states, *self._inputs, jnp.int32(0)
      )
    self.compiled = lowered.compile(compiler_options=compiler_options)
    self._done = 0

  def __call__(self, steps: int) -> None:
    """Trains so many steps."""
    first, last = self._done, self._done + steps
    for stop in [*range(first + INTERVAL, last, INTERVAL), last]:
      self._states, _ = self.compiled(self._states, *self._inputs, jnp.int32(stop))
    self._done = last
    jax.block_until_ready(self._states)


def plain_flax(depth: int, batch_size: int) -> Side:
  """Flax's own layers, unrolled, a dispatch a step, one batch that is there already, on one device."""
  net, sgd = PlainResNet(depth), optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, momentum=0.9))
  images = jax.random.normal(jax.random.key(0), (batch_size, *IMAGE))
  labels = jnp.arange(batch_size) % 10
  variables = jax.jit(net.init)(jax.random.key(1), images[:1])
  carry = variables["params"], variables["batch_stats"], sgd.init(variables["params"])

  @functools.partial(jax.jit, donate_argnums=0)
  def train_step(carry):
    params, stats, momentum = carry

    def loss_of(params):
      logits, updates = net.apply({"params": params, "batch_stats": stats}, images, mutable=["batch_stats"])
      return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates["batch_stats"]

    gradients, stats = jax.grad(loss_of, has_aux=True)(params)
    updates, momentum = sgd.update(gradients, momentum, params)
    return optax.apply_updates(params, updates), stats, momentum

  def run(steps: int) -> None:
    nonlocal carry
    for _ in range(steps):
      carry = train_step(carry)
    jax.block_until_ready(carry)

  return run


def torch(
  depth: int, batch_size: int, channels_last: bool, precision: str = "float32", compile_mode: str | None = None
) -> Side:
  """PyTorch on its GPU or all cores, one batch that is there already; eager or compiled in a mode of torch.compile."""
  import torch

  from benchmarks.torch_net import resnet

  device = "cuda" if torch.cuda.is_available() else "cpu"
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  torch.backends.cudnn.benchmark = True
  layout = torch.channels_last if channels_last else torch.contiguous_format
  net = resnet(depth).to(device, memory_format=layout)
  images = torch.randn(batch_size, 3, 32, 32, device=device).to(memory_format=layout)
  labels = torch.arange(batch_size, device=device) % 10
  torch.set_float32_matmul_precision("high")  # TF32 on a GPU, as XLA has it
  sgd = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4, fused=device == "cuda")
  forward = torch.compile(net, mode=compile_mode) if compile_mode else net

  def run(steps: int) -> None:
    for _ in range(steps):
      sgd.zero_grad()
      with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
        loss = torch.nn.functional.cross_entropy(forward(images), labels)
      loss.backward()
      sgd.step()
    if device == "cuda":
      torch.cuda.synchronize()

  return run
