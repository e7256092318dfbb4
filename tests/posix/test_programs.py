"""Real programs on the mount, each with its own check of the bytes."""
import filecmp
import os
import random
import shutil
import sqlite3
import subprocess
import sys

import pytest

from tree import differences, make_rich_tree, manifest


def run(*command, **keywords):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **keywords)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


GIT = ["git", "-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main",
       "-c", "safe.directory=*"]


def make_repository(path):
    """Forty commits over two hundred files, with a branch, a merge and a tag."""
    rng = random.Random(4)
    run(*GIT, "init", "-q", path)
    for commit in range(40):
        for _ in range(8):
            file = path / f"dir{rng.randrange(10)}" / f"file{rng.randrange(20)}.txt"
            file.parent.mkdir(exist_ok=True)
            file.write_text("".join(f"line {rng.randrange(10**6)}\n" for _ in range(rng.randrange(1, 400))))
        run(*GIT, "-C", path, "add", "-A")
        run(*GIT, "-C", path, "commit", "-q", "-m", f"commit {commit}")
    run(*GIT, "-C", path, "branch", "side", "HEAD~5")
    run(*GIT, "-C", path, "tag", "v1")


def test_git_clone_and_fsck(d, outside):
    make_repository(outside / "origin")
    run(*GIT, "clone", "-q", "--no-local", outside / "origin", d / "clone")
    run(*GIT, "-C", d / "clone", "fsck", "--full", "--strict")
    assert run(*GIT, "-C", d / "clone", "status", "--porcelain") == ""
    assert run(*GIT, "-C", d / "clone", "rev-parse", "v1") == run(*GIT, "-C", outside / "origin", "rev-parse", "v1")
    (d / "clone" / "new").write_text("new\n")
    run(*GIT, "-C", d / "clone", "add", "new")
    run(*GIT, "-C", d / "clone", "commit", "-q", "-m", "here")
    run(*GIT, "-C", d / "clone", "checkout", "-q", "-b", "work", "v1~10")
    run(*GIT, "-C", d / "clone", "gc", "-q")
    run(*GIT, "-C", d / "clone", "fsck", "--full", "--strict")
    run(*GIT, "clone", "-q", d / "clone", d / "second")
    run(*GIT, "-C", d / "second", "fsck")


SQLITE_WORKER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
for i in range(int(sys.argv[3])):
    db.execute('BEGIN IMMEDIATE')
    n, = db.execute('SELECT value FROM counter').fetchone()
    db.execute('UPDATE counter SET value = ?', (n + 1,))
    db.execute('INSERT INTO log VALUES (?, ?, ?)', (sys.argv[2], i, 'x' * (i % 3000)))
    db.execute('COMMIT')
"""


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_sqlite(d, mode):
    """Two writers and a reader in processes of their own; nothing is lost, its own check is content."""
    file = str(d / "db.sqlite")
    db = sqlite3.connect(file)
    assert db.execute(f"PRAGMA journal_mode={mode}").fetchone()[0] == mode
    db.execute("CREATE TABLE counter (value INTEGER)")
    db.execute("CREATE TABLE log (who TEXT, i INTEGER, filler TEXT)")
    db.execute("INSERT INTO counter VALUES (0)")
    db.commit()
    count = 150
    workers = [subprocess.Popen([sys.executable, "-c", SQLITE_WORKER, file, who, str(count)]) for who in "ab"]
    last = 0
    while any(w.poll() is None for w in workers):
        value = db.execute("SELECT value FROM counter").fetchone()[0]
        assert value >= last
        last = value
    assert [w.wait() for w in workers] == [0, 0]
    assert db.execute("SELECT value FROM counter").fetchone()[0] == 2 * count
    assert db.execute("SELECT count(*), count(DISTINCT who || i) FROM log").fetchone() == (2 * count, 2 * count)
    assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    db.execute("VACUUM")
    db.close()
    assert run("sqlite3", file, "PRAGMA integrity_check").strip() == "ok"


def test_tar_round_trip(d, outside):
    """Modes, owners, ns times, links, xattrs, ACLs, holes go onto the mount and come off it again."""
    tar = ["tar", "--format=posix", "--xattrs", "--xattrs-include=*", "--acls", "--sparse", "--numeric-owner"]
    want = manifest(make_rich_tree(outside / "tree"))
    run(*tar, "-cf", outside / "in.tar", "-C", outside, "tree")
    run(*tar, "-xpf", outside / "in.tar", "-C", d)
    assert differences(want, manifest(d / "tree")) == []
    run(*tar, "-cf", outside / "out.tar", "-C", d, "tree")
    (outside / "back").mkdir()
    run(*tar, "-xpf", outside / "out.tar", "-C", outside / "back")
    assert differences(want, manifest(outside / "back" / "tree")) == []
    assert (d / "tree" / "sparse").stat().st_blocks * 512 < 1_000_000


def test_rsync_round_trip(d, outside):
    want = manifest(make_rich_tree(outside / "tree", seed=2))
    rsync = ["rsync", "-aHAX", "--numeric-ids"]
    run(*rsync, f"{outside}/tree/", f"{d}/tree/")
    assert differences(want, manifest(d / "tree")) == []
    run(*rsync, f"{d}/tree/", f"{outside}/back/")
    assert differences(want, manifest(outside / "back")) == []
    # A second run has nothing to do; a changed file is found and mended in place.
    assert run(*rsync, "--itemize-changes", f"{outside}/tree/", f"{d}/tree/") == ""
    with open(d / "tree" / "hard-8", "r+b") as f:
        f.write(b"spoilt")
    out = run(*rsync, "--itemize-changes", "--checksum", "--inplace", f"{outside}/tree/", f"{d}/tree/")
    assert out.count("\n") >= 1
    assert differences(want, manifest(d / "tree")) == []


@pytest.mark.parametrize("engine, mode", [("psync", "randwrite"), ("mmap", "randwrite"), ("psync", "write"),
                                          ("libaio", "randrw")])
def test_fio_verify(d, outside, engine, mode):
    arguments = ["--name=verify", f"--directory={d}", f"--ioengine={engine}", f"--rw={mode}", "--bs=4k-64k",
                 "--bs_unaligned=0", "--size=48m", "--verify=crc32c", "--verify_fatal=1", "--do_verify=1",
                 "--fsync=64", "--randseed=5", "--iodepth=8"]
    if engine == "libaio":
        arguments.append("--direct=1")
    out = run("fio", *arguments, cwd=outside)
    assert "err= 0" in out


def test_cp_mv_rm(d, outside):
    make_rich_tree(outside / "tree", seed=3)
    want = manifest(outside / "tree")
    run("cp", "-a", outside / "tree", d / "copy")
    assert differences(want, manifest(d / "copy")) == []
    run("cp", "-a", d / "copy", d / "copy2")
    assert differences(want, manifest(d / "copy2")) == []
    run("mv", d / "copy2", d / "moved")
    assert differences(want, manifest(d / "moved")) == []
    run("mv", d / "moved", outside / "moved")
    assert differences(want, manifest(outside / "moved")) == []
    run("rm", "-r", "-f", d / "copy")
    assert os.listdir(d) == []


def test_editors_and_build_tools(d):
    """sed -i, sort -o, patch-like replacement, and a compiler whose output runs."""
    (d / "text").write_text("".join(f"{i}\n" for i in range(2000, 0, -1)))
    run("sed", "-i", "s/^7$/seven/", d / "text")
    run("sort", "-o", d / "text", d / "text")
    assert "seven" in (d / "text").read_text().split()
    (d / "main.cc").write_text('#include <cstdio>\nint main() { std::puts("built here"); }\n')
    run("g++", "-o", d / "main", d / "main.cc")
    assert run(d / "main") == "built here\n"


def test_python_packages_import_from_the_mount(d):
    package = d / "lib" / "thing"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .part import value\n")
    (package / "part.py").write_text("value = 42\n")
    for _ in range(2):
        out = run(sys.executable, "-c", "import thing; print(thing.value)", env={"PYTHONPATH": str(d / "lib")})
        assert out == "42\n"


def test_big_file_copies_whole(d, outside):
    rng = random.Random(9)
    with open(outside / "big", "wb") as f:
        for _ in range(200):
            f.write(rng.randbytes(1 << 20))
    shutil.copyfile(outside / "big", d / "big")
    assert filecmp.cmp(outside / "big", d / "big", shallow=False)
    run("cp", "--sparse=always", "--reflink=auto", d / "big", d / "big2")
    assert filecmp.cmp(d / "big", d / "big2", shallow=False)
