"""Converts weights of other projects to run directories, and checkpoints to PyTorch state dicts.

    python -m resjax.convert --from akamaster|torchvision|huggingface FILE --out DIR [--data PATH]
    python -m resjax.convert --from caffe FILE --out DIR [--data PATH] [--mean FILE]
    python -m resjax.convert --to torch DIR --out FILE

With --from, FILE is a PyTorch state dict (.th, .pth or .safetensors) or a .caffemodel; no code in it is executed.

- akamaster: CIFAR networks of pytorch_resnet_cifar10.
- torchvision: ImageNet networks with the parameter names of torchvision, which timm uses, too.
- huggingface: ResNets of transformers; FILE is model.safetensors with config.json next to it, or their folder.
- caffe: ImageNet networks released by the authors of the paper; --mean names their mean image, and without it the mean
  color of ImageNet is used.

Wrappers of a state dict (checkpoints of training scripts, DataParallel, torch.compile, averaged weights) are removed.
Of a network and an average of its weights, the network is converted. Every name and shape is checked, and missing or
unexpected ones are reported. DIR must not exist yet. It becomes a run directory that resjax.evaluate can test. With
--data the network is tested immediately, and its error and responses are recorded for python -m resjax.report DIR.

With --to, the latest checkpoint of the run directory DIR is written as a PyTorch state dict with the parameter names of
akamaster for CIFAR networks and of torchvision for ImageNet networks. FILE ends in .pth, .th or .safetensors.

The command prints the mapping of the parameters.
"""

import argparse
import sys
from collections.abc import Sequence

from resjax import cli, files

PROJECTS, FORMATS = ("akamaster", "torchvision", "huggingface", "caffe"), ("torch",)


def main(argv: Sequence[str] | None = None) -> int:
  """Converts the weights named in `argv`; returns the exit code: 0, 1 if an output is not finite, or 2."""
  parser = cli.Parser("resjax.convert", __doc__)
  way = parser.add_mutually_exclusive_group(required=True)
  way.add_argument("--from", dest="project", choices=PROJECTS, help="project that the weights are from")
  way.add_argument("--to", dest="form", choices=FORMATS, help="format to write")
  parser.add_argument("source", metavar="FILE|DIR", help="file of weights, or run directory")
  parser.add_argument("--out", metavar="DIR|FILE", required=True, help="run directory or file to write")
  parser.add_argument("--data", metavar="PATH", help="data set to test on, as for resjax.evaluate")
  parser.add_argument("--mean", metavar="FILE", help="Caffe's mean image, a .binaryproto file")
  given = parser.parse_args(argv)
  if given.form and given.data:
    parser.error("--data needs --from")
  if given.mean and given.project != "caffe":
    parser.error("--mean needs --from caffe")
  if given.form:
    return cli.guarded(parser.command, lambda: _write(given))
  return cli.guarded(parser.command, lambda: _read(given))


def _read(given: argparse.Namespace) -> int:
  from resjax import mesh  # after parsing: --help need not wait for JAX
  from resjax.evaluation import images, record, score
  from resjax.weights import import_run

  source, out = files.local_path(given.source), files.local_path(given.out)
  mean = files.local_path(given.mean) if given.mean else None
  mesh.start_backend(None)
  weights = import_run.read(given.project, source, mean)
  net = import_run.restored(out, weights)
  tested = images.read(given.data) if given.data else None
  try:
    measured = record.measure(net, tested) if tested else None  # before anything is written
  except score.NotFinite as error:
    print(f"resjax.convert: {error}", file=sys.stderr)
    return cli.FAILED
  import_run.write(out, weights, f"{given.project}: {source.name}")
  for theirs, ours in weights.mapped.items():
    print(f"{theirs} -> {ours}")
  if tested and measured:
    record.write(out, net, tested, measured)
    for line in (*tested.notes, *(f"skipped: {fault}" for fault in measured.skipped)):
      print(line, file=sys.stderr)
    result = measured.score
    print(f"images: {result.images}\nwrong: {result.wrong}\nerror: {result.error}\ntop5_error: {result.top5_error}")
  print(out)
  return cli.DONE


def _write(given: argparse.Namespace) -> int:
  from resjax import mesh
  from resjax.train import run_files
  from resjax.weights import export_torch, torch_files

  directory, out = files.as_path(given.source), files.local_path(given.out)
  mesh.start_backend(None)
  arrays = export_torch.state_dict(run_files.read(directory))
  torch_files.write(out, arrays)
  for name, array in arrays.items():
    print(f"{name} {list(array.shape)}")
  print(out)
  return cli.DONE


if __name__ == "__main__":
  cli.run(main)
