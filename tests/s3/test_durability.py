"""A 200 is a promise: after the program was killed, what it acknowledged is there."""
import hashlib
import os
import random
import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from conftest import environment_of, error_of, make_client
from disks import LoopDisk
from places import skip_without_loop_devices
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


class Uploader(threading.Thread):
    """PUTs and multipart uploads without end, each of new bytes; remembers what was acknowledged."""

    def __init__(self, server, number, stop):
        super().__init__()
        self.s3 = make_client(environment_of(server), connect_timeout=5, read_timeout=20)
        self.number, self.stop = number, stop
        self.acknowledged = {}  # key -> MD5
        self.tried = {}  # key -> MD5s of what was sent and perhaps stored

    def run(self):
        rng = random.Random(self.number)
        count = 0
        while not self.stop.is_set():
            count += 1
            # Some keys are written again and again.
            key = f"u{self.number}/{count if count % 3 else 'again'}"
            body = os.urandom(rng.choice([0, 100, 16_385, 200_000, 1_000_000]))
            is_multipart = count % 7 == 0
            if is_multipart:
                body += os.urandom(5 << 20)
            digest = hashlib.md5(body).hexdigest()
            self.tried.setdefault(key, set()).add(digest)
            try:
                if is_multipart:
                    self.put_in_parts(key, body)
                else:
                    self.s3.put_object(Bucket="kept", Key=key, Body=body)
            except (ClientError, BotoCoreError):
                time.sleep(0.05)
                continue
            self.acknowledged[key] = digest
            # Anything sent before this answer has been replaced.
            self.tried[key] = {digest}

    def put_in_parts(self, key, body):
        name = {"Bucket": "kept", "Key": key}
        name["UploadId"] = self.s3.create_multipart_upload(**name)["UploadId"]
        parts = [{"PartNumber": i + 1, "ETag": self.s3.upload_part(**name, PartNumber=i + 1, Body=part)["ETag"]}
                 for i, part in enumerate([body[:5 << 20], body[5 << 20:]]) if part]
        self.s3.complete_multipart_upload(**name, MultipartUpload={"Parts": parts})


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", ["worker", "program"])
def test_killed_while_clients_upload(own, victim):
    """In the middle of PUTs and parts: every object that got its 200 is there, none is a mixture."""
    make_client(environment_of(own)).create_bucket(Bucket="kept")
    tried, acknowledged = {}, {}
    for number in range(2):
        stop = threading.Event()
        clients = [Uploader(own, 10 * number + i, stop) for i in range(3)]
        for client in clients:
            client.start()
        time.sleep(random.uniform(1, 3))
        if victim == "worker":
            own.wait_for_new_worker(own.kill_worker())
            own.wait_until_it_answers()
            time.sleep(0.5)
        else:
            own.kill_all()
        stop.set()
        for client in clients:
            client.join()
            tried.update(client.tried)
            acknowledged.update(client.acknowledged)
        if victim == "program":
            own.start()
        s3 = make_client(environment_of(own))
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket="kept")
        there = {item["Key"]: item for page in pages for item in page.get("Contents", [])}
        missing = sorted(set(acknowledged) - set(there))
        assert not missing, f"acknowledged and gone: {missing[:5]}"
        for key in there:
            body = s3.get_object(Bucket="kept", Key=key)["Body"].read()
            assert hashlib.md5(body).hexdigest() in tried[key], f"{key}: bytes that nobody sent, {len(body)} of them"
            assert (own.mnt / "kept" / key).read_bytes() == body
        assert acknowledged
    assert own.command("fsck", check=False).returncode == 0
    assert own.command("scrub", check=False).returncode == 0


@pytest.mark.timeout(300)
def test_full_disk_during_put(scratch):
    """507, the old object whole, nothing half made; removing makes room, and PUT works again."""
    if why_no_mount():
        pytest.skip(why_no_mount())
    skip_without_loop_devices()
    with LoopDisk(scratch / "small", 400 << 20) as disk:
        server = TarnServer(scratch / "full", listen=True, ballast="16MiB")
        server.root = disk.path / "root"
        with server:
            s3 = make_client(environment_of(server))
            s3.create_bucket(Bucket="kept")
            s3.put_object(Bucket="kept", Key="old", Body=b"old" * 1000)
            kept = {"old": b"old" * 1000}
            big = os.urandom(20 << 20)
            refused = None
            for number in range(40):
                try:
                    s3.put_object(Bucket="kept", Key=f"big{number}", Body=big)
                    kept[f"big{number}"] = big
                except ClientError as error:
                    refused = error.response
                    break
            assert refused["ResponseMetadata"]["HTTPStatusCode"] == 507, refused
            assert refused["Error"]["Code"] == "InsufficientStorage" and "free" in refused["Error"]["Message"], refused
            # Another program takes the rest of the disk.
            filler = disk.path / "another program's file"
            with open(filler, "xb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(big)
            for key, body in {"old": b"n" * 3_000_000, "new": big, "small": b"s" * 100}.items():
                assert error_of(s3.put_object, Bucket="kept", Key=key, Body=body) == (507, "InsufficientStorage"), key
            names = {o["Key"] for o in s3.list_objects_v2(Bucket="kept")["Contents"]}
            assert names == set(kept)
            for key, body in kept.items():
                assert s3.get_object(Bucket="kept", Key=key)["Body"].read() == body, key
                assert (server.mnt / "kept" / key).read_bytes() == body, key
            filler.unlink()
            s3.delete_object(Bucket="kept", Key="big0")
            del kept["big0"]
            deadline = time.monotonic() + 30
            while True:
                try:
                    s3.put_object(Bucket="kept", Key="old", Body=b"new" * 1000)
                    break
                except ClientError as error:
                    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 507 and time.monotonic() < deadline
                    time.sleep(0.2)
            kept["old"] = b"new" * 1000
            assert server.stop() == 0
            server.start()
            s3 = make_client(environment_of(server))
            for key, body in kept.items():
                assert s3.get_object(Bucket="kept", Key=key)["Body"].read() == body, key
            assert server.command("fsck", check=False).returncode == 0
