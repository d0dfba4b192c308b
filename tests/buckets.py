"""Buckets for tests: in memory, and served by an emulator of Cloud Storage."""

import contextlib
from collections.abc import Iterator

import fsspec
import gcsfs
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem
from gcp_storage_emulator.server import create_server


class InMemoryBuckets(MemoryFileSystem):
  """In-memory file system for addresses that begin with gs:// or gcs://."""

  protocol = ("gs", "gcs")

  @classmethod
  def _strip_protocol(cls, path):
    return MemoryFileSystem._strip_protocol(path.removeprefix("gs://").removeprefix("gcs://"))


@contextlib.contextmanager
def in_memory_buckets() -> Iterator[InMemoryBuckets]:
  """Keeps all buckets in memory, which is empty before and after."""

  def register(file_system):
    for protocol in file_system.protocol:
      fsspec.register_implementation(protocol, file_system, clobber=True)
    backend.fsspec_backend._get_filesystem.cache_clear()
    InMemoryBuckets.store.clear()

  register(InMemoryBuckets)
  try:
    yield fsspec.filesystem("gs")
  finally:
    register(gcsfs.GCSFileSystem)


@contextlib.contextmanager
def emulator() -> Iterator[dict[str, str]]:
  """Serves an empty bucket, gs://bucket, and yields the environment variables with which processes find it."""
  server = create_server("localhost", 0, in_memory=True, default_bucket="bucket")
  server.start()
  address = f"http://localhost:{server._api._httpd.server_port}"
  try:
    yield {"STORAGE_EMULATOR_HOST": address, "TENSORSTORE_GCS_HTTP_URL": address, "NO_GCE_CHECK": "true"}
  finally:
    server.stop()
