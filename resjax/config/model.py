"""Settings of the network (Sec. 3.2, 3.3, 4.2)."""

import dataclasses

from resjax.depth import FAMILIES, DepthError, Net, Structure
from resjax.settings import COUNT, FRACTION, NON_NEGATIVE, POSITIVE, ConfigError, Range, setting


@dataclasses.dataclass(frozen=True)
class Model:
  """Settings of the network (Sec. 3.2, 3.3)."""

  family: str = setting(
    "cifar",
    "family of networks. cifar: three stages, 16 filters in the first (Sec. 4.2); imagenet: four stages, 64 filters in "
    "the first (Table 1); vgg: 3x3 layers, pooling and dense layers; mlp: dense layers only",
    allowed=("cifar", "imagenet", "vgg", "mlp"),
  )
  kind: str = setting("residual", "network with shortcuts (residual) or without (plain)", allowed=("residual", "plain"))
  depth: int = setting(
    20,
    "number of weighted layers. cifar: 6n+2, with bottleneck blocks 9n+2, with single ones 3n+2; imagenet: 18 or 34, "
    "with bottleneck blocks 50, 101 or 152; vgg: 16 or 19; mlp: 2n+2",
    allowed=POSITIVE,
  )
  blocks: tuple[int, ...] = setting(
    (),
    "number of blocks of each stage, for other numbers of stages or depths than those of the family; (): as in the "
    "family",
    allowed=POSITIVE,
  )
  block: str = setting(
    "basic",
    "weighted layers of a block. basic: two of 3x3; bottleneck: 1x1, 3x3, 1x1; single: one of 3x3; dense: two fully "
    "connected ones",
    allowed=("basic", "bottleneck", "single", "dense"),
    paper={"cifar": "basic"},
  )
  width: int = setting(
    0,
    "filters of the first stage, doubled in each further one; 0: as in the family, 16 (cifar), 64 (imagenet, vgg) or "
    "128 (mlp)",
    allowed=COUNT,
    paper=0,
  )
  stem: str = setting(
    "auto",
    "first layers. 3x3: a 3x3 convolution; 7x7: a 7x7 convolution and a 3x3 max pooling, both of stride 2; auto: as in "
    "the family",
    allowed=("auto", "3x3", "7x7"),
    paper="auto",
  )
  pool_padding: str = setting(
    "symmetric",
    "padding of the max pooling in the stem. symmetric: one pixel on each side; behind: one pixel at the right and the "
    "bottom, as in the networks released by the authors",
    allowed=("symmetric", "behind"),
  )
  shortcut: str = setting(
    "A",
    "shortcuts of residual networks. A: identity, with zeros for new channels; B: projection where shapes change, else "
    "identity; C: projection in every block; rezero: A, with a learned factor, initially 0, of the main branch F; "
    "skipinit: the same, in networks without normalization; fixup: A, with the scalar biases and factors, initial "
    "weights and learning rates of Fixup; gated: gates of Highway networks; half: 0.5 x + F; mean: 0.5 x + 0.5 F; "
    "gate: (1 - g) x + F, where g is the sigmoid of a 1x1 convolution of x; exclusive_gate: (1 - g) x + g F; dropout: "
    "F plus x with half of its values set to zero, and 0.5 x + F at test",
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
    "initial bias of the gates, for the shortcuts gate and exclusive_gate; if it is negative, most of the input passes",
    allowed=Range(-20.0, 20.0),
    later=True,
  )
  bottleneck_stride: str = setting(
    "1x1",
    "layer of a bottleneck block that has stride 2: the first 1x1 (v1), or the 3x3 (v1.5)",
    allowed=("1x1", "3x3"),
    paper="1x1",
  )
  option_a_stride: str = setting(
    "subsample",
    "how a shortcut without weights (option A) halves a feature map. subsample: every second pixel; average: the mean "
    "of 2x2 pixels",
    allowed=("subsample", "average"),
    paper="subsample",
  )
  option_a_zeros: str = setting(
    "end",
    "where a shortcut without weights (option A) adds channels of zeros. end: after the existing channels; both: half "
    "of them before and half after",
    allowed=("end", "both"),
    paper="end",
  )
  preactivation: bool = setting(
    False, "apply norm and activation before each convolution instead of after it", paper=False
  )
  padding: str = setting(
    "symmetric",
    "padding of convolutions. symmetric: the same on each side, one pixel for 3x3; same: TensorFlow's SAME, which at "
    "stride 2 pads a 3x3 convolution on one side only",
    allowed=("symmetric", "same"),
    paper="symmetric",
  )
  norm: str = setting(
    "batch",
    "normalization after each convolution (before it with preactivation). batch: batch norm; layer: layer norm over "
    "the channels of each pixel; none: a bias instead",
    allowed=("batch", "none", "layer"),
    paper={"cifar": "batch", "imagenet": "batch"},
  )
  activation: str = setting(
    "relu",
    "activation function after each norm. leaky_relu: with a negative slope of 0.01; tailored: for plain networks, "
    "leaky ReLU with the slope at which two uncorrelated images have a correlation of 0.9 after all layers",
    allowed=("relu", "sigmoid", "tanh", "leaky_relu", "tailored"),
    paper="relu",
  )
  zero_init_scale: bool = setting(
    False,
    "initialize the scale of the last norm of each block with 0, so that the block starts as identity",
    paper=False,
  )
  branch_scale: float = setting(
    0.0,
    "exponent a: each block adds L^-a F(x) to its shortcut, where L is the number of blocks of the network",
    allowed=Range(0.0, 4.0),
    paper=0.0,
    later=True,
  )
  initialization: str = setting(
    "he",
    "initial kernels of the first layer and the blocks. he: normal, of variance 2 / fan_in; depth: the same, with the "
    "variance divided by the number of blocks in the last layer of each main branch, which a norm after that layer "
    "undoes; orthogonal: orthogonal, scaled to the critical variance of the activation, for tanh with random biases; "
    "delta: the same in the center of the kernel, and 0 elsewhere",
    allowed=("he", "depth", "orthogonal", "delta"),
    paper="he",
    later=True,
  )
  survival: float = setting(
    1.0,
    "stochastic depth: probability p that a training step keeps the last block. Block b of L is kept with probability "
    "1 - b / L (1 - p), by which its main branch is multiplied at test. 1: no stochastic depth",
    allowed=FRACTION,
    paper=1.0,
    later=True,
  )
  precision: str = setting(
    "float32",
    "dtype of activations and convolutions; parameters, statistics and loss are float32",
    allowed=("float32", "bfloat16"),
    paper="float32",
  )
  norm_images: int = setting(
    0,
    'group size of batch norm in images ("ghost batch norm"); 0: the whole batch; 64: as on each of the paper\'s two '
    "GPUs",
    allowed=COUNT,
    paper={"cifar": 64},
  )
  norm_momentum: float = setting(0.9, "weight of the previous running statistics in an update", allowed=FRACTION)
  norm_epsilon: float = setting(1e-5, "constant added to the variance", allowed=NON_NEGATIVE)

  def __post_init__(self) -> None:
    block_types, of_family = FAMILIES[self.family].block_types, f"in networks of model.family = {self.family!r}"
    if self.block not in block_types:
      raise ConfigError(f"model.block = {self.block!r}: must be one of {', '.join(block_types)} {of_family}")
    if self.family in ("vgg", "mlp") and self.stem != "auto":
      raise ConfigError(f"model.stem = {self.stem!r}: must be auto {of_family}")
    if self.family == "vgg" and self.preactivation:
      raise ConfigError(f"model.preactivation = True: must be False {of_family}")
    if self.norm != "none" and self.kind == "residual" and self.shortcut in ("skipinit", "fixup"):
      raise ConfigError(f"model.shortcut = {self.shortcut!r}: replaces normalization; needs model.norm = 'none'")
    if self.shortcut == "fixup" and self.block == "single":
      raise ConfigError("model.shortcut = 'fixup': needs blocks of two or more layers, not model.block = 'single'")
    if self.kind == "residual" and self.shortcut == "fixup" and self.preactivation:
      raise ConfigError("model.shortcut = 'fixup': needs model.preactivation = False")
    self._check_scaling()
    if self.kind == "residual" and self.shortcut == "dropout" and self.survival < 1:
      raise ConfigError(f"model.survival = {self.survival}: must be 1.0 with model.shortcut = 'dropout'")
    self._check_criticality()
    try:
      _ = self.structure
    except DepthError as error:
      raise ConfigError(f"model.depth = {self.depth}: {error}") from None

  def _check_scaling(self) -> None:
    """Raises ConfigError if main branches are scaled or dropped in a plain network, or scaled by the shortcut, too."""
    for key, value, default, used in (
      ("survival", self.survival, 1.0, self.survival < 1),
      ("branch_scale", self.branch_scale, 0.0, self.branch_scale > 0),
      ("initialization", self.initialization, "he", self.initialization == "depth"),
    ):
      if used and self.kind == "plain":
        raise ConfigError(f"model.{key} = {value!r}: needs model.kind = 'residual'")
      if used and self.shortcut in ("fixup", "gated"):
        raise ConfigError(
          f"model.{key} = {value!r}: must be {default!r} with model.shortcut = {self.shortcut!r}, which scales main "
          "branches itself"
        )

  def _check_criticality(self) -> None:
    """Raises ConfigError if an orthogonal initialization or the tailored activation is not defined for the network."""
    orthogonal = self.initialization in ("orthogonal", "delta")
    if orthogonal and self.activation == "sigmoid":
      raise ConfigError(
        f"model.initialization = {self.initialization!r}: must be he or depth with model.activation = 'sigmoid'"
      )
    if orthogonal and self.kind == "residual" and self.shortcut == "fixup":
      raise ConfigError(
        f"model.initialization = {self.initialization!r}: must be he with model.shortcut = 'fixup', which has its own"
      )
    if self.activation == "tailored" and self.kind == "residual":
      raise ConfigError("model.activation = 'tailored': needs model.kind = 'plain'")
    if self.activation == "tailored" and self.norm == "none" and not orthogonal:
      raise ConfigError("model.activation = 'tailored': needs model.initialization = 'orthogonal' or 'delta'")

  @property
  def structure(self) -> Structure:
    """The settings that determine the layer table."""
    return Structure(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Structure)})

  def net(self, image_shape: tuple[int, int, int], classes: int) -> Net:
    """Returns the layer table.

    Args:
      image_shape: Height, width and channels of the images.
      classes: Number of classes.
    """
    return Net(self.structure, image_shape, classes)
