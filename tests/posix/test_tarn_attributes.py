"""What Tarn adds to a file system: digests as extended attributes."""
import hashlib
import os
import random

import pytest


@pytest.mark.parametrize("size", [0, 100, 50_000, 300_000, 3_000_000])
def test_md5_attribute_is_the_bytes_digest(server, d, size):
    data = random.Random(size).randbytes(size)
    (d / "f").write_bytes(data)
    assert os.getxattr(d / "f", "user.tarn.md5").decode() == hashlib.md5(data).hexdigest()
    assert len(os.getxattr(d / "f", "user.tarn.crc64nvme")) > 0
    assert len(os.getxattr(d / "f", "user.tarn.etag")) > 0


def test_md5_attribute_follows_a_change(server, d):
    (d / "f").write_bytes(b"one")
    first = os.getxattr(d / "f", "user.tarn.md5")
    with open(d / "f", "ab") as f:
        f.write(b" two")
    assert os.getxattr(d / "f", "user.tarn.md5").decode() == hashlib.md5(b"one two").hexdigest() != first
    (d / "f").write_bytes(b"one")
    assert os.getxattr(d / "f", "user.tarn.md5") == first


def test_computed_attributes_are_not_listed(server, d):
    """So that rsync -X and tar --xattrs do not copy them."""
    (d / "f").write_bytes(b"x")
    assert os.getxattr(d / "f", "user.tarn.md5")
    assert os.listxattr(d / "f") == []


def test_tarn_digest_agrees(server, d):
    (d / "f").write_bytes(b"digest me" * 1000)
    out = server.command("digest", d / "f").stdout
    assert hashlib.md5(b"digest me" * 1000).hexdigest() in out
