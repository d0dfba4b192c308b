"""Reader of Caffe's files, without Caffe: the fields of its protocol buffers that contain weights."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from resjax.settings import ConfigError

_INT32, _INT64, _FLOAT, _DOUBLE, _STRING, _MESSAGE = (
  getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{name}")
  for name in ("INT32", "INT64", "FLOAT", "DOUBLE", "STRING", "MESSAGE")
)
# Messages and their fields as (number, type, whether repeated). Other fields of a file are ignored.
SCHEMA: dict[str, dict[str, tuple[int, Any, bool]]] = {
  "BlobShape": {"dim": (1, _INT64, True)},
  "BlobProto": {
    **{name: (number, _INT32, False) for number, name in enumerate(("num", "channels", "height", "width"), 1)},
    "data": (5, _FLOAT, True),
    "shape": (7, "BlobShape", False),
    "double_data": (8, _DOUBLE, True),
  },
  "LayerParameter": {"name": (1, _STRING, False), "type": (2, _STRING, False), "blobs": (7, "BlobProto", True)},
  "NetParameter": {"name": (1, _STRING, False), "layer": (100, "LayerParameter", True)},
}


class Layer(NamedTuple):
  """A layer with weights.

  Attributes:
    kind: Type of the layer, such as "Convolution" or "BatchNorm".
    blobs: Arrays of the layer, float32.
  """

  kind: str
  blobs: list[np.ndarray]


def read(path: Path) -> dict[str, Layer]:
  """Returns the layers of a .caffemodel that have weights, by name.

  Raises:
    ConfigError: The file does not exist, is damaged or is not a .caffemodel.
  """
  net = _parse(path, "NetParameter")
  layers = {layer.name: Layer(layer.type, [_array(path, blob) for blob in layer.blobs]) for layer in net.layer}
  found = {name: layer for name, layer in layers.items() if layer.blobs}
  if not found:
    raise ConfigError(f"{path}: not a .caffemodel, or one without weights")
  return found


def read_mean(path: Path) -> np.ndarray:
  """Returns the mean image of a .binaryproto, float32 [H, W, 3] in the order red, green, blue.

  The file has it as [1, 3, H, W] in the order blue, green, red.

  Raises:
    ConfigError: The file does not exist, is damaged or is not a mean image.
  """
  blob = _array(path, _parse(path, "BlobProto"))
  if blob.ndim not in (3, 4) or blob.shape[-3] != 3 or len(blob) not in (1, 3):
    raise ConfigError(f"{path}: not a mean image of three channels; its shape is {list(blob.shape)}")
  return np.ascontiguousarray(blob.reshape(blob.shape[-3:]).transpose(1, 2, 0)[..., ::-1])


@functools.cache
def messages() -> Mapping[str, type[message.Message]]:
  """Returns the classes of the messages of `SCHEMA`."""
  file = descriptor_pb2.FileDescriptorProto(name="weights.proto", package="weights", syntax="proto2")
  for name, fields in SCHEMA.items():
    declared = file.message_type.add(name=name)
    for field, (number, kind, repeated) in fields.items():
      added = declared.field.add(name=field, number=number, label=3 if repeated else 1)
      if isinstance(kind, str):
        added.type, added.type_name = _MESSAGE, f".weights.{kind}"
      else:
        added.type = kind
        added.options.packed = repeated and kind != _STRING
  pool = descriptor_pool.DescriptorPool()
  pool.Add(file)
  return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"weights.{name}")) for name in SCHEMA}


def _parse(path: Path, name: str) -> Any:
  if not path.is_file():
    raise ConfigError(f"{path}: no such file")
  found = messages()[name]()
  try:
    found.ParseFromString(path.read_bytes())
  except message.DecodeError as error:
    raise ConfigError(f"{path}: not a Caffe file, or truncated ({error})") from None
  return found


def _array(path: Path, blob: Any) -> np.ndarray:
  """Returns a blob as an array; in old files four fields instead of one give its shape."""
  shape = tuple(blob.shape.dim) if blob.HasField("shape") else (blob.num, blob.channels, blob.height, blob.width)
  values = np.array(blob.data or blob.double_data, np.float32)
  if values.size != np.prod(shape, dtype=np.int64):
    raise ConfigError(f"{path}: has {values.size} numbers for an array of shape {list(shape)}")
  return values.reshape(shape)
