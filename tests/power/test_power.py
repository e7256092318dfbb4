"""The power goes: the disk under the root stops taking writes, and Tarn is killed.

Afterwards everything is there that an fsync, an O_DSYNC write, a barrier, an extraction or a
database's commit had promised; the rest is old or new, and never anything else. Seeds: TARN_SEED=N
repeats; each failure names its own.
"""
import os
import random
import time

import pytest

from history import Rules
from programs import Programs
from tarn_server import TARN, unmount_lazily
from telling import report, tell

IS_LONG = os.environ.get("TARN_LONG") == "1"
SEED = int(os.environ.get("TARN_SEED", random.SystemRandom().randrange(10**6)))
POWER_CUT = Rules(is_power_cut=True)
LOCAL_POWER_CUT = Rules(is_power_cut=True, sync_covers_all=False, replace_is_whole=False)
WORK_SECONDS = (0.5, 6.0)
CUTS = {"ext4": 25 if IS_LONG else 3, "xfs": 25 if IS_LONG else 2}
# Rounds whose files stay, to be compared again after later cuts.
EARLIER_KEPT = 3
both_kinds = pytest.mark.parametrize("disk", ["ext4", "xfs"], indirect=True)


@pytest.mark.timeout(5400)
@both_kinds
def test_power_cuts(server, disk, outside):
    rng = random.Random(f"{SEED}/{disk.kind}")
    tell(f"seed {SEED}")
    acknowledged = durable = dropped = 0
    before = []
    for number in range(CUTS[disk.kind]):
        seed = rng.randrange(10**6)
        if server.process is None:
            server.start()
        programs = Programs(server.mnt, outside, f"c{number}", seed, (TARN, server.root))
        programs.start(["files", "files-unsynced", "extract", "sqlite-wal", "sqlite-delete"],
                       pause=rng.choice([0.0005, 0.003]))
        programs.wait_until_at_work()
        time.sleep(rng.uniform(*WORK_SECONDS))
        when = time.monotonic()
        # Either all stops at once, or Tarn lives on for a moment with a disk that takes nothing.
        is_at_once = rng.random() < 0.5
        disk.shut_down()
        if not is_at_once:
            time.sleep(rng.uniform(0, 1.5))
        server.kill_all(detach=False)
        programs.wait_for_end()
        unmount_lazily(server.mnt)  # it holds files of the disk
        disk.unmount()
        disk.mount()
        where = f"{disk.kind}, cut {number}, seed {seed}"
        try:
            server.start()
        except Exception as error:
            raise AssertionError(f"{where}: does not start again: {error}")
        status = server.status()
        assert "machine" in status["last_end"], f"{where}: takes the cut for {status['last_end']}"
        run = server.command("fsck", check=False)
        assert run.returncode == 0, f"{where}: tarn fsck: {run.stdout}{run.stderr}"
        counts = programs.check(POWER_CUT, when)
        for then_where, then, summaries in before:
            changed = then.changes(summaries)
            assert not changed, f"{where}: what was checked after {then_where} has changed: {changed}"
        # What was found once stays, through the next cut as well.
        server.command("sync")
        before.append((where, programs, programs.summaries()))
        if len(before) > EARLIER_KEPT:
            before.pop(0)[1].remove()
        acknowledged += counts["acknowledged"]
        durable += counts["durable"]
        dropped += status.get("health", {}).get("dropped_at_recovery", 0)
        tell(f"{where}: {'at once' if is_at_once else 'after a while without a disk'}: {counts}")
        if rng.random() < 0.3:
            assert server.stop() == 0
    if server.process is None:
        server.start()
    run = server.command("scrub", check=False)
    assert run.returncode == 0, f"{disk.kind}, seed {SEED}: tarn scrub: {run.stdout}{run.stderr}"
    assert server.stop() == 0
    report(f"{disk.kind}, seed {SEED}: {CUTS[disk.kind]} cuts, {acknowledged} operations acknowledged, {durable} of "
           f"them promised to survive, all there; {dropped} files dropped that never were synced")


@pytest.mark.timeout(600)
@both_kinds
def test_cut_while_recovering(server, disk, outside):
    """The power goes again while Tarn starts after a cut."""
    rng = random.Random(f"{SEED}/recovering/{disk.kind}")
    server.start()
    programs = Programs(server.mnt, outside, "c", SEED, (TARN, server.root))
    programs.start(["files", "files-unsynced", "extract"])
    programs.wait_until_at_work()
    time.sleep(2)
    when = time.monotonic()
    disk.shut_down()
    server.kill_all(detach=False)
    programs.wait_for_end()
    unmount_lazily(server.mnt)
    for _ in range(6 if IS_LONG else 2):
        disk.unmount()
        disk.mount()
        cut_in = rng.uniform(0.01, 0.4)
        server.start_without_waiting()
        time.sleep(cut_in)
        disk.shut_down()
        server.kill_all()
    disk.unmount()
    disk.mount()
    server.start()
    counts = programs.check(POWER_CUT, when)
    run = server.command("fsck", check=False)
    assert run.returncode == 0, f"seed {SEED}: tarn fsck: {run.stdout}{run.stderr}"
    report(f"{disk.kind}, seed {SEED}: cut again while starting, {counts['durable']} operations all there")


@pytest.mark.timeout(600)
@both_kinds
def test_the_local_file_system_passes_its_own_rules(disk, outside):
    """Checks the check: what ext4 and XFS promise holds for them, with the same programs and records."""
    for number in range(10 if IS_LONG else 1):
        seed = SEED + number
        programs = Programs(disk.path, outside, f"c{number}", seed)
        programs.start(["files", "files-unsynced", "sqlite-wal", "sqlite-delete"])
        programs.wait_until_at_work()
        time.sleep(2)
        when = time.monotonic()
        disk.shut_down()
        programs.wait_for_end()
        disk.unmount()
        disk.mount()
        counts = programs.check(LOCAL_POWER_CUT, when)
        report(f"{disk.kind} alone, seed {seed}: {counts}")
