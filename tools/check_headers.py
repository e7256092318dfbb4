"""Compiles every header of src/ alone: each must include all that it uses.

Flags are those of a source of the same room in compile_commands.json, without optimisation. Each
header is included twice, so that a missing `#pragma once` shows. Objects and ccache make a repeated
run quick. Prints the first error of each header that fails; exit status 1 if any did.
"""
import concurrent.futures
import json
import os
import pathlib
import shlex
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent
BUILD = TOP / "build" / "release"
DROPPED_PREFIXES = ("-O", "-g", "-flto")


def flags_by_room():
    """room -> (argument list without input, output and optimisation, working directory)."""
    flags = {}
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        parts = pathlib.Path(entry["file"]).parts
        if "src" not in parts or not entry["file"].endswith(".cc"):
            continue
        room = pathlib.Path(entry["file"]).relative_to(TOP / "src").parts[0]
        arguments = entry.get("arguments") or shlex.split(entry["command"])
        kept, skip_next = [], False
        for argument in arguments:
            if skip_next:
                skip_next = False
            elif argument in ("-o", "-c", "-MF", "-MT"):
                skip_next = True
            elif not argument.startswith(DROPPED_PREFIXES) and argument != "-MD":
                kept.append(argument)
        is_test = entry["file"].endswith("_test.cc")
        if room not in flags or not is_test:
            flags[room] = (kept, entry["directory"])
    return flags


def compile_alone(header, arguments, directory):
    name = header.relative_to(TOP / "src").as_posix()
    source = BUILD / "headers" / (name.replace("/", "+") + ".cc")
    source.parent.mkdir(parents=True, exist_ok=True)
    text = f'#include "{name}"\n#include "{name}"\n'
    if not source.exists() or source.read_text() != text:
        source.write_text(text)
    command = [*arguments, "-O0", "-c", str(source), "-o", str(source.with_suffix(".o"))]
    run = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if run.returncode == 0:
        return None
    errors = [line for line in run.stderr.splitlines() if "error" in line]
    return f"{name}: {errors[0] if errors else run.stderr.strip()}"


def main():
    flags = flags_by_room()
    jobs = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for header in sorted((TOP / "src").glob("*/**/*.h")):
            room = header.relative_to(TOP / "src").parts[0]
            # A room that is only headers so far borrows another room's flags.
            arguments, directory = flags.get(room) or next(iter(flags.values()))
            jobs.append(pool.submit(compile_alone, header, arguments, directory))
    failures = [job.result() for job in jobs if job.result()]
    print("\n".join(failures) if failures else f"{len(jobs)} headers compile alone")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
