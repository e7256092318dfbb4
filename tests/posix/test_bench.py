"""The benchmarks run, and leave figures of the promised form. Their speeds are not judged here."""
import json
import pathlib
import subprocess

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name, figures", [
    ("mount", ["read_warm_sequential_1m", "read_warm_mmap", "read_warm_random_4k", "read_cold_sequential_1m",
               "resident_memory"]),
    ("small", ["create", "create_transactions", "create_row_writes", "create_wal_bytes", "find_warm", "stat_cold",
               "readall_warm", "readall_cold", "resident_memory"])])
def test_quick_benchmark(server, outside, name, figures):
    run = subprocess.run(["/usr/bin/python3", str(TOP / "bench" / f"{name}.py"), "--quick", "--pairs", "1", "--on",
                          str(outside)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    found = json.loads((outside / f"{name}.quick.json").read_text())
    for figure in figures:
        row = found[figure]
        assert {"ours", "theirs", "ratio", "unit", "pairs"} <= set(row)
        assert row["ours"] > 0
        if row["theirs"] is not None:
            assert row["ratio"] == pytest.approx(row["ours"] / row["theirs"])
