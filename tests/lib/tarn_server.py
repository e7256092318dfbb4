"""A running Tarn for whole-system tests: made in a folder, watched, killed, cleaned up.

    with TarnServer(folder) as server:
        (server.mnt / "a").write_bytes(b"x")
        server.kill_worker()

`folder` holds the root (`root/`), the mount point (`mnt/`) and the log (`serve.log`). It must lie on
a real file system (ext4, XFS), never on tmpfs or overlayfs, if passthrough is to be tested.
"""
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
TARN = pathlib.Path(os.environ.get("TARN_BINARY", TOP / "out" / "tarn")).absolute()
READY_SECONDS = 60
STOP_SECONDS = 60


class ServeFailed(Exception):
    """`tarn serve` ended, or said nothing, before it was ready; carries the end of its output."""


def why_no_mount():
    """What this machine lacks for a mount, or None."""
    if not os.path.exists("/dev/fuse"):
        return "no /dev/fuse on this machine"
    if os.geteuid() != 0:
        return "needs root"
    return None


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def is_mounted(path):
    target = str(path).replace("\\", "\\134").replace(" ", "\\040")
    with open("/proc/self/mountinfo") as mounts:
        return any(line.split()[4] == target for line in mounts)


def unmount_lazily(path):
    """Detaches whatever is mounted on `path`, however dead its server is."""
    while is_mounted(path):
        if subprocess.run(["umount", "-l", str(path)], capture_output=True).returncode != 0:
            return


def processes():
    """pid -> (parent pid, command name) of every process."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = pathlib.Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            name, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:]
            if rest.split()[0] != "Z":
                found[int(entry)] = (int(rest.split()[1]), name)
    return found


def descendants(pid):
    table, out, front = processes(), [], [pid]
    while front:
        front = [p for p, (parent, _) in table.items() if parent in front]
        out += front
    return out


class TarnServer:
    def __init__(self, folder, *, mount=True, listen=False, arguments=(), environment=None,
                 ballast="64MiB", prefix=()):
        """`prefix`: words before every command, such as a Machine's (machines.py)."""
        self.folder = pathlib.Path(folder)
        self.root = self.folder / "root"
        self.mnt = self.folder / "mnt"
        self.log = self.folder / "serve.log"
        self.has_mount = mount
        self.has_listener = listen
        self.arguments = list(arguments)
        self.environment = {**os.environ, **(environment or {})}
        self.ballast = ballast
        self.prefix = list(prefix)
        self.port = None
        self.process = None
        self.ready_line = None

    # --- life
    def __enter__(self):
        self.init()
        self.start()
        return self

    def __exit__(self, *_):
        self.destroy()

    def init(self):
        """`tarn init`, unless the root is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.mnt.mkdir(exist_ok=True)
        if not (self.root / "superblock").exists():
            self.command("init", str(self.root), "--ballast", self.ballast)

    def start(self, environment=None):
        """`tarn serve`; returns when it has said that it is ready."""
        ready = self.start_without_waiting(environment)
        if not ready.wait(READY_SECONDS) or self.ready_line is None:
            self.kill_all()
            raise ServeFailed(f"not ready: {self.tail()}")

    def start_without_waiting(self, environment=None):
        """`tarn serve`; returns the event that says it is ready, or has ended."""
        assert self.process is None, "already running"
        unmount_lazily(self.mnt)
        command = [*self.prefix, str(TARN), "serve", str(self.root)]
        if self.has_listener:
            self.port = free_port()
            command += ["--listen", f"127.0.0.1:{self.port}"]
        if self.has_mount:
            command += ["--mount", str(self.mnt)]
        log = open(self.log, "ab")
        self.process = subprocess.Popen(
            command + self.arguments, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL,
            env={**self.environment, **(environment or {})}, start_new_session=True)
        ready = threading.Event()
        self.ready_line = None

        def read(stream):
            for line in stream:
                log.write(line)
                log.flush()
                if self.ready_line is None:
                    self.ready_line = line.decode(errors="replace").strip()
                    ready.set()
            ready.set()
            log.close()

        threading.Thread(target=read, args=(self.process.stdout,), daemon=True).start()
        return ready

    def stop(self):
        """A clean end (SIGTERM); returns the exit status."""
        process, self.process = self.process, None
        if process is None:
            return None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process = process
            self.kill_all()
            raise AssertionError(f"still there {STOP_SECONDS} s after SIGTERM: {self.tail()}")

    def kill_worker(self):
        """SIGKILL to the worker alone; the keeper starts another. Returns the dead one's pid."""
        pid = self.worker_pid()
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_all(self, detach=True):
        """SIGKILL to keeper and workers at once; then detaches the dead mount, unless told not to:
        as long as it is there a program that goes on gets errors, not the folder below."""
        process, self.process = self.process, None
        if process is not None:
            # The keeper first, stopped, so that it starts no new worker in between.
            if process.poll() is None:
                process.send_signal(signal.SIGSTOP)
            victims = descendants(process.pid)
            for pid in [process.pid, *victims]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            process.wait()
            deadline = time.monotonic() + 10
            while any(p in processes() for p in victims) and time.monotonic() < deadline:
                time.sleep(0.01)
        if detach:
            unmount_lazily(self.mnt)

    def destroy(self):
        """Ends everything by force and leaves no mount."""
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
        except AssertionError:
            pass
        self.kill_all()

    # --- asking
    def command(self, *arguments, check=True, **keywords):
        """Runs a subcommand of tarn with TARN_ROOT set; returns the CompletedProcess."""
        run = subprocess.run([*self.prefix, str(TARN), *map(str, arguments)], capture_output=True, text=True,
                             env={**self.environment, "TARN_ROOT": str(self.root)}, **keywords)
        if check and run.returncode != 0:
            raise AssertionError(f"tarn {' '.join(map(str, arguments))}: exit {run.returncode}: "
                                 f"{run.stdout}{run.stderr}")
        return run

    def status(self):
        return json.loads(self.command("status", "--json").stdout)

    def worker_pid(self):
        """The worker: the keeper's newest child (the keeper itself where there is no other)."""
        children = [p for p, (parent, _) in processes().items() if parent == self.process.pid]
        return max(children) if children else self.process.pid

    def wait_for_new_worker(self, old_pid, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid = self.worker_pid()
            if pid not in (old_pid, self.process.pid):
                return pid
            time.sleep(0.01)
        raise AssertionError(f"no new worker after {seconds} s: {self.tail()}")

    def wait_until_it_answers(self, seconds=30):
        """Until commands reach the worker: a new one is there a moment before its control socket is."""
        deadline = time.monotonic() + seconds
        while subprocess.run([str(TARN), "status", str(self.root), "--json"], capture_output=True).returncode != 0:
            assert time.monotonic() < deadline, f"no answer after {seconds} s: {self.tail()}"
            time.sleep(0.05)

    def resident_bytes(self):
        """Resident memory of keeper and worker together."""
        total = 0
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue
            total += sum(int(line.split()[1]) * 1024 for line in status.splitlines()
                         if line.startswith("VmRSS:"))
        return total

    def tail(self, lines=30):
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"
