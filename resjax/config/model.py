"""Settings of the network (Sec. 3.2, 3.3, 4.2)."""

import dataclasses

from resjax.depth import FAMILIES, DepthError, Net, Structure
from resjax.settings import COUNT, FRACTION, NON_NEGATIVE, POSITIVE, ConfigError, Range, setting


@dataclasses.dataclass(frozen=True)
class Model:
  """The network (Sec. 3.2, 3.3)."""

  family: str = setting(
    "cifar",
    "which nets: Sec. 4.2 (three stages from 16 filters on), Table 1 (four, from 64 on), VGG, or dense layers only",
    allowed=("cifar", "imagenet", "vgg", "mlp"),
  )
  kind: str = setting("residual", "network with shortcuts (residual) or without (plain)", allowed=("residual", "plain"))
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
    "padding of the stem's max pooling: one pixel on each side, or at the end, as in the authors' released networks",
    allowed=("symmetric", "behind"),
  )
  shortcut: str = setting(
    "A",
    "A: zeros for new channels; B: projection where shapes change; C: projections everywhere; rezero: A, with a learnt "
    "gain from 0 on the branch; skipinit: the same, for nets without norms; fixup: A with Fixup's scalar biases and "
    "factors, initial weights and rates; gated: Highway's; half: 0.5 x + F; mean: 0.5 x + 0.5 F; gate: (1 - g) x + F; "
    "exclusive_gate: (1 - g) x + g F, g the sigmoid of a 1x1 convolution of x; dropout: F plus x with half of its "
    "values set to zero, at test 0.5 x + F",
    allowed=(
      "A",
      "B",
      "C",
      "rezero",
      "skipinit",
      "fixup",
      "gated",
      "half",
      "mean",
      "gate",
      "exclusive_gate",
      "dropout",
    ),
    paper={"cifar": "A"},
  )
  gate_bias: float = setting(
    -6.0,
    "initial bias of the gates of the shortcuts gate and exclusive_gate; a negative one keeps most of the input",
    allowed=Range(-20.0, 20.0),
    later=True,
  )
  bottleneck_stride: str = setting(
    "1x1",
    "which layer of a bottleneck has stride 2: the first 1x1 (v1), or the 3x3 (v1.5)",
    allowed=("1x1", "3x3"),
    paper="1x1",
  )
  option_a_stride: str = setting(
    "subsample",
    "how a shortcut without weights halves a feature map: every second pixel, or the mean of 2x2",
    allowed=("subsample", "average"),
    paper="subsample",
  )
  option_a_zeros: str = setting(
    "end",
    "where an option-A shortcut adds channels of zeros: after the old ones, or half on each side",
    allowed=("end", "both"),
    paper="end",
  )
  preactivation: bool = setting(False, "norm and activation before each convolution", paper=False)
  padding: str = setting(
    "symmetric",
    "padding of 3x3 convolutions: one pixel on each side, or SAME, which at stride 2 pads one side only",
    allowed=("symmetric", "same"),
    paper="symmetric",
  )
  norm: str = setting(
    "batch",
    "batch: batch norm after each convolution; layer: layer norm, over the channels of each pixel; none: a bias",
    allowed=("batch", "none", "layer"),
    paper={"cifar": "batch", "imagenet": "batch"},
  )
  activation: str = setting(
    "relu",
    "activation function after each norm; leaky_relu: of slope 0.01; tailored: leaky ReLU with the slope at which two "
    "uncorrelated images have a correlation of 0.9 after all layers, for plain networks",
    allowed=("relu", "sigmoid", "tanh", "leaky_relu", "tailored"),
    paper="relu",
  )
  zero_init_scale: bool = setting(
    False, "each block's last norm starts with scale 0, so that it starts as identity", paper=False
  )
  branch_scale: float = setting(
    0.0,
    "a: each block adds L^-a F(x) to its shortcut, L blocks in the network",
    allowed=Range(0.0, 4.0),
    paper=0.0,
    later=True,
  )
  initialization: str = setting(
    "he",
    "kernels in blocks and first layer; he: normal of variance 2 / fan_in; depth: the same, divided by the number of "
    "blocks L in the last layer of each branch, which a norm behind that layer undoes; orthogonal: at the critical "
    "variance of the activation, for tanh with random biases; delta: the same in the center of the kernel, 0 elsewhere",
    allowed=("he", "depth", "orthogonal", "delta"),
    paper="he",
    later=True,
  )
  survival: float = setting(
    1.0,
    "stochastic depth: probability that a training step keeps the last block; block b of L is kept with probability "
    "1 - b / L (1 - survival), by which its branch is multiplied at test; 1: all are kept",
    allowed=FRACTION,
    paper=1.0,
    later=True,
  )
  precision: str = setting(
    "float32",
    "precision of activations and convolutions; parameters, statistics and loss are float32",
    allowed=("float32", "bfloat16"),
    paper="float32",
  )
  norm_images: int = setting(
    0,
    "images over which batch norm takes statistics; 0: the whole batch; 64: as on the paper's two GPUs",
    allowed=COUNT,
    paper={"cifar": 64},
  )
  norm_momentum: float = setting(0.9, "fraction of the old running statistics that each step keeps", allowed=FRACTION)
  norm_epsilon: float = setting(1e-5, "added to the variance", allowed=NON_NEGATIVE)

  def __post_init__(self) -> None:
    block_types, of_family = FAMILIES[self.family].block_types, f"in nets of model.family = {self.family!r}"
    if self.block not in block_types:
      raise ConfigError(f"model.block = {self.block!r}: must be one of {', '.join(block_types)} {of_family}")
    if self.family in ("vgg", "mlp") and self.stem != "auto":
      raise ConfigError(f"model.stem = {self.stem!r}: must be auto {of_family}")
    if self.family == "vgg" and self.preactivation:
      raise ConfigError(f"model.preactivation = True: must be False {of_family}")
    if self.norm != "none" and self.kind == "residual" and self.shortcut in ("skipinit", "fixup"):
      raise ConfigError(f"model.shortcut = {self.shortcut!r}: replaces normalization; needs model.norm = 'none'")
    if self.norm == "none" and self.zero_init_scale:
      raise ConfigError("model.zero_init_scale = True: needs normalization; must be False with model.norm = 'none'")
    if self.shortcut == "fixup" and self.block == "single":
      raise ConfigError("model.shortcut = 'fixup': needs blocks of two layers or more; model.block is 'single'")
    if self.kind == "residual" and self.shortcut == "fixup" and self.preactivation:
      raise ConfigError(
        "model.shortcut = 'fixup': is defined for activations after layers; model.preactivation is True"
      )
    self._check_scaling()
    if self.kind == "residual" and self.shortcut == "dropout" and self.survival < 1:
      raise ConfigError(f"model.survival = {self.survival}: not with model.shortcut = 'dropout'; must be 1.0")
    self._check_criticality()
    try:
      _ = self.structure
    except DepthError as error:
      raise ConfigError(f"model.depth = {self.depth}: {error}") from None

  def _check_scaling(self) -> None:
    """Raises ConfigError where branches are scaled or dropped that are not there, or that have a scale of their own."""
    for key, value, used in (
      ("survival", self.survival, self.survival < 1),
      ("branch_scale", self.branch_scale, self.branch_scale > 0),
      ("initialization", self.initialization, self.initialization == "depth"),
    ):
      if used and self.kind == "plain":
        raise ConfigError(f"model.{key} = {value!r}: needs model.kind = 'residual'")
      if used and self.shortcut in ("fixup", "gated"):
        raise ConfigError(
          f"model.{key} = {value!r}: not with model.shortcut = {self.shortcut!r}, which scales branches"
        )

  def _check_criticality(self) -> None:
    """Raises ConfigError where an orthogonal initialization or the tailored activation is not defined."""
    orthogonal = self.initialization in ("orthogonal", "delta")
    if orthogonal and self.activation == "sigmoid":
      raise ConfigError(f"model.initialization = {self.initialization!r}: not with model.activation = 'sigmoid'")
    if orthogonal and self.kind == "residual" and self.shortcut == "fixup":
      raise ConfigError(
        f"model.initialization = {self.initialization!r}: not with model.shortcut = 'fixup', which has its own"
      )
    if self.activation == "tailored" and self.kind == "residual":
      raise ConfigError("model.activation = 'tailored': needs model.kind = 'plain'")
    if self.activation == "tailored" and self.norm == "none" and not orthogonal:
      raise ConfigError("model.activation = 'tailored': needs model.initialization = 'orthogonal' or 'delta'")

  @property
  def structure(self) -> Structure:
    """What decides the layer table."""
    return Structure(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Structure)})

  def net(self, image_shape: tuple[int, int, int], classes: int) -> Net:
    """Returns the layer table for images (height, width, channels) of so many classes."""
    return Net(self.structure, image_shape, classes)
