"""Each extra suffices for its commands, which are run with the modules of all other packages hidden."""

import shutil

import numpy as np
import pytest

from tests import extras, synthetic_images

SHORT_RUN = (
  *("resjax.main", "--config", "quickstart", "--workdir", "runs", "--only", "kind=residual depth=8"),
  *(
    "--config.train.steps=2",
    "--config.evaluation.every=2",
    "--config.checkpoint.every=2",
    "--config.responses.images=128",
  ),
)
RUN = "runs/quickstart/residual-A-d8-s0"


def test_the_base_installation_names_the_extra_for_training(tmp_path):
  assert "jax" in extras.hidden_modules("") and "jax" not in extras.hidden_modules("train")
  assert {"cv2", "simplejpeg", "grain", "array_record"} & set(extras.hidden_modules("train")) >= {
    "cv2",
    "simplejpeg",
    "grain",
  }
  result = extras.run("", *SHORT_RUN, cwd=tmp_path)
  assert result.returncode == 2
  assert "install the extra train" in result.stderr and "Traceback" not in result.stderr
  assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", [("resjax.main", "--list"), ("resjax.main", "--config", "quickstart", "--list")])
def test_the_base_installation_lists_experiments_and_runs(command, tmp_path):
  result = extras.run("", *command, cwd=tmp_path)
  assert result.returncode == 0, result.stderr
  assert "residual" in result.stdout or "quickstart" in result.stdout


def test_the_extra_train_suffices_to_train_evaluate_study_convert_and_report(tmp_path):
  for command in (
    SHORT_RUN,
    ("resjax.summary", "--config", "quickstart"),
    ("resjax.evaluate", "--checkpoint", RUN, "--data", "digits"),
    ("resjax.study", "responses", "--workdir", "runs", "--images", "128"),
    ("resjax.convert", "--to", "torch", RUN, "--out", "net.safetensors"),
    ("resjax.plan", "--config", "quickstart", "--topology", "gpu:h100x1"),
    ("resjax.report", "runs"),
  ):
    result = extras.run("train", *command, cwd=tmp_path)
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"


def test_the_extra_train_suffices_to_train_on_arrays(tmp_path):
  images = np.random.default_rng(0).integers(0, 256, (128, 8, 8, 1), np.uint8)
  labels = np.arange(128) % 10
  np.savez(tmp_path / "own.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
  arrays = ("--config.data.name=npz", "--config.data.path=own.npz", "--config.evaluation.batch_size=64")
  result = extras.run("train", *SHORT_RUN, *arrays, cwd=tmp_path)
  assert result.returncode == 0, result.stderr


def test_training_on_image_files_needs_the_extra_imagenet(tmp_path):
  for split in ("train", "val"):
    for kind in ("cats", "dogs"):
      folder = tmp_path / "photos" / split / kind
      folder.mkdir(parents=True)
      for i in range(8):
        (folder / f"{i}.jpeg").write_bytes(
          synthetic_images.encode(synthetic_images.gradient_image(20, 24, blue=30 * i))
        )
  photos = ("--config.data.name=folder", "--config.data.path=photos", "--config.data.image_size=16")
  sizes = ("--config.train.batch_size=8", "--config.evaluation.batch_size=8", "--config.responses.batch_size=8")
  command = (*SHORT_RUN, *photos, *sizes, "--config.data.resize=16,20", "--config.execution.workers=0")
  command = (*command, "--config.responses.images=8")
  result = extras.run("train", *command, cwd=tmp_path)
  assert result.returncode == 2
  assert "install the extra imagenet" in result.stderr and "Traceback" not in result.stderr
  result = extras.run("imagenet", *command, cwd=tmp_path)
  assert result.returncode == 0, result.stderr


def test_the_extra_analysis_suffices_for_reports(tmp_path):
  shutil.copytree(extras.ROOT / "notebooks" / "logs", tmp_path / "logs")
  result = extras.run("analysis", "resjax.report", "logs", cwd=tmp_path)
  assert result.returncode == 0, result.stderr
