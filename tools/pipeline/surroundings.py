"""What a run of the pipeline needs around it: a network of its own, and servers that are not ours."""
import os
import pathlib
import socket
import subprocess
import time
import urllib.error
import urllib.request

READY_SECONDS = 30


def run(*command, **keywords):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **keywords)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Network:
    """A network namespace joined to this one by a pair of devices, each shaped to `rate` (tbf).

    Servers listen on `address`. A client started with client("2 Gbit/s") runs in the namespace and
    reaches them through the shaped pair, in both directions; one started with client("loopback")
    runs here and reaches the same address through lo.
    """

    def __init__(self, rate="2gbit"):
        tag = os.getpid() % 60000
        self.name = f"tarn-pipeline-{tag}"
        self.outside, self.inside = f"tp{tag}a", f"tp{tag}b"
        subnet = f"10.213.{tag % 250}"
        self.address = f"{subnet}.1"
        self.rate = rate
        run("ip", "netns", "add", self.name)
        try:
            run("ip", "link", "add", self.outside, "type", "veth", "peer", "name", self.inside, "netns", self.name)
            run("ip", "addr", "add", f"{subnet}.1/30", "dev", self.outside)
            run("ip", "link", "set", self.outside, "up")
            inside = ("ip", "netns", "exec", self.name)
            run(*inside, "ip", "addr", "add", f"{subnet}.2/30", "dev", self.inside)
            run(*inside, "ip", "link", "set", self.inside, "up")
            shape = ("root", "tbf", "rate", rate, "burst", "1mb", "latency", "50ms")
            run("tc", "qdisc", "add", "dev", self.outside, *shape)
            run(*inside, "tc", "qdisc", "add", "dev", self.inside, *shape)
        except SystemExit:
            self.close()
            raise

    def client(self, link):
        return [] if link == "loopback" else ["nsenter", f"--net=/run/netns/{self.name}"]

    def close(self):
        subprocess.run(["ip", "link", "del", self.outside], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)


def free_port(address):
    with socket.socket() as s:
        s.bind((address, 0))
        return s.getsockname()[1]


class Server:
    """A program that listens on a port; started when it answers HTTP."""

    def __init__(self, command, url, log, environment=None):
        self.log = pathlib.Path(log)
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=out,
                                            stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})})
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                urllib.request.urlopen(url, timeout=2)
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.close()
                    raise SystemExit(f"{command[0]} does not answer on {url}: {self.log.read_text()[-2000:]}")
                time.sleep(0.05)

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def nginx(address, folder, scratch):
    """Serves `folder`; returns (server, URL)."""
    port = free_port(address)
    scratch.mkdir(parents=True, exist_ok=True)
    bodies = "".join(f"  {kind}_temp_path {scratch}/{kind};\n"
                     for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (scratch / "nginx.conf").write_text(
        f"daemon off;\nuser root;\npid {scratch}/nginx.pid;\nerror_log {scratch}/error.log;\nevents {{}}\n"
        f"http {{\n  access_log off;\n  sendfile on;\n{bodies}"
        f"  server {{ listen {address}:{port}; root {folder}; }}\n}}\n")
    url = f"http://{address}:{port}"
    return Server(["/usr/sbin/nginx", "-p", scratch, "-c", scratch / "nginx.conf"], url, scratch / "out.log"), url


def rclone(program, address, folder, scratch):
    """An S3 server over `folder`; returns (server, AWS_* variables of its clients)."""
    port = free_port(address)
    scratch.mkdir(parents=True, exist_ok=True)
    url = f"http://{address}:{port}"
    server = Server([program, "serve", "s3", folder, "--addr", f"{address}:{port}", "--auth-key", "pipeline,pipeline"],
                    url, scratch / "out.log", {"RCLONE_CONFIG": str(scratch / "rclone.conf")})
    return server, {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "pipeline", "AWS_SECRET_ACCESS_KEY": "pipeline",
                    "AWS_DEFAULT_REGION": "us-east-1"}
