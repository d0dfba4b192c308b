"""The command `resjax.main`: listings, help, flags and errors, each in a process started in an empty folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from resjax.records import RunWriter

REPOSITORY = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
QUICKSTART = str(REPOSITORY / "experiments" / "quickstart.py")
HEAVY = {"jax", "jaxlib", "flax", "optax", "orbax", "tensorflow_datasets", "sklearn", "matplotlib", "pandas", "scipy"}


def command(folder: Path, *arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
  """Runs `python -m resjax.main`.

  Args:
    folder: Working directory.
    *arguments: Arguments of the command.
    python: Options of the Python interpreter.
  """
  line = [sys.executable, *python, "-m", "resjax.main", *arguments]
  return subprocess.run(line, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)


def rows(folder: Path, *arguments: str) -> list[dict]:
  """Returns the rows of --list."""
  ended = command(folder, *arguments, "--list", "--list_format=json")
  assert (ended.returncode, ended.stderr) == (0, "")
  return json.loads(ended.stdout)


def contents(folder: Path) -> dict[str, bytes | None]:
  """Returns all relative paths below a folder with the contents of files, and None for folders."""
  return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refusal(folder: Path, *arguments: str) -> str:
  """Returns the one-line error of a command, which must exit with 2 and write nothing."""
  before = contents(folder)
  ended = command(folder, *arguments)
  assert ended.returncode == 2, ended.stderr
  assert ended.stdout == ""
  assert len(ended.stderr.splitlines()) == 1, ended.stderr
  assert ended.stderr.startswith("python -m resjax.main: ")
  assert contents(folder) == before
  return ended.stderr


def test_list_has_the_params_of_the_paper(tmp_path):
  listed = rows(tmp_path, "--config", str(REPOSITORY / "experiments" / "cifar_depth_sweep.py"))
  params = [269_722, 464_154, 658_586, 853_018, 1_727_962, 19_421_274]
  assert [row["params"] for row in listed if row["kind"] == "residual" and row["seed"] == 0] == params
  assert [row["params"] for row in listed if row["kind"] == "plain" and row["seed"] == 0] == params[:-1]
  assert {row["shortcut"] for row in listed if row["kind"] == "plain"} == {None}
  assert len({row["id"] for row in listed}) == len(listed) == 55


def test_list_shows_the_experiments(tmp_path):
  names = [row["name"] for row in rows(tmp_path)]
  experiments = [name.partition(":")[0] for name in names]
  assert experiments == sorted(experiments) and {"quickstart", "cifar_depth_sweep", "detection_depth:small"} <= set(
    names
  )
  text = command(tmp_path, "--list")
  assert text.returncode == 0
  assert text.stdout.splitlines()[0].split() == ["name", "question", "runs"]
  assert contents(tmp_path) == {}


def test_list_ends_without_a_word_when_its_reader_has_gone(tmp_path):
  line = [sys.executable, "-m", "resjax.main", "--list"]
  with subprocess.Popen(line, cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listing:
    assert listing.stdout and listing.stderr
    listing.stdout.close()
    assert listing.stderr.read() == b""
    assert listing.wait() == 0


def test_help_names_every_flag_and_setting(tmp_path):
  done = command(tmp_path, "--help")
  assert (done.returncode, done.stderr) == (0, "")
  for flag in ("--config FILE", "--list", "--list_format", "--only", "--workdir", "--config.model.depth=20"):
    assert flag in done.stdout
  for other in ("-h", "--helpfull"):
    again = command(tmp_path, other, "--config=nope")
    assert (again.returncode, again.stdout) == (0, done.stdout)


@pytest.mark.parametrize(
  "arguments", [("--help",), ("--list",), ("--config", "cifar_depth_sweep", "--list"), ("--config=nope",)], ids=" ".join
)
def test_commands_that_start_no_run_import_no_heavy_package(arguments, tmp_path):
  ended = command(tmp_path, *arguments, python=("-X", "importtime"))
  imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")}
  assert "resjax.listing" in imported
  assert {name.partition(".")[0] for name in imported} & HEAVY == set()


@pytest.mark.parametrize(
  ("arguments", "expected"),
  [
    (("--config", "quickstart"), {}),
    (("--config=cifar_depth_sweep:mini",), {"experiment": "cifar_depth_sweep", "variant": "mini"}),
    (("-config", QUICKSTART, "-config.train.steps", "7"), {"steps": 7}),
    (("--config=quickstart", "--config=cifar_depth_sweep:mini"), {"variant": "mini"}),
    (("--config=quickstart", "--config.seed=1", "--config.seed=2"), {"seed": 2}),
    (("--noconfig.train.nesterov", "--config.data.mirror=true", "--config=quickstart"), {}),
    (("--config=quickstart", "--config.train.drops=(0.3,0.6)", "--config.responses.steps=()"), {}),
    (("--config=quickstart", "--config.train.learning_rate=1", "--config.data.path="), {}),
    (("--config=cifar_depth_sweep", "--config.data.path=/a b/c:d,e", "--only", "kind=plain"), {"kind": "plain"}),
    (("--config=quickstart", "--config.model.depth=56", "--only=kind=residual  seed=0"), {"id": "residual-A-d56-s0"}),
    (("--config=quickstart", "--only=kind=plain", "--index=2"), {"id": "plain-d44-s0"}),
    (("--index", "0", "--config=quickstart"), {"id": "residual-A-d8-s0"}),
  ],
)
def test_unusual_but_valid_arguments_are_accepted(arguments, expected, tmp_path):
  listed = rows(tmp_path, *arguments)
  assert listed
  assert all(row.items() >= expected.items() for row in listed)


def test_a_path_is_relative_to_the_current_folder(tmp_path):
  assert len(rows(tmp_path, "--config", os.path.relpath(QUICKSTART, tmp_path))) == 6


def test_pinned_settings_collapse_the_sweep(tmp_path):
  listed = rows(tmp_path, "--config=quickstart", "--config.model.depth=56", "--config.model.kind=plain")
  assert [row["id"] for row in listed] == ["plain-d56-s0"]


@pytest.mark.parametrize(
  ("arguments", "says"),
  [
    ("", "--config is missing"),
    ("--config", "--config needs the name of an experiment; --list shows them"),
    ("--config= --list", "--config needs the name of an experiment; --list shows them"),
    ("--config --list", "--config needs the name of an experiment; --list shows them"),
    ("--config=nope", "unknown experiment nope; available: cifar_depth_sweep, cifar_highway,"),
    ("--config=experiments/quickstart.py", "unknown experiment experiments/quickstart.py; did you mean quickstart?"),
    ("--config=.", "unknown experiment ."),
    ("--config=quickstart:mini", "experiment quickstart has no variant mini; available variants: none"),
    ("--config=quickstart --config.model.depth=21", "model.depth = 21: not 6n+2, the depths of basic blocks"),
    ("--config=quickstart --config.model.dpeth=20", "unknown key 'model.dpeth'; did you mean model.depth"),
    ("--config=quickstart --config.model=20", "model is a section, not a setting; it has model.family"),
    ("--config=quickstart --config.=20", "unknown key ''"),
    ("--config=quickstart --config.model.depth", "Missing value for flag --config.model.depth"),
    ("--config=quickstart --config.model.depth=20.5", "model.depth = '20.5': must be an integer"),
    ("--config=quickstart --config.train.nesterov=maybe", "train.nesterov = 'maybe': must be true or false"),
    ("--config=quickstart --config.train.drops=(0.3,", "train.drops = '(0.3,': must be a tuple"),
    ("--config=quickstart --config.train.drops=(0.3,x)", "train.drops = '(0.3,x)': must be a number, not str"),
    ("--config=quickstart --config.train.drops=(0.3,2)", "train.drops = 2.0: must be 0.0 to 1.0"),
    ("--config=quickstart --config.train.learning_rate=nan", "train.learning_rate = nan: must be finite"),
    ("--config=quickstart --config.seed=-1", "seed = -1: must be 0 to"),
    ("--config=quickstart --noconfig.model.depth", "Unknown command line flag 'noconfig.model.depth'"),
    ("--config.seed=1 --list", "--config.seed without --config"),
    ("--only=seed=0 --list", "--only without --config"),
    ("--config=quickstart --only=depth=21", "--only depth=21: matches no run; depth is 8, 20, 44"),
    ("--config=quickstart --index=6 --list", "--index 6: must be 0 to 5, a row of --list, which has 6 of them"),
    ("--config=quickstart --index=-1 --only=depth=8", "--index -1: must be 0 to 1, a row of --list"),
    ("--index=1 --list", "--index without --config"),
    ("--config=quickstart --only=lr=1", "--only lr=1: must be key=value[,value...] with a key of id, experiment"),
    ("--config=quickstart --onyl=depth=20", "Unknown command line flag 'onyl'. Did you mean: only"),
    ("--config=quickstart --list_format=xml --list", "value should be one of <text|json>"),
    ("--config=quickstart stray --list", "unknown argument stray"),
    ("--config=quickstart --config.data.name=npz --list", "data.path"),
    ("--config=quickstart --config.data.name=npz --config.data.path=a.npz --list", "data.path = 'a.npz': no such file"),
    ("--config=quickstart --config.data.path=/data --list", "data.path = '/data': must be empty"),
  ],
)
def test_an_invalid_command_is_a_one_line_error(arguments, says, tmp_path):
  assert says in refusal(tmp_path, *arguments.split())


@pytest.mark.parametrize(
  ("text", "says"),
  [
    (None, "unknown experiment study.py"),
    ("def get_config(:", "study.py: the file raised SyntaxError"),
    ("raise RuntimeError('two\\nlines')", "study.py: the file raised RuntimeError: two lines"),
    ("import sys\nsys.exit(0)", "study.py: the file raised SystemExit: 0"),
    ("def get_config(v): return {}\ndef sweep(v): return []", "get_config must return a (modified) config.default()"),
  ],
)
def test_a_broken_experiment_is_a_one_line_error(text, says, tmp_path):
  study = tmp_path / "study.py"
  study.mkdir() if text is None else study.write_text(text)
  assert says in refusal(tmp_path, "--config=study.py", "--list")


def test_missing_data_are_a_one_line_error(tmp_path):
  says = refusal(tmp_path, "--config=cifar_depth_sweep:mini", "--config.data.path=none")
  assert "data.path = 'none': no such file or folder" in says


def test_a_truncated_data_file_is_a_one_line_error(tmp_path):
  (tmp_path / "data_batch_1.bin").write_bytes(bytes(1000))
  says = refusal(tmp_path, "--config=cifar_depth_sweep:mini", "--config.data.path=.")
  assert "data_batch_1.bin: 1,000 bytes, must be 30,730,000" in says


def test_a_run_directory_with_another_configuration_is_not_changed(tmp_path):
  assert rows(tmp_path, "--config=quickstart", "--only=depth=44")[0]["id"] == "residual-A-d44-s0"
  with RunWriter(tmp_path / "runs" / "quickstart" / "residual-A-d44-s0") as writer:
    writer.write_config({"train": {"steps": 5}})
    writer.update(id="residual-A-d44-s0", status="done", config_digest="of other settings")
  says = refusal(tmp_path, "--config=quickstart", "--config.train.steps=7")
  assert "runs/quickstart/residual-A-d44-s0 holds a run with another config" in says
  assert "train.steps (5 there, 7 here)" in says


def test_a_run_directory_that_another_process_writes_is_not_changed(tmp_path):
  with RunWriter(tmp_path / "work" / "quickstart" / "plain-d8-s0"):
    says = refusal(tmp_path, "--config=quickstart", "--only=id=plain-d8-s0", "--workdir=work")
  assert "work/quickstart/plain-d8-s0: another process is writing this run" in says


def test_a_file_as_work_directory_is_a_one_line_error(tmp_path):
  (tmp_path / "taken").write_text("a file")
  assert "taken" in refusal(tmp_path, "--config=quickstart", "--workdir=taken")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_work_directory_without_permission_is_a_one_line_error(tmp_path):
  closed = tmp_path / "closed"
  closed.mkdir(mode=0o500)
  assert "closed" in refusal(tmp_path, "--config=quickstart", "--workdir=closed/runs")
