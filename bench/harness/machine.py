"""Facts about the machine that belong to every figure, and whether it can be measured on."""
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path

from .accounting import read
from .errors import BenchError

SYNC_COUNT = 200
SYNC_BYTES = 4096
# A queue there is not on a disk of its own, or not on one that keeps what it says it keeps.
REFUSED = {"tmpfs": "it is memory", "ramfs": "it is memory",
           "overlay": "it is a container's own layer; mount a volume",
           "nfs": "it is a network file system", "nfs4": "it is a network file system",
           "cifs": "it is a network file system", "9p": "it is a network file system",
           "fuse.sshfs": "it is a network file system"}


def mount_of(path: Path, text: str) -> tuple[str, str]:
    """(file system, device) that a path is on, from the text of /proc/self/mountinfo."""
    target, best = f"{path.resolve()}/", ("", "unknown", "unknown")
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or len(kind) < 2:
            continue
        place = fields[4].rstrip("/") + "/"
        # The later of two mounts on the same place is the one that is seen.
        if target.startswith(place) and len(place) >= len(best[0]):
            best = (place, kind[0], kind[1].removeprefix("/dev/"))
    return best[1], best[2]


def check_disk(folder: Path) -> tuple[str, str]:
    """(file system, device) of the queues' folder. Raises BenchError for one that keeps nothing."""
    kind, device = mount_of(folder, read(Path("/proc/self/mountinfo")))
    if kind in REFUSED:
        raise BenchError(f"{folder} is on {kind}: {REFUSED[kind]}. What is measured there is not "
                         "what a queue costs; name a folder on a local disk with --state")
    return kind, device


def flush_latency(folder: Path, count: int = SYNC_COUNT) -> dict:
    """Microseconds of a write of 4 KiB over itself and its fdatasync."""
    path = folder / "flush.probe"
    block = b"\xa5" * SYNC_BYTES
    took = []
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for number in range(count + 10):
            begun = time.perf_counter()
            os.pwrite(fd, block, 0)
            os.fdatasync(fd)
            if number >= 10:  # the first ones allocate
                took.append((time.perf_counter() - begun) * 1e6)
    except OSError as error:
        raise BenchError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        os.close(fd)
        path.unlink()
    return {"median": round(statistics.median(took), 1), "min": round(min(took), 1),
            "max": round(max(took), 1)}


def cpu_model() -> str:
    text = read(Path("/proc/cpuinfo"))
    for name in ("model name", "Model", "Hardware", "CPU part"):
        for line in text.splitlines():
            if line.startswith(name):
                return line.partition(":")[2].strip()
    return platform.machine()


def memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def os_name() -> str:
    for line in read(Path("/etc/os-release")).splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def command(*arguments) -> str:
    """The first line that a command prints; empty when it fails."""
    try:
        done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True,
                              timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else ""


def postern_version(root: Path, build: Path) -> str:
    """0.1.0 (ab12cd3), with a sign when the tree has changes that no commit has."""
    version = command(build / "postern", "version").removeprefix("postern ") or "unknown"
    commit = command("git", "-C", root, "rev-parse", "--short", "HEAD")
    if not commit:
        return version
    is_changed = command("git", "-C", root, "status", "--porcelain", "--untracked-files=no")
    return f"{version} ({commit}{', changed' if is_changed else ''})"


def describe_file_system(kind: str, device: str, journals: Path = Path("/proc/fs/jbd2")) -> str:
    """ext4 may be without a journal, and then a sync of a new file costs less than elsewhere."""
    if kind != "ext4" or any(journals.glob(f"{device.rpartition('/')[2]}-*")):
        return kind
    return "ext4 without a journal"


def facts(context, kind: str, device: str) -> dict:
    """Members of machine.json that do not change while we run."""
    control = read(Path("/proc/sys/net/ipv4/tcp_congestion_control")).strip()
    return {"postern": postern_version(context.root, context.build),
            "kernel": platform.release(), "cpu": cpu_model(), "cpus": os.cpu_count() or 1,
            "server_cpus": list(context.server_cpus), "load_cpus": list(context.load_cpus),
            "memory_bytes": memory_bytes(), "file_system": describe_file_system(kind, device),
            "device": device,
            "sync_us": flush_latency(context.state_folder),
            "accounting": context.accounting.text, "congestion_control": control or "unknown",
            "os": os_name()}
