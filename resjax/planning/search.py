"""Search for execution settings with which a run fits into the memory of a slice."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from resjax import listing
from resjax.config import Config
from resjax.depth import memory as needed
from resjax.planning import chips
from resjax.planning.chips import RESERVED, Slice
from resjax.settings import ConfigError


@dataclasses.dataclass(frozen=True)
class Trial:
  """Execution settings that were tried, and the memory that they need.

  Attributes:
    setting: Settings that were changed to make the run fit, or "".
    config: Settings of the run after the change.
    slice_: Slice that executes the run.
    seconds: Compile time in seconds; None if nothing was compiled.
    memory: Memory on each device in bytes.
    fits: Whether the run fits into the chip's memory.
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
  """Raises ConfigError if a run needs more chips than the slice has, or a batch cannot be split over them."""
  if config.execution.devices > slice_.count:
    raise ConfigError(
      f"execution.devices = {config.execution.devices}: must be at most {slice_.count}, the chips of {slice_.name}"
    )
  devices = device_count(config, slice_)
  for section in ("train", "evaluation", "responses"):
    size = getattr(config, section).batch_size
    if size % devices:
      below, above = size // devices * devices, (size // devices + 1) * devices
      nearest = f"{below} and {above}" if below else f"{above}"
      raise ConfigError(
        f"{section}.batch_size = {size}: cannot be split over {devices} chips of {slice_.name}; nearest: {nearest}"
      )


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
  """Yields settings to try: unchanged, with more remat, on larger slices, and with smaller batches.

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
  for where in [] if config.execution.devices else chips.larger(slice_):
    if not any(size % where.count for size in _batches(config)):
      yield f"execution.remat=group on {where.name}", changed, where
  devices, size = device_count(config, slice_), config.train.batch_size // 2
  while size and size % devices == 0:
    yield f"execution.remat=group train.batch_size={size}", replace(changed, "train", batch_size=size), slice_
    size //= 2


def device_count(config: Config, slice_: Slice) -> int:
  """Returns the number of chips that a run uses."""
  return config.execution.devices or slice_.count


def replace(config: Config, section: str, **values: Any) -> Config:
  """Returns the settings with new values in one section."""
  return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **values)})


def _try(setting: str, config: Config, slice_: Slice, effort: str) -> Trial:
  """Compiles the training step, or estimates its memory on hardware that it cannot be compiled for."""
  devices = device_count(config, slice_)
  if not slice_.compiles:
    images = config.train.batch_size // devices
    memory = needed.training_bytes(listing.net(config), config.model.precision, config.execution.remat, images)
    return Trial(setting, config, slice_, None, memory, memory <= slice_.chip.memory - RESERVED, {})
  program = _compiler().compile_step(config, slice_, devices, effort)
  fits = program.compiles and program.memory <= slice_.chip.memory - RESERVED
  if effort == "quick" and not fits:  # full effort needs less memory
    again = _try(setting, config, slice_, "full")
    return dataclasses.replace(again, seconds=program.seconds + (again.seconds or 0.0))
  return Trial(setting, config, slice_, program.seconds, program.memory, fits, program.collectives)


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


def _batches(config: Config) -> tuple[int, ...]:
  return config.train.batch_size, config.evaluation.batch_size, config.responses.batch_size
