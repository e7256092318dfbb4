"""Unmodified clients: aws CLI and rclone, told nothing but `tarn env` or run under `tarn run`."""
import hashlib
import os
import subprocess

import pytest

from conftest import LONG
from tarn_server import TARN

KEYS = 5000 if LONG else 1000
LARGE = (1 << 30) if LONG else (64 << 20)


def aws(environment, *arguments):
    run = subprocess.run(["aws", *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    return run.stdout


def md5_of(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "md5").hexdigest()


@pytest.fixture(scope="module")
def tree(scratch):
    top = scratch / "tree"
    for i in range(KEYS):
        path = top / f"d{i % 17}" / f"e {i % 5}" / f"file+{i}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d " % i * (i % 700))
    return top


def same_trees(a, b):
    return subprocess.run(["diff", "-r", "-q", str(a), str(b)], capture_output=True, text=True).stdout == ""


def test_aws_sync_ls_rm(environment, bucket, folder, tree, scratch):
    aws(environment, "s3", "sync", "--quiet", tree, f"s3://{bucket}/tree")
    assert same_trees(tree, folder / "tree")
    listing = aws(environment, "s3", "ls", "--recursive", f"s3://{bucket}/tree/")
    assert len(listing.splitlines()) == KEYS
    assert "PRE d0/" in aws(environment, "s3", "ls", f"s3://{bucket}/tree/")
    again = aws(environment, "s3", "sync", tree, f"s3://{bucket}/tree")
    assert again.strip() == "", "nothing changed, so nothing is sent"
    aws(environment, "s3", "sync", "--quiet", f"s3://{bucket}/tree/d3", scratch / "back")
    assert same_trees(tree / "d3", scratch / "back")
    aws(environment, "s3", "rm", "--quiet", "--recursive", f"s3://{bucket}/tree")
    assert os.listdir(folder) == []


def test_aws_cp_of_a_large_file(environment, bucket, folder, scratch):
    source = scratch / "large"
    with open(source, "wb") as f:
        for _ in range(LARGE >> 20):
            f.write(os.urandom(1 << 20))
    digest = md5_of(source)
    aws(environment, "s3", "cp", "--quiet", source, f"s3://{bucket}/large")
    assert md5_of(folder / "large") == digest
    aws(environment, "s3", "cp", "--quiet", f"s3://{bucket}/large", scratch / "copy")
    assert md5_of(scratch / "copy") == digest
    aws(environment, "s3", "cp", "--quiet", f"s3://{bucket}/large", f"s3://{bucket}/second")
    assert md5_of(folder / "second") == digest
    for path in [source, scratch / "copy"]:
        os.unlink(path)


def test_rclone_sync_and_check(environment, bucket, folder, tree):
    remote = f"tarn:{bucket}/tree"  # `tarn env` names that remote
    for verb in ["sync", "check"]:
        run = subprocess.run(["rclone", verb, "--checksum", str(tree), remote], env=environment, capture_output=True, text=True, timeout=600)
        assert run.returncode == 0, run.stderr[-3000:]
    assert same_trees(tree, folder / "tree")


def test_tarn_run(server, bucket):
    run = subprocess.run([str(TARN), "run", "--root", str(server.root), "--", "sh", "-c", "echo $AWS_ENDPOINT_URL; exit 7"],
                         capture_output=True, text=True)
    assert run.returncode == 7 and run.stdout.strip() == f"http://127.0.0.1:{server.port}"
