"""Records of studies of trained networks, in `studies/` of a run directory. Does not use JAX.

    DIR/<experiment>/<run id>/studies/
      responses.jsonl  blocks.jsonl  gradients.jsonl  paths.jsonl
      lesions.jsonl  landscape.jsonl  hessian.jsonl  spectrum.jsonl  trace.jsonl
      trajectory.jsonl  trajectory_surface.jsonl  identity.jsonl  layers.jsonl  cka.jsonl  init.jsonl
      commands.jsonl

Each file is JSON lines, as in the run directory itself. Every line has the `step` of the checkpoint and the settings
that its numbers depend on (`images`, `source`, `mode`, `seed`, ...). A file may hold lines of several settings, which a
reader groups by them. Errors are fractions. Losses are in nats, means over the images. `source` is the data split,
`train` or `test`. `mode` is the batch norm's statistics, `running` or `batch`. `batch_size` is the number of images
over which batch statistics are taken; in `lesions`, `landscape`, `hessian`, `spectrum` and `trace` it is null where the
numbers do not depend on it. Lines of earlier versions may lack a setting that their numbers depend on. Reports show
them, and a study computes them again.

- `responses`: The keys of the run's responses.jsonl, and the settings of the capture (`source`, `batch_size`,
  `pooling`, `first_conv`).
- `blocks`: Standard deviation of the output of each block's main branch after its norm and before the addition
  (`branch_std`), and of the input of the block (`input_std`), captured together with the responses.
- `gradients`: The keys of the run's gradients.jsonl: for each weighted layer, the L2 norm of the gradient of the loss
  without weight decay by the kernel, and the L2 norm of the kernel. `layer` counts all weighted layers, including the
  classifier.
- `paths`: Share of the gradient of the loss by the first block's input that flows through paths of `length` main
  branches, in a network of `blocks` blocks (Veit et al. 2016). `share` is the inner product of this part and the whole
  gradient over the squared norm of the whole gradient: the shares of one network sum to 1, and a share may be negative.
  `norm` is the L2 norm of the part over that of the whole gradient; the parts are not orthogonal. In a plain network
  there is one path, of `length` = `blocks`.
- `lesions`: Test of a network whose blocks were deleted or moved (Veit et al. 2016). The first line of each setting, of
  `kind` `none`, is the unchanged network. `delete` removes the main branch of block (`stage`, `block`); its input takes
  the shortcut, or option A in a plain network and where the shape changes. `delete_random` removes `count` random
  blocks at once, in draw number `trial` (1-based). `swap` exchanges block (`stage`, `block`) and the next block of the
  same stage. `reorder` makes `count` swaps of two random blocks of one stage, in draw number `trial`. `blocks` lists
  the [stage, block] of all deleted or moved blocks. `tau` is Kendall's rank correlation between the new and the
  original order, over pairs of blocks of one stage: 1 for the original order, null for deletions. First blocks of
  stages, which may change shapes, are never moved. `reestimated` tells whether the batch statistics were computed again
  with the lesion, over `statistics_images` training images in batches of `batch_size`.
- `landscape`: Loss and error at params + `alpha` * first + `beta` * second direction. The directions are random, with
  each filter scaled to the norm of the network's filter (Li et al. 2018) and zero for norms and biases. `seed` is that
  of the directions.
- `hessian`: The `index`-th (1-based) largest eigenvalue of the Hessian of the loss by all parameters, from `iterations`
  iterations of the Lanczos algorithm, which ends after `max_iterations`, or before, once the largest `eigenvalues` have
  converged. `residual` is the norm of H v - eigenvalue * v, an upper bound of its error.
- `spectrum`: Lanczos quadrature of the density of the Hessian's eigenvalues from random vector number `probe`
  (1-based): the density is about the mean over the probes of point masses `weights`, which sum to 1, at `values`.
- `trace`: v^T H v for the Hessian H of the parameters of one `part` (`stem`, `stage1`, ..., `head`) and random vector
  number `probe` of signs (1-based); `parameters` counts them. The mean over probes estimates the trace of the block on
  the diagonal of H, the sum over the parts that of H.
- `trajectory`: A checkpoint of the run, of step `at` (0: its initial weights), beside that of `step`, the newest: its
  coordinates `alpha` and `beta` in the plane through the newest one along the first two principal components of all,
  which hold the shares `first_share` and `second_share` of the variance; `distance` from the newest and
  `plane_distance` from the plane, as L2 norms. `loss` and `error` are those of the checkpoint, `plane_loss` and
  `plane_error` those of its projection on the plane, all with the statistics of the batch.
- `trajectory_surface`: Loss and error in that plane at the coordinates `alpha` and `beta`.
- `identity`: The network deepened to `depth` by identity blocks (Sec. 1). `difference` is the largest change of a logit
  over the images. `error_before` and `error` are the errors of the network and of the deepened network. `run` and
  `scratch` are the run directories, relative to the work directory, of the deepened network that is trained further and
  of the network of the same depth that is trained from scratch.
- `layers`: Globally pooled features at the input of the first block (`position` 0, `stage` and `block` null) and after
  each block. `separation` is D = Tr(S_w pinv(S_b)), from the covariances within and between classes, over `images`
  training images. `nearest_mean_error` and `ridge_error` are the errors on `test_images` test images of a nearest class
  mean classifier and of ridge regression, fitted to the features of the training images. `head_error` and `head_loss`
  are those of the network's own classifier on the features, in the last stage only. `step_length` is the norm of a
  block's change of the features over the norm of the change from the first to the last position of its stage, and
  `alignment` is the mean cosine between the two; both are null at the first position of a stage and where only one
  block keeps the shape. `cka_previous` is the CKA with the position before, from minibatches of `cka_images` test
  images. `every` is the interval between the images used; 0: images evenly spread over the set.
- `cka`: A row of a CKA matrix whose positions are averaged in tiles: `values` are those of the tile of `tile` positions
  from position `first` on, with each tile of `other_tile` positions of the run `other` at step `other_step`. Where
  these are null, the matrix is that of the network with itself. `other_digest` is the `params_digest` of the other
  run's parameters.
- `init`: A block of a network at initialization, from one batch of `images` training images and its batch statistics.
  `input_squared_mean` and `input_variance` are means over the channels of the squared channel mean and of the channel
  variance of the block's input; `branch_squared_mean` and `branch_variance` those of the main branch.
  `gradient_norm` is the root mean square over images of the norm of the gradient of a random projection of the logits
  (drawn with `seed`) by the block's input, and `gradient_cosine` is the mean cosine between the gradients of different
  images. `layers_above` is the number of layers in the blocks from this input to the output.
- `commands`: Each `command` that wrote a `study` (a subcommand of `resjax.study`) of the network, listed once.
"""

import os
from collections.abc import Mapping
from typing import Any

from resjax import files, records

FOLDER = "studies"

NONE, DELETE, DELETE_RANDOM, SWAP, REORDER = "none", "delete", "delete_random", "swap", "reorder"
SIMILAR_CKA = 0.95  # CKA of two successive blocks above which the report calls them similar
LESIONS = (NONE, DELETE, DELETE_RANDOM, SWAP, REORDER)

LOG_KEYS: dict[str, tuple[str, ...]] = {
  "responses": (*records.LOG_KEYS["responses"], "source", "batch_size", "pooling", "first_conv"),
  "blocks": ("step", "stage", "block", "input_std", "branch_std", "images", "mode", "source", "batch_size", "pooling"),
  "gradients": (*records.LOG_KEYS["gradients"], "images", "batch_size", "mode"),
  "paths": ("step", "length", "share", "norm", "blocks", "images", "source"),
  "lesions": (
    *("step", "kind", "stage", "block", "blocks", "count", "trial", "tau", "reestimated"),
    *("statistics_images", "images", "source", "seed", "error", "loss", "batch_size"),
  ),
  "landscape": ("step", "alpha", "beta", "loss", "error", "images", "source", "mode", "seed", "batch_size"),
  "hessian": (
    *("step", "index", "eigenvalue", "residual", "iterations", "images", "source", "mode", "seed", "batch_size"),
    *("eigenvalues", "max_iterations"),
  ),
  "spectrum": (
    *("step", "probe", "values", "weights", "parameters", "iterations"),
    *("images", "source", "mode", "seed", "batch_size"),
  ),
  "trace": ("step", "probe", "part", "trace", "parameters", "images", "source", "mode", "seed", "batch_size"),
  "trajectory": (
    *("step", "at", "alpha", "beta", "first_share", "second_share", "distance", "plane_distance"),
    *("loss", "error", "plane_loss", "plane_error", "checkpoints", "images", "source", "batch_size"),
  ),
  "trajectory_surface": ("step", "alpha", "beta", "loss", "error", "checkpoints", "images", "source", "batch_size"),
  "identity": ("step", "depth", "from_depth", "difference", "error_before", "error", "images", "run", "scratch"),
  "layers": (
    *("step", "position", "stage", "block", "channels", "separation", "nearest_mean_error", "ridge_error"),
    *("head_error", "head_loss", "step_length", "alignment", "cka_previous"),
    *("images", "test_images", "every", "cka_images"),
  ),
  "cka": (
    *("step", "first", "values", "tile", "other", "other_step", "other_tile"),
    *("test_images", "every", "cka_images", "other_digest"),
  ),
  "init": (
    *("step", "position", "stage", "block", "layers_above"),
    *("input_squared_mean", "input_variance", "branch_squared_mean", "branch_variance"),
    *("gradient_norm", "gradient_cosine", "images", "seed"),
  ),
  "commands": ("step", "study", "command"),
}


def writer(directory: str | os.PathLike[str]) -> records.RunWriter:
  """Opens the study records of a run directory for writing.

  Args:
    directory: Run directory.

  Raises:
    RecordsError: Another process has the records open, or the directory cannot be used.
  """
  return records.RunWriter(files.as_path(directory) / FOLDER, logs=LOG_KEYS)


def read(directory: str | os.PathLike[str]) -> tuple[dict[str, list[dict[str, Any]]], int]:
  """Reads the study records of a run directory, which another process may be writing.

  Args:
    directory: Run directory.

  Returns:
    The lines of each log of `LOG_KEYS`, each with all keys of the log, an empty list for a study that does not exist;
    and the number of lines that could not be read and were skipped.
  """
  return records.read_logs(files.as_path(directory) / FOLDER, LOG_KEYS)


def add_command(writer: records.RunWriter, directory: str | os.PathLike[str], made_by: Mapping[str, Any]) -> None:
  """Appends a line to `commands` unless the same line exists.

  Args:
    writer: Writer of the study records.
    directory: Run directory.
    made_by: Values of `step`, `study` and `command`.
  """
  if made_by not in read(directory)[0]["commands"]:
    writer.append("commands", [made_by])
