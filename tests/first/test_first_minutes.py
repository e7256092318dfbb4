"""The table in the README, row by row: what works on which machine, and what is said where it does not."""
import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import pytest
from botocore.exceptions import ClientError

from cloud import Cloud, open_cloud
from conftest import USER
from disks import LoopDisk
from machines import WITHOUT_FUSE, Machine, with_fuse, without_program
from places import skip_without_loop_devices
from tarn_server import TARN, ServeFailed, TarnServer, free_port, is_mounted

pytestmark = [pytest.mark.timeout(240), pytest.mark.usefixtures("as_root")]
TRAIN = [{"ChannelName": "train", "DataSource": {"S3DataSource": {
    "S3DataType": "S3Prefix", "S3Uri": "s3://research/data"}}}]


def serve(*arguments, prefix=()):
    """A `tarn serve` that is expected to end by itself."""
    return subprocess.run([*prefix, str(TARN), "serve", *map(str, arguments)], capture_output=True, text=True,
                          timeout=60)


def show(server, name):
    return json.loads(server.command("job", "show", name, "--json").stdout)


def findings(server):
    """doctor's checks by name."""
    run = server.command("doctor", str(server.root), "--json", check=False)
    return {check["name"]: check for check in json.loads(run.stdout)}


# --- who serves

def test_root(outside):
    """Everything: passthrough, a mount that all users share, a job of the key's user in namespaces."""
    with TarnServer(outside / "tarn", listen=True) as server:
        mount = server.status()["mount"]
        assert mount["state"] == "mounted"
        assert mount["passthrough"]["state"] == "on" and mount["shared"]["state"] == "on", mount
        cloud = open_cloud(server)
        job = cloud.run("first", "cat /opt/ml/input/data/train/a.txt; echo w > /opt/ml/model/w", InputDataConfig=TRAIN)
        assert job["TrainingJobStatus"] == "Completed", job
        assert cloud.lines("first") == ["data/a.txt"]
        assert show(server, "first")["bytes_copied"] == 0
        assert not any((server.root / "jobs").iterdir())


def test_an_ordinary_user(outside, home):
    """fusermount3 mounts, every byte is served by Tarn, a job runs in a user namespace, in place."""
    with Machine(with_fuse("666"), uid=USER, folder=outside / "machine") as machine, \
            TarnServer(home, listen=True, prefix=machine.prefix) as server:
        status = server.status()
        assert status["processes"]["user"] == "ordinary user" and status["processes"]["uid"] == USER
        mount = status["mount"]
        assert mount["state"] == "mounted"
        assert mount["passthrough"]["state"] == "off" and "root" in mount["passthrough"]["change"], mount
        is_shared = "user_allow_other" in [line.strip() for line in open("/etc/fuse.conf")]
        assert mount["shared"]["state"] == ("on" if is_shared else "off"), mount
        assert is_shared or "user_allow_other" in mount["shared"]["change"], mount

        cloud = open_cloud(server)
        assert machine.run("cat", server.mnt / "research" / "data" / "a.txt").stdout == "data/a.txt"
        # 10 MB from the mount to S3 and back, over a worker that dies.
        machine.run("dd", "if=/dev/urandom", f"of={server.mnt}/research/big", "bs=1M", "count=10", check=True)
        body = cloud.s3.get_object(Bucket="research", Key="big")["Body"].read()
        server.wait_for_new_worker(server.kill_worker())
        server.wait_until_it_answers()
        cloud = Cloud(server)
        copy = machine.run("cmp", server.mnt / "research" / "big", "-", input=body.decode("latin-1"),
                           encoding="latin-1")
        assert len(body) == 10 << 20 and copy.returncode == 0, copy.stderr

        job = cloud.run("first", "id -u; readlink /proc/self/ns/user; cat /opt/ml/input/data/train/a.txt; echo; "
                        "echo mine > /opt/ml/input/data/train/mine; touch /etc/mine || echo no; "
                        f"ls {server.root} || echo hidden; echo w > /opt/ml/model/w", InputDataConfig=TRAIN)
        assert job["TrainingJobStatus"] == "Completed", job
        lines = [line for line in cloud.lines("first") if "annot" not in line]
        assert lines[0] == str(USER) and lines[2:] == ["data/a.txt", "no", "hidden"], lines
        assert lines[1] != os.readlink(f"/proc/{server.worker_pid()}/ns/user"), "not in a user namespace"
        report = show(server, "first")
        assert report["bytes_copied"] == 0 and report["channels"][0]["how"] == "overlay", report
        assert not any((server.root / "jobs").iterdir()), f"scratch is left: {server.tail()}"
        assert cloud.s3.head_object(Bucket="research", Key="out/first/output/model.tar.gz")
        assert machine.run("ls", server.mnt / "research" / "data").stdout.split() == ["a.txt", "sub"]
        assert server.stop() == 0
        assert not machine.run("ls", "-A", server.mnt).stdout


def test_an_ordinary_user_who_may_not_open_the_device(outside, home):
    with Machine(with_fuse("600"), uid=USER, folder=outside / "machine") as machine:
        run = serve(home / "root", "--mount", home / "mnt", prefix=machine.prefix)
        assert run.returncode == 1 and "chmod 666 /dev/fuse" in run.stderr and "Without --mount" in run.stderr, run.stderr
        without_a_mount(TarnServer(home, mount=False, listen=True, prefix=machine.prefix), "may not be opened")


def test_no_fuse(outside):
    """S3 and jobs work; channels are copied, and every report says so."""
    with Machine(WITHOUT_FUSE, folder=outside / "machine") as machine:
        (outside / "tarn" / "mnt").mkdir(parents=True)
        run = serve(outside / "tarn" / "root", "--mount", outside / "tarn" / "mnt", prefix=machine.prefix)
        assert run.returncode == 1 and "/dev/fuse" in run.stderr, run.stderr
        assert "Without --mount, S3 and jobs work; the channels of jobs are then copied" in run.stderr, run.stderr
        without_a_mount(TarnServer(outside / "tarn", mount=False, listen=True, prefix=machine.prefix), "is not there")


def without_a_mount(server, why):
    with server:
        mount = server.status()["mount"]
        assert mount["state"] == "none asked for" and mount["channels"]["state"] == "copied", mount
        assert "tarn doctor" in mount["channels"]["change"], mount
        device = findings(server)["/dev/fuse"]
        assert device["finding"] == "missing" and why in device["detail"] and device["mend"], device
        assert "channels are copied" in device["detail"]
        cloud = open_cloud(server)
        job = cloud.run("copied", "cat /opt/ml/input/data/train/sub/b.txt; echo w > /opt/ml/model/w", InputDataConfig=TRAIN)
        assert job["TrainingJobStatus"] == "Completed", job
        assert cloud.lines("copied") == ["data/sub/b.txt"]
        messages = {t["Status"]: t["StatusMessage"] for t in job["SecondaryStatusTransitions"]}
        assert "Tarn has no mount" in messages["Downloading"], messages
        report = show(server, "copied")
        assert report["channels"][0]["how"] == "copy"
        assert report["bytes_copied"] == len("data/a.txt") + len("data/sub/b.txt")
        text = server.command("job", "show", "copied").stdout
        assert "channel 'train' was copied because Tarn has no mount" in text, text
        assert cloud.s3.get_object(Bucket="research", Key="data/a.txt")["Body"].read() == b"data/a.txt"
        assert cloud.s3.head_object(Bucket="research", Key="out/copied/output/model.tar.gz")
        assert not any((server.root / "jobs").iterdir())


def test_no_docker(outside):
    """Jobs are processes of this machine; an image that none stands for is named, with what to do."""
    with Machine(without_program("docker"), folder=outside / "machine") as machine, \
            TarnServer(outside / "tarn", listen=True, prefix=machine.prefix) as server:
        docker = findings(server)["docker"]
        assert docker["finding"] == "good" and docker["detail"].startswith("is not installed; not used"), docker
        cloud = open_cloud(server)
        assert cloud.run("mapped", "true")["TrainingJobStatus"] == "Completed"
        request = cloud.request("unknown", "true")
        request["AlgorithmSpecification"]["TrainingImage"] = "nobody/knows:1"
        cloud.sagemaker.create_training_job(**request)
        job = wait_until_failed(cloud, "unknown")
        for words in ("nobody/knows:1", "not in containers", "tarn image map PATTERN --python PATH"):
            assert words in job["FailureReason"], job["FailureReason"]
        # What the reason says is what helps.
        server.command("image", "map", "nobody/knows*", "--python", "/usr/bin/python3")
        request["TrainingJobName"] = "known"
        cloud.sagemaker.create_training_job(**request)
        deadline = time.monotonic() + 60
        while (job := cloud.sagemaker.describe_training_job(TrainingJobName="known"))["TrainingJobStatus"] == "InProgress":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert job["TrainingJobStatus"] == "Completed", job


def wait_until_failed(cloud, name):
    deadline = time.monotonic() + 60
    while True:
        job = cloud.sagemaker.describe_training_job(TrainingJobName=name)
        if job["TrainingJobStatus"] == "Failed":
            return job
        assert job["TrainingJobStatus"] == "InProgress" and time.monotonic() < deadline, job
        time.sleep(0.05)


# --- what is in use

@contextlib.contextmanager
def web_server():
    """Another program that listens, and its port."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process, port
    finally:
        process.kill()
        process.wait()


def test_port_in_use(outside):
    (outside / "mnt").mkdir()
    with web_server() as (process, port):
        run = serve(outside / "root", "--mount", outside / "mnt", "--listen", f"127.0.0.1:{port}")
    assert run.returncode == 1, run.stderr
    assert f"port {port} on 127.0.0.1 is in use by pid {process.pid}" in run.stderr and "http.server" in run.stderr, run.stderr
    # Nothing is left behind that the next try would trip over.
    assert not is_mounted(outside / "mnt")
    with TarnServer(outside, listen=True) as server:
        assert server.status()["mount"]["state"] == "mounted"


def test_port_in_use_by_another_user(outside, home):
    """An ordinary user cannot see root's descriptors; whose the program is can be told."""
    with Machine(uid=USER, folder=outside / "machine") as machine, web_server() as (_, port):
        run = serve(home / "root", "--listen", f"127.0.0.1:{port}", prefix=machine.prefix)
    assert run.returncode == 1 and f"port {port} on 127.0.0.1 is in use by a program of uid 0" in run.stderr, run.stderr


def test_root_in_use(outside):
    with TarnServer(outside / "tarn") as holder:
        run = serve(holder.root, "--listen", f"127.0.0.1:{free_port()}")
        assert run.returncode == 1, run.stderr
        assert f"served by another Tarn: pid {holder.process.pid} ({TARN} serve" in run.stderr, run.stderr
        assert holder.status()["mount"]["state"] == "mounted"


def test_mount_folder_in_use(outside):
    root = outside / "root"
    with TarnServer(outside / "other") as holder:
        run = serve(root, "--mount", holder.mnt)
        assert run.returncode == 1, run.stderr
        assert f"the Tarn at '{holder.root}' is mounted there, served by pid {holder.process.pid}" in run.stderr, run.stderr
        (holder.mnt / "still").write_text("served")
    folder = outside / "folder"
    folder.mkdir()
    (folder / "photo.jpg").write_bytes(b"jpg")
    run = serve(root, "--mount", folder)
    assert run.returncode == 1 and "is not empty (it holds 'photo.jpg')" in run.stderr, run.stderr
    subprocess.run(["mount", "-t", "tmpfs", "scratch-of-mine", str(folder)], check=True)
    try:
        run = serve(root, "--mount", folder)
        assert run.returncode == 1 and "tmpfs of 'scratch-of-mine' is mounted there" in run.stderr, run.stderr
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert os.listdir(folder) == ["photo.jpg"]


# --- a disk that is nearly full

MIB = 1 << 20


def percent_used(path):
    space = os.statvfs(path)
    used = space.f_blocks - space.f_bfree
    return 100 * used / (used + space.f_bavail)


def fill_to_95_percent(disk):
    with open(disk.path / "another program's file", "xb") as file:
        size = 0
        while percent_used(disk.path) < 95:
            os.posix_fallocate(file.fileno(), size, 4 * MIB)
            size += 4 * MIB
    assert percent_used(disk.path) < 97


def test_disk_at_95_percent(outside):
    """A warning in every place where one looks; writing goes on down to the ballast; then nothing is lost."""
    skip_without_loop_devices()
    with LoopDisk(outside / "small", 4096 * MIB) as disk:
        fill_to_95_percent(disk)
        server = TarnServer(outside / "tarn", listen=True, ballast="32MiB")
        server.root = disk.path / "root"
        with server:
            assert "warning disk the disk under" in server.tail(100) and "is nearly full (9" in server.tail(100), server.tail()
            capacity = server.status()["capacity"]
            assert capacity["percent_used"] >= 95 and "nearly full" in capacity["warning"], capacity
            assert capacity["writes"] == "accepted"
            assert "the disk is nearly full" in server.command("status").stdout
            check = findings(server)["disk"]
            assert check["finding"] == "less" and "nearly full" in check["detail"] and check["mend"], check

            cloud = Cloud(server)
            cloud.s3.create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
            written, refusals = {}, {}
            for number in range(200):
                key, body = f"f{number}", os.urandom(MIB)
                for face in ("s3", "mount"):
                    try:
                        if face in refusals:
                            continue
                        if face == "s3":
                            cloud.s3.put_object(Bucket="data", Key=f"s3/{key}", Body=body)
                        else:
                            (server.mnt / "data" / "mount").mkdir(exist_ok=True)
                            (server.mnt / "data" / "mount" / key).write_bytes(body)
                        written[f"{face}/{key}"] = body
                    except (ClientError, OSError) as error:
                        refusals[face] = error
                if len(refusals) == 2:
                    break
            assert len(written) >= 8, f"only {len(written)} fit: {refusals}"
            assert isinstance(refusals["mount"], OSError) and refusals["mount"].errno == 28, refusals
            response = refusals["s3"].response
            assert (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]) == (507, "InsufficientStorage")
            assert "delete files or enlarge the disk" in response["Error"]["Message"], response
            # What keeps the metadata alive was not used up. (Free space is looked at ten times a second.)
            assert (server.root / "ballast").stat().st_blocks * 512 >= 32 * MIB and disk.free_bytes() > 0
            assert server.status()["capacity"]["writes"] == "refused: disk full"

            def whole():
                for key, body in written.items():
                    assert cloud.s3.get_object(Bucket="data", Key=key)["Body"].read() == body, key
                    assert (server.mnt / "data" / key).read_bytes() == body, key
                names = {o["Key"] for o in cloud.s3.list_objects_v2(Bucket="data")["Contents"]}
                assert {n for n in names if n.startswith("s3/")} == {k for k in written if k.startswith("s3/")}

            whole()
            assert server.stop() == 0
            server.start()
            cloud = Cloud(server)
            whole()
            # Removing makes room again, through either face.
            for key in list(written)[: len(written) // 2]:
                cloud.s3.delete_object(Bucket="data", Key=key)
                del written[key]
            deadline = time.monotonic() + 30
            while True:
                try:
                    (server.mnt / "data" / "mount" / "again").write_bytes(b"again")
                    break
                except OSError as error:
                    assert error.errno == 28 and time.monotonic() < deadline, error
                    time.sleep(0.2)
            whole()


def test_mount_that_cannot_be_served_says_so_at_once(outside):
    """A start that fails ends within seconds and leaves no process and no mount."""
    (outside / "mnt").mkdir()
    server = TarnServer(outside, arguments=["--listen", "127.0.0.1:1", "--tls", "not-an-address"])
    try:
        with pytest.raises(ServeFailed, match="not-an-address"):
            server.init()
            server.start()
    finally:
        server.destroy()
    assert not is_mounted(outside / "mnt")
