"""Streams of image files: order and crops by position, independence of workers and hosts, and broken images."""

import numpy as np
import pytest

from resjax.config import Data
from resjax.data import batch_stream, load, random_crops
from resjax.data.batch_stream import Share, TestPieces as InOrder, TrainPieces
from resjax.data.files import Unreadable
from tests.synthetic_images import STREAMED, encode, gradient_image, write_files, write_train_and_val


def assert_same(one, other):
  """Asserts that two streams have the same batches and broken images."""
  one, other = list(one), list(other)
  assert len(one) == len(other) > 0
  for a, b in zip(one, other, strict=True):
    np.testing.assert_array_equal(a.images, b.images)
    np.testing.assert_array_equal(a.labels, b.labels)
    np.testing.assert_array_equal(a.counts, b.counts)
    assert a.faults == b.faults


@pytest.fixture
def photos(tmp_path):
  """Returns the settings and the data set of ten training and six test images."""
  data = Data(**STREAMED, path=str(write_train_and_val(tmp_path)))
  return data, load(data)


def test_the_order_of_each_epoch_is_another_permutation():
  found = random_crops.order(3, 0, 700, 100).reshape(7, 100)
  assert (np.sort(found) == np.arange(100)).all()
  assert len({row.tobytes() for row in found}) == 7
  assert not (random_crops.order(4, 0, 100, 100) == found[0]).all()


def test_order_and_crops_never_change():
  # Runs are continued with other versions of NumPy.
  assert random_crops.order(0, 8, 6, 10).tolist() == [6, 7, 0, 1, 9, 6]
  found = random_crops.crops(1, 2**40, 2, (256, 480), True)
  assert found.sides.tolist() == [315, 256]


def test_order_and_crops_depend_on_the_position_alone():
  whole = random_crops.crops(5, 0, 60, (256, 480), True)
  part = random_crops.crops(5, 17, 9, (256, 480), True)
  for name in ("sides", "rows", "columns", "mirrored"):
    np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[17:26])
  np.testing.assert_array_equal(random_crops.order(5, 17, 9, 13), random_crops.order(5, 0, 60, 13)[17:26])


def test_crops_are_uniformly_distributed():
  """Means and correlations of 20,000 crops are within five standard errors."""
  count = 20_000
  found = random_crops.crops(0, 0, count, (256, 480), True)
  assert (found.sides.min(), found.sides.max()) == (256, 480)
  assert abs(found.sides.mean() - 368) < 5 * (224 / 12**0.5) / count**0.5
  for shares in (found.rows, found.columns):
    assert 0 <= shares.min() < shares.max() < 1
    assert abs(shares.mean() - 0.5) < 5 * (1 / 12**0.5) / count**0.5
  assert abs(found.mirrored.mean() - 0.5) < 5 * 0.5 / count**0.5
  numbers = np.stack([found.sides, found.rows, found.columns, found.mirrored])
  off_diagonal = np.corrcoef(numbers)[np.triu_indices(4, 1)]
  assert np.abs(off_diagonal).max() < 5 / count**0.5
  assert not random_crops.crops(0, 0, count, (256, 480), False).mirrored.any()


def test_the_stream_does_not_depend_on_the_number_of_workers(photos):
  data, found = photos
  make = TrainPieces(found.train, data, 7, Share(4))
  in_process = list(batch_stream.batches(make, 1, 9, 0))
  assert_same(batch_stream.batches(make, 1, 9, 2), in_process)
  assert in_process[0].images.shape == (4, 24, 24, 3)
  assert in_process[0].counts.all()


def test_a_stream_can_begin_at_any_step(photos):
  data, found = photos
  make = TrainPieces(found.train, data, 7, Share(4))
  whole = list(batch_stream.batches(make, 0, 9, 0))  # epochs end within batches
  assert_same(batch_stream.batches(make, 4, 9, 0), whole[4:])
  assert len({batch.images.tobytes() for batch in whole}) == 9
  other = TrainPieces(found.train, data, 8, Share(4))
  assert not (other(0).images == whole[0].images).all()


@pytest.mark.parametrize("hosts", [2, 3])
def test_the_parts_of_all_hosts_are_the_global_batch(photos, hosts, monkeypatch):
  monkeypatch.setattr(batch_stream, "PIECE", 2)  # so that the part of a host has several pieces
  data, found = photos
  for cls, rest in ((TrainPieces, (found.train, data, 7)), (InOrder, (found.test, data))):
    whole = list(batch_stream.batches(cls(*rest, Share(12)), 0, 3 if cls is TrainPieces else 1, 0))
    parts = [list(batch_stream.batches(cls(*rest, Share(12, i, hosts)), 0, len(whole), 0)) for i in range(hosts)]
    assert_same([batch_stream.Batch.concatenate(row) for row in zip(*parts, strict=True)], whole)


def test_an_epoch_contains_every_image(photos):
  """The blue values identify the five images of each class."""
  data, found = photos
  (batch,) = batch_stream.batches(TrainPieces(found.train, data, 0, Share(10)), 0, 1, 0)
  blues = np.sort(batch.images[..., 2].mean(axis=(1, 2)))
  np.testing.assert_allclose(blues, [*range(40, 45), *range(200, 205)], atol=2)  # JPEG
  assert sorted(batch.labels.tolist()) == [0] * 5 + [1] * 5


def test_evaluation_has_every_image_once_in_order(photos):
  data, found = photos
  make = InOrder(found.test, data, Share(4))
  assert make.batches == 2
  first, last = batch_stream.batches(make, 0, 2, 0)
  assert np.concatenate([first.labels, last.labels[:2]]).tolist() == [0, 0, 0, 1, 1, 1]
  assert last.counts.tolist() == [True, True, False, False]
  red = first.images[0, :, :, 0].astype(int)
  assert (
    abs(red[:, 0].mean() + red[:, -1].mean() - 255) < 8
  )  # the crop is centered to half a pixel on each side; a pixel differs by 5 of 255


def break_images(folder):
  """Damages two training images and one test image."""
  return write_files(
    folder,
    {
      "train/class0/train_1.JPEG": encode(gradient_image(40, 52))[:300],
      "train/class1/train_4.JPEG": b"",
      "val/class0/val_1.JPEG": b"GIF89a",
    },
  )


def test_broken_training_images_are_replaced_by_the_next_in_the_order(photos):
  data, found = photos
  make = TrainPieces(found.train, data, 7, Share(10))
  intact = list(batch_stream.batches(make, 0, 3, 0))
  break_images(found.train.root)
  repaired = list(batch_stream.batches(make, 0, 3, 0))
  assert_same(batch_stream.batches(make, 0, 3, 2), repaired)
  bad = [i for i, name in enumerate(found.train.names) if name.endswith(("class0/train_1.JPEG", "class1/train_4.JPEG"))]
  order = random_crops.order(7, 0, 40, 10)
  for step, (old, new) in enumerate(zip(intact, repaired, strict=True)):
    assert [fault.split(":")[0] for fault in new.faults]
    assert {fault.split(":")[0] for fault in new.faults} <= {found.train.names[i] for i in bad}
    for row in range(10):
      position = step * 10 + row
      if order[position] not in bad:
        np.testing.assert_array_equal(new.images[row], old.images[row])
      else:
        next_intact = next(i for i in order[position + 1 :] if i not in bad)
        assert new.labels[row] == found.train.labels[next_intact]
        blue = (40, 200)[next_intact // 5] + next_intact % 5
        assert abs(new.images[row, ..., 2].mean() - blue) < 1.5


def test_broken_test_images_are_not_counted(photos):
  data, found = photos
  break_images(found.test.root)
  (batch,) = batch_stream.batches(InOrder(found.test, data, Share(8)), 0, 1, 0)
  assert batch.counts.tolist() == [True, False, True, True, True, True, False, False]
  assert [fault.split(":")[0] for fault in batch.faults] == ["val/class0/val_1.JPEG"]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_set_without_intact_images_ends_the_stream(photos, workers, monkeypatch):
  data, found = photos
  for path in found.train.root.rglob("*.JPEG"):
    path.write_bytes(b"")
  with pytest.raises(
    Unreadable, match=r"1000 images in a row cannot be decoded; the last: train/class\d/train_\d.JPEG"
  ):
    list(batch_stream.batches(TrainPieces(found.train, data, 0, Share(4)), 0, 1, workers))


def test_images_of_all_kinds_and_shapes_are_decoded(tmp_path):
  pixels = gradient_image(50, 70)
  files = {
    "train/a/cmyk.JPEG": encode(pixels, mode="CMYK"),
    "train/a/grey.JPEG": encode(pixels, mode="L"),
    "train/a/png.JPEG": encode(pixels, "PNG"),
    "train/a/column.JPEG": encode(gradient_image(300, 1)),
    "train/a/row.JPEG": encode(gradient_image(1, 300)),
    "train/a/dot.JPEG": encode(gradient_image(1, 1)),
    "val/a/x.JPEG": encode(pixels),
  }
  data = Data(**STREAMED, path=str(write_files(tmp_path, files)))
  (batch,) = batch_stream.batches(TrainPieces(load(data).train, data, 0, Share(12)), 0, 1, 0)
  assert batch.counts.all()
  assert batch.faults == ()


def test_pieces_of_a_batch_have_equal_sizes():
  share = Share(batch_size=2 * 37)
  assert (share.pieces, share.piece) == (37, 2)
  assert [share.first(piece) for piece in (0, 1, 36, 37)] == [0, 2, 72, 74]


def test_a_stream_can_be_closed_early(photos):
  data, found = photos
  stream = batch_stream.batches(TrainPieces(found.train, data, 0, Share(4)), 0, 10_000, 2)
  next(stream)
  stream.close()
