"""One server for the suite; each test gets a folder of its own on the mount.

TARN_POSIX_ON=DIR runs the same tests on another file system instead: so the tests themselves are
checked (ext4 passes them), and a difference is Tarn's.
"""
import os
import pathlib
import re
import shutil

import pytest

from tarn_server import TARN, TarnServer, why_no_mount

TOP = pathlib.Path(__file__).resolve().parents[2]
OTHER = os.environ.get("TARN_POSIX_ON")


@pytest.fixture(scope="session")
def scratch():
    """A folder on the local disk, outside Tarn."""
    path = TOP / "var" / "test" / f"posix-{os.getpid()}"
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def server(scratch):
    if OTHER:
        pytest.skip("of Tarn alone (TARN_POSIX_ON is set)")
    if why_no_mount():
        pytest.skip(why_no_mount())
    assert TARN.exists(), f"{TARN} is not built"
    with TarnServer(scratch / "tarn") as running:
        yield running


@pytest.fixture(scope="session")
def top(request):
    """The file system under test."""
    return pathlib.Path(OTHER) if OTHER else request.getfixturevalue("server").mnt


@pytest.fixture
def d(top, request):
    """An empty folder on it, open to every user."""
    path = top / re.sub(r"\W+", "_", request.node.name)
    path.mkdir()
    path.chmod(0o777)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def outside(scratch, request):
    """An empty folder on the local disk, for the other side of a round trip."""
    path = scratch / re.sub(r"\W+", "_", request.node.name)
    path.mkdir()
    yield path
    shutil.rmtree(path, ignore_errors=True)
