"""Search for execution settings with which a run fits into the memory of a slice."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from resjax import listing
from resjax.config import Config
from resjax.depth import memory as needed
from resjax.planning import chips
from resjax.planning.chips import Slice
from resjax.settings import ConfigError


@dataclasses.dataclass(frozen=True)
class Trial:
  """Execution settings that were tried, and the memory that they need.

  Attributes:
    setting: Settings that were changed to make the run fit, or "".
    config: Settings of the run after the change.
    slice_: Slice that executes the run.
    seconds: Compile time in seconds; None if nothing was compiled.
    memory: Memory on each device in bytes, of the training program and all images that the device holds.
    fits: Whether it is at most the slice's `memory_limit`.
    collectives: Number of collectives of each kind in the program; one inside a loop counts once.
  """

  setting: str
  config: Config
  slice_: Slice
  seconds: float | None
  memory: int
  fits: bool
  collectives: dict[str, int]


def check(config: Config, slice_: Slice) -> None:
  """Raises ConfigError if the slice has too few chips, or `execution.fsdp` or a batch does not fit their number."""
  if config.execution.devices > slice_.count:
    raise ConfigError(
      f"execution.devices = {config.execution.devices}: must be at most {slice_.count}, the chips of {slice_.name}"
    )
  devices = device_count(config, slice_)
  if devices % config.execution.fsdp:
    raise ConfigError(f"execution.fsdp = {config.execution.fsdp}: must divide {devices}, the number of chips")
  for key, size in config.batch_sizes.items():
    if size % devices:
      below, above = size // devices * devices, (size // devices + 1) * devices
      nearest = f"{below} and {above}" if below else f"{above}"
      raise ConfigError(f"{key} = {size}: cannot be split over {devices} chips of {slice_.name}; nearest: {nearest}")


def best(config: Config, slice_: Slice, effort: str) -> Trial:
  """Returns the first trial that fits into memory, or else the last one.

  Args:
    config: Settings of the run.
    slice_: Slice on which it is executed.
    effort: Effort of the compiler, "quick" or "full".
  """
  for candidate in alternatives(config, slice_):
    trial = _try(*candidate, effort)
    if trial.fits:
      break
  return trial


def alternatives(config: Config, slice_: Slice) -> Iterator[tuple[str, Config, Slice]]:
  """Yields settings to try: unchanged, with more remat, fewer runs in one program, larger slices, smaller batches.

  Args:
    config: Settings of the run.
    slice_: Slice on which it is executed.

  Yields:
    Changed settings as text, settings of the run, and slice.
  """
  asked, levels = config.execution.remat, ("none", "elementwise", "block", "group")
  for remat in levels[levels.index(asked) :] if asked != "auto" else ("none", "block", "group"):
    changed = replace(config, "execution", remat=remat)
    yield f"execution.remat={remat}" if remat not in (asked, "none") else "", changed, slice_
  setting, runs = "execution.remat=group", config.execution.runs_per_program
  while runs > 1:
    runs //= 2
    setting = f"execution.remat=group execution.runs_per_program={runs}"
    changed = replace(changed, "execution", runs_per_program=runs)
    yield setting, changed, slice_
  for where in [] if config.execution.devices else chips.larger(slice_):
    if not any(size % where.count for size in config.batch_sizes.values()):
      yield f"{setting} on {where.name}", changed, where
  devices, size = device_count(config, slice_), config.train.batch_size // 2
  while size and size % devices == 0:
    yield f"{setting} train.batch_size={size}", replace(changed, "train", batch_size=size), slice_
    size //= 2


def device_count(config: Config, slice_: Slice) -> int:
  """Returns the number of chips that a run uses."""
  return config.execution.devices or slice_.count


def replace(config: Config, section: str, **values: Any) -> Config:
  """Returns the settings with new values in one section."""
  return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **values)})


def _try(setting: str, config: Config, slice_: Slice, effort: str) -> Trial:
  """Compiles the training step, or estimates its memory on hardware that it cannot be compiled for."""
  devices, (training_images, other_images) = device_count(config, slice_), listing.image_bytes(config)
  if not slice_.compiles:
    net, execution, images = listing.net(config), config.execution, config.train.batch_size // devices
    memory = needed.training_bytes(net, config.model.precision, execution.remat, images, execution.runs_per_program)
    memory += training_images + other_images
    return Trial(setting, config, slice_, None, memory, memory <= slice_.memory_limit, {})
  program = _compiler().compile_step(config, slice_, devices, effort)  # training images are arguments of the program
  memory = program.memory + other_images
  fits = program.compiles and memory <= slice_.memory_limit
  if effort == "quick" and not fits:  # full effort needs less memory
    again = _try(setting, config, slice_, "full")
    return dataclasses.replace(again, seconds=program.seconds + (again.seconds or 0.0))
  return Trial(setting, config, slice_, program.seconds, memory, fits, program.collectives)


def _compiler() -> Any:
  """Imports and returns the module that compiles for TPUs.

  Raises:
    ConfigError: The extra `tpu` is not installed.
  """
  try:
    import jax  # noqa: F401
    import libtpu  # noqa: F401

    from resjax.planning import compiled
  except ModuleNotFoundError as error:
    raise ConfigError(f"a plan for TPUs needs {error.name}: install the extra tpu") from error
  compiled.prepare()
  return compiled
