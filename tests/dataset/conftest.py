"""Data sets for the suite: the generated look-alike, and the real CIFAR-10 where TARN_CIFAR10 names it."""
import os
import pathlib
import shutil
import subprocess

import pytest

from tarn_server import TARN

TOP = pathlib.Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"  # the tests' own environment has no numpy


def tarn(*arguments, code=0):
    done = subprocess.run([str(TARN), *map(str, arguments)], capture_output=True, text=True, timeout=240)
    assert done.returncode == code, f"{arguments}: exit {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}"
    return done


@pytest.fixture(scope="session")
def scratch():
    path = TOP / "var" / "test" / f"dataset-{os.getpid()}"
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def numpy_python():
    if subprocess.run([PYTHON, "-c", "import numpy"], capture_output=True).returncode != 0:
        pytest.skip(f"no numpy for {PYTHON}")
    return PYTHON


@pytest.fixture(scope="session")
def generated(scratch):
    """A small look-alike: 500 images a batch, two copies of the training data."""
    tarn("dataset", "generate", scratch / "look-alike", "--images-per-batch", 500, "--augment", 2)
    return scratch / "look-alike"


@pytest.fixture(scope="session", params=["generated", "real"])
def cifar(request):
    """The folder above cifar-10-batches-py."""
    if request.param == "generated":
        return request.getfixturevalue("generated")
    real = os.environ.get("TARN_CIFAR10")
    if not real:
        pytest.skip("TARN_CIFAR10=DIR names no real CIFAR-10")
    path = pathlib.Path(real)
    return path.parent if path.name == "cifar-10-batches-py" else path
