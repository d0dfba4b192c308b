"""Cloud TPU slices as queued resources: requested, monitored, requested again when preempted, and deleted."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from google.api_core.exceptions import NotFound
from google.cloud import tpu_v2

from resjax import experiment_cli

State = tpu_v2.QueuedResourceState.State
TAKEN = (State.SUSPENDING, State.SUSPENDED)


@dataclasses.dataclass
class Slice:
  """A slice that executes a share of the runs.

  Attributes:
    name: Name of the queued resource without the number of the attempt.
    resource: Queued resource to request.
    attempt: Number of preemptions.
    state: Last known state.
    code: Exit code of its runs, or None before they have ended.
  """

  name: str
  resource: tpu_v2.QueuedResource
  attempt: int = 0
  state: Any = None
  code: int | None = None

  @property
  def id(self) -> str:
    """Name of the queued resource."""
    return f"{self.name}-{self.attempt}"


def request(each: Slice, parent: str) -> tpu_v2.CreateQueuedResourceRequest:
  """Returns the request for a slice in a location, "projects/PROJECT/locations/ZONE"."""
  resource = tpu_v2.QueuedResource(each.resource)
  resource.tpu.node_spec[0].node_id = each.id
  return tpu_v2.CreateQueuedResourceRequest(parent=parent, queued_resource_id=each.id, queued_resource=resource)


class Fleet:
  """All slices of an experiment."""

  def __init__(self, client: tpu_v2.TpuClient, parent: str, slices: Sequence[Slice], tell: Callable[[str], None]):
    """Creates the object without requesting slices.

    Args:
      client: Client of the Cloud TPU API.
      parent: Location, "projects/PROJECT/locations/ZONE".
      slices: Slices to request.
      tell: Function that prints one line for the user.
    """
    self._client, self._parent, self._slices, self._tell = client, parent, slices, tell

  def run(
    self, ended: Callable[[str], int | None], collect: Callable[[], None], stopped: Callable[[], bool], poll: float
  ) -> int:
    """Requests the slices and waits until the runs of all have ended; remaining slices are deleted in any case.

    Args:
      ended: Function from the name of a slice to the exit code of its runs, or None.
      collect: Function that copies the records to this machine.
      stopped: Function that returns whether to stop.
      poll: Seconds between queries of the slices' state.

    Returns:
      The worst exit code of the slices; 75 if stopped.
    """
    try:
      for each in self._slices:
        self._create(each)
      while any(each.code is None for each in self._slices):
        if stopped():
          return experiment_cli.PREEMPTED
        time.sleep(poll)
        for each in self._slices:
          if each.code is None:
            self._poll(each, ended)
        collect()
    finally:
      for each in self._slices:
        if each.code is None:
          self._delete(each)
    return max(each.code or 0 for each in self._slices)

  def _poll(self, each: Slice, ended: Callable[[str], int | None]) -> None:
    """Queries the state of a slice and reacts to it."""
    if (code := ended(each.name)) is not None:
      self._tell(f"{each.id}: all runs have ended, exit code {code}")
      self._delete(each)
      each.code = code
      return
    try:
      state = self._client.get_queued_resource(name=self._name(each)).state
    except NotFound:
      self._tell(f"{each.id}: was deleted outside of this launcher")
      each.code = experiment_cli.FAILED
      return
    if state.state != each.state:
      each.state = state.state
      self._tell(f"{each.id}: {state.state.name}")
    if state.state in TAKEN:
      self._delete(each)
      each.attempt += 1
      self._create(each)
    elif state.state == State.FAILED:
      self._tell(f"{each.id}: {state.failed_data.error.message or 'no reason given'}")
      self._delete(each)
      each.code = experiment_cli.FAILED

  def _create(self, each: Slice) -> None:
    self._client.create_queued_resource(request=request(each, self._parent))
    each.state = None

  def _delete(self, each: Slice) -> None:
    """Deletes a queued resource with its machines in any state."""
    try:
      self._client.delete_queued_resource(request=tpu_v2.DeleteQueuedResourceRequest(name=self._name(each), force=True))
    except NotFound:
      return
    self._tell(f"{each.id}: deleted")

  def _name(self, each: Slice) -> str:
    return f"{self._parent}/queuedResources/{each.id}"


def delete_all(client: tpu_v2.TpuClient, parent: str, prefix: str) -> list[str]:
  """Deletes the queued resources whose names have a prefix, with their machines; returns their names."""
  found = [each.name for each in client.list_queued_resources(parent=parent)]
  names = [name for name in found if name.rpartition("/")[2].startswith(prefix)]
  for name in names:
    client.delete_queued_resource(request=tpu_v2.DeleteQueuedResourceRequest(name=name, force=True))
  return names
