"""Tarn's mount and an ext4 side by side."""
import pytest

from disks import LoopDisk
from places import folder_outside, skip_without_loop_devices
from tarn_server import TarnServer, why_no_mount

DISK_BYTES = 2 << 30


@pytest.fixture(scope="session")
def outside(request):
    with folder_outside(request, "differential") as path:
        yield path


@pytest.fixture(scope="session")
def reference(outside):
    """A new ext4."""
    skip_without_loop_devices()
    with LoopDisk(outside / "ext4", DISK_BYTES, "ext4") as disk:
        yield disk.path


@pytest.fixture(scope="session")
def server(outside):
    if why_no_mount():
        pytest.skip(why_no_mount())
    with TarnServer(outside / "tarn") as running:
        yield running
