"""pjdfstest, from a checkout named by PJDFSTEST=DIR: prints how many of its tests pass."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

CHECKOUT = os.environ.get("PJDFSTEST")


# What its configure script finds on Linux with glibc; written here, so that autotools are not needed.
HAVE = ["FACCESSAT", "FCHMODAT", "FCHOWNAT", "FSTATAT", "LINKAT", "MKDIRAT", "MKFIFOAT", "MKNODAT", "OPENAT",
        "POSIX_FALLOCATE", "READLINKAT", "RENAMEAT", "STRUCT_STAT_ST_ATIM", "STRUCT_STAT_ST_CTIM",
        "STRUCT_STAT_ST_MTIM", "SYMLINKAT", "SYS_SYSMACROS_H", "UNLINKAT", "UTIMENSAT"]


def build(source, target):
    shutil.copytree(source, target, symlinks=True)
    if not (target / "pjdfstest").exists():
        (target / "config.h").write_text("#define _GNU_SOURCE 1\n"
                                         + "".join(f"#define HAVE_{name} 1\n" for name in HAVE))
        subprocess.run(["gcc", "-O1", "-w", "-D_FILE_OFFSET_BITS=64", f"-I{target}", "-o",
                        str(target / "pjdfstest"), str(target / "pjdfstest.c")], check=True)


@pytest.mark.timeout(3600)
@pytest.mark.skipif(not CHECKOUT, reason="set PJDFSTEST=DIR to a checkout of pjdfstest to run it")
def test_pjdfstest(d, outside):
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
