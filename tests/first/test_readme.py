"""The README's first minutes, word for word: the commands are run, what they print is what stands there."""
import pathlib
import re
import subprocess
import sys
import threading

import pytest

from tarn_server import TARN, TOP, free_port, unmount_lazily

README = (TOP / "README.md").read_text()
BIN = pathlib.Path(sys.executable).parent
MARK = "--- end of what it printed"
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z (debug|info|warning|error) ")


def blocks():
    return [block for block in re.findall(r"^```\n(.*?)^```$", README, re.M | re.S) if block.startswith("$ ")]


def steps(block):
    """[(command, lines it prints)]"""
    found = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def comparable(line):
    """Without what differs from one run to the next."""
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", line.rstrip())


@pytest.mark.timeout(200)
def test_first_minutes(outside, as_root):
    serve, session = blocks()
    assert "tarn serve" in serve and session.startswith("$ eval $(tarn env")
    names = {"/srv/tarn": str(outside / "tarn"), "/mnt/tarn": str(outside / "mnt"),
             "127.0.0.1:8333": f"127.0.0.1:{free_port()}"}

    def here(text):
        for there, ours in names.items():
            text = text.replace(there, ours)
        return text

    tools = outside / "bin"
    tools.mkdir()
    (tools / "tarn").symlink_to(TARN)
    environment = {"PATH": f"{tools}:{BIN}:/usr/bin:/bin", "HOME": str(outside), "LC_ALL": "C.UTF-8"}
    [(command, wanted)] = steps(here(serve))
    server = subprocess.Popen(["sh", "-c", f"exec {command}"], cwd=outside, env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
    try:
        said = []
        is_ready = threading.Event()

        def read():
            for line in server.stdout:
                said.append(line.rstrip())
                if line.startswith("tarn is ready"):
                    is_ready.set()
            is_ready.set()

        threading.Thread(target=read, daemon=True).start()
        assert is_ready.wait(60) and server.poll() is None, said
        assert [line for line in said if not LOG_LINE.match(line)] == wanted

        shell = subprocess.Popen(["bash"], cwd=outside, env=environment, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command, wanted in steps(here(session)):
            shell.stdin.write(f"{command}\necho '{MARK}'\n")
            shell.stdin.flush()
            printed = []
            while (line := shell.stdout.readline()) and MARK not in line:
                # Progress, which a terminal shows and takes back.
                if not line.startswith("Completed "):
                    printed.append(line)
            assert [comparable(each) for each in printed] == [comparable(each) for each in wanted], command
        shell.stdin.close()
        assert shell.wait(20) == 0
        server.terminate()
        assert server.wait(60) == 0
    finally:
        server.kill()
        server.wait()
        unmount_lazily(outside / "mnt")


def test_install_lines_are_what_the_tree_has():
    """The install block names a verb of ./run, the program it leaves, and a client of the requirements."""
    install = README.partition("```\n")[2].partition("```")[0]
    assert "./run build && install out/tarn /usr/local/bin/tarn" in install
    assert "pip install awscli" in install
    assert re.search(r"^awscli==", (TOP / "tests" / "first" / "requirements.txt").read_text(), re.M)
    packages = {line.split()[0] for line in (TOP / "tools" / "packages.txt").read_text().splitlines()
                if line and not line.startswith("#")}
    assert {"fuse3", "python3-venv"} <= packages
    help_text = subprocess.run([str(TOP / "run"), "help"], capture_output=True, text=True).stdout
    for verb in re.findall(r"\./run (\w+)", README):
        assert f"./run {verb}" in help_text, verb


def test_every_row_of_the_table_names_a_test():
    table = README.partition("### What you meet on your machine")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 9
    for row in rows:
        names = re.findall(r"`([^`]+)`", row.rstrip("| ").rpartition(" | ")[2])
        assert names, row
        for name in names:
            file, _, function = name.rpartition("::")
            path = TOP / "tests" / (file or "first/test_first_minutes.py")
            assert f"def {function}(" in path.read_text(), name
