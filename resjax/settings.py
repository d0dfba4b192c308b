"""Base of the settings classes: fields with a help text and a range, and construction from mappings."""

import contextlib
import dataclasses
import difflib
import functools
import math
import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar

UNSPECIFIED = object()  # for settings that the paper does not specify or that do not concern it
T = TypeVar("T")


class ConfigError(ValueError):
  """A setting is invalid; the message names the key, the value and what is allowed."""


@dataclasses.dataclass(frozen=True)
class Range:
  """The numbers from `low` to `high`, both included; `high` defaults to infinity."""

  low: float
  high: float = float("inf")

  def __contains__(self, value: Any) -> bool:
    return self.low <= value <= self.high

  def __str__(self) -> str:
    return f"at least {self.low}" if self.high == float("inf") else f"{self.low} to {self.high}"


MOST = 2**31 - 1  # integers have 32 bits on the devices
COUNT, POSITIVE, NON_NEGATIVE, FRACTION = Range(0, MOST), Range(1, MOST), Range(0.0), Range(0.0, 1.0)


def setting(
  default: Any,
  meaning: str,
  *,
  allowed: Range | tuple[str, ...] | None = None,
  paper: Any = UNSPECIFIED,
  later: bool = False,
) -> Any:
  """Declares a field of a settings class.

  Args:
    default: Default value.
    meaning: Help text, with the unit.
    allowed: Allowed choices, or the range of a number or of each number of a tuple.
    paper: Value used in the paper; any other value is a deviation, which each run records. If the paper's values for
      CIFAR and ImageNet differ, a dict from the family to the value; a family not in it has no value.
    later: Whether a later version added the setting. At its default it is then not part of a run's digest, so that the
      digests of earlier runs remain valid.
  """
  metadata = {"meaning": meaning, "allowed": allowed, "paper": paper, "later": later}
  return dataclasses.field(default=default, metadata=metadata)


def paper_value(field: dataclasses.Field, family: str) -> Any:
  """Returns the value of a setting in the paper's recipe for networks of a family, or UNSPECIFIED."""
  paper = field.metadata["paper"]
  return paper.get(family, UNSPECIFIED) if isinstance(paper, dict) else paper


def sections(cls: type) -> dict[str, type]:
  """Returns the classes of the fields of a settings class that are settings classes themselves, by field name."""
  kinds = _kinds(cls)
  return {
    field.name: kinds[field.name] for field in dataclasses.fields(cls) if dataclasses.is_dataclass(kinds[field.name])
  }


@functools.cache  # a sweep makes thousands of settings objects
def _kinds(cls: type) -> dict[str, Any]:
  """Returns the types of the fields of a settings class."""
  return typing.get_type_hints(cls)


def leaves(cls: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field]]:
  """Yields the dotted key and the field of every setting in the order of declaration."""
  nested = sections(cls)
  for field in dataclasses.fields(cls):
    if field.name in nested:
      yield from leaves(nested[field.name], f"{prefix}{field.name}.")
    else:
      yield prefix + field.name, field


def check_key(cls: type, key: str) -> None:
  """Raises ConfigError if `key` is not the dotted name of a setting of `cls`."""
  keys = [name for name, _ in leaves(cls)]
  if key in keys:
    return
  inside = [name for name in keys if name.startswith(f"{key}.")]
  if inside:
    raise ConfigError(f"{key} is a section, not a setting; it has {', '.join(inside)}")
  raise ConfigError(f"unknown key {key!r}{suggestion(str(key), keys)}")


def suggestion(word: str, known: Collection[str]) -> str:
  """Returns "; did you mean ...?" with similar names or, if there are none, a list of all known names."""
  same = [name for name in known if name.split(".")[-1] == word.split(".")[-1]]
  options = same or difflib.get_close_matches(word, known, n=3, cutoff=0.5)
  if options:
    return f"; did you mean {' or '.join(options)}?"
  return f"; available: {', '.join(known) or 'none'}"


def freeze(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
  """Returns a frozen settings object with values from nested mappings and defaults for all other settings.

  Raises:
    ConfigError: A key is unknown, or a value has the wrong type or is not allowed.
  """
  if not isinstance(values, Mapping):
    raise ConfigError(f"{prefix.rstrip('.') or 'config'} = {values!r}: is a section, not a setting")
  nested, kinds = sections(cls), _kinds(cls)  # type: ignore[arg-type]
  fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
  made: dict[str, Any] = {}
  for name, value in values.items():
    key = f"{prefix}{name}"
    if name not in fields:
      raise ConfigError(f"unknown key {key!r}{suggestion(str(name), fields)}")
    if name in nested:
      made[name] = freeze(nested[name], value, f"{key}.")
    else:
      made[name] = checked(key, value, kinds[name], fields[name].metadata["allowed"])
  return cls(**made)


def type_name(kind: Any) -> str:
  """Returns the type of a setting in words, such as "an integer"."""
  return {int: "an integer", float: "a number", bool: "true or false", str: "text"}.get(kind, "a tuple")


def checked(key: str, value: Any, kind: Any, allowed: Range | tuple[str, ...] | None) -> Any:
  """Returns a value converted to a type: an int may become a float, a list a tuple.

  Raises:
    ConfigError: The value has another type or is not allowed.
  """
  if typing.get_origin(kind) is tuple:
    if not isinstance(value, list | tuple):
      raise ConfigError(f"{key} = {value!r}: must be a tuple")
    return tuple(checked(key, item, typing.get_args(kind)[0], allowed) for item in value)
  if kind is float and type(value) is int:
    with contextlib.suppress(OverflowError):
      value = float(value)
  if type(value) is not kind:
    raise ConfigError(f"{key} = {value!r}: must be {type_name(kind)}, not {type(value).__name__}")
  if kind is float and not math.isfinite(value):
    raise ConfigError(f"{key} = {value!r}: must be finite")
  if allowed is not None and value not in allowed:
    choices = f"must be {allowed}" if isinstance(allowed, Range) else f"must be one of {', '.join(allowed)}"
    raise ConfigError(f"{key} = {value!r}: {choices}")
  return value


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
  """Returns the differences of two configs outside of `execution`: "train.steps (40 there, 60 here), ..." or ""."""
  old, new = flatten(there), flatten(here)
  keys = [key for key in {**new, **old} if old.get(key) != new.get(key) and not key.startswith("execution.")]
  return ", ".join(f"{key} ({old.get(key)!r} there, {new.get(key)!r} here)" for key in keys)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns nested mappings as one mapping with dotted keys."""
  flat: dict[str, Any] = {}
  for name, value in values.items():
    if isinstance(value, Mapping):
      flat |= flatten(value, f"{prefix}{name}.")
    else:
      flat[prefix + name] = value
  return flat
