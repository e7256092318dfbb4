"""ListObjects, versions 1 and 2: order, prefixes, delimiters, pages, encodings; cases as in ceph's s3-tests."""
import pytest

from conftest import error_of

KEYS = ["a", "a b", "a+b", "a/1", "a/2/x", "asdf", "b%41", "boo/bar", "boo/baz/xyzzy", "cquux/bla", "cquux/thud", "d/e/f/g", "ü/ß"]


@pytest.fixture
def filled(s3, bucket):
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    return bucket


def pages(s3, operation="list_objects_v2", **arguments):
    """(keys, common prefixes) over all pages."""
    keys, prefixes = [], []
    for page in s3.get_paginator(operation).paginate(**arguments):
        keys += [item["Key"] for item in page.get("Contents", [])]
        prefixes += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
    return keys, prefixes


def expected(prefix="", delimiter="", after=""):
    keys, prefixes = [], []
    for key in sorted(KEYS, key=lambda k: k.encode()):
        if not key.startswith(prefix) or key.encode() <= after.encode():
            continue
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        if at < 0:
            keys.append(key)
        elif key[:at + len(delimiter)] not in prefixes:
            prefixes.append(key[:at + len(delimiter)])
    return keys, prefixes


@pytest.mark.parametrize("operation", ["list_objects", "list_objects_v2"])
@pytest.mark.parametrize("page", [1, 2, 3, 1000])
@pytest.mark.parametrize("delimiter", ["", "/", "a", "o/b", "zz"])
def test_pages(s3, filled, operation, page, delimiter):
    for prefix in ["", "a", "a/", "boo/", "boo/ba", "none", "d/e/", "ü"]:
        got = pages(s3, operation, Bucket=filled, Prefix=prefix, Delimiter=delimiter, PaginationConfig={"PageSize": page})
        assert got == expected(prefix, delimiter), (prefix, delimiter, page)


def test_start_after_and_marker(s3, filled):
    for after in ["", "a", "a+b", "a/", "boo/bar", "boo/baz/", "zzz", "b"]:
        assert pages(s3, Bucket=filled, StartAfter=after)[0] == expected(after=after)[0], after
        got = s3.list_objects(Bucket=filled, Marker=after)
        assert [o["Key"] for o in got.get("Contents", [])] == expected(after=after)[0], after


def test_fields(s3, filled):
    got = s3.list_objects_v2(Bucket=filled, MaxKeys=2, FetchOwner=True)
    assert got["KeyCount"] == 2 and got["IsTruncated"] and got["MaxKeys"] == 2 and got["Name"] == filled
    item = got["Contents"][0]
    assert item["Size"] == 1 and item["ETag"] == '"9dd4e461268c8034f5c8564e155c67a6"' and "Owner" in item
    assert item["StorageClass"] == "STANDARD" and item["LastModified"]
    assert "Owner" not in s3.list_objects_v2(Bucket=filled)["Contents"][0]
    assert s3.list_objects_v2(Bucket=filled, MaxKeys=0).get("Contents") is None
    assert error_of(s3.list_objects_v2, Bucket=filled, ContinuationToken="nonsense") == (400, "InvalidArgument")
    assert error_of(s3.list_objects_v2, Bucket=filled, MaxKeys=-1) == (400, "InvalidArgument")


def test_folders(s3, bucket, folder):
    s3.put_object(Bucket=bucket, Key="explicit/", Body=b"")
    s3.put_object(Bucket=bucket, Key="explicit/k", Body=b"")
    (folder / "posix" / "empty").mkdir(parents=True)
    (folder / "posix" / "full").mkdir()
    (folder / "posix" / "full" / "k").write_bytes(b"")
    s3.put_object(Bucket=bucket, Key="implied/k", Body=b"")
    assert pages(s3, Bucket=bucket)[0] == ["explicit/", "explicit/k", "implied/k", "posix/empty/", "posix/full/k"]
    assert pages(s3, Bucket=bucket, Delimiter="/") == ([], ["explicit/", "implied/", "posix/"])
    assert pages(s3, Bucket=bucket, Prefix="explicit/", Delimiter="/")[0] == ["explicit/", "explicit/k"]
    assert s3.head_object(Bucket=bucket, Key="explicit/")["ContentLength"] == 0
    assert error_of(s3.head_object, Bucket=bucket, Key="implied/")[0] == 404
    assert error_of(s3.put_object, Bucket=bucket, Key="explicit/", Body=b"x") == (400, "InvalidArgument")
