"""The classification run that a detector starts from: a named run, or the matching one of a folder."""

import dataclasses
import json
from pathlib import Path

import pytest

from resjax import config
from resjax.config import Config, Model
from resjax.detection import backbone
from resjax.settings import ConfigError
from tests import random_networks

pytest.importorskip("pycocotools", reason="the extra detection is not installed")

NET = Model(family="imagenet", depth=10, blocks=(1, 1, 1, 1), width=8, shortcut="B")
FOLDER = config.Data(name="folder", image_size=32, resize=())


def detector(directory: Path, net: Model = NET, seed: int = 0) -> Config:
  """Returns the configuration of a detector whose backbone is taken from a directory."""
  values = config.detection().to_dict()
  values["model"] = dataclasses.asdict(net)
  values["detection"]["backbone"] = str(directory)
  return config.freeze(values | {"seed": seed})


def write_backbone(directory: Path, net: Model, seed: int) -> None:
  """Writes a classification run with random weights whose configuration has the given seed."""
  random_networks.write_run(directory, net, FOLDER, 32, 5, seed)
  path = directory / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": seed}))


def test_a_directory_without_a_matching_run_is_an_error(tmp_path):
  with pytest.raises(ConfigError, match="is not a run directory"):
    backbone.check(detector(tmp_path))
  write_backbone(tmp_path / "net", dataclasses.replace(NET, width=4), 0)
  with pytest.raises(
    ConfigError, match=r"must have the same network as this run, but differs in model.width \(4 there, 8 here\)"
  ):
    backbone.check(detector(tmp_path / "net"))


def test_the_run_with_the_same_network_and_seed_is_taken_from_a_folder(tmp_path):
  plain = dataclasses.replace(NET, kind="plain")
  write_backbone(tmp_path / "plain-s0", plain, 0)
  for seed in (1, 2):
    write_backbone(tmp_path / f"residual-s{seed}", NET, seed)
  taken = {(net.kind, seed): backbone.read(detector(tmp_path, net, seed)) for net in (plain, NET) for seed in (0, 1, 2)}
  assert {key: each.directory.name for key, each in taken.items()} == {
    **{("plain", seed): "plain-s0" for seed in (0, 1, 2)},
    **{("residual", seed): f"residual-s{max(seed, 1)}" for seed in (0, 1, 2)},  # the lowest seed if there is no seed 0
  }
  message = (
    r"with the same network as this run, but has 3 others; plain-s0 differs in model.kind \('plain' there, 'residual' "
  )
  with pytest.raises(ConfigError, match=message):
    backbone.read(detector(tmp_path, dataclasses.replace(NET, width=4)))
