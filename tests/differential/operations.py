"""Random sequences of system calls, and what runs them in a folder and tells what each returned.

An operation is a tuple (name, user, arguments...) that says everything: the same sequence can be run
in two folders, written down, and shortened. Names come from a small pool, so that operations meet one
another; open files stand in numbered slots.
"""
import ctypes
import errno
import mmap
import os
import random
import stat

SLOTS = 5
USERS = (0, 0, 0, 0, 4001, 4002)
NAMES = ("a", "b", "c", "d", "long-" + "n" * 200, "\u00e4 \u00df", "A", "a.b")
# Times that no clock shows any more: a file that has one was given it.
OLD_TIMES = (0, 1, 86_400, 946_684_800)
CLOCK_BEGINS = 1_500_000_000
SIZE_MAX = 400_000
XATTRS = ("user.one", "user.two", "user.tarn-less", "trusted.t")

AT_FDCWD = -100
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16
libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


# --- making them up

def random_path(rng):
    return "/".join(rng.choice(NAMES[:4]) for _ in range(rng.choice((0, 0, 0, 1, 1, 2)))) or ""


def random_name(rng):
    parent, name = random_path(rng), rng.choice(NAMES)
    return f"{parent}/{name}" if parent else name


def random_length(rng):
    return rng.choice((0, 1, 100, 4095, 4096, 4097, 20_000, 131_072, 131_073, rng.randrange(SIZE_MAX)))


def random_flags(rng):
    flags = rng.choice((os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR))
    for flag, odds in ((os.O_CREAT, 2), (os.O_EXCL, 8), (os.O_TRUNC, 5), (os.O_APPEND, 6), (os.O_NOFOLLOW, 10),
                       (os.O_DIRECTORY, 30), (os.O_SYNC, 40), (os.O_DSYNC, 40)):
        if rng.randrange(odds) == 0:
            flags |= flag
    return flags | os.O_NONBLOCK


def slot(rng):
    return rng.randrange(SLOTS)


def name(rng):
    return random_name(rng)


def mode(rng):
    return rng.choice((0o644, 0o600, 0o666, 0o777, 0o755, 0o4755, 0o2775, 0o1777, 0o000, 0o444, 0o6777, rng.randrange(0o10000)))


def times(rng):
    return rng.choice(OLD_TIMES) * 10**9 + rng.randrange(10**9), rng.choice(OLD_TIMES) * 10**9 + rng.randrange(10**9)


# name -> (odds, what makes each argument)
OPERATIONS = {
    "open": (14, slot, name, random_flags, mode),
    "open_unnamed": (1, slot, lambda rng: random_path(rng) or ".", mode),
    "close": (8, slot),
    "write": (8, slot, random_length, lambda rng: rng.randrange(256)),
    "pwrite": (5, slot, random_length, random_length, lambda rng: rng.randrange(256)),
    "read": (4, slot, random_length),
    "pread": (4, slot, random_length, random_length),
    "seek": (3, slot, lambda rng: rng.choice((0, 1, 2)), lambda rng: rng.randrange(-1000, SIZE_MAX)),
    "ftruncate": (3, slot, random_length),
    "truncate": (3, name, random_length),
    "allocate": (2, slot, lambda rng: rng.choice((0, 1, 3, 3, 16)), random_length, random_length),
    "fsync": (1, slot),
    "fdatasync": (1, slot),
    "fstat": (3, slot),
    "stat": (4, name),
    "lstat": (4, name),
    "mkdir": (6, name, mode),
    "rmdir": (4, name),
    "unlink": (6, name),
    "rename": (7, name, name),
    "rename2": (4, name, name, lambda rng: rng.choice((RENAME_NOREPLACE, RENAME_EXCHANGE))),
    "link": (4, name, name),
    "link_open": (1, slot, name),
    "symlink": (3, name, name),
    "readlink": (2, name),
    "chmod": (4, name, mode),
    "fchmod": (1, slot, mode),
    "chown": (3, name, lambda rng: rng.choice((-1, 0, 4001, 4002)), lambda rng: rng.choice((-1, 0, 4001, 4002))),
    "utimes": (3, name, lambda rng: times(rng)),
    "setxattr": (3, name, lambda rng: rng.choice(XATTRS), lambda rng: rng.randrange(300),
                 lambda rng: rng.choice((0, os.XATTR_CREATE, os.XATTR_REPLACE))),
    "getxattr": (2, name, lambda rng: rng.choice(XATTRS)),
    "removexattr": (2, name, lambda rng: rng.choice(XATTRS)),
    "list": (4, lambda rng: random_path(rng) or "."),
    "access": (2, name, lambda rng: rng.randrange(8)),
    "mknod": (1, name, lambda rng: rng.choice((stat.S_IFIFO, stat.S_IFREG, stat.S_IFSOCK)), mode),
    "copy_range": (2, slot, random_length, slot, random_length, random_length),
    "map_write": (2, slot, random_length, lambda rng: rng.randrange(1, 9000), lambda rng: rng.randrange(256)),
    "map_read": (2, slot),
    "umask": (1, lambda rng: rng.choice((0, 0o022, 0o077, 0o027))),
}
KINDS = [kind for kind, (odds, *_) in OPERATIONS.items() for _ in range(odds)]


def make_up(seed, count):
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        kind = rng.choice(KINDS)
        made.append((kind, rng.choice(USERS), *(argument(rng) for argument in OPERATIONS[kind][1:])))
    return made


# --- carrying them out

def pattern(byte, length):
    return bytes((byte + i) % 251 for i in range(min(length, 997))) * (length // 997 + 1)


class Place:
    """A folder with its slots of open files. `run` gives the value of an operation, or its errno's name."""

    def __init__(self, folder):
        self.folder = os.fspath(folder)
        self.slots = [None] * SLOTS
        self.umask = 0o022

    def close(self):
        for file in self.slots:
            if file is not None:
                os.close(file)
        self.slots = [None] * SLOTS

    def run(self, operation):
        kind, user, *arguments = operation
        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
        old_mask = os.umask(self.umask)
        os.chdir(self.folder)
        try:
            if user:
                os.setegid(user)
                os.seteuid(user)
            try:
                return getattr(self, f"op_{kind}")(*arguments)
            except OSError as error:
                return errno.errorcode.get(error.errno, str(error.errno))
            finally:
                if user:
                    os.seteuid(0)
                    os.setegid(0)
        finally:
            os.fchdir(here)
            os.close(here)
            os.umask(old_mask)

    def file(self, slot):
        if self.slots[slot] is None:
            raise OSError(errno.EBADF, "nothing is open in the slot")
        return self.slots[slot]

    def keep(self, slot, file):
        if self.slots[slot] is not None:
            os.close(self.slots[slot])
        self.slots[slot] = file

    def op_open(self, slot, path, flags, mode):
        self.keep(slot, os.open(path, flags, mode & 0o7777))
        return "opened"

    def op_open_unnamed(self, slot, path, mode):
        self.keep(slot, os.open(path, os.O_RDWR | os.O_TMPFILE, mode & 0o777))
        return "opened"

    def op_close(self, slot):
        file, self.slots[slot] = self.file(slot), None
        os.close(file)

    def op_write(self, slot, length, byte):
        file = self.file(slot)
        if os.lseek(file, 0, os.SEEK_CUR) + length > 2 * SIZE_MAX and not stat.S_ISFIFO(os.fstat(file).st_mode):
            return "too far"
        return os.write(file, pattern(byte, length)[:length]), os.lseek(file, 0, os.SEEK_CUR)

    def op_pwrite(self, slot, length, offset, byte):
        return os.pwrite(self.file(slot), pattern(byte, length)[:length], offset)

    def op_read(self, slot, length):
        return os.read(self.file(slot), length)

    def op_pread(self, slot, length, offset):
        return os.pread(self.file(slot), length, offset)

    def op_seek(self, slot, whence, offset):
        file = self.file(slot)
        if stat.S_ISDIR(os.fstat(file).st_mode):
            return "a directory: positions are the file system's own"
        return os.lseek(file, offset, whence)

    def op_ftruncate(self, slot, length):
        return os.ftruncate(self.file(slot), length)

    def op_truncate(self, path, length):
        return os.truncate(path, length)

    def op_allocate(self, slot, mode, offset, length):
        return checked(libc.fallocate64(self.file(slot), mode, ctypes.c_int64(offset), ctypes.c_int64(length)))

    def op_fsync(self, slot):
        return os.fsync(self.file(slot))

    def op_fdatasync(self, slot):
        return os.fdatasync(self.file(slot))

    def op_fstat(self, slot):
        return attributes(os.fstat(self.file(slot)))

    def op_stat(self, path):
        return attributes(os.stat(path))

    def op_lstat(self, path):
        return attributes(os.lstat(path))

    def op_mkdir(self, path, mode):
        return os.mkdir(path, mode & 0o7777)

    def op_rmdir(self, path):
        return os.rmdir(path)

    def op_unlink(self, path):
        return os.unlink(path)

    def op_rename(self, source, target):
        return os.rename(source, target)

    def op_rename2(self, source, target, flags):
        return checked(libc.renameat2(AT_FDCWD, source.encode(), AT_FDCWD, target.encode(), flags))

    def op_link(self, source, target):
        return os.link(source, target, follow_symlinks=False)

    def op_link_open(self, slot, target):
        return os.link(f"/proc/self/fd/{self.file(slot)}", target, follow_symlinks=True)

    def op_symlink(self, target, path):
        return os.symlink(target, path)

    def op_readlink(self, path):
        return os.readlink(path)

    def op_chmod(self, path, mode):
        return os.chmod(path, mode)

    def op_fchmod(self, slot, mode):
        return os.fchmod(self.file(slot), mode)

    def op_chown(self, path, uid, gid):
        return os.chown(path, uid, gid, follow_symlinks=False)

    def op_utimes(self, path, both):
        return os.utime(path, ns=both)

    def op_setxattr(self, path, name, length, flags):
        return os.setxattr(path, name, b"v" * length, flags)

    def op_getxattr(self, path, name):
        return os.getxattr(path, name)

    def op_removexattr(self, path, name):
        return os.removexattr(path, name)

    def op_list(self, path):
        with os.scandir(path) as entries:
            return sorted((entry.name, entry.is_dir(follow_symlinks=False), entry.is_symlink()) for entry in entries)

    def op_access(self, path, wanted):
        return os.access(path, wanted, effective_ids=True)

    def op_mknod(self, path, kind, mode):
        return os.mknod(path, kind | mode & 0o777)

    def op_copy_range(self, source, source_offset, target, target_offset, length):
        return os.copy_file_range(self.file(source), self.file(target), length, source_offset, target_offset)

    def op_map_write(self, slot, offset, length, byte):
        file = self.file(slot)
        size = os.fstat(file).st_size
        if not stat.S_ISREG(os.fstat(file).st_mode) or offset >= size:
            return "beyond the end"
        with mmap.mmap(file, size) as memory:
            end = min(offset + length, size)
            memory[offset:end] = pattern(byte, end - offset)[:end - offset]
        return "written"

    def op_map_read(self, slot):
        file = self.file(slot)
        info = os.fstat(file)
        if not stat.S_ISREG(info.st_mode) or info.st_size == 0:
            return "nothing to map"
        with mmap.mmap(file, 0, prot=mmap.PROT_READ) as memory:
            return bytes(memory)

    def op_umask(self, mask):
        self.umask = mask


def attributes(info):
    """What two file systems must agree on. A time that was given is compared; one of the clock is not."""
    kind = stat.S_IFMT(info.st_mode)
    is_directory = kind == stat.S_IFDIR
    seen = {"mode": oct(info.st_mode), "uid": info.st_uid, "gid": info.st_gid,
            "size": None if is_directory else info.st_size, "nlink": info.st_nlink}
    is_given = info.st_mtime_ns < CLOCK_BEGINS * 10**9
    seen["mtime"] = info.st_mtime_ns if is_given else "of the clock"
    return seen


def tree(folder):
    """Everything below a folder: attributes, bytes, links, extended attributes; which names are one file."""
    found, files = {}, {}
    for parent, directories, names in os.walk(folder):
        directories.sort()
        for entry in sorted(directories + names):
            path = os.path.join(parent, entry)
            shown = os.path.relpath(path, folder)
            info = os.lstat(path)
            row = attributes(info)
            if stat.S_ISLNK(info.st_mode):
                row["target"] = os.readlink(path)
            elif stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    row["bytes"] = file.read()
                row["same_as"] = files.setdefault(info.st_ino, shown)
            if not stat.S_ISLNK(info.st_mode):
                row["xattrs"] = {n: os.getxattr(path, n) for n in sorted(os.listxattr(path))
                                 if not n.startswith("user.tarn.")}
            found[shown] = row
    return found
