"""Puts tests/lib on the path of every suite, and says what a machine lacks instead of failing."""
import os
import pathlib
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOP / "tests" / "lib"))


def pytest_configure(config):
    config.addinivalue_line("markers", "long: runs only with --long (TARN_LONG=1)")


def pytest_collection_modifyitems(config, items):
    if os.environ.get("TARN_LONG") != "1":
        skip = pytest.mark.skip(reason="long form: ./run test --long")
        for item in items:
            if "long" in item.keywords:
                item.add_marker(skip)
