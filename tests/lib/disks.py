"""Disks of the tests' own: file-system images on loop devices, power cuts, cold caches."""
import os
import pathlib
import subprocess
import time


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


def drop_caches():
    """Writes back what is dirty, then drops the page cache, dentries and inodes."""
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")


class LoopDisk:
    """A file system of `size_bytes` ('ext4', 'ext3' or 'xfs') in a sparse image, mounted on FOLDER/disk.

    power_cut() loses what was not synced, as a cut of the power does: the file system is shut down
    without a flush, unmounted and mounted again (its journal is replayed).
    """

    def __init__(self, folder, size_bytes, kind="ext4"):
        self.folder = pathlib.Path(folder)
        self.kind = kind
        self.image = self.folder / f"{kind}.img"
        self.path = self.folder / "disk"
        self.device = None
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(exist_ok=True)
        with open(self.image, "wb") as image:
            image.truncate(size_bytes)
        make = ["mkfs.xfs", "-q", "-f"] if kind == "xfs" else [f"mkfs.{kind}", "-q", "-F"]
        run(*make, self.image)
        self.device = run("losetup", "-f", "--show", self.image).strip()
        self.mount()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def mount(self):
        run("mount", "-t", self.kind, self.device, self.path)

    def unmount(self, seconds=30):
        """Waits for the last user of the disk to go, in other mount namespaces as well: as long as one
        is left, mounting again would give the file system that was shut down."""
        deadline = time.monotonic() + seconds
        is_unmounted = False
        while True:
            try:
                if not is_unmounted:
                    run("umount", self.path)
                    is_unmounted = True
                os.close(os.open(self.device, os.O_RDONLY | os.O_EXCL))
                return
            except (RuntimeError, OSError) as error:
                if time.monotonic() > deadline:
                    users = subprocess.run(["fuser", "-vm", str(self.path)], capture_output=True, text=True)
                    raise RuntimeError(f"{error}; users: {users.stdout}{users.stderr}") from error
                time.sleep(0.05)

    def shut_down(self):
        """The power goes: from now on nothing reaches the disk."""
        run("xfs_io", "-x", "-c", "shutdown", self.path)

    def power_cut(self):
        self.shut_down()
        self.unmount()
        self.mount()

    def free_bytes(self):
        space = os.statvfs(self.path)
        return space.f_bavail * space.f_frsize

    def close(self):
        subprocess.run(["umount", "-l", str(self.path)], capture_output=True)
        if self.device:
            subprocess.run(["losetup", "-d", self.device], capture_output=True)
            self.device = None
        self.image.unlink(missing_ok=True)
