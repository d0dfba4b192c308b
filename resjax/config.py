"""Every setting, once: frozen dataclasses whose defaults are the paper's CIFAR-10 recipe (Sec. 4.2).

Experiment files start from `default()`, a mutable `ConfigDict` with the same keys, which a sweep and the command line
override by dotted key. `freeze` turns it into the typed, checked `Config` that all other code reads.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import ml_collections

from resjax import settings
from resjax.depth import FAMILIES, DepthError, Net, Structure
from resjax.settings import ConfigError, Span, setting

MOST = 2**31 - 1  # integers have 32 bits on the devices
COUNT, POSITIVE, NOT_NEGATIVE, SHARE = Span(0, MOST), Span(1, MOST), Span(0.0), Span(0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Model:
  """The net (Sec. 3.2, 3.3)."""

  family: str = setting(
    "cifar",
    "which nets: Sec. 4.2 (three stages from 16 filters on), Table 1 (four, from 64 on), VGG, or dense layers only",
    allowed=("cifar", "imagenet", "vgg", "mlp"),
  )
  kind: str = setting("residual", "with shortcuts or without", allowed=("residual", "plain"))
  depth: int = setting(
    20,
    "weighted layers; CIFAR: 6n+2, bottlenecks 9n+2, single 3n+2; ImageNet: 18, 34, bottlenecks 50, 101, 152; "
    "VGG: 16, 19; MLP: 2n+2",
    allowed=POSITIVE,
  )
  blocks: tuple[int, ...] = setting(
    (),
    "blocks of each stage, for any number of stages, and depths that are not listed; (): the family's",
    allowed=POSITIVE,
  )
  block: str = setting(
    "basic",
    "basic: two 3x3 layers; bottleneck: 1x1, 3x3, 1x1; single: one 3x3 layer; dense: two fully connected layers",
    allowed=("basic", "bottleneck", "single", "dense"),
    paper={"cifar": "basic"},
  )
  width: int = setting(
    0,
    "filters of the first stage; each further one has twice as many; 0: the family's, 16, 64 or 128",
    allowed=COUNT,
    paper=0,
  )
  stem: str = setting(
    "auto",
    "first layers: one 3x3, or 7x7 of stride 2 and 3x3 max pooling of stride 2; auto: as in the family",
    allowed=("auto", "3x3", "7x7"),
    paper="auto",
  )
  pool_padding: str = setting(
    "symmetric",
    "of the stem's max pooling: one pixel on each side, or one behind, as the authors' released nets have it",
    allowed=("symmetric", "behind"),
  )
  shortcut: str = setting(
    "A",
    "A: zeros for new channels; B: projection where shapes change; C: projections everywhere; rezero: A, with a learnt "
    "gain from 0 on the branch; skipinit: the same, for nets without norms; fixup: another for them; gated: Highway's",
    allowed=("A", "B", "C", "rezero", "skipinit", "fixup", "gated"),
    paper={"cifar": "A"},
  )
  bottleneck_stride: str = setting(
    "1x1",
    "which layer of a bottleneck has stride 2: the first 1x1 (v1), or the 3x3 (v1.5)",
    allowed=("1x1", "3x3"),
    paper="1x1",
  )
  option_a_stride: str = setting(
    "subsample",
    "how an option-A shortcut halves a map: every second pixel, or the mean of 2x2",
    allowed=("subsample", "average"),
    paper="subsample",
  )
  option_a_zeros: str = setting(
    "end",
    "where an option-A shortcut adds channels of zeros: after the old ones, or half on each side",
    allowed=("end", "both"),
    paper="end",
  )
  preactivation: bool = setting(False, "norm and ReLU before each convolution", paper=False)
  padding: str = setting(
    "symmetric",
    "of 3x3 convolutions: one pixel on each side, or SAME, which at stride 2 pads one side only",
    allowed=("symmetric", "same"),
    paper="symmetric",
  )
  norm: str = setting(
    "batch",
    "batch norm after each convolution, or a bias in its place",
    allowed=("batch", "none"),
    paper={"cifar": "batch", "imagenet": "batch"},
  )
  zero_init_scale: bool = setting(
    False, "each block's last norm starts with scale 0, so that it starts as identity", paper=False
  )
  precision: str = setting(
    "float32",
    "of activations and convolutions; parameters, statistics and loss are float32",
    allowed=("float32", "bfloat16"),
    paper="float32",
  )
  norm_images: int = setting(
    0, "images whose statistics batch norm takes; 0: the whole batch; the paper's two GPUs: 64", allowed=COUNT, paper=64
  )
  norm_momentum: float = setting(0.9, "share of the old running statistics kept a step", allowed=SHARE)
  norm_epsilon: float = setting(1e-5, "added to the variance", allowed=NOT_NEGATIVE)

  def __post_init__(self) -> None:
    built_of, of_family = FAMILIES[self.family].built_of, f"in nets of model.family = {self.family!r}"
    if self.block not in built_of:
      raise ConfigError(f"model.block = {self.block!r}: must be one of {', '.join(built_of)} {of_family}")
    if self.family in ("vgg", "mlp") and self.stem != "auto":
      raise ConfigError(f"model.stem = {self.stem!r}: must be auto {of_family}")
    if self.family == "vgg" and self.preactivation:
      raise ConfigError(f"model.preactivation = True: must be False {of_family}")
    if self.norm != "none" and self.kind == "residual" and self.shortcut in ("skipinit", "fixup"):
      raise ConfigError(f"model.shortcut = {self.shortcut!r}: stands in for norms; needs model.norm = 'none'")
    if self.norm == "none" and self.zero_init_scale:
      raise ConfigError("model.zero_init_scale = True: needs norms; model.norm is 'none'")
    if self.shortcut == "fixup" and self.block == "single":
      raise ConfigError("model.shortcut = 'fixup': needs blocks of two layers or more; model.block is 'single'")
    try:
      _ = self.structure
    except DepthError as error:
      raise ConfigError(f"model.depth = {self.depth}: {error}") from None

  @property
  def structure(self) -> Structure:
    """What decides the layer table."""
    return Structure(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Structure)})

  def net(self, image_shape: tuple[int, int, int], classes: int) -> Net:
    """Returns the layer table for images (height, width, channels) of so many classes."""
    return Net(self.structure, image_shape, classes)


@dataclasses.dataclass(frozen=True)
class Data:
  """Images and what is done to them (Sec. 4.2; of image files: Sec. 3.4)."""

  name: str = setting(
    "cifar10",
    "the data set; folder: any folder of JPEG and PNG files, one folder a class, or Tiny ImageNet as it is published",
    allowed=("digits", "cifar10", "cifar100", "npz", "folder", "imagenet2012"),
    paper="cifar10",
  )
  path: str = setting(
    "",
    "CIFAR archive, or folder with it or its .bin files, empty: download; .npz file; image folder; "
    "folder with ImageNet's two archives, empty: prepared before",
  )
  checksum: str = setting(
    "published",
    "published: local files must be the published ones; any: only their size and labels are checked",
    allowed=("published", "any"),
  )
  validation_images: int = setting(
    0, "training images held out for validation; 5000 is the paper's 45k/5k split", allowed=COUNT
  )
  normalize: str = setting(
    "pixel_mean",
    "subtract the mean image, or per channel subtract the mean and divide by the deviation, the data's or those given",
    allowed=("pixel_mean", "channel", "given"),
    paper="pixel_mean",
  )
  mean: tuple[float, ...] = setting(
    (), "with normalize=given: subtracted from pixel / 255, a number a channel", allowed=SHARE
  )
  std: tuple[float, ...] = setting((), "with normalize=given: divided by, a number a channel", allowed=NOT_NEGATIVE)
  pad: int = setting(
    4, "pixels of zeros on each side before the random crop of an image that is held whole", allowed=COUNT, paper=4
  )
  mirror: bool = setting(True, "mirror half of the training images", paper=True)
  image_size: int = setting(
    224, "of image files: pixels of a side of the square that the net sees", allowed=Span(1, 4096), paper=224
  )
  resize: tuple[int, ...] = setting(
    (256, 480),
    "of image files: span of the shorter side, in pixels, before the random crop, decoded anew every epoch; "
    "at test the lower end and the centre. Empty: all images decoded once, to image_size, and held on the devices, "
    "where `pad` and `mirror` serve them as they do CIFAR",
    allowed=Span(1, 16384),
    paper=(256, 480),
  )
  lighting: float = setting(
    0.1,
    "of image files decoded anew: deviation of the random share of each principal component of colour",
    allowed=NOT_NEGATIVE,
    paper=0.1,
  )
  test_share: float = setting(
    0.1, "of an image folder without val/: share of the images tested on instead of trained on", allowed=SHARE
  )

  def __post_init__(self) -> None:
    for key, numbers in (("mean", self.mean), ("std", self.std)):
      if bool(numbers) != (self.normalize == "given"):
        must = "a number a channel" if self.normalize == "given" else "empty"
        raise ConfigError(f"data.{key} = {numbers}: with data.normalize = {self.normalize!r} it must be {must}")
    if len(self.mean) != len(self.std) or 0 in self.std:
      raise ConfigError(f"data.std = {self.std}: must be as many numbers as data.mean = {self.mean}, none of them 0")
    if self.resize and (len(self.resize) != 2 or not self.image_size <= self.resize[0] <= self.resize[1]):
      raise ConfigError(
        f"data.resize = {self.resize}: must be empty, or a shortest and a longest shorter side, "
        f"at least data.image_size = {self.image_size}"
      )


@dataclasses.dataclass(frozen=True)
class Train:
  """The solver (Sec. 4.2): SGD with momentum, a rate that drops, a warm-up for deep residual nets."""

  steps: int = setting(64_000, "optimizer steps", allowed=POSITIVE, paper=64_000)
  batch_size: int = setting(128, "images a step, over all devices", allowed=POSITIVE, paper=128)
  learning_rate: float = setting(0.1, "rate before the first drop", allowed=NOT_NEGATIVE, paper=0.1)
  drops: tuple[float, ...] = setting(
    (0.5, 0.75),
    "shares of `steps` after which the rate drops (32k and 48k of 64k)",
    allowed=SHARE,
    paper=(0.5, 0.75),
  )
  drop_factor: float = setting(0.1, "what each drop multiplies the rate with", allowed=SHARE, paper=0.1)
  momentum: float = setting(0.9, "of SGD", allowed=SHARE, paper=0.9)
  nesterov: bool = setting(False, "Nesterov's momentum", paper=False)
  weight_decay: float = setting(1e-4, "times the weights, added to the gradient", allowed=NOT_NEGATIVE, paper=1e-4)
  decay_norm_and_bias: bool = setting(True, "weight decay on norm scales and on biases, too")
  warmup: str = setting(
    "auto",
    "start at `warmup_rate`; auto: residual CIFAR nets of 110 layers or more",
    allowed=("auto", "on", "off"),
    paper="auto",
  )
  warmup_rate: float = setting(0.01, "rate during the warm-up", allowed=NOT_NEGATIVE, paper=0.01)
  warmup_error: float = setting(
    0.8, "the warm-up ends when the mean training error of its window is below", allowed=SHARE, paper=0.8
  )
  warmup_window: int = setting(
    100, "steps of that window; one batch of 128 has an error of 3.5 points", allowed=POSITIVE
  )


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """When and how the net is tested. Every image counts."""

  every: int = setting(1000, "steps between evaluations; 0: after the last step only", allowed=COUNT)
  batch_size: int = setting(512, "images a forward pass", allowed=POSITIVE)
  statistics: str = setting(
    "running",
    "of batch norm at test: running averages, or at the end averages over the training set",
    allowed=("running", "training_set"),
  )


@dataclasses.dataclass(frozen=True)
class Responses:
  """The strength of each layer's response (Fig. 7)."""

  every: int = setting(0, "steps between captures; 0: only at `steps` and the end", allowed=COUNT)
  steps: tuple[int, ...] = setting((), "steps at which to capture; 0: before the first", allowed=COUNT)
  final: bool = setting(True, "capture after the last step")
  source: str = setting("test", "which images", allowed=("train", "test"))
  images: int = setting(1024, "how many, from the first on; a multiple of `batch_size`", allowed=POSITIVE)
  batch_size: int = setting(512, "images a forward pass; batch statistics are over these", allowed=POSITIVE)
  mode: str = setting("running", "statistics of batch norm", allowed=("running", "batch"))
  first_conv: bool = setting(True, "count the first convolution")
  pooling: str = setting(
    "units", "deviation over all units of a layer, or the mean of per-channel ones", allowed=("units", "channels")
  )


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """What is kept of a run in progress."""

  every: int = setting(1000, "steps between saves; 0: after the last step only", allowed=COUNT)
  keep: int = setting(2, "newest checkpoints kept", allowed=POSITIVE)


@dataclasses.dataclass(frozen=True)
class Execution:
  """How a run is executed. Changes no id and no record, and results to rounding only."""

  devices: int = setting(0, "devices of the mesh; 0: all, on a CPU one a core", allowed=COUNT)
  unroll: int = setting(1, "blocks a turn of the loop over a stage's blocks; 1000: no loop", allowed=POSITIVE)
  remat: str = setting(
    "none",
    "compute again instead of keep: the insides of blocks, or of groups of sqrt(blocks) blocks",
    allowed=("none", "block", "group"),
  )
  together: int = setting(
    1,
    "runs trained as one program, where they differ in seed, rates and decay only",
    allowed=POSITIVE,
  )
  workers: int = setting(
    -1, "processes that decode images; 0: none but the run's own; -1: one a core", allowed=Span(-1, 1024)
  )
  log_every: int = setting(100, "steps between lines of the log", allowed=POSITIVE)


@dataclasses.dataclass(frozen=True)
class Config:
  """One run: one net, one data set, one seed."""

  seed: int = setting(0, "of the initial weights, the order of the images, crops and mirrors", allowed=COUNT)
  model: Model = dataclasses.field(default_factory=Model)
  data: Data = dataclasses.field(default_factory=Data)
  train: Train = dataclasses.field(default_factory=Train)
  evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)
  responses: Responses = dataclasses.field(default_factory=Responses)
  checkpoint: Checkpoint = dataclasses.field(default_factory=Checkpoint)
  execution: Execution = dataclasses.field(default_factory=Execution)

  def __post_init__(self) -> None:
    for key, size in (("train", self.train.batch_size), ("responses", self.responses.batch_size)):
      if self.model.norm_images and size % self.model.norm_images:
        raise ConfigError(f"model.norm_images = {self.model.norm_images}: must divide {key}.batch_size = {size}")
    if self.responses.images % self.responses.batch_size:
      raise ConfigError(
        f"responses.images = {self.responses.images}: must be a multiple of responses.batch_size = "
        f"{self.responses.batch_size}"
      )
    late = [step for step in self.responses.steps if step > self.train.steps]
    if late:
      raise ConfigError(f"responses.steps = {late[0]}: the run ends at train.steps = {self.train.steps}")

  @property
  def shortcut(self) -> str | None:
    """The shortcut's option, or None for a plain net, which has none."""
    return self.model.shortcut if self.model.kind == "residual" else None

  def to_dict(self) -> dict[str, Any]:
    """Returns the settings as nested dicts of plain values, as config.json holds them."""
    return json.loads(json.dumps(dataclasses.asdict(self)))

  @property
  def digest(self) -> str:
    """SHA-256 over all settings that a result depends on: everything but `execution`."""
    values = self.to_dict()
    del values["execution"]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

  def deviations(self) -> list[dict[str, Any]]:
    """Returns where the settings differ from the paper's, as `{name, paper, here}`."""
    here = settings.flatten(self.to_dict())
    found = []
    for key, field in settings.leaves(Config):
      said = settings.said(field, self.model.family)
      paper = list(said) if isinstance(said, tuple) else said
      if said is not settings.UNSAID and here[key] != paper:
        found.append({"name": key, "paper": paper, "here": here[key]})
    return found


def default() -> ml_collections.ConfigDict:
  """Returns the paper's CIFAR-10 recipe for a residual net of 20 layers, to be changed by an experiment."""
  return ml_collections.ConfigDict(dataclasses.asdict(Config()))


def freeze(values: Mapping[str, Any]) -> Config:
  """Returns the typed settings.

  Args:
    values: nested mappings, such as a ConfigDict's `to_dict()`.

  Raises:
    ConfigError: a key is unknown, a value has the wrong type or is not allowed, or two settings contradict each other.
  """
  return settings.freeze(Config, values)
