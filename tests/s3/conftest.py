"""One server with a mount and an endpoint for the suite; clients know nothing but `tarn env`."""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tarn_server import TARN, TarnServer, why_no_mount

TOP = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(sys.executable).parent
LONG = os.environ.get("TARN_LONG") == "1"


@pytest.fixture(scope="session")
def scratch():
    path = TOP / "var" / "test" / f"s3-{os.getpid()}"
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def server(scratch):
    if why_no_mount():
        pytest.skip(why_no_mount())
    assert TARN.exists(), f"{TARN} is not built"
    with TarnServer(scratch / "tarn", listen=True) as running:
        yield running


def environment_of(server, *arguments):
    """The variables that `eval $(tarn env)` leaves in a shell, and no others that clients read."""
    script = f'eval $("$TARN" env {" ".join(arguments)}); env -0'
    shell = subprocess.run(["sh", "-c", script], capture_output=True,
                           env={"PATH": os.environ["PATH"], "TARN": str(TARN), "AWS_PROFILE": "elsewhere",
                                "AWS_SESSION_TOKEN": "old", "TARN_ROOT": str(server.root)})
    assert shell.returncode == 0 and not shell.stderr, shell.stderr.decode()
    found = dict(item.split("=", 1) for item in shell.stdout.decode().split("\0") if item)
    return {**found, "HOME": str(server.folder), "PATH": f"{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}


@pytest.fixture(scope="session")
def environment(server):
    return environment_of(server)


def make_client(environment, **options):
    """boto3's S3 client as a program under `environment` has it."""
    import boto3
    from botocore.config import Config
    saved = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        session = boto3.session.Session()
        config = Config(retries={"max_attempts": 1}, **options)
        return session.client("s3", config=config)
    finally:
        os.environ.clear()
        os.environ.update(saved)


@pytest.fixture(scope="session")
def s3(environment):
    return make_client(environment)


@pytest.fixture
def bucket(s3, server, request):
    """An empty bucket of the test's own; its folder on the mount is server.mnt / bucket."""
    name = "t-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:50].strip("-")
    s3.create_bucket(Bucket=name)
    yield name
    # A file that was hidden by a directory appears when that is gone, so rm may need a second go.
    for _ in range(3):
        done = subprocess.run(["rm", "-rf", str(server.mnt / name)], capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def folder(server, bucket):
    return server.mnt / bucket


def error_of(call, **arguments):
    """(HTTP status, code) of the refusal that `call` ends with."""
    from botocore.exceptions import ClientError
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]
