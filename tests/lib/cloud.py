"""A server's clients for training jobs, and the smallest request for one."""
from aws_clients import environment_of, make_client, wait_for_job

GROUP = "/aws/sagemaker/TrainingJobs"
IMAGE = "registry.example/shell:1"


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
            "OutputDataConfig": {"S3OutputPath": "s3://research/out"},
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
    cloud.s3.create_bucket(Bucket="research")
    for key in ("data/a.txt", "data/sub/b.txt"):
        cloud.s3.put_object(Bucket="research", Key=key, Body=key.encode())
    return cloud
