"""S3 obeys POSIX permissions as the key's user; what it makes belongs to that user."""
import os
import stat

import pytest

from conftest import environment_of, error_of, make_client

USER, OTHER = 4321, 4322


def add_key(server, name, uid, umask="0022"):
    with open(server.root / "credentials", "a") as f:
        f.write(f"\n[{name}]\naws_access_key_id = TARN{name.upper():A<16}\naws_secret_access_key = {'s' * 40}\n"
                f"tarn_uid = {uid}\ntarn_gid = {uid}\ntarn_groups = {uid}\ntarn_umask = {umask}\n")


@pytest.fixture(scope="module")
def user(server):
    """A second key, added while the server runs."""
    add_key(server, "second", USER, "0027")
    import time
    time.sleep(1.2)
    return make_client(environment_of(server, "--key", "second"))


def test_ownership_and_umask(user, server, bucket, folder):
    os.chmod(folder, 0o777)
    user.put_object(Bucket=bucket, Key="d/k", Body=b"x")
    status = os.stat(folder / "d" / "k")
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (USER, USER, 0o640)
    status = os.stat(folder / "d")
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (USER, 0o750)


def test_permission_bits(user, s3, bucket, folder):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert user.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert error_of(user.put_object, Bucket=bucket, Key="k", Body=b"y") == (403, "AccessDenied")
    assert error_of(user.put_object, Bucket=bucket, Key="new", Body=b"y") == (403, "AccessDenied")
    assert error_of(user.delete_object, Bucket=bucket, Key="k") == (403, "AccessDenied")
    os.chmod(folder / "k", 0o600)
    assert error_of(user.get_object, Bucket=bucket, Key="k") == (403, "AccessDenied")
    assert error_of(user.copy_object, Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "k"}) == (403, "AccessDenied")


def test_replacing_keeps_owner_and_mode(user, bucket, folder):
    os.chmod(folder, 0o777)
    (folder / "k").write_bytes(b"old")
    os.chmod(folder / "k", 0o4666)
    user.put_object(Bucket=bucket, Key="k", Body=b"new")
    status = os.stat(folder / "k")
    assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (0, 0o666), "set-id bits are cleared"


def test_listing_leaves_out_what_the_user_cannot_read(user, s3, bucket, folder):
    for key in ["open/k", "shut/k"]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    os.chmod(folder / "shut", 0o700)
    assert [o["Key"] for o in user.list_objects_v2(Bucket=bucket)["Contents"]] == ["open/k"]
    assert error_of(user.list_objects_v2, Bucket=bucket, Prefix="shut/") == (403, "AccessDenied")
    os.chmod(folder, 0o700)
    assert error_of(user.list_objects_v2, Bucket=bucket) == (403, "AccessDenied")


def test_uploads_belong_to_who_began_them(user, s3, bucket, folder):
    os.chmod(folder, 0o777)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    assert error_of(user.upload_part, Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x") == (403, "AccessDenied")
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
