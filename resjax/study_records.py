"""What studies of trained nets write: `studies/` below a run directory. No JAX.

    DIR/<experiment>/<run id>/studies/
      responses.jsonl  blocks.jsonl  gradients.jsonl  paths.jsonl
      lesions.jsonl  landscape.jsonl  hessian.jsonl  identity.jsonl
      layers.jsonl  cka.jsonl  init.jsonl  commands.jsonl

JSON lines as in the run directory itself. Every line has `step`, that of the checkpoint, and the settings it depends on
(`images`, `source`, `mode`, `seed`, ...), so lines of several settings stand in one file: a reader groups by them.
Errors are fractions, losses are in nats and means over the images. `source` is `train` or `test`, `mode` of batch norm
`running` or `batch`.

- `responses`: as responses.jsonl, with what else it was captured with (`source, batch_size, pooling, first_conv`).
- `blocks`: of each block the deviation of its main branch's output (`branch_std`: after the norm, before the addition)
  and of the block's input (`input_std`), captured with the responses.
- `gradients`: as gradients.jsonl: L2 norms of the loss's gradient (without weight decay) by the kernel of each weighted
  layer, and of the kernel. `layer` counts all weighted layers, the classifier too.
- `paths`: how much of the loss's gradient by the first block's input comes through paths of `length` main branches, of
  `blocks` there are. `share` is the projection of that part on the whole gradient as a fraction of it: the shares of
  one net sum to one, a share may be negative. `norm` is the part's own L2 norm (the parts are not orthogonal) relative
  to the whole's. In a plain net all comes through the one path of `length` = `blocks`.
- `lesions`: the first line of a setting, of `kind` `none`, is the undisturbed net. `delete`: the main branch of block
  (`stage`, `block`) is taken out, its input is carried on by the shortcut; in a plain net, and where shapes change,
  as by option A. `delete_random`: so `count` blocks at once, drawn at random, draw number `trial` (1-based).
  `swap`: block (`stage`, `block`) and the next one of its stage change places. `reorder`: `count` swaps of two random
  blocks of one stage, draw number `trial`. `blocks` lists [stage, block] of what was deleted or moved; `tau` is
  Kendall's rank correlation of the new order with the old, the mean over pairs of blocks of one stage (1: undisturbed;
  null for deletions). First blocks of stages, which may change shapes, keep their places. `reestimated`: batch
  statistics were taken again, over `statistics_images` training images, with the lesion.
- `landscape`: loss and error at params + alpha * first + beta * second direction; directions are random, each filter
  has the norm of the net's (Li et al. 2018), norms and biases stay; `seed` is of the directions.
- `hessian`: the `index`-th (1-based) largest eigenvalue of the loss's Hessian by all parameters, after `iterations` of
  Lanczos; `residual` is the norm of H v - eigenvalue * v, which bounds its error.
- `identity`: the net deepened to `depth` by blocks that are the identity: `difference` is the largest change of a logit
  over the images, `error_before` and `error` of the net and of the deepened one. `run` and `scratch` are the run
  directories (beside this one's experiment, relative to the work directory) in which it is trained on, and in which the
  same depth is trained from the start.
- `layers`: globally pooled features at the input of the first block (`position` 0, `stage` and `block` null) and after
  every block. `separation` is D = Tr(S_w pinv(S_b)) over `images` training images; `nearest_mean_error` and
  `ridge_error` are those of a probe fitted to them, on `test_images`; `head_error` and `head_loss` are those of the
  net's own head on a block of the last stage. `step_length` is the norm of the block's step relative to that of the
  stage's whole way, `alignment` the mean cosine between the two; null at the first place of the way, and where it has
  one step. `cka_previous` is CKA with the position before, in minibatches of `cka_images` test images. `every` is the
  interval between images; 0: they are spread evenly over the set.
- `cka`: a row of a CKA matrix: `values` of the tile of `tile` positions from `first` on with each tile of `other_tile`
  positions of the run `other` at `other_step`; of the net itself where they are null.
- `init`: a block of the net at its initialization, in one batch of `images` training images with its own statistics:
  means over the channels of the squared channel mean and of the channel variance, of the block's input and of its main
  branch (`input_squared_mean`, `input_variance`, `branch_squared_mean`, `branch_variance`); of the gradient by the
  block's input of a random projection of the logits, drawn with `seed`, the root mean square norm over the images and
  the mean cosine between different images' gradients. `layers_above` counts the layers of blocks from the input on.
- `commands`: a `command` that made a `study` (a subcommand of `resjax.study`) of this net, once each.
"""

import os
from collections.abc import Mapping
from typing import Any

from resjax import files, records

FOLDER = "studies"

NONE, DELETE, DELETE_RANDOM, SWAP, REORDER = "none", "delete", "delete_random", "swap", "reorder"
ALIKE = 0.95  # CKA with the block before, above which a block is said to change little
LESIONS = (NONE, DELETE, DELETE_RANDOM, SWAP, REORDER)

LOG_KEYS: dict[str, tuple[str, ...]] = {
  "responses": (*records.LOG_KEYS["responses"], "source", "batch_size", "pooling", "first_conv"),
  "blocks": ("step", "stage", "block", "input_std", "branch_std", "images", "mode", "source", "batch_size", "pooling"),
  "gradients": (*records.LOG_KEYS["gradients"], "images", "batch_size", "mode"),
  "paths": ("step", "length", "share", "norm", "blocks", "images", "source"),
  "lesions": (
    *("step", "kind", "stage", "block", "blocks", "count", "trial", "tau", "reestimated"),
    *("statistics_images", "images", "source", "seed", "error", "loss"),
  ),
  "landscape": ("step", "alpha", "beta", "loss", "error", "images", "source", "mode", "seed"),
  "hessian": ("step", "index", "eigenvalue", "residual", "iterations", "images", "source", "mode", "seed"),
  "identity": ("step", "depth", "from_depth", "difference", "error_before", "error", "images", "run", "scratch"),
  "layers": (
    *("step", "position", "stage", "block", "channels", "separation", "nearest_mean_error", "ridge_error"),
    *("head_error", "head_loss", "step_length", "alignment", "cka_previous"),
    *("images", "test_images", "every", "cka_images"),
  ),
  "cka": (
    *("step", "first", "values", "tile", "other", "other_step", "other_tile"),
    *("test_images", "every", "cka_images"),
  ),
  "init": (
    *("step", "position", "stage", "block", "layers_above"),
    *("input_squared_mean", "input_variance", "branch_squared_mean", "branch_variance"),
    *("gradient_norm", "gradient_cosine", "images", "seed"),
  ),
  "commands": ("step", "study", "command"),
}


def writer(directory: str | os.PathLike[str]) -> records.RunWriter:
  """Returns the one writer of the studies of a run directory.

  Raises:
    RecordsError: another process studies this run, or the directory cannot be used.
  """
  return records.RunWriter(files.as_path(directory) / FOLDER, logs=LOG_KEYS)


def read(directory: str | os.PathLike[str]) -> tuple[dict[str, list[dict[str, Any]]], int]:
  """Reads the studies of a run directory, also while they are written; a study that was not made has no lines.

  Returns:
    The lines by log, every key of `LOG_KEYS` present in each, and how many could not be read and were skipped.
  """
  return records.read_logs(files.as_path(directory) / FOLDER, LOG_KEYS)


def add_command(writer: records.RunWriter, directory: str | os.PathLike[str], made_by: Mapping[str, Any]) -> None:
  """Writes which command made a study, a line of `commands`, unless the same one was given before."""
  if made_by not in read(directory)[0]["commands"]:
    writer.append("commands", [made_by])
