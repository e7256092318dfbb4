"""The plan of a run: which command is which row of which way. `tarn pipeline --plan` measures it."""
import json
import os
import pathlib
import shlex

ROWS = ["ingest", "download", "integrity", "extract", "verify", "pickled", "meta", "preview", "upload", "job_start",
        "train"]
FOLDER = "cifar-10-batches-py"
HERE = pathlib.Path(__file__).resolve().parent
UNPICKLE = ["/usr/bin/python3", str(HERE / "unpickle.py")]
PREVIEW_BYTES = 4 * 3073
SUM = {"sum": "sum"}
TRAIN = {"loss": "final_loss", "accuracy": "accuracy", "samples_per_second": "samples_per_second",
         "seconds_waiting_for_data": "seconds_waiting_for_data"}


def shell(script):
    return ["sh", "-ec", script]


def quoted(*parts):
    return " ".join(shlex.quote(str(part)) for part in parts)


def stage(row, command, what, **more):
    return {"row": row, "command": [str(word) for word in command], "what": what, **more}


class Table:
    """One combination of archive, link and caches. `data` is demo.DataSet, `place` says where things are."""

    def __init__(self, data, place, archive, link, cache):
        self.data, self.place, self.archive, self.link, self.cache = data, place, archive, link, cache
        self.file = data.archives[archive]
        self.name = self.file.name
        self.archive_bytes = self.file.stat().st_size
        self.is_compressed = archive != ".tar"
        self.client = place.network.client(link)

    # --- commands that several ways share
    def python(self, what, folder):
        arguments = [folder] + ([self.place.preview(folder.parent)] if what == "preview" else [])
        captures = {"captures": SUM} if what == "sum" else {}
        row = {"sum": "pickled"}.get(what, what)
        return stage(row, UNPICKLE + [what, *arguments], "Python pickle and numpy" +
                     (" and PIL" if what == "preview" else ""), **captures)

    def tarn_reading(self, folder):
        """pickled, meta, preview by Tarn's commands."""
        tarn = self.place.tarn
        return [stage("pickled", [tarn, "dataset", "sum", folder, "--json"], "tarn dataset sum", captures=SUM),
                stage("meta", [tarn, "dataset", "show", folder / "batches.meta", "--json"], "tarn dataset show"),
                stage("preview", [tarn, "preview", folder, "--out", self.place.preview(folder.parent)],
                      "tarn preview")]

    def train_in_place(self, way, name):
        command = self.client_of(self.place.tarn_variables, self.place.venv_python, HERE / "job.py", f"{way}-{os.getpid()}", f"s3://{name}/{FOLDER}",
                             f"s3://{name}/output", self.place.program, json.dumps(self.place.hyperparameters))
        return stage("train", command, "CreateTrainingJob of image-classification, followed by its log",
                     first_line_row="job_start", begins_at_first_line=True, captures=TRAIN)

    def train(self, way, folder):
        base = self.place.job_base(way, folder)
        return stage("train", ["env", f"SAGEMAKER_BASE_DIR={base}", self.place.program, "train"],
                     "image-classification (libtorch)", first_line_row="job_start", captures=TRAIN)

    def client_of(self, variables, *command):
        """The command beyond the link, with an S3 server's endpoint and keys."""
        return [*self.client, "env", *[f"{k}={v}" for k, v in variables.items()], *command]

    def boto3(self, variables, *arguments):
        return self.client_of(variables, self.place.venv_python, HERE / "bucket.py", *arguments)

    # --- the usual way
    def copying(self, way, is_fast):
        local, origin = self.place.local / way, self.place.origin
        archive, folder = local / self.name, local / FOLDER
        unpack = f"tar -C {quoted(local)} -x{'z' if self.is_compressed else ''}f {quoted(archive)}"
        unpack_what = "tar"
        verify = f"cd {quoted(folder)} && md5sum -c --quiet {quoted(self.data.manifest)}"
        if is_fast:
            if self.is_compressed:
                unpack, unpack_what = f"igzip -dc {quoted(archive)} | tar -C {quoted(local)} -xf -", "igzip and tar"
            verify = (f"cd {quoted(folder)} && xargs -P {os.cpu_count()} -d '\\n' -n 1 sh -c "
                      f"'echo \"$1\" | md5sum -c --quiet -' md5 < {quoted(self.data.manifest)}")
        reading = self.tarn_reading(folder) if is_fast else [
            self.python(what, folder) for what in ("sum", "meta", "preview")]
        return {"name": way, "before": [shell(f"rm -rf {quoted(local, *self.place.leftovers(way))}; "
                                              f"mkdir -p {quoted(local, origin)}")],
                "stages": [
            stage("ingest", shell(f"cp {quoted(self.file, origin / self.name)} && sync {quoted(origin / self.name)}"),
                  "cp to the web server's disk, fsync"),
            stage("download", [*self.client, *shell(
                f"curl -sSf -o {quoted(archive, self.place.origin_url + '/' + self.name)} && sync {quoted(archive)}")],
                "curl from nginx, fsync", bytes_copied=self.archive_bytes),
            stage("integrity", shell(f"cd {quoted(local)} && md5sum -c --quiet {quoted(self.data.sums[self.archive])}"),
                  "md5sum"),
            stage("extract", shell(f"{unpack} && sync -f {quoted(local)}"), f"{unpack_what}, syncfs",
                  bytes_copied=self.data.bytes,
                  bytes_decompressed=self.data.tar_bytes if self.is_compressed else 0),
            stage("verify", shell(verify), "parallel md5sum -c" if is_fast else "md5sum -c"),
            *reading,
            stage("upload", shell(quoted(*self.boto3(self.place.bucket_variables, "put", folder, way.replace("_", "-"),
                                                     FOLDER)) + f" && sync -f {quoted(self.place.buckets)}"),
                  "boto3 to rclone serve s3, syncfs", bytes_copied=self.data.bytes),
            self.train(way, folder)]}

    # --- in place
    def looked_up(self, path, size):
        return shell(f'test "$(stat -c %s {quoted(path)})" = {size}')

    def listed(self, way, name):
        if way == "in_place_tools":
            return stage("upload", self.boto3(self.place.tarn_variables, "list", name, FOLDER, self.data.manifest),
                         "LIST by boto3: every record with its ETag")
        return stage("upload", self.client_of(self.place.tarn_variables, "/usr/bin/python3", "-I", HERE / "listing.py",
                                              name, FOLDER, self.data.manifest),
                     "LIST: every record with its ETag")

    def ingested(self, way, name, archive):
        if way == "in_place_tools":
            return stage("ingest", shell(f"cp {quoted(self.file, archive)} && sync {quoted(archive)}"),
                         "cp to the mount, fsync")
        keys = self.place.tarn_variables
        return stage("ingest", [
            "curl", "-sSf", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user",
            f"{keys['AWS_ACCESS_KEY_ID']}:{keys['AWS_SECRET_ACCESS_KEY']}", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD",
            "-T", self.file, f"{keys['AWS_ENDPOINT_URL']}/{name}/{self.name}"],
            "curl: PUT to the S3 endpoint; on the disk, with its digest, when it answers")

    def in_place(self, way, is_again=False):
        tarn = self.place.tarn
        # `again` is a second job over what in_place_stored left.
        name = ("in_place_stored" if is_again else way).replace("_", "-")
        home = self.place.mnt / name
        archive, folder = home / self.name, home / FOLDER
        sums = self.data.sums[self.archive]
        is_there = self.looked_up(archive, self.archive_bytes)
        verify = [tarn, "verify", folder, "--manifest", self.data.manifest]
        integrity = [tarn, "verify", home, "--manifest", sums]
        if way == "in_place_reread":
            verify, integrity = verify + ["--reread"], integrity + ["--reread"]
        what = "tarn verify, " + ("every byte read again" if way == "in_place_reread" else "stored digests")
        rows = [
            self.ingested(way, name, archive),
            stage("download", is_there, "look-up: the archive is there, with its size"),
            stage("integrity", integrity, what),
            stage("extract", [tarn, "extract", archive, home], "tarn extract",
                  bytes_copied=self.data.bytes if self.is_compressed else 0,
                  bytes_decompressed=self.data.tar_bytes if self.is_compressed else 0),
            stage("verify", verify, what),
            *self.tarn_reading(folder)]
        if way == "in_place_tools":
            rows[2] = stage("integrity", shell(f"cd {quoted(home)} && md5sum -c --quiet {quoted(sums)}"), "md5sum")
            rows[4] = stage("verify", shell(f"cd {quoted(folder)} && md5sum -c --quiet {quoted(self.data.manifest)}"),
                            "md5sum -c")
            rows[5:] = [self.python(each, folder) for each in ("sum", "meta", "preview")]
        if is_again:
            rows[0] = stage("ingest", is_there, "look-up: the archive is there, with its size")
            rows[3] = stage("extract", shell(
                f'cd {quoted(folder)} && test "$(xargs -d "\\n" stat -c %s < {quoted(self.data.names)} | '
                f"awk '{{ s += $1 }} END {{ printf \"%.0f\", s }}')\" = {self.data.bytes}"),
                "look-up: every member is there, with its size")
        rows += [self.listed(way, name), self.train_in_place(way, name)]
        before = [] if is_again else [shell(f"rm -rf {quoted(home, *self.place.leftovers(way))}; mkdir {quoted(home)}")]
        return {"name": way, "before": before, "stages": rows}

    # --- floors
    def probes(self):
        target = self.place.local / "probe"
        source, size = self.file, self.archive_bytes
        copy = {"name": "copy", "command": shell(f"cp {quoted(source, target)} && sync {quoted(target)}"), "bytes": size}
        unpack = {"name": "unpack", "command": shell(
            f"igzip -dc {quoted(source)} > {quoted(target)} && sync {quoted(target)}"), "bytes": size}
        return [
            {"name": "read", "command": ["dd", f"if={source}", "of=/dev/null", "bs=1M", "status=none"], "bytes": size},
            {"name": "md5", "command": ["openssl", "md5", str(source)], "bytes": size},
            copy, *([unpack] if self.is_compressed else []),
            {"name": "link", "command": [*self.client, "curl", "-sSf", "-o", "/dev/null",
                                         f"{self.place.probe_url}/{self.name}"], "bytes": size},
            {"name": "start", "command": [str(self.place.program), "--version"], "bytes": 1}]

    def floors(self):
        def at(probe, amount):
            return {"probe": probe, "bytes": amount}
        size, all_bytes = self.archive_bytes, self.data.bytes
        return {"ingest": [at("copy", size)], "download": [at("link", size)],
                "integrity": [at("read", size), at("md5", size)],
                "extract": [at("unpack" if self.is_compressed else "copy", size)],
                "verify": [at("read", all_bytes)], "pickled": [at("read", all_bytes)],
                "meta": [at("read", self.data.meta_bytes)], "preview": [at("read", PREVIEW_BYTES)],
                "upload": [at("link", all_bytes)], "job_start": [at("start", 1)],
                "train": [at("read", min(all_bytes, 50_000 * 3073))]}

    def plan(self):
        ways = [self.copying("copy", False), self.copying("copy_fast", True)]
        ways += [self.in_place(way) for way in ("in_place_tools", "in_place_reread", "in_place_stored")]
        ways.append(self.in_place("again", is_again=True))
        return {"archive": self.archive, "link": self.link, "cache": self.cache,
                "drops_caches": self.cache == "dropped", "probes": self.probes(), "floors": self.floors(),
                "ways": ways, "after": []}
