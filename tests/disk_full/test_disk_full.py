"""The disk under the root is full: what is there stays readable, rm works, then writing works again.

All without a restart: the keeper and the worker at the end are those of the beginning.
"""
import contextlib
import errno
import faulthandler
import io
import itertools
import mmap
import os
import random
import tarfile
import time

import pytest

from history import content_of
from telling import report

MIB = 1 << 20
# Released space comes back with a barrier, which runs every second; on a busy disk the one that is under way
# may first have to write out what filled the disk.
AGAIN_SECONDS = 120
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def kept(server):
    """Files of every size that were there before; all of them readable at the end, also afterwards."""
    data = {f"kept/f{i}": content_of(f"kept{i}", size)
            for i, size in enumerate([0, 1, 100, 5000, 16_384, 40_000, 131_072, 131_073, 1_000_000, 5_000_000] * 3)}
    (server.mnt / "kept").mkdir()
    for name, each in data.items():
        (server.mnt / name).write_bytes(each)
    server.command("sync")
    server.is_restarted = False
    processes = server.process.pid, server.worker_pid()
    yield data
    assert server.process and server.process.poll() is None, f"it died: {server.tail()}"
    if not server.is_restarted:
        assert (server.process.pid, server.worker_pid()) == processes, f"the worker died: {server.tail()}"
    assert_kept(server, data)
    assert server.stop() == 0
    server.start()
    assert_kept(server, data)
    run = server.command("fsck", check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    run = server.command("scrub", check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def assert_kept(server, data):
    for name, each in data.items():
        assert (server.mnt / name).read_bytes() == each, f"{name} has changed"


@contextlib.contextmanager
def no_space():
    """The body must end with ENOSPC (or EDQUOT), nothing else."""
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno in (errno.ENOSPC, errno.EDQUOT), caught.value


def fill_through(fd, limit=4 << 30):
    """Writes until the disk is full; how much it was."""
    block, written = random.Random(1).randbytes(MIB), 0
    while written < limit:
        try:
            written += os.write(fd, block)
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
            return written
    raise AssertionError(f"{written} bytes fit on a small disk")


def fill_to_the_last_block(fd):
    written = fill_through(fd)
    for size in (65536, 4096):
        with contextlib.suppress(OSError):
            while True:
                written += os.write(fd, b"x" * size)
    return written


numbers = itertools.count()


def wait_until_writable(server):
    """A new file can be made, written and synced again."""
    deadline = time.monotonic() + AGAIN_SECONDS
    while True:
        number = next(numbers)
        try:
            with open(server.mnt / f"again{number}", "xb") as file:
                file.write(b"again" * 20_000)
                file.flush()
                os.fsync(file.fileno())
            assert (server.mnt / f"again{number}").read_bytes() == b"again" * 20_000
            return
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
            assert time.monotonic() < deadline, (
                f"still no space {AGAIN_SECONDS} s after rm: {server.status()['capacity']}")
            time.sleep(0.2)


def test_filled_through_an_open_handle(server, kept):
    """A passthrough writer fills the disk; Tarn sees none of its writes."""
    with open(server.mnt / "big", "xb", buffering=0) as big:
        os.write(big.fileno(), b"start")
        written = fill_to_the_last_block(big.fileno()) + 5
        assert os.fstat(big.fileno()).st_size == written
        assert_kept(server, kept)
        assert server.status()["capacity"]["bytes_free"] < 40 * MIB
        os.lseek(big.fileno(), 0, os.SEEK_SET)
    # A file that still fits, or a clear answer; never a half of it.
    try:
        (server.mnt / "small").write_bytes(b"s" * 3000)
        assert (server.mnt / "small").read_bytes() == b"s" * 3000
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
    os.rename(server.mnt / "kept" / "f3", server.mnt / "kept" / "renamed")
    os.rename(server.mnt / "kept" / "renamed", server.mnt / "kept" / "f3")
    os.unlink(server.mnt / "big")
    wait_until_writable(server)
    second = fill_the_disk_again(server)
    assert second > written / 2, f"{second} bytes fit the second time, {written} the first"
    wait_until_writable(server)
    report(f"filled with {written / MIB:.0f} MiB through an open handle, removed, filled again with {second / MIB:.0f}")


def fill_the_disk_again(server):
    with open(server.mnt / "big2", "xb", buffering=0) as big:
        written = fill_through(big.fileno())
    os.unlink(server.mnt / "big2")
    return written


def test_filled_and_synced(server, kept):
    """fsync of the file that filled the disk, and of others, answers; what it acknowledged is there."""
    with open(server.mnt / "big", "xb", buffering=0) as big:
        written = fill_to_the_last_block(big.fileno())
        try:
            os.fsync(big.fileno())
            is_synced = True
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
            is_synced = False
    assert (server.mnt / "big").stat().st_size == written
    assert_kept(server, kept)
    os.unlink(server.mnt / "big")
    wait_until_writable(server)
    report(f"fsync on a full disk {'succeeds' if is_synced else 'says ENOSPC'}")


def test_filled_with_small_files(server, kept):
    """Every file that was acknowledged is whole; the one that did not fit is absent or says so."""
    made = {}
    filler = open(server.mnt / "filler", "xb", buffering=0)
    block = random.Random(2).randbytes(MIB)
    while server.status()["capacity"]["bytes_free"] > 60 * MIB:
        for _ in range(8):
            os.write(filler.fileno(), block)
    failed = 0
    for number in range(100_000):
        data = content_of(f"small{number}", 40_000)
        try:
            with open(server.mnt / f"s{number}", "xb", buffering=0) as file:
                file.write(data)
                if number % 50 == 0:
                    os.fsync(file.fileno())
            made[f"s{number}"] = data
        except OSError as error:
            assert error.errno == errno.ENOSPC, error
            failed += 1
            if failed >= 20:
                break
    assert failed and len(made) > 100, f"{len(made)} made, {failed} refused"
    wrong = [name for name, data in made.items() if (server.mnt / name).read_bytes() != data]
    assert not wrong, f"of {len(made)} files acknowledged, wrong: {wrong[:5]}"
    for name in list(made)[::2]:
        os.unlink(server.mnt / name)
        del made[name]
    filler.close()
    os.unlink(server.mnt / "filler")
    wait_until_writable(server)
    server.command("sync")
    wrong = [name for name, data in made.items() if (server.mnt / name).read_bytes() != data]
    assert not wrong, f"after the sync, wrong: {wrong[:5]}"
    kept.update(made)
    report(f"{len(made) * 2} small files until the disk was full, half removed, the other half whole")


def test_removing_works_on_a_full_disk(server, kept):
    """rm -r of thousands of files with not a block left: metadata has room of its own."""
    (server.mnt / "many").mkdir()
    for i in range(3000):
        (server.mnt / "many" / f"m{i}").write_bytes(b"m" * (i % 3000))
    with open(server.mnt / "big", "xb", buffering=0) as big:
        written = fill_to_the_last_block(big.fileno())
        for i in range(3000):
            os.unlink(server.mnt / "many" / f"m{i}")
        os.rmdir(server.mnt / "many")
        assert os.fstat(big.fileno()).st_size == written
    os.unlink(server.mnt / "big")
    wait_until_writable(server)
    report("3000 files removed with the disk full")


def test_overwriting_on_a_full_disk(server, kept):
    """Blocks a file has can be written; replaced by O_TRUNC it is old or new, or the error is told."""
    (server.mnt / "file").write_bytes(b"o" * 2_000_000)
    server.command("sync")
    with open(server.mnt / "file", "r+b", buffering=0) as file, open(server.mnt / "big", "xb", buffering=0) as big:
        fill_to_the_last_block(big.fileno())
        os.pwrite(file.fileno(), b"n" * 1_000_000, 500_000)
        os.fsync(file.fileno())
    assert (server.mnt / "file").read_bytes() == b"o" * 500_000 + b"n" * 1_000_000 + b"o" * 500_000
    try:
        (server.mnt / "file").write_bytes(b"r" * 3_000_000)
        wanted = [b"r" * 3_000_000]
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        wanted = None
    data = (server.mnt / "file").read_bytes()
    if wanted is None:
        # The writer was told; a beginning of what it wrote may be there, or the old bytes.
        assert data == b"r" * len(data) or len(data) == 2_000_000
    else:
        assert data in wanted
    os.unlink(server.mnt / "big")
    wait_until_writable(server)


def test_map_into_a_hole_on_a_full_disk(server, kept):
    """The writer through the map gets the signal, as on any file system; Tarn goes on."""
    with open(server.mnt / "sparse", "x+b", buffering=0) as file, open(server.mnt / "big", "xb", buffering=0) as big:
        os.truncate(file.fileno(), 50_000_000)
        fill_to_the_last_block(big.fileno())
        child = os.fork()
        if child == 0:
            faulthandler.disable()
            with mmap.mmap(file.fileno(), 0) as mapped:
                for at in range(0, len(mapped), 4096):
                    mapped[at] = 1
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == 7, f"ended with {status}, not by SIGBUS"
        assert_kept(server, kept)
    os.unlink(server.mnt / "big")
    os.unlink(server.mnt / "sparse")
    wait_until_writable(server)


def tar_gz(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        for name, size in files.items():
            member = tarfile.TarInfo(name)
            member.size = size
            tar.addfile(member, io.BytesIO(b"\0" * size))
    return out.getvalue()


@pytest.mark.parametrize("sizes", [[100_000_000] * 6, [30_000] * 20_000], ids=["large", "small"])
def test_extracting_more_than_fits(server, kept, outside, sizes):
    """A small archive of more bytes than the disk has: a clear error, nothing visible, all space back."""
    (server.mnt / "bomb.tar.gz").write_bytes(tar_gz({f"bomb/{i}": size for i, size in enumerate(sizes)}))
    (server.mnt / "target").mkdir()
    server.command("sync")
    free = server.status()["capacity"]["bytes_free"]
    run = server.command("extract", server.mnt / "bomb.tar.gz", server.mnt / "target", check=False)
    assert run.returncode == 1, f"exit {run.returncode}: {run.stdout}{run.stderr}"
    assert "bytes are free" in run.stderr or "o space" in run.stderr, run.stderr
    assert os.listdir(server.mnt / "target") == []
    assert_kept(server, kept)
    wait_until_writable(server)
    deadline = time.monotonic() + AGAIN_SECONDS
    while (now := server.status()["capacity"]["bytes_free"]) < free - 30 * MIB:
        assert time.monotonic() < deadline, f"{(free - now) / MIB:.0f} MiB did not come back: {server.status()}"
        time.sleep(0.3)
    (server.mnt / "good.tar.gz").write_bytes(tar_gz({"good/a": 1000, "good/b": 200_000}))
    server.command("extract", server.mnt / "good.tar.gz", server.mnt / "target")
    assert (server.mnt / "target" / "good" / "b").read_bytes() == b"\0" * 200_000
    report(f"an archive of {sum(sizes) / MIB:.0f} MiB: {run.stderr.strip()}")


def test_ballast_comes_back(server, kept, disk):
    """After the disk was full the reserve is there again, for the next time."""
    ballast = server.root / "ballast"
    before = ballast.stat().st_blocks
    assert before * 512 >= 16 * MIB
    for number in range(2):
        with open(server.mnt / f"big{number}", "xb", buffering=0) as big:
            fill_to_the_last_block(big.fileno())
            with contextlib.suppress(OSError):
                for i in range(2000):
                    (server.mnt / f"e{number}-{i}").mkdir()
        os.unlink(server.mnt / f"big{number}")
        deadline = time.monotonic() + AGAIN_SECONDS
        while not ballast.exists() or ballast.stat().st_blocks < before:
            assert time.monotonic() < deadline, "the ballast did not come back"
            time.sleep(0.2)
        wait_until_writable(server)


def test_room_comes_back_after_a_worker_died(server, disk):
    """What a dead worker had registered with the kernel does not hold the blocks of removed files."""
    for number in range(3):
        with open(server.mnt / f"f{number}", "wb") as file:
            file.write(random.Random(number).randbytes(50 * MIB))
    server.command("sync")
    for number in range(3):
        with open(server.mnt / f"f{number}", "rb") as file:
            assert len(file.read()) == 50 * MIB
    with open(server.mnt / "f0", "rb") as reader:
        server.wait_for_new_worker(server.kill_worker())
        server.wait_until_it_answers()
        free = disk.free_bytes()
        for number in range(3):
            os.unlink(server.mnt / f"f{number}")
        wait_until_free(disk, free + 95 * MIB)
        assert reader.read() == random.Random(0).randbytes(50 * MIB), "removed, but still open"
    wait_until_free(disk, free + 145 * MIB)


def wait_until_free(disk, wanted):
    deadline = time.monotonic() + AGAIN_SECONDS
    while (free := disk.free_bytes()) < wanted:
        assert time.monotonic() < deadline, f"{free / MIB:.0f} MiB are free, {wanted / MIB:.0f} should be"
        time.sleep(0.2)


def test_start_on_a_full_disk(server, kept, disk):
    """A restart needs no room; then rm, then writing works."""
    assert server.stop() == 0
    with open(disk.path / "other program's file", "xb", buffering=0) as other:
        fill_to_the_last_block(other.fileno())
    server.start()
    server.is_restarted = True
    assert_kept(server, kept)
    os.unlink(server.mnt / "kept" / "f9")
    del kept["kept/f9"]
    (disk.path / "other program's file").unlink()
    wait_until_writable(server)
