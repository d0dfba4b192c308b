"""The base of settings classes: conversion, ranges, and errors."""

import dataclasses

import pytest

from resjax import settings
from resjax.settings import ConfigError, Range, setting


@dataclasses.dataclass(frozen=True)
class Inner:
  """A section."""

  rate: float = setting(0.1, "a number", allowed=Range(0.0, 1.0), paper=0.1)
  shares: tuple[float, ...] = setting((0.5,), "numbers", allowed=Range(0.0, 1.0))
  steps: tuple[int, ...] = setting((), "integers", allowed=Range(0))


@dataclasses.dataclass(frozen=True)
class Outer:
  """Settings of every type."""

  count: int = setting(1, "an integer", allowed=Range(1, 9))
  size: float = setting(1.0, "without an upper end", allowed=Range(0.0))
  free: float = setting(0.0, "any number")
  kind: str = setting("a", "a choice", allowed=("a", "b"))
  name: str = setting("", "any text")
  flag: bool = setting(False, "yes or no")
  inner: Inner = dataclasses.field(default_factory=Inner)


KEYS = ["count", "size", "free", "kind", "name", "flag", "inner.rate", "inner.shares", "inner.steps"]


def refusal(values) -> str:
  """Returns the one-line error of freezing values."""
  with pytest.raises(ConfigError) as caught:
    settings.freeze(Outer, values)
  message = str(caught.value)
  assert "\n" not in message
  return message


def test_leaves_are_all_settings_in_order():
  assert [key for key, _ in settings.leaves(Outer)] == KEYS


def test_missing_values_are_defaults():
  assert settings.freeze(Outer, {}) == Outer()
  assert settings.freeze(Outer, {"inner": {"rate": 0.5}}) == Outer(inner=Inner(rate=0.5))


@pytest.mark.parametrize(
  ("values", "frozen"),
  [
    ({"size": 3}, Outer(size=3.0)),
    ({"count": 9}, Outer(count=9)),
    ({"kind": "b"}, Outer(kind="b")),
    ({"inner": {"shares": [0, 1]}}, Outer(inner=Inner(shares=(0.0, 1.0)))),
    ({"inner": {"shares": ()}}, Outer(inner=Inner(shares=()))),
    ({"inner": {"steps": [3, 1]}}, Outer(inner=Inner(steps=(3, 1)))),
  ],
)
def test_freeze_converts_ints_to_floats_and_lists_to_tuples(values, frozen):
  made = settings.freeze(Outer, values)
  assert made == frozen
  assert type(made.size) is float
  assert all(type(share) is float for share in made.inner.shares)


@pytest.mark.parametrize(
  ("values", "key", "value", "allowed"),
  [
    ({"count": "1"}, "count", "'1'", "must be an integer, not str"),
    ({"count": 1.0}, "count", "1.0", "must be an integer, not float"),
    ({"count": True}, "count", "True", "must be an integer, not bool"),
    ({"count": None}, "count", "None", "must be an integer, not NoneType"),
    ({"count": 0}, "count", "0", "must be 1 to 9"),
    ({"count": 10}, "count", "10", "must be 1 to 9"),
    ({"count": {"a": 1}}, "count", "{'a': 1}", "must be an integer, not dict"),
    ({"size": "big"}, "size", "'big'", "must be a number, not str"),
    ({"size": False}, "size", "False", "must be a number, not bool"),
    ({"size": -0.5}, "size", "-0.5", "must be at least 0.0"),
    ({"size": float("nan")}, "size", "nan", "must be finite"),
    ({"size": float("inf")}, "size", "inf", "must be finite"),
    ({"size": float("-inf")}, "size", "-inf", "must be finite"),
    ({"size": 10**400}, "size", "1000", "must be a number, not int"),
    ({"free": float("nan")}, "free", "nan", "must be finite"),
    ({"free": float("-inf")}, "free", "-inf", "must be finite"),
    ({"kind": ""}, "kind", "''", "must be one of a, b"),
    ({"kind": "c"}, "kind", "'c'", "must be one of a, b"),
    ({"kind": 1}, "kind", "1", "must be text, not int"),
    ({"name": None}, "name", "None", "must be text, not NoneType"),
    ({"flag": 1}, "flag", "1", "must be true or false, not int"),
    ({"flag": "yes"}, "flag", "'yes'", "must be true or false, not str"),
    ({"inner": {"rate": 2.0}}, "inner.rate", "2.0", "must be 0.0 to 1.0"),
    ({"inner": {"shares": 0.5}}, "inner.shares", "0.5", "must be a tuple"),
    ({"inner": {"shares": (0.5, "x")}}, "inner.shares", "'x'", "must be a number, not str"),
    ({"inner": {"shares": (0.5, 2)}}, "inner.shares", "2.0", "must be 0.0 to 1.0"),
    ({"inner": {"steps": (1, True)}}, "inner.steps", "True", "must be an integer, not bool"),
    ({"inner": {"steps": (1, -1)}}, "inner.steps", "-1", "must be at least 0"),
    ({"inner": {"steps": ((1,),)}}, "inner.steps", "(1,)", "must be an integer, not tuple"),
    ({"inner": 3}, "inner", "3", "is a section, not a setting"),
    ({"inner": None}, "inner", "None", "is a section, not a setting"),
  ],
)
def test_errors_of_values_name_key_value_and_what_is_allowed(values, key, value, allowed):
  message = refusal(values)
  assert message.startswith(f"{key} = {value}")
  assert message.endswith(allowed)


@pytest.mark.parametrize(
  ("values", "start", "hint"),
  [
    ({"cuont": 1}, "unknown key 'cuont'", "did you mean count?"),
    ({"inner": {"rates": 1}}, "unknown key 'inner.rates'", "did you mean rate"),
    ({"inner.rate": 0.1}, "unknown key 'inner.rate'", "did you mean inner?"),
    ({3: 1}, "unknown key '3'", "available: count"),
    ({"": 1}, "unknown key ''", "available: count"),
    (3, "config = 3", "is a section"),
  ],
)
def test_errors_of_unknown_keys_suggest_a_similar_one(values, start, hint):
  message = refusal(values)
  assert message.startswith(start)
  assert hint in message


@pytest.mark.parametrize("key", KEYS)
def test_check_key_accepts_every_setting(key):
  settings.check_key(Outer, key)


@pytest.mark.parametrize(
  ("key", "says"),
  [
    ("inner", "inner is a section, not a setting; it has inner.rate, inner.shares, inner.steps"),
    ("inner.rte", "unknown key 'inner.rte'; did you mean inner.rate"),
    ("rate", "unknown key 'rate'; did you mean inner.rate?"),
    ("zzz", f"unknown key 'zzz'; available: {', '.join(KEYS)}"),
    ("", "unknown key ''"),
    ("inner.", "unknown key 'inner.'"),
    (3, "unknown key 3"),
  ],
)
def test_check_key_refuses_sections_and_unknown_keys(key, says):
  with pytest.raises(ConfigError) as caught:
    settings.check_key(Outer, key)
  assert str(caught.value).startswith(says)


def test_a_suggestion_without_alternatives_says_there_is_none():
  assert settings.suggestion("a", []) == "; available: none"


def test_flatten_joins_nested_keys():
  assert settings.flatten({"a": 1, "b": {"c": {"d": 2}, "e": (3,)}}) == {"a": 1, "b.c.d": 2, "b.e": (3,)}
