"""Files' bytes: what open, read, write, mmap, truncate and friends must do."""
import ctypes
import errno
import fcntl
import hashlib
import mmap
import multiprocessing
import os
import random
import subprocess
import sys

import pytest

# The borders at which a file's bytes change their place, and their neighbours.
SIZES = [0, 1, 511, 4096, 16383, 16384, 16385, 131071, 131072, 131073, 1 << 20, (1 << 20) + 1, 5_000_000]


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_is_read(d, size):
    data = random.Random(size).randbytes(size)
    (d / "f").write_bytes(data)
    assert (d / "f").stat().st_size == size
    assert (d / "f").read_bytes() == data


def test_many_small_files_read_back_after_they_were_moved(d):
    """Small files move to packs in the background; nothing of that may show."""
    rng = random.Random(7)
    wanted = {f"f{i}": rng.randbytes(rng.randrange(1, 20_000)) for i in range(500)}
    for name, data in wanted.items():
        (d / name).write_bytes(data)
    fd = os.open(d, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    for name, data in wanted.items():
        assert (d / name).read_bytes() == data
        assert (d / name).stat().st_size == len(data)


def test_exclusive_create(d):
    os.close(os.open(d / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    with pytest.raises(FileExistsError):
        os.open(d / "f", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    os.symlink("nowhere", d / "s")
    with pytest.raises(FileExistsError):
        os.open(d / "s", os.O_CREAT | os.O_EXCL | os.O_WRONLY)


def test_open_flags_are_enforced(d):
    (d / "f").write_bytes(b"abc")
    fd = os.open(d / "f", os.O_RDONLY)
    with pytest.raises(OSError) as e:
        os.write(fd, b"x")
    assert e.value.errno == errno.EBADF
    os.close(fd)
    with pytest.raises(IsADirectoryError):
        os.open(d, os.O_WRONLY)
    with pytest.raises(NotADirectoryError):
        os.open(d / "f", os.O_RDONLY | os.O_DIRECTORY)
    os.symlink("f", d / "s")
    with pytest.raises(OSError) as e:
        os.open(d / "s", os.O_RDONLY | os.O_NOFOLLOW)
    assert e.value.errno == errno.ELOOP


def append_lines(path, mark, count):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    for i in range(count):
        os.write(fd, f"{mark}{i:07d}\n".encode())
    os.close(fd)


def test_append_by_two_processes_loses_nothing(d):
    (d / "log").touch()
    count = 3000
    writers = [multiprocessing.Process(target=append_lines, args=(d / "log", mark, count)) for mark in "ab"]
    for w in writers:
        w.start()
    for w in writers:
        w.join()
        assert w.exitcode == 0
    lines = (d / "log").read_text().splitlines()
    assert len(lines) == 2 * count
    assert set(lines) == {f"{m}{i:07d}" for m in "ab" for i in range(count)}
    for mark in "ab":
        mine = [line for line in lines if line[0] == mark]
        assert mine == sorted(mine)


def test_size_is_visible_to_others_while_a_writer_is_open(d):
    """Another process sees each write's size by stat, fstat, readdir's stat and seek at once."""
    ask = ("import os,sys\np=sys.argv[1]\n"
           "for line in sys.stdin:\n"
           " f=os.open(p,os.O_RDONLY)\n"
           " print(os.stat(p).st_size, os.fstat(f).st_size, os.lseek(f,0,2),"
           " next(e.stat().st_size for e in os.scandir(os.path.dirname(p))), flush=True)\n"
           " os.close(f)\n")
    with open(d / "f", "wb", buffering=0) as writer:
        other = subprocess.Popen([sys.executable, "-c", ask, str(d / "f")], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, text=True)
        size = 0
        for step in [1, 100, 5000, 200_000, 3]:
            writer.write(b"x" * step)
            size += step
            other.stdin.write("\n")
            other.stdin.flush()
            assert other.stdout.readline().split() == [str(size)] * 4
        other.stdin.close()
        assert other.wait() == 0


def test_seek_end_after_another_handle_wrote(d):
    (d / "f").write_bytes(b"12345")
    a = os.open(d / "f", os.O_RDWR)
    b = os.open(d / "f", os.O_RDWR | os.O_APPEND)
    os.write(b, b"678")
    assert os.lseek(a, 0, os.SEEK_END) == 8
    assert os.pread(a, 10, 0) == b"12345678"
    os.close(a)
    os.close(b)


def test_unlinked_but_open(d):
    fd = os.open(d / "f", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"before")
    os.unlink(d / "f")
    assert not (d / "f").exists()
    os.write(fd, b" after")
    assert os.pread(fd, 100, 0) == b"before after"
    assert os.fstat(fd).st_nlink == 0
    assert os.fstat(fd).st_size == 12
    (d / "f").write_bytes(b"another")
    assert os.pread(fd, 100, 0) == b"before after"
    os.ftruncate(fd, 3)
    assert os.pread(fd, 100, 0) == b"bef"
    os.close(fd)
    assert (d / "f").read_bytes() == b"another"


def test_unlinked_but_open_for_reading(d):
    (d / "f").write_bytes(b"z" * 50_000)
    with open(d / "f", "rb") as f:
        os.unlink(d / "f")
        os.fsync(os.open(d, os.O_RDONLY))
        assert f.read() == b"z" * 50_000


def test_rename_over_an_open_file_keeps_its_bytes(d):
    (d / "old").write_bytes(b"old bytes")
    (d / "new").write_bytes(b"new")
    with open(d / "old", "rb") as f:
        os.rename(d / "new", d / "old")
        assert f.read() == b"old bytes"
    assert (d / "old").read_bytes() == b"new"


def test_replace_by_rename_never_shows_a_half(d):
    """The usual save: write a new file, rename it over. A reader sees the old or the new, whole."""
    (d / "f").write_bytes(b"0" * 10_000)
    pid = os.fork()
    if pid == 0:
        for i in range(300):
            (d / "tmp").write_bytes(str(i % 10).encode() * 10_000)
            os.rename(d / "tmp", d / "f")
        os._exit(0)
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        data = (d / "f").read_bytes()
        assert len(data) == 10_000 and len(set(data)) == 1
    assert (d / "f").read_bytes() == b"9" * 10_000


def test_mmap_write_is_seen_by_read(d):
    (d / "f").write_bytes(b"\0" * 100_000)
    with open(d / "f", "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
        m[50_000:50_005] = b"hello"
        assert os.pread(f.fileno(), 5, 50_000) == b"hello"
        os.pwrite(f.fileno(), b"HE", 50_000)
        assert m[50_000:50_005] == b"HEllo"
        m.flush()
    data = (d / "f").read_bytes()
    assert data[50_000:50_005] == b"HEllo" and len(data) == 100_000


def test_mmap_of_a_small_settled_file(d):
    """Maps work wherever the bytes lie, private and shared."""
    (d / "f").write_bytes(b"small" * 100)
    fd = os.open(d, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    with open(d / "f", "rb") as f:
        with mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as shared:
            assert shared[:5] == b"small"
        with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY) as private:
            private[0] = ord("X")
            assert private[:5] == b"Xmall"
    assert (d / "f").read_bytes() == b"small" * 100


def test_map_outlives_its_descriptor(d):
    (d / "f").write_bytes(b"\1" * 200_000)
    f = open(d / "f", "r+b")
    m = mmap.mmap(f.fileno(), 0)
    f.close()
    assert (d / "f").read_bytes() == b"\1" * 200_000
    m[199_999] = 7
    m.flush()
    m.close()
    assert (d / "f").read_bytes()[-1] == 7


@pytest.mark.parametrize("size", [100, 20_000, 500_000])
def test_truncate(d, size):
    data = random.Random(size).randbytes(size)
    (d / "f").write_bytes(data)
    os.truncate(d / "f", size // 2)
    assert (d / "f").read_bytes() == data[:size // 2]
    os.truncate(d / "f", size)
    assert (d / "f").read_bytes() == data[:size // 2] + b"\0" * (size - size // 2)
    with open(d / "f", "r+b") as f:
        f.truncate(7)
        assert os.fstat(f.fileno()).st_size == 7
    assert (d / "f").stat().st_size == 7
    with open(d / "f", "wb"):
        assert (d / "f").stat().st_size == 0
    with pytest.raises(OSError) as e:
        os.truncate(d / "f", -1)
    assert e.value.errno == errno.EINVAL


def test_settled_file_is_changed_in_place(d):
    """A file that rests (in a pack or a blob) is opened for writing and changed; its links follow."""
    for size in (100, 50_000, 300_000):
        data = random.Random(size).randbytes(size)
        (d / f"f{size}").write_bytes(data)
        os.link(d / f"f{size}", d / f"g{size}")
    fd = os.open(d, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    for size in (100, 50_000, 300_000):
        data = bytearray(random.Random(size).randbytes(size))
        with open(d / f"f{size}", "r+b") as f:
            f.seek(size // 2)
            f.write(b"changed")
        data[size // 2:size // 2 + 7] = b"changed"
        assert (d / f"f{size}").read_bytes() == bytes(data)
        assert (d / f"g{size}").read_bytes() == bytes(data)


def test_sparse_file(d):
    with open(d / "f", "wb") as f:
        f.seek(10 << 20)
        f.write(b"data")
        f.truncate(20 << 20)
    fd = os.open(d / "f", os.O_RDONLY)
    assert os.lseek(fd, 0, os.SEEK_DATA) == 10 << 20
    hole = os.lseek(fd, 10 << 20, os.SEEK_HOLE)
    assert (10 << 20) + 4 <= hole <= (10 << 20) + 65536
    with pytest.raises(OSError) as e:
        os.lseek(fd, 21 << 20, os.SEEK_DATA)
    assert e.value.errno == errno.ENXIO
    assert os.fstat(fd).st_blocks * 512 < 1 << 20
    assert os.pread(fd, 8, (10 << 20) - 4) == b"\0\0\0\0data"
    os.close(fd)


def test_fallocate_and_punch(d):
    with open(d / "f", "w+b") as f:
        os.posix_fallocate(f.fileno(), 0, 1 << 20)
        assert os.fstat(f.fileno()).st_size == 1 << 20
        f.write(b"x" * (1 << 20))
        f.flush()
        # Keep size and punch a hole.
        run = subprocess.run(["fallocate", "-p", "-o", "65536", "-l", "65536", str(d / "f")], capture_output=True)
        assert run.returncode == 0, run.stderr
    data = (d / "f").read_bytes()
    assert data[:65536] == b"x" * 65536 and data[65536:131072] == b"\0" * 65536 and len(data) == 1 << 20


def test_copy_file_range(d):
    data = random.Random(3).randbytes(700_000)
    (d / "a").write_bytes(data)
    a = os.open(d / "a", os.O_RDONLY)
    b = os.open(d / "b", os.O_CREAT | os.O_WRONLY)
    done = 0
    while done < len(data):
        n = os.copy_file_range(a, b, len(data) - done)
        assert n > 0
        done += n
    os.close(a)
    os.close(b)
    assert (d / "b").read_bytes() == data


def test_unnamed_file_gets_a_name(d):
    fd = os.open(d, os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"nameless")
    at_fdcwd, at_symlink_follow = -100, 0x400
    assert ctypes.CDLL(None).linkat(at_fdcwd, f"/proc/self/fd/{fd}".encode(), at_fdcwd,
                                    os.fsencode(d / "named"), at_symlink_follow) == 0
    os.close(fd)
    assert (d / "named").read_bytes() == b"nameless"
    assert (d / "named").stat().st_nlink == 1


def test_direct_io(d):
    data = random.Random(5).randbytes(1 << 20)
    (d / "f").write_bytes(data)
    fd = os.open(d / "f", os.O_RDONLY | os.O_DIRECT)
    buffer = mmap.mmap(-1, 1 << 20)
    assert os.preadv(fd, [buffer], 0) == 1 << 20
    assert buffer[:] == data
    os.close(fd)


@pytest.mark.parametrize("flag", [os.O_SYNC, os.O_DSYNC])
def test_synchronous_writes(d, flag):
    fd = os.open(d / "f", os.O_CREAT | os.O_WRONLY | flag)
    for _ in range(5):
        assert os.write(fd, b"y" * 1000) == 1000
    os.close(fd)
    assert (d / "f").read_bytes() == b"y" * 5000


def test_fsync_of_files_and_directories(d):
    with open(d / "f", "wb") as f:
        f.write(b"1" * 1000)
        f.flush()
        os.fsync(f.fileno())
        f.write(b"2")
        f.flush()
        os.fdatasync(f.fileno())
    fd = os.open(d, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(fd)
    os.close(fd)
    os.sync()
    assert (d / "f").stat().st_size == 1001


def test_readers_and_a_writer_in_one_file(d):
    """Handles of all kinds on one file see each other's bytes, in whatever order they were opened."""
    (d / "f").write_bytes(b"a" * 30_000)
    r1 = os.open(d / "f", os.O_RDONLY)
    assert os.pread(r1, 3, 0) == b"aaa"
    w = os.open(d / "f", os.O_RDWR)
    r2 = os.open(d / "f", os.O_RDONLY)
    os.pwrite(w, b"bbb", 10_000)
    for fd in (r1, w, r2):
        assert os.pread(fd, 5, 9_999) == b"abbba"
    os.close(w)
    os.pread(r1, 1, 0)
    w = os.open(d / "f", os.O_WRONLY | os.O_APPEND)
    os.write(w, b"end")
    os.close(w)
    for fd in (r1, r2):
        assert os.pread(fd, 10, 30_000) == b"end"
        os.close(fd)


def test_random_writes_match_a_model(d):
    rng = random.Random(11)
    model = bytearray()
    fd = os.open(d / "f", os.O_CREAT | os.O_RDWR)
    for step in range(400):
        kind = rng.random()
        if kind < 0.7:
            at, data = rng.randrange(300_000), rng.randbytes(rng.randrange(1, 9000))
            os.pwrite(fd, data, at)
            if len(model) < at + len(data):
                model.extend(b"\0" * (at + len(data) - len(model)))
            model[at:at + len(data)] = data
        elif kind < 0.8:
            size = rng.randrange(300_000)
            os.ftruncate(fd, size)
            del model[size:]
            model.extend(b"\0" * (size - len(model)))
        elif kind < 0.9:
            at = rng.randrange(300_000)
            assert os.pread(fd, 5000, at) == bytes(model[at:at + 5000])
        else:
            os.close(fd)
            fd = os.open(d / "f", os.O_RDWR)
        if step % 100 == 50:
            os.fsync(fd)
    os.close(fd)
    assert hashlib.sha256((d / "f").read_bytes()).digest() == hashlib.sha256(model).digest()


def try_lock(path, kind):
    with open(path, "r+b") as f:
        try:
            (fcntl.flock if kind == "flock" else fcntl.lockf)(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            return False


@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_locks_between_processes(d, kind):
    (d / "f").touch()
    lock = fcntl.flock if kind == "flock" else fcntl.lockf
    with multiprocessing.Pool(1) as other, open(d / "f", "r+b") as f:
        lock(f, fcntl.LOCK_EX)
        assert other.apply(try_lock, (d / "f", kind)) is False
        lock(f, fcntl.LOCK_UN)
        assert other.apply(try_lock, (d / "f", kind)) is True


def test_locks_go_with_close(d):
    (d / "f").touch()
    with multiprocessing.Pool(1) as other:
        with open(d / "f", "r+b") as f:
            fcntl.lockf(f, fcntl.LOCK_EX)
            assert other.apply(try_lock, (d / "f", "lockf")) is False
        assert other.apply(try_lock, (d / "f", "lockf")) is True
