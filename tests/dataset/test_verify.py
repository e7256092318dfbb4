"""`tarn verify` against a manifest and without one: what it finds, and when."""
import hashlib
import io
import json
import os
import random
import subprocess
import tarfile

import pytest

from tarn_server import TARN, TarnServer, why_no_mount

FILES = {"blob": 3_000_000, "second-blob": 2_500_001, "packed": 30_000, "tiny": 40, "empty": 0}
MEMBERS = {"tree/large": 1_800_000, "tree/small": 5_000}


def content(name, size):
    return random.Random(name).randbytes(size)


@pytest.fixture
def server(tmp_path_factory, scratch):
    if why_no_mount():
        pytest.skip(why_no_mount())
    with TarnServer(scratch / f"verify-{os.urandom(4).hex()}") as server:
        (server.mnt / "d").mkdir()
        for name, size in FILES.items():
            (server.mnt / "d" / name).write_bytes(content(name, size))
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name, size in MEMBERS.items():
                member = tarfile.TarInfo(name)
                member.size = size
                tar.addfile(member, io.BytesIO(content(name, size)))
        (server.mnt / "d" / "a.tar").write_bytes(archive.getvalue())
        server.command("extract", server.mnt / "d" / "a.tar", server.mnt / "d")
        server.command("digest", "-r", server.mnt / "d")
        yield server


@pytest.fixture
def manifest(server):
    path = server.folder / "MANIFEST"
    path.write_text("".join(f"{hashlib.md5(content(name, size)).hexdigest()}  {name}\n"
                            for name, size in {**FILES, **MEMBERS}.items()))
    return path


def verify(server, *arguments):
    done = subprocess.run([str(TARN), "verify", str(server.mnt / "d"), "--root", str(server.root), "--json",
                           *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode == 0) == (not result["failures"]), done.stdout
    return result, {item["path"]: item["outcome"] for item in result["failures"]}


def flip(server, name):
    """Changes one byte of the file where the root keeps it, behind the program's back."""
    size = {**FILES, **MEMBERS}[name]
    needle = content(name, size)
    found = 0
    for folder in ("blobs", "packs"):
        for where, _, files in os.walk(server.root / folder):
            for file in files:
                path = os.path.join(where, file)
                with open(path, "r+b") as stored:
                    at = stored.read().find(needle)
                    if at >= 0:
                        stored.seek(at + size // 2)
                        stored.write(bytes([needle[size // 2] ^ 0x10]))
                        found += 1
    assert found == 1, f"{name} is stored {found} times"


@pytest.mark.parametrize("mode", [[], ["--reread"]])
def test_an_altered_manifest_fails(server, manifest, mode):
    result, failures = verify(server, "--manifest", manifest, *mode)
    assert failures == {} and result["checked"] == result["matched"] == 7
    lines = manifest.read_text().splitlines()
    lines[0] = lines[0].replace(lines[0][5], "0" if lines[0][5] != "0" else "1", 1)
    lines.append("d41d8cd98f00b204e9800998ecf8427e  not-there")
    manifest.write_text("\n".join(lines) + "\n")
    _, failures = verify(server, "--manifest", manifest, *mode)
    assert failures == {"blob": "differs", "not-there": "missing"}


@pytest.mark.parametrize("algorithm", ["sha256", "crc64nvme"])
def test_other_digests_are_read_again_too(server, algorithm):
    names = list(FILES)
    lines = server.command("digest", f"--{algorithm}", *[server.mnt / "d" / name for name in names]).stdout
    manifest = server.folder / "OTHER"
    manifest.write_text("".join(f"{line.split()[0]}  {name}\n" for line, name in zip(lines.splitlines(), names)))
    if algorithm == "sha256":
        assert manifest.read_text().split()[0] == hashlib.sha256(content("blob", FILES["blob"])).hexdigest()
    result, failures = verify(server, "--manifest", manifest, "--reread")
    assert failures == {} and result["matched"] == len(names)
    flip(server, "second-blob")
    assert verify(server, "--manifest", manifest, "--reread")[1] == {"second-blob": "damaged"}


@pytest.mark.parametrize("name", ["blob", "packed", "tree/large", "tree/small"])
def test_a_flipped_byte_is_found_at_once_by_reading_and_after_a_scrub_by_look_up(server, manifest, name):
    flip(server, name)
    assert verify(server, "--manifest", manifest)[1] == {}
    if name == "tree/large":
        # The archive's own bytes are the member's too.
        assert set(verify(server, "--reread")[1]) == {name, "a.tar"}
    else:
        assert verify(server, "--manifest", manifest, "--reread")[1] == {name: "damaged"}
    assert verify(server, "--manifest", manifest)[1] == {name: "damaged"}
    server.command("scrub", check=False)
    failures = verify(server, "--manifest", manifest)[1]
    # A scrub knows the MiB, and two members share it.
    assert failures[name] == "damaged" and set(failures) <= (set(MEMBERS) if name in MEMBERS else {name})


def test_a_scrub_alone_makes_the_look_up_fail(server, manifest):
    flip(server, "blob")
    assert verify(server, "--manifest", manifest)[1] == {}
    assert server.command("scrub", check=False).returncode == 1
    assert verify(server, "--manifest", manifest)[1] == {"blob": "damaged"}
    assert set(verify(server)[1]) == {"blob"}


def test_reading_again_without_a_manifest_says_when(server):
    done = server.command("verify", server.mnt / "d", "--reread")
    assert "8 of 8 files" in done.stdout and "last read back at 20" in done.stdout
    flip(server, "packed")
    assert set(verify(server, "--reread")[1]) == {"packed"}
