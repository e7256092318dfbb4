"""Roots that cannot be served: the message says which it is, and nothing is changed."""
import os
import struct
import subprocess

import pytest

from tarn_server import TARN, TarnServer


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def serve(*arguments):
    return subprocess.run([str(TARN), "serve", *map(str, arguments)], capture_output=True, text=True, timeout=60)


@pytest.fixture
def root(outside):
    assert TARN.exists(), f"{TARN} is not built"
    subprocess.run([str(TARN), "init", str(outside / "root"), "--ballast", "1MiB"], check=True, capture_output=True)
    return outside / "root"


def patch(root, offset, data):
    """Changes the superblock and makes its checksum right again."""
    block = bytearray((root / "superblock").read_bytes())
    assert len(block) == 512 and struct.unpack_from("<I", block, 508)[0] == crc32c(block[:508])
    block[offset:offset + len(data)] = data
    struct.pack_into("<I", block, 508, crc32c(block[:508]))
    (root / "superblock").write_bytes(block)
    return bytes(block)


def refused(root, *words):
    before = (root / "superblock").read_bytes() if (root / "superblock").exists() else None
    listing = sorted(os.listdir(root))
    run = serve(root)
    assert run.returncode in (1, 2), f"exit {run.returncode}: {run.stdout}{run.stderr}"
    for word in words:
        assert word in run.stderr, f"no '{word}' in: {run.stderr}"
    assert str(root) in run.stderr, f"does not name the root: {run.stderr}"
    if before is not None:
        assert (root / "superblock").read_bytes() == before, "the superblock was changed"
    # The lock of whoever tries to serve it is the only thing that may be new.
    assert set(os.listdir(root)) - {"serve.lock"} == set(listing) - {"serve.lock"}
    return run.stderr


def test_newer_version(root):
    patch(root, 8, struct.pack("<I", 4_000_000))
    refused(root, "4000000", "newer")


def test_unknown_incompatible_flag(root):
    patch(root, 48, struct.pack("<Q", 1 << 60))
    refused(root, "newer")


def test_damaged_superblock(root):
    block = bytearray((root / "superblock").read_bytes())
    block[20] ^= 1
    (root / "superblock").write_bytes(block)
    message = refused(root, "superblock")
    assert "newer" not in message


def test_not_tarns(outside):
    (outside / "photos").mkdir()
    (outside / "photos" / "holiday.jpg").write_bytes(b"jpg")
    refused(outside / "photos", "not a Tarn")
    run = subprocess.run([str(TARN), "init", str(outside / "photos")], capture_output=True, text=True)
    assert run.returncode == 1 and "holiday.jpg" in run.stderr, run.stderr
    assert os.listdir(outside / "photos") == ["holiday.jpg"]


def test_superblock_of_another_program(outside):
    (outside / "other").mkdir()
    (outside / "other" / "superblock").write_bytes(b"EXT4SUPERBLOCK" * 40)
    refused(outside / "other", "not a Tarn")


def test_held_by_another(outside):
    with TarnServer(outside / "tarn", mount=False) as holder:
        run = serve(holder.root)
        assert run.returncode == 1, run.stderr
        pids = {str(holder.process.pid), str(holder.worker_pid())}
        assert any(pid in run.stderr for pid in pids), f"names none of {pids}: {run.stderr}"
        holder.status()
        # Once it has ended, whichever way, the root is free.
        holder.kill_all()
        holder.start()


def test_initialised_twice(root):
    run = subprocess.run([str(TARN), "init", str(root)], capture_output=True, text=True)
    assert run.returncode == 1 and "already" in run.stderr, run.stderr
