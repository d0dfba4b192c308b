"""How responses were measured: images, batch statistics, layers and pooling, which the paper leaves open.

The paper does not say them (PAPER: Sec. 4.2, "Analysis of Layer Responses"), so every capture is recorded with them.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from resjax.analysis.logs import Logs
from resjax.analysis.networks import check_unique_ids

# A reading is a value for each; None where the record does not say.
KEYS = ("mode", "source", "images", "pooling", "first_conv")
_STEM = "stem/conv"


def measured_responses(logs: Logs, reading: Mapping[str, Any] | None = None) -> pd.DataFrame:
  """Returns the responses recorded in training and by studies, for one way of measuring.

  A capture that counted the first convolution can also be read without it; the layers are then numbered anew.

  Args:
    logs: the runs.
    reading: the value of each switch that matters, {"mode": "batch"}; a switch left out is not looked at. None: what
      was captured in training, batch statistics rather than running ones where a net has both.

  Returns:
    The columns of `logs.responses`, then source, pooling and first_conv.
  """
  if reading is not None:
    return select(_all(logs), reading)
  own = _trained(logs).dropna(subset=["std"])
  first = own.groupby("net")["mode"].transform("min").fillna("")
  return own[own["mode"].fillna("") == first]


def distinct_measurements(logs: Logs) -> list[dict[str, Any]]:
  """Returns the distinct ways of measuring, those of training first: a value for each of `KEYS`."""
  found = _all(logs)[list(KEYS)].drop_duplicates()
  rows = found.itertuples(index=False, name=None)
  return [{key: None if pd.isna(value) else value for key, value in zip(KEYS, row, strict=True)} for row in rows]


def select(captured: pd.DataFrame, reading: Mapping[str, Any]) -> pd.DataFrame:
  """Returns the lines of `captured` that were measured in the given way.

  Raises:
    ValueError: a switch that is none of `KEYS`.
  """
  unknown = [key for key in reading if key not in KEYS]
  if unknown:
    raise ValueError(f"{unknown[0]!r} is none of {', '.join(KEYS)}")
  wanted = dict(reading)
  if wanted.get("first_conv") is False:
    captured = _without_first(captured)
  for key, value in wanted.items():
    captured = captured[captured[key].isna() if value is None else captured[key] == value]
  return captured


def describe(reading: Mapping[str, Any]) -> str:
  """Describes a way of measuring: "running statistics, 1,024 test images"."""
  images = "" if reading.get("images") is None else f"{int(reading['images']):,} "
  source = "training" if reading.get("source") == "train" else reading.get("source") or ""
  words = [
    f"{reading['mode']} statistics" if reading.get("mode") else "",
    f"{images}{source} images".replace("  ", " ") if images or source else "",
    {
      "units": "standard deviations over all units of a layer",
      "channels": "means of the standard deviations of a layer’s channels",
    }.get(str(reading.get("pooling")), ""),
    {"True": "including the first convolution", "False": "without the first convolution"}.get(
      str(reading.get("first_conv")), ""
    ),
  ]
  return ", ".join(word for word in words if word)


def _all(logs: Logs) -> pd.DataFrame:
  studied = logs.studies["responses"].drop(columns="batch_size")
  return pd.concat([_trained(logs), studied], ignore_index=True) if len(studied) else _trained(logs)


def _trained(logs: Logs) -> pd.DataFrame:
  """Returns the responses recorded in training, with the keys taken from the settings of the run."""
  check_unique_ids(logs.runs)
  frame = logs.responses
  settings = logs.settings
  for key in ("source", "pooling", "first_conv"):
    of_run = settings[settings["key"] == f"responses.{key}"].set_index("id")["value"]
    frame = frame.assign(**{key: frame["id"].map(of_run).astype("object")})
  return frame


def _without_first(captured: pd.DataFrame) -> pd.DataFrame:
  counted = captured["first_conv"] == True  # noqa: E712  (a column of objects, some of them missing)
  rest = captured[~(counted & (captured["name"] == _STEM))]
  layer = rest["layer"] - counted[rest.index].astype("Int64")
  return rest.assign(layer=layer, first_conv=rest["first_conv"].where(~counted[rest.index], False))
