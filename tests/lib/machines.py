"""Machines unlike this one: a mount namespace in which devices, programs or the user differ.

    with Machine(WITHOUT_FUSE) as machine:
        machine.run("ls", "/dev")
        TarnServer(folder, prefix=machine.prefix)

Nothing of the machine outside is changed. Needs root.
"""
import os
import pathlib
import shlex
import subprocess

TOP = pathlib.Path(__file__).resolve().parents[2]

# A private /dev without fuse.
WITHOUT_FUSE = """
mkdir "$work/dev"
mount -t tmpfs -o mode=755 none "$work/dev"
for name in null zero full random urandom tty; do
  touch "$work/dev/$name"
  mount --bind "/dev/$name" "$work/dev/$name"
done
mkdir "$work/dev/shm"
ln -s /proc/self/fd "$work/dev/fd"
mount --rbind "$work/dev" /dev
"""


def with_fuse(mode):
    """/dev/fuse as a node of its own with these permission bits, "666"."""
    return f"""
mkdir "$work/fuse"
mount -t tmpfs -o mode=755 none "$work/fuse"
mknod "$work/fuse/fuse" c 10 229
chmod {mode} "$work/fuse/fuse"
mount --bind "$work/fuse/fuse" /dev/fuse
"""


def without_program(name):
    """No program of that name in PATH can be run."""
    return f"""
for path in $(which -a {shlex.quote(name)}); do mount --bind /dev/null "$path"; done
"""


# Every user may look into the folders above this tree, as if it lay in a public place.
REACHABLE = f"""
top={shlex.quote(str(TOP))}
shut=
path=$top
while [ "$path" != / ]; do
  path=$(dirname "$path")
  case $(stat -c %a "$path") in *[024]) shut=$path ;; esac
done
if [ -n "$shut" ]; then
  exec 9< "$top"
  mount -t tmpfs -o mode=755 none "$shut"
  mkdir -p "$top"
  mount -c --rbind /proc/self/fd/9 "$top"
  exec 9<&-
fi
"""


class Machine:
    """Runs `setup` as root in a new mount namespace; what `prefix` stands before runs there, as `uid`."""

    def __init__(self, setup="", uid=None, folder=None):
        self.uid = uid
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        script = f'set -e\nwork={shlex.quote(str(self.folder))}\n{REACHABLE if uid else ""}{setup}\necho ready\nexec cat\n'
        self.holder = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", script],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self.holder.stdout.readline().strip() != b"ready":
            raise RuntimeError(f"no such machine: {self.holder.communicate()[1].decode()}")

    @property
    def prefix(self):
        words = ["nsenter", "-m", "-t", str(self.holder.pid), "--"]
        if self.uid:
            words += ["setpriv", "--reuid", str(self.uid), "--regid", str(self.uid), "--clear-groups"]
        return words

    def run(self, *command, environment=None, **keywords):
        return subprocess.run([*self.prefix, *map(str, command)], capture_output=True, text=True, timeout=60,
                              env={**os.environ, **(environment or {})}, **keywords)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The namespace, and every mount in it, goes with its last process.
        self.holder.stdin.close()
        self.holder.wait()
        for pipe in (self.holder.stdout, self.holder.stderr):
            pipe.close()
