"""60,000 files of 1 KB on the mount against the local file system under it.

Creating ends by syncfs on the local file system and by fsync of a directory on Tarn, which waits for
a barrier over everything before it. Reading follows the order in which each side lists the names.
Cold means that the kernel's caches were dropped; Tarn's own process keeps its memory.

Both sides stand on one new ext4 in an image on the disk, because a disk that is mounted with `discard`
takes milliseconds to free a small file, and then the removal of old trees outlasts all that is
measured; --raw measures on the disk itself.
"""
from common import Report, arguments, drop_caches, io_bench, two_places

FOLDERS = 20
FILE_BYTES = 1000
IMAGE_BYTES = 16 << 30


def main():
    options = arguments(__doc__)
    files = 2_000 if options.quick else 60_000
    report = Report("small", options)
    image_bytes = 0 if options.raw else IMAGE_BYTES
    with two_places(options.on, "small", image_bytes) as (server, ours, theirs):
        report.head("Tarn's mount", "the ext4 under its root" if image_bytes else "the file system under its root")
        counters = {"transactions": 0, "rows_written": 0, "wal_bytes": 0}
        removals = {ours: [], theirs: []}
        made = {ours: 0, theirs: 0}

        def per_file(result):
            return result["seconds"] / files * 1e6

        def create(place):
            """Makes tree N+1, then (unmeasured) takes tree N away: one tree stays at the end."""
            before = server.status()["kv"] if place == ours else None
            tree = place / f"tree{made[place]}"
            result = io_bench("create", tree, files, FOLDERS, FILE_BYTES,
                              "fsyncdir" if place == ours else "syncfs")
            if before:
                after = server.status()["kv"]
                for key in counters:
                    counters[key] += after[key] - before[key]
            if made[place] > 0:
                removals[place].append(io_bench("remove", place / f"tree{made[place] - 1}"))
            made[place] += 1
            return per_file(result)

        report.pair("create", "us a file", create, ours, theirs)
        created = files * options.pairs
        report.add("create_transactions", "a file", counters["transactions"] / created)
        report.add("create_row_writes", "a file", counters["rows_written"] / created)
        report.add("create_wal_bytes", "bytes a file", counters["wal_bytes"] / created)
        for number, (mine, other) in enumerate(zip(removals[ours], removals[theirs])):
            assert mine["count"] == other["count"], number
        if removals[ours]:
            middle = len(removals[ours]) // 2
            taken = {side: sorted(per_file(r) for r in removals[side])[middle] for side in removals}
            report.add("remove", "us a file", taken[ours], taken[theirs], len(removals[ours]))

        trees = {ours: ours / f"tree{made[ours] - 1}", theirs: theirs / f"tree{made[theirs] - 1}"}
        sums = {}

        def walk(operation):
            def measure(place):
                result = io_bench(operation, trees[place])
                seen = (result["count"], result["bytes"], result["sum"])
                assert sums.setdefault(operation, seen) == seen, f"{operation}: {seen} is not {sums[operation]}"
                return per_file(result)
            return measure

        for operation in ("find", "stat", "readall"):
            for place in (ours, theirs):
                walk(operation)(place)
            report.pair(f"{operation}_warm", "us a file", walk(operation), ours, theirs)
        for operation in ("find", "stat", "readall"):
            report.pair(f"{operation}_cold", "us a file", walk(operation), ours, theirs, before=drop_caches)
        report.add("resident_memory", "MB, keeper and worker", server.resident_bytes() / 1e6)
    report.write()


if __name__ == "__main__":
    main()
