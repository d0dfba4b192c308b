"""A fake of the Cloud TPU API: a gRPC server in this process that answers the real client."""

import contextlib
from collections.abc import Iterator
from concurrent import futures

import grpc
from google.cloud import tpu_v2
from google.cloud.tpu_v2.services.tpu.transports import TpuGrpcTransport
from google.longrunning import operations_pb2

from launch import queued_resources

PARENT = "projects/p/locations/z"
State = tpu_v2.QueuedResourceState.State


class FakeTpuApi:
  """Queued resources whose states are scripted.

  Attributes:
    created: Requests to create a queued resource, in order of arrival.
    deleted: Requests to delete a queued resource, in order of arrival.
    script: For each queued resource, by the last part of its name, the states that successive `get` requests return;
      the last state is returned by all further requests.
    errors: For "create", "get", "delete" and "list", the status codes with which successive requests fail before they
      have an effect; None for a request that succeeds, as do those after the last.
  """

  def __init__(self) -> None:
    self.created: list[tpu_v2.CreateQueuedResourceRequest] = []
    self.deleted: list[tpu_v2.DeleteQueuedResourceRequest] = []
    self.script: dict[str, list[State]] = {}
    self.errors: dict[str, list[grpc.StatusCode | None]] = {}
    self._resources: dict[str, tpu_v2.QueuedResource] = {}

  @property
  def existing(self) -> list[str]:
    """Names of the queued resources without the location."""
    return [name.rpartition("/")[2] for name in self._resources]

  def create(self, request, context):
    self.created.append(request)
    self._fail("create", context)
    if request.queued_resource_id in self.existing:
      context.abort(grpc.StatusCode.ALREADY_EXISTS, "the queued resource exists")
    resource = tpu_v2.QueuedResource(request.queued_resource)
    resource.name = f"{request.parent}/queuedResources/{request.queued_resource_id}"
    self._resources[resource.name] = resource
    return operations_pb2.Operation(name=f"{request.parent}/operations/{len(self.created)}", done=False)

  def get(self, request, context):
    self._fail("get", context)
    if request.name not in self._resources:
      context.abort(grpc.StatusCode.NOT_FOUND, "no such queued resource")
    states, resource = self.script[request.name.rpartition("/")[2]], self._resources[request.name]
    resource.state = tpu_v2.QueuedResourceState(state=states.pop(0) if len(states) > 1 else states[0])
    if resource.state.state == State.FAILED:
      resource.state.failed_data.error.message = "no capacity"
    return resource

  def delete(self, request, context):
    self.deleted.append(request)
    self._fail("delete", context)
    if self._resources.pop(request.name, None) is None:
      context.abort(grpc.StatusCode.NOT_FOUND, "no such queued resource")
    return operations_pb2.Operation(name="delete", done=False)

  def list(self, request, context):
    self._fail("list", context)
    found = [each for name, each in self._resources.items() if name.startswith(request.parent)]
    return tpu_v2.ListQueuedResourcesResponse(queued_resources=found)

  def _fail(self, method: str, context: grpc.ServicerContext) -> None:
    """Ends a request with the next status code of `errors`, if there is one."""
    if (codes := self.errors.get(method)) and (code := codes.pop(0)):
      context.abort(code, f"{method}: {code.name}")


@contextlib.contextmanager
def serve(api: FakeTpuApi) -> Iterator[tpu_v2.TpuClient]:
  """Serves the fake API on a free port and yields a real client connected to it."""

  def method(call, request: type, serialize):
    return grpc.unary_unary_rpc_method_handler(call, request.deserialize, serialize)

  operation = operations_pb2.Operation.SerializeToString
  methods = {
    "CreateQueuedResource": method(api.create, tpu_v2.CreateQueuedResourceRequest, operation),
    "DeleteQueuedResource": method(api.delete, tpu_v2.DeleteQueuedResourceRequest, operation),
    "GetQueuedResource": method(api.get, tpu_v2.GetQueuedResourceRequest, tpu_v2.QueuedResource.serialize),
    "ListQueuedResources": method(
      api.list, tpu_v2.ListQueuedResourcesRequest, tpu_v2.ListQueuedResourcesResponse.serialize
    ),
  }
  server = grpc.server(futures.ThreadPoolExecutor(2))
  server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("google.cloud.tpu.v2.Tpu", methods),))
  port = server.add_insecure_port("127.0.0.1:0")
  server.start()
  with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    yield tpu_v2.TpuClient(transport=TpuGrpcTransport(channel=channel))
  server.stop(None).wait()


def fleet(client, *names: str) -> tuple[queued_resources.Fleet, list[queued_resources.Slice], list[str]]:
  """Returns a fleet of slices, the slices, and the list to which the fleet logs."""
  resource = tpu_v2.QueuedResource(tpu={"node_spec": [{"parent": PARENT, "node": {"runtime_version": "v"}}]})
  slices, lines = [queued_resources.Slice(name, resource) for name in names], []
  return queued_resources.Fleet(client, PARENT, slices, lines.append, "COMMAND --delete"), slices, lines


def ids(requests) -> list[str]:
  """Returns the ids of the queued resources of requests."""
  return [getattr(each, "queued_resource_id", "") or each.name.rpartition("/")[2] for each in requests]
