"""Every operation on buckets and objects, by boto3."""
import base64
import hashlib
import os
import urllib.error
import urllib.request
import zlib

import pytest

from conftest import error_of, make_client


def test_buckets(s3, server):
    s3.create_bucket(Bucket="one-bucket", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    assert "one-bucket" in [b["Name"] for b in s3.list_buckets()["Buckets"]]
    assert s3.head_bucket(Bucket="one-bucket", ExpectedBucketOwner="000000000000")
    assert s3.get_bucket_location(Bucket="one-bucket")["LocationConstraint"] == "us-west-2"
    assert s3.get_bucket_versioning(Bucket="one-bucket").get("Status") is None
    assert error_of(s3.create_bucket, Bucket="one-bucket",
                    CreateBucketConfiguration={"LocationConstraint": "us-west-2"}) == (409, "BucketAlreadyOwnedByYou")
    assert (server.mnt / "one-bucket").is_dir()
    s3.put_object(Bucket="one-bucket", Key="k", Body=b"x")
    assert error_of(s3.delete_bucket, Bucket="one-bucket") == (409, "BucketNotEmpty")
    s3.delete_object(Bucket="one-bucket", Key="k")
    s3.delete_bucket(Bucket="one-bucket")
    assert error_of(s3.head_bucket, Bucket="one-bucket")[0] == 404
    assert error_of(s3.list_objects_v2, Bucket="one-bucket") == (404, "NoSuchBucket")
    assert not (server.mnt / "one-bucket").exists()


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 131072, 131073, 5_000_000])
def test_put_get_sizes(s3, bucket, size):
    data = os.urandom(size)
    put = s3.put_object(Bucket=bucket, Key="d/key", Body=data, ContentType="text/x", Metadata={"A": "b c"},
                        CacheControl="no-store", ContentDisposition="inline", ContentLanguage="de")
    assert put["ETag"] == f'"{hashlib.md5(data).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="d/key")
    assert got["Body"].read() == data
    assert got["ContentLength"] == size and got["ContentType"] == "text/x" and got["Metadata"] == {"a": "b c"}
    assert (got["CacheControl"], got["ContentDisposition"], got["ContentLanguage"]) == ("no-store", "inline", "de")
    head = s3.head_object(Bucket=bucket, Key="d/key")
    assert head["ETag"] == put["ETag"] and head["ContentLength"] == size


def test_ranges(s3, bucket):
    data = bytes(range(256)) * 1000
    s3.put_object(Bucket=bucket, Key="k", Body=data)
    for text, want in {"bytes=0-9": data[:10], "bytes=-5": data[-5:], "bytes=255990-": data[255990:],
                       "bytes=255990-999999": data[255990:], "bytes=100000-200000": data[100000:200001]}.items():
        got = s3.get_object(Bucket=bucket, Key="k", Range=text)
        assert got["Body"].read() == want and got["ResponseMetadata"]["HTTPStatusCode"] == 206, text
    assert got["ContentRange"] == "bytes 100000-200000/256000"
    assert error_of(s3.get_object, Bucket=bucket, Key="k", Range="bytes=256000-") == (416, "InvalidRange")
    assert s3.get_object(Bucket=bucket, Key="k", Range="bytes=9-2")["ContentLength"] == 256000
    assert s3.get_object(Bucket=bucket, Key="k", PartNumber=1)["ContentLength"] == 256000
    assert s3.head_object(Bucket=bucket, Key="k", Range="bytes=0-9")["ContentLength"] == 10


def test_conditions(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    assert s3.get_object(Bucket=bucket, Key="k", IfMatch=etag)["Body"].read() == b"one"
    assert error_of(s3.get_object, Bucket=bucket, Key="k", IfMatch='"0"') == (412, "PreconditionFailed")
    assert error_of(s3.get_object, Bucket=bucket, Key="k", IfNoneMatch=etag)[0] == 304
    assert error_of(s3.get_object, Bucket=bucket, Key="k", IfModifiedSince=modified)[0] == 304
    assert s3.get_object(Bucket=bucket, Key="k", IfUnmodifiedSince=modified)
    assert error_of(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*") == (412, "PreconditionFailed")
    assert error_of(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfMatch='"0"') == (412, "PreconditionFailed")
    assert error_of(s3.put_object, Bucket=bucket, Key="none", Body=b"2", IfMatch=etag)[0] == 404
    s3.put_object(Bucket=bucket, Key="k", Body=b"two", IfMatch=etag)
    s3.put_object(Bucket=bucket, Key="new", Body=b"2", IfNoneMatch="*")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"two"


def test_response_overrides(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    got = s3.get_object(Bucket=bucket, Key="k", ResponseContentType="a/b", ResponseCacheControl="c",
                        ResponseContentDisposition="attachment")
    assert got["ContentType"] == "a/b" and got["CacheControl"] == "c" and got["ContentDisposition"] == "attachment"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksums(s3, bucket, algorithm):
    data = b"123456789" * 50_000
    values = {"CRC32": base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode(),
              "SHA1": base64.b64encode(hashlib.sha1(data).digest()).decode(),
              "SHA256": base64.b64encode(hashlib.sha256(data).digest()).decode()}
    if algorithm in values:
        field = {f"Checksum{algorithm}": values[algorithm]}
        put = s3.put_object(Bucket=bucket, Key="k", Body=data, **field)
        assert put[f"Checksum{algorithm}"] == values[algorithm]
        head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert head[f"Checksum{algorithm}"] == values[algorithm]
        assert s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["Body"].read() == data
    wrong = base64.b64encode(bytes({"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}[algorithm])).decode()
    assert error_of(s3.put_object, Bucket=bucket, Key="bad", Body=data,
                    **{f"Checksum{algorithm}": wrong}) == (400, "BadDigest")
    assert error_of(s3.head_object, Bucket=bucket, Key="bad")[0] == 404


def test_content_md5(s3, bucket):
    good = base64.b64encode(hashlib.md5(b"data").digest()).decode()
    s3.put_object(Bucket=bucket, Key="k", Body=b"data", ContentMD5=good)
    assert error_of(s3.put_object, Bucket=bucket, Key="k", Body=b"date", ContentMD5=good) == (400, "BadDigest")
    assert error_of(s3.put_object, Bucket=bucket, Key="k", Body=b"date", ContentMD5="short") == (400, "InvalidDigest")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"data"


def test_copy(s3, bucket):
    data = os.urandom(200_000)
    s3.put_object(Bucket=bucket, Key="a b+c", Body=data, ContentType="t/t", Metadata={"m": "1"})
    copy = s3.copy_object(Bucket=bucket, Key="x/y", CopySource={"Bucket": bucket, "Key": "a b+c"})
    got = s3.get_object(Bucket=bucket, Key="x/y")
    assert got["Body"].read() == data and got["ContentType"] == "t/t" and got["Metadata"] == {"m": "1"}
    assert copy["CopyObjectResult"]["ETag"] == got["ETag"]
    s3.copy_object(Bucket=bucket, Key="x/y", CopySource={"Bucket": bucket, "Key": "x/y"},
                   MetadataDirective="REPLACE", Metadata={"n": "2"}, ContentType="u/u")
    got = s3.get_object(Bucket=bucket, Key="x/y")
    assert got["Body"].read() == data and got["Metadata"] == {"n": "2"} and got["ContentType"] == "u/u"
    source = {"Bucket": bucket, "Key": "none"}
    assert error_of(s3.copy_object, Bucket=bucket, Key="z", CopySource=source) == (404, "NoSuchKey")
    assert error_of(s3.copy_object, Bucket=bucket, Key="z", CopySource={"Bucket": bucket, "Key": "x/y"},
                    CopySourceIfMatch='"0"') == (412, "PreconditionFailed")


def test_delete(s3, bucket, folder):
    s3.put_object(Bucket=bucket, Key="a/b/c", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="a/b/c")
    s3.delete_object(Bucket=bucket, Key="a/b/c")
    assert error_of(s3.get_object, Bucket=bucket, Key="a/b/c") == (404, "NoSuchKey")
    assert not (folder / "a").exists(), "implied directories go with the last key below them"
    for i in range(5):
        s3.put_object(Bucket=bucket, Key=f"k{i}", Body=b"x")
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": f"k{i}"} for i in range(3)] + [{"Key": "none"}]})
    assert [d["Key"] for d in done["Deleted"]] == ["k0", "k1", "k2", "none"] and "Errors" not in done
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k3"}], "Quiet": True})
    assert "Deleted" not in done
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k4"]


@pytest.mark.parametrize("version", ["default", "s3v4"])
def test_presigned(environment, bucket, version):
    s3 = make_client(environment, **({"signature_version": version} if version != "default" else {}))
    params = {"Bucket": bucket, "Key": "a b/ü"}
    url = s3.generate_presigned_url("put_object", Params={**params, "ContentType": "t/t"}, ExpiresIn=60)
    request = urllib.request.Request(url, data=b"via url", method="PUT", headers={"Content-Type": "t/t"})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    url = s3.generate_presigned_url("get_object", Params=params, ExpiresIn=60)
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"via url" and answer.headers["Content-Type"] == "t/t"
    for changed in [url.replace("a%20b", "c"), url.replace("Expires=", "Expires=1")]:
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(changed)
        assert caught.value.code in (400, 403)
    assert b"<Error>" in caught.value.read()


def test_honest_answers_for_what_is_missing(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert error_of(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging={"TagSet": []}) == (501, "NotImplemented")
    assert error_of(s3.get_bucket_lifecycle_configuration, Bucket=bucket) == (501, "NotImplemented")
    assert error_of(s3.list_object_versions, Bucket=bucket) == (501, "NotImplemented")
    assert s3.get_bucket_acl(Bucket=bucket)["Grants"] == []
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []


def test_multipart(s3, bucket, folder):
    data = [os.urandom(5 << 20), os.urandom(6 << 20), b"tail"]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="d/big", Metadata={"m": "1"}, ContentType="t/t")["UploadId"]
    name = {"Bucket": bucket, "Key": "d/big", "UploadId": upload}
    etags = [s3.upload_part(**name, PartNumber=i + 1, Body=part)["ETag"] for i, part in enumerate(data)]
    assert [u["Key"] for u in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["d/big"]
    listed = s3.list_parts(**name, MaxParts=2)
    assert listed["IsTruncated"] and [p["Size"] for p in listed["Parts"]] == [5 << 20, 6 << 20]
    listed = s3.list_parts(**name, PartNumberMarker=listed["NextPartNumberMarker"])
    assert [p["ETag"] for p in listed["Parts"]] == etags[2:]
    parts = [{"PartNumber": i + 1, "ETag": etag} for i, etag in enumerate(etags)]
    complete = lambda p: {**name, "MultipartUpload": {"Parts": p}}  # noqa: E731
    assert error_of(s3.complete_multipart_upload, **complete(parts[::-1])) == (400, "InvalidPartOrder")
    assert error_of(s3.complete_multipart_upload, **complete([{"PartNumber": 9, "ETag": '"0"'}])) == (400, "InvalidPart")
    assert not (folder / "d").exists()
    done = s3.complete_multipart_upload(**complete(parts))
    md5s = b"".join(hashlib.md5(part).digest() for part in data)
    assert done["ETag"] == f'"{hashlib.md5(md5s).hexdigest()}-3"'
    got = s3.get_object(Bucket=bucket, Key="d/big")
    assert got["Body"].read() == b"".join(data) and got["Metadata"] == {"m": "1"} and got["ETag"] == done["ETag"]
    assert (folder / "d" / "big").read_bytes() == b"".join(data)
    assert s3.get_object(Bucket=bucket, Key="d/big", Range=f"bytes={(5 << 20) - 3}-{(5 << 20) + 2}")["Body"].read() == \
        data[0][-3:] + data[1][:3]
    assert error_of(s3.complete_multipart_upload, **complete(parts)) == (404, "NoSuchUpload")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_multipart_abort_small_parts_and_copy(s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    name = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    etags = [s3.upload_part(**name, PartNumber=n, Body=b"small")["ETag"] for n in (1, 2)]
    parts = {"Parts": [{"PartNumber": n + 1, "ETag": etags[n]} for n in (0, 1)]}
    assert error_of(s3.complete_multipart_upload, **name, MultipartUpload=parts) == (400, "EntityTooSmall")
    assert error_of(s3.upload_part, **{**name, "UploadId": "0" * 16}, PartNumber=1, Body=b"x") == (404, "NoSuchUpload")
    assert error_of(s3.upload_part, **name, PartNumber=10_001, Body=b"x") == (400, "InvalidArgument")
    s3.abort_multipart_upload(**name)
    assert error_of(s3.list_parts, **name) == (404, "NoSuchUpload")
    data = os.urandom(11 << 20)
    s3.put_object(Bucket=bucket, Key="source", Body=data)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    name["UploadId"] = upload
    source = {"Bucket": bucket, "Key": "source"}
    etags = [s3.upload_part_copy(**name, PartNumber=n + 1, CopySource=source, CopySourceRange=text)["CopyPartResult"]["ETag"]
             for n, text in enumerate(["bytes=0-5999999", f"bytes=6000000-{(11 << 20) - 1}"])]
    parts = {"Parts": [{"PartNumber": n + 1, "ETag": etags[n]} for n in (0, 1)]}
    s3.complete_multipart_upload(**name, MultipartUpload=parts)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == data
    # One part alone is a blob of its own, so that the mount opens it as any other file.
    upload = s3.create_multipart_upload(Bucket=bucket, Key="one")["UploadId"]
    name = {"Bucket": bucket, "Key": "one", "UploadId": upload}
    etag = s3.upload_part(**name, PartNumber=3, Body=data)["ETag"]
    done = s3.complete_multipart_upload(**name, MultipartUpload={"Parts": [{"PartNumber": 3, "ETag": etag}]})
    assert done["ETag"].endswith('-1"')
    assert s3.get_object(Bucket=bucket, Key="one")["Body"].read() == data
