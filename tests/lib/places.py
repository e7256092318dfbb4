"""What the suites that kill things share in their conftest.py: `from places import ...` each hook."""
import contextlib
import os
import pathlib
import re
import shutil

import pytest

from programs import end_programs
from tarn_server import TARN, why_no_mount

TOP = pathlib.Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def folder_outside(request, suite):
    """An empty folder on the local disk; kept when the test fails, for its records are the evidence."""
    path = TOP / "var" / "test" / f"{suite}-{os.getpid()}" / re.sub(r"\W+", "_", request.node.name)
    path.mkdir(parents=True)
    yield path
    if not getattr(request.node, "has_failed", False):
        shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()


@contextlib.contextmanager
def ready_to_start(server):
    """The server with its root made, and ended by force in the end whatever happens."""
    if why_no_mount():
        pytest.skip(why_no_mount())
    assert TARN.exists(), f"{TARN} is not built"
    try:
        server.init()
        yield server
    finally:
        end_programs()
        server.destroy()


def skip_without_loop_devices():
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("no loop devices on this machine")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    item.has_failed = getattr(item, "has_failed", False) or report.failed
