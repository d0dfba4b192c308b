"""Depth arithmetic: valid depths, stages, layer tables, parameters and multiply-adds. Does not use JAX.

A network is described by a table of its layers; parameters and multiply-adds are sums over that table. Tests compare it
with the Flax model, so that "110 layers" means that the model has 110 weighted layers.
"""

from resjax.depth.detector import DetectorNet
from resjax.depth.layer import Layer
from resjax.depth.net import PASSES_PER_STEP, Net
from resjax.depth.structure import BOTTLENECK_EXPANSION, FAMILIES, VGG_DENSE, DepthError, Stage, Structure

__all__ = [
  "BOTTLENECK_EXPANSION",
  "FAMILIES",
  "PASSES_PER_STEP",
  "VGG_DENSE",
  "DepthError",
  "DetectorNet",
  "Layer",
  "Net",
  "Stage",
  "Structure",
]
