"""Whether a network has ever classified better than by guessing."""

from collections.abc import Iterable

from scipy import special

LEVEL = 0.01  # probability that guessing throughout a run counts as learning


def stays_at_chance(measured: Iterable[tuple[float, int]], classes: int) -> bool:
  """Returns whether no error of a run is below those of guessing, one of `classes` equally likely classes an image.

  The number of right guesses among N images is binomial with N and 1 / classes. An error is below chance if as many
  right answers have a probability of at most `LEVEL` over the number of errors measured (Bonferroni), so that guessing
  throughout the run has at most probability `LEVEL` of one such error.

  Args:
    measured: Errors, fractions, and the number of images that each is measured on.
    classes: Number of classes.
  """
  pairs = list(measured)
  right = [(round((1 - error) * images), images) for error, images in pairs]
  return all(special.bdtrc(count - 1, images, 1 / classes) > LEVEL / len(pairs) for count, images in right)
