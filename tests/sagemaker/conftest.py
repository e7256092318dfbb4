"""One server with a mount and an endpoint for the suite; clients know nothing but `tarn env`."""
import os
import pathlib
import shutil

import pytest

from aws_clients import environment_of, make_client, wait_for_job
from tarn_server import TARN, TarnServer, why_no_mount

TOP = pathlib.Path(__file__).resolve().parents[2]
GROUP = "/aws/sagemaker/TrainingJobs"
IMAGE = "registry.example/shell:1"


@pytest.fixture(scope="session")
def scratch():
    path = TOP / "var" / "test" / f"sagemaker-{os.getpid()}"
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path, ignore_errors=True)


class Cloud:
    """A server and its clients."""

    def __init__(self, server):
        self.server = server
        environment = environment_of(server)
        self.environment = environment
        self.s3, self.sagemaker, self.logs, self.sts, self.iam = (
            make_client(environment, name) for name in ("s3", "sagemaker", "logs", "sts", "iam"))

    def request(self, name, script="", **changes):
        """The smallest request; `script` is run by /bin/sh."""
        request = {
            "TrainingJobName": name,
            "RoleArn": "arn:aws:iam::000000000000:role/TarnRole",
            "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            "OutputDataConfig": {"S3OutputPath": "s3://work/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        }
        if script:
            request["AlgorithmSpecification"]["ContainerEntrypoint"] = ["/bin/sh", "-c", script]
        return {**request, **changes}

    def create(self, name, script="", **changes):
        return self.sagemaker.create_training_job(**self.request(name, script, **changes))

    def run(self, name, script="", **changes):
        self.create(name, script, **changes)
        return wait_for_job(self.sagemaker, name)

    def lines(self, name):
        """What the job printed, as log-following clients read it."""
        streams = self.logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=name + "/")
        assert "nextToken" not in streams
        messages = []
        for stream in streams["logStreams"]:
            token = {}
            while True:
                page = self.logs.get_log_events(logGroupName=GROUP, startFromHead=True,
                                                logStreamName=stream["logStreamName"], **token)
                messages += [event["message"] for event in page["events"]]
                if token.get("nextToken") == page["nextForwardToken"]:
                    break
                token = {"nextToken": page["nextForwardToken"]}
        return messages


def open_cloud(server):
    server.command("image", "map", "registry.example/shell*", "--python", "/usr/bin/python3")
    cloud = Cloud(server)
    cloud.s3.create_bucket(Bucket="work")
    for key in ("data/a.txt", "data/sub/b.txt"):
        cloud.s3.put_object(Bucket="work", Key=key, Body=key.encode())
    return cloud


ARGUMENTS = {"environment": {"TARN_JOBS_STOP_GRACE_S": "1"}}


@pytest.fixture(scope="session")
def cloud(scratch):
    if why_no_mount():
        pytest.skip(why_no_mount())
    assert TARN.exists(), f"{TARN} is not built"
    with TarnServer(scratch / "tarn", listen=True, **ARGUMENTS) as server:
        yield open_cloud(server)


@pytest.fixture
def own_cloud(scratch, request):
    """A server of the test's own, to be killed."""
    if why_no_mount():
        pytest.skip(why_no_mount())
    with TarnServer(scratch / request.node.name, listen=True, **ARGUMENTS) as server:
        yield open_cloud(server)
