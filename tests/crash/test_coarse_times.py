"""A root whose file system stamps files once a tick: a write may leave a file's times as they were.

ext3 is such a one on every kernel (ext4, XFS and btrfs are before Linux 6.13). What says that a file was opened
for writing and not written must not be fooled.
"""
import os
import random

import pytest

from disks import LoopDisk
from places import skip_without_loop_devices


@pytest.fixture
def coarse(server, outside):
    """The server, running, on an ext3 of its own."""
    skip_without_loop_devices()
    with LoopDisk(outside / "coarse", 600 << 20, "ext3") as disk:
        server.root = disk.path / "root"
        server.init()
        server.start()
        yield server
        server.destroy()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("size", [100, 50_000, 300_000])
def test_a_write_right_after_the_open_is_not_lost(coarse, size):
    """Closed at once, or with the worker killed in between."""
    rng = random.Random(size)
    wanted = {}
    for number in range(60):
        wanted[f"f{number}"] = rng.randbytes(size)
        (coarse.mnt / f"f{number}").write_bytes(wanted[f"f{number}"])
    coarse.command("sync")
    for name in wanted:
        new = rng.randbytes(50)
        with open(coarse.mnt / name, "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), new, 20)
        wanted[name] = wanted[name][:20] + new + wanted[name][70:]
    assert [name for name in wanted if (coarse.mnt / name).read_bytes() != wanted[name]] == []
    coarse.command("sync")
    assert [name for name in wanted if (coarse.mnt / name).read_bytes() != wanted[name]] == []
    held = []
    for name in wanted:
        new = rng.randbytes(50)
        held.append(os.open(coarse.mnt / name, os.O_RDWR))
        os.pwrite(held[-1], new, 10)
        wanted[name] = wanted[name][:10] + new + wanted[name][60:]
    coarse.wait_for_new_worker(coarse.kill_worker())
    for descriptor in held:
        os.close(descriptor)
    assert [name for name in wanted if (coarse.mnt / name).read_bytes() != wanted[name]] == []
    assert coarse.stop() == 0
    coarse.start()
    assert [name for name in wanted if (coarse.mnt / name).read_bytes() != wanted[name]] == []
