"""Buckets for tests: in fsspec's memory, and served by an emulator of Cloud Storage."""

import contextlib
from collections.abc import Iterator

import fsspec
import gcsfs
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem
from gcp_storage_emulator.server import create_server


class InMemory(MemoryFileSystem):
  """fsspec's memory, by the address of a bucket."""

  protocol = ("gs", "gcs")

  @classmethod
  def _strip_protocol(cls, path):
    return MemoryFileSystem._strip_protocol(path.removeprefix("gs://").removeprefix("gcs://"))


@contextlib.contextmanager
def memory() -> Iterator[InMemory]:
  """Makes buckets memory; who comes later finds none of it."""

  def served_by(kind):
    for protocol in kind.protocol:
      fsspec.register_implementation(protocol, kind, clobber=True)
    backend.fsspec_backend._get_filesystem.cache_clear()
    InMemory.store.clear()

  served_by(InMemory)
  try:
    yield fsspec.filesystem("gs")
  finally:
    served_by(gcsfs.GCSFileSystem)


@contextlib.contextmanager
def emulated() -> Iterator[dict[str, str]]:
  """Serves an empty bucket, gs://bucket; what a process must have in its environment to find it."""
  server = create_server("localhost", 0, in_memory=True, default_bucket="bucket")
  server.start()
  address = f"http://localhost:{server._api._httpd.server_port}"
  try:
    yield {"STORAGE_EMULATOR_HOST": address, "TENSORSTORE_GCS_HTTP_URL": address, "NO_GCE_CHECK": "true"}
  finally:
    server.stop()
