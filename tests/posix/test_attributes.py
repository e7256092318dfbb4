"""Modes, owners, times, extended attributes, ACLs, permissions, space."""
import errno
import mmap
import os
import stat
import struct
import subprocess
import time

import pytest

from users import as_user, denied

ALICE, BOB, STAFF = 4001, 4002, 4500
# struct vfs_cap_data of linux/capability.h: revision 2, effective, cap_net_raw permitted.
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def sync_directory(path):
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)


def test_times_keep_their_nanoseconds(d):
    for name, make in [("f", lambda p: p.touch()), ("dir", lambda p: p.mkdir())]:
        path = d / name
        make(path)
        for when in [(1_600_000_000_123_456_789, 1_500_000_000_987_654_321), (0, 0), (-5 * 10**9 + 1, -(10**9))]:
            os.utime(path, ns=when)
            s = path.stat()
            assert (s.st_atime_ns, s.st_mtime_ns) == when
    os.symlink("f", d / "s")
    os.utime(d / "s", ns=(1_111_111_111_000_000_001, 1_222_222_222_000_000_002), follow_symlinks=False)
    assert os.lstat(d / "s").st_mtime_ns == 1_222_222_222_000_000_002
    assert os.stat(d / "f").st_mtime_ns == -(10**9)


def test_opened_for_writing_and_not_written_keeps_its_times(d):
    """Also when it is synced, or opened with O_DSYNC: a sync is no write."""
    folder = os.open(d, os.O_RDONLY)
    for size in (0, 10, 50_000, 500_000):
        for flags in (os.O_RDWR, os.O_WRONLY | os.O_DSYNC):
            path = d / f"f{size}-{flags}"
            path.write_bytes(b"x" * size)
            os.utime(path, ns=(10**18, 10**18 + 7))
            os.fsync(folder)
            fd = os.open(path, flags)
            assert path.stat().st_mtime_ns == 10**18 + 7
            os.fsync(fd)
            assert path.stat().st_mtime_ns == 10**18 + 7
            os.close(fd)
            assert path.stat().st_mtime_ns == 10**18 + 7
            os.fsync(folder)
            assert path.stat().st_mtime_ns == 10**18 + 7 and path.read_bytes() == b"x" * size
            with open(path, "r+b", buffering=0) as file:
                os.fsync(file.fileno())
                file.write(b"y")
            os.fsync(folder)
            assert path.stat().st_mtime_ns > 10**18 + 7 and path.read_bytes() == b"y" + b"x" * (size - 1)
    os.close(folder)


def test_times_set_while_a_writer_is_open(d):
    """`cp -p` and tar set times on an open descriptor, then close it."""
    for size in (10, 50_000, 500_000):
        with open(d / f"f{size}", "wb") as f:
            f.write(b"x" * size)
            f.flush()
            os.utime(f.fileno(), ns=(10**18, 10**18 + 7))
        assert (d / f"f{size}").stat().st_mtime_ns == 10**18 + 7
    fd = os.open(d, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    for size in (10, 50_000, 500_000):
        assert (d / f"f{size}").stat().st_mtime_ns == 10**18 + 7


def test_times_move_with_what_happens(d):
    path = d / "f"
    path.write_bytes(b"1")
    old = 10**18
    os.utime(path, ns=(old, old))
    before = time.time_ns() - 50_000_000
    with open(path, "ab") as f:
        f.write(b"2")
    assert path.stat().st_mtime_ns >= before and path.stat().st_ctime_ns >= before
    os.utime(d, ns=(old, old))
    (d / "new").touch()
    assert d.stat().st_mtime_ns >= before
    os.utime(d, ns=(old, old))
    os.rename(d / "new", d / "newer")
    assert d.stat().st_mtime_ns >= before
    os.utime(d, ns=(old, old))
    os.unlink(d / "newer")
    assert d.stat().st_mtime_ns >= before
    os.utime(path, ns=(old, old))
    changed = path.stat().st_ctime_ns
    time.sleep(0.02)
    os.chmod(path, 0o600)
    assert path.stat().st_ctime_ns > changed
    assert path.stat().st_mtime_ns == old


def test_created_file_has_the_clocks_time(d):
    """Not the time of the file that its bytes were put in."""
    time.sleep(0.05)
    before = time.time_ns() - 20_000_000
    with open(d / "f", "wb"):
        assert (d / "f").stat().st_mtime_ns >= before
    assert before <= (d / "f").stat().st_mtime_ns <= time.time_ns() + 20_000_000


def test_created_file_shows_what_its_maker_writes(d):
    """The kernel may believe the reply to CREATE for a moment; whatever is written ends that."""
    for way in ("write", "truncate", "mmap", "fallocate", "other"):
        file = os.open(d / way, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
        first = os.fstat(file)
        assert (first.st_size, stat.S_IMODE(first.st_mode)) == (0, 0o640)
        time.sleep(0.02)
        if way == "write":
            os.write(file, b"x" * 5000)
        elif way == "truncate":
            os.ftruncate(file, 5000)
        elif way == "mmap":
            os.ftruncate(file, 5000)
            time.sleep(0.02)
            between = os.fstat(file)
            with mmap.mmap(file, 5000) as memory:
                memory[0:4] = b"tarn"
                memory.flush()
            assert os.fstat(file).st_mtime_ns > between.st_mtime_ns
        elif way == "fallocate":
            os.posix_fallocate(file, 0, 5000)
        else:
            with open(d / way, "r+b") as other:
                other.write(b"y" * 5000)
        for seen in (os.fstat(file), os.stat(d / way)):
            assert seen.st_size == 5000
            assert seen.st_mtime_ns > first.st_mtime_ns
        os.chmod(d / way, 0o600)
        assert stat.S_IMODE(os.fstat(file).st_mode) == 0o600
        os.close(file)
        assert os.stat(d / way).st_size == 5000


def test_reading_does_not_move_mtime(d):
    (d / "f").write_bytes(b"x" * 200_000)
    before = (d / "f").stat()
    time.sleep(0.02)
    (d / "f").read_bytes()
    with open(d / "f", "r+b"):
        pass
    after = (d / "f").stat()
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


def test_modes_and_umask(d):
    old = os.umask(0o027)
    try:
        os.close(os.open(d / "f", os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(d / "dir", 0o777)
    finally:
        os.umask(old)
    assert stat.S_IMODE((d / "f").stat().st_mode) == 0o640
    assert stat.S_IMODE((d / "dir").stat().st_mode) == 0o750
    for mode in (0o000, 0o777, 0o4711, 0o2711, 0o1644):
        os.chmod(d / "f", mode)
        assert stat.S_IMODE((d / "f").stat().st_mode) == mode


def test_setgid_directory_gives_its_group(d):
    (d / "g").mkdir()
    os.chown(d / "g", 0, STAFF)
    os.chmod(d / "g", 0o2777)
    (d / "g" / "f").touch()
    (d / "g" / "sub").mkdir()
    assert (d / "g" / "f").stat().st_gid == STAFF
    assert (d / "g" / "sub").stat().st_gid == STAFF
    assert (d / "g" / "sub").stat().st_mode & stat.S_ISGID


def test_owner_of_what_a_user_creates(d):
    def create():
        (d / "mine").write_bytes(b"x")
        (d / "dir").mkdir()
        os.symlink("mine", d / "link")
    as_user(ALICE, STAFF, create)
    for name in ("mine", "dir", "link"):
        s = os.lstat(d / name)
        assert (s.st_uid, s.st_gid) == (ALICE, STAFF)


def write_to(path):
    with open(path, "r+b", buffering=0) as f:
        f.write(b"y")


def write_twice_to(path):
    """The second time the kernel may know that there is nothing to clear; it must not be wrong."""
    with open(path, "r+b", buffering=0) as f:
        f.write(b"y")
        f.write(b"z")


def write_through_a_mapping_of(path):
    with open(path, "r+b") as f, mmap.mmap(f.fileno(), 0) as memory:
        memory[0:1] = b"m"
        memory.flush()
        os.pwrite(f.fileno(), b"w", 1)


def open_truncating(path):
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


def truncate_by_name(path):
    os.truncate(path, 3)


def truncate_open(path):
    with open(path, "r+b") as f:
        f.truncate(2)


def allocate(path):
    with open(path, "r+b") as f:
        os.posix_fallocate(f.fileno(), 0, 600_000)


def copy_range_to(path):
    with open(path, "r+b") as f:
        os.copy_file_range(f.fileno(), f.fileno(), 10, 0, 10)


WAYS_TO_CHANGE = [write_to, write_twice_to, write_through_a_mapping_of, open_truncating,
                  truncate_by_name, truncate_open, allocate, copy_range_to]


@pytest.mark.parametrize("size", [100, 300_000], ids=["in_a_pack", "a_blob"])
@pytest.mark.parametrize("change", WAYS_TO_CHANGE, ids=lambda change: change.__name__)
def test_set_id_bits_and_capabilities_go_when_another_writes(d, change, size):
    path = d / "f"
    path.write_bytes(b"x" * size)
    for settled in (False, True):
        if settled:
            os.sync()
            sync_directory(d)
        for mode, left in ((0o6777, 0o777), (0o4767, 0o767), (0o2767, 0o767)):
            os.chmod(path, mode)
            os.setxattr(path, "security.capability", CAPABILITY)
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert as_user(BOB, BOB, lambda: change(path)) is None
            assert stat.S_IMODE(path.stat().st_mode) == left, oct(mode)
            assert "security.capability" not in os.listxattr(path)
            # Once more after a write that had nothing to clear.
            os.chmod(path, mode)
            assert as_user(BOB, BOB, lambda: change(path)) is None
            assert stat.S_IMODE(path.stat().st_mode) == left, oct(mode)
            path.write_bytes(b"x" * size)


def test_set_id_bits_are_not_cleared_by_who_may_not(d):
    (d / "f").write_bytes(b"x")
    os.chmod(d / "f", 0o6755)
    assert as_user(BOB, BOB, lambda: os.chown(d / "f", -1, -1)) == denied(errno.EPERM)
    assert stat.S_IMODE((d / "f").stat().st_mode) == 0o6755
    with open(d / "f", "ab", buffering=0) as file:
        # An open file may be handed on: what counts is who opened it.
        assert as_user(BOB, BOB, lambda: file.write(b"y")) == 1
    assert stat.S_IMODE((d / "f").stat().st_mode) == 0o755


def test_set_id_bits_stay_when_root_writes(d):
    (d / "f").write_bytes(b"x" * 300_000)
    os.chmod(d / "f", 0o6777)
    write_to(d / "f")
    assert stat.S_IMODE((d / "f").stat().st_mode) == 0o6777


def test_set_id_bits_go_when_the_owner_changes(d):
    (d / "f").write_bytes(b"x")
    os.chmod(d / "f", 0o6755)
    os.chown(d / "f", ALICE, STAFF)
    assert stat.S_IMODE((d / "f").stat().st_mode) == 0o755
    os.chmod(d / "f", 0o6755)
    assert as_user(ALICE, STAFF, lambda: os.chown(d / "f", -1, STAFF)) is None
    assert stat.S_IMODE((d / "f").stat().st_mode) == 0o755
    (d / "dir").mkdir()
    os.chmod(d / "dir", 0o2775)
    os.chown(d / "dir", ALICE, STAFF)
    os.chown(d / "dir", -1, -1)
    assert stat.S_IMODE((d / "dir").stat().st_mode) == 0o2775


def test_permission_bits_hold_for_another_user(d):
    (d / "f").write_bytes(b"secret")
    os.chmod(d / "f", 0o640)
    os.chown(d / "f", ALICE, STAFF)
    read = lambda: (d / "f").read_bytes()  # noqa: E731
    write = lambda: open(d / "f", "r+b").close()  # noqa: E731
    assert as_user(ALICE, ALICE, read) == b"secret"
    assert as_user(ALICE, ALICE, write) is None
    assert as_user(BOB, BOB, read) == denied(errno.EACCES)
    assert as_user(BOB, STAFF, read) == b"secret"
    assert as_user(BOB, BOB, read, groups=[STAFF]) == b"secret"
    assert as_user(BOB, STAFF, write) == denied(errno.EACCES)
    assert as_user(BOB, BOB, lambda: os.chmod(d / "f", 0o777)) == denied(errno.EPERM)
    assert as_user(ALICE, ALICE, lambda: os.chown(d / "f", BOB, -1)) == denied(errno.EPERM)


def test_directory_permissions_hold_for_another_user(d):
    (d / "locked").mkdir()
    (d / "locked" / "f").write_bytes(b"x")
    os.chmod(d / "locked", 0o711)
    assert as_user(BOB, BOB, lambda: os.listdir(d / "locked")) == denied(errno.EACCES)
    assert as_user(BOB, BOB, lambda: (d / "locked" / "f").read_bytes()) == b"x"
    assert as_user(BOB, BOB, lambda: (d / "locked" / "g").touch()) == denied(errno.EACCES)
    assert as_user(BOB, BOB, lambda: os.unlink(d / "locked" / "f")) == denied(errno.EACCES)
    os.chmod(d / "locked", 0o700)
    assert as_user(BOB, BOB, lambda: (d / "locked" / "f").read_bytes()) == denied(errno.EACCES)


def test_sticky_directory(d):
    (d / "tmp").mkdir()
    os.chmod(d / "tmp", 0o1777)
    as_user(ALICE, ALICE, lambda: (d / "tmp" / "a").touch())
    assert as_user(BOB, BOB, lambda: os.unlink(d / "tmp" / "a")) == denied(errno.EPERM)
    assert as_user(BOB, BOB, lambda: os.rename(d / "tmp" / "a", d / "tmp" / "b")) == denied(errno.EPERM)
    assert as_user(ALICE, ALICE, lambda: os.unlink(d / "tmp" / "a")) is None


def test_execute(d):
    script = d / "script"
    script.write_text("#!/bin/sh\necho ran\n")
    with pytest.raises(PermissionError):
        subprocess.run([str(script)])
    script.chmod(0o755)
    assert subprocess.run([str(script)], capture_output=True, text=True, check=True).stdout == "ran\n"


def test_xattrs(d):
    for name, make in [("f", lambda p: p.touch()), ("dir", lambda p: p.mkdir())]:
        path = d / name
        make(path)
        assert [n for n in os.listxattr(path) if n.startswith("user.")] == []
        os.setxattr(path, "user.a", b"1")
        os.setxattr(path, "user.b", b"")
        os.setxattr(path, "user.a", b"22", os.XATTR_REPLACE)
        assert os.getxattr(path, "user.a") == b"22"
        assert os.getxattr(path, "user.b") == b""
        assert sorted(os.listxattr(path)) == ["user.a", "user.b"]
        for flag, key, number in [(os.XATTR_CREATE, "user.a", errno.EEXIST),
                                  (os.XATTR_REPLACE, "user.c", errno.ENODATA)]:
            with pytest.raises(OSError) as e:
                os.setxattr(path, key, b"x", flag)
            assert e.value.errno == number
        os.removexattr(path, "user.a")
        for call in (os.getxattr, os.removexattr):
            with pytest.raises(OSError) as e:
                call(path, "user.a")
            assert e.value.errno == errno.ENODATA


def test_xattr_limits(d):
    (d / "f").touch()
    name = "user." + "n" * 250
    os.setxattr(d / "f", name, b"v" * 2000)
    assert os.getxattr(d / "f", name) == b"v" * 2000
    with pytest.raises(OSError) as e:
        os.setxattr(d / "f", "user." + "n" * 251, b"v")
    assert e.value.errno == errno.ERANGE
    with pytest.raises(OSError) as e:
        os.setxattr(d / "f", "user.big", b"v" * 65537)
    assert e.value.errno in (errno.E2BIG, errno.ENOSPC)
    for i in range(20):
        os.setxattr(d / "f", f"user.many{i}", str(i).encode())
    assert len(os.listxattr(d / "f")) == 21


def test_xattr_namespaces(d):
    (d / "f").touch()
    os.chmod(d / "f", 0o666)
    os.setxattr(d / "f", "trusted.t", b"1")
    assert os.getxattr(d / "f", "trusted.t") == b"1"
    assert as_user(BOB, BOB, lambda: os.listxattr(d / "f")) == []
    assert as_user(BOB, BOB, lambda: os.setxattr(d / "f", "user.u", b"1")) is None
    os.chmod(d / "f", 0o600)
    assert as_user(BOB, BOB, lambda: os.getxattr(d / "f", "user.u")) == denied(errno.EACCES)


def test_acl_grants_and_denies(d):
    (d / "f").write_bytes(b"x")
    os.chmod(d / "f", 0o600)
    subprocess.run(["setfacl", "-m", f"u:{ALICE}:r", str(d / "f")], check=True)
    read = lambda: (d / "f").read_bytes()  # noqa: E731
    assert as_user(ALICE, ALICE, read) == b"x"
    assert as_user(BOB, BOB, read) == denied(errno.EACCES)
    assert stat.S_IMODE((d / "f").stat().st_mode) == 0o640
    os.chmod(d / "f", 0o600)
    assert as_user(ALICE, ALICE, read) == denied(errno.EACCES)


def test_default_acl_is_inherited(d):
    (d / "dir").mkdir()
    subprocess.run(["setfacl", "-d", "-m", f"u:{ALICE}:rwx", str(d / "dir")], check=True)
    (d / "dir" / "f").write_bytes(b"x")
    (d / "dir" / "sub").mkdir()
    assert "system.posix_acl_access" in os.listxattr(d / "dir" / "f")
    out = subprocess.run(["getfacl", "-cp", str(d / "dir" / "sub")], capture_output=True, text=True, check=True)
    assert f"default:user:{ALICE}:rwx" in out.stdout
    assert as_user(ALICE, ALICE, lambda: (d / "dir" / "f").read_bytes()) == b"x"


def test_statvfs(d):
    space = os.statvfs(d)
    assert space.f_blocks > 0 and 0 < space.f_bavail <= space.f_bfree <= space.f_blocks
    assert space.f_namemax == 255 and space.f_files > 0 and space.f_ffree > 0
    assert space.f_bsize >= 512


def test_blocks_follow_the_size(d):
    (d / "f").write_bytes(b"x" * 1_000_000)
    fd = os.open(d / "f", os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    assert 900_000 <= (d / "f").stat().st_blocks * 512 <= 1_200_000


def test_inode_numbers_are_stable_and_unique(d):
    for i in range(100):
        (d / f"f{i}").touch()
    first = {e.name: e.inode() for e in os.scandir(d)}
    assert len(set(first.values())) == 100
    assert {e.name: os.stat(e.path).st_ino for e in os.scandir(d)} == first
