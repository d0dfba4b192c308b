"""ImageNet networks against independent ones in PyTorch with the same weights: logits and input gradients.

Weights are random, and images are two parts of the photograph that comes with matplotlib. Version 1.5 is compared with
torchvision, version 1 with the authors' released networks, which are written here in the order of their Caffe layers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import cbook, image

from resjax import models
from resjax.config import Model
from resjax.depth import Net

torch = pytest.importorskip("torch")
parity = pytest.importorskip("tests.torch_parity")


def settings(depth: int, **others) -> Model:
  """Returns the architecture of torchvision at a depth, with other settings if given."""
  block = "basic" if depth < 50 else "bottleneck"
  return Model("imagenet", depth=depth, block=block, **{"shortcut": "B", "bottleneck_stride": "3x3"} | others)


def ours(model: Model, variables: dict, images: np.ndarray, weights: np.ndarray) -> tuple[jax.Array, jax.Array]:
  """Returns the logits, and the gradient of their weighted sum with respect to the images."""
  net = models.build(model, weights.shape[1])

  @jax.jit
  def run(variables, images):
    logits, transpose = jax.vjp(lambda images: net.apply(variables, images, train=False), images)
    return logits, transpose(jnp.asarray(weights))[0]

  return run(variables, images)


def photographs(side: int, dtype: str) -> np.ndarray:
  """Returns two overlapping parts of a photograph, [2, side, side, 3], values about -2 to 2."""
  whole = image.imread(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))[::2, ::2]
  height, width, _ = whole.shape
  parts = [whole[:side, :side], whole[height - side :, width - side :]]
  return ((np.stack(parts) / 255 - 0.5) / 0.25).astype(dtype)


def distances(model: Model, net, name, side: int, dtype: str, classes: int = 1000) -> tuple[float, float]:
  """Compares a network with one in PyTorch.

  Args:
    model: Architecture.
    net: PyTorch network.
    name: Function from the name of a layer of resjax to its name in the PyTorch network.
    side: Height and width of the images.
    dtype: Precision of both networks.
    classes: Number of classes.

  Returns:
    Relative distances of the logits and of their gradient by the images.
  """
  rng = np.random.default_rng(0)
  images = photographs(side, dtype)
  weights = rng.normal(size=(2, classes)).astype(dtype)
  theirs = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).requires_grad_()
  net = net.to(theirs.dtype)
  parity.calibrate_norms(net, theirs)
  logits = net(theirs)
  logits.backward(torch.from_numpy(weights))
  table = Net(model.structure, images.shape[1:], classes).table
  with jax.enable_x64(dtype == "float64"):
    variables = parity.variables(table, net.state_dict(), name)
    our_logits, our_gradient = ours(model, variables, images, weights)
  assert our_logits.dtype == dtype
  return (
    parity.relative_distance(our_logits, logits),
    parity.relative_distance(np.transpose(our_gradient, (0, 3, 1, 2)), theirs.grad),
  )


def torchvision_name(name: str) -> str:
  """Returns torchvision's name of a layer."""
  outside = {"stem/conv": "conv1", "stem/norm": "bn1", "head/dense": "fc"}
  if name in outside:
    return outside[name]
  stage, block, layer = name.split("/")
  layer = {"projection": "downsample.0", "projection_norm": "downsample.1"}.get(layer, layer.replace("norm", "bn"))
  return f"layer{stage.removeprefix('stage')}.{int(block.removeprefix('block')) - 1}.{layer}"


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_float64_results_are_those_of_torchvision(depth):
  """Results of up to 152 layers agree to 1e-8 by norm."""
  net = getattr(parity.torchvision_resnets(), f"resnet{depth}")()
  assert max(distances(settings(depth), net, torchvision_name, 64, "float64")) < 1e-8


@pytest.mark.parametrize("depth", [18, 50])
def test_float32_results_at_full_size_are_near_those_of_torchvision(depth):
  """Logits agree to 1e-4 by norm.

  The gradient is discontinuous where rounding changes the sign of the input of a ReLU. In both libraries the float32
  gradient differs from the float64 gradient by 1 to 3 %.
  """
  net = getattr(parity.torchvision_resnets(), f"resnet{depth}")()
  logits, gradient = distances(settings(depth), net, torchvision_name, 224, "float32")
  assert logits < 1e-4
  assert gradient < 0.1


class CaffeNet(torch.nn.Module):
  """The released networks: the first block of a stage has its stride on both 1x1 layers, and pooling rounds up."""

  def __init__(self, blocks: tuple[int, ...], classes: int):
    super().__init__()
    self.layers = torch.nn.ModuleDict()
    self.blocks, inputs = blocks, 64
    self.convolution("conv1", "conv1", 3, 64, 7, 2)
    for stage, count in enumerate(blocks, 2):
      width = 2 ** (stage + 4)
      for i in range(count):
        unit, stride = f"{stage}{'abcdefghijklmnopqrstuvwxyz'[i]}", 2 if stage > 2 and i == 0 else 1
        if i == 0:
          self.convolution(f"res{unit}_branch1", f"{unit}_branch1", inputs, 4 * width, 1, stride)
        self.convolution(f"res{unit}_branch2a", f"{unit}_branch2a", inputs, width, 1, stride)
        self.convolution(f"res{unit}_branch2b", f"{unit}_branch2b", width, width, 3, 1)
        self.convolution(f"res{unit}_branch2c", f"{unit}_branch2c", width, 4 * width, 1, 1)
        inputs = 4 * width
    self.layers["fc"] = torch.nn.Linear(inputs, classes)

  def convolution(self, name: str, tail: str, inputs: int, outputs: int, kernel: int, stride: int) -> None:
    self.layers[name] = torch.nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    self.layers[f"norm{tail}"] = torch.nn.BatchNorm2d(outputs)  # Caffe's BatchNorm and Scale

  def normalized(self, name: str, tail: str, x: torch.Tensor) -> torch.Tensor:
    return self.layers[f"norm{tail}"](self.layers[name](x))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = torch.relu(self.normalized("conv1", "conv1", x))
    x = torch.nn.functional.max_pool2d(x, 3, 2, ceil_mode=True)
    for stage, count in enumerate(self.blocks, 2):
      for i in range(count):
        unit = f"{stage}{'abcdefghijklmnopqrstuvwxyz'[i]}"
        shortcut = self.normalized(f"res{unit}_branch1", f"{unit}_branch1", x) if i == 0 else x
        y = torch.relu(self.normalized(f"res{unit}_branch2a", f"{unit}_branch2a", x))
        y = torch.relu(self.normalized(f"res{unit}_branch2b", f"{unit}_branch2b", y))
        y = self.normalized(f"res{unit}_branch2c", f"{unit}_branch2c", y)
        x = torch.relu(shortcut + y)
    return self.layers["fc"](x.mean((2, 3)))


def caffe_name(name: str) -> str:
  """Returns the name of a layer in `CaffeNet`."""
  outside = {"stem/conv": "layers.conv1", "stem/norm": "layers.normconv1", "head/dense": "layers.fc"}
  if name in outside:
    return outside[name]
  stage, block, layer = name.split("/")
  branch = {"conv1": "2a", "conv2": "2b", "conv3": "2c", "projection": "1", "norm1": "2a", "norm2": "2b", "norm3": "2c"}
  unit = f"{int(stage.removeprefix('stage')) + 1}{'?abcdefghijklmnopqrstuvwxyz'[int(block.removeprefix('block'))]}"
  tail = f"{unit}_branch{branch.get(layer, '1')}"
  return f"layers.norm{tail}" if "norm" in layer else f"layers.res{tail}"


@pytest.mark.parametrize("side", [64, 75])
def test_version_1_has_the_results_of_the_caffe_layers(side):
  """At 75 pixels, sides are odd, so that pooling that rounds up has another window."""
  net = CaffeNet((3, 4, 6, 3), 10)
  model = settings(50, bottleneck_stride="1x1", pool_padding="behind")
  assert max(distances(model, net, caffe_name, side, "float64", classes=10)) < 1e-8


def test_the_position_of_the_stride_in_a_bottleneck_changes_the_logits():
  """The comparisons above would therefore detect a wrong stride."""
  net = CaffeNet((3, 4, 6, 3), 10)
  model = settings(50, bottleneck_stride="3x3", pool_padding="behind")
  assert min(distances(model, net, caffe_name, 64, "float64", classes=10)) > 1e-2
