"""Tests a trained network, or an ensemble of several, on the test images of a data set.

    python -m resjax.evaluate --checkpoint DIR [DIR ...] --data PATH [--protocol single|10crop|multiscale]
        [--format text|json]

DIR is a run directory, whose latest checkpoint is tested, or a directory written by resjax.convert. PATH is an .npz
file, CIFAR as an archive or a folder, an image folder, or the name digits or imagenet2012. Images are normalized as in
training. An ensemble averages the probabilities of its networks. The command prints images, wrong, error and top5_error
(fractions). Images that cannot be decoded are listed and counted as skipped; all others are tested.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from resjax import cli, files


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
  try:
    result, tested = score.test(directories, path, protocol)
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
  if form == "json":
    print(json.dumps(row))
  else:
    print("\n".join(f"{key}: {', '.join(value) if isinstance(value, list) else value}" for key, value in row.items()))
  return cli.DONE


if __name__ == "__main__":
  cli.run(main)
