"""The life of a mount: starting, stopping, dying, taking over, and saying why not."""
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tarn_server import TARN, ServeFailed, TarnServer, is_mounted, why_no_mount

pytestmark = pytest.mark.skipif(bool(os.environ.get("TARN_POSIX_ON")), reason="of Tarn alone")


@pytest.fixture
def own(outside):
    """A server of the test's own, running."""
    if why_no_mount():
        pytest.skip(why_no_mount())
    with TarnServer(outside / "own") as running:
        yield running


def test_stop_and_start_keep_everything(own):
    wanted = {f"f{i}": random.Random(i).randbytes(i * 997) for i in range(0, 300, 7)}
    for name, data in wanted.items():
        (own.mnt / name).write_bytes(data)
    (own.mnt / "dir").mkdir()
    os.symlink("f7", own.mnt / "dir" / "link")
    for _ in range(2):
        assert own.stop() == 0
        assert not is_mounted(own.mnt)
        own.start()
        assert {p.name for p in own.mnt.iterdir()} == {*wanted, "dir"}
        assert all((own.mnt / name).read_bytes() == data for name, data in wanted.items())
        assert os.readlink(own.mnt / "dir" / "link") == "f7"


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
def test_signal_unmounts_with_a_shell_standing_in_it(own, which):
    (own.mnt / "dir").mkdir()
    shell = subprocess.Popen(["sleep", "600"], cwd=own.mnt / "dir")
    try:
        process, own.process = own.process, None
        process.send_signal(which)
        assert process.wait(60) == 0, own.tail()
        assert not is_mounted(own.mnt)
    finally:
        shell.kill()
        shell.wait()
    own.start()
    assert (own.mnt / "dir").is_dir()


READER = """
import hashlib, sys, time
h = hashlib.md5()
with open(sys.argv[1], 'rb') as f:
    while b := f.read(100_000):
        h.update(b)
        time.sleep(0.005)
print(h.hexdigest())
"""
WRITER = """
import sys, time
with open(sys.argv[1], 'wb', buffering=0) as f:
    for i in range(300):
        assert f.write(bytes([i % 256]) * 10_000) == 10_000
        time.sleep(0.005)
"""


def test_programs_go_on_when_the_worker_dies(own):
    """Readers of a large and of many small files, a writer, a creator: none sees an error."""
    data = random.Random(1).randbytes(20_000_000)
    (own.mnt / "large").write_bytes(data)
    small = {f"s{i}": random.Random(i).randbytes(3000) for i in range(200)}
    for name, each in small.items():
        (own.mnt / name).write_bytes(each)
    fd = os.open(own.mnt, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    reader = subprocess.Popen([sys.executable, "-c", READER, str(own.mnt / "large")], stdout=subprocess.PIPE, text=True)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(own.mnt / "written")])
    made = 0
    for _ in range(3):
        time.sleep(0.3)
        dead = own.kill_worker()
        for name, each in small.items():
            assert (own.mnt / name).read_bytes() == each
            (own.mnt / f"made{made}").write_bytes(each)
            made += 1
        own.wait_for_new_worker(dead)
    assert reader.communicate(timeout=60)[0].strip() == hashlib.md5(data).hexdigest()
    assert writer.wait(60) == 0
    assert (own.mnt / "written").read_bytes() == b"".join(bytes([i % 256]) * 10_000 for i in range(300))
    assert sum(1 for p in own.mnt.iterdir() if p.name.startswith("made")) == made


def test_unlinked_open_file_survives_the_worker(own):
    with open(own.mnt / "f", "w+b", buffering=0) as f:
        f.write(b"x" * 100_000)
        os.unlink(own.mnt / "f")
        own.wait_for_new_worker(own.kill_worker())
        f.write(b"y" * 10)
        f.seek(0)
        assert f.read() == b"x" * 100_000 + b"y" * 10


def test_start_after_everything_was_killed(own):
    (own.mnt / "f").write_bytes(b"kept" * 1000)
    with open(own.mnt / "synced", "wb") as f:
        f.write(b"synced")
        f.flush()
        os.fsync(f.fileno())
    own.kill_all()
    own.start()
    assert (own.mnt / "f").read_bytes() == b"kept" * 1000
    assert (own.mnt / "synced").read_bytes() == b"synced"


def serve(*arguments):
    return subprocess.run([str(TARN), "serve", *map(str, arguments)], capture_output=True, text=True, timeout=60)


def test_root_that_another_holds(own, outside):
    (outside / "m2").mkdir()
    run = serve(own.root, "--mount", outside / "m2")
    assert run.returncode == 1
    assert str(own.process.pid) in run.stderr or str(own.worker_pid()) in run.stderr, run.stderr


def test_root_that_is_not_tarns(outside):
    (outside / "root").mkdir()
    (outside / "root" / "something").write_text("else")
    (outside / "mnt").mkdir()
    run = serve(outside / "root", "--mount", outside / "mnt")
    assert run.returncode != 0 and "root" in run.stderr, run.stderr
    init = subprocess.run([str(TARN), "init", str(outside / "root")], capture_output=True, text=True)
    assert init.returncode == 1 and "something" in init.stderr, init.stderr
    assert sorted(p.name for p in (outside / "root").iterdir()) == ["something"]


def test_mount_point_that_is_missing_or_a_file(outside):
    if why_no_mount():
        pytest.skip(why_no_mount())
    server = TarnServer(outside / "own")
    server.init()
    server.mnt.rmdir()
    server.mnt.write_text("a file")
    try:
        with pytest.raises(ServeFailed) as failure:
            server.start()
        assert str(server.mnt) in str(failure.value)
    finally:
        server.destroy()


def test_status_names_the_mode_and_why(own):
    status = own.status()
    assert status["root"] == str(own.root)
    for part in ("mount", "capacity", "kv", "open", "content", "processes"):
        assert isinstance(status[part], dict), part
    assert {"transactions", "rows_written", "wal_bytes", "conflicts"} <= set(status["kv"])
    assert status["processes"]["worker_pid"] == own.worker_pid()
    text = own.command("status").stdout
    assert str(own.mnt) in text
    before = own.status()["kv"]["transactions"]
    for i in range(10):
        (own.mnt / f"f{i}").touch()
    assert own.status()["kv"]["transactions"] >= before + 10


def test_doctor_speaks(own):
    run = own.command("doctor", check=False)
    assert run.returncode in (0, 1) and run.stdout.strip()
    json.loads(own.command("doctor", "--json", check=False).stdout)


def test_nobody_to_talk_to(outside):
    server = TarnServer(outside / "own")
    server.init()
    run = server.command("status", check=False)
    assert run.returncode == 3 and run.stderr.strip()


def test_wrong_usage():
    for arguments in (["nonsense"], ["serve"], ["status", "--nonsense"]):
        run = subprocess.run([str(TARN), *arguments], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
        assert run.returncode == 2, (arguments, run.stderr)
