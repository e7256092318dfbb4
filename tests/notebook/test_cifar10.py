"""An unmodified SageMaker SDK script trains on data that nobody copied."""
import io
import json
import os
import pathlib
import pickle
import random
import subprocess
import sys
import tarfile

import pytest

from aws_clients import environment_of, make_client

HERE = pathlib.Path(__file__).resolve().parent
PROFILE_PYTHON = "/usr/bin/python3"  # what *pytorch-training* is mapped to unless told otherwise
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@pytest.fixture(scope="session")
def data(server):
    """CIFAR-10's layout with 5 batches of 1,000 images whose classes differ in colour; pickled
    without numpy, so that the profile's interpreter needs nothing but torch."""
    folder = server.folder / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng = random.Random(7)
    for batch in range(1, 6):
        labels = [rng.randrange(10) for _ in range(1000)]
        rows = [bytes([20 * label + 8]) * 1024 + rng.randbytes(1024) + bytes([255 - 20 * label]) * 1024
                for label in labels]
        with open(folder / f"data_batch_{batch}", "wb") as file:
            pickle.dump({b"labels": labels, b"data": b"".join(rows)}, file, protocol=2)
    with open(folder / "batches.meta", "wb") as file:
        pickle.dump({b"label_names": [n.encode() for n in NAMES]}, file, protocol=2)
    return folder.parent


def run_notebook(server, data, name):
    environment = {**environment_of(server), "PATH": os.environ["PATH"], "HOME": str(server.folder)}
    return subprocess.run([sys.executable, str(HERE / "cifar10.py"), str(data), name], env=environment,
                          capture_output=True, text=True, timeout=300)


def test_the_notebook_trains_in_place(server, data):
    has_torch = subprocess.run([PROFILE_PYTHON, "-c", "import torch"], capture_output=True)
    if has_torch.returncode != 0:
        pytest.skip(f"{PROFILE_PYTHON} has no module torch: apt-get install python3-torch")
    run = run_notebook(server, data, "notebook-cifar10")
    assert run.returncode == 0, run.stdout + run.stderr
    result = json.loads(run.stdout.splitlines()[-1])
    assert result["status"] == "Completed"
    assert "samples 5000 loss" in run.stdout  # the job's own log, followed by fit
    assert "(4, 3, 32, 32)" in run.stdout
    report = json.loads(server.command("job", "show", result["job"], "--json").stdout)
    assert report["bytes_copied"] == 0 and report["channels"][0]["how"] == "overlay"
    bucket, key = result["model"][len("s3://"):].split("/", 1)
    s3 = make_client(environment_of(server), "s3")
    model = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(model)) as archive:
        assert archive.getnames() == ["model.pth"]


def test_a_profile_without_torch_is_named(server, data):
    """The same notebook when its image is mapped to an interpreter that lacks torch."""
    folder = server.folder / "bare"
    subprocess.run([PROFILE_PYTHON, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    server.command("image", "map", "*pytorch-training:2.1-cpu*", "--python", python)
    try:
        run = run_notebook(server, data, "notebook-no-torch")
        assert run.returncode != 0
        report = json.loads(server.command("job", "show", "notebook-no-torch", "--json").stdout)
        assert "has no module 'torch'" in report["failure_reason"]
        assert str(python) in report["failure_reason"] and "tarn image map" in report["failure_reason"]
    finally:
        server.command("image", "unmap", "*pytorch-training:2.1-cpu*")
