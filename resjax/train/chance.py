"""A test whether a network has ever classified better than by chance."""

from collections.abc import Iterable

from scipy import special

SIGNIFICANCE = 0.01  # maximum probability that guessing throughout a run counts as learning


def stays_at_chance(measured: Iterable[tuple[float, int]], classes: int) -> bool:
  """Returns whether no error of a run is significantly below that of guessing one of `classes` equally likely classes.

  The number of correct guesses for N images is binomial with N and 1 / classes. An error is significantly below chance
  if the probability of at least as many correct guesses is at most `SIGNIFICANCE` divided by the number of measured
  errors (Bonferroni), so that guessing throughout the run yields such an error with at most this probability.

  Args:
    measured: Errors as fractions, each with the number of images on which it was measured.
    classes: Number of classes.
  """
  pairs = list(measured)
  correct = [(round((1 - error) * images), images) for error, images in pairs]
  return all(special.bdtrc(count - 1, images, 1 / classes) > SIGNIFICANCE / len(pairs) for count, images in correct)
