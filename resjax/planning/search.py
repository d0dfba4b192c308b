"""Ways to execute a run on a slice, tried until one fits into its memory."""

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
  """A way to execute a run, and what it takes.

  Attributes:
    setting: what was changed so that it fits, or "".
    config: of the run, with that change.
    slice_: where.
    seconds: its compiler took here; None where there is none.
    memory: bytes a device.
    fits: into the chip's memory.
    collectives: see `compiled.Program`.
  """

  setting: str
  config: Config
  slice_: Slice
  seconds: float | None
  memory: int
  fits: bool
  collectives: dict[str, int]


def check(config: Config, slice_: Slice) -> None:
  """Raises ConfigError if a run wants more chips than there are, or a batch cannot be split over them."""
  if config.execution.devices > slice_.count:
    raise ConfigError(f"execution.devices = {config.execution.devices}: {slice_.name} has {slice_.count}")
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
  """Returns the first way that fits, or the last that was tried, compiled with the effort "quick" or "full"."""
  for way in ways(config, slice_):
    trial = _tried(*way, effort)
    if trial.fits:
      break
  return trial


def ways(config: Config, slice_: Slice) -> Iterator[tuple[str, Config, Slice]]:
  """Yields a run as it is, with more remat, on larger slices, with smaller batches: (what changed, config, slice)."""
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
  """Returns how many chips a run is executed on."""
  return config.execution.devices or slice_.count


def replace(config: Config, section: str, **values: Any) -> Config:
  """Returns the settings with some of a section changed."""
  return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **values)})


def _tried(setting: str, config: Config, slice_: Slice, effort: str) -> Trial:
  devices = device_count(config, slice_)
  if not slice_.compiles:
    images = config.train.batch_size // devices
    memory = needed.training_bytes(listing.net(config), config.model.precision, config.execution.remat, images)
    return Trial(setting, config, slice_, None, memory, memory <= slice_.chip.memory - RESERVED, {})
  program = _compiler().compile_step(config, slice_, devices, effort)
  fits = program.compiles and program.memory <= slice_.chip.memory - RESERVED
  if effort == "quick" and not fits:  # with less memory it may
    again = _tried(setting, config, slice_, "full")
    return dataclasses.replace(again, seconds=program.seconds + (again.seconds or 0.0))
  return Trial(setting, config, slice_, program.seconds, program.memory, fits, program.collectives)


def _compiler() -> Any:
  """Returns the module that compiles.

  Raises:
    ConfigError: an extra is missing.
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
