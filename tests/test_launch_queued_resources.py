"""Slices as queued resources of a fake API: waiting, preemption, deletion, failures of the API and of the bucket."""

import re

import pytest

pytest.importorskip("google.cloud.tpu_v2", reason="the extra cloud is not installed")

from google.api_core import retry
from google.cloud import tpu_v2
from grpc import StatusCode

from launch import queued_resources
from resjax.settings import ConfigError
from tests.fake_tpu_api import PARENT, FakeTpuApi, State, fleet, ids, serve


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
  """Makes the repetition of failed requests fast."""
  monkeypatch.setattr(queued_resources, "REPEATED", retry.Retry(initial=0.001, maximum=0.001, timeout=0.01))


def run(
  api: FakeTpuApi, script: dict[str, list[State]], *names: str, over_after: int = 0, stop_after: int = 10**6
) -> tuple[int, list[str]]:
  """Runs a fleet of slices.

  Args:
    api: Fake API.
    script: States of the queued resources, by name.
    *names: Names of the slices.
    over_after: Number of polls after which the runs of a slice have ended, or 0 for never.
    stop_after: Number of polls after which the launcher is asked to stop.

  Returns:
    Exit code and logged lines.
  """
  api.script, polls, rounds = script, dict.fromkeys(names, 0), []

  def ended(name: str) -> int | None:
    polls[name] += 1
    return 0 if over_after and polls[name] > over_after else None

  with serve(api) as client:
    slices, _, lines = fleet(client, *names)
    code = slices.run(ended, lambda: rounds.append(1), lambda: len(rounds) >= stop_after, 0.001)
  return code, lines


def test_a_slice_is_deleted_when_its_runs_have_ended():
  api, waits = FakeTpuApi(), [State.ACCEPTED, State.PROVISIONING, State.PROVISIONING, State.ACTIVE]
  code, lines = run(api, {"s-0": waits}, "s", over_after=5)
  assert code == 0
  assert lines == [
    *("s-0: ACCEPTED", "s-0: PROVISIONING", "s-0: ACTIVE"),
    "s-0: all runs have ended, exit code 0; deleted",
  ]
  (created,), (deleted,) = api.created, api.deleted
  assert (created.parent, created.queued_resource_id) == (PARENT, "s-0")
  assert created.queued_resource.tpu.node_spec[0].node_id == "s-0"
  assert deleted == tpu_v2.DeleteQueuedResourceRequest(name=f"{PARENT}/queuedResources/s-0", force=True)


def test_a_preempted_slice_is_requested_again():
  api = FakeTpuApi()
  script = {"s-0": [State.ACTIVE, State.SUSPENDING], "s-1": [State.PROVISIONING, State.ACTIVE]}
  code, lines = run(api, script, "s", over_after=5)
  assert code == 0
  assert ids(api.created) == ["s-0", "s-1"]
  assert ids(api.deleted) == ["s-0", "s-1"]
  assert "s-0: SUSPENDING" in lines


def test_a_slice_that_fails_does_not_stop_the_others():
  api = FakeTpuApi()
  code, lines = run(api, {"a-0": [State.FAILED], "b-0": [State.ACTIVE]}, "a", "b", over_after=3)
  assert code == 1
  assert "a-0: no capacity; deleted" in lines
  assert "b-0: all runs have ended, exit code 0; deleted" in lines
  assert sorted(ids(api.deleted)) == ["a-0", "b-0"]


def test_a_slice_that_was_deleted_outside_of_the_launcher_is_not_requested_again():
  api = FakeTpuApi()
  api.script = {"s-0": [State.ACTIVE]}
  with serve(api) as client:
    slices, (each,), lines = fleet(client, "s")
    slices._create(each)
    client.delete_queued_resource(name=f"{PARENT}/queuedResources/s-0")
    slices._poll(each, lambda name: None)
  assert (each.code, lines) == (1, ["s-0: was deleted outside of this launcher"])


def test_a_launcher_that_is_stopped_deletes_its_slices():
  api = FakeTpuApi()
  code, _ = run(api, {"a-0": [State.ACTIVE], "b-0": [State.ACCEPTED]}, "a", "b", stop_after=2)
  assert code == 75
  assert sorted(ids(api.deleted)) == ["a-0", "b-0"]


def test_slices_are_deleted_after_an_exception():
  api = FakeTpuApi()
  api.script = {"s-0": [State.ACTIVE]}

  def broken() -> None:
    raise KeyError("a bug")

  with serve(api) as client, pytest.raises(KeyError, match="a bug"):
    fleet(client, "s")[0].run(lambda name: None, broken, lambda: False, 0.001)
  assert ids(api.deleted) == ["s-0"]


def test_only_slices_that_the_launcher_has_requested_are_deleted():
  """Another launcher requests its slice after this one has looked for existing slices."""
  api = FakeTpuApi()
  with serve(api) as client:
    _, (other,), _ = fleet(client, "b")
    client.create_queued_resource(request=queued_resources.request(other, PARENT))
    with pytest.raises(ConfigError, match=r"slice b-0 exists: another launcher .*: COMMAND --delete"):
      fleet(client, "a", "b", "c")[0].run(lambda name: None, lambda: None, lambda: False, 0.001)
  assert ids(api.created) == ["b-0", "a-0", "b-0"]
  assert (ids(api.deleted), api.existing) == (["a-0"], ["b-0"])


@pytest.mark.parametrize(("lost", "over_after", "code"), [(1, 2, 0), (10**6, 0, 75)])
def test_a_slice_whose_creation_was_not_confirmed_is_deleted(lost, over_after, code):
  """The slice is created, but the response is lost; the repeated request finds that it exists."""
  api = FakeTpuApi()

  def create(request, context):
    FakeTpuApi.create(api, request, context)
    if len(api.created) <= lost:
      context.abort(StatusCode.UNAVAILABLE, "connection reset")

  api.create = create
  found, lines = run(api, {"s-0": [State.ACTIVE]}, "s", over_after=over_after, stop_after=5)
  assert found == code
  assert "s-0: 503 connection reset; requesting it again" in lines
  assert (ids(api.deleted), api.existing) == (["s-0"], [])


def test_a_slice_whose_repeated_request_is_refused_is_deleted():
  """The first request has created it, although its response was an error."""
  api = FakeTpuApi()

  def create(request, context):
    if api.created:
      api.created.append(request)
      context.abort(StatusCode.RESOURCE_EXHAUSTED, "quota")
    FakeTpuApi.create(api, request, context)
    context.abort(StatusCode.UNAVAILABLE, "connection reset")

  api.create = create
  run(api, {"s-0": [State.ACTIVE]}, "s", over_after=10**6, stop_after=5)
  assert (ids(api.deleted), api.existing) == (["s-0"], [])


def test_a_failure_of_the_api_is_reported_and_ends_nothing():
  api = FakeTpuApi()
  api.errors = {"get": [StatusCode.UNAVAILABLE] * 100}  # more than the repetitions within one poll
  code, lines = run(api, {"s-0": [State.ACTIVE]}, "s", over_after=200)
  assert code == 0
  assert any(re.fullmatch("s: .*503 get: UNAVAILABLE; trying again", line) for line in lines), lines
  assert lines[-2:] == ["s-0: ACTIVE", "s-0: all runs have ended, exit code 0; deleted"]
  assert (ids(api.created), ids(api.deleted)) == (["s-0"], ["s-0"])


def test_a_preempted_slice_is_requested_until_the_quota_suffices():
  """The deleted slice may still count against the quota."""
  api = FakeTpuApi()
  api.errors = {"create": [None, StatusCode.RESOURCE_EXHAUSTED, StatusCode.RESOURCE_EXHAUSTED]}
  code, lines = run(api, {"s-0": [State.SUSPENDED], "s-1": [State.ACTIVE]}, "s", over_after=3)
  assert code == 0
  assert ids(api.created) == ["s-0", "s-1", "s-1", "s-1"]
  assert ids(api.deleted) == ["s-0", "s-1"]
  assert lines.count("s: 429 create: RESOURCE_EXHAUSTED; trying again") == 1


def test_records_are_collected_until_it_succeeds():
  """Also after the last slice has ended, because nothing would copy its records later."""
  api, calls = FakeTpuApi(), []
  api.script = {"s-0": [State.ACTIVE]}

  def collect() -> None:
    calls.append(1)
    if len(calls) < 5:
      raise OSError("the bucket is unreachable")

  with serve(api) as client:
    slices, _, lines = fleet(client, "s")
    assert slices.run(lambda name: 0 if len(calls) > 1 else None, collect, lambda: False, 0.001) == 0
  assert len(calls) == 5
  assert lines.count("records: the bucket is unreachable; trying again") == 1


def test_a_slice_that_cannot_be_deleted_is_named_and_does_not_keep_the_others():
  api = FakeTpuApi()
  api.errors = {"delete": [StatusCode.PERMISSION_DENIED]}
  code, lines = run(api, {"a-0": [State.ACTIVE], "b-0": [State.ACTIVE]}, "a", "b", stop_after=1)
  assert code == 75
  assert (ids(api.deleted), api.existing) == (["a-0", "b-0"], ["a-0"])
  assert lines[-2:] == [
    "a-0: not deleted (403 delete: PERMISSION_DENIED) and may cost money; delete it: COMMAND --delete",
    "b-0: deleted",
  ]
