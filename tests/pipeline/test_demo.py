"""`./run demo` in its smallest form: the report has every row of every way, and what must agree agrees."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tarn_server import TARN, why_no_mount

TOP = pathlib.Path(__file__).resolve().parents[2]
DEMO = TOP / "var" / "demo"
ROWS = {"ingest", "download", "integrity", "extract", "verify", "pickled", "meta", "preview", "upload", "job_start",
        "train"}
WAYS = {"copy", "copy_fast", "in_place_tools", "in_place_reread", "in_place_stored", "again"}
IN_PLACE = WAYS - {"copy", "copy_fast"}


# The environment from PyPI and the program of algorithms/ are made by the first run.
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    if why_no_mount():
        pytest.skip(why_no_mount())
    made = tmp_path_factory.mktemp("data")
    kept = None
    if (DEMO / "report.json").exists():
        # The user's own report outlives the test.
        kept = DEMO.parent / "demo.kept"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(DEMO, kept)
    environment = {**os.environ, "TARN_BINARY": str(TARN)}
    # Large enough that the shaped link takes longer than a client's start.
    subprocess.run([str(TARN), "dataset", "generate", str(made), "--images-per-batch", "3000", "--archive", "gz"],
                   check=True, capture_output=True)
    command = [sys.executable, str(TOP / "tools" / "demo.py"), "--dataset", str(made / "cifar-10-python.tar.gz"),
               "--cache", "left", "--archive", ".tar.gz", "--archive", ".tar", "--train-images", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        output, _ = process.communicate()
        assert process.returncode == 0, output
        found = {path.name: path.read_bytes() for path in DEMO.iterdir() if path.is_file()}
    finally:
        # Also when the time is up: at SIGTERM the demo takes its servers and its network away.
        process.terminate()
        process.wait()
        shutil.rmtree(made, ignore_errors=True)
        if kept:
            shutil.rmtree(DEMO, ignore_errors=True)
            shutil.move(kept, DEMO)
    return {**json.loads(found["report.json"]), "found": found}


@pytest.fixture(params=[".tar.gz", ".tar"])
def table(report, request):
    tables = [each for each in report["tables"] if each["archive"] == request.param]
    assert len(tables) == 1
    return tables[0]


def test_the_report_says_where_and_on_what(report):
    assert report["machine"]["cores"] == os.cpu_count()
    assert report["machine"]["kernel"] == os.uname().release
    data = report["dataset"]
    assert data["files"] == 7
    assert data["bytes"] > 6 * 3000 * 3073
    assert 0 < data["archive_bytes"] < data["bytes"]
    assert report["runs"] == 1
    assert report["settings"]["train_images"] == 1000
    assert report["settings"]["epochs"] == 1
    assert report["flags"] == []


def test_every_way_has_every_row(report, table):
    assert set(table["ways"]) == WAYS
    for name, rows in table["ways"].items():
        assert set(rows) == ROWS, name
        assert all(isinstance(seconds, float) and seconds > 0 for seconds in rows.values()), (name, rows)
    assert set(table["floors"]) == ROWS
    assert all(seconds >= 0 for seconds in table["floors"].values())
    assert set(table["commands"]["copy"]) == ROWS


def test_sums_and_losses_agree(table):
    assert set(table["loss"]) == WAYS and set(table["sum"]) == WAYS
    assert len(set(table["loss"].values())) == 1, table["loss"]
    assert len(set(table["sum"].values())) == 1, table["sum"]
    assert next(iter(table["sum"].values())) > 0


def test_bytes_are_counted(report, table):
    size = report["dataset"]["archives"][table["archive"]]
    unpacked = report["dataset"]["bytes"]
    is_compressed = table["archive"] == ".tar.gz"
    for way in ("copy", "copy_fast"):
        # The download, the members, and the bucket.
        assert table["bytes_copied"][way] == size + 2 * unpacked
    for way in IN_PLACE - {"again"}:
        assert table["bytes_copied"][way] == (unpacked if is_compressed else 0)
    assert table["bytes_copied"]["again"] == table["bytes_decompressed"]["again"] == 0
    for way in WAYS - {"again"}:
        assert (table["bytes_decompressed"][way] >= unpacked) == is_compressed


def test_the_link_is_shaped(report, table):
    assert table["link"] == "2 Gbit/s"
    # Whatever the machine, its archive cannot come faster than the link carries it.
    assert table["ways"]["copy"]["download"] >= report["dataset"]["archives"][table["archive"]] * 8 / 2e9 * 0.9


def test_nothing_is_left_out(report):
    assert report["missing"] == []


def test_what_misses_its_aim_says_what_bounded_it(report):
    for line in report["below_aim"]:
        assert any(word in line for word in ("bounded by", "too short")), line


def test_the_other_reports(report):
    text, page = report["found"]["report.txt"].decode(), report["found"]["report.html"].decode()
    for name in WAYS | ROWS:
        assert name in text and name in page
    assert "<svg" in page and "data:image/png;base64," in page
    assert "src=\"http" not in page and "<script" not in page and "<link" not in page
    assert report["found"]["preview.png"].startswith(b"\x89PNG")


def test_nothing_is_left(report):
    assert b"tarn-pipeline" not in subprocess.run(["ip", "netns", "list"], capture_output=True).stdout
    assert not set(p.name for p in DEMO.glob("*")) & {"local", "origin", "buckets", "source", "tarn"}
