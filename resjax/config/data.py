"""Settings of the data set."""

import dataclasses

from resjax.settings import COUNT, FRACTION, NON_NEGATIVE, ConfigError, Range, setting


@dataclasses.dataclass(frozen=True)
class Data:
  """Data set, normalization and augmentation (Sec. 4.2; for image files Sec. 3.4)."""

  name: str = setting(
    "cifar10",
    "name of the data set; folder: JPEG and PNG files with one folder per class, or Tiny ImageNet as published; "
    "voc, coco: images with boxes, for detection",
    allowed=("digits", "cifar10", "cifar100", "npz", "folder", "imagenet2012", "voc", "coco"),
    paper={"cifar": "cifar10", "imagenet": "imagenet2012"},
  )
  path: str = setting(
    "",
    "path of the data set. CIFAR: archive or folder of the binary or the Python version, folder of Parquet files, or "
    "folder prepared by tensorflow-datasets; empty to download. npz: .npz file. folder: image folder. imagenet2012: "
    "folder with the two published archives; empty if they have been prepared before",
  )
  train_split: str = setting(
    "",
    "training images of voc and coco. voc: image sets, such as trainval or VOC2007/trainval,VOC2012/trainval; empty: "
    "trainval, or train if the test images are those of val. coco: such as train2017; empty: the only "
    "instances_train*.json",
    later=True,
  )
  test_split: str = setting(
    "",
    "test images of voc and coco. voc: image sets; empty: the first test, or the first val if no folder has test. "
    "coco: such as val2017; empty: the only instances_val*.json",
    later=True,
  )
  checksum: str = setting(
    "published",
    "how local files are checked. published: against the published checksums, if there are any; any: only number and "
    "size of the images, and the labels",
    allowed=("published", "any"),
  )
  validation_images: int = setting(
    0, "number of training images held out for validation; 5000 is the paper's 45k/5k split", allowed=COUNT
  )
  normalize: str = setting(
    "pixel_mean",
    "normalization of images. pixel_mean: subtract the mean image; channel: subtract the mean of each channel and "
    "divide by its standard deviation; given: likewise with data.mean and data.std",
    allowed=("pixel_mean", "channel", "given"),
    paper="pixel_mean",
  )
  mean: tuple[float, ...] = setting(
    (), "normalize=given: mean of each channel, in units of pixel / 255", allowed=FRACTION
  )
  std: tuple[float, ...] = setting(
    (), "normalize=given: standard deviation of each channel, in units of pixel / 255", allowed=NON_NEGATIVE
  )
  pad: int = setting(
    4,
    "images held in memory: zero padding on each side before the random crop, in pixels",
    allowed=COUNT,
    paper={"cifar": 4},
  )
  mirror: bool = setting(True, "flip each training image horizontally with probability 1/2", paper=True)
  image_size: int = setting(
    224, "image files: side of the square input of the network, in pixels", allowed=Range(1, 4096), paper=224
  )
  resize: tuple[int, ...] = setting(
    (256, 480),
    "image files: range from which the length of the shorter side is drawn before each random crop, in pixels; images "
    "are decoded in every epoch, and tests use the lower end and the center crop. Empty: all images are decoded once "
    "to image_size and held in device memory, and data.pad and data.mirror apply as for CIFAR",
    allowed=Range(1, 16384),
    paper=(256, 480),
  )
  lighting: float = setting(
    0.1,
    "image files decoded in every epoch: strength of AlexNet's PCA color augmentation, the standard deviation of the "
    "random multiple of each principal component of color that is added to an image",
    allowed=NON_NEGATIVE,
    paper=0.1,
  )
  test_share: float = setting(
    0.1, "image folder without val/ and test/: fraction of the images that are used for testing", allowed=FRACTION
  )

  @property
  def has_boxes(self) -> bool:
    """Whether the images are annotated with boxes, so that a detector is trained."""
    return self.name in ("voc", "coco")

  @property
  def has_files(self) -> bool:
    """Whether the data set consists of image files, one label each."""
    return self.name in ("folder", "imagenet2012")

  @property
  def is_streamed(self) -> bool:
    """Whether labelled images are decoded in every epoch instead of being held in memory.

    This depends on the settings only, not on the number of images, because it changes how training images are
    augmented.
    """
    return self.has_files and bool(self.resize)

  def __post_init__(self) -> None:
    for key, numbers in (("mean", self.mean), ("std", self.std)):
      if bool(numbers) != (self.normalize == "given"):
        must = "one number per channel" if self.normalize == "given" else "empty"
        raise ConfigError(f"data.{key} = {numbers}: with data.normalize = {self.normalize!r} it must be {must}")
    if len(self.mean) != len(self.std) or 0 in self.std:
      raise ConfigError(f"data.std = {self.std}: must have as many values as data.mean = {self.mean}, none of them 0")
    if self.resize and (len(self.resize) != 2 or not self.image_size <= self.resize[0] <= self.resize[1]):
      raise ConfigError(
        f"data.resize = {self.resize}: must be empty, or the smallest and the largest shorter side, "
        f"both at least data.image_size = {self.image_size}"
      )
