"""What a net is made of, counted from its structure: layers, parameters, multiply-adds, memory; nothing is trained.

    python -m resjax.summary --config FILE[:VARIANT] [--only EXPR] [--format=text|json] [--config.KEY=VALUE ...]
    python -m resjax.summary --config imagenet_depth --image_size=64 --classes=20 --compile
    python -m resjax.summary --config cifar_depth_sweep --only "depth=20 seed=0" --mesh data=4,fsdp=2

A row a net, the paper's figures beside; of a single net, and as JSON, its layers too. Memory is an estimate of the
activations that training keeps for the backward pass at the batch size, with remat none and with remat block. --compile
asks the compiler how many multiply-adds it sees in the forward pass of one image. It leaves out what is multiplied by
zeros of the padding, which `inside` does, too, and counts additions and norms, some per cent. --mesh compiles the
training program for so many devices of this platform, simulated ones on a CPU, and shows its memory on a device and its
collectives, with the bytes of their results; those in a loop's body count once.
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

_FORMAT = flags.DEFINE_enum("format", "text", ["text", "json"], "Form of the output.")
_IMAGE_SIZE = flags.DEFINE_integer("image_size", 0, "Side of the images; 0: that of the data set.", lower_bound=0)
_CLASSES = flags.DEFINE_integer("classes", 0, "Width of the last layer; 0: that of the data set.", lower_bound=0)
_COMPILE = flags.DEFINE_bool("compile", False, "Ask the compiler for its count of multiply-adds; needs JAX.")

_MESH = flags.DEFINE_string("mesh", "", "Devices to compile the training program for: data=N,fsdp=M; needs JAX.")

ROW = ("net", "depth", "params", "paper params", "macs", "paper macs", "inside", "compiler", "MiB", "MiB remat")


def main() -> int:
  """Prints the summary of the nets the command line names; returns the exit code."""
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
  """Returns the net of a run for square images of that size and so many classes; 0: as in its data set."""
  if size and classes:
    return config.model.net((size, size, 3), classes)
  net = listing.net(config)
  shape = (size, size, net.image_shape[2]) if size else net.image_shape
  return dataclasses.replace(net, image_shape=shape, classes=classes or net.classes)


def summary(name: str, config: Config, net: Net, compiled: bool) -> dict[str, Any]:
  """Returns the columns of `ROW`, and `layers`, a dict each.

  Args:
    name: of the net.
    config: of the run.
    net: its layer table.
    compiled: whether to ask the compiler, too; else it is None.
  """
  published = paper.structure(net.structure, net.image_shape, net.classes)
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
  )
  return dict(zip(ROW, values, strict=True)) | {"layers": [_columns(layer) for layer in net.table]}


def macs_inside(layer: Layer) -> int:
  """Returns the layer's multiply-adds without those of the padding's zeros, for an input of stride times its side."""
  if layer.kind != "conv":
    return layer.macs

  def taps(side: int) -> int:
    starts = (i * layer.stride - layer.kernel // 2 for i in range(side))
    return sum(min(start + layer.kernel, side * layer.stride) - max(start, 0) for start in starts)

  return layer.inputs * layer.outputs * taps(layer.side[0]) * taps(layer.side[1])


def compiler_macs(config: Config, net: Net) -> int:
  """Returns half the operations XLA counts in one image's forward pass; loops, which it counts once, are unrolled.

  Raises:
    ConfigError: there is no JAX.
  """
  try:
    import jax
    import jax.numpy as jnp

    from resjax import models
  except ModuleNotFoundError as error:
    raise ConfigError(f"--compile needs {error.name}: install the extra train, cuda13 or tpu") from error

  built = models.build(config.model, net.classes, models.ScanOptions(unroll=max(net.structure.blocks_a_stage)))
  image = jax.ShapeDtypeStruct((1, *net.image_shape), jnp.float32)
  variables = jax.eval_shape(lambda: built.init(jax.random.key(0), jnp.zeros(image.shape), train=False))
  forward = jax.jit(lambda variables, image: built.apply(variables, image, train=False))
  # For an accelerator, where a convolution is one; on a CPU it has forms with more arithmetic (`models/conv.py`).
  lowered = forward.trace(variables, image).lower(lowering_platforms=("tpu",))
  return round(lowered.cost_analysis()["flops"] / 2)


def on_mesh(config: Config, net: Net, text: str) -> dict[str, Any]:
  """Returns what the training program needs on each device of a mesh: MiB, and count and MiB of each collective.

  Args:
    config: of the run.
    net: its layer table.
    text: the mesh, as `--mesh` has it.

  Raises:
    ConfigError: the mesh is not written so, the batches cannot be split over it, or there is no JAX.
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

  with contextlib.suppress(RuntimeError):  # of another net, JAX has been started already
    jax.config.update("jax_num_cpu_devices", count)
  execution = dataclasses.replace(config.execution, devices=count, fsdp=split)
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
