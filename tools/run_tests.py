"""Runs the suites by name and ends with one line: `N passed, N failed, N skipped`.

A suite is the unit tests (ctest) or a folder tests/NAME with pytest files. A suite that is not in
the tree is not listed. A suite with its own requirements.txt gets its own environment.
"""
import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

TOP = pathlib.Path(__file__).resolve().parent.parent
BUILD = TOP / "build" / "release"
RESULTS = TOP / "build" / "test-results"
# The order is from quick and telling to slow.
ORDER = ["structure", "unit", "first", "posix", "differential", "dataset", "crash", "power", "disk-full", "s3",
         "sagemaker", "notebook", "pipeline"]
# A suite that runs longer than this (seconds) has hung; it is killed and counts as one failure.
SUITE_SECONDS_MAX = {"short": 1500, "long": 3 * 3600}

# Lines of a failed case's message that the end of the run repeats.
FAILURE_LINES_MAX = 12


def folder(suite):
    return TOP / "tests" / suite.replace("-", "_")


def suites():
    return [s for s in ORDER if s == "unit" or any(folder(s).glob("test_*.py"))]


def environment_python(suite):
    """The interpreter of the suite's virtual environment, made or renewed when needed."""
    wanted = [TOP / "tests" / "requirements.txt"]
    name = "venv"
    own = folder(suite) / "requirements.txt"
    if own.exists():
        wanted.append(own)
        name = f"venv-{suite}"
    path = TOP / "build" / name
    digest = hashlib.sha256(b"".join(f.read_bytes() for f in wanted)).hexdigest()
    stamp = path / "requirements.sha256"
    python = path / "bin" / "python"
    if not (stamp.exists() and stamp.read_text() == digest):
        shutil.rmtree(path, ignore_errors=True)
        subprocess.run(["/usr/bin/python3", "-m", "venv", str(path)], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for file in wanted:
            command += ["-r", str(file)]
        subprocess.run(command, check=True)
        stamp.write_text(digest)
    return python


def sweep():
    """Takes away what a suite that was cut short left: servers on roots under var/test, mounts, loops."""
    scratch = str(TOP / "var" / "test")
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if words[0].endswith("/tarn") and any(word.startswith(scratch) for word in words[1:]):
                print(f"left over: {' '.join(words)}", flush=True)
                os.kill(int(entry.name), 9)
    mounts = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    for mount in reversed([line.split()[4] for line in mounts]):
        if mount.startswith(scratch):
            subprocess.run(["umount", "-l", mount], check=False)
    if shutil.which("losetup"):
        listed = subprocess.run(["losetup", "--noheadings", "-O", "NAME,BACK-FILE"], capture_output=True, text=True)
        for line in listed.stdout.splitlines():
            device, _, image = line.partition(" ")
            if image.strip().startswith(scratch):
                subprocess.run(["losetup", "-d", device], check=False)
    shutil.rmtree(scratch, ignore_errors=True)


def counts_of_junit(file):
    """(passed, failed, skipped) of a JUnit file, or None where there is none to read."""
    try:
        root = ET.parse(file).getroot()
    except (OSError, ET.ParseError):
        return None
    passed = failed = skipped = 0
    for case in root.iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"} or case.get("status") == "fail":
            failed += 1
        elif "skipped" in kinds or case.get("status") in ("notrun", "disabled"):
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def failures_of_junit(file):
    """[(name, first lines of what it said)] of the failed cases of a JUnit file."""
    try:
        root = ET.parse(file).getroot()
    except (OSError, ET.ParseError):
        return []
    said = []
    for case in root.iter("testcase"):
        for child in case:
            if child.tag in ("failure", "error"):
                lines = (child.get("message") or child.text or "").strip().splitlines()
                said.append((f"{case.get('classname')}.{case.get('name')}", lines[:FAILURE_LINES_MAX]))
                break
    return said


def run_limited(command, limit, **keywords):
    """Exit status, or None when the time was up and the whole process group was killed."""
    process = subprocess.Popen(command, start_new_session=True, **keywords)
    try:
        return process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        print(f"time is up after {limit} s: {' '.join(map(str, command))}", flush=True)
    except KeyboardInterrupt:
        pass
    os.killpg(process.pid, 9)
    process.wait()
    return None


def run_unit(env, limit):
    """ctest starts one GoogleTest program a room; the programs' own reports give the counts."""
    junit = RESULTS / "unit.xml"
    cases = RESULTS / "unit"
    cases.mkdir(parents=True)
    command = ["ctest", "--test-dir", str(BUILD), "--output-on-failure", "--no-tests=error",
               "--output-junit", str(junit), "-L", "unit"]
    status = run_limited(command, limit, env={**env, "GTEST_OUTPUT": f"xml:{cases}/"})
    passed = failed = skipped = 0
    reported = set()
    for file in cases.glob("*.xml"):
        counts = counts_of_junit(file)
        if counts:
            reported.add(file.stem)
            passed, failed, skipped = (a + b for a, b in zip((passed, failed, skipped), counts))
    try:
        programs = list(ET.parse(junit).getroot().iter("testcase"))
    except (OSError, ET.ParseError):
        programs = []
    for program in programs:
        # Without a report of its own (it crashed, or is no GoogleTest program) it counts as one.
        if f"{program.get('name')}_test" not in reported:
            if program.get("status") == "run":
                passed += 1
            else:
                failed += 1
    if status != 0 and failed == 0:
        failed += 1
    return passed, failed, skipped


def run_pytest(suite, env, limit, extra):
    junit = RESULTS / f"{suite}.xml"
    command = [str(environment_python(suite)), "-m", "pytest", "-p", "no:cacheprovider", "-rs",
               "--durations=5", "--durations-min=5", f"--junit-xml={junit}", str(folder(suite)),
               *extra]
    status = run_limited(command, limit, env=env, cwd=TOP)
    counts = counts_of_junit(junit) or (0, 0, 0)
    if status != 0 and counts[1] == 0:
        counts = (counts[0], 1, counts[2])
    return counts


def main():
    parser = argparse.ArgumentParser(prog="./run test")
    parser.add_argument("suite", nargs="*", help="names of suites; all that exist unless given")
    parser.add_argument("--long", action="store_true", help="the long forms (TARN_LONG=1)")
    parser.add_argument("--list", action="store_true", help="name the suites and end")
    parser.add_argument("-k", metavar="EXPR", help="passed to pytest: only tests that match")
    options = parser.parse_args()
    there = suites()
    if options.list:
        print("\n".join(there))
        return 0
    unknown = [s for s in options.suite if s not in there]
    if unknown:
        parser.error(f"no suite '{unknown[0]}'; there are: {', '.join(there)}")
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    if options.long:
        env["TARN_LONG"] = "1"
    limit = SUITE_SECONDS_MAX["long" if options.long else "short"]
    extra = ["-k", options.k] if options.k else []
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    rows = []
    for suite in [s for s in there if not options.suite or s in options.suite]:
        print(f"== {suite}", flush=True)
        started = time.monotonic()
        counts = run_unit(env, limit) if suite == "unit" else run_pytest(suite, env, limit, extra)
        rows.append((suite, time.monotonic() - started, *counts))
        sweep()
    for file in sorted(RESULTS.rglob("*.xml")):
        # ctest's own file only repeats what the programs' files say better.
        for name, lines in failures_of_junit(file) if file != RESULTS / "unit.xml" else []:
            print(f"\nFAILED {file.stem}: {name}")
            print("\n".join(f"    {line}" for line in lines))
    print(f"\n{'suite':<12}{'seconds':>9}{'passed':>9}{'failed':>9}{'skipped':>9}")
    for suite, seconds, *counts in rows:
        print(f"{suite:<12}{seconds:>9.1f}" + "".join(f"{n:>9}" for n in counts))
    passed, failed, skipped = (sum(row[i] for row in rows) for i in (2, 3, 4))
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
