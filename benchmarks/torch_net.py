"""Residual networks for CIFAR in PyTorch, for comparisons."""

import torch
from torch import nn
from torch.nn import functional


class Block(nn.Module):
  """A basic block with an option-A shortcut."""

  def __init__(self, inputs: int, outputs: int, stride: int):
    super().__init__()
    self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    self.norm1 = nn.BatchNorm2d(outputs)
    self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
    self.norm2 = nn.BatchNorm2d(outputs)
    self.stride, self.new = stride, outputs - inputs

  def forward(self, x: torch.Tensor) -> torch.Tensor:
    """Maps [B, C, H, W] to [B, outputs, H / stride, W / stride]."""
    y = functional.relu(self.norm1(self.conv1(x)))
    y = self.norm2(self.conv2(y))
    if self.stride != 1:
      x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.new))
    return functional.relu(y + x)


def resnet(depth: int) -> nn.Module:
  """Returns the residual CIFAR net of 6n+2 layers."""
  layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
  channels = 16
  for width in (16, 32, 64):
    for i in range((depth - 2) // 6):
      layers.append(Block(channels, width, 2 if width > 16 and i == 0 else 1))
      channels = width
  return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
