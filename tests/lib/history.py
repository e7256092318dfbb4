"""What a program did to a directory, written down outside it, and what may be there after a crash.

A program that works on the file system under test appends each operation to a Record before it
asks for it, and again once the call has returned. The record lies on a disk that is not cut.
`load` reads it back as a History. `problems` compares a directory with it:

  durable  operations from the start of the history that must be there in full
  synced   the same, of those by which somebody asked: what was written to files that were still open
           then; a barrier that nobody asked for covers names and closed files only
  acked    operations that returned; at most one more was asked for and may be there, or a part of it

The names must be those of one moment not before `durable` (a prefix of the history), except that a
file created since may be missing (dropped with its entry). The bytes of every file must be those of
one version since `durable`; only after a power cut may a version that was never synced be there in
part. One History has one writer, so its order is known.
"""
import hashlib
import json
import os
import random
import stat
import time

BLOCK = 4096
SHOWN_MAX = 6


def content_of(tag, size):
    """The bytes that belong to a tag: nothing but these is ever written."""
    return random.Random(tag).randbytes(size)


class Record:
    """Appends to the outside record; one process, one record."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.count = 0

    def line(self, **fields):
        text = json.dumps({"t": time.monotonic(), **fields}, separators=(",", ":"))
        os.write(self.fd, text.encode() + b"\n")

    def intent(self, op):
        self.line(n=self.count, op=op)

    def acked(self, **more):
        self.line(n=self.count, ok=1, **more)
        self.count += 1

    def failed(self, error):
        self.line(n=self.count, errno=error.errno or -1, text=str(error))


class Step:
    """One operation: when it was asked for, when it returned (None: it did not), how it failed."""

    def __init__(self, op, asked):
        self.op, self.asked = op, asked
        self.acked, self.error = None, None


def load_lines(path):
    try:
        with open(path, "rb") as file:
            return [json.loads(line) for line in file if line.endswith(b"\n")]
    except FileNotFoundError:
        return []


def load(path):
    """The steps of a record, in order; only the last may lack its acknowledgement."""
    steps = []
    for line in load_lines(path):
        if "op" in line:
            assert line["n"] == len(steps), f"{path}: record out of order at {line}"
            steps.append(Step(line["op"], line["t"]))
        elif "ok" in line:
            steps[line["n"]].acked = line["t"]
        elif "errno" in line:
            steps[line["n"]].error = (line["t"], line["errno"], line["text"])
    assert all(step.acked for step in steps[:-1]), f"{path}: an operation in the middle never returned"
    return steps


SYNCS = {"sync_directory", "sync_handle", "sync_all"}


def is_sync(op, rules):
    """Whether its acknowledgement promises all that was acknowledged before it was asked for."""
    if not rules.sync_covers_all:
        return op["do"] == "sync_all"
    return op["do"] in SYNCS or op.get("sync", False)


class Version:
    """What one operation did to a file's bytes."""

    def __init__(self, step, kind, tag=0, size=0, at=0, is_synced=False):
        self.step, self.kind, self.tag, self.size, self.at = step, kind, tag, size, at
        self.is_synced = is_synced

    def apply(self, data):
        if self.kind in ("create", "replace"):
            data[:] = content_of(self.tag, self.size)
        elif self.kind == "append":
            data += content_of(self.tag, self.size)
        elif self.kind == "write":
            if len(data) < self.at:
                data += bytes(self.at - len(data))
            data[self.at:self.at + self.size] = content_of(self.tag, self.size)
        elif self.kind == "truncate":
            if self.size < len(data):
                del data[self.size:]
            else:
                data += bytes(self.size - len(data))


class Node:
    """An inode of the model, with all it has ever been."""

    def __init__(self, kind, step, target=None):
        self.kind, self.created, self.target = kind, step, target
        self.versions = []
        self.size = 0
        self.attributes = {}  # (name) -> [(step, value)]
        self.times_set = None  # (step, ns) while nothing has changed the bytes since
        self.exact = -1  # synced by itself up to this step (O_DSYNC, fsync)
        self.anchors = []  # steps after which it may not be missing, once they are visible

    def change(self, version):
        self.versions.append(version)
        self.times_set = None
        if version.kind in ("create", "replace", "truncate"):
            self.size = version.size
        elif version.kind == "append":
            self.size += version.size
        else:
            self.size = max(self.size, version.at + version.size)

    def set_attribute(self, name, step, value):
        self.attributes.setdefault(name, []).append((step, value))

    def attribute_values(self, name, first, default):
        """The values it had at some moment from after `first` operations on."""
        before = [value for step, value in self.attributes.get(name, []) if step < first]
        return {before[-1] if before else default,
                *(value for step, value in self.attributes.get(name, []) if step >= first)}


class Model:
    """The state of a directory after some operations. Paths are relative to it; '' is itself."""

    def __init__(self, durable=0, pending=None, open_is_synced=True):
        self.names = {}
        self.handles = {}
        self.nodes = []
        self.durable, self.pending = durable, pending
        self.open_is_synced = open_is_synced

    def new(self, *arguments):
        self.nodes.append(Node(*arguments))
        return self.nodes[-1]

    def synced(self, node, step):
        """The step has synced this file, if it returned."""
        if step != self.pending:
            node.exact = step

    def apply(self, op, step):
        getattr(self, "do_" + op["do"])(op, step)

    def do_mkdir(self, op, step):
        self.names[op["path"]] = self.new("directory", step)

    def do_rmdir(self, op, step):
        del self.names[op["path"]]

    do_unlink = do_rmdir

    def do_create(self, op, step):
        node = self.names[op["path"]] = self.new("file", step)
        node.change(Version(step, "create", op["tag"], op["size"], 
                            is_synced=op["sync"] and step != self.pending))
        node.set_attribute("mode", step, op["mode"])
        if op["sync"]:
            self.synced(node, step)

    def do_mknod(self, op, step):
        self.names[op["path"]] = self.new("fifo", step)

    def do_symlink(self, op, step):
        self.names[op["path"]] = self.new("symlink", step, op["target"])

    def do_link(self, op, step):
        self.names[op["to"]] = self.names[op["path"]]

    def do_rename(self, op, step):
        node, replaced = self.names.pop(op["path"]), self.names.get(op["to"])
        if replaced is node:
            self.names[op["path"]] = node  # two names of one file: nothing happens
            return
        if replaced is not None and node.kind == "file" and replaced.created < self.durable:
            node.anchors.append(step)
        self.names[op["to"]] = node
        if node.kind == "directory":
            for path in [p for p in self.names if p.startswith(op["path"] + "/")]:
                self.names[op["to"] + path[len(op["path"]):]] = self.names.pop(path)

    def do_replace(self, op, step):
        self.names[op["path"]].change(Version(step, "replace", op["tag"], op["size"]))

    def do_append(self, op, step):
        self.names[op["path"]].change(Version(step, "append", op["tag"], op["size"]))

    def do_write(self, op, step):
        self.names[op["path"]].change(Version(step, "write", op["tag"], op["size"], op["at"]))

    def do_truncate(self, op, step):
        self.names[op["path"]].change(Version(step, "truncate", size=op["size"]))

    def do_chmod(self, op, step):
        self.names[op["path"]].set_attribute("mode", step, op["mode"])

    def do_chown(self, op, step):
        self.names[op["path"]].set_attribute("uid", step, op["uid"])

    def do_utime(self, op, step):
        self.names[op["path"]].times_set = (step, op["ns"])

    def do_setxattr(self, op, step):
        self.names[op["path"]].set_attribute("user.test", step, op["value"])

    def do_removexattr(self, op, step):
        self.names[op["path"]].set_attribute("user.test", step, None)

    def do_open(self, op, step):
        if op["create"]:
            node = self.names[op["path"]] = self.new("file", step)
            node.change(Version(step, "create"))
            node.set_attribute("mode", step, 0o644)
        node = self.names[op["path"]]
        self.handles[op["handle"]] = (node, op["dsync"])
        if op["dsync"] and self.open_is_synced:
            self.synced(node, step)

    def do_handle_append(self, op, step):
        node, is_dsync = self.handles[op["handle"]]
        node.change(Version(step, "append", op["tag"], op["size"], 
                            is_synced=is_dsync and step != self.pending))
        if is_dsync:
            self.synced(node, step)

    def do_handle_write(self, op, step):
        node, is_dsync = self.handles[op["handle"]]
        node.change(Version(step, "write", op["tag"], op["size"], op["at"], 
                            is_synced=is_dsync and step != self.pending))
        if is_dsync:
            self.synced(node, step)

    def do_sync_handle(self, op, step):
        self.synced(self.handles[op["handle"]][0], step)

    def do_close(self, op, step):
        del self.handles[op["handle"]]

    def do_sync_directory(self, op, step):
        pass

    do_sync_all = do_sync_directory


# --- what is there

class Found:
    """A name as it is found; the bytes are read at once."""

    def __init__(self, path):
        info = os.lstat(path)
        self.kind = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "symlink",
                     stat.S_IFIFO: "fifo"}.get(stat.S_IFMT(info.st_mode), "other")
        self.mode, self.uid, self.mtime_ns = stat.S_IMODE(info.st_mode), info.st_uid, info.st_mtime_ns
        self.ino = info.st_ino
        self.target = os.readlink(path) if self.kind == "symlink" else None
        self.data = self.error = self.xattr = None
        if self.kind == "file":
            try:
                with open(path, "rb") as file:
                    self.data = file.read()
                if len(self.data) != info.st_size:
                    self.error = f"stat says {info.st_size} bytes, reading gave {len(self.data)}"
                self.xattr = os.getxattr(path, "user.test").decode()
            except OSError as error:
                if error.errno != 61:  # ENODATA: no such attribute
                    self.error = f"cannot read it: {error.strerror}"


def find(top):
    """Relative path -> Found, for `top` ('') and everything below it; {} where it is missing."""
    top = str(top)
    if not os.path.lexists(top):
        return {}
    found = {"": Found(top)}

    def raise_error(error):
        raise error

    for folder, folders, files in os.walk(top, onerror=raise_error):
        for name in [*folders, *files]:
            full = os.path.join(folder, name)
            found[os.path.relpath(full, top)] = Found(full)
    return found


def summary(found):
    """Comparable and small: to see later whether anything has changed."""
    return {path: (f.kind, f.target, f.mode, f.uid, f.error,
                   hashlib.sha256(f.data).hexdigest() if f.data is not None else None)
            for path, f in found.items()}


# --- what may be there

def versions_since(node, first):
    """[(version, bytes)] of the version that stood after `first` operations and all later ones;
    the first version is None for a file that was not there yet."""
    data, out = bytearray(), []
    old = [v for v in node.versions if v.step < first]
    for version in old:
        version.apply(data)
    out.append((old[-1] if old else None, bytes(data)))
    for version in node.versions[len(old):]:
        version.apply(data)
        out.append((version, bytes(data)))
    return out


def is_mixture(actual, states):
    """Whether each block of `actual` is that block of one of `states`, or the start of it and then
    zeros (what no disk had yet), and its size is between theirs."""
    if not min(map(len, states)) <= len(actual) <= max(map(len, states)):
        return False
    for at in range(0, len(actual), BLOCK):
        part = actual[at:at + BLOCK]
        start = part.rstrip(b"\0")
        if not any(state[at:at + len(start)] == start for state in states):
            return False
    return True


def content_problem(node, found, first, pending, is_power_cut, replace_is_whole=True):
    """None, or why these bytes are no version of the file since `first` operations. `pending` is the
    number of the operation that never returned."""
    if found.error:
        return found.error
    actual = found.data
    states = versions_since(node, first)
    is_new = states[0][0] is None
    for version, data in states:
        if version is not None and data == actual:
            return None
    # A version that is there in part: the one that never returned, or any that was not synced.
    groups = [[states[0]]]
    for state in states[1:]:
        is_pending = state[0].step == pending
        if state[0].kind == "replace":
            # A barrier may have met it half way: that was a state of the file as well.
            whole = replace_is_whole and not is_pending and not is_power_cut
            groups.append([state] if whole else [(None, b""), state])
        elif is_power_cut or is_pending:
            groups[-1].append(state)
        else:
            groups.append([state])
    for group in groups:
        if len(group) > 1 and is_mixture(actual, [data for _, data in group]):
            return None
    sizes = sorted({len(data) for version, data in states if version is not None})
    good = max((common_prefix(actual, data) for _, data in states), default=0)
    return (f"{len(actual)} bytes are no version of it: {'new, ' if is_new else ''}{len(states)} versions of "
            f"{sizes[:4]}{'...' if len(sizes) > 4 else ''} bytes may be there; right up to byte {good}"
            f"{', then zeros' if len(actual) > good and not any(actual[good:good + 512]) else ''}")


def common_prefix(a, b):
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class Rules:
    """What the file system under test promises.

    sync_covers_all: an fsync covers all that was acknowledged before it, whatever the file; a file
    opened with O_CREAT and O_DSYNC has its name on disk; a barrier runs every second.
    replace_is_whole: new bytes under an old name are synced before they take its place.
    Both hold for Tarn; the local file systems promise neither.
    """

    def __init__(self, is_power_cut, sync_covers_all=True, replace_is_whole=True):
        self.is_power_cut = is_power_cut
        self.sync_covers_all = sync_covers_all
        self.replace_is_whole = replace_is_whole


def may_be_missing(node, durable, moment):
    """A file created since, never synced by itself, may have been dropped with its entry."""
    return (node.kind == "file" and node.created >= durable and node.exact < 0
            and not any(step < moment for step in node.anchors))


def content_first(node, durable, moment, rules, open_since):
    """The operation up to which the bytes of this file are exact."""
    own = [v.step + 1 for v in node.versions if v.is_synced]
    if node.exact >= 0:
        own.append(node.exact + 1)
    anchors = [step for step in node.anchors if step < moment] if rules.replace_is_whole else []
    names = durable if rules.sync_covers_all or not rules.is_power_cut else 0
    if rules.is_power_cut and node in open_since:
        names = min(names, open_since[node])
    return max([names, *own, *anchors])


def name_problems(found, names, durable, moment):
    """[(path, what)] of names that are missing or too many at this moment of the history."""
    out = []
    for path, node in names.items():
        if path not in found:
            if not may_be_missing(node, durable, moment):
                out.append((path, f"{node.kind} is missing (created by operation {node.created})"))
        elif found[path].kind != node.kind or found[path].target != node.target:
            out.append((path, f"is {found[path].kind} {found[path].target or ''}, not {node.kind}"))
    out += [(path, f"{found[path].kind} should not be there") for path in found if path not in names]
    if out:
        return out
    names_of = {}
    for path, node in names.items():
        names_of.setdefault(node, []).append(path)
    for own in names_of.values():
        there = [path for path in own if path in found]
        if there and len(there) != len(own):
            out.append((own[0], f"has lost some of its names: {own}, there: {there}"))
    return out


def file_problems(found, names, durable, moment, pending, rules, open_since):
    out = []
    for path, node in names.items():
        if path not in found:
            continue
        there = found[path]
        if node.kind == "file":
            first = content_first(node, durable, moment, rules, open_since)
            what = content_problem(node, there, first, pending, rules.is_power_cut, rules.replace_is_whole)
            if what:
                out.append((path, f"inode {there.ino}: {what}"))
        for name, actual, default in (("mode", there.mode, None), ("uid", there.uid, 0),
                                      ("user.test", there.xattr, None)):
            if name != "user.test" and name not in node.attributes:
                continue
            if there.error or (name == "user.test" and node.kind != "file"):
                continue
            values = node.attribute_values(name, durable, default)
            if actual not in values:
                out.append((path, f"{name} is {actual!r}, may be {values}"))
        if node.times_set and node.times_set[0] < durable and there.mtime_ns != node.times_set[1]:
            # A change that never returned may have moved it already.
            if not any(v.step >= durable for v in node.versions):
                out.append((path, f"mtime is {there.mtime_ns}, was set to {node.times_set[1]}"))
    return out


def problems(top, steps, durable, rules, found=None, synced=None):
    """What is wrong with directory `top` after these steps; [] when nothing is.

    Looks for the moment of the history that explains what is there; where none does, it tells the
    differences from the one that comes nearest.
    """
    found = find(top) if found is None else found
    pending = len(steps) - 1 if steps and steps[-1].acked is None else None
    model = Model(durable, pending, open_is_synced=rules.sync_covers_all)
    moments = []
    synced = durable if synced is None else synced
    open_since = {}
    for number, step in enumerate(steps):
        if number >= durable:
            moments.append((number, dict(model.names)))
        if number >= synced and number < durable:
            open_since.update((node, synced) for node, _ in model.handles.values())
        model.apply(step.op, number)
    moments.append((len(steps), dict(model.names)))
    # A file that was synced by itself is there, and with it every name made before its own.
    floor = max((node.created + 1 for node in model.nodes if node.exact >= 0), default=0)
    moments = [m for m in moments if m[0] >= floor]
    best = None
    for moment, names in reversed(moments):
        wrong = name_problems(found, names, durable, moment)
        if not wrong:
            wrong = file_problems(found, names, durable, moment, pending, rules, open_since)
            if not wrong:
                return []
            wrong_rank = (0, len(wrong))
        else:
            wrong_rank = (1, len(wrong))
        if best is None or wrong_rank < best[0]:
            best = (wrong_rank, moment, wrong)
    _, moment, wrong = best
    head = (f"{len(steps)} operations, {durable} durable; nearest is the moment after {moment}"
            f"{' (the last never returned)' if pending is not None else ''}")
    return [head, *(f"  {path or '.'}: {what}" for path, what in wrong[:SHOWN_MAX]),
            *([f"  and {len(wrong) - SHOWN_MAX} more"] if len(wrong) > SHOWN_MAX else [])]
