"""A disk that can be cut, and a Tarn whose root lies on it while everything else does not."""
import pytest

from disks import LoopDisk
from places import (folder_outside, pytest_runtest_makereport, ready_to_start,  # noqa: F401 (a hook)
                    skip_without_loop_devices)
from tarn_server import TarnServer
from telling import pytest_terminal_summary  # noqa: F401 (a hook)

DISK_BYTES = 2 << 30


@pytest.fixture
def outside(request):
    """On the local disk, which is not cut."""
    with folder_outside(request, "power") as path:
        yield path


@pytest.fixture
def disk(outside, request):
    skip_without_loop_devices()
    with LoopDisk(outside / "cut", DISK_BYTES, request.param) as disk:
        yield disk


@pytest.fixture
def server(outside, disk):
    """Made, not started."""
    server = TarnServer(outside / "tarn")
    server.root = disk.path / "root"
    with ready_to_start(server):
        yield server
