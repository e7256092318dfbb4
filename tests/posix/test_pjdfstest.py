"""pjdfstest, from a checkout named by PJDFSTEST=DIR: prints how many of its tests pass."""
import os
import re
import shutil
import subprocess

import pytest

CHECKOUT = os.environ.get("PJDFSTEST")


def build(source, target):
    """The program, compiled by hand where the checkout has no configure script yet."""
    shutil.copytree(source, target, symlinks=True)
    if not (target / "pjdfstest").exists():
        # What autoconf would find on Linux with glibc.
        have = ["LINK", "MKFIFO", "MKNOD", "POSIX_FALLOCATE", "FDATASYNC", "UTIMENSAT", "LINKAT", "MKDIRAT",
                "MKFIFOAT", "MKNODAT", "OPENAT", "READLINKAT", "RENAMEAT", "SYMLINKAT", "UNLINKAT", "FACCESSAT",
                "FCHMODAT", "FCHOWNAT", "FSTATAT", "BINDAT_NOT", "STRUCT_STAT_ST_ATIM", "STRUCT_STAT_ST_CTIM",
                "STRUCT_STAT_ST_MTIM", "SYS_SYSMACROS_H"]
        defines = [f"-DHAVE_{name}=1" for name in have if not name.endswith("_NOT")]
        subprocess.run(["gcc", "-O1", "-w", "-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", *defines, "-o",
                        str(target / "pjdfstest"), str(target / "pjdfstest.c")], check=True)


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not CHECKOUT, reason="set PJDFSTEST=DIR to a checkout of pjdfstest to run it")
def test_pjdfstest(d, outside):
    import pathlib
    tool = outside / "pjdfstest"
    build(pathlib.Path(CHECKOUT), tool)
    run = subprocess.run(["prove", "-r", "-Q", str(tool / "tests")], cwd=d, capture_output=True, text=True)
    out = run.stdout + run.stderr
    totals = re.search(r"Files=(\d+), Tests=(\d+)", out)
    assert totals, out[-3000:]
    failed = 0
    for entry in re.findall(r"Failed tests?:\s+([\d, \-\n]+)", out):
        for part in re.findall(r"(\d+)(?:-(\d+))?", entry):
            failed += int(part[1] or part[0]) - int(part[0]) + 1
    total = int(totals[2])
    print(f"\npjdfstest: {total - failed} of {total} pass ({totals[1]} files)")
    if failed:
        print(out[-6000:])
    (outside.parent / "pjdfstest.txt").write_text(out)
    assert total > 1000, "the checkout's tests did not run"
