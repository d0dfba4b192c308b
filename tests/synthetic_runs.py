"""Run directories like those of training, with synthetic numbers, for tests of analysis and report."""

import math
from pathlib import Path

import numpy as np

from resjax import paper, records, study_records

STEPS = 64_000  # steps of a run
EVERY = 2_000  # steps between lines of metrics.jsonl


def write_run(
  root: Path,
  kind: str = "residual",
  depth: int = 20,
  seed: int = 0,
  *,
  status: str = records.DONE,
  reached: int = STEPS,
  steps: int = STEPS,
  every: int = EVERY,
  shortcut: str = "A",
  responses: bool = True,
  reason: str | None = None,
  experiment: str = "cifar_depth_sweep",
  **fields: object,
) -> Path:
  """Writes a run directory with plausible errors and responses.

  Args:
    root: Directory of the experiment.
    kind: "residual" or "plain".
    depth: Depth of the network.
    seed: Seed of the run and of its numbers.
    status: Status of the run.
    reached: Last step of the logs.
    steps: Steps of the whole run.
    every: Steps between lines of metrics.jsonl.
    shortcut: Shortcut of a residual network.
    responses: Whether responses were captured at the last step.
    reason: Reason of a failure.
    experiment: Name of the experiment.
    **fields: Values of further keys of run.json.

  Returns:
    The run directory.
  """
  rng = np.random.default_rng([depth, seed, kind == "plain"])
  residual = kind == "residual"
  run_id = f"residual-{shortcut}-d{depth}-s{seed}" if residual else f"plain-d{depth}-s{seed}"
  with records.RunWriter(root / run_id) as writer:
    writer.update(
      **{"id": run_id, "experiment": experiment, "status": status, "reason": reason},
      **{"kind": kind, "depth": depth, "shortcut": shortcut if residual else None, "seed": seed},
      **{"params": _params(depth), "macs": round(40.55e6 * (depth - 2) / 18), "steps": steps},
      step=reached,
      question="Does a deeper net train worse, and do shortcuts cure it?",
      devices={"platform": "gpu", "kind": "NVIDIA H200", "count": 1, "processes": 1},
      versions={"jax": "0.10.2", "flax": "0.12.8", "resjax": "0.1.0"},
      commit="0123456789abcdef0123456789abcdef01234567",
      command="python -m resjax.main --config experiments/cifar_depth_sweep.py --workdir runs",
      data={"name": "cifar10", "path": "data", "images": 50_000, "digest": "sha256:" + "ab" * 32},
      deviations=[
        {"name": "model.norm_images", "paper": "per GPU, 64 images", "here": "batch of 128"},
      ],
    )
    writer.update(**fields)
    writer.write_config({"model": {"kind": kind, "depth": depth}, "train": {"batch_size": 128}, "seed": seed})
    final = _final_error(kind, depth) + 0.0016 * rng.standard_normal()
    writer.append("metrics", _metrics(rng, final, reached, steps, every, depth))
    if responses and reached:
      writer.append("responses", response_rows(kind, depth, seed, reached))
    if status == records.DONE:
      result = {"train_error": _train_error(final, 1, depth), "test_error": final, "test_images": 10_000}
      writer.update(result={**result, "best_test_error": final - 0.001, "best_step": steps - every})
  return root / run_id


def response_rows(kind: str, depth: int, seed: int, step: int) -> list[dict]:
  """Returns lines of responses.jsonl for all 3x3 layers of a CIFAR network."""
  rng = np.random.default_rng([depth, seed, 7])
  layers = depth - 1
  level = 1.0 if kind == "plain" else 1.6 / np.sqrt(layers)
  rows = []
  for layer in range(1, layers + 1):
    size = level * (1 + 0.25 * np.sin(layer)) * np.exp(0.15 * rng.standard_normal())
    stage = 0 if layer == 1 else 1 + 3 * (layer - 2) // (layers - 1)
    rows.append(
      {"step": step, "layer": layer, "name": f"conv{layer}", "stage": stage, "block": layer // 2}
      | {"std": size, "mean": 0.1, "units": 16_384, "images": 128, "mode": "batch"}
    )
  return rows


def write_sweep(root: Path) -> Path:
  """Writes runs of two kinds, three depths and two seeds, of which one failed, one is running and one is pending.

  Args:
    root: Directory of the experiment.

  Returns:
    The directory.
  """
  for kind in ("plain", "residual"):
    for depth in (20, 44, 56):
      for seed in (0, 1):
        match kind, depth, seed:
          case "plain", 56, 1:
            write_run(
              *(root, kind, depth, seed),
              status=records.FAILED,
              reached=30_000,
              responses=False,
              reason="the training loss is not finite at step 30,214",
            )
          case "residual", 56, 0:
            write_run(root, kind, depth, seed, status=records.RUNNING, reached=38_000)
          case "residual", 56, 1:
            write_run(root, kind, depth, seed, status=records.PENDING, reached=0)
          case _:
            write_run(root, kind, depth, seed)
  with records.RunWriter(root / "residual-A-d44-s1") as writer:
    writer.event(24_000, "restored", "from the checkpoint of step 24,000")
  return root


STUDIES = ("responses", "gradients", "lesion", "landscape", "identity")


def write_studies(directory: Path, depth: int, plain: bool, step: int = STEPS, random: int = 7) -> None:
  """Writes records of all studies of a network with three blocks per stage.

  Args:
    directory: Run directory.
    depth: Depth of the network.
    plain: Whether the network is plain.
    step: Step of the checkpoint.
    random: Part of the seed of the numbers.
  """
  rng = np.random.default_rng([depth, plain, random])
  common = {"step": step, "images": 2_000, "source": "test"}
  intact_error = 0.09
  lesions: list[dict] = [{**common, "kind": "none", "error": intact_error, "reestimated": False}]
  blocks = [(stage, block) for stage in (1, 2, 3) for block in (1, 2, 3)]
  for stage, block in blocks:
    error = 0.9 if plain else intact_error + 0.05 * rng.random()
    lesions.append({**common, "kind": "delete", "stage": stage, "block": block, "error": error, "reestimated": False})
  for trial in (1, 2):
    for count in (1, 2, 4):
      error = min(0.9, intact_error + (0.5 if plain else 0.07) * count + 0.01 * trial)
      details = {"count": count, "trial": trial, "reestimated": False, "error": error}
      lesions.append({**common, "kind": "delete_random", **details})
      lesions.append({**common, "kind": "reorder", "tau": 1 - 0.2 * count, **details})
  lengths = [9] if plain else range(10)
  shares = np.exp(-0.5 * (np.array(lengths) - 3.0) ** 2 / 2)
  paths = [
    {**common, "length": n, "share": s / shares.sum(), "blocks": 9} for n, s in zip(lengths, shares, strict=True)
  ]
  ticks = np.linspace(-1, 1, 7)
  sharpness = 8.0 if plain else 2.0
  surface = [
    {**common, "alpha": a, "beta": b, "loss": 0.3 + sharpness * (a * a + 0.5 * b * b), "error": 0.1, "seed": 0}
    for a in ticks
    for b in ticks
  ]
  strengths = [
    {
      **common,
      "stage": stage,
      "block": block,
      "input_std": 1.0 + block,
      "branch_std": (1.0 if plain else 0.4) * (1 + block),
    }
    for stage, block in blocks
  ]
  with study_records.writer(directory) as writer:
    commands = {study: f"python -m resjax.study {study} --workdir runs" for study in STUDIES}
    writer.append("commands", [{"step": step, "study": study, "command": call} for study, call in commands.items()])
    writer.append("blocks", strengths)
    writer.append("lesions", lesions)
    writer.append("paths", paths)
    writer.append("landscape", surface)
    eigenvalues = [{"index": i, "eigenvalue": 9.0 / i * sharpness, "residual": 1e-4} for i in (1, 2, 3)]
    writer.append("hessian", [common | eigenvalue for eigenvalue in eigenvalues])
    writer.append("gradients", gradient_rows(depth, plain, step))
    changed = {"difference": 2e-6, "error_before": intact_error, "error": intact_error, "images": 2_000}
    writer.append("identity", [{"step": step, "from_depth": depth, "depth": depth + 6, **changed}])


def parabolic_loss(rate: float, best: float) -> float:
  """Returns a loss that is parabolic in the logarithms, and NaN from two octaves above the best rate on.

  Args:
    rate: Learning rate.
    best: Learning rate with the lowest loss.
  """
  away = math.log2(rate / best)
  return 0.01 * 2 ** (away**2 / 2) if away < 2 else math.nan


def gradient_rows(depth: int, plain: bool, step: int) -> list[dict]:
  """Returns lines of gradients.jsonl; the gradients of plain networks vanish towards the input."""
  decay = 0.8 if plain else 0.99
  return [
    {"step": step, "layer": layer, "name": f"conv{layer}", "norm": 0.1 * decay ** (depth - layer), "weight_norm": 3.0}
    for layer in range(1, depth + 1)
  ]


def _params(depth: int) -> int:
  return paper.CIFAR10_RESIDUAL[depth].params if depth in paper.CIFAR10_RESIDUAL else 1


def _final_error(kind: str, depth: int) -> float:
  if kind == "residual":
    return 0.0875 - 0.018 * np.log(depth / 20) / np.log(2.8)
  return 0.091 + 0.028 * np.log(depth / 20) / np.log(2.8)


def _train_error(final: float, progress: float, depth: int) -> float:
  return final * (1 - 0.75 * progress * min(1.0, 60 / (depth + 40)))


def _metrics(rng, final, reached, steps, every, depth) -> list[dict]:
  rows = []
  for step in range(every, reached + 1, every):
    progress = step / steps
    phase = 1.0 if progress < 0.5 else 0.25 if progress < 0.75 else 0.0
    error = min(0.9, final + 0.09 * phase + 0.5 * np.exp(-progress * 25))
    rate = 0.1 if progress < 0.5 else 0.01 if progress < 0.75 else 0.001
    common = {"step": step, "epoch": step / 390, "images": 10_000, "seconds": 100.0}
    for split in ("train", "test"):
      noise = error * 0.03 * (0.3 + phase) * rng.standard_normal()
      value = error + noise if split == "test" else _train_error(error, progress, depth) + noise / 2
      rows.append({**common, "split": split, "loss": 3 * value, "error": value})
      rows[-1] |= {"learning_rate": rate, "images_per_second": 12_800.0}
  return rows
