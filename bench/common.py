"""What the benchmarks of the mount share: two places on one disk, interleaved pairs, a table.

Ours is a folder on Tarn's mount, theirs a folder beside the root on the same local file system. The
sides take turns, and every second pair begins with the other side; a figure's ratio is the quotient
of the two medians. Results: var/bench/NAME.json, figure -> {ours, theirs, ratio, unit, pairs}.
"""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests" / "lib"))

from disks import LoopDisk, drop_caches  # noqa: E402
from tarn_server import TarnServer, why_no_mount  # noqa: E402

IO_BENCH = TOP / "build" / "release" / "bench" / "io_bench"


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="small sizes and 3 pairs: shows that it works")
    parser.add_argument("--pairs", type=int, help="pairs of every figure (9; quick: 3)")
    parser.add_argument("--on", type=pathlib.Path, default=TOP / "var" / "bench",
                        help="a folder on the disk to measure; results go there too (var/bench)")
    parser.add_argument("--raw", action="store_true", help="small: on that disk itself, not on an image on it")
    options = parser.parse_args()
    options.pairs = options.pairs or (3 if options.quick else 9)
    return options


def machine_line():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    return f"{os.cpu_count()} x {cpu}, {memory / 2**20:.0f} GiB, Linux {platform.release()}"


def io_bench(operation, path, *numbers):
    command = [str(IO_BENCH), operation, str(path), *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


@contextlib.contextmanager
def two_places(folder, name, image_bytes=0):
    """(server, ours, theirs): a new root with a mount, and a plain folder beside it on the same file
    system. With `image_bytes` that is a new ext4 in an image of this size, on a loop device."""
    if why_no_mount():
        raise SystemExit(f"bench {name}: {why_no_mount()}")
    base = folder / f"{name}.run"
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    try:
        with contextlib.ExitStack() as stack:
            disk = stack.enter_context(LoopDisk(base, image_bytes)).path if image_bytes else base
            theirs = disk / "local"
            theirs.mkdir()
            server = stack.enter_context(TarnServer(disk / "tarn"))
            yield server, server.mnt, theirs
    finally:
        shutil.rmtree(base, ignore_errors=True)


class Report:
    def __init__(self, name, options):
        self.name, self.pairs, self.figures = name, options.pairs, {}
        # A quick run shows that the benchmark works; its figures never stand where real ones do.
        self.file = options.on / (f"{name}.quick.json" if options.quick else f"{name}.json")

    def pair(self, figure, unit, measure, ours, theirs, before=None, pairs=None):
        """Measures `measure(place)` on both places in turn. `before` runs ahead of each, unmeasured."""
        values = {ours: [], theirs: []}
        pairs = pairs or self.pairs
        for number in range(pairs):
            for place in (ours, theirs) if number % 2 == 0 else (theirs, ours):
                if before:
                    before()
                values[place].append(measure(place))
        self.add(figure, unit, statistics.median(values[ours]), statistics.median(values[theirs]), pairs,
                 {"ours": values[ours], "theirs": values[theirs]})

    def add(self, figure, unit, ours, theirs=None, pairs=1, samples=None):
        row = {"ours": ours, "theirs": theirs, "ratio": ours / theirs if theirs else None, "unit": unit,
               "pairs": pairs}
        if samples:
            row["samples"] = samples
        self.figures[figure] = row
        theirs_text = f"{theirs:>12.3f}{row['ratio']:>9.3f}" if theirs else f"{'':>21}"
        print(f"{figure:<36}{ours:>12.3f}{theirs_text}  {unit}", flush=True)

    def head(self, ours, theirs):
        print(f"{self.name}: ours = {ours}, theirs = {theirs}; ratio = ours / theirs, medians of {self.pairs} pairs")
        print(machine_line())
        print(f"{'figure':<36}{'ours':>12}{'theirs':>12}{'ratio':>9}  unit")

    def write(self):
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.figures, indent=1) + "\n")
        print(f"written to {self.file}")
