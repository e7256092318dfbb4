"""One server with a mount and an endpoint for the suite; clients know nothing but `tarn env`."""
import os
import pathlib
import shutil

import pytest

from cloud import open_cloud
from tarn_server import TARN, TarnServer, why_no_mount

TOP = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def scratch():
    path = TOP / "var" / "test" / f"sagemaker-{os.getpid()}"
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)


ARGUMENTS = {"environment": {"TARN_JOBS_STOP_GRACE_S": "1"}}


@pytest.fixture(scope="session")
def cloud(scratch):
    if why_no_mount():
        pytest.skip(why_no_mount())
    assert TARN.exists(), f"{TARN} is not built"
    with TarnServer(scratch / "tarn", listen=True, **ARGUMENTS) as server:
        yield open_cloud(server)


@pytest.fixture
def own_cloud(scratch, request):
    """A server of the test's own, to be killed."""
    if why_no_mount():
        pytest.skip(why_no_mount())
    with TarnServer(scratch / request.node.name, listen=True, **ARGUMENTS) as server:
        yield open_cloud(server)
