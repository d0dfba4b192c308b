"""Weights of PyTorch's projects: the same logits here as there, there and back, and nothing taken that does not fit."""

import pickle

import jax
import numpy as np
import pytest

from resjax import models
from resjax.config import Model
from resjax.data.augment import normalize
from resjax.models import layout
from resjax.settings import ConfigError
from resjax.train import run_files
from resjax.weights import export_torch, import_run, mapping, torch_files

torch = pytest.importorskip("torch")
foreign = pytest.importorskip("tests.third_party_networks")
parity = pytest.importorskip("tests.torch_parity")


def logits(weights, images):
  """Returns what our net gives for uint8 images."""
  variables = {name: layout.stacked(tree) for name, tree in weights.variables.items()}
  net = models.build(weights.model, weights.classes)
  return jax.jit(lambda v, x: net.apply(v, normalize(x, weights.statistics), train=False))(variables, images)


def theirs(net, images, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)):
  """Returns what their net gives, with the normalisation their project writes."""
  x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 255
  with torch.no_grad():
    return net((x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])


def small_imagenet(block: str):
  """A net of torchvision's class with one or two blocks a stage."""
  resnet = parity.torchvision_resnets()
  kind = {"basic": resnet.BasicBlock, "bottleneck": resnet.Bottleneck}[block]
  return resnet.ResNet(kind, [2, 1, 1, 2], num_classes=7)


NETS = {
  "A": ("akamaster", lambda: foreign.CifarNet(2), 32),
  "B": ("akamaster", lambda: foreign.CifarNet(1, projects=True, classes=7), 32),
  "basic": ("torchvision", lambda: small_imagenet("basic"), 64),
  "bottleneck": ("torchvision", lambda: small_imagenet("bottleneck"), 64),
}


@pytest.fixture(params=NETS)
def case(request, tmp_path):
  project, make, side = NETS[request.param]
  net = foreign.randomize(make()).eval()
  path = tmp_path / "net.pth"
  torch.save(net.state_dict(), path)
  return project, net, path, np.random.default_rng(0).integers(0, 256, (4, side, side, 3), np.uint8)


def test_gives_their_logits(case):
  """float32 in two libraries, through at most 20 layers: 1e-4 by norm."""
  project, net, path, images = case
  found = logits(import_run.read(project, path, None), images)
  assert parity.relative_distance(found, theirs(net, images)) < 1e-4


def test_there_and_back(case, tmp_path):
  """The state dict that is written is the one that was read, to the bit."""
  project, net, path, _ = case
  import_run.write(tmp_path / "run", import_run.read(project, path, None), "a test")
  written = export_torch.state_dict(run_files.read(tmp_path / "run"))
  assert {name: value.shape for name, value in written.items()} == {
    name: tuple(value.shape) for name, value in net.state_dict().items()
  }
  for name, value in net.state_dict().items():
    assert np.array_equal(written[name], value.numpy()), name


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_there_and_back(suffix, tmp_path):
  arrays = {"a.weight": np.arange(6.0, dtype=np.float32).reshape(2, 3), "a.num_batches_tracked": np.array(3)}
  torch_files.write(tmp_path / f"x{suffix}", arrays)
  found = torch_files.read(tmp_path / f"x{suffix}")
  assert all(np.array_equal(found[name], array) for name, array in arrays.items()) and len(found) == 2
  with pytest.raises(ConfigError, match="exists; choose another --out"):
    torch_files.write(tmp_path / f"x{suffix}", arrays)


def test_half_precision(tmp_path):
  torch.save({"a.weight": torch.arange(4.0).half()}, tmp_path / "x.th")
  found = torch_files.read(tmp_path / "x.th")
  assert found["a.weight"].tolist() == [0, 1, 2, 3] and found["a.weight"].dtype == np.float32


class Holder(torch.nn.Module):
  """A net in an attribute, as training frameworks have it."""

  def __init__(self, net):
    super().__init__()
    self.model = net


def prefixed(prefix, state):
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
    **prefixed("online_model.", {name: value * 0 for name, value in net.state_dict().items()}),
    **prefixed("ema_model.", net.state_dict()),
  },
  "checkpoint": lambda net: {"state_dict": net.state_dict(), "epoch": 3, "best": 91.7},
  "checkpoint of a net and its average": lambda net: {
    "model": torch.compile(net).state_dict(),
    "model_ema": {"n_averaged": torch.tensor(1), **prefixed("module.", foreign.CifarNet(1).state_dict())},
    "optimizer": {"state": {}},
  },
  "checkpoint of the average": lambda net: {"state_dict_ema": net.state_dict(), "epoch": 3},
  "checkpoint in a checkpoint": lambda net: {
    "model": {"state_dict": prefixed("module.model._orig_mod.", net.state_dict())}
  },
}


@pytest.mark.parametrize("way", WRAPPED)
def test_wrappers_in_any_nesting(way, tmp_path):
  """Whatever is around a state dict, its arrays are found, and the net can be read."""
  net = foreign.randomize(foreign.CifarNet(1))
  torch.save(WRAPPED[way](net), tmp_path / "x.th")
  found = torch_files.read(tmp_path / "x.th")
  assert found.keys() == net.state_dict().keys()
  assert all(np.array_equal(found[name], value.numpy()) for name, value in net.state_dict().items())
  assert import_run.read("akamaster", tmp_path / "x.th", None).model.depth == 8


def test_prefixes_in_a_safetensors_file(tmp_path):
  arrays = prefixed(
    "_orig_mod.module.", {name: value.numpy() for name, value in foreign.CifarNet(1).state_dict().items()}
  )
  torch_files.write(tmp_path / "x.safetensors", arrays)
  assert import_run.read("akamaster", tmp_path / "x.safetensors", None).model.depth == 8


def test_a_name_that_begins_like_a_prefix_is_kept(tmp_path):
  torch.save({"model.a": torch.zeros(1), "b": torch.zeros(1)}, tmp_path / "x.th")
  assert torch_files.read(tmp_path / "x.th").keys() == {"model.a", "b"}


def test_zeros_behind_become_zeros_on_both_sides(tmp_path):
  """A net trained here with option A as the paper says it gives the same logits in the other project's code."""
  model = Model(depth=14)
  shapes = mapping.shapes(model, 10, (32, 32, 3))
  donor = import_run.read("akamaster", saved(foreign.randomize(foreign.CifarNet(2)), tmp_path / "donor.th"), None)
  weights = mapping.Weights(
    model, donor.data, donor.image_shape, donor.classes, donor.statistics, donor.variables, donor.mapped
  )
  assert shapes == mapping.shapes(donor.model, 10, (32, 32, 3))
  import_run.write(tmp_path / "run", weights, "a test")
  arrays = export_torch.state_dict(run_files.read(tmp_path / "run"))
  net = foreign.CifarNet(2)
  net.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
  images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
  assert parity.relative_distance(logits(weights, images), theirs(net, images)) < 1e-4
  assert parity.relative_distance(logits(donor, images), theirs(net, images)) > 0.1  # the order matters


def saved(net, path):
  torch.save(net.state_dict(), path)
  return path


class Dangerous:
  def __reduce__(self):
    return print, ("this ran",)


def ways(state):
  """Returns what can be wrong with a state dict."""
  return {
    "missing": lambda: state.pop("layer2.0.conv1.weight"),
    "unexpected": lambda: state.update({"layer1.0.extra.weight": torch.zeros(3)}),
    "shape": lambda: state.update({"bn1.bias": torch.zeros(8)}),
    "nan": lambda: state["linear.bias"].fill_(float("nan")),
    "gap": lambda: [state.pop(name) for name in list(state) if name.startswith("layer2.0.")],
    "stages": lambda: [state.pop(name) for name in list(state) if name.startswith("layer3.")],
    "other project": lambda: state.update({f"fc.{key}": state.pop(f"linear.{key}") for key in ("weight", "bias")}),
  }


@pytest.mark.parametrize(
  ("way", "said"),
  [
    ("missing", "missing: layer2.0.conv1.weight"),
    ("unexpected", "unexpected: layer1.0.extra.weight"),
    ("shape", r"wrong: bn1.bias is \[8\], must be \[16\]"),
    ("nan", "wrong: linear.bias is not finite"),
    ("gap", "has no layer2.0, but has the blocks after it"),
    ("stages", "has 2, 2 basic blocks; CIFAR networks of this project have 3 stages"),
    ("other project", "has no linear.weight; its names are .*fc.weight"),
  ],
)
def test_what_does_not_fit_is_named(way, said, tmp_path):
  state = foreign.CifarNet(2).state_dict()
  ways(state)[way]()
  torch.save(state, tmp_path / "x.th")
  with pytest.raises(ConfigError, match=rf"^{tmp_path}/x.th: {said}"):
    import_run.read("akamaster", tmp_path / "x.th", None)


def write_cut(path):
  torch.save(foreign.CifarNet(1).state_dict(), path)
  path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("suffix", [".th", ".safetensors"])
@pytest.mark.parametrize(
  ("write", "said"),
  [
    (lambda path: None, "no such file"),
    (write_cut, "damaged|not a"),
    (lambda path: path.write_bytes(b""), "damaged|not a"),
    (lambda path: path.write_text("no weights"), "contains more than weights|damaged|not a"),
    (lambda path: path.write_bytes(pickle.dumps(Dangerous())), "contains more than weights|not a"),
    (lambda path: torch.save({"a": Dangerous()}, path), "contains more than weights|not a"),
    (lambda path: torch.save([torch.zeros(3)], path), "contains no state dict|not a"),
  ],
  ids=["absent", "cut", "empty", "text", "pickle", "code", "list"],
)
def test_other_files_are_refused_and_run_no_code(write, said, suffix, tmp_path, capfd):
  write(tmp_path / f"x{suffix}")
  with pytest.raises(ConfigError, match=said) as refusal:
    torch_files.read(tmp_path / f"x{suffix}")
  assert "\n" not in str(refusal.value)
  assert "this ran" not in capfd.readouterr().out


@pytest.mark.parametrize(
  "change",
  [
    {"preactivation": True},
    {"kind": "plain"},
    {"padding": "same"},
    {"option_a_stride": "average"},
    {"shortcut": "C"},
    {"shortcut": "half"},
    {"shortcut": "rezero"},
    {"branch_scale": 0.5},
    {"survival": 0.5},
    {"norm": "layer"},
  ],
)
def test_nets_that_pytorch_projects_cannot_compute_are_not_written(change):
  with pytest.raises(ConfigError, match=rf"^model.{next(iter(change))} = "):
    export_torch.check(Model(**change))


def test_option_a_is_not_written_for_torchvision():
  with pytest.raises(ConfigError, match=r"^model.shortcut = 'A': must be B to be exported"):
    export_torch.check(Model(family="imagenet", depth=18, shortcut="A"))


def test_v1_is_not_written_as_v15():
  with pytest.raises(ConfigError, match=r"model.bottleneck_stride = '1x1'"):
    export_torch.check(Model(family="imagenet", depth=50, block="bottleneck", shortcut="B"))
