"""Programs that work on the file system under test while it is killed; each has an outside record.

    python3 writers.py '{"kind": "files", "top": DIR, "record": FILE, "seed": N, ...}'

  files     every operation of a file system, chosen at random, in DIR (history.py checks it)
  sqlite    transactions in a database that stays open
  extract   archives brought in and extracted by `tarn extract`
  read      epochs over files that do not change, by read and by mmap; ends 3 at a wrong byte
  copy      one large file, written slowly and without a pause, then compared

Each ends with 0 after SIGTERM (or after `steps` operations), and with 9 at the first error of the
file system, which the record then holds.
"""
import ctypes
import gzip
import hashlib
import io
import json
import mmap
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tarfile
import time

from history import BLOCK, Model, Record, content_of

FILES_MAX = 150
ENDED_BY_ERROR = 9


def stopping():
    """Whether SIGTERM has come. It stays blocked: a signal that is delivered would end a system call
    that waits for a new worker with EINTR."""
    return signal.SIGTERM in signal.sigpending()


def syncfs(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), "syncfs")
    finally:
        os.close(fd)


def sync_all(options):
    if options.get("tarn"):
        for _ in range(50):
            run = subprocess.run([options["tarn"], "sync", options["root"]], capture_output=True, text=True)
            if run.returncode == 0 or not options.get("goes_on"):
                break
            time.sleep(0.1)  # its worker has died and the next does not listen yet
        if run.returncode != 0:
            raise OSError(-1, f"tarn sync: exit {run.returncode}: {run.stderr.strip()}")
    else:
        syncfs(options["top"])


def write_all(fd, data):
    """In chunks, as programs do; a short write goes on."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view[:65536]):]


class Executor:
    """Does one operation of a History by system calls."""

    def __init__(self, options):
        self.options, self.top = options, options["top"]
        self.handles = {}

    def full(self, path):
        return os.path.join(self.top, path) if path else self.top

    def run(self, op):
        getattr(self, "do_" + op["do"])(op, self.full(op["path"]) if "path" in op else None)

    def opened(self, path, flags, mode=0o644):
        class Opened:
            def __enter__(me):
                me.fd = os.open(path, flags, mode)
                return me.fd

            def __exit__(me, *_):
                os.close(me.fd)
        return Opened()

    def do_mkdir(self, op, full):
        os.mkdir(full)

    def do_rmdir(self, op, full):
        os.rmdir(full)

    def do_unlink(self, op, full):
        os.unlink(full)

    def do_create(self, op, full):
        with self.opened(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, op["mode"]) as fd:
            write_all(fd, content_of(op["tag"], op["size"]))
            if op["sync"]:
                os.fsync(fd)

    def do_mknod(self, op, full):
        os.mkfifo(full)

    def do_symlink(self, op, full):
        os.symlink(op["target"], full)

    def do_link(self, op, full):
        os.link(full, self.full(op["to"]))

    def do_rename(self, op, full):
        os.rename(full, self.full(op["to"]))

    def do_replace(self, op, full):
        with self.opened(full, os.O_WRONLY | os.O_TRUNC) as fd:
            write_all(fd, content_of(op["tag"], op["size"]))

    def do_append(self, op, full):
        with self.opened(full, os.O_WRONLY | os.O_APPEND) as fd:
            write_all(fd, content_of(op["tag"], op["size"]))

    def do_write(self, op, full):
        with self.opened(full, os.O_WRONLY) as fd:
            assert os.pwrite(fd, content_of(op["tag"], op["size"]), op["at"]) == op["size"]

    def do_truncate(self, op, full):
        os.truncate(full, op["size"])

    def do_chmod(self, op, full):
        os.chmod(full, op["mode"])

    def do_chown(self, op, full):
        os.chown(full, op["uid"], -1)

    def do_utime(self, op, full):
        os.utime(full, ns=(op["ns"], op["ns"]))

    def do_setxattr(self, op, full):
        os.setxattr(full, "user.test", op["value"].encode())

    def do_removexattr(self, op, full):
        os.removexattr(full, "user.test")

    def do_open(self, op, full):
        flags = os.O_RDWR | (os.O_CREAT | os.O_EXCL if op["create"] else 0) | (os.O_DSYNC if op["dsync"] else 0)
        self.handles[op["handle"]] = os.open(full, flags, 0o644)

    def do_handle_append(self, op, _):
        fd = self.handles[op["handle"]]
        os.lseek(fd, 0, os.SEEK_END)
        data = content_of(op["tag"], op["size"])
        if op.get("whole"):
            assert os.write(fd, data) == len(data)
        else:
            write_all(fd, data)

    def do_handle_write(self, op, _):
        data = content_of(op["tag"], op["size"])
        assert os.pwrite(self.handles[op["handle"]], data, op["at"]) == len(data)

    def do_sync_handle(self, op, _):
        os.fsync(self.handles[op["handle"]])

    def do_close(self, op, _):
        os.close(self.handles.pop(op["handle"]))

    def do_sync_directory(self, op, full):
        with self.opened(full, os.O_RDONLY | os.O_DIRECTORY) as fd:
            os.fsync(fd)

    def do_sync_all(self, op, _):
        sync_all(self.options)


class Chooser:
    """Chooses operations that must succeed, by a model of what is there."""

    WEIGHTS = {"create": 22, "mkdir": 3, "rmdir": 2, "mknod": 1, "symlink": 3, "link": 4, "unlink": 8, "rename": 10,
               "replace": 5, "append": 6, "write": 4, "truncate": 3, "chmod": 3, "chown": 2, "utime": 3, "setxattr": 4,
               "removexattr": 2, "open": 4, "handle_append": 10, "handle_write": 6, "close": 3, "save": 4}
    SYNC_WEIGHTS = {"sync_directory": 2, "sync_handle": 2, "sync_all": 1}

    def __init__(self, seed, syncs):
        self.rng = random.Random(seed)
        self.seed = seed
        self.model = Model()
        self.number = 0
        self.has_syncs = syncs
        self.queue = [{"do": "mkdir", "path": ""}]
        weights = {**self.WEIGHTS, **(self.SYNC_WEIGHTS if syncs else {})}
        self.kinds, self.weights = list(weights), list(weights.values())

    def tag(self):
        self.number += 1
        return f"{self.seed}/{self.number}"

    def size(self):
        small, rng = self.rng.random(), self.rng
        if small < 0.05:
            return 0
        if small < 0.6:
            return rng.randint(1, 4000)
        if small < 0.8:
            return rng.choice([4096, 16384, 16385, 65536, rng.randint(4000, 40_000)])
        if small < 0.97:
            return rng.choice([131_072, 131_073, rng.randint(40_000, 300_000)])
        return rng.randint(1_000_000, 3_000_000)

    def paths(self, *kinds):
        return [p for p, n in self.model.names.items() if n.kind in kinds]

    def new_path(self):
        self.number += 1
        folder = self.rng.choice(self.paths("directory"))
        return os.path.join(folder, f"n{self.number}") if folder else f"n{self.number}"

    def held(self):
        return {node for node, _ in self.model.handles.values()}

    def file(self, is_free=False):
        """Some file; `is_free`: that no handle is open on."""
        held = self.held() if is_free else ()
        found = [p for p in self.paths("file") if self.model.names[p] not in held]
        return self.rng.choice(found) if found else None

    def next(self):
        while True:
            if self.queue:
                op = self.queue.pop(0)
            else:
                if len(self.model.names) > FILES_MAX and self.rng.random() < 0.5:
                    kind = "unlink"
                else:
                    kind = self.rng.choices(self.kinds, self.weights)[0]
                op = getattr(self, "pick_" + kind)()
            if op is not None:
                return op

    def pick_create(self):
        return {"do": "create", "path": self.new_path(), "tag": self.tag(), "size": self.size(),
                "mode": self.rng.choice([0o644, 0o600, 0o755, 0o400]),
                "sync": self.has_syncs and self.rng.random() < 0.25}

    def pick_save(self):
        """As an editor saves: new file, written, synced, renamed over the old one."""
        target = self.file(is_free=True)
        if target is None:
            return None
        new = target + "~"
        if new in self.model.names:
            return None
        self.queue += [{"do": "rename", "path": new, "to": target}]
        return {"do": "create", "path": new, "tag": self.tag(), "size": self.size(), "mode": 0o644,
                "sync": self.has_syncs}

    def pick_mkdir(self):
        path = self.new_path()
        return {"do": "mkdir", "path": path} if len(self.paths("directory")) < 12 and path.count("/") < 4 else None

    def pick_rmdir(self):
        empty = [p for p in self.paths("directory") if p and not any(q.startswith(p + "/") for q in self.model.names)]
        if empty:
            return {"do": "rmdir", "path": self.rng.choice(empty)}
        path = self.new_path()
        self.queue.append({"do": "rmdir", "path": path})
        return {"do": "mkdir", "path": path}

    def pick_mknod(self):
        return {"do": "mknod", "path": self.new_path()}

    def pick_symlink(self):
        return {"do": "symlink", "path": self.new_path(), "target": "t" * self.rng.randint(1, 200)}

    def pick_link(self):
        path = self.file()
        return path and {"do": "link", "path": path, "to": self.new_path()}

    def pick_unlink(self):
        found = self.paths("file", "symlink", "fifo")
        return {"do": "unlink", "path": self.rng.choice(found)} if found else None

    def pick_rename(self):
        kind = self.rng.random()
        if kind < 0.15:
            found = [p for p in self.paths("directory") if p]
            if not found:
                return None
            path = self.rng.choice(found)
            target = self.new_path()
            return None if target.startswith(path + "/") else {"do": "rename", "path": path, "to": target}
        path = self.file()
        if path is None:
            return None
        target = self.new_path() if kind < 0.6 else self.file()
        if target == path or self.model.names.get(target) is self.model.names[path]:
            return None
        return {"do": "rename", "path": path, "to": target}

    def pick_replace(self):
        path = self.file(is_free=True)
        return path and {"do": "replace", "path": path, "tag": self.tag(), "size": self.size()}

    def pick_append(self):
        path = self.file(is_free=True)
        return path and {"do": "append", "path": path, "tag": self.tag(), "size": self.rng.randint(1, 9000)}

    def block(self, node):
        blocks = max(1, node.size // BLOCK)
        return {"at": BLOCK * self.rng.randrange(blocks + 1), "size": BLOCK * self.rng.randint(1, 4)}

    def pick_write(self):
        path = self.file(is_free=True)
        return path and {"do": "write", "path": path, "tag": self.tag(), **self.block(self.model.names[path])}

    def pick_truncate(self):
        path = self.file(is_free=True)
        return path and {"do": "truncate", "path": path,
                         "size": BLOCK * self.rng.randint(0, self.model.names[path].size // BLOCK + 3)}

    def pick_chmod(self):
        path = self.file()
        return path and {"do": "chmod", "path": path, "mode": self.rng.choice([0o644, 0o640, 0o711, 0o777])}

    def pick_chown(self):
        path = self.file()
        return path and {"do": "chown", "path": path, "uid": self.rng.randint(1, 60_000)}

    def pick_utime(self):
        path = self.file(is_free=True)
        return path and {"do": "utime", "path": path, "ns": self.rng.randrange(10**18, 17 * 10**17)}

    def pick_setxattr(self):
        path = self.file()
        return path and {"do": "setxattr", "path": path, "value": "v" * self.rng.randint(1, 300)}

    def pick_removexattr(self):
        found = [p for p, n in self.model.names.items() if n.attributes.get("user.test", [(0, None)])[-1][1] is not None]
        return {"do": "removexattr", "path": self.rng.choice(found)} if found else None

    def pick_open(self):
        if len(self.model.handles) >= 4:
            return None
        self.number += 1
        is_new = self.rng.random() < 0.6
        # O_DSYNC syncs what a write writes, no more: so only where nothing was written before.
        is_dsync = is_new and self.has_syncs and self.rng.random() < 0.5
        path = self.new_path() if is_new else self.file(is_free=True)
        return path and {"do": "open", "handle": str(self.number), "path": path, "create": is_new, "dsync": is_dsync}

    def handle(self):
        return self.rng.choice(list(self.model.handles)) if self.model.handles else None

    def pick_handle_append(self):
        handle = self.handle()
        return handle and {"do": "handle_append", "handle": handle, "tag": self.tag(), "size": self.size()}

    def pick_handle_write(self):
        handle = self.handle()
        return handle and {"do": "handle_write", "handle": handle, "tag": self.tag(),
                           **self.block(self.model.handles[handle][0])}

    def pick_close(self):
        handle = self.handle()
        return handle and {"do": "close", "handle": handle}

    def pick_sync_handle(self):
        handle = self.handle()
        return handle and {"do": "sync_handle", "handle": handle}

    def pick_sync_directory(self):
        return {"do": "sync_directory", "path": self.rng.choice(self.paths("directory"))}

    def pick_sync_all(self):
        return {"do": "sync_all"}


def work_files(options, record):
    chooser, executor = Chooser(options["seed"], options["syncs"]), Executor(options)
    # Own dice for the pauses: the operations depend on the seed alone.
    pauses = random.Random(options["seed"])
    os.umask(0)
    while not stopping() and record.count < options.get("steps", 10**9):
        op = chooser.next()
        record.intent(op)
        executor.run(op)
        chooser.model.apply(op, record.count)
        record.acked()
        time.sleep(pauses.uniform(0, options.get("pause", 0.002)))


def work_sqlite(options, record):
    rng = random.Random(options["seed"])
    os.mkdir(options["top"])
    base = sqlite3.connect(os.path.join(options["top"], "db"), isolation_level=None, timeout=30)
    assert base.execute(f"pragma journal_mode={options['journal']}").fetchone()[0] == options["journal"]
    # FULL alone does not sync the directory after the journal's unlink, which is the commit.
    base.execute(f"pragma synchronous={'extra' if options['journal'] == 'delete' else 'full'}")
    base.execute("pragma wal_autocheckpoint=50")
    base.execute("begin")
    base.execute("create table item (number integer primary key, payload blob)")
    base.execute("create table total (items integer, bytes integer)")
    base.execute("insert into total values (0, 0)")
    base.execute("commit")
    sync_all(options)
    record.line(ready=1)
    while not stopping() and record.count < options.get("steps", 10**9):
        payload = content_of(f"{options['seed']}/{record.count}", rng.randint(10, 9000))
        record.intent({"do": "transaction", "size": len(payload)})
        base.execute("begin immediate")
        base.execute("insert into item values (?, ?)", (record.count, payload))
        base.execute("update total set items = items + 1, bytes = bytes + ?", (len(payload),))
        base.execute("commit")
        record.acked()
        time.sleep(rng.uniform(0, options.get("pause", 0.005)))
    base.close()


def archive_tree(seed, number):
    """name -> bytes of the regular files of the number-th archive: one tree and one file beside it."""
    rng = random.Random(f"{seed}/{number}")
    files = {}
    for i in range(rng.randint(3, 25)):
        folder = rng.choice(["", "a/", "a/b/", "c/"])
        size = rng.choice([0, 100, 3000, 16384, 20_000, 140_000])
        files[f"tree{number}/{folder}f{i}"] = content_of(f"{seed}/{number}/{i}", rng.randint(0, size))
    files[f"file{number}"] = content_of(f"{seed}/{number}/beside", 5000)
    return files


def make_archive(seed, number):
    """A tar, every other one compressed."""
    out = io.BytesIO()
    is_plain = number % 2 == 0
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in archive_tree(seed, number).items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime = len(data), 1_000_000_000
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue() if is_plain else gzip.compress(out.getvalue(), 1, mtime=0)


def work_extract(options, record):
    os.mkdir(options["top"])
    executor = Executor(options)
    while not stopping() and record.count < options.get("steps", 10**9):
        number = record.count
        name = f"archive{number}.tar" + ("" if number % 2 == 0 else ".gz")
        data = make_archive(options["seed"], number)
        record.intent({"do": "extract", "archive": name})
        path = os.path.join(options["top"], name)
        with executor.opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as fd:
            write_all(fd, data)
            os.fsync(fd)
        run = subprocess.run([options["tarn"], "extract", path, options["top"]], capture_output=True, text=True,
                             env={**os.environ, "TARN_ROOT": options["root"]})
        if run.returncode != 0:
            error = OSError(-1, f"tarn extract: exit {run.returncode}: {run.stderr.strip()}")
            if not options.get("goes_on"):
                raise error
            # The worker that did it died; whether it was done shows only in the names.
            record.acked(unknown=str(error))
            time.sleep(0.2)
            continue
        record.acked()
        time.sleep(0.1)


def work_read(options, record):
    rng = random.Random(options["seed"])
    with open(options["list"]) as file:
        wanted = json.load(file)
    large = max(wanted, key=lambda name: os.path.getsize(os.path.join(options["top"], name)))
    with open(os.path.join(options["top"], large), "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    names = list(wanted)
    while not stopping():
        rng.shuffle(names)
        record.intent({"do": "epoch"})
        for name in names:
            digest = hashlib.md5()
            with open(os.path.join(options["top"], name), "rb", buffering=0) as file:
                while data := file.read(50_000):
                    digest.update(data)
                    time.sleep(0.0005)
            if digest.hexdigest() != wanted[name]:
                print(f"{name}: read {digest.hexdigest()}, wanted {wanted[name]}", file=sys.stderr)
                return 3
        if hashlib.md5(mapped).hexdigest() != wanted[large]:
            print(f"{large}: wrong bytes through a map", file=sys.stderr)
            return 3
        record.acked()
    return 0


def work_copy(options, record):
    """Writes until it is told to stop; `digest` of its acknowledgement is what must be there."""
    rng = random.Random(options["seed"])
    digest = hashlib.md5()
    size = 0
    os.mkdir(options["top"])
    record.intent({"do": "copy"})
    with open(os.path.join(options["top"], "large"), "xb", buffering=0) as file:
        while not stopping():
            data = rng.randbytes(30_000)
            assert file.write(data) == len(data)
            digest.update(data)
            size += len(data)
            time.sleep(0.002)
    record.acked(digest=digest.hexdigest(), size=size)


def main():
    options = json.loads(sys.argv[1])
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    record = Record(options["record"])
    work = {"files": work_files, "sqlite": work_sqlite, "extract": work_extract, "read": work_read, "copy": work_copy}
    try:
        sys.exit(work[options["kind"]](options, record) or 0)
    except OSError as error:
        record.failed(error)
    except sqlite3.Error as error:
        record.failed(OSError(-1, f"sqlite: {error}"))
    # Without closing anything: a database's close would write again.
    os._exit(ENDED_BY_ERROR)


if __name__ == "__main__":
    main()
