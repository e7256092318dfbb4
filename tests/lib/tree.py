"""Trees of files for tests: one with everything an archiver must keep, and a manifest to compare."""
import hashlib
import os
import pathlib
import random
import stat
import subprocess


def make_rich_tree(path, seed=1):
    """Files of many sizes, odd names, modes, owners, ns times, links, xattrs, ACLs, a fifo."""
    rng = random.Random(seed)
    top = pathlib.Path(path)
    top.mkdir()
    for number, size in enumerate([0, 1, 1000, 16 * 1024, 16 * 1024 + 1, 100_000, 131_072, 131_073,
                                   300_000, 3_000_000]):
        folder = top / f"folder {number % 3}" / f"sub{number}"
        folder.mkdir(parents=True)
        file = folder / f"file-{number}-\u00e4\u20ac"
        file.write_bytes(rng.randbytes(size))
        os.chmod(file, rng.choice([0o644, 0o600, 0o755, 0o4755, 0o2640, 0o444]))
        os.link(file, top / f"hard-{number}")
        os.symlink(os.path.relpath(file, top), top / f"soft-{number}")
    os.symlink("nowhere/at all", top / "dangling")
    os.mkfifo(top / "fifo", 0o640)
    with open(top / "sparse", "wb") as sparse:
        sparse.seek(5_000_000)
        sparse.write(b"end")
    plain = top / "hard-2"
    os.setxattr(plain, "user.colour", b"blue\0green")
    os.setxattr(plain, "user.empty", b"")
    os.setxattr(top / "folder 0", "user.on.directory", b"v" * 300)
    subprocess.run(["setfacl", "-m", "u:1234:rw,g:4321:r", str(top / "hard-3")], check=True)
    subprocess.run(["setfacl", "-m", "d:u:1234:rwx", str(top / "folder 1")], check=True)
    os.chown(top / "hard-5", 1000, 2000)
    os.chmod(top / "folder 2", 0o3755)
    # Times last, deepest first, since everything above moved them.
    for folder, names, files in os.walk(top, topdown=False):
        for name in [*files, *names]:
            when = rng.randrange(10**18, 17 * 10**17)
            os.utime(os.path.join(folder, name), ns=(when, when), follow_symlinks=False)
    os.utime(top, ns=(123456789_987654321, 123456789_987654321))
    return top


def manifest(path):
    """name -> everything that must survive a round trip."""
    top = pathlib.Path(path)
    out = {}
    links = {}
    names = ["."]
    for folder, folders, files in os.walk(top):
        names += [os.path.relpath(os.path.join(folder, n), top) for n in [*folders, *files]]
    for name in sorted(names):
        full = os.path.join(top, name)
        s = os.lstat(full)
        row = {"mode": stat.filemode(s.st_mode), "uid": s.st_uid, "gid": s.st_gid, "mtime": s.st_mtime_ns}
        if stat.S_ISLNK(s.st_mode):
            row["target"] = os.readlink(full)
        else:
            row["xattrs"] = {key: os.getxattr(full, key) for key in sorted(os.listxattr(full))}
        if stat.S_ISREG(s.st_mode):
            row["size"] = s.st_size
            row["links"] = s.st_nlink
            row["same_as"] = links.setdefault(s.st_ino, name)
            with open(full, "rb") as f:
                row["sha256"] = hashlib.sha256(f.read()).hexdigest()
        out[name] = row
    return out


def differences(a, b):
    """The first few differences between two manifests, for an assertion's message."""
    out = []
    for name in sorted(set(a) | set(b)):
        if a.get(name) != b.get(name):
            if name in a and name in b:
                keys = [k for k in a[name] if a[name].get(k) != b[name].get(k)]
                out.append(f"{name}: " + ", ".join(f"{k}: {a[name].get(k)} != {b[name].get(k)}" for k in keys))
            else:
                out.append(f"{name}: only in {'the first' if name in a else 'the second'}")
    return out[:10]
