"""Prints layers, parameters, multiply-adds and memory of networks, computed from their structure without training.

    python -m resjax.summary --config FILE[:VARIANT] [--only EXPR] [--format=text|json] [--config.KEY=VALUE ...]
    python -m resjax.summary --config imagenet_depth --image_size=64 --classes=20 --compile
    python -m resjax.summary --config cifar_depth_sweep --only "depth=20 seed=0" --mesh data=4,fsdp=2

The table has one row per network, with the paper's figures. For a single network, and in JSON, the layers are listed,
too. Memory is an estimate of the activations that training keeps for the backward pass of a batch, with remat=none and
with remat=block. The multiply-adds of training a run are three times those of its forward passes, because a backward
pass takes two. --compile adds XLA's count of multiply-adds in the forward pass of one image. XLA omits products with
zeros of the padding, as the column `inside` does, and includes additions and normalization, some per cent. --mesh
compiles the training program for the given number of devices of this platform, simulated ones on a CPU, and shows its
memory on each device and its collectives with the size of their results; one in the body of a loop counts once.
"""

import contextlib
import dataclasses
import json
import re
from typing import Any

from absl import flags

from resjax import experiment_cli, listing, paper
from resjax.config import Config
from resjax.depth import Layer, Net
from resjax.depth.memory import activation_bytes
from resjax.settings import ConfigError

_FORMAT = flags.DEFINE_enum("format", "text", ["text", "json"], "Output format.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 0, "Side of the images; 0: that of the data set.", lower_bound=0)
_CLASSES = flags.DEFINE_integer("classes", 0, "Number of classes; 0: that of the data set.", lower_bound=0)
_COMPILE = flags.DEFINE_bool("compile", False, "Show the compiler's count of multiply-adds; needs JAX.")

_MESH = flags.DEFINE_string("mesh", "", "Mesh to compile the training program for: data=N,fsdp=M; needs JAX.")

ROW = (
  "net",
  "depth",
  "params",
  "paper params",
  "macs",
  "paper macs",
  "inside",
  "compiler",
  "MiB",
  "MiB remat",
  "training macs",
)


def main() -> int:
  """Prints the summary of the networks that the command line selects; returns the exit code."""
  found: dict[Net, dict[str, Any]] = {}
  for run in experiment_cli.selected_runs()[1]:
    net = of_images(run.config, _IMAGE_SIZE.value, _CLASSES.value)
    if net not in found:
      found[net] = summary(run.id.rpartition("-s")[0], run.config, net, _COMPILE.value)
      found[net] |= {"mesh": on_mesh(run.config, net, _MESH.value)} if _MESH.value else {}
  nets = list(found.values())
  if _FORMAT.value == "json":
    experiment_cli.print_output(json.dumps(nets, indent=1))
    return experiment_cli.DONE
  if len(nets) == 1:
    experiment_cli.print_output(listing.table(nets[0]["layers"]) + "\n")
  experiment_cli.print_output(
    listing.table([{key: net[key] if key in ("params", "macs") else _text(net[key]) for key in ROW} for net in nets])
  )
  if _MESH.value:
    on_devices = [{"net": net["net"]} | {key: _text(value) for key, value in net["mesh"].items()} for net in nets]
    experiment_cli.print_output(f"\n{listing.table(on_devices)}")
  return experiment_cli.DONE


def of_images(config: Config, size: int, classes: int) -> Net:
  """Returns the layer table of a run's network.

  Args:
    config: Settings of the run.
    size: Side of the images in pixels; 0 for the shape of the data set's images.
    classes: Number of classes; 0 for that of the data set.
  """
  if size and classes:
    return config.model.net((size, size, 3), classes)
  net = listing.net(config)
  shape = (size, size, net.image_shape[2]) if size else net.image_shape
  return dataclasses.replace(net, image_shape=shape, classes=classes or net.classes)


def summary(name: str, config: Config, net: Net, compiled: bool) -> dict[str, Any]:
  """Returns a row with the columns `ROW`, and `layers`, a list with the columns of each layer.

  Args:
    name: Name of the network.
    config: Settings of a run of the network.
    net: Layer table of the network.
    compiled: Whether to compute the compiler's count of multiply-adds; otherwise it is None.
  """
  published = paper.published_size(net.structure, net.image_shape, net.classes)
  none, block = (kept * config.train.batch_size / 2**20 for kept in activation_bytes(net, config.model.precision))
  values = (
    name,
    net.structure.depth,
    net.params,
    published.params if published else None,
    net.macs,
    published.macs if published else None,
    sum(map(macs_inside, net.table)),
    compiler_macs(config, net) if compiled else None,
    round(none, 1),
    round(block, 1),
    None if config.data.has_boxes else net.training_macs(config.train.steps * config.train.batch_size),
  )
  return dict(zip(ROW, values, strict=True)) | {"layers": [_columns(layer) for layer in net.table]}


def macs_inside(layer: Layer) -> int:
  """Returns the multiply-adds of a layer without those of zero padding, for an input of stride times its side."""
  if layer.kind != "conv":
    return layer.macs

  def taps(side: int) -> int:
    starts = (i * layer.stride - layer.kernel // 2 for i in range(side))
    return sum(min(start + layer.kernel, side * layer.stride) - max(start, 0) for start in starts)

  return layer.inputs * layer.outputs * taps(layer.size[0]) * taps(layer.size[1])


def compiler_macs(config: Config, net: Net) -> int:
  """Returns half of the operations that XLA counts in the forward pass of one image.

  Loops are unrolled, because XLA counts the body of a loop once.

  Raises:
    ConfigError: JAX is not installed.
  """
  try:
    import jax
    import jax.numpy as jnp

    from resjax import models
  except ModuleNotFoundError as error:
    raise ConfigError(f"--compile needs {error.name}: install the extra train, cuda13 or tpu") from error

  built = models.build(config.model, net.classes, models.ScanOptions(unroll=max(net.structure.blocks_per_stage)))
  image = jax.ShapeDtypeStruct((1, *net.image_shape), jnp.float32)
  variables = jax.eval_shape(lambda: built.init(jax.random.key(0), jnp.zeros(image.shape), train=False))
  forward = jax.jit(lambda variables, image: built.apply(variables, image, train=False))
  # Lowered for an accelerator: on a CPU the forms of the convolution have more arithmetic (`models/conv.py`).
  lowered = forward.trace(variables, image).lower(lowering_platforms=("tpu",))
  return round(lowered.cost_analysis()["flops"] / 2)


def on_mesh(config: Config, net: Net, text: str) -> dict[str, Any]:
  """Returns memory and collectives of the training program of one run on each device of a mesh.

  Args:
    config: Settings of the run.
    net: Layer table of its network.
    text: Mesh in the form data=N,fsdp=M.

  Returns:
    Memory in MiB, and number and size in MiB of each kind of collective.

  Raises:
    ConfigError: The mesh has another form or does not divide the batch sizes, or JAX is not installed.
  """
  match = re.fullmatch(r"data=([1-9]\d*)(?:,fsdp=([1-9]\d*))?", text)
  if not match:
    raise ConfigError(f"--mesh = {text!r}: must be data=N or data=N,fsdp=M")
  split = int(match[2] or 1)
  count = int(match[1]) * split
  try:
    import jax

    from resjax import mesh
    from resjax.train import program
  except ModuleNotFoundError as error:
    raise ConfigError(f"--mesh needs {error.name}: install the extra train, cuda13 or tpu") from error

  with contextlib.suppress(RuntimeError):  # JAX has already been started for another network
    jax.config.update("jax_num_cpu_devices", count)
  execution = dataclasses.replace(config.execution, devices=count, fsdp=split, runs_per_program=1)
  config = dataclasses.replace(config, execution=execution)
  compiled = program.lower(config, net, mesh.make(config)).compile()
  planned = program.memory(compiled)
  found = {"MiB given": planned.arguments, "MiB temporary": planned.temporary}
  for each in program.collectives(compiled):
    found |= {each.kind: each.count, f"MiB {each.kind}": each.bytes}
  return {key: round(value / 2**20, 2) if key.startswith("MiB") else value for key, value in found.items()}


def _columns(layer: Layer) -> dict[str, Any]:
  return dataclasses.asdict(layer) | {"params": layer.params, "macs": layer.macs}


def _text(value: Any) -> str:
  return "" if value is None else f"{value:,}" if isinstance(value, int | float) else str(value)


if __name__ == "__main__":
  experiment_cli.run(main)
