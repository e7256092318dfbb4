"""Names: rename, links, directories and their listing."""
import ctypes
import errno
import os
import socket
import stat
import threading

import pytest

AT_FDCWD = -100
RENAME_NOREPLACE = 1
libc = ctypes.CDLL(None, use_errno=True)


def renameat2(source, target, flags):
    if libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class ErrnoIs:
    """The body must fail with this errno."""

    def __init__(self, number):
        self.number = number

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        assert kind is not None and issubclass(kind, OSError), f"no error; wanted {errno.errorcode[self.number]}"
        assert error.errno == self.number, f"{error}; wanted {errno.errorcode[self.number]}"
        return True


def test_rename_within_and_across_directories(d):
    (d / "a").write_bytes(b"1")
    ino = (d / "a").stat().st_ino
    os.rename(d / "a", d / "b")
    (d / "sub").mkdir()
    os.rename(d / "b", d / "sub" / "c")
    assert (d / "sub" / "c").read_bytes() == b"1"
    assert (d / "sub" / "c").stat().st_ino == ino
    assert sorted(os.listdir(d)) == ["sub"]


def test_rename_of_a_directory_takes_its_tree(d):
    (d / "x" / "y").mkdir(parents=True)
    (d / "x" / "y" / "f").write_bytes(b"deep")
    (d / "to").mkdir()
    with open(d / "x" / "y" / "f", "rb") as f:
        os.rename(d / "x", d / "to" / "x2")
        assert f.read() == b"deep"
    assert (d / "to" / "x2" / "y" / "f").read_bytes() == b"deep"
    assert os.stat(d / "to" / "x2" / "y" / "..").st_ino == os.stat(d / "to" / "x2").st_ino
    assert os.stat(d / "to" / "x2" / "..").st_ino == os.stat(d / "to").st_ino
    assert not (d / "x").exists()


def test_rename_refusals(d):
    (d / "file").touch()
    (d / "empty").mkdir()
    (d / "full").mkdir()
    (d / "full" / "f").touch()
    with ErrnoIs(errno.ENOTEMPTY):
        os.rename(d / "empty", d / "full")
    with ErrnoIs(errno.EISDIR):
        os.rename(d / "file", d / "empty")
    with ErrnoIs(errno.ENOTDIR):
        os.rename(d / "empty", d / "file")
    with ErrnoIs(errno.EINVAL):
        os.rename(d / "full", d / "full" / "inside")
    with ErrnoIs(errno.ENOENT):
        os.rename(d / "missing", d / "x")
    os.rename(d / "full", d / "empty")
    assert os.listdir(d / "empty") == ["f"]


def test_rename_onto_itself_and_onto_its_own_link(d):
    (d / "a").write_bytes(b"x")
    os.rename(d / "a", d / "a")
    os.link(d / "a", d / "b")
    os.rename(d / "a", d / "b")
    assert sorted(os.listdir(d)) == ["a", "b"]


def test_rename_noreplace(d):
    (d / "a").write_bytes(b"a")
    (d / "b").write_bytes(b"b")
    with ErrnoIs(errno.EEXIST):
        renameat2(d / "a", d / "b", RENAME_NOREPLACE)
    renameat2(d / "a", d / "c", RENAME_NOREPLACE)
    assert (d / "c").read_bytes() == b"a" and (d / "b").read_bytes() == b"b"


def test_two_directories_cannot_become_each_others_parent(d):
    """Concurrent renames of directories into each other never make a loop."""
    (d / "p").mkdir()
    (d / "q").mkdir()

    def shove(source, target, count):
        for _ in range(count):
            try:
                os.rename(d / source, d / target)
                os.rename(d / target, d / source)
            except OSError:
                pass

    threads = [threading.Thread(target=shove, args=("p", "q/p", 200)),
               threading.Thread(target=shove, args=("q", "p/q", 200))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    found = sorted(name for _, names, _ in os.walk(d) for name in names)
    assert found == ["p", "q"]


def test_hard_links(d):
    (d / "a").write_bytes(b"one")
    os.link(d / "a", d / "b")
    (d / "s").mkdir()
    os.link(d / "b", d / "s" / "c")
    stats = [os.stat(p) for p in (d / "a", d / "b", d / "s" / "c")]
    assert {s.st_ino for s in stats} == {stats[0].st_ino}
    assert {s.st_nlink for s in stats} == {3}
    (d / "b").write_bytes(b"changed by another name")
    assert (d / "a").read_bytes() == b"changed by another name"
    assert (d / "a").stat().st_size == len(b"changed by another name")
    os.unlink(d / "a")
    assert (d / "s" / "c").stat().st_nlink == 2
    with ErrnoIs(errno.EEXIST):
        os.link(d / "b", d / "s" / "c")
    with ErrnoIs(errno.EPERM):
        os.link(d / "s", d / "dirlink")


def test_symlinks(d):
    os.symlink("target/that is missing", d / "s")
    assert os.readlink(d / "s") == "target/that is missing"
    assert os.lstat(d / "s").st_size == len("target/that is missing")
    assert stat.S_ISLNK(os.lstat(d / "s").st_mode)
    with ErrnoIs(errno.ENOENT):
        os.stat(d / "s")
    os.symlink("loop", d / "loop")
    with ErrnoIs(errno.ELOOP):
        os.stat(d / "loop")
    long = "x" * 4000
    os.symlink(long, d / "long")
    assert os.readlink(d / "long") == long


def test_names_of_many_kinds(d):
    names = ["a" * 255, " ", "new\nline", "\u00fcml\u00e4ut", "..x", "a.b.c", "-n", "*", "back\\slash"]
    raw = [os.fsencode(n) for n in names] + [b"\xff\xfe not utf-8"]
    for name in raw:
        with open(os.path.join(os.fsencode(d), name), "wb") as f:
            f.write(name)
    assert sorted(os.listdir(os.fsencode(d))) == sorted(raw)
    for name in raw:
        with open(os.path.join(os.fsencode(d), name), "rb") as f:
            assert f.read() == name
    with ErrnoIs(errno.ENAMETOOLONG):
        (d / ("a" * 256)).touch()
    with ErrnoIs(errno.ENAMETOOLONG):
        os.stat(d / ("a" * 256))


def test_directory_refusals(d):
    (d / "x").mkdir()
    (d / "x" / "f").touch()
    with ErrnoIs(errno.ENOTEMPTY):
        os.rmdir(d / "x")
    with ErrnoIs(errno.EEXIST):
        os.mkdir(d / "x")
    with ErrnoIs(errno.ENOTDIR):
        os.rmdir(d / "x" / "f")
    with ErrnoIs(errno.EISDIR):
        os.unlink(d / "x")
    with ErrnoIs(errno.ENOTDIR):
        os.stat(d / "x" / "f" / "g")
    with ErrnoIs(errno.ENOENT):
        (d / "missing" / "f").touch()


def test_a_name_is_a_file_or_a_directory_never_both(d):
    """`a` and `a/` sort apart in the store, so the sibling is checked on every creation."""
    (d / "a").touch()
    with ErrnoIs(errno.EEXIST):
        os.mkdir(d / "a")
    (d / "b").mkdir()
    with ErrnoIs(errno.EEXIST):
        os.close(os.open(d / "b", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    with ErrnoIs(errno.EEXIST):
        os.symlink("x", d / "b")
    for name in ["b0", "b-", "b.", "b!"]:
        (d / name).touch()
    assert sorted(os.listdir(d)) == sorted(["a", "b", "b0", "b-", "b.", "b!"])


def test_link_counts_of_directories(d):
    before = d.stat().st_nlink
    (d / "x").mkdir()
    (d / "y").mkdir()
    assert d.stat().st_nlink == before + 2
    assert (d / "x").stat().st_nlink == 2
    os.rename(d / "x", d / "y" / "x")
    assert d.stat().st_nlink == before + 1
    assert (d / "y").stat().st_nlink == 3
    os.rmdir(d / "y" / "x")
    assert (d / "y").stat().st_nlink == 2


def test_special_files(d):
    os.mkfifo(d / "fifo", 0o600)
    assert stat.S_ISFIFO(os.stat(d / "fifo").st_mode)
    os.mknod(d / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    s = os.stat(d / "null")
    assert stat.S_ISCHR(s.st_mode) and s.st_rdev == os.makedev(1, 3)
    here = os.getcwd()
    os.chdir(d)
    try:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("sock")
        listener.listen()
        caller = socket.socket(socket.AF_UNIX)
        caller.connect("sock")
        caller.close()
        listener.close()
    finally:
        os.chdir(here)
    assert stat.S_ISSOCK(os.stat(d / "sock").st_mode)


def test_list_a_large_directory_while_deleting(d):
    """Every name is seen exactly once, though each is deleted as it comes by."""
    count = 5000
    for i in range(count):
        os.close(os.open(d / f"f{i:05d}", os.O_CREAT | os.O_WRONLY))
    seen = []
    with os.scandir(d) as entries:
        for entry in entries:
            seen.append(entry.name)
            os.unlink(entry.path)
    assert len(seen) == count and len(set(seen)) == count
    assert os.listdir(d) == []
    os.mkdir(d / "again")
    assert os.listdir(d) == ["again"]


def test_list_while_others_are_created(d):
    """What was there before the listing began and stays is listed once."""
    for i in range(2000):
        (d / f"old{i:05d}").touch()
    seen = []
    with os.scandir(d) as entries:
        for number, entry in enumerate(entries):
            seen.append(entry.name)
            if number % 10 == 0:
                (d / f"new{number:05d}").touch()
    old = [name for name in seen if name.startswith("old")]
    assert len(old) == 2000 and len(set(old)) == 2000


def test_seekdir_and_rewind(d):
    names = {f"n{i}" for i in range(300)}
    for name in names:
        (d / name).touch()
    fd = os.open(d, os.O_RDONLY)
    assert set(os.listdir(fd)) == names
    (d / "late").touch()
    assert set(os.listdir(fd)) == names | {"late"}
    os.close(fd)


def test_listed_types_and_inodes_agree_with_stat(d):
    (d / "file").touch()
    (d / "dir").mkdir()
    os.symlink("file", d / "link")
    os.mkfifo(d / "fifo")
    with os.scandir(d) as entries:
        for entry in entries:
            s = os.lstat(entry.path)
            assert entry.inode() == s.st_ino
            assert entry.is_dir(follow_symlinks=False) == stat.S_ISDIR(s.st_mode)
            assert entry.is_symlink() == stat.S_ISLNK(s.st_mode)
            assert entry.is_file(follow_symlinks=False) == stat.S_ISREG(s.st_mode)


def test_removed_working_directory(d):
    (d / "gone").mkdir()
    here = os.getcwd()
    os.chdir(d / "gone")
    try:
        os.rmdir(d / "gone")
        assert os.listdir(".") == []
        with ErrnoIs(errno.ENOENT):
            os.close(os.open("f", os.O_CREAT | os.O_WRONLY))
    finally:
        os.chdir(here)


def test_deep_paths(d):
    path = d
    for i in range(60):
        path = path / f"level{i}"
    path.mkdir(parents=True)
    (path / "leaf").write_bytes(b"deep")
    assert (path / "leaf").read_bytes() == b"deep"


def test_many_threads_in_one_directory(d):
    errors = []

    def work(mark):
        try:
            for i in range(150):
                p = d / f"{mark}-{i}"
                p.write_bytes(mark.encode() * 100)
                os.rename(p, d / f"{mark}-{i}-r")
                if i % 3 == 0:
                    os.unlink(d / f"{mark}-{i}-r")
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in "abcdef"]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    assert len(os.listdir(d)) == 6 * 100
