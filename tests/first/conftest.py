"""What a user meets in the first ten minutes: machines of several kinds, each with a Tarn of its own."""
import os
import pathlib
import re
import shutil

import pytest

from tarn_server import TARN, why_no_mount

TOP = pathlib.Path(__file__).resolve().parents[2]
# An ordinary user that every Debian has.
USER = 33


@pytest.fixture
def outside(request):
    """An empty folder on the local disk."""
    assert TARN.exists(), f"{TARN} is not built"
    path = TOP / "var" / "test" / f"first-{os.getpid()}" / re.sub(r"\W+", "_", request.node.name)
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def as_root():
    if why_no_mount():
        pytest.skip(why_no_mount())


@pytest.fixture
def home(outside):
    """A folder of the ordinary user's with an empty directory mnt in it."""
    path = outside / "home"
    (path / "mnt").mkdir(parents=True)
    for each in (path, path / "mnt"):
        os.chown(each, USER, USER)
    return path
