"""Settings of the data set."""

import dataclasses

from resjax.settings import COUNT, FRACTION, NON_NEGATIVE, ConfigError, Range, setting


@dataclasses.dataclass(frozen=True)
class Data:
  """Images and what is done to them (Sec. 4.2; of image files: Sec. 3.4)."""

  name: str = setting(
    "cifar10",
    "the data set; folder: any folder of JPEG and PNG files, one folder a class, or Tiny ImageNet as it is published",
    allowed=("digits", "cifar10", "cifar100", "npz", "folder", "imagenet2012"),
    paper={"cifar": "cifar10", "imagenet": "imagenet2012"},
  )
  path: str = setting(
    "",
    "CIFAR: an archive or a folder, of the binary or the Python version, of Parquet files, or prepared by "
    "tensorflow-datasets, empty: download; .npz file; image folder; folder with ImageNet's two archives, empty: "
    "prepared before",
  )
  checksum: str = setting(
    "published",
    "published: local files must be the published ones, where checksums are published; any: only their size and labels "
    "are checked",
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
    (), "with normalize=given: subtracted from pixel / 255, a number a channel", allowed=FRACTION
  )
  std: tuple[float, ...] = setting((), "with normalize=given: divided by, a number a channel", allowed=NON_NEGATIVE)
  pad: int = setting(
    4,
    "pixels of zeros on each side before the random crop of an image that is held whole",
    allowed=COUNT,
    paper={"cifar": 4},
  )
  mirror: bool = setting(True, "mirror half of the training images", paper=True)
  image_size: int = setting(
    224, "of image files: pixels of a side of the square that the net sees", allowed=Range(1, 4096), paper=224
  )
  resize: tuple[int, ...] = setting(
    (256, 480),
    "of image files: span of the shorter side, in pixels, before the random crop, decoded anew every epoch; "
    "at test the lower end and the centre. Empty: all images decoded once, to image_size, and held on the devices, "
    "where `pad` and `mirror` serve them as they do CIFAR",
    allowed=Range(1, 16384),
    paper=(256, 480),
  )
  lighting: float = setting(
    0.1,
    "of image files decoded anew: deviation of the random share of each principal component of colour",
    allowed=NON_NEGATIVE,
    paper=0.1,
  )
  test_share: float = setting(
    0.1, "of an image folder without val/: share of the images tested on instead of trained on", allowed=FRACTION
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
