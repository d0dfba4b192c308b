"""Makes a run directory of weights that were trained elsewhere, and back.

    python -m resjax.convert --from akamaster|torchvision|huggingface FILE --out DIR [--data PATH]
    python -m resjax.convert --from caffe FILE --out DIR [--data PATH] [--mean FILE]
    python -m resjax.convert --to torch DIR --out FILE

From: FILE is a PyTorch state dict, .th, .pth or .safetensors, or a .caffemodel; no code in it is run. akamaster: CIFAR
nets of pytorch_resnet_cifar10; torchvision: ImageNet nets in its layout, as timm has it, too; huggingface: ResNets of
transformers, FILE is model.safetensors, with config.json beside it, or their folder; caffe: ImageNet nets as the
paper's authors released them, with their mean image in --mean, or the mean of ImageNet's colours. What wraps a state
dict (a checkpoint of a training script, DataParallel, torch.compile, averages of the weights over time) is taken off.
Names and shapes are checked one by one; whatever is missing or left over is named. DIR must be new. It then has what a
run directory has: resjax.evaluate tests it. With --data it is tested at once, and its error and responses are recorded
in it, so that python -m resjax.report DIR shows them.

To: the newest checkpoint of the run directory DIR as a PyTorch state dict, a CIFAR net's under akamaster's names, an
ImageNet net's under torchvision's. FILE ends in .pth, .th or .safetensors.

Prints what was mapped.
"""

import argparse
from collections.abc import Sequence

from resjax import cli, files

PROJECTS, FORMATS = ("akamaster", "torchvision", "huggingface", "caffe"), ("torch",)


def main(argv: Sequence[str] | None = None) -> int:
  """Converts what `argv` names; returns the exit code: 0, 1 where a net gives no numbers, or 2."""
  parser = cli.Parser("resjax.convert", __doc__)
  way = parser.add_mutually_exclusive_group(required=True)
  way.add_argument("--from", dest="project", choices=PROJECTS, help="whose weights they are")
  way.add_argument("--to", dest="form", choices=FORMATS, help="whose names to use")
  parser.add_argument("source", metavar="FILE|DIR", help="the weights, or a run directory")
  parser.add_argument("--out", metavar="DIR|FILE", required=True, help="what to write")
  parser.add_argument("--data", metavar="PATH", help="test on these images; a path, as of resjax.evaluate")
  parser.add_argument("--mean", metavar="FILE", help="Caffe's mean image, a .binaryproto")
  given = parser.parse_args(argv)
  if given.form and given.data:
    parser.error("--data goes with --from")
  if given.mean and given.project != "caffe":
    parser.error("--mean goes with --from caffe")
  if given.form:
    return cli.guarded(parser.command, lambda: _write(given))
  return cli.guarded(parser.command, lambda: _read(given))


def _read(given: argparse.Namespace) -> int:
  from resjax import mesh  # after parsing: --help need not wait for JAX
  from resjax.evaluation import images, record
  from resjax.weights import import_run

  source, out = files.local_path(given.source), files.local_path(given.out)
  mean = files.local_path(given.mean) if given.mean else None
  mesh.start_backend(None)
  weights = import_run.read(given.project, source, mean)
  tested = images.read(given.data, weights.data) if given.data else None
  import_run.write(out, weights, f"{given.project}: {source.name}")
  for theirs, ours in weights.mapped.items():
    print(f"{theirs} -> {ours}")
  if tested:
    result = record.record(out, tested)
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
