"""A 200 is a promise: after the program was killed, what it acknowledged is there."""
import os
import time

import pytest

from conftest import environment_of, error_of, make_client
from tarn_server import TarnServer, why_no_mount


@pytest.fixture
def own(scratch, request):
    if why_no_mount():
        pytest.skip(why_no_mount())
    with TarnServer(scratch / request.node.name, listen=True) as running:
        yield running


def test_puts_and_parts_survive_a_kill(own):
    s3 = make_client(environment_of(own))
    s3.create_bucket(Bucket="kept")
    data = {f"d/{size}": os.urandom(size) for size in (0, 100, 20_000, 100_000, 1_000_000)}
    for key, body in data.items():
        s3.put_object(Bucket="kept", Key=key, Body=body, Metadata={"m": key})
    upload = s3.create_multipart_upload(Bucket="kept", Key="big")["UploadId"]
    name = {"Bucket": "kept", "Key": "big", "UploadId": upload}
    parts = [os.urandom(5 << 20), b"tail"]
    etags = [s3.upload_part(**name, PartNumber=i + 1, Body=part)["ETag"] for i, part in enumerate(parts)]
    own.kill_all()
    own.start()
    s3 = make_client(environment_of(own))
    for key, body in data.items():
        got = s3.get_object(Bucket="kept", Key=key)
        assert got["Body"].read() == body and got["Metadata"] == {"m": key}
        assert (own.mnt / "kept" / key).read_bytes() == body
    s3.complete_multipart_upload(**name, MultipartUpload={"Parts": [{"PartNumber": i + 1, "ETag": e} for i, e in enumerate(etags)]})
    own.kill_all()
    own.start()
    s3 = make_client(environment_of(own))
    assert s3.get_object(Bucket="kept", Key="big")["Body"].read() == b"".join(parts)
    assert own.command("fsck", check=False).returncode == 0


@pytest.mark.parametrize("point", ["fs.put.after_sync", "fs.put.after_commit", "fs.upload.after_complete"])
def test_killed_inside(own, point):
    """Before the commit the old object is there, after it the new one; never neither, never a mixture."""
    s3 = make_client(environment_of(own))
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="k", Body=b"old")
    own.stop()
    own.start(environment={"TARN_KILL_POINT": point})
    s3 = make_client(environment_of(own), read_timeout=20)
    try:
        if "upload" in point:
            upload = s3.create_multipart_upload(Bucket="kept", Key="k")["UploadId"]
            name = {"Bucket": "kept", "Key": "k", "UploadId": upload}
            etag = s3.upload_part(**name, PartNumber=1, Body=b"new")["ETag"]
            s3.complete_multipart_upload(**name, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
        else:
            s3.put_object(Bucket="kept", Key="k", Body=b"new")
    except Exception:
        pass  # the connection broke; the next worker may even have answered a retry
    own.kill_all()
    own.start()
    s3 = make_client(environment_of(own))
    got = s3.get_object(Bucket="kept", Key="k")["Body"].read()
    assert got in ((b"old", b"new") if point == "fs.put.after_sync" else (b"new",))
    assert (own.mnt / "kept" / "k").read_bytes() == got
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="kept")
    assert error_of(s3.head_object, Bucket="kept", Key="none")[0] == 404


def test_a_worker_that_dies_is_replaced(own):
    s3 = make_client(environment_of(own))
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="k", Body=b"x")
    own.wait_for_new_worker(own.kill_worker())
    deadline = time.monotonic() + 20
    while True:
        try:
            assert s3.get_object(Bucket="kept", Key="k")["Body"].read() == b"x"
            break
        except AssertionError:
            raise
        except Exception:
            assert time.monotonic() < deadline, own.tail()
            time.sleep(0.1)
