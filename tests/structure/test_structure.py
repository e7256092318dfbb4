"""The house's rules that can be read off the tree: rooms, headers, formatting, sizes, words, docs."""
import pathlib
import re
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
SRC = TOP / "src"
FILE_LINES_MAX = 800
ROOM_ASSERTIONS_MIN = 15


def tree_files(*patterns):
    """Files of the tree that git tracks or would track."""
    out = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others",
                          "--exclude-standard", "--", *patterns],
                         cwd=TOP, check=True, capture_output=True, text=True).stdout
    return [TOP / name for name in out.split("\0") if name and (TOP / name).is_file()]


def cpp_files(under="."):
    return tree_files(f"{under}/*.cc", f"{under}/*.h") if under != "." else tree_files("*.cc", "*.h")


def room_table():
    """[(room, rooms it never uses)] in the order of src/README.md."""
    rows = []
    for line in (SRC / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        match = re.fullmatch(r"`(\w+)`", cells[0])
        if match and len(cells) >= 4:
            rows.append((match[1], re.findall(r"`(\w+)`", cells[3])))
    return rows


def rooms():
    return [room for room, _ in room_table()]


def allowed_rooms(room):
    order = rooms()
    never = dict(room_table())[room]
    return [r for r in order[:order.index(room) + 1] if r not in never]


def relative(path):
    return path.relative_to(TOP).as_posix()


def test_every_folder_of_src_is_a_room_of_the_table():
    folders = {f.relative_to(SRC).parts[0] for f in cpp_files("src")}
    assert folders <= set(rooms()), f"not in src/README.md: {sorted(folders - set(rooms()))}"
    assert rooms(), "src/README.md has no room table"


def test_includes_obey_the_room_table():
    wrong = []
    for file in cpp_files("src"):
        room = file.relative_to(SRC).parts[0]
        allowed = allowed_rooms(room)
        for number, line in enumerate(file.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not match:
                continue
            target = match[1].split("/")[0]
            if "/" not in match[1] or not (SRC / match[1]).is_file():
                wrong.append(f"{relative(file)}:{number}: '{match[1]}' is not a path under src/")
            elif target not in allowed:
                wrong.append(f"{relative(file)}:{number}: {room} may not use {target}")
    assert not wrong, "\n".join(wrong)


def test_room_dependencies_obey_the_room_table():
    wrong = []
    for file in tree_files("src/*/CMakeLists.txt"):
        room = file.parent.name
        text = file.read_text()
        for block in re.findall(r"\bDEPS\s+([\w\s]+?)(?=\s+(?:SOURCES|LIBS|TESTS)\b|\s*\))", text):
            for dep in block.split():
                if dep not in allowed_rooms(room):
                    wrong.append(f"{relative(file)}: {room} may not depend on {dep}")
        if re.search(r"\bfile\s*\(\s*GLOB", text, re.IGNORECASE):
            wrong.append(f"{relative(file)}: sources are named, not globbed")
    assert not wrong, "\n".join(wrong)


def test_only_the_mount_speaks_fuse():
    wrong = [relative(f) for f in cpp_files("src") if f.relative_to(SRC).parts[0] != "mount"
             and re.search(r"#\s*include\s+<linux/fuse\.h>", f.read_text())]
    assert not wrong, f"FUSE's header outside room mount: {wrong}"


def test_every_header_compiles_alone():
    run = subprocess.run([sys.executable, str(TOP / "tools" / "check_headers.py")],
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_header_opens_with_prose():
    wrong = []
    for file in tree_files("src/*.h"):
        lines = file.read_text().splitlines()
        if not lines or not lines[0].startswith("// "):
            wrong.append(relative(file))
    assert not wrong, f"no opening comment: {wrong}"


def test_formatting():
    files = [str(f) for f in cpp_files()]
    run = subprocess.run(["clang-format-19", "--dry-run", "-Werror", *files], cwd=TOP,
                         capture_output=True, text=True)
    names = sorted({line.split(":")[0] for line in run.stderr.splitlines() if ": error" in line})
    assert run.returncode == 0, "./run format would change:\n" + "\n".join(names)


def test_no_source_file_is_too_long():
    long = [(relative(f), n) for f in tree_files("*.cc", "*.h", "*.py", "*.sh", "run")
            if (n := len(f.read_text().splitlines())) > FILE_LINES_MAX]
    assert not long, f"over {FILE_LINES_MAX} lines: {long}"


@pytest.mark.parametrize("room", [r for r in rooms() if r != "app"])
def test_room_has_tests_beside_its_code(room):
    if not (SRC / room / "CMakeLists.txt").exists():
        pytest.skip(f"room {room} is not built yet")
    tests = tree_files(f"src/{room}/*_test.cc")
    count = sum(len(re.findall(r"\b(?:EXPECT|ASSERT)_[A-Z_]+\s*\(", f.read_text())) for f in tests)
    assert count >= ROOM_ASSERTIONS_MIN, f"{count} assertions in {len(tests)} files"


def test_every_test_file_is_built():
    missing = []
    for file in tree_files("src/*_test.cc"):
        room = SRC / file.relative_to(SRC).parts[0]
        name = file.relative_to(room).as_posix()
        if name not in (room / "CMakeLists.txt").read_text().split():
            if not re.search(rf"(?<![\w/]){re.escape(name)}\b", (room / "CMakeLists.txt").read_text()):
                missing.append(relative(file))
    assert not missing, f"not named in their room's CMakeLists.txt: {missing}"


# Written in pieces, so that this file does not contain them.
FORBIDDEN = [r"/wo" r"rk/", r"(?<![\w.])/ro" r"ot/", r"/fa" r"rm/", r"\bfarm-(?:bench|studio)", r"\.lib" r"rary\b",
             r"before-" r"stop", r"\bsub-?ag" r"ent", r"\bDES" r"IGN(?:\.md)?(?:,|'s)? sec" r"tion", r"\bTO" r"DO\b", r"\bFIX" r"ME\b",
             r"\bissue #?\d+\b"]


def test_no_words_of_a_workplace():
    pattern = re.compile("|".join(FORBIDDEN))
    hits = []
    for file in tree_files("."):
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                hits.append(f"{relative(file)}:{number}: {line.strip()[:120]}")
    assert not hits, "\n".join(hits)


def gtest_names():
    names = set()
    pattern = re.compile(r"\b(?:TYPED_)?TEST(?:_F|_P)?\(\s*(\w+)\s*,\s*(\w+)\s*\)")
    for file in tree_files("src/*_test.cc", "src/*_test.h", "src/*_suite.h"):
        names |= {f"{suite}.{name}" for suite, name in pattern.findall(file.read_text())}
    return names


def reference_exists(reference, gtests):
    match = re.fullmatch(r"([\w/]+\.py)::(\w+)", reference)
    if match:
        file = TOP / "tests" / match[1]
        return file.is_file() and f"def {match[2]}(" in file.read_text()
    return reference in gtests


def statements(text):
    """The list items of a page, each with its continuation lines."""
    items, current = [], None
    for line in text.splitlines():
        if line.startswith("- "):
            current = [line]
            items.append(current)
        elif current is not None and line.startswith("  "):
            current.append(line)
        else:
            current = None
    return [" ".join(part.strip() for part in item) for item in items]


def test_every_statement_of_semantics_names_a_test():
    gtests = gtest_names()
    items = statements((TOP / "docs" / "SEMANTICS.md").read_text())
    assert items, "docs/SEMANTICS.md has no statements"
    wrong = []
    for item in items:
        named = item.rpartition("Tests: ")[2] if "Tests: " in item else ""
        references = re.findall(r"`([^`]+)`", named)
        if not references:
            wrong.append(f"names no test: {item[:100]}")
        wrong += [f"no such test: {r}" for r in references if not reference_exists(r, gtests)]
    assert not wrong, "\n".join(wrong)


def declared_mutexes():
    """name -> (rank, file): every `"room.what", RANK` that opens an argument list. RANK is a number or
    a constant (`constexpr int kRank = 12;`) of the same file."""
    found = {}
    pattern = re.compile(r'[{(]\s*"([a-z0-9_]+(?:\.[a-z0-9_]+)+)"\s*,\s*(\d+|k[A-Z]\w*)\b')
    for file in cpp_files("src"):
        if file.name.endswith("_test.cc"):
            continue
        text = file.read_text()
        for name, rank in pattern.findall(text):
            if not rank.isdigit():
                constant = re.search(rf"\bint {rank} = (\d+);", text)
                if not constant:
                    continue
                rank = constant[1]
            found[name] = (int(rank), relative(file))
    return found


def test_every_mutex_has_a_literal_name():
    """A mutex that is made with a name the pattern above cannot see would escape docs/LOCKS.md."""
    unseen = []
    included = set()
    for file in cpp_files("src"):
        if not file.name.endswith("_test.cc"):
            included |= set(re.findall(r'#\s*include\s+"([^"]+)"', file.read_text()))
    for file in cpp_files("src"):
        is_fixture = file.suffix == ".h" and file.relative_to(SRC).as_posix() not in included
        if file.name.endswith("_test.cc") or is_fixture or relative(file) in ("src/base/mutex.h", "src/base/queue.h"):
            continue
        for match in re.finditer(r"\b(?:Mutex|std::(?:recursive_|shared_|timed_)?mutex)\s+\w+\s*(;|\{[^}]*\}|\([^)]*\))",
                                 file.read_text()):
            if not re.search(r'"[a-z0-9_]+(\.[a-z0-9_]+)+"', match[0]):
                unseen.append(f"{relative(file)}: {match[0]}")
    assert not unseen, "no name and rank: " + "; ".join(unseen)


def test_locks_page_lists_every_mutex():
    listed = {}
    for line in (TOP / "docs" / "LOCKS.md").read_text().splitlines():
        match = re.match(r"\|\s*(\d+)\s*\|\s*`([^`]+)`\s*\|", line)
        if match:
            listed[match[2]] = int(match[1])
    declared = declared_mutexes()
    wrong = [f"{name} ({file}) has rank {rank}, the page says {listed.get(name)}"
             for name, (rank, file) in sorted(declared.items()) if listed.get(name) != rank]
    wrong += [f"{name} is on the page but nowhere in the code" for name in sorted(set(listed) - set(declared))]
    assert not wrong, "docs/LOCKS.md:\n" + "\n".join(wrong)


def test_every_verb_of_run_has_one_line_of_help():
    text = (TOP / "run").read_text()
    verbs = set(re.findall(r"^verb_(\w+)\(\)", text, re.MULTILINE))
    lines = subprocess.run([str(TOP / "run"), "help"], check=True, capture_output=True, text=True).stdout.splitlines()
    assert sorted(line.split()[1] for line in lines) == sorted(verbs)
    assert subprocess.run([str(TOP / "run"), "nonsense"], capture_output=True).returncode == 2


def test_package_list_gives_reasons():
    lines = [l for l in (TOP / "tools" / "packages.txt").read_text().splitlines()
             if l.strip() and not l.startswith("#")]
    assert all(len(line.split(None, 1)) == 2 for line in lines)
    assert len({line.split()[0] for line in lines}) == len(lines), "a package is listed twice"


def test_scripts_parse():
    for script in [TOP / "run", TOP / ".ci" / "run", *tree_files("tools/*.sh", "tests/*.sh")]:
        subprocess.run(["bash", "-n", str(script)], check=True)
    for file in tree_files("*.py"):
        compile(file.read_text(), str(file), "exec")


def test_every_dependency_has_a_line_in_architecture():
    """Libraries of tools/packages.txt and what the tests and the demo take from PyPI, each with its reason."""
    table = (TOP / "ARCHITECTURE.md").read_text().partition("## Dependencies")[2]
    rows = {name.strip() for line in table.splitlines() if line.startswith("| ")
            for name in re.sub(r"\([^)]*\)", "", line.split("|")[1]).split(",")}
    wanted = {line.split()[0] for line in (TOP / "tools" / "packages.txt").read_text().splitlines()
              if line and not line.startswith("#")}
    wanted = {name for name in wanted if name.endswith("-dev")}
    for file in [*TOP.glob("tests/**/requirements.txt"), *TOP.glob("tools/**/requirements.txt")]:
        wanted |= {line.partition("==")[0] for line in file.read_text().splitlines() if "==" in line}
    # What pytest brings with it.
    missing = wanted - rows - {"iniconfig", "packaging", "pluggy"}
    assert len(wanted) > 15 and not missing, f"not in ARCHITECTURE.md's table: {sorted(missing)}"
