"""kill -9 in the middle of the stages that only read: digests and verifying. Uploads are killed in
s3/test_durability.py, extraction in test_crash.py, jobs in sagemaker/test_jobs.py."""
import hashlib
import os
import random
import subprocess
import time

import pytest

from tarn_server import TARN
from telling import report

VICTIMS = ["worker", "program"]


def fill(server, seed):
    """Large files and small ones; the manifest of what was acknowledged, all of it synced."""
    wanted = {}
    (server.mnt / "set").mkdir()
    for i in range(300):
        size = 40_000_000 if i < 4 else random.Random(f"{seed}/{i}").randint(0, 50_000)
        data = random.Random(f"{seed}/{i}/data").randbytes(size)
        (server.mnt / "set" / f"f{i}").write_bytes(data)
        wanted[f"f{i}"] = hashlib.md5(data).hexdigest()
    server.command("sync")
    return wanted


@pytest.mark.timeout(300)
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("stage", ["digest", "verify", "verify --reread", "scrub"])
def test_killed_while_reading(server, outside, stage, victim):
    server.start()
    wanted = fill(server, stage)
    manifest = outside / "MD5SUMS"
    manifest.write_text("".join(f"{md5}  {name}\n" for name, md5 in wanted.items()))
    # SHA-256 is not stored with a file: every byte is read, each time.
    words = {"digest": ["digest", "-r", "--sha256", str(server.mnt / "set")],
             "verify": ["verify", str(server.mnt / "set"), "--manifest", str(manifest)],
             "verify --reread": ["verify", str(server.mnt / "set"), "--manifest", str(manifest), "--reread"],
             "scrub": ["scrub"]}[stage]
    environment = {**os.environ, "TARN_ROOT": str(server.root)}
    interrupted = 0
    for delay in (0.01, 0.05, 0.2):
        command = subprocess.Popen([str(TARN), *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(delay)
        if victim == "worker":
            server.wait_for_new_worker(server.kill_worker())
            server.wait_until_it_answers()
        else:
            server.kill_all()
            server.start()
        _, error = command.communicate(timeout=60)
        if command.returncode != 0:
            interrupted += 1
            assert error.strip(), "it failed and said nothing"
        there = {name: hashlib.md5((server.mnt / "set" / name).read_bytes()).hexdigest() for name in os.listdir(server.mnt / "set")}
        assert there == wanted, f"after {delay} s: {[n for n in wanted if there.get(n) != wanted[n]][:5]}"
    # What it would have found without the kill it finds now.
    run = server.command(*words, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    if stage == "digest":
        told = {os.path.basename(path): digest for digest, path in (line.split("  ", 1) for line in run.stdout.splitlines())}
        assert told == {name: hashlib.sha256((server.mnt / "set" / name).read_bytes()).hexdigest() for name in wanted}
    run = server.command("verify", server.mnt / "set", "--manifest", manifest, "--reread", check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert server.command("fsck", check=False).returncode == 0
    report(f"{stage}, {victim} killed: interrupted {interrupted} of 3 times, {len(wanted)} files all there")
    assert server.stop() == 0
