"""`--serve`: a server of the report that is rebuilt when the logs change."""

import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from resjax import records, report
from resjax.analysis import serve
from tests import synthetic_runs


@pytest.fixture
def root(tmp_path) -> Path:
  """Returns the directory of an experiment with a running run."""
  synthetic_runs.write_run(tmp_path / "e", status=records.RUNNING, reached=4_000, every=2_000, responses=False)
  return tmp_path / "e"


@pytest.fixture
def address(root):
  """Yields the address of a server."""
  with serve.server(root, 0) as server:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://{serve.HOST}:{server.server_port}"
    server.shutdown()
    thread.join()


def get(url: str) -> str:
  """Returns the text at an address."""
  with urllib.request.urlopen(url) as answer:
    return answer.read().decode()


def test_the_served_page_is_rebuilt_when_logs_change(root, address):
  first = get(address)  # redirected to the page
  assert "4,000" in first and "<script>" in first
  version = get(f"{address}/version")
  assert f'"{version}"' in first
  assert get(f"{address}/version") == version  # nothing has changed
  with records.RunWriter(root / "residual-A-d20-s0") as writer:
    writer.append("metrics", [{"step": 6_000, "split": "test", "error": 0.123}])
  newer = get(f"{address}/version")
  assert newer != version
  second = get(f"{address}/report.html")
  assert "6,000" in second and f'"{newer}"' in second
  assert "<script>" not in (root / "report.html").read_text()  # the file on disk has no script


def test_only_tables_and_figures_are_served(root, address):
  assert get(f"{address}/tables/runs.csv").startswith("label,id")
  assert "<svg" in get(f"{address}/figures/fig6-residual.svg")
  (root.parent / "secret.csv").write_text("x")
  for path in ("residual-A-d20-s0/run.json", "../secret.csv", "%2e%2e/secret.csv", "none.html", "tables"):
    with pytest.raises(urllib.error.HTTPError) as refused:
      get(f"{address}/{path}")
    assert refused.value.code == 404
    refused.value.close()


def test_an_invalid_port_or_directory_is_a_one_line_error(tmp_path, capsys):
  assert report.main([str(tmp_path / "nowhere"), "--serve"]) == 2
  assert "nowhere: no such directory" in capsys.readouterr().err
  with pytest.raises(SystemExit) as ended:
    report.main([str(tmp_path), "--serve", "70000"])
  assert ended.value.code == 2
  assert "70000 is not a port" in capsys.readouterr().err
