"""Evaluation protocols computed one view at a time, step by step as they are defined."""

import functools

import cv2
import jax
import numpy as np

from resjax import models


def probabilities(net, view, mean=None):
  """Returns the probabilities of one view, float [height, width, 3] with values of 0 to 1, in a batch of its own."""
  statistics = net.input.statistics
  x = (view - (np.asarray(statistics.mean) if mean is None else mean)) / statistics.std
  return probabilities_of_normalized(net, x)


@functools.partial(jax.jit, static_argnums=0)
def apply(net, variables, images):
  return net.apply(variables, images, train=False)


def probabilities_of_normalized(net, x):
  """Returns the probabilities of one normalized view."""
  logits = np.asarray(apply(models.build(net.config.model, net.classes), net.variables, np.float32(x)[None]))
  exponentials = np.exp(logits[0] - logits[0].max())
  return exponentials / exponentials.sum()


def resize(image, height, width):
  shrinks = height * width < image.shape[0] * image.shape[1]
  return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def center_crop(image, height, width):
  top, left = int(0.5 * (image.shape[0] - height + 1)), int(0.5 * (image.shape[1] - width + 1))
  return image[top : top + height, left : left + width]


def reference(net, image, protocol):
  """Returns the probabilities of one image, computed step by step as the protocol is defined."""
  side, _, _ = net.input.image_shape
  resized_to = net.config.data.resize[0] if net.config.data.name == "folder" and net.config.data.resize else side
  shorter = min(image.shape[:2])
  if protocol == "multiscale":
    return multiscale_reference(net, image)
  if protocol == "single":
    own = round(shorter * side / resized_to)
    return probabilities(net, resize(center_crop(image, own, own), side, side) / 255)
  square = resize(center_crop(image, shorter, shorter), resized_to, resized_to)
  outputs = []
  for top, left in ((0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5)):
    if resized_to == side:
      pad, statistics = net.config.data.pad, net.input.statistics
      normalized = np.pad((square / 255 - statistics.mean) / statistics.std, ((pad, pad), (pad, pad), (0, 0)))
      row, column = int(top * 2 * pad), int(left * 2 * pad)
      crop = normalized[row : row + side, column : column + side]
      outputs += [probabilities_of_normalized(net, crop), probabilities_of_normalized(net, crop[:, ::-1])]
    else:
      row, column = int(top * (resized_to - side)), int(left * (resized_to - side))
      crop, mean = square[row : row + side, column : column + side] / 255, net.input.statistics.mean
      statistics = net.input.statistics
      normalized = (crop - mean) / statistics.std
      outputs += [probabilities_of_normalized(net, normalized), probabilities_of_normalized(net, normalized[:, ::-1])]
  return np.mean(outputs, axis=0)


def multiscale_reference(net, image):
  """Returns the probabilities of one image by the protocol multiscale."""
  side, _, _ = net.input.image_shape
  mean = np.asarray(net.input.statistics.mean).reshape(-1, 3).mean(0)
  stride = 32 if net.config.model.family == "imagenet" else 4
  shorter = min(image.shape[:2])
  image = limit_sides(image, 4 * shorter)
  outputs = []
  for scale in (224, 256, 384, 480, 640):
    factor = scale * side / 224 / shorter
    height, width = (max(round(length * factor / stride), 1) * stride for length in image.shape[:2])
    view = resize(image, height, width) / 255
    outputs += [probabilities(net, view, mean), probabilities(net, view[:, ::-1], mean)]
  return np.mean(outputs, axis=0)


def limit_sides(image, limit):
  """Returns the center of an image with sides of at most `limit` pixels."""
  height, width = image.shape[:2]
  top, left = max(height - limit, 0) // 2, max(width - limit, 0) // 2
  return image[top : top + limit, left : left + limit]
