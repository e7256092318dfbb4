"""AWS clients pointed at a running Tarn by `tarn env` and nothing else."""
import os
import subprocess
import time

from tarn_server import TARN


def environment_of(server):
    """The variables that `eval $(tarn env)` leaves in a shell without any others of AWS."""
    script = 'eval $("$TARN" env); env -0'
    shell = subprocess.run(["sh", "-c", script], capture_output=True,
                           env={"PATH": os.environ["PATH"], "TARN": str(TARN),
                                "TARN_ROOT": str(server.root)})
    assert shell.returncode == 0 and not shell.stderr, shell.stderr.decode()
    found = dict(item.split("=", 1) for item in shell.stdout.decode().split("\0") if item)
    return {**found, "HOME": str(server.folder), "LC_ALL": "C.UTF-8"}


def make_client(environment, service):
    """A boto3 client as a program under `environment` has it."""
    import boto3
    from botocore.config import Config
    saved = dict(os.environ)
    os.environ.clear()
    os.environ.update(environment)
    try:
        return boto3.session.Session().client(service, config=Config(retries={"max_attempts": 2}))
    finally:
        os.environ.clear()
        os.environ.update(saved)


def wait_for_job(sagemaker, name, seconds=60):
    """The description of the job once it has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job = sagemaker.describe_training_job(TrainingJobName=name)
        if job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"job {name} did not end in {seconds} s: {job['SecondaryStatus']}")
