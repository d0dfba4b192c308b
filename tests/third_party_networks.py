"""Small networks with random weights, defined as in other projects and independently of resjax."""

import numpy as np
import torch
from google.protobuf import message
from torch import nn
from torch.nn import functional

from resjax.weights import caffe_files


class CifarBlock(nn.Module):
  """Block of two 3x3 layers with option A as in akamaster's code, or with a projection.

  Option A takes every second pixel and adds zeros on both sides of the channels.
  """

  def __init__(self, inputs: int, outputs: int, projects: bool):
    super().__init__()
    stride = 1 if inputs == outputs else 2
    self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(outputs)
    self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(outputs)
    self.new = (outputs - inputs) // 2
    if projects and stride == 2:
      self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
    if hasattr(self, "shortcut"):
      x = self.shortcut(x)
    elif self.new:
      x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.new, self.new))
    return torch.relu(y + x)


class CifarNet(nn.Module):
  """CIFAR network with the parameter names of akamaster's code."""

  def __init__(self, blocks: int, projects: bool = False, classes: int = 10):
    super().__init__()
    self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
    widths = (16, 16, 32, 64)
    for stage in (1, 2, 3):
      first = CifarBlock(widths[stage - 1], widths[stage], projects)
      rest = [CifarBlock(widths[stage], widths[stage], projects) for _ in range(blocks - 1)]
      setattr(self, f"layer{stage}", nn.Sequential(first, *rest))
    self.linear = nn.Linear(64, classes)
    self.eval()

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    x = torch.relu(self.bn1(self.conv1(x)))
    x = self.layer3(self.layer2(self.layer1(x)))
    return self.linear(x.mean((2, 3)))


def randomize_norms(net: nn.Module, seed: int = 0) -> nn.Module:
  """Gives all batch norms random scales, shifts and running statistics; returns the network."""
  torch.manual_seed(seed)
  for module in net.modules():
    if isinstance(module, nn.BatchNorm2d):
      nn.init.uniform_(module.weight, 0.5, 1.5)
      nn.init.normal_(module.bias, 0, 0.3)
      nn.init.normal_(module.running_mean, 0, 0.3)
      nn.init.uniform_(module.running_var, 0.5, 1.5)
  return net


def blob(array: np.ndarray, old: bool = False) -> message.Message:
  """Returns an array as a BlobProto of Caffe; `old` blobs have four sizes instead of a shape."""
  proto = caffe_files.messages()["BlobProto"](data=array.astype(np.float32).ravel())
  if old:
    proto.num, proto.channels, proto.height, proto.width = (1,) * (4 - array.ndim) + array.shape
  else:
    proto.shape.dim.extend(array.shape)
  return proto


class CaffeNet:
  """Bottleneck network with the order and the names of the authors' released Caffe networks."""

  def __init__(self, blocks: tuple[int, ...], width: int, classes: int, old: bool = False):
    self.blocks, self.old = blocks, old
    self.rng = np.random.default_rng(0)
    self.layers: dict[str, tuple[str, list[np.ndarray]]] = {}
    self.convolution("conv1", "bn_conv1", 3, width, 7, biased=True)
    inputs = width
    for stage, units in enumerate(self.units(), 2):
      filters = width * 2 ** (stage - 2)
      for i, unit in enumerate(units):
        if i == 0:
          self.convolution(f"res{unit}_branch1", f"bn{unit}_branch1", inputs, 4 * filters, 1)
        self.convolution(f"res{unit}_branch2a", f"bn{unit}_branch2a", inputs, filters, 1)
        self.convolution(f"res{unit}_branch2b", f"bn{unit}_branch2b", filters, filters, 3)
        self.convolution(f"res{unit}_branch2c", f"bn{unit}_branch2c", filters, 4 * filters, 1)
        inputs = 4 * filters
    dense = self.rng.normal(0, inputs**-0.5, (classes, inputs)), self.rng.normal(size=classes)
    self.layers["fc1000"] = ("InnerProduct", list(dense))

  def units(self) -> list[list[str]]:
    """Returns the names of the blocks of each stage: letters, or numbers in stages of more than four blocks."""
    return [
      [f"{stage}a", *(f"{stage}b{i}" for i in range(1, count))]
      if count > 4
      else [f"{stage}{c}" for c in "abcd"[:count]]
      for stage, count in enumerate(self.blocks, 2)
    ]

  def convolution(self, name: str, norm: str, inputs: int, outputs: int, kernel: int, biased: bool = False) -> None:
    rng, fan_in = self.rng, inputs * kernel**2
    # The inputs of the first layer are pixels of 0 to 255, so its norm has large statistics.
    scale = 100.0 if name == "conv1" else 1.0
    weight = rng.normal(0, fan_in**-0.5, (outputs, inputs, kernel, kernel))
    self.layers[name] = ("Convolution", [weight, scale * rng.normal(size=outputs)] if biased else [weight])
    count = np.array([999.98])
    moments = [999.98 * scale * rng.normal(0, 0.3, outputs), 999.98 * scale**2 * rng.uniform(0.5, 1.5, outputs)]
    self.layers[norm] = ("BatchNorm", [*moments, count])
    self.layers[norm.replace("bn", "scale")] = ("Scale", [rng.uniform(0.5, 1.5, outputs), rng.normal(0, 0.3, outputs)])

  def caffemodel(self) -> bytes:
    """Returns the content of the .caffemodel file, which also contains a layer without weights."""
    net = caffe_files.messages()["NetParameter"](name="a net")
    net.layer.add(name="data", type="Input")
    for name, (kind, arrays) in self.layers.items():
      net.layer.add(name=name, type=kind, blobs=[blob(array, self.old) for array in arrays])
    return net.SerializeToString()

  def __call__(self, pixels: np.ndarray) -> np.ndarray:
    """Returns the logits, computed layer by layer.

    Args:
      pixels: Images minus the mean, [batch, 3, height, width], with channels in the order blue, green, red.
    """
    with torch.no_grad():
      x = torch.relu(self.normalized("conv1", "bn_conv1", torch.from_numpy(pixels), 2))
      x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
      for stage, units in enumerate(self.units(), 2):
        for i, unit in enumerate(units):
          stride = 2 if i == 0 and stage > 2 else 1
          main, shortcut = x, x
          for branch, step in (("2a", stride), ("2b", 1), ("2c", 1)):
            main = self.normalized(f"res{unit}_branch{branch}", f"bn{unit}_branch{branch}", main, step)
            main = main if branch == "2c" else torch.relu(main)
          if i == 0:
            shortcut = self.normalized(f"res{unit}_branch1", f"bn{unit}_branch1", x, stride)
          x = torch.relu(main + shortcut)
      weight, bias = self.layers["fc1000"][1]
      return x.mean((2, 3)).numpy() @ weight.T + bias

  def normalized(self, name: str, norm: str, x: torch.Tensor, stride: int) -> torch.Tensor:
    weight, *bias = map(torch.from_numpy, self.layers[name][1])
    y = functional.conv2d(x, weight, bias[0] if bias else None, stride, weight.shape[-1] // 2)
    mean, var, count = map(torch.from_numpy, self.layers[norm][1])
    scale, shift = map(torch.from_numpy, self.layers[norm.replace("bn", "scale")][1])
    return functional.batch_norm(y, mean / count, var / count, scale, shift, eps=1e-5)
