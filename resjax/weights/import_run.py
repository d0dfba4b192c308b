"""Import of a network trained by another project: reads its weights and writes a run directory."""

import dataclasses
import functools
import shlex
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

from resjax import records
from resjax.config import Config, effects
from resjax.models import layout
from resjax.records import RunWriter
from resjax.settings import ConfigError
from resjax.train import run_files, state
from resjax.train.checkpoints import Checkpoints
from resjax.train.run_files import RestoredRun
from resjax.weights import akamaster, caffe, caffe_files, huggingface, mapping, torch_files, torchvision
from resjax.weights.mapping import Weights

STATE_DICTS = {"akamaster": akamaster.read, "torchvision": torchvision.read}
CAFFE, HUGGING_FACE = "caffe", "huggingface"


def read(project: str, file: Path, mean: Path | None) -> Weights:
  """Reads the weights of another project; settings that do not affect the network are set to their defaults.

  Args:
    project: Name of the project: a key of `STATE_DICTS`, `CAFFE` or `HUGGING_FACE`.
    file: File with the weights; for Hugging Face, the folder that holds it is accepted too.
    mean: Mean image as Caffe's .binaryproto; read for Caffe only.

  Raises:
    ConfigError: A file cannot be read, or holds a network of another architecture.
  """
  if project == CAFFE:
    convert = functools.partial(caffe.read, caffe_files.read(file), caffe_files.read_mean(mean) if mean else None)
  elif project == HUGGING_FACE:
    file = huggingface.weights_file(file)
    convert = functools.partial(huggingface.read, torch_files.read(file), huggingface.describe(file.parent))
  else:
    convert = functools.partial(STATE_DICTS[project], torch_files.read(file))
  try:
    weights = convert()
  except ConfigError as error:
    raise ConfigError(f"{file}: {error}") from None
  config = effects.with_defaults(Config(model=weights.model, data=weights.data))
  return dataclasses.replace(weights, model=config.model)


def restored(directory: Path, weights: Weights) -> RestoredRun:
  """Returns the network as `run_files.read` will return it after `write`.

  Args:
    directory: Run directory to write, which must be new or empty.
    weights: Settings and arrays of the network.

  Raises:
    ConfigError: The directory is not empty, or is a file.
  """
  if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
    raise ConfigError(f"{directory}: exists; choose another --out")
  variables = {key: jax.tree.map(jnp.asarray, layout.stacked(weights.variables[key])) for key in mapping.COLLECTIONS}
  spec = run_files.InputSpec(weights.image_shape, weights.statistics)
  return RestoredRun(directory, Config(model=weights.model, data=weights.data), spec, weights.classes, 0, variables)


def write(directory: Path, weights: Weights, origin: str) -> None:
  """Writes config.json, run.json, input.npz and a checkpoint of step 0.

  Args:
    directory: Run directory to write, which must be new or empty.
    weights: Settings and arrays of the network.
    origin: Project and file that the weights were read from, for the events of run.json.

  Raises:
    ConfigError: The directory is not empty, or is a file.
  """
  net = restored(directory, weights)
  config, model, params = net.config, net.config.model, net.variables["params"]
  table = model.net(weights.image_shape, weights.classes)
  with RunWriter(directory) as writer:
    writer.write_config(config.to_dict())
    run_files.write_input(directory, net.input)
    fresh = state.initial(model, config.train, weights.classes, weights.image_shape, config.seed)
    with Checkpoints(directory / run_files.CHECKPOINTS, config) as checkpoints:
      checkpoints.save(dataclasses.replace(fresh, params=params, batch_stats=net.variables["batch_stats"]))
    writer.update(
      id=directory.name,
      experiment="converted",
      question="What do weights trained elsewhere give here?",
      status=records.DONE,
      kind=model.kind,
      depth=model.depth,
      shortcut=config.shortcut,
      params=table.params,
      macs=table.macs,
      config_digest=config.digest,
      step=0,
      steps=0,
      command=shlex.join(["python", "-m", "resjax.convert", *sys.argv[1:]]),
      data={"name": config.data.name, "path": "", "form": None, "images": None, "digest": None},
      deviations=config.deviations(),
      events=[{"step": 0, "name": "converted", "detail": origin}],
      params_digest=layout.digest(params),
    )
