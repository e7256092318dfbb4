"""A training job as an SDK makes it: job.py NAME CHANNEL_URI OUTPUT_URI PROGRAM HYPERPARAMETERS.

Says `ready` when its client is there, then creates the job and prints the job's log as it grows.
Endpoint and keys: AWS_* variables.
"""
import json
import sys
import time

import boto3
import botocore.config

GROUP = "/aws/sagemaker/TrainingJobs"
ROLE = "arn:aws:iam::123456789012:role/pipeline"
POLL_SECONDS = 0.01
CONFIG = botocore.config.Config(retries={"max_attempts": 1}, read_timeout=20)


class Log:
    """Prints what is new in the job's log."""

    def __init__(self, name):
        self.client, self.name, self.stream, self.token = boto3.client("logs", config=CONFIG), name, None, None

    def follow(self):
        if not self.stream:
            try:
                streams = self.client.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=self.name + "/")
            except self.client.exceptions.ResourceNotFoundException:
                return
            if not streams["logStreams"]:
                return
            self.stream = streams["logStreams"][0]["logStreamName"]
        while True:
            more = {"nextToken": self.token} if self.token else {}
            page = self.client.get_log_events(logGroupName=GROUP, logStreamName=self.stream, startFromHead=True, **more)
            for event in page["events"]:
                print(event["message"], flush=True)
            if page["nextForwardToken"] == self.token or not page["events"]:
                self.token = page["nextForwardToken"]
                return
            self.token = page["nextForwardToken"]


def job(name, channel, output, program, hyperparameters):
    name = f"{name}-{int(time.time() * 1000)}".replace("_", "-")
    client, log = boto3.client("sagemaker", config=CONFIG), Log(name)
    polls = 0
    print("ready", flush=True)
    client.create_training_job(
        TrainingJobName=name, RoleArn=ROLE,
        AlgorithmSpecification={"TrainingImage": "image-classification-pytorch-training:1", "TrainingInputMode": "FastFile",
                                "ContainerEntrypoint": [program], "ContainerArguments": ["train"]},
        HyperParameters=json.loads(hyperparameters),
        InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": {
            "S3DataType": "S3Prefix", "S3Uri": channel, "S3DataDistributionType": "FullyReplicated"}}}],
        OutputDataConfig={"S3OutputPath": output},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
        StoppingCondition={"MaxRuntimeInSeconds": 3600})
    while True:
        # The state before the log, so that an end is not seen before its last lines; until the first line the log alone.
        description = client.describe_training_job(TrainingJobName=name) if log.stream or polls % 20 == 0 else {}
        polls += 1
        log.follow()
        if description.get("TrainingJobStatus") in ("Completed", "Failed", "Stopped"):
            break
        time.sleep(POLL_SECONDS)
    if description["TrainingJobStatus"] != "Completed":
        raise SystemExit(f"{name}: {description['TrainingJobStatus']}: {description.get('FailureReason')}")


if __name__ == "__main__":
    job(*sys.argv[1:])
