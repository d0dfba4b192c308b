"""Cloud TPU slices as queued resources: requested, monitored, requested again when preempted, and deleted."""

import contextlib
import dataclasses
import functools
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from google.api_core import exceptions, retry
from google.cloud import tpu_v2

from resjax import experiment_cli, files
from resjax.records import RecordsError
from resjax.settings import ConfigError

State = tpu_v2.QueuedResourceState.State
TAKEN = (State.SUSPENDING, State.SUSPENDED)
SECONDS = 60.0  # for a request and its repetitions
REPEATED = retry.Retry(timeout=SECONDS)  # repeats a request after errors that its module calls transient
# Errors after which the next poll tries again. A slice may still be changing its state, or count against the quota.
TEMPORARY = (
  *(exceptions.ServerError, exceptions.RetryError, exceptions.TooManyRequests),
  *(exceptions.Conflict, exceptions.FailedPrecondition),
)


@dataclasses.dataclass
class Slice:
  """A slice that executes a share of the runs.

  Attributes:
    name: Name of the queued resource without the number of the attempt.
    resource: Queued resource to request.
    attempt: Number of preemptions.
    requested: Whether the queued resource of this attempt was requested, and not refused or deleted since.
    confirmed: Whether the request was confirmed; its response may be lost.
    state: Last known state.
    code: Exit code of its runs, or None before they have ended.
  """

  name: str
  resource: tpu_v2.QueuedResource
  attempt: int = 0
  requested: bool = False
  confirmed: bool = False
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

  def __init__(
    self,
    client: tpu_v2.TpuClient,
    parent: str,
    slices: Sequence[Slice],
    tell: Callable[[str], None],
    to_delete: str,
  ):
    """Creates the object without requesting slices.

    Args:
      client: Client of the Cloud TPU API.
      parent: Location, "projects/PROJECT/locations/ZONE".
      slices: Slices to request.
      tell: Function that prints one line for the user.
      to_delete: Command that deletes all slices of the experiment, for messages.
    """
    self._client, self._parent, self._slices, self._tell = client, parent, slices, tell
    self._to_delete = to_delete
    self._errors: dict[str, str] = {}  # last reported error of each slice and of the records

  def run(
    self, ended: Callable[[str], int | None], collect: Callable[[], None], stopped: Callable[[], bool], poll: float
  ) -> int:
    """Requests the slices and waits until the runs of all have ended; remaining slices are deleted in any case.

    Errors that may be temporary are reported, and the next poll tries again.

    Args:
      ended: Function from the name of a slice to the exit code of its runs, or None.
      collect: Function that copies the records to this machine.
      stopped: Function that returns whether to stop.
      poll: Seconds between queries of the slices' state.

    Returns:
      The worst exit code of the slices; 75 if stopped.

    Raises:
      ConfigError: A slice exists already.
      GoogleAPIError: The API refuses a request.
    """
    try:
      return self._wait(ended, collect, stopped, poll)
    finally:
      self._delete_requested()

  def _wait(
    self, ended: Callable[[str], int | None], collect: Callable[[], None], stopped: Callable[[], bool], poll: float
  ) -> int:
    """Does what `run` does, except for the deletion at the end."""
    for each in self._slices:
      self._create(each)
    collected = False
    while not collected or any(each.code is None for each in self._slices):
      if stopped():
        return experiment_cli.PREEMPTED
      time.sleep(poll)
      for each in self._slices:
        if each.code is None:
          self._attempt(each.name, functools.partial(self._poll, each, ended))
      collected = self._attempt("records", collect)
    return max(each.code or 0 for each in self._slices)

  def _attempt(self, subject: str, call: Callable[[], None]) -> bool:
    """Returns whether a call succeeded; an error that may be temporary is reported unless it was the last one, too."""
    try:
      call()
    except (*TEMPORARY, *files.io_errors(RecordsError)) as error:
      if self._errors.get(subject) != str(error):
        self._tell(f"{subject}: {_one_line(error)}; trying again")
      self._errors[subject] = str(error)
      return False
    self._errors.pop(subject, None)
    return True

  def _poll(self, each: Slice, ended: Callable[[str], int | None]) -> None:
    """Queries the state of a slice and reacts to it."""
    if not each.confirmed:
      self._create(each)
      return
    if (code := ended(each.name)) is not None:
      self._delete(each, f"all runs have ended, exit code {code}; ")
      each.code = code
      return
    try:
      state = self._client.get_queued_resource(name=self._name(each), retry=REPEATED, timeout=SECONDS).state
    except exceptions.NotFound:
      self._tell(f"{each.id}: was deleted outside of this launcher")
      each.requested, each.code = False, experiment_cli.FAILED
      return
    if state.state != each.state:
      each.state = state.state
      self._tell(f"{each.id}: {state.state.name}")
    if state.state in TAKEN:
      self._delete(each)
      each.attempt += 1
      self._create(each)
    elif state.state == State.FAILED:
      self._delete(each, f"{state.failed_data.error.message or 'no reason given'}; ")
      each.code = experiment_cli.FAILED

  def _create(self, each: Slice) -> None:
    """Requests a slice. If the request may have been lost, the slice stays unconfirmed.

    Raises:
      ConfigError: A slice of this name exists that this launcher has not requested.
      GoogleAPIError: The API refuses the request.
    """
    repeated, each.requested = each.requested, True
    try:
      self._client.create_queued_resource(request=request(each, self._parent), timeout=SECONDS)
    except exceptions.AlreadyExists as error:
      if not repeated:  # otherwise it is ours, and only the response to an earlier request was lost
        each.requested = False
        raise taken(each.id, self._to_delete) from error
    except exceptions.ClientError:
      each.requested = repeated  # an earlier request may have created it
      raise
    except exceptions.ServerError as error:
      self._tell(f"{each.id}: {_one_line(error)}; requesting it again")
      return
    each.confirmed, each.state = True, None

  def _delete(self, each: Slice, reason: str = "") -> None:
    """Deletes a queued resource with its machines in any state, and reports the reason."""
    _delete(self._client, self._name(each))
    each.requested = each.confirmed = False
    self._tell(f"{each.id}: {reason}deleted")

  def _delete_requested(self) -> None:
    """Deletes the slices that this launcher has requested, and reports those that may remain."""
    for each in self._slices:
      if each.requested:
        try:
          self._delete(each)
        except Exception as error:  # of any kind, because the others have to be deleted nevertheless
          self._tell(f"{each.id}: not deleted ({_one_line(error)}) and may cost money; delete it: {self._to_delete}")

  def _name(self, each: Slice) -> str:
    return f"{self._parent}/queuedResources/{each.id}"


def taken(name: str, to_delete: str) -> ConfigError:
  """Returns the error that a slice exists.

  Args:
    name: Name of the queued resource.
    to_delete: Command that deletes all slices of the experiment.
  """
  return ConfigError(
    f"slice {name} exists: another launcher of this experiment is running, or its slices are still being deleted; wait "
    f"until that has ended, or delete the slices: {to_delete}"
  )


def find(client: tpu_v2.TpuClient, parent: str, prefix: str) -> list[str]:
  """Returns the names of the queued resources that consist of a prefix, the number of a slice and of an attempt."""
  found = [
    each.name.rpartition("/")[2]
    for each in client.list_queued_resources(parent=parent, retry=REPEATED, timeout=SECONDS)
  ]
  return [name for name in found if re.fullmatch(rf"{re.escape(prefix)}\d+-\d+", name)]


def delete_all(client: tpu_v2.TpuClient, parent: str, prefix: str, tell: Callable[[str], None]) -> bool:
  """Deletes the queued resources that `find` returns, with their machines.

  Args:
    client: Client of the Cloud TPU API.
    parent: Location, "projects/PROJECT/locations/ZONE".
    prefix: Prefix of the names.
    tell: Function that prints one line for the user.

  Returns:
    Whether all were deleted.

  Raises:
    GoogleAPIError: The API refuses to list them.
  """
  complete = True
  for name in find(client, parent, prefix):
    try:
      _delete(client, f"{parent}/queuedResources/{name}")
      tell(f"{name}: deleted")
    except exceptions.GoogleAPIError as error:
      complete = False
      tell(f"{name}: not deleted ({_one_line(error)})")
  return complete


def _delete(client: tpu_v2.TpuClient, name: str) -> None:
  """Deletes a queued resource, if it exists, with its machines in any state."""
  with contextlib.suppress(exceptions.NotFound):
    client.delete_queued_resource(
      request=tpu_v2.DeleteQueuedResourceRequest(name=name, force=True), retry=REPEATED, timeout=SECONDS
    )


def _one_line(error: Exception) -> str:
  return " ".join(str(error).split()) or type(error).__name__
