"""A small disk with a Tarn whose root lies on it; the mount point and the log lie elsewhere."""
import pytest

from disks import LoopDisk
from places import (folder_outside, pytest_runtest_makereport, ready_to_start,  # noqa: F401 (a hook)
                    skip_without_loop_devices)
from tarn_server import TarnServer
from telling import pytest_terminal_summary  # noqa: F401 (a hook)

DISK_BYTES = 400 << 20


@pytest.fixture
def outside(request):
    with folder_outside(request, "disk-full") as path:
        yield path


@pytest.fixture
def disk(outside):
    skip_without_loop_devices()
    with LoopDisk(outside / "small", DISK_BYTES) as disk:
        yield disk


@pytest.fixture
def server(outside, disk):
    """Running."""
    server = TarnServer(outside / "tarn", ballast="16MiB")
    server.root = disk.path / "root"
    with ready_to_start(server):
        server.start()
        yield server
