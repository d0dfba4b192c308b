"""Training steps of the compared implementations: resjax, plain Flax, and PyTorch."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.measure import RunSteps
from benchmarks.plain_flax import PlainResNet
from resjax import mesh, models
from resjax.config import Config, Data, Model, Train
from resjax.data.augment import statistics
from resjax.train import batched_runs, state, step

IMAGE = (32, 32, 3)
INTERVAL = 100  # largest number of steps per dispatch


class Resjax:
  """Training step of a run on random images, on all devices, with order of the images, crops and flips.

  Attributes:
    compiled: Compiled program of up to `INTERVAL` steps.
  """

  def __init__(
    self,
    depth: int,
    batch_size: int,
    loop: models.ScanOptions | None = None,
    precision: str = "float32",
    *,
    seeds: int = 1,
    survival: float = 1.0,
    compiler_options: dict[str, bool | str] | None = None,
  ):
    """Compiles the training steps of `seeds` runs as one program."""
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
    """Trains a number of steps."""
    first, last = self._done, self._done + steps
    for stop in [*range(first + INTERVAL, last, INTERVAL), last]:
      self._states, _ = self.compiled(self._states, *self._inputs, jnp.int32(stop))
    self._done = last
    jax.block_until_ready(self._states)


def plain_flax(depth: int, batch_size: int) -> RunSteps:
  """Returns training steps of a network of Flax's own layers: unrolled, one dispatch per step, on one device.

  The minibatch is the same in all steps and on the device already.
  """
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
) -> RunSteps:
  """Returns training steps of PyTorch on a GPU or on all cores; the minibatch is the same and on the device already.

  Args:
    depth: Depth of the network.
    batch_size: Number of images per step.
    channels_last: Whether the memory format is channels_last.
    precision: "float32", or "bfloat16" by autocast.
    compile_mode: Mode of torch.compile; None for eager execution.
  """
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
