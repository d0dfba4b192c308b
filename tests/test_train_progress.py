"""What a batch log shows of a run."""

from resjax.train.progress import Progress


def row(step, split="train"):
  return {"step": step, "split": split, "loss": 1.25, "error": 0.5, "images_per_second": 512.4}


def test_one_plain_line_an_interval_with_rate_time_left_and_error(capsys):
  with Progress("plain-d20-s0", 300) as progress:
    progress.show(row(100))
    progress.show(row(200))
    progress.show(row(200, "test"))
  first, second, test = capsys.readouterr().out.splitlines()
  assert first == "plain-d20-s0  step 100/300  train loss 1.2500 error 50.00%  512 images/s"
  assert second == "plain-d20-s0  step 200/300  train loss 1.2500 error 50.00%  512 images/s  0:00:00 left"
  assert test.startswith("plain-d20-s0  step 200/300  test loss 1.2500 error 50.00%")
