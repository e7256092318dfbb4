"""Runs the writers together on one directory, and compares it with their records after a crash.

    programs = Programs(mnt, outside, "r1", seed, tarn=(TARN, root))
    programs.start(["files", "files-unsynced", "sqlite-wal", "extract"])
    ... the crash at `when` (time.monotonic) ...
    programs.wait_for_end()
    programs.check(Rules(is_power_cut=False), when)

check() fails with the seed and the shortest explanation it finds.
"""
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import history
import writers

HERE = pathlib.Path(__file__).resolve().parent
# A barrier runs at least every second; what was acknowledged this long before a crash (and twice the
# longest barrier that somebody waited for) must have survived it.
BARRIER_SLACK_SECONDS = 3.0


def hung_threads():
    """Where threads of the writers and of tarn wait in the kernel, for a failure's message."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*/task/[0-9]*"):
        try:
            name, state = (folder / "stat").read_text().rpartition(")")[::2]
            if "tarn" in name or state.split()[0] == "D":
                stack = (folder / "stack").read_text().split()
                found.append(f"{name}) {state.split()[0]} {' '.join(s for s in stack if '+' in s)[:200]}")
        except OSError:
            continue
    return "; ".join(found[:40])


STARTED = []


def end_programs():
    """Whatever a failed test has left running."""
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.kill()
            process.wait()


class Program:
    def __init__(self, name, options, stderr):
        self.name, self.options, self.stderr = name, options, stderr
        self.process = subprocess.Popen([sys.executable, str(HERE / "writers.py"), json.dumps(options)],
                                        stdin=subprocess.DEVNULL, stderr=open(stderr, "wb"))
        self.exit = None
        STARTED.append(self.process)

    def error(self):
        return pathlib.Path(self.stderr).read_text(errors="replace").strip()


class Programs:
    def __init__(self, mnt, outside, name, seed, tarn=None):
        self.mnt, self.outside = pathlib.Path(mnt), pathlib.Path(outside) / name
        self.outside.mkdir(parents=True)
        self.name, self.seed, self.tarn = name, seed, tarn
        self.programs = []

    def top(self, name):
        return self.mnt / f"{self.name}-{name}"

    def start(self, kinds, **more):
        for number, kind in enumerate(kinds):
            family, _, flavour = kind.partition("-")
            options = {"kind": family, "top": str(self.top(kind)), "record": str(self.outside / f"{kind}.record"),
                       "seed": self.seed * 100 + number, **more}
            if self.tarn:
                options["tarn"], options["root"] = map(str, self.tarn)
            if family == "files":
                options["syncs"] = flavour != "unsynced"
            if family == "sqlite":
                options["journal"] = flavour
            if family == "read":
                options["top"] = str(self.mnt)
            self.programs.append(Program(kind, options, str(self.outside / f"{kind}.stderr")))

    def wait_until_at_work(self, count=20, seconds=90):
        """Until each writer of files has had `count` operations acknowledged: what a busy machine has
        not let begin proves nothing."""
        deadline = time.monotonic() + seconds
        waiting = [p for p in self.programs if p.options["kind"] == "files"]
        while waiting := [p for p in waiting if p.process.poll() is None
                          and pathlib.Path(p.options["record"] if os.path.exists(p.options["record"]) else
                                           os.devnull).read_bytes().count(b'"ok":1') < count]:
            assert time.monotonic() < deadline, f"{self.where()}: {[p.name for p in waiting]} do not get on"
            time.sleep(0.02)

    def stop(self):
        """Lets each end its operation; the exit statuses of those that did not end well."""
        for program in self.programs:
            program.process.send_signal(signal.SIGTERM)
        self.wait_for_end()
        return {p.name: (p.exit, self.last_error(p) or p.error()) for p in self.programs if p.exit != 0}

    def wait_for_end(self, seconds=60):
        deadline = time.monotonic() + seconds
        for program in self.programs:
            try:
                program.exit = program.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                hanging = hung_threads()
                self.kill()
                raise AssertionError(f"{self.where()}: {program.name} hangs {seconds} s after the end: {hanging}")

    def kill(self):
        for program in self.programs:
            program.process.kill()

    def ended_early(self):
        return [p.name for p in self.programs if p.process.poll() is not None]

    def last_error(self, program):
        lines = history.load_lines(program.options["record"])
        return next((line["text"] for line in lines if "errno" in line), None)

    def where(self):
        return f"{self.name}, seed {self.seed}"

    # --- what must be there

    def durable_times(self, rules, when):
        """Everything acknowledged before these moments was promised to survive a crash at `when`: of
        what nobody asked for, and of what somebody did."""
        asked, longest = 0.0, 0.0
        for program in self.programs:
            if program.options["kind"] != "files":
                continue
            for step in history.load(program.options["record"]):
                if step.acked and history.is_sync(step.op, rules):
                    asked = max(asked, step.asked)
                    longest = max(longest, step.acked - step.asked)
        if not rules.sync_covers_all:
            return asked, asked
        return max(asked, when - BARRIER_SLACK_SECONDS - 2 * longest), asked

    def check(self, rules, when, loses_nothing=False):
        """Counts of what was compared. `loses_nothing`: everything acknowledged must be there."""
        self.since, self.synced_since = ((float("inf"),) * 2 if loses_nothing
                                         else self.durable_times(rules, when))
        self.until = float("inf") if loses_nothing else when
        counts = {"acknowledged": 0, "durable": 0}
        wrong = []
        for program in self.programs:
            check = {"files": self.check_files, "sqlite": self.check_sqlite, "extract": self.check_extract,
                     "copy": self.check_copy}.get(program.options["kind"])
            if program.exit not in (0, writers.ENDED_BY_ERROR) and program.exit >= 0:
                wrong.append(f"{program.name} ended with {program.exit}: {program.error()}")
            early = [line for line in history.load_lines(program.options["record"])
                     if "errno" in line and (loses_nothing or line["t"] < when)]
            wrong += [f"{program.name} saw an error{'' if loses_nothing else ' before the crash'}: {line['text']}"
                      for line in early]
            if check:
                wrong += [f"{program.name}: {line}" for line in check(program, rules, counts)]
        assert not wrong, f"{self.where()} (records in {self.outside}):\n" + "\n".join(wrong)
        return counts

    def check_files(self, program, rules, counts):
        steps = history.load(program.options["record"])
        durable, synced = (sum(1 for step in steps if step.acked and step.acked <= since)
                           for since in (self.since, self.synced_since))
        counts["acknowledged"] += sum(1 for step in steps if step.acked)
        counts["durable"] += durable
        return history.problems(program.options["top"], steps, durable, rules, synced=synced)

    def check_sqlite(self, program, rules, counts):
        lines = history.load_lines(program.options["record"])
        if not any("ready" in line for line in lines):
            return []
        asked = [line for line in lines if "op" in line]
        acked = sum(1 for line in lines if "ok" in line)
        counts["acknowledged"] += acked
        counts["durable"] += acked
        try:
            base = sqlite3.connect(os.path.join(program.options["top"], "db"), timeout=30)
            verdict = base.execute("pragma integrity_check").fetchall()
            if verdict != [("ok",)]:
                return [f"integrity_check: {verdict[:3]}"]
            rows = base.execute("select number, payload from item order by number").fetchall()
            total = base.execute("select items, bytes from total").fetchone()
            base.close()
        except sqlite3.Error as error:
            return [f"the database cannot be read: {error}"]
        if not acked <= len(rows) <= len(asked):
            return [f"{len(rows)} transactions are there, {acked} were acknowledged, {len(asked)} begun"]
        if total != (len(rows), sum(len(payload) for _, payload in rows)):
            return [f"a transaction is there in half: the total says {total}, there are {len(rows)}"]
        for number, payload in rows:
            if payload != history.content_of(f"{program.options['seed']}/{number}", asked[number]["op"]["size"]):
                return [f"row {number} has wrong bytes"]
        return []

    def check_extract(self, program, rules, counts):
        lines = history.load_lines(program.options["record"])
        found = history.find(program.options["top"])
        # What returned while the disk was being shut down promises nothing: on XFS an fsync that meets
        # the shutdown finds the inode unpinned and reports success.
        acked = {line["n"] for line in lines
                 if "ok" in line and "unknown" not in line and line["t"] < self.until}
        asked = {line["n"] for line in lines if "op" in line}
        counts["acknowledged"] += len(acked)
        counts["durable"] += len(acked)
        wrong = []
        explained = {""}
        for number in asked:
            archive = f"archive{number}.tar" + ("" if number % 2 == 0 else ".gz")
            files = writers.archive_tree(program.options["seed"], number)
            explained.add(archive)
            if number in acked and (archive not in found
                                    or found[archive].data != writers.make_archive(program.options["seed"], number)):
                wrong.append(f"{archive} is not what was written and synced")
            for top in (f"tree{number}", f"file{number}"):
                if top not in found:
                    if number in acked:
                        wrong.append(f"{top} of an extracted archive is missing")
                    continue
                for name in (n for n in files if n == top or n.startswith(top + "/")):
                    explained.add(name)
                    explained.update(name[:i] for i, c in enumerate(name) if c == "/")
                    if name not in found:
                        wrong.append(f"{top} is half made: {name} is missing")
                    elif found[name].error or found[name].data != files[name]:
                        wrong.append(f"{name} has wrong bytes: {found[name].error or len(found[name].data)}")
        wrong += [f"{name} belongs to nothing" for name in sorted(set(found) - explained)]
        return wrong[:history.SHOWN_MAX]

    def check_copy(self, program, rules, counts):
        acked = [line for line in history.load_lines(program.options["record"]) if "ok" in line]
        if not acked:
            return []
        data = pathlib.Path(program.options["top"], "large").read_bytes()
        digest = writers.hashlib.md5(data).hexdigest()
        counts["acknowledged"] += 1
        if (len(data), digest) != (acked[0]["size"], acked[0]["digest"]):
            return [f"{len(data)} bytes, {acked[0]['size']} were written, or they differ"]
        return []

    def summaries(self):
        """What is there now, to be compared later; databases and their logs move when they are read."""
        return {p.name: history.summary(history.find(self.top(p.name))) for p in self.programs
                if p.options["kind"] in ("files", "extract")}

    def changes(self, then):
        """What is no longer as it was when `then` was taken."""
        now = self.summaries()
        return [f"{name}/{path}" for name, files in then.items() for path in sorted({*files, *now[name]})
                if files.get(path) != now[name].get(path)][:history.SHOWN_MAX]

    def remove(self):
        """Everything the programs made."""
        for program in self.programs:
            if program.options["top"] != str(self.mnt) and os.path.lexists(program.options["top"]):
                shutil.rmtree(program.options["top"])
