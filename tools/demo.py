"""`./run demo`: a new root, a mount, and what that changes, measured on this machine.

A made-up data set (an archive of many files) goes through the usual steps twice: with the usual
tools on the local disk, and in place on Tarn. Each step says what it did and how long it took. This
is the core's demo: the S3 endpoint and the training job take part once they are there. Everything it
makes lies in var/demo; report.txt there is what it printed.
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tarfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests" / "lib"))

from disks import drop_caches  # noqa: E402
from tarn_server import TARN, TarnServer, why_no_mount  # noqa: E402

DEMO = TOP / "var" / "demo"


class Talk:
    """Prints, and keeps what was printed for report.txt."""

    def __init__(self):
        self.lines = []

    def __call__(self, text=""):
        print(text, flush=True)
        self.lines.append(text)


def make_data_set(folder, files, file_bytes):
    """FOLDER/set.tar and FOLDER/MD5SUMS of files whose bytes compress a little, as images do."""
    rng = random.Random(1)
    source = folder / "source" / "set"
    source.mkdir(parents=True)
    sums = []
    for number in range(files):
        data = rng.randbytes(file_bytes * 7 // 8) + bytes(file_bytes // 8)
        name = f"class{number % 10}/image{number:05d}.bin"
        path = source / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        sums.append(f"{hashlib.md5(data).hexdigest()}  {name}\n")
    (folder / "MD5SUMS").write_text("".join(sums))
    with tarfile.open(folder / "set.tar", "w") as archive:
        archive.add(source, "set")
    shutil.rmtree(folder / "source")
    return folder / "set.tar"


def timed(function):
    began = time.monotonic()
    function()
    return time.monotonic() - began


def run(*command, **keywords):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **keywords)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def read_everything(folder):
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(where, name), "rb") as file:
                total += len(file.read())
    return total


def read_while_the_worker_dies(talk, server, path, want):
    """An md5 of a file, by ordinary reads, with the serving process killed in the middle."""
    digest = hashlib.md5()
    killer = threading.Timer(0.05, server.kill_worker)
    before = server.worker_pid()
    killer.start()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            time.sleep(0.002)
    killer.join()
    after = server.wait_for_new_worker(before)
    assert digest.hexdigest() == want, "a reader saw wrong bytes"
    talk(f"  the worker (pid {before}) was killed while a program read the archive; worker {after} took over,")
    talk(f"  the program saw no error and every byte: md5 {digest.hexdigest()}")


def main():
    parser = argparse.ArgumentParser(prog="./run demo")
    parser.add_argument("--quick", action="store_true", help="a small data set")
    options = parser.parse_args()
    if why_no_mount():
        raise SystemExit(f"demo: {why_no_mount()}: it shows the mount, so there is nothing to show here")
    files, file_bytes = (400, 60_000) if options.quick else (4_000, 150_000)
    talk = Talk()
    shutil.rmtree(DEMO, ignore_errors=True)
    local = DEMO / "local"
    local.mkdir(parents=True)
    talk(f"A data set of {files:,} files, {files * file_bytes / 1e6:,.0f} MB, as one archive; the usual tools on the local")
    talk("disk beside Tarn in place on the same disk. Kernel caches are dropped before every step.")
    archive = make_data_set(local, files, file_bytes)
    want = hashlib.md5(archive.read_bytes()).hexdigest()
    rows = []

    def step(name, usual, ours, note):
        times = []
        for function in (usual, ours):
            drop_caches()
            times.append(timed(function))
        rows.append((name, *times, note))

    server = TarnServer(DEMO / "tarn")
    try:
        talk()
        talk("$ tarn init var/demo/tarn/root && tarn serve var/demo/tarn/root --mount var/demo/tarn/mnt")
        took = timed(lambda: (server.init(), server.start()))
        talk(f"  {server.ready_line}")
        talk(f"  ({took:.1f} s from nothing)")
        mnt = server.mnt
        step("copy in", lambda: (shutil.copyfile(archive, local / "copy.tar"), os.sync()),
             lambda: (shutil.copyfile(archive, mnt / "set.tar"), server.command("sync")),
             "the archive, written and made durable")
        # Digests are computed in the background once a file rests; a manifest needs them only once.
        server.command("digest", mnt / "set.tar")
        step("integrity", lambda: run("md5sum", local / "copy.tar"),
             lambda: server.command("digest", mnt / "set.tar"),
             "md5 of the archive; Tarn keeps it from the ingest")
        step("extract", lambda: (run("tar", "xf", local / "copy.tar", "-C", local), os.sync()),
             lambda: server.command("extract", mnt / "set.tar", mnt),
             "every member a file, durable; Tarn's are ranges of the archive")
        step("verify", lambda: run("md5sum", "-c", "--quiet", local / "MD5SUMS", cwd=local / "set"),
             lambda: server.command("verify", mnt / "set", "--manifest", local / "MD5SUMS"),
             "every file against the manifest; Tarn compares the stored digests")
        step("read", lambda: read_everything(local / "set"), lambda: read_everything(mnt / "set"),
             "every byte of every file by an ordinary program, cold")
        assert read_everything(mnt / "set") == files * file_bytes
        talk()
        talk(f"{'step':<12}{'usual, s':>10}{'Tarn, s':>10}{'ratio':>9}   what")
        for name, usual, ours, note in rows:
            talk(f"{name:<12}{usual:>10.3f}{ours:>10.3f}{usual / ours:>8.1f}x   {note}")
        talk()
        read_while_the_worker_dies(talk, server, mnt / "set.tar", want)
        status = server.status()
        talk()
        talk("$ tarn status")
        for line in server.command("status").stdout.splitlines():
            talk(f"  {line}")
        (DEMO / "status.json").write_text(json.dumps(status, indent=1) + "\n")
        talk()
        talk("Not in this demo yet: the S3 endpoint, the training job and the pipeline's whole table.")
        if server.stop() != 0:
            raise SystemExit(f"demo: tarn serve did not end cleanly: {server.tail()}")
    finally:
        server.destroy()
    (DEMO / "report.txt").write_text("\n".join(talk.lines) + "\n")
    shutil.rmtree(local)
    print(f"report: var/demo/report.txt; the root stays in var/demo/tarn/root "
          f"({TARN.relative_to(TOP)} serve var/demo/tarn/root --mount DIR)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
