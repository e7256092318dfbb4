"""`./run demo`: the way from archive to training, measured on this machine in place and in the usual way.

Sets up what a run needs (a data set, a network of its own shaped to 2 Gbit/s, nginx, an S3 server
that is not ours, a running Tarn), writes a plan and has `tarn pipeline --plan` measure it. It leaves
var/demo/report.txt, report.json, report.html and preview.png. `tarn pipeline` runs this too.
"""
import argparse
import hashlib
import json
import os
import pathlib
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TOP / "tests" / "lib"), str(TOP / "tools" / "pipeline")]
sys.dont_write_bytecode = True

import surroundings  # noqa: E402
from plan import FOLDER, ROWS, Table  # noqa: E402
from tarn_server import TARN, TarnServer, why_no_mount  # noqa: E402

DEMO = TOP / "var" / "demo"
BUILD = TOP / "build" / "algorithms"
LINKS = {"loopback": "loopback", "2gbit": "2 Gbit/s"}
LOOK_ALIKE_COPIES = 6      # 182 MB + 5 x 155 MB
TRAIN_IMAGES = 50_000      # the plain training images
TRAIN_SECONDS = 100        # all ways of all tables together, by default
TRAIN_IMAGES_MIN = 1_000


def say(text):
    print(f"== {text}", file=sys.stderr, flush=True)


class DataSet:
    """An archive of CIFAR-10's batches in the forms a run asks for, and what is known of its members."""

    def __init__(self, folder, given, copies, forms):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.origin = str(given) if given else f"look-alike, {copies} copies of the training images"
        self.archives = self.find(given, copies)
        self.make_forms(forms)
        self.archives = {form: self.archives[form] for form in forms}
        self.list_members(self.archives[forms[0]])
        self.sums = {}
        for form, file in self.archives.items():
            self.sums[form] = folder / f"{file.name}.md5"
            with open(file, "rb") as archive:
                digest = hashlib.file_digest(archive, "md5").hexdigest()
            self.sums[form].write_text(f"{digest}  {file.name}\n")

    def find(self, given, copies):
        if given:
            # All forms lie in one folder, for the server of the link's floor.
            here = self.folder / given.name
            here.symlink_to(given)
            return {".tar.gz" if given.name.endswith((".tar.gz", ".tgz")) else ".tar": here}
        surroundings.run(TARN, "dataset", "generate", self.folder, "--augment", copies, "--archive", "gz")
        return {".tar.gz": self.folder / "cifar-10-python.tar.gz"}

    def make_forms(self, forms):
        have = next(iter(self.archives.values()))
        if ".tar" in forms and ".tar" not in self.archives:
            self.archives[".tar"] = self.folder / "cifar-10-python.tar"
            surroundings.run("sh", "-c", f"igzip -dc {shlex.quote(str(have))} > "
                                         f"{shlex.quote(str(self.archives['.tar']))}")
        if ".tar.gz" in forms and ".tar.gz" not in self.archives:
            self.archives[".tar.gz"] = self.folder / "cifar-10-python.tar.gz"
            surroundings.run("sh", "-c", f"igzip -1 -c {shlex.quote(str(have))} > "
                                         f"{shlex.quote(str(self.archives['.tar.gz']))}")

    def list_members(self, archive):
        """The manifest, from the archive itself: names are below the data set's folder."""
        lines, names, self.bytes, self.tar_bytes, self.meta_bytes = [], [], 0, 0, 0
        with tarfile.open(archive, "r|*") as tar:
            for member in tar:
                self.tar_bytes = max(self.tar_bytes, member.offset_data + member.size)
                if not member.isfile():
                    continue
                top, _, name = member.name.partition("/")
                if top != FOLDER or not name:
                    raise SystemExit(f"demo: {archive} is no CIFAR-10 Python archive: it has '{member.name}', "
                                     f"not only files under {FOLDER}/")
                lines.append(f"{hashlib.file_digest(tar.extractfile(member), 'md5').hexdigest()}  {name}\n")
                names.append(name + "\n")
                self.bytes += member.size
                if name == "batches.meta":
                    self.meta_bytes = member.size
        self.manifest, self.names = self.folder / "MANIFEST", self.folder / "NAMES"
        self.manifest.write_text("".join(lines))
        self.names.write_text("".join(names))
        self.files = len(names)

    def describe(self):
        return {"origin": self.origin, "bytes": self.bytes, "files": self.files,
                "archive_bytes": next(iter(self.archives.values())).stat().st_size,
                "archives": {form: file.stat().st_size for form, file in self.archives.items()}}


class Place:
    """Where everything of a run is."""

    def __init__(self, network):
        self.network = network
        self.tarn, self.program = TARN, BUILD / "image_classification" / "image-classification"
        self.local, self.mnt = DEMO / "local", DEMO / "tarn" / "mnt"
        self.origin, self.buckets = DEMO / "origin", DEMO / "buckets"
        self.venv_python = environment() / "bin" / "python"
        self.servers, self.tarn_variables = [], None
        for folder in (self.local, self.origin, self.buckets):
            folder.mkdir(parents=True)
        self.hyperparameters = {}

    def start_servers(self, source):
        scratch = DEMO / "servers"
        server, self.origin_url = surroundings.nginx(self.network.address, self.origin, scratch / "origin")
        self.servers.append(server)
        # A second server, over the source itself: the floor of the link is measured there.
        server, self.probe_url = surroundings.nginx(self.network.address, source, scratch / "probe")
        self.servers.append(server)
        server, self.bucket_variables = surroundings.rclone(
            self.venv_python.parent / "rclone", self.network.address, self.buckets, scratch / "s3")
        self.servers.append(server)

    def close(self):
        for server in self.servers:
            server.close()

    def preview(self, home):
        return DEMO / f"preview-{home.name}.png"

    def leftovers(self, way):
        """What earlier ways left and nobody needs any more; `again` needs in-place-stored."""
        if way == "copy":
            return [self.mnt / "in-place-stored", self.local / "probe"]
        previous = {"copy_fast": "copy", "in_place_tools": "copy_fast"}.get(way)
        if previous:
            return [self.local / previous, self.buckets / previous.replace("_", "-")]
        before = {"in_place_reread": "in-place-tools", "in_place_stored": "in-place-reread"}[way]
        return [self.mnt / before]

    def job_base(self, way, folder):
        """A container's /opt/ml with the data set as its channel."""
        base = DEMO / "jobs" / way
        shutil.rmtree(base, ignore_errors=True)
        (base / "input" / "config").mkdir(parents=True)
        (base / "input" / "data").mkdir()
        (base / "input" / "config" / "hyperparameters.json").write_text(json.dumps(self.hyperparameters))
        (base / "input" / "data" / "train").symlink_to(folder)
        return base


def environment():
    """The virtual environment with boto3 and rclone."""
    path, wanted = TOP / "build" / "venv-pipeline", TOP / "tools" / "pipeline" / "requirements.txt"
    stamp = path / "requirements.txt"
    if not (stamp.exists() and stamp.read_text() == wanted.read_text()):
        say("environment with boto3 and rclone (PyPI)")
        shutil.rmtree(path, ignore_errors=True)
        surroundings.run("/usr/bin/python3", "-m", "venv", path)
        surroundings.run(path / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "-r", wanted)
        # Compiled once, so that the first import in a run costs what the others do.
        surroundings.run(path / "bin" / "python", "-c", "import boto3; boto3.client('s3', 'us-east-1')")
        shutil.copy(wanted, stamp)
    return path


def build_algorithms():
    say("build of algorithms/ (libtorch)")
    BUILD.mkdir(parents=True, exist_ok=True)
    extra = os.environ.get("TARN_SRC")
    surroundings.run("cmake", "-S", TOP / "algorithms", "-B", BUILD, "-G", "Ninja",
                     *([f"-DTARN_SRC={extra}"] if extra else []))
    surroundings.run("cmake", "--build", BUILD, "--target", "image-classification", "-j", os.cpu_count())


def images_that_fit(place, data, options):
    """How many images to train on; by default as many of the plain 50,000 as the time allows."""
    if options.train_images:
        return options.train_images, "as asked for"
    if options.full:
        return TRAIN_IMAGES, "all plain images"
    trial = DEMO / "trial"
    trial.mkdir()
    surroundings.run("tar", "-C", trial, "-xf", next(iter(data.archives.values())), f"{FOLDER}/data_batch_1",
                     f"{FOLDER}/batches.meta")
    place.hyperparameters = {"epochs": "1", "images_max": "2000"}
    out = surroundings.run(place.program, "train",
                           env={**os.environ, "SAGEMAKER_BASE_DIR": str(place.job_base("trial", trial / FOLDER))})
    speed = json.loads(out.splitlines()[-1])["samples_per_second"]
    shutil.rmtree(trial)
    fits = int(speed * (20 if options.quick else TRAIN_SECONDS) / 6) // 1000 * 1000
    images = max(TRAIN_IMAGES_MIN, min(TRAIN_IMAGES, fits))
    return images, ("all plain images" if images == TRAIN_IMAGES else
                    f"the first of the plain {TRAIN_IMAGES:,}, so that the whole run keeps its time; a trial trained "
                    f"{speed:.0f} images a second")


def machine(network):
    memory = next(int(line.split()[1]) for line in open("/proc/meminfo") if line.startswith("MemTotal"))
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
                 platform.machine())
    return {"cpu": model, "cores": os.cpu_count(), "memory_bytes": memory * 1024, "kernel": platform.release(),
            "file_system": surroundings.run("stat", "-f", "-c", "%T", DEMO).strip(),
            "load_at_start": os.getloadavg()[0], "shaped_link": f"tbf {network.rate}"}


NOTES = [
    "Every stage that writes ends when its bytes are on the disk, in every way: the usual tools by sync of what they "
    "wrote, Tarn's commands by themselves.",
    "ingest stores the archive once, on the web server's disk or in Tarn (in in_place_reread and in_place_stored by a "
    "PUT that computes and stores its digest). "
    "bytes_copied counts what is written again after that.",
    "The published table that this follows (SageMaker Local Mode, 2023) does not say how large its data set was, how "
    "often it ran or what was cached; its rows add up to its totals without extract, so its verify very likely holds "
    "the unpacking: compare it with extract + verify. Its train row was equal in both columns (117.45 and 117.42 s).",
    "Floors: bytes at the speed of dd's read, one OpenSSL MD5 stream, igzip or cp to a file ended by fsync, curl to "
    "/dev/null over the same link; all in the same run and with the same caches. Of train only the reading has one.",
    "train is the same program, seed and settings in every way, on one thread; the losses must be identical.",
    "The manifest was made from the archive itself before the run.",
]


def build_plan(options, data, place, images, why):
    place.hyperparameters = {"epochs": "1", "batch_size": "4", "learning_rate": "0.001", "momentum": "0.9",
                             "seed": "1", "threads": "1", "images_max": str(images)}
    tables = [Table(data, place, archive, LINKS[link], cache).plan()
              for archive in options.archives for link in options.links for cache in options.caches]
    return {"rows": ROWS, "runs": options.runs, "machine": machine(place.network), "dataset": data.describe(),
            "settings": {"epochs": 1, "train_images": images, "train_images_why": why, "batch_size": 4,
                         "learning_rate": 0.001, "momentum": 0.9, "seed": 1, "threads": 1,
                         "tarn": surroundings.run(TARN, "--version").strip()},
            "notes": NOTES, "tables": tables}


def serve(network):
    """A new root with a mount and the S3 endpoint. Returns (server, variables of its clients)."""
    port = surroundings.free_port(network.address)
    server = TarnServer(DEMO / "tarn", arguments=["--listen", f"{network.address}:{port}", "--insecure"])
    server.init()
    server.start()
    variables = {}
    for word in shlex.split(server.command("env").stdout.replace(";", " ")):
        name, equals, value = word.partition("=")
        if equals and name.startswith("AWS_"):
            variables[name] = value
    return server, {**variables, "AWS_ENDPOINT_URL": f"http://{network.address}:{port}"}


def measure(options):
    network = surroundings.Network()
    server = place = None
    try:
        place = Place(network)
        say("data set")
        copies = 1 if options.quick else options.copies
        data = DataSet(DEMO / "source", options.dataset, copies, options.archives)
        place.start_servers(data.folder)
        say("tarn serve")
        server, place.tarn_variables = serve(network)
        images, why = images_that_fit(place, data, options)
        plan = build_plan(options, data, place, images, why)
        (DEMO / "plan.json").write_text(json.dumps(plan, indent=1) + "\n")
        say(f"measuring: {len(plan['tables'])} table(s), {options.runs} run(s), train on {images:,} images, "
            f"one epoch")
        picture = place.preview(place.mnt / "in-place-stored")
        picture.touch()
        status = subprocess.run([str(TARN), "pipeline", "--plan", str(DEMO / "plan.json"), "--out", str(DEMO),
                                 "--preview", str(picture)]).returncode
        if status == 0 and picture.stat().st_size:
            shutil.copyfile(picture, DEMO / "preview.png")
        if server.stop() != 0:
            raise SystemExit(f"demo: tarn serve did not end cleanly: {server.tail()}")
        return status
    finally:
        if place:
            place.close()
        if server:
            server.destroy()
        network.close()


def parse_arguments():
    parser = argparse.ArgumentParser(prog="./run demo", description="measure the way from archive to training")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a data set of plain CIFAR-10's size")
    size.add_argument("--full", action="store_true", help="both archives, both links, both caches, three runs")
    parser.add_argument("--dataset", metavar="FILE", type=pathlib.Path, help="a CIFAR-10 Python archive")
    parser.add_argument("--archive", choices=[".tar.gz", ".tar"], action="append", dest="archives")
    parser.add_argument("--link", choices=list(LINKS), action="append", dest="links")
    parser.add_argument("--cache", choices=["dropped", "left"], action="append", dest="caches")
    parser.add_argument("--runs", type=int, help="medians of so many runs (1; with --full 3)")
    parser.add_argument("--copies", type=int, default=LOOK_ALIKE_COPIES,
                        help="copies of the training images in the look-alike (6: 1 GB)")
    parser.add_argument("--train-images", type=int, help="train on the first so many images")
    parser.add_argument("--keep", action="store_true", help="keep the root and the data set")
    options = parser.parse_args()
    options.archives = options.archives or ([".tar.gz", ".tar"] if options.full else [".tar.gz"])
    options.links = options.links or (["2gbit", "loopback"] if options.full else ["2gbit"])
    options.caches = options.caches or (["dropped", "left"] if options.full else ["dropped"])
    options.runs = options.runs or (3 if options.full else 1)
    if options.dataset:
        options.dataset = options.dataset.resolve()
        if not options.dataset.is_file():
            parser.error(f"no file {options.dataset}")
    return options


def main():
    options = parse_arguments()
    # An end like any other: servers, mount and network are taken away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if why_no_mount():
        raise SystemExit(f"demo: {why_no_mount()}: it measures the mount, so there is nothing to show here")
    build_algorithms()
    environment()
    shutil.rmtree(DEMO, ignore_errors=True)
    DEMO.mkdir(parents=True)
    began = time.monotonic()
    status = measure(options)
    if not options.keep:
        for name in ("local", "origin", "buckets", "source", "jobs", "servers", "tarn"):
            shutil.rmtree(DEMO / name, ignore_errors=True)
        for each in DEMO.glob("preview-*.png"):
            each.unlink()
    say(f"{time.monotonic() - began:.0f} s; var/demo/report.txt, report.json, report.html, preview.png")
    return status


if __name__ == "__main__":
    sys.exit(main())
