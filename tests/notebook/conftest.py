"""A server with a mount and an endpoint; the notebook knows nothing but `tarn env`."""
import os
import pathlib
import shutil

import pytest

from tarn_server import TARN, TarnServer, why_no_mount

TOP = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def server():
    if why_no_mount():
        pytest.skip(why_no_mount())
    assert TARN.exists(), f"{TARN} is not built"
    path = TOP / "var" / "test" / f"notebook-{os.getpid()}"
    path.mkdir(parents=True)
    with TarnServer(path / "tarn", listen=True) as running:
        yield running
    shutil.rmtree(path, ignore_errors=True)
