"""Weights of PyTorch projects: logits, conversion in both directions, and wrapped state dicts."""

import json
import struct

import numpy as np
import pytest

from resjax.config import Config, Model, effects
from resjax.settings import ConfigError
from resjax.train import run_files
from resjax.weights import akamaster, export_torch, import_run, mapping, torch_files

torch = pytest.importorskip("torch")
third_party = pytest.importorskip("tests.third_party_networks")
parity = pytest.importorskip("tests.torch_parity")


def small_imagenet(block: str):
  """Returns a network of torchvision's ResNet class with one or two blocks per stage."""
  resnet = parity.torchvision_resnets()
  kind = {"basic": resnet.BasicBlock, "bottleneck": resnet.Bottleneck}[block]
  return resnet.ResNet(kind, [2, 1, 1, 2], num_classes=7)


NETS = {
  "A": ("akamaster", lambda: third_party.CifarNet(2), 32),
  "B": ("akamaster", lambda: third_party.CifarNet(1, projects=True, classes=7), 32),
  "basic": ("torchvision", lambda: small_imagenet("basic"), 64),
  "bottleneck": ("torchvision", lambda: small_imagenet("bottleneck"), 64),
}


@pytest.fixture(params=NETS)
def case(request, tmp_path):
  project, make, side = NETS[request.param]
  net = third_party.randomize_norms(make()).eval()
  path = tmp_path / "net.pth"
  torch.save(net.state_dict(), path)
  return project, net, path, np.random.default_rng(0).integers(0, 256, (4, side, side, 3), np.uint8)


def test_converted_networks_have_the_same_logits(case):
  """float32 logits of two libraries agree to 1e-4 by norm."""
  project, net, path, images = case
  found = parity.logits(import_run.read(project, path, None), images)
  assert parity.relative_distance(found, parity.torch_logits(net, images)) < 1e-4


def test_imported_networks_have_no_setting_without_effect(case):
  project, _, path, _ = case
  weights = import_run.read(project, path, None)
  ineffective = effects.ineffective(Config(model=weights.model, data=weights.data))
  assert not [key for key in ineffective if key.startswith("model.")]


def test_an_exported_state_dict_is_the_imported_one(case, tmp_path):
  project, net, path, _ = case
  import_run.write(tmp_path / "run", import_run.read(project, path, None), "a test")
  written = export_torch.state_dict(run_files.read(tmp_path / "run"))
  assert {name: value.shape for name, value in written.items()} == {
    name: tuple(value.shape) for name, value in net.state_dict().items()
  }
  for name, value in net.state_dict().items():
    assert np.array_equal(written[name], value.numpy()), name


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_are_written_are_read_back(suffix, tmp_path):
  arrays = {"a.weight": np.arange(6.0, dtype=np.float32).reshape(2, 3), "a.num_batches_tracked": np.array(3)}
  torch_files.write(tmp_path / f"x{suffix}", arrays)
  found = torch_files.read(tmp_path / f"x{suffix}")
  assert all(np.array_equal(found[name], array) for name, array in arrays.items()) and len(found) == 2
  with pytest.raises(ConfigError, match="exists; choose another --out"):
    torch_files.write(tmp_path / f"x{suffix}", arrays)


def test_half_precision_is_converted_to_float32(tmp_path):
  torch.save({"a.weight": torch.arange(4.0).half()}, tmp_path / "x.th")
  found = torch_files.read(tmp_path / "x.th")
  assert found["a.weight"].tolist() == [0, 1, 2, 3] and found["a.weight"].dtype == np.float32


def with_dtype(path, dtype, shape, data):
  """Writes a .safetensors file with one array "a.weight" of this dtype."""
  header = json.dumps({"a.weight": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}}).encode()
  path.write_bytes(struct.pack("<Q", len(header)) + header + data)


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_half_precision_in_a_safetensors_file_is_converted_to_float32(dtype, tmp_path):
  """The file is written by hand, because numpy has no bfloat16."""
  values = [[1.0, -2.0, 0.15625], [3.0e-3, 60000.0, 0.0]]
  kind = {"F16": torch.float16, "BF16": torch.bfloat16}[dtype]
  expected = torch.tensor(values).to(kind)
  with_dtype(tmp_path / "x.safetensors", dtype, [2, 3], expected.view(torch.int16).numpy().tobytes())
  found = torch_files.read(tmp_path / "x.safetensors")["a.weight"]
  assert found.dtype == np.float32
  assert np.array_equal(found, expected.float().numpy())


def test_other_dtypes_are_errors_of_one_line_that_name_the_array(tmp_path):
  with_dtype(tmp_path / "x.safetensors", "F8_E4M3", [4], bytes(4))
  torch.save({"a.weight": torch.zeros(4).to(torch.float8_e4m3fn)}, tmp_path / "float8.th")
  torch.save({"a.weight": torch.zeros(4, dtype=torch.complex64)}, tmp_path / "complex.th")
  for name, dtype in (("x.safetensors", "F8_E4M3"), ("float8.th", "float8_e4m3fn"), ("complex.th", "complex64")):
    with pytest.raises(ConfigError) as raised:
      torch_files.read(tmp_path / name)
    wanted = f"{tmp_path / name}: a.weight has dtype {dtype}; must be float32, float16 or bfloat16"
    assert str(raised.value) == wanted
  torch.save({"a.weight": torch.zeros(4).to_sparse()}, tmp_path / "sparse.th")
  with pytest.raises(ConfigError, match=r"sparse\.th: a\.weight is sparse; must be dense$"):
    torch_files.read(tmp_path / "sparse.th")


class Holder(torch.nn.Module):
  """Module with a network as an attribute, as in training frameworks."""

  def __init__(self, net):
    super().__init__()
    self.model = net


def prefixed(prefix, state):
  """Returns a state dict with a prefix before each name."""
  return {f"{prefix}{name}": value for name, value in state.items()}


WRAPPED = {
  "compiled": lambda net: torch.compile(net).state_dict(),
  "parallel": lambda net: torch.nn.DataParallel(net).state_dict(),
  "compiled, then parallel": lambda net: torch.nn.DataParallel(torch.compile(net)).state_dict(),
  "parallel, then compiled": lambda net: torch.compile(torch.nn.DataParallel(net)).state_dict(),
  "attribute": lambda net: Holder(torch.compile(net)).state_dict(),
  "average": lambda net: torch.optim.swa_utils.AveragedModel(net).state_dict(),
  "average of a compiled net in an attribute": lambda net: torch.optim.swa_utils.AveragedModel(
    Holder(torch.compile(net))
  ).state_dict(),
  "average beside the net": lambda net: {
    "initted": torch.tensor(True),
    "step": torch.tensor(3),
    **prefixed("online_model.", net.state_dict()),
    **prefixed("ema_model.", {name: value * 0 for name, value in net.state_dict().items()}),
  },
  "average without the net": lambda net: {
    **{"step": torch.tensor(3), "decay": torch.tensor(0.99)},
    **prefixed("ema_model.module.", net.state_dict()),
  },
  "checkpoint": lambda net: {"state_dict": net.state_dict(), "epoch": 3, "best": 91.7},
  "checkpoint of a net and its average": lambda net: {
    "model": torch.compile(net).state_dict(),
    "model_ema": {"n_averaged": torch.tensor(1), **prefixed("module.", third_party.CifarNet(1).state_dict())},
    "optimizer": {"state": {}},
  },
  "checkpoint of the average": lambda net: {"state_dict_ema": net.state_dict(), "epoch": 3},
  "checkpoint in a checkpoint": lambda net: {
    "model": {"state_dict": prefixed("module.model._orig_mod.", net.state_dict())}
  },
}


@pytest.mark.parametrize("case", WRAPPED)
def test_wrapped_state_dicts_are_found(case, tmp_path):
  net = third_party.randomize_norms(third_party.CifarNet(1))
  torch.save(WRAPPED[case](net), tmp_path / "x.th")
  found = torch_files.read(tmp_path / "x.th")
  assert found.keys() == net.state_dict().keys()
  assert all(np.array_equal(found[name], value.numpy()) for name, value in net.state_dict().items())
  assert import_run.read("akamaster", tmp_path / "x.th", None).model.depth == 8


def test_an_average_that_is_left_out_is_reported(tmp_path, capsys):
  net = third_party.CifarNet(1)
  reported = []
  for case in WRAPPED:
    torch.save(WRAPPED[case](net), tmp_path / "x.th")
    torch_files.read(tmp_path / "x.th")
    if err := capsys.readouterr().err:
      assert err == f"{tmp_path / 'x.th'}: contains a network and an average of its weights; the average is left out\n"
      reported.append(case)
  assert reported == ["average beside the net", "checkpoint of a net and its average"]


@pytest.mark.parametrize(("classes", "name"), [(10, "cifar10"), (100, "cifar100"), (7, "npz")])
def test_the_data_set_of_a_cifar_network_follows_from_its_classes(classes, name):
  arrays = {key: value.numpy() for key, value in third_party.CifarNet(1, classes=classes).state_dict().items()}
  weights = akamaster.read(arrays)
  assert (weights.classes, weights.data.name) == (classes, name)


def test_prefixes_in_a_safetensors_file_are_removed(tmp_path):
  arrays = prefixed(
    "_orig_mod.module.", {name: value.numpy() for name, value in third_party.CifarNet(1).state_dict().items()}
  )
  torch_files.write(tmp_path / "x.safetensors", arrays)
  assert import_run.read("akamaster", tmp_path / "x.safetensors", None).model.depth == 8


def test_names_that_only_begin_like_a_prefix_are_kept(tmp_path):
  torch.save({"model.a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "x.th")
  assert torch_files.read(tmp_path / "x.th").keys() == {"model.a", "b"}


def test_option_a_is_exported_with_zeros_on_both_sides(tmp_path):
  """A network of resjax has its zeros after the channels; channels are reordered so that the logits are the same."""
  model = Model(depth=14)
  shapes = mapping.shapes(model, 10, (32, 32, 3))
  path = saved(third_party.randomize_norms(third_party.CifarNet(2)), tmp_path / "donor.th")
  donor = import_run.read("akamaster", path, None)
  weights = mapping.Weights(
    model, donor.data, donor.image_shape, donor.classes, donor.statistics, donor.variables, donor.mapped
  )
  assert shapes == mapping.shapes(donor.model, 10, (32, 32, 3))
  import_run.write(tmp_path / "run", weights, "a test")
  arrays = export_torch.state_dict(run_files.read(tmp_path / "run"))
  net = third_party.CifarNet(2)
  net.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
  images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
  expected = parity.torch_logits(net, images)
  assert parity.relative_distance(parity.logits(weights, images), expected) < 1e-4
  assert parity.relative_distance(parity.logits(donor, images), expected) > 0.1  # the order of channels matters


def saved(net, path):
  """Writes the state dict of a network and returns the path."""
  torch.save(net.state_dict(), path)
  return path
