"""Tests a trained network, or an ensemble of several, on the test images of a data set.

    python -m resjax.evaluate --checkpoint DIR [DIR ...] --data PATH [--protocol single|10crop|multiscale]
        [--format text|json]

DIR is a run directory, whose latest checkpoint is tested, or a directory written by resjax.convert. PATH is an .npz
file, CIFAR as an archive or a folder, an image folder, or the name digits or imagenet2012. Images are normalized as in
training. An ensemble averages the probabilities of its networks. The command prints images, wrong, error and top5_error
(fractions). Images that cannot be decoded are listed and counted as skipped; all others are tested.

An image folder without val/ and test/ is tested on the images that were held out in training, if one of the networks
was trained on these files. Otherwise all images are tested, or a tenth of those in train/, and a note says so.

For a detector PATH is a data set of the kind it was trained on, with the same classes. The command prints mAP at an IoU
of 0.5 and its definition (for VOC also by that of VOC 2007, the mean over eleven recalls), COCO's mAP, and the average
precision of each class. Detections of several detectors, or at several sizes (multiscale), are merged by non-maximum
suppression, and by box voting if detection.box_voting is set.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from resjax import cli, files, records


def main(argv: Sequence[str] | None = None) -> int:
  """Tests the networks named in `argv`; returns the exit code: 0, 1 if an output is not finite, or 2."""
  parser = cli.Parser("resjax.evaluate", __doc__)
  parser.add_argument("--checkpoint", metavar="DIR", nargs="+", required=True, help="run directories")
  parser.add_argument("--data", metavar="PATH", required=True, help="the data set")
  parser.add_argument("--protocol", choices=("single", "10crop", "multiscale"), default="single", help="test protocol")
  parser.add_argument("--format", choices=("text", "json"), default="text", help="output format")
  given = parser.parse_args(argv)
  return cli.guarded(
    parser.command,
    lambda: _evaluate([files.as_path(each) for each in given.checkpoint], given.data, given.protocol, given.format),
  )


def _evaluate(directories: list[Path], path: str, protocol: str, form: str) -> int:
  from resjax import mesh  # after parsing: --help need not wait for JAX
  from resjax.evaluation import score

  mesh.start_backend(None)
  if any(_is_detector(directory) for directory in directories):
    return _evaluate_detectors(directories, path, protocol, form)
  try:
    result, tested = score.evaluate_runs(directories, path, protocol)
  except score.NotFinite as error:
    print(f"resjax.evaluate: {error}", file=sys.stderr)
    return cli.FAILED
  for line in (*tested.notes, *(f"skipped: {fault}" for fault in tested.skipped)):
    print(line, file=sys.stderr)
  row = {
    "images": result.images,
    "wrong": result.wrong,
    "error": result.error,
    "top5_error": result.top5_error,
    "skipped": len(tested.skipped),
    "checkpoints": [str(directory) for directory in directories],
    "protocol": protocol,
  }
  _print(row, form)
  return cli.DONE


def _is_detector(directory: Path) -> bool:
  """Returns whether a run directory contains a detector; errors of the directory are reported when it is read."""
  try:
    return records.read_run(directory).config.get("data", {}).get("name") in ("voc", "coco")
  except records.RecordsError:
    return False


def _evaluate_detectors(directories: list[Path], path: str, protocol: str, form: str) -> int:
  from resjax.detection import ensemble

  result = ensemble.evaluate(directories, path, protocol)
  for line in (*result.notes, *(f"skipped: {fault}" for fault in result.skipped)):
    print(line, file=sys.stderr)
  row = {
    "images": result.images,
    "map50": result.map50,
    "map50_definition": result.definition,
    **({} if result.map50_11_points is None else {"map50_11_points": result.map50_11_points}),
    "map": result.map,
    **{f"ap50 {name}": None if value != value else value for name, value in result.by_class.items()},
    "skipped": len(result.skipped),
    "checkpoints": [str(directory) for directory in directories],
    "protocol": protocol,
  }
  _print(row, form)
  return cli.DONE


def _print(row: dict[str, Any], form: str) -> None:
  if form == "json":
    print(json.dumps(row))
  else:
    print("\n".join(f"{key}: {', '.join(value) if isinstance(value, list) else value}" for key, value in row.items()))


if __name__ == "__main__":
  cli.run(main)
