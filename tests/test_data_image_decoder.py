"""Decoding of image files, errors of broken files, and the positions of crops."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from resjax.data.files import Encoded, FolderFiles, Unreadable
from resjax.data.image_decoder import crop, decode
from tests.synthetic_images import PHOTOS, encode, gradient_image, needs_photos

PIXELS = gradient_image(60, 90)


def palette_with_transparency():
  """Returns a PNG file with a palette of which one color is transparent."""
  file = io.BytesIO()
  Image.fromarray(PIXELS).convert("P", palette=Image.Palette.ADAPTIVE).save(file, "PNG", transparency=b"\x00\xff")
  return file.getvalue()


def sixteen_bits():
  """Returns a gray PNG file with 16 bits per pixel."""
  file = io.BytesIO()
  Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257).save(file, "PNG")
  return file.getvalue()


@pytest.mark.parametrize(
  ("content", "tolerance"),
  [
    (encode(PIXELS), 4),
    (encode(PIXELS, progressive=True), 4),
    (encode(PIXELS, mode="CMYK"), 4),
    (encode(PIXELS, "PNG"), 0),  # the file has the name of a JPEG
    (encode(PIXELS, "PNG", mode="RGBA"), 0),
    (encode(PIXELS, "WEBP", lossless=True), 0),
    (encode(PIXELS) + b"more", 4),
    (b"".join([encode(PIXELS)[:2], b"\xff\xfe\x00\x06note", encode(PIXELS)[2:]]), 4),
  ],
)
def test_intact_images_are_decoded(content, tolerance):
  """JPEG at quality 95 changes a smooth image by at most 4 of 255; the other formats are exact."""
  found = decode(Encoded("a.JPEG", content, 0), 60)
  assert found.dtype == np.uint8
  assert found.shape == PIXELS.shape
  assert np.abs(found.astype(int) - PIXELS).max() <= tolerance


@pytest.mark.parametrize("content", [encode(PIXELS, mode="L"), encode(PIXELS, "PNG", mode="L"), sixteen_bits()])
def test_gray_images_get_three_equal_channels(content):
  found = decode(Encoded("a.JPEG", content, 0), 60)
  assert found.shape == PIXELS.shape
  assert (found == found[..., :1]).all()
  assert found.std() > 20


def test_the_orientation_in_exif_data_is_not_applied():
  """The file says that its pixels have to be turned by 90 degrees for display."""
  exif = Image.Exif()
  exif[0x0112] = 6
  found = decode(Encoded("a.JPEG", encode(PIXELS, exif=exif.tobytes()), 0), 60)
  np.testing.assert_array_equal(found, decode(Encoded("a.JPEG", encode(PIXELS), 0), 60))


def test_a_transparent_palette_causes_no_warning():
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    assert decode(Encoded("a.png", palette_with_transparency(), 0), 60).shape == PIXELS.shape


@pytest.mark.parametrize(
  "content",
  [
    b"",
    b"\xff\xd8",
    b"<html>not found</html>",
    encode(PIXELS)[:400],
    encode(PIXELS)[:-300],
    encode(PIXELS, "PNG")[:200],
    encode(PIXELS, mode="CMYK")[:500],
  ],
)
def test_broken_images_are_named(content):
  with pytest.raises(Unreadable, match=r"^n1/a\.JPEG: .") as error:
    decode(Encoded("n1/a.JPEG", content, 0), 60)
  assert "\n" not in str(error.value)
  assert "0x" not in str(error.value), "the message must be the same in every process"


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(Unreadable, match=r"^a\.JPEG: No such file"):
    FolderFiles(tmp_path, ("a.JPEG",), np.zeros(1, np.int32)).read(0)


@pytest.mark.parametrize(
  ("side", "shape"),
  [
    (256, (300, 400)),
    (151, (300, 400)),
    (150, (150, 200)),
    (76, (150, 200)),
    (75, (75, 100)),
    (38, (38, 50)),
    (1, (38, 50)),
  ],
)
def test_a_jpeg_is_decoded_at_the_smallest_sufficient_scale(side, shape):
  content = encode(gradient_image(300, 400))
  found = decode(Encoded("a", content, 0), side)
  assert found.shape == (*shape, 3)
  whole = np.asarray(Image.open(io.BytesIO(content)).resize(shape[::-1], Image.Resampling.BOX)).astype(int)
  assert np.abs(found - whole).max() <= 6  # two roundings of JPEG, and those of the filter


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
  ("height", "width", "side", "size", "row", "column"),
  [
    (300, 400, 256, 224, 0.0, 0.0),
    (300, 400, 480, 224, 0.99999, 0.99999),
    (400, 300, 300, 224, 0.3, 0.7),
    (64, 64, 64, 64, 0.5, 0.5),
    (100, 150, 256, 224, 0.2, 0.9),
    (500, 375, 256, 224, 0.5, 0.5),
  ],
)
def test_a_crop_is_at_its_position(height, width, side, size, row, column, mirrored):
  """The colors of the gradient are coordinates, which resizing preserves except for rounding and at the borders."""
  image = gradient_image(height, width)
  found = crop(image, side, size, row, column, mirrored)
  assert found.shape == (size, size, 3)
  square = round(min(height, width) * size / side)
  for axis, (length, share) in enumerate(((height, row), (width, column))):
    first = int(share * (length - square + 1))
    assert 0 <= first <= length - square
    expected = (first + (np.arange(size) + 0.5) * square / size - 0.5) * 255 / (length - 1)
    if axis == 1 and mirrored:
      expected = expected[::-1]
    line = found[:, size // 2, 1] if axis == 0 else found[size // 2, :, 0]
    # Two roundings, and half of a pixel's difference by averaging over areas.
    assert np.abs(line[2:-2] - expected[2:-2]).max() <= 1.0 + 0.5 * 255 / (length - 1)


@pytest.mark.parametrize(
  ("height", "side", "filter"), [(300, 600, Image.Resampling.BILINEAR), (512, 256, Image.Resampling.BOX)]
)
def test_a_crop_is_that_of_the_resized_image(height, side, filter):
  """Pillow resizes the whole image before cropping; the pixel grids are the same at factors 2 and 1/2."""
  noise = np.random.default_rng(0).integers(0, 256, (height // 4, height // 4 + 25, 3), np.uint8)
  image = np.asarray(Image.fromarray(noise).resize((height + 100, height), Image.Resampling.BICUBIC))
  whole = Image.fromarray(image).resize((round((height + 100) * side / height), side), filter)
  square = 224 * height // side
  top, left = 30, 50
  row, column = ((start + 0.5) / (length - square + 1) for start, length in ((top, height), (left, height + 100)))
  found = crop(image, side, 224, row, column).astype(int)
  x, y = left * side // height, top * side // height
  expected = np.asarray(whole.crop((x, y, x + 224, y + 224))).astype(int)
  # A crop cannot use pixels beyond its border; elsewhere both results are rounded.
  assert np.abs(found - expected)[2:-2, 2:-2].max() <= 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2, 9000)])
def test_very_narrow_images_can_be_cropped(shape):
  image = np.full((*shape, 3), 77, np.uint8)
  for side in (256, 480):
    assert (crop(image, side, 224, 0.9, 0.9, True) == 77).all()


@needs_photos
def test_center_crops_of_photographs_are_near_those_of_pillow():
  """Pillow has another filter, so the crop is only required to be nearer than one shifted by three pixels."""
  for path in sorted(PHOTOS.rglob("*.JPEG"))[:40]:
    found = crop(decode(Encoded(path.name, path.read_bytes(), 0), 256), 256, 224).astype(float)
    with Image.open(path) as opened:
      image = opened.convert("RGB")
    scale = 256 / min(image.size)
    whole = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    x, y = (whole.width - 224) / 2, (whole.height - 224) / 2
    expected = np.asarray(whole.transform((224, 224), Image.Transform.EXTENT, (x, y, x + 224, y + 224)), float)
    error = np.abs(found - expected).mean()
    shifted = np.abs(np.roll(found, 3, axis=1) - expected)[:, 3:].mean()
    assert error < 0.8 * shifted, path.name  # the rest is half a pixel of position, and the other filter
