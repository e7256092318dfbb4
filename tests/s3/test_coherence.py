"""One set of bytes, two faces: what S3 writes is in the mount when the 200 arrives, and the other way round."""
import hashlib
import os
import threading

import pytest

from conftest import error_of


def put(s3, bucket, key, data=b"x"):
    return s3.put_object(Bucket=bucket, Key=key, Body=data)


def get(s3, bucket, key):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def test_put_is_in_the_mount_at_once(s3, bucket, folder):
    for i in range(50):
        data = os.urandom(i * 1000)
        put(s3, bucket, "d/k", data)
        assert (folder / "d" / "k").read_bytes() == data
        assert (folder / "d" / "k").stat().st_size == len(data)
    with open(folder / "d" / "k", "rb") as old:
        put(s3, bucket, "d/k", b"new")
        assert old.read() == data, "an open file keeps the bytes it was opened with"
    assert os.listdir(folder / "d") == ["k"]


def test_negative_entries_and_listings_are_not_stale(s3, bucket, folder):
    for i in range(20):
        assert not (folder / f"k{i}").exists()
        names = len(os.listdir(folder))
        put(s3, bucket, f"k{i}")
        assert (folder / f"k{i}").exists() and len(os.listdir(folder)) == names + 1
        s3.delete_object(Bucket=bucket, Key=f"k{i}")
        assert not (folder / f"k{i}").exists()
        put(s3, bucket, f"k{i}")


@pytest.mark.parametrize("size", [0, 10, 20_000, 200_000, 5_000_000])
def test_write_is_in_s3_at_once(s3, bucket, folder, size):
    data = os.urandom(size)
    with open(folder / "f", "wb") as f:
        f.write(data)
        f.flush()
        # A writer is still there: size and bytes are the file's.
        assert s3.head_object(Bucket=bucket, Key="f")["ContentLength"] == size
        assert get(s3, bucket, "f") == data
    assert get(s3, bucket, "f") == data
    assert s3.list_objects_v2(Bucket=bucket)["Contents"][0]["Size"] == size
    with open(folder / "f", "ab") as f:
        f.write(b"more")
        f.flush()
        assert get(s3, bucket, "f") == data + b"more"


def test_etag_moves_with_the_bytes(s3, bucket, folder):
    etag = put(s3, bucket, "k", b"one")["ETag"]
    assert etag == f'"{hashlib.md5(b"one").hexdigest()}"'
    (folder / "k").write_bytes(b"two")
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"] != etag
    assert error_of(s3.put_object, Bucket=bucket, Key="k", Body=b"3", IfMatch=etag) == (412, "PreconditionFailed")


def test_rename_and_unlink(s3, bucket, folder):
    put(s3, bucket, "a/k", b"bytes")
    os.rename(folder / "a" / "k", folder / "a" / "l")
    assert get(s3, bucket, "a/l") == b"bytes" and error_of(s3.head_object, Bucket=bucket, Key="a/k")[0] == 404
    os.rename(folder / "a", folder / "b")
    assert get(s3, bucket, "b/l") == b"bytes"
    os.unlink(folder / "b" / "l")
    assert error_of(s3.get_object, Bucket=bucket, Key="b/l") == (404, "NoSuchKey")


def test_a_directory_that_posix_touched_stays(s3, bucket, folder):
    put(s3, bucket, "d/k")
    (folder / "d" / "mine").write_bytes(b"")
    os.unlink(folder / "d" / "mine")
    s3.delete_object(Bucket=bucket, Key="d/k")
    assert (folder / "d").is_dir() and s3.list_objects_v2(Bucket=bucket)["Contents"][0]["Key"] == "d/"
    with pytest.raises(FileExistsError):
        os.mkdir(folder / "d")


def test_an_open_directory_is_not_taken_away(s3, bucket, folder):
    put(s3, bucket, "d/k")
    descriptor = os.open(folder / "d", os.O_RDONLY)
    try:
        s3.delete_object(Bucket=bucket, Key="d/k")
        assert (folder / "d").is_dir()
    finally:
        os.close(descriptor)


def test_file_and_directory_of_one_name(s3, bucket, folder):
    put(s3, bucket, "a", b"file")
    put(s3, bucket, "a/b", b"below")
    assert get(s3, bucket, "a") == b"file" and get(s3, bucket, "a/b") == b"below"
    assert (folder / "a").is_dir(), "the mount sees the directory, the file is hidden"
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["a", "a/b"]
    s3.delete_object(Bucket=bucket, Key="a/b")
    assert (folder / "a").read_bytes() == b"file", "visible again when the directory went"
    put(s3, bucket, "a/b", b"below")
    put(s3, bucket, "a", b"other")
    assert get(s3, bucket, "a") == b"other" and (folder / "a").is_dir()


def test_a_file_of_posix_is_not_hidden(s3, bucket, folder):
    (folder / "f").write_bytes(b"mine")
    assert error_of(s3.put_object, Bucket=bucket, Key="f/below", Body=b"x") == (409, "KeyConflict")
    put(s3, bucket, "g", b"s3's")
    with open(folder / "g", "rb"):
        assert error_of(s3.put_object, Bucket=bucket, Key="g/below", Body=b"x") == (409, "KeyConflict")
    put(s3, bucket, "g/below", b"x")
    assert (folder / "f").read_bytes() == b"mine"


def test_a_file_that_the_mount_wrote_last_is_not_hidden(s3, bucket, folder, server):
    """S3 made it, a program wrote it: from its close on it is the program's, settled or not."""
    for number in range(5):
        key = f"f{number}"
        put(s3, bucket, key, b"s3's" * (1 if number % 2 else 50_000))
        (folder / key).write_bytes(b"the mount's")
        assert error_of(s3.put_object, Bucket=bucket, Key=f"{key}/below", Body=b"x") == (409, "KeyConflict")
    server.command("sync")
    for number in range(5):
        key = f"f{number}"
        assert error_of(s3.put_object, Bucket=bucket, Key=f"{key}/below", Body=b"x") == (409, "KeyConflict")
        assert (folder / key).read_bytes() == b"the mount's"
        put(s3, bucket, key, b"s3's again")
        put(s3, bucket, f"{key}/below")
        assert get(s3, bucket, key) == b"s3's again" and (folder / key).is_dir()


NAMES = ["a b", "a+b", "a%20b", "ü/ß", "日本", "a&b=c", "a'b", 'a"b', "a;b", "a?b", "a#b", "a\\b", "a*b", "~a", "a,b", "<a>", "a:b", ".hidden", "a..b", "...", "x" * 255]


@pytest.mark.parametrize("name", NAMES)
def test_names(s3, bucket, folder, name):
    put(s3, bucket, name, b"1")
    assert (folder / name).read_bytes() == b"1"
    (folder / name).write_bytes(b"22")
    assert get(s3, bucket, name) == b"22"
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [name]
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket, Prefix=name[:2])["Contents"]] == [name]
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": name})
    assert get(s3, bucket, "copy") == b"22"
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": name}, {"Key": "copy"}]})
    assert len(done["Deleted"]) == 2 and not os.listdir(folder)


@pytest.mark.parametrize("key", ["/a", "a//b", "./a", "a/../b", "a/.", "..", "x" * 256, "d/" + "x" * 256, "a/" * 3 + "/"])
def test_refused_keys(s3, bucket, folder, key):
    status, code = error_of(s3.put_object, Bucket=bucket, Key=key, Body=b"x")
    assert (status, code) == (400, "InvalidArgument")
    assert error_of(s3.create_multipart_upload, Bucket=bucket, Key=key) == (400, "InvalidArgument")
    assert not os.listdir(folder)


def test_readers_and_writers_at_once(s3, bucket, folder):
    """A reader sees one PUT's bytes or another's, never a mixture."""
    put(s3, bucket, "k", b"0" * 300_000)
    stop = threading.Event()
    wrong = []

    def read():
        while not stop.is_set():
            data = (folder / "k").read_bytes()
            if len(data) != 300_000 or len(set(data)) != 1:
                wrong.append((len(data), set(data)))
            data = get(s3, bucket, "k")
            if len(data) != 300_000 or len(set(data)) != 1:
                wrong.append((len(data), set(data)))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(60):
        put(s3, bucket, "k", bytes([65 + i % 26]) * 300_000)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]
