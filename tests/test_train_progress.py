"""Progress of runs and studies in a batch log."""

from resjax.config import Config
from resjax.records import RunWriter
from resjax.train.input import SplitResult
from resjax.train.progress import Progress
from resjax.train.run_log import RunLog


def test_each_interval_is_one_line_with_throughput_remaining_time_and_error(tmp_path, capsys):
  with RunWriter(tmp_path) as writer, Progress("plain-d20-s0", 300, 0, "step") as progress:
    log = RunLog(Config(), writer, progress, [])
    for step, split in ((100, "train"), (200, "train"), (200, "test")):
      log.log_evaluation(step, 1.0, split, SplitResult(512, 1.25, 0.5), seconds=1.0)
  first, second, test = capsys.readouterr().out.splitlines()
  assert first == "plain-d20-s0  step 100/300  train loss 1.2500 error 50.00%  512 images/s"
  assert second == "plain-d20-s0  step 200/300  train loss 1.2500 error 50.00%  512 images/s  0:00:00 left"
  assert test.startswith("plain-d20-s0  step 200/300  test loss 1.2500 error 50.00%")


def test_a_continued_study_counts_completed_items(capsys):
  with Progress("lesion plain-d20-s0", 9, 4, "lesion") as progress:
    progress.show(3, "error 12.00%")
    progress.show(2, "error 11.00%")
  assert capsys.readouterr().out.splitlines() == [
    "lesion plain-d20-s0  lesion 7/9  error 12.00%",
    "lesion plain-d20-s0  lesion 9/9  error 11.00%",
  ]


def test_only_the_first_process_shows_progress(capsys):
  with Progress("plain-d20-s0", 300, 0, "step", visible=False) as progress:
    progress.show(100, "train loss 1.25")
  assert capsys.readouterr().out == "" and progress.done == 100
