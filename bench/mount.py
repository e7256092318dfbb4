"""Large files on the mount against the local file system under it: reads warm and cold, new files.

Warm reads follow one unmeasured read of the same kind. Cold means that the kernel's caches were
dropped before. Writes end with fsync on both sides.
"""
import os

from common import Report, arguments, drop_caches, io_bench, two_places

MIB = 1 << 20


def main():
    options = arguments(__doc__)
    file_bytes = (64 if options.quick else 2048) * MIB
    write_bytes = (32 if options.quick else 1024) * MIB
    warm_reads = 20_000 if options.quick else 400_000
    cold_reads = 500 if options.quick else 5_000
    report = Report("mount", options)
    with two_places(options.on, "mount") as (server, ours, theirs):
        report.head("Tarn's mount", "the file system under its root")
        for place in (ours, theirs):
            io_bench("write", place / "file", file_bytes, MIB)
        sums = {}

        def speed(operation, *numbers):
            def measure(place):
                result = io_bench(operation, place / "file", *numbers)
                assert sums.setdefault((operation, numbers), result["sum"]) == result["sum"], "bytes differ"
                return result["bytes"] / result["seconds"] / 1e6
            return measure

        reads = [("sequential_1m", ("seqread", MIB)), ("mmap", ("mmapread",)),
                 ("random_4k", ("randread", 4096, warm_reads))]
        for name, operation in reads:
            for place in (ours, theirs):
                speed(*operation)(place)
            report.pair(f"read_warm_{name}", "MB/s", speed(*operation), ours, theirs)
        cold = reads[:2] + [("random_4k", ("randread", 4096, cold_reads))]
        for name, operation in cold:
            report.pair(f"read_cold_{name}", "MB/s", speed(*operation), ours, theirs, before=drop_caches)

        def write(place):
            result = io_bench("write", place / "new", write_bytes, MIB)
            os.unlink(place / "new")
            return result["bytes"] / result["seconds"] / 1e6

        def write_small(place):
            result = io_bench("write", place / "new", write_bytes // 8, 4096)
            os.unlink(place / "new")
            return result["bytes"] / result["seconds"] / 1e6

        report.pair("write_new_by_4k", "MB/s", write_small, ours, theirs, before=os.sync)
        report.pair("write_new_1g" if not options.quick else "write_new_32m", "MB/s", write, ours, theirs,
                    before=os.sync)
        report.add("resident_memory", "MB, keeper and worker", server.resident_bytes() / 1e6)
    report.write()


if __name__ == "__main__":
    main()
