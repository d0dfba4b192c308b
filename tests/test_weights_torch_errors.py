"""Files of PyTorch weights that are damaged or are no state dicts: errors of one line, and no code is run."""

import pickle

import pytest

from resjax.settings import ConfigError
from resjax.weights import import_run, torch_files

torch = pytest.importorskip("torch")
third_party = pytest.importorskip("tests.third_party_networks")


class Dangerous:
  def __reduce__(self):
    return print, ("this ran",)


def damages(state):
  """Returns functions that damage a state dict, by the kind of damage."""
  return {
    "missing": lambda: state.pop("layer2.0.conv1.weight"),
    "unexpected": lambda: state.update({"layer1.0.extra.weight": torch.zeros(3)}),
    "shape": lambda: state.update({"bn1.bias": torch.zeros(8)}),
    "quantized": lambda: state.update({"linear.bias": torch.zeros(10, dtype=torch.int8)}),
    "nan": lambda: state["linear.bias"].fill_(float("nan")),
    "gap": lambda: [state.pop(name) for name in list(state) if name.startswith("layer2.0.")],
    "stages": lambda: [state.pop(name) for name in list(state) if name.startswith("layer3.")],
    "other project": lambda: state.update({f"fc.{key}": state.pop(f"linear.{key}") for key in ("weight", "bias")}),
  }


@pytest.mark.parametrize(
  ("damage", "said"),
  [
    ("missing", "missing: layer2.0.conv1.weight"),
    ("unexpected", "unexpected: layer1.0.extra.weight"),
    ("shape", r"wrong: bn1.bias is \[8\], must be \[16\]"),
    ("quantized", "wrong: linear.bias has the dtype int8, must be floating-point"),
    ("nan", "wrong: linear.bias is not finite"),
    ("gap", "has no layer2.0, but has the blocks after it"),
    ("stages", "has 2, 2 basic blocks; CIFAR networks of this project have 3 stages"),
    ("other project", "has no linear.weight; its names are .*fc.weight"),
  ],
)
def test_damaged_state_dicts_are_errors(damage, said, tmp_path):
  state = third_party.CifarNet(2).state_dict()
  damages(state)[damage]()
  torch.save(state, tmp_path / "x.th")
  with pytest.raises(ConfigError, match=rf"^{tmp_path}/x.th: {said}"):
    import_run.read("akamaster", tmp_path / "x.th", None)


def write_truncated(path):
  """Writes a truncated file."""
  torch.save(third_party.CifarNet(1).state_dict(), path)
  path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("suffix", [".th", ".safetensors"])
@pytest.mark.parametrize(
  ("write", "said"),
  [
    (lambda path: None, "no such file"),
    (write_truncated, "damaged|not a"),
    (lambda path: path.write_bytes(b""), "damaged|not a"),
    (lambda path: path.write_text("no weights"), "contains more than weights|damaged|not a"),
    (lambda path: path.write_bytes(pickle.dumps(Dangerous())), "contains more than weights|not a"),
    (lambda path: torch.save({"a": Dangerous()}, path), "contains more than weights|not a"),
    (lambda path: torch.save([torch.zeros(3)], path), "contains no state dict|not a"),
  ],
  ids=["absent", "cut", "empty", "text", "pickle", "code", "list"],
)
def test_files_that_are_no_state_dicts_are_refused_and_run_no_code(write, said, suffix, tmp_path, capfd):
  write(tmp_path / f"x{suffix}")
  with pytest.raises(ConfigError, match=said) as refusal:
    torch_files.read(tmp_path / f"x{suffix}")
  assert "\n" not in str(refusal.value)
  assert "this ran" not in capfd.readouterr().out


def test_the_error_of_a_file_with_more_than_weights_says_what_to_save(tmp_path):
  torch.save({"a": Dangerous()}, tmp_path / "x.th")
  with pytest.raises(ConfigError, match=r"save its state_dict alone: torch\.save\(net\.state_dict\(\), FILE\)$"):
    torch_files.read(tmp_path / "x.th")
