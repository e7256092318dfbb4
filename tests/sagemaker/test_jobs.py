"""The life of training jobs through boto3, and what ends them."""
import io
import json
import os
import tarfile
import time

import pytest
from botocore.exceptions import ClientError

from aws_clients import wait_for_job
from cloud import GROUP, Cloud, open_cloud
from tarn_server import TarnServer, descendants, processes, why_no_mount


def channel(name="train", uri="s3://research/data", **changes):
    return {"ChannelName": name, "DataSource": {"S3DataSource": {
        "S3DataType": "S3Prefix", "S3Uri": uri}}, **changes}


def wait_for_line(cloud, name, text, seconds=30):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if text in cloud.lines(name):
                return
        except ClientError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"{name} never printed {text!r}")


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def command_lines():
    return [command_line(pid) for pid in processes()]


def test_a_job_lives_and_leaves_its_model(cloud):
    made = cloud.create("life", "cat /opt/ml/input/data/train/a.txt; echo; echo note > "
                        "/opt/ml/input/data/train/note; echo weights > /opt/ml/model/weights",
                        InputDataConfig=[channel()], HyperParameters={"epochs": "2"},
                        Tags=[{"Key": "team", "Value": "vision"}])
    assert made["TrainingJobArn"].endswith(":training-job/life")
    job = wait_for_job(cloud.sagemaker, "life")
    assert job["TrainingJobStatus"] == "Completed", job
    assert [t["Status"] for t in job["SecondaryStatusTransitions"]] == [
        "Starting", "Training", "Uploading", "Completed"]
    assert all("StatusMessage" in t for t in job["SecondaryStatusTransitions"])
    assert job["HyperParameters"] == {"epochs": "2"}
    assert job["OutputDataConfig"]["KmsKeyId"] == "" and job["BillableTimeInSeconds"] >= 1
    assert cloud.lines("life") == ["data/a.txt"]
    uri = job["ModelArtifacts"]["S3ModelArtifacts"]
    assert uri == "s3://research/out/life/output/model.tar.gz"
    body = cloud.s3.get_object(Bucket="research", Key="out/life/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        assert [m.name for m in archive] == ["weights"]
        assert archive.extractfile("weights").read() == b"weights\n"
    # The job wrote beside its input; the bucket has nothing of it.
    assert not (cloud.server.mnt / "research" / "data" / "note").exists()
    assert cloud.sagemaker.list_tags(ResourceArn=made["TrainingJobArn"])["Tags"] == [
        {"Key": "team", "Value": "vision"}]
    report = json.loads(cloud.server.command("job", "show", "life", "--json").stdout)
    assert report["bytes_copied"] == 0 and report["channels"][0]["how"] == "overlay"
    assert set(report["stages"]) >= {"prepare", "inputs", "script", "train", "upload"}
    with pytest.raises(ClientError, match="already exists"):
        cloud.create("life", "true")


def test_every_kind_of_channel_is_in_place(cloud):
    lustre = {"ChannelName": "disk", "DataSource": {"FileSystemDataSource": {
        "FileSystemId": "fs-0123456789abcdef0", "FileSystemType": "FSxLustre",
        "DirectoryPath": "/research/shared", "FileSystemAccessMode": "rw"}}}
    cloud.s3.put_object(Bucket="research", Key="shared/x", Body=b"x")
    job = cloud.run("channels", "cd /opt/ml/input/data; ls one fast disk; touch fast/y || echo ro; "
                    "echo new > disk/new; cat /opt/ml/input/config/inputdataconfig.json",
                    InputDataConfig=[channel("one", "s3://research/data/a"),
                                     channel("fast", InputMode="FastFile", ContentType="text/plain"),
                                     lustre])
    assert job["TrainingJobStatus"] == "Completed", job
    lines = cloud.lines("channels")
    assert "ro" in lines and "a.txt" in lines
    config = json.loads(lines[-1])
    assert config["fast"] == {"ContentType": "text/plain", "RecordWrapperType": "None",
                              "S3DistributionType": "FullyReplicated", "TrainingInputMode": "FastFile"}
    assert cloud.s3.get_object(Bucket="research", Key="shared/new")["Body"].read() == b"new\n"
    report = json.loads(cloud.server.command("job", "show", "channels", "--json").stdout)
    assert report["bytes_copied"] == 0


def test_a_script_is_run_as_the_toolkit_runs_it(cloud):
    packed = io.BytesIO()
    script = b"""
import argparse, boto_free, json, os, urllib.request
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
parser.add_argument("--name")
args = parser.parse_args()
print(args.epochs + 1, args.name, os.environ["SM_CHANNEL_TRAIN"], boto_free.VALUE)
print(urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL_S3"] + "/_tarn/health").status)
print("AWS_SECRET_ACCESS_KEY" in os.environ and bool(os.environ["AWS_SECRET_ACCESS_KEY"]))
"""
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, body in (("train.py", script), ("boto_free.py", b"VALUE = 7\n")):
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    cloud.s3.put_object(Bucket="research", Key="s/sourcedir.tar.gz", Body=packed.getvalue())
    job = cloud.run("script", InputDataConfig=[channel()], HyperParameters={
        "epochs": "2", "name": '"a b"', "sagemaker_program": '"train.py"',
        "sagemaker_submit_directory": '"s3://research/s/sourcedir.tar.gz"'})
    assert job["TrainingJobStatus"] == "Completed", (job, cloud.lines("script"))
    assert cloud.lines("script") == ["3 a b /opt/ml/input/data/train 7", "200", "True"]


def test_failures_say_why(cloud):
    said = cloud.run("said", "printf 'no such column' > /opt/ml/output/failure; exit 4")
    assert said["TrainingJobStatus"] == "Failed" and said["FailureReason"] == "no such column"
    crashed = cloud.run("crashed", "echo on the way; kill -ABRT $$")
    assert "signal 6" in crashed["FailureReason"]
    raised = cloud.run("raised", "exec /usr/bin/python3 -c 'import json; json.loads(\"{\")'")
    assert "json.decoder.JSONDecodeError" in raised["FailureReason"] and "exit code: 1" in raised["FailureReason"]
    lost = cloud.run("lost", "true", InputDataConfig=[channel(uri="s3://research/nothing/here")])
    assert "s3://research/nothing/here" in lost["FailureReason"]
    image = cloud.request("image", "true")
    image["AlgorithmSpecification"]["TrainingImage"] = "nobody/knows:1"
    cloud.sagemaker.create_training_job(**image)
    reason = wait_for_job(cloud.sagemaker, "image")["FailureReason"]
    assert "nobody/knows:1" in reason and "tarn image map" in reason
    no_program = cloud.run("no-program")
    assert "sagemaker_program" in no_program["FailureReason"]


def test_a_script_that_is_killed_from_outside(cloud):
    """kill -9, as the kernel does when memory runs out: of the program, and of all that belongs to the job."""
    mark = f"sleep 77{os.getpid()}"
    for name, pattern in (("killed", mark), ("killed-all", "job-launch")):
        cloud.create(name, f"echo ready; exec {mark}")
        wait_for_line(cloud, name, "ready")
        deadline = time.monotonic() + 10
        while not (victims := [pid for pid in descendants(cloud.server.process.pid) if pattern in command_line(pid)]):
            assert time.monotonic() < deadline, name
        for pid in victims:
            os.kill(pid, 9)
        job = wait_for_job(cloud.sagemaker, name)
        assert job["TrainingJobStatus"] == "Failed"
        wanted = "signal 9" if name == "killed" else "killed from outside"
        assert wanted in job["FailureReason"], job["FailureReason"]
        assert not [c for c in command_lines() if c.startswith(mark)]


def test_a_job_that_is_stopped_keeps_its_model(cloud):
    cloud.create("stopped", "trap 'echo bye; echo w > /opt/ml/model/w; exit 0' TERM; echo ready; "
                 "while :; do sleep 0.05; done")
    wait_for_line(cloud, "stopped", "ready")
    cloud.sagemaker.stop_training_job(TrainingJobName="stopped")
    job = wait_for_job(cloud.sagemaker, "stopped")
    assert job["TrainingJobStatus"] == "Stopped" and "bye" in cloud.lines("stopped")
    assert cloud.s3.head_object(Bucket="research", Key="out/stopped/output/model.tar.gz")
    with pytest.raises(ClientError, match="is in status Stopped"):
        cloud.sagemaker.stop_training_job(TrainingJobName="stopped")


def test_a_job_that_ignores_the_end_is_killed(cloud):
    job = cloud.run("deaf", "trap '' TERM; sleep 4321 & while :; do sleep 0.05; done",
                    StoppingCondition={"MaxRuntimeInSeconds": 1})
    assert job["SecondaryStatus"] == "MaxRuntimeExceeded"
    assert not [c for c in command_lines() if c.startswith("sleep 4321")]


def test_logs_can_be_followed(cloud):
    cloud.create("chatty", "for i in 1 2 3 4 5; do echo line $i; sleep 0.2; done")
    seen = []
    deadline = time.monotonic() + 30
    while len(seen) < 5 and time.monotonic() < deadline:
        try:
            seen = cloud.lines("chatty")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "ResourceNotFoundException"
        time.sleep(0.05)
    assert seen == [f"line {i}" for i in range(1, 6)]
    found = cloud.logs.filter_log_events(logGroupName=GROUP, logStreamNamePrefix="chatty/",
                                         filterPattern="\"line 3\"")
    assert [e["message"] for e in found["events"]] == ["line 3"] and "nextToken" not in found
    with pytest.raises(ClientError, match="log group does not exist"):
        cloud.logs.describe_log_streams(logGroupName="/aws/none")


def test_what_is_wrong_or_missing_is_named(cloud):
    with pytest.raises(ClientError, match="CreateNotebookInstance") as unknown:
        cloud.sagemaker.create_notebook_instance(
            NotebookInstanceName="n", InstanceType="ml.t3.medium", RoleArn="arn:aws:iam::0:role/Role")
    assert unknown.value.response["Error"]["Code"] == "UnknownOperationException"
    with pytest.raises(ClientError, match="not found") as missing:
        cloud.sagemaker.describe_training_job(TrainingJobName="none")
    assert missing.value.response["Error"]["Code"] == "ValidationException"
    with pytest.raises(ClientError, match="Pipe"):
        cloud.create("pipe", "true", InputDataConfig=[channel(InputMode="Pipe")])
    assert cloud.sts.get_caller_identity()["Arn"].startswith("arn:aws:sts::000000000000:assumed-role/")
    with pytest.raises(ClientError, match="AccessDenied"):
        cloud.iam.get_role(RoleName="TarnRole")


def test_lists_are_paged(cloud):
    for name in ("list-a", "list-b", "list-c"):
        cloud.run(name, "true")
    pages = cloud.sagemaker.get_paginator("list_training_jobs").paginate(
        NameContains="list-", SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2})
    names = [job["TrainingJobName"] for page in pages for job in page["TrainingJobSummaries"]]
    assert names == ["list-a", "list-b", "list-c"]


@pytest.mark.parametrize("victim", ["worker", "program"])
def test_a_job_does_not_outlive_tarn(own_cloud, victim):
    server = own_cloud.server
    mark = f"sleep 98{os.getpid()}{len(victim)}"
    own_cloud.create("orphan", f"echo ready; {mark}")
    wait_for_line(own_cloud, "orphan", "ready")
    if victim == "worker":
        server.wait_for_new_worker(server.kill_worker())
        server.wait_until_it_answers()
    else:
        server.kill_all()
        server.start()
    deadline = time.monotonic() + 20
    while [c for c in command_lines() if c.startswith(mark)] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [c for c in command_lines() if c.startswith(mark)]
    job = wait_for_job(Cloud(server).sagemaker, "orphan")
    assert job["TrainingJobStatus"] == "Failed"
    assert "worker ended while the job was Training" in job["FailureReason"]
    assert not any((server.root / "jobs").iterdir())
    assert Cloud(server).run("next", "true")["TrainingJobStatus"] == "Completed"


PHASES = {"Downloading": False, "Training": True, "Uploading": True}  # and whether Tarn has a mount


@pytest.mark.timeout(200)
@pytest.mark.parametrize("victim", ["worker", "program"])
@pytest.mark.parametrize("phase", PHASES)
def test_killed_in_the_middle_of_each_phase(scratch, phase, victim):
    """The job is Failed and leaves no half of a model; nothing that was acknowledged is missing."""
    if why_no_mount():
        pytest.skip(why_no_mount())
    with TarnServer(scratch / f"{phase}-{victim}", listen=True, mount=PHASES[phase]) as server:
        cloud = open_cloud(server)
        assert cloud.run("earlier", "echo weights > /opt/ml/model/w")["TrainingJobStatus"] == "Completed"
        data = os.urandom(60_000_000)
        cloud.s3.put_object(Bucket="research", Key="data/large", Body=data)
        cloud.create("hit", "cp /opt/ml/input/data/train/large /opt/ml/model/w; sleep 0.5", InputDataConfig=[channel()])
        deadline = time.monotonic() + 60
        while (now := cloud.sagemaker.describe_training_job(TrainingJobName="hit")["SecondaryStatus"]) != phase:
            assert now in ("Starting", *PHASES), f"{phase} was never seen, now {now}"
            assert time.monotonic() < deadline
        if victim == "worker":
            server.wait_for_new_worker(server.kill_worker())
            server.wait_until_it_answers()
        else:
            server.kill_all()
            server.start()
        cloud = Cloud(server)
        job = wait_for_job(cloud.sagemaker, "hit")
        assert job["TrainingJobStatus"] == "Failed" and "worker ended while the job was" in job["FailureReason"], job
        assert not any((server.root / "jobs").iterdir())
        assert cloud.sagemaker.describe_training_job(TrainingJobName="earlier")["TrainingJobStatus"] == "Completed"
        assert cloud.s3.get_object(Bucket="research", Key="data/large")["Body"].read() == data
        listed = {o["Key"] for o in cloud.s3.list_objects_v2(Bucket="research")["Contents"]}
        assert listed == {"out/earlier/output/model.tar.gz", "data/a.txt", "data/sub/b.txt", "data/large"}
        again = cloud.run("again", "wc -c < /opt/ml/input/data/train/large", InputDataConfig=[channel()])
        assert again["TrainingJobStatus"] == "Completed" and cloud.lines("again") == [str(len(data))]
        assert server.command("fsck", check=False).returncode == 0


def test_without_a_mount_channels_are_copied_and_counted(scratch):
    with TarnServer(scratch / "bare", mount=False, listen=True) as server:
        cloud = open_cloud(server)
        job = cloud.run("bare", "cat /opt/ml/input/data/train/sub/b.txt", InputDataConfig=[channel()])
        assert job["TrainingJobStatus"] == "Completed", job
        assert "Downloading" in [t["Status"] for t in job["SecondaryStatusTransitions"]]
        report = json.loads(server.command("job", "show", "bare", "--json").stdout)
        assert report["bytes_copied"] == len("data/a.txt") + len("data/sub/b.txt")
        assert "no mount" in report["notes"][0]
