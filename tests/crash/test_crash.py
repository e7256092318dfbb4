"""The worker and the whole program killed, at named points and at random, while programs work.

Killing the worker must not be seen by anyone: every operation succeeds, none is done twice. Killing
the whole program keeps what was synced, or acknowledged before the last barrier, and shows nothing
half made. Seeds: TARN_SEED=N repeats; each failure names its own.
"""
import hashlib
import io
import json
import os
import random
import subprocess
import tarfile
import threading
import time

import pytest

import history
from history import Rules
from kill_points import kill_points
from programs import Programs
from tarn_server import TARN
from telling import report, tell

IS_LONG = os.environ.get("TARN_LONG") == "1"
SEED = int(os.environ.get("TARN_SEED", random.SystemRandom().randrange(10**6)))
PROCESS_DIED = Rules(is_power_cut=False)
# A round works for this long before it is killed at random, or at the latest.
WORK_SECONDS = (0.3, 4.0)
# Rounds whose files stay, to be compared again later.
EARLIER_KEPT = 5
# Points that a PUT of S3 passes; programs on the mount do not.
OBJECT_POINTS = ("fs.put.", "fs.upload")
REPLY_POINTS = [point for point in kill_points() if point.startswith("fs.") and point.endswith(".after_commit")
                and not point.startswith(OBJECT_POINTS)]
# Points that only an extraction passes.
EXTRACT_POINTS = [point for point in kill_points() if point.startswith("fs.extract.")]


def rounds(short, long):
    return long if IS_LONG else short


def assert_sound(server, where):
    """No contradiction in the metadata."""
    run = server.command("fsck", check=False)
    assert run.returncode == 0, f"{where}: tarn fsck: {run.stdout}{run.stderr}"


def assert_no_damage(server, where):
    run = server.command("scrub", check=False)
    assert run.returncode == 0, f"{where}: tarn scrub: {run.stdout}{run.stderr}"


def wait_for_death(server, pid, seconds, programs=None):
    """When that worker was last seen alive, once it has died; None after `seconds`, or when no program
    is left. Programs may have seen the death before it is seen here."""
    alive = time.monotonic()
    deadline = alive + seconds
    while (now := time.monotonic()) < deadline:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                is_dead = stat.read().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            is_dead = True
        if is_dead:
            return alive
        alive = now
        if programs and len(programs.ended_early()) == len(programs.programs):
            return None
        time.sleep(0.002)
    return None


# --- the worker

@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", REPLY_POINTS)
def test_worker_killed_between_commit_and_reply(server, outside, point):
    """Each mutating operation is committed, its worker dies before the answer: its caller sees success."""
    rng = random.Random(f"{SEED}/{point}")
    for number in range(rounds(1, 4)):
        passes = 1 if number == 0 else rng.randint(2, 6)
        seed = rng.randrange(10**6)
        where = f"{point}:{passes}, seed {seed}"
        tell(where)
        server.start({"TARN_KILL_POINT": f"{point}:{passes}"})
        worker = server.worker_pid()
        programs = Programs(server.mnt, outside, f"p{number}", seed, (TARN, server.root))
        # Until the point was passed often enough: the operations are chosen at random.
        programs.start(["files"], pause=0.001)
        assert wait_for_death(server, worker, 60, programs), f"{where}: the point was not reached: {server.tail()}"
        server.wait_for_new_worker(worker)
        time.sleep(1)
        failed = programs.stop()
        assert not failed, f"{where}: programs saw errors: {failed}; {server.tail()}"
        counts = programs.check(PROCESS_DIED, 0, loses_nothing=True)
        assert_sound(server, where)
        report(f"{where}: worker killed before its reply, {counts['acknowledged']} operations, none lost")
        assert server.stop() == 0
        server.start()
        programs.check(PROCESS_DIED, 0, loses_nothing=True)
        assert server.stop() == 0


@pytest.mark.timeout(3600)
def test_worker_killed_at_random(server, outside):
    """Readers in an epoch, writers in a file, databases, extractions: nobody sees an error."""
    rng = random.Random(SEED)
    tell(f"seed {SEED}")
    kills = 0
    for number in range(rounds(2, 20)):
        seed = rng.randrange(10**6)
        server.start()
        wanted = {}
        for i in range(60):
            data = random.Random(f"{seed}/{i}").randbytes(20_000_000 if i == 0 else rng.randint(0, 40_000))
            (server.mnt / f"data{number}-{i}").write_bytes(data)
            wanted[f"data{number}-{i}"] = hashlib.md5(data).hexdigest()
        (outside / f"list{number}").write_text(json.dumps(wanted))
        programs = Programs(server.mnt, outside, f"w{number}", seed, (TARN, server.root))
        programs.start(["files", "files-unsynced", "sqlite-wal", "sqlite-delete", "extract", "read", "copy"],
                       goes_on=True, list=str(outside / f"list{number}"))
        programs.wait_until_at_work(1)
        # The keeper gives up at more than five deaths in a minute.
        for _ in range(4):
            time.sleep(rng.uniform(0.2, 1.5))
            dead = server.kill_worker()
            kills += 1
            server.wait_for_new_worker(dead)
            early = {p.name: (p.process.poll(), programs.last_error(p) or p.error()) for p in programs.programs
                     if p.process.poll() is not None}
            assert not early, f"round {number}, seed {seed}, kill {kills}: ended: {early}; {server.tail()}"
        time.sleep(0.5)
        failed = programs.stop()
        assert not failed, f"round {number}, seed {seed}: programs saw errors: {failed}; {server.tail()}"
        counts = programs.check(PROCESS_DIED, 0, loses_nothing=True)
        assert_sound(server, programs.where())
        assert server.stop() == 0
        server.start()
        programs.check(PROCESS_DIED, 0, loses_nothing=True)
        report(f"round {number}, seed {seed}: {kills} kills of the worker, {counts['acknowledged']} operations, none lost")
        assert server.stop() == 0


def make_and_remove(top, stop, errors):
    """Names come and go in `top` until `stop`; how many times, and each error, are noted."""
    top.mkdir()
    number = 0
    while not stop.is_set():
        try:
            with open(top / f"f{number}", "xb") as file:
                file.write(b"x" * 100)
            (top / f"d{number}").mkdir()
            os.rename(top / f"f{number}", top / f"d{number}" / "g")
            os.chmod(top / f"d{number}", 0o700)
            os.unlink(top / f"d{number}" / "g")
            os.rmdir(top / f"d{number}")
        except OSError as error:
            errors.append(str(error))
            return
        number += 1


@pytest.mark.timeout(900)
def test_worker_killed_as_soon_as_it_serves(server):
    """Requests wait, a new worker takes the first of them, and dies: none of them fails."""
    rng = random.Random(SEED)
    tell(f"seed {SEED}")
    kills, errors = 0, []
    for number in range(rounds(2, 20)):
        server.start()
        stop = threading.Event()
        threads = [threading.Thread(target=make_and_remove, args=(server.mnt / f"t{number}-{i}", stop, errors))
                   for i in range(16)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        # The keeper gives up at more than five deaths in a minute.
        for _ in range(5):
            times_served = server.log.read_text(errors="replace").count("mount.serving")
            server.kill_worker()
            kills += 1
            while server.log.read_text(errors="replace").count("mount.serving") == times_served:
                time.sleep(0.0005)
            time.sleep(rng.choice([0, 0.0005, 0.001, 0.002, 0.004]))
        time.sleep(0.3)
        stop.set()
        for thread in threads:
            thread.join(30)
        assert not errors, f"round {number}, seed {SEED}: {errors}; {server.tail()}"
        assert server.stop() == 0
    report(f"{kills} workers killed as soon as they served, no program saw an error")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("size", [3000, 20_000, 300_000])
def test_written_copy_outlives_the_worker(server, size):
    """A settled file written again and covered by a barrier: its new bytes do not depend on the worker."""
    server.start()
    path = server.mnt / "f"
    path.write_bytes(history.content_of("old", size))
    server.command("sync")
    wanted = bytearray(history.content_of("old", size).ljust(5096, b"\0"))
    wanted[1000:5096] = history.content_of("new", 4096)
    with open(path, "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), history.content_of("new", 4096), 1000)
        server.command("sync")
        server.wait_for_new_worker(server.kill_worker())
        assert path.read_bytes() == wanted
    server.command("sync")
    assert path.read_bytes() == wanted
    assert server.stop() == 0
    server.start()
    assert path.read_bytes() == wanted
    assert server.stop() == 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("size", [0, 3000, 20_000, 300_000])
def test_times_of_an_untouched_file_outlive_the_worker(server, size):
    """Open for writing and not written when the worker dies: neither bytes nor times have changed."""
    server.start()
    path = server.mnt / "f"
    path.write_bytes(b"x" * size)
    os.utime(path, ns=(10**18, 10**18 + 7))
    server.command("sync")
    with open(path, "r+b", buffering=0) as file:
        server.wait_for_new_worker(server.kill_worker())
        assert path.stat().st_mtime_ns == 10**18 + 7
        server.command("sync")
        assert path.stat().st_mtime_ns == 10**18 + 7
        os.fsync(file.fileno())
        assert path.stat().st_mtime_ns == 10**18 + 7
    server.command("sync")
    assert path.stat().st_mtime_ns == 10**18 + 7 and path.read_bytes() == b"x" * size
    with open(path, "r+b", buffering=0) as file:
        server.wait_for_new_worker(server.kill_worker())
        file.write(b"y")
    assert path.stat().st_mtime_ns > 10**18 + 7 and path.read_bytes() == b"y" + b"x" * (size - 1)
    assert server.stop() == 0


# --- the whole program

class Rounds:
    """Whole-program kills on one root, round after round; nothing of a round may change later."""

    def __init__(self, server, outside):
        self.server, self.outside = server, outside
        self.before = []
        self.total = {"rounds": 0, "kills": 0, "acknowledged": 0, "durable": 0}
        self.fired = {}

    def run(self, seed, point=None):
        rng = random.Random(seed)
        number = self.total["rounds"]
        passes = rng.choice([1, 2, 3, rng.randint(4, 40)])
        where = f"round {number}, seed {seed}, {f'{point}:{passes}' if point else 'at random'}"
        if self.server.process is None:
            self.server.start({"TARN_KILL_POINT": f"{point}:{passes}"} if point else None)
        worker = self.server.worker_pid()
        programs = Programs(self.server.mnt, self.outside, f"r{number}", seed, (TARN, self.server.root))
        kinds = ["files", "files-unsynced", "extract", rng.choice(["sqlite-wal", "sqlite-delete"])]
        programs.start(kinds, pause=rng.choice([0.0005, 0.003]))
        if not point:
            programs.wait_until_at_work(rng.randint(1, 10))
        seconds = WORK_SECONDS[1] if point else rng.uniform(*WORK_SECONDS)
        died = wait_for_death(self.server, worker, seconds, programs)
        has_fired = died is not None
        assert point or not has_fired, f"{where}: the worker died by itself: {self.server.tail()}"
        when = died or time.monotonic()
        self.server.kill_all(detach=False)
        programs.wait_for_end()
        if point:
            self.fired[point] = self.fired.get(point, False) or has_fired
        try:
            self.server.start()
        except Exception as error:
            raise AssertionError(f"{where}: does not start again: {error}")
        assert_sound(self.server, where)
        counts = programs.check(PROCESS_DIED, when)
        self.before.append((where, programs, programs.summaries()))
        if len(self.before) > EARLIER_KEPT:
            self.compare_again(*self.before[0])
            self.before.pop(0)[1].remove()
        for key in ("acknowledged", "durable"):
            self.total[key] += counts[key]
        self.total["rounds"] += 1
        self.total["kills"] += 1
        tell(f"{where}: {'at the point' if has_fired else 'after ' + format(seconds, '.1f') + ' s'}, "
             f"{counts['acknowledged']} acknowledged, {counts['durable']} durable")
        # Half of the time the next round goes on with the program that has just recovered.
        if rng.random() < 0.5:
            assert self.server.stop() == 0

    def compare_again(self, where, programs, then):
        changed = programs.changes(then)
        assert not changed, f"{where}: changed after it was checked: {changed}"

    def finish(self):
        if self.server.process is not None:
            assert self.server.stop() == 0
        self.server.start()
        for each in self.before:
            self.compare_again(*each)
        assert_sound(self.server, "at the end")
        assert_no_damage(self.server, "at the end")
        report(f"{self.total['rounds']} rounds, {self.total['kills']} kills, {self.total['acknowledged']} operations "
             f"acknowledged, {self.total['durable']} of them promised to survive, all there")


@pytest.mark.timeout(3600)
def test_program_killed_at_random(server, outside):
    rng = random.Random(SEED)
    tell(f"seed {SEED}")
    work = Rounds(server, outside)
    for _ in range(rounds(8, 120)):
        work.run(rng.randrange(10**6))
    work.finish()


@pytest.mark.timeout(3600)
def test_program_killed_at_named_points(server, outside):
    """Extraction's points in every run; of the others a few, all of them in the long form."""
    rng = random.Random(SEED)
    tell(f"seed {SEED}")
    points = kill_points()
    assert points and EXTRACT_POINTS
    chosen = points * 3 if IS_LONG else rng.sample(points, 8)
    work = Rounds(server, outside)
    for point in chosen:
        if server.process is not None:
            assert server.stop() == 0
        work.run(rng.randrange(10**6), point)
    work.finish()
    missed = sorted(point for point, has_fired in work.fired.items() if not has_fired)
    report(f"reached {len(work.fired) - len(missed)} of {len(work.fired)} points"
         + (f"; never: {', '.join(missed)}" if missed else ""))
    if IS_LONG:
        unreached = [point for point in missed if point in REPLY_POINTS]
        assert not unreached, f"never reached: {unreached}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("point", EXTRACT_POINTS)
def test_extract_killed_at_its_points(server, outside, point):
    """Alone with --merge into a tree that exists: afterwards the old tree or the merged one."""
    server.start()
    old = {f"tree/d{i}/old{j}": history.content_of(f"old{i}/{j}", 700 * j) for i in range(3) for j in range(3)}
    new = {f"tree/d{i}/new{j}": history.content_of(f"new{i}/{j}", 900 * j) for i in range(4) for j in range(60)}
    for name, data in old.items():
        (server.mnt / name).parent.mkdir(parents=True, exist_ok=True)
        (server.mnt / name).write_bytes(data)
    archive = outside / "a.tar"
    write_tar(archive, new)
    (server.mnt / "a.tar").write_bytes(archive.read_bytes())
    server.command("sync")
    assert server.stop() == 0
    server.start({"TARN_KILL_POINT": f"{point}:1"})
    worker = server.worker_pid()
    process = subprocess.Popen([str(TARN), "extract", "--merge", str(server.mnt / "a.tar"), str(server.mnt)],
                               env={**os.environ, "TARN_ROOT": str(server.root)}, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    has_fired = False
    while not has_fired and process.poll() is None:
        has_fired = wait_for_death(server, worker, 0.1) is not None
    has_fired = has_fired or wait_for_death(server, worker, 0.1) is not None
    server.kill_all()
    process.wait(30)
    server.start()
    there = {str(p.relative_to(server.mnt)): p.read_bytes() for p in server.mnt.rglob("*")
             if p.is_file() and p.name != "a.tar"}
    assert there in (old, {**old, **new}), (
        f"{point}: half made: {len(there)} files, {len(old)} before, {len(old) + len(new)} after; "
        f"missing: {sorted(set({**old, **new}) - set(there))[:3]}")
    assert_sound(server, point)
    report(f"extract, {point}: {'reached' if has_fired else 'not reached'}; {'merged' if there != old else 'as before'}")
    (server.mnt / "after").write_bytes(b"x")
    assert server.stop() == 0


def write_tar(path, files):
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
