"""The worker killed where the kernel holds no file for it: a mount without passthrough.

With passthrough the kernel's own reference keeps a file that has no name yet; without it nothing does,
so that Tarn must have named the file before anybody was told of it.
"""
import os
import random
import time

import pytest

from history import Rules
from programs import Programs
from tarn_server import TARN, TarnServer
from telling import report

pytestmark = pytest.mark.timeout(200)
PROCESS_DIED = Rules(is_power_cut=False)
SIZES = [0, 1, 3000, 20_000, 200_000, 5_000_000]


@pytest.fixture
def served(server):
    server.arguments = ["--no-passthrough"]
    server.start()
    assert server.status()["mount"]["passthrough"]["state"] == "off"
    return server


def kill_worker(server):
    server.wait_for_new_worker(server.kill_worker())


@pytest.mark.parametrize("size", SIZES)
def test_new_files_outlive_the_worker(served, size):
    """Just closed, still open, unlinked while open, written over while open: none was synced."""
    data, other = random.Random(size).randbytes(size), random.Random(-size).randbytes(size)
    (served.mnt / "closed").write_bytes(data)
    (served.mnt / "rewritten").write_bytes(data)
    served.command("sync")
    (served.mnt / "just closed").write_bytes(data)
    with open(served.mnt / "open", "x+b", buffering=0) as still_open, \
            open(served.mnt / "unlinked", "x+b", buffering=0) as unlinked, \
            open(served.mnt / "rewritten", "w+b", buffering=0) as rewritten:
        for file in (still_open, unlinked, rewritten):
            file.write(other)
        os.unlink(served.mnt / "unlinked")
        for _ in range(2):
            kill_worker(served)
            assert (served.mnt / "closed").read_bytes() == data
            assert (served.mnt / "just closed").read_bytes() == data
            assert (served.mnt / "open").read_bytes() == other
            assert (served.mnt / "rewritten").read_bytes() == other
            assert os.pread(unlinked.fileno(), size + 1, 0) == other
        for file in (still_open, unlinked, rewritten):
            file.write(b"more")
            assert os.pread(file.fileno(), size + 10, 0) == other + b"more"
    assert sorted(os.listdir(served.mnt)) == ["closed", "just closed", "open", "rewritten"]
    assert (served.mnt / "open").read_bytes() == (served.mnt / "rewritten").read_bytes() == other + b"more"
    assert served.stop() == 0
    served.start()
    assert (served.mnt / "just closed").read_bytes() == data
    assert (served.mnt / "open").read_bytes() == (served.mnt / "rewritten").read_bytes() == other + b"more"
    assert served.command("fsck", check=False).returncode == 0


def test_programs_go_on(served, outside):
    """Writers, readers of their own files, a database: nobody sees an error, nothing is lost."""
    rng = random.Random(int(os.environ.get("TARN_SEED", "11")))
    programs = Programs(served.mnt, outside, "served", rng.randrange(10**6), (TARN, served.root))
    programs.start(["files", "files-unsynced", "sqlite-wal", "extract"], goes_on=True)
    for _ in range(4):
        time.sleep(rng.uniform(0.3, 1.2))
        kill_worker(served)
    time.sleep(0.5)
    failed = programs.stop()
    assert not failed, f"programs saw errors: {failed}; {served.tail()}"
    counts = programs.check(PROCESS_DIED, 0, loses_nothing=True)
    assert served.stop() == 0
    served.start()
    programs.check(PROCESS_DIED, 0, loses_nothing=True)
    report(f"without passthrough: 4 kills of the worker, {counts['acknowledged']} operations, none lost")
