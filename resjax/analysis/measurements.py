"""Ways of measuring responses: images, batch statistics, layers and pooling.

The paper (Sec. 4.2, "Analysis of Layer Responses") does not specify them, so every capture is recorded with them.
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from resjax.analysis.logs import Logs
from resjax.analysis.networks import check_unique_ids
from resjax.analysis.study_lines import common_settings

# A measurement has a value for each of these keys, None if it was not recorded.
KEYS = ("mode", "source", "images", "pooling", "first_conv")
_STEM = "stem/conv"


def measured_responses(logs: Logs, measurement: Mapping[str, Any] | None = None) -> pd.DataFrame:
  """Returns the responses recorded in training and by studies, for one way of measuring.

  If `first_conv` is False, captures that include the first convolution are used without it and with their layers
  renumbered.

  Args:
    logs: Logs of the runs.
    measurement: Values of some of `KEYS`, such as {"mode": "batch"}; other keys may have any value. None: the responses
      recorded in training, with batch statistics if a network has both kinds.

  Returns:
    The columns of `logs.responses` and source, pooling, first_conv.

  Raises:
    ValueError: `measurement` has a key that is not in `KEYS`.
  """
  if measurement is not None:
    return select(_all_responses(logs), measurement)
  lines = _training_responses(logs).dropna(subset=["std"])
  first = lines.groupby("net")["mode"].transform("min").fillna("")  # "batch" comes before "running"
  return lines[lines["mode"].fillna("") == first]


def measurements_of(captured: pd.DataFrame) -> list[dict[str, Any]]:
  """Returns the distinct measurements of lines with the columns `KEYS`, each with a value for every one of them."""
  rows = captured[list(KEYS)].drop_duplicates().itertuples(index=False, name=None)
  return [{key: None if pd.isna(value) else value for key, value in zip(KEYS, row, strict=True)} for row in rows]


def other_measurements(logs: Logs) -> list[dict[str, Any]]:
  """Returns the distinct measurements of studies that differ from those of the same network in training."""
  in_training = {net: measurements_of(lines) for net, lines in _training_responses(logs).groupby("net")}
  others: list[dict[str, Any]] = []
  for net, lines in logs.studies["responses"].groupby("net", sort=False):
    others += [each for each in measurements_of(lines) if each not in in_training.get(net, []) + others]
  return others


def select(captured: pd.DataFrame, measurement: Mapping[str, Any]) -> pd.DataFrame:
  """Returns the lines that were measured in the given way.

  Args:
    captured: Lines with the columns `KEYS`.
    measurement: Values of some of `KEYS`.

  Raises:
    ValueError: `measurement` has a key that is not in `KEYS`.
  """
  unknown = [key for key in measurement if key not in KEYS]
  if unknown:
    raise ValueError(f"unknown key {unknown[0]!r}: must be one of {', '.join(KEYS)}")
  if measurement.get("first_conv") is False:
    captured = _without_first_conv(captured)
  for key, value in measurement.items():
    captured = captured[captured[key].isna() if value is None else captured[key] == value]
  return captured


def describe(measurement: Mapping[str, Any]) -> str:
  """Returns a description of a measurement, such as "running statistics, 1,024 test images"."""
  images = "" if measurement.get("images") is None else f"{int(measurement['images']):,} "
  source = "training" if measurement.get("source") == "train" else measurement.get("source") or ""
  words = [
    f"{measurement['mode']} statistics" if measurement.get("mode") else "",
    f"{images}{source} images".replace("  ", " ") if images or source else "",
    {
      "units": "standard deviations over all units of a layer",
      "channels": "means of the standard deviations of a layer’s channels",
    }.get(str(measurement.get("pooling")), ""),
    {"True": "including the first convolution", "False": "without the first convolution"}.get(
      str(measurement.get("first_conv")), ""
    ),
  ]
  return ", ".join(word for word in words if word)


def _all_responses(logs: Logs) -> pd.DataFrame:
  studied = common_settings(logs.studies["responses"], ("batch_size",), within=("net", *KEYS))
  studied = studied.drop(columns="batch_size")
  trained = _training_responses(logs)
  both = [frame for frame in (trained, studied) if len(frame)]
  # A study may repeat a measurement of training.
  return pd.concat(both, ignore_index=True).drop_duplicates(["id", "step", "layer", *KEYS]) if both else trained


def _training_responses(logs: Logs) -> pd.DataFrame:
  """Returns the responses recorded in training, with the keys taken from the settings of the run."""
  check_unique_ids(logs.runs)
  frame = logs.responses
  values = {key: frame["id"].map(logs.setting(f"responses.{key}")) for key in ("source", "pooling", "first_conv")}
  return frame.assign(**{key: column.astype("object") for key, column in values.items()})


def _without_first_conv(captured: pd.DataFrame) -> pd.DataFrame:
  """Removes the first convolution from captures that include it, and renumbers their layers."""
  counted = captured["first_conv"] == True  # noqa: E712  (a column of objects, some of them missing)
  rest = captured[~(counted & (captured["name"] == _STEM))]
  layer = rest["layer"] - counted[rest.index].astype("Int64")
  return rest.assign(layer=layer, first_conv=rest["first_conv"].where(~counted[rest.index], False))
