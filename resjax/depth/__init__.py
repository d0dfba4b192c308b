"""Depth arithmetic: legal depths, stages, layer tables, parameters and multiply-adds. No JAX.

A net is described once, as a table of layers; parameters and multiply-adds are sums over that table. The built Flax
model is held against it by the tests, so that "110 layers" means 110 weighted layers that are really there.
"""

from resjax.depth.layer import Layer
from resjax.depth.net import Net
from resjax.depth.structure import BOTTLENECK_EXPANSION, FAMILIES, VGG_DENSE, DepthError, Stage, Structure

__all__ = ["BOTTLENECK_EXPANSION", "FAMILIES", "VGG_DENSE", "DepthError", "Layer", "Net", "Stage", "Structure"]
