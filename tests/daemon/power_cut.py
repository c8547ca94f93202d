#!/usr/bin/env python3
"""Cuts the power of the daemon's disk at random moments under load, and compares the books.

    tests/daemon/power_cut.py --cuts 100 --file-system ext4

As kill_loop.py, but the spool is on a file system of its own, in a file on a loop device, mounted
where only the daemon sees it. A round ends with the shutdown ioctl of that file system, without a
flush of its log: from then on nothing reaches the disk, and what was written and not synced is
gone. Then the daemon is killed, the disk mounted again (the journal is replayed), and the daemon
started on what is left."""

import argparse
import fcntl
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.daemon import kill_loop  # noqa: E402
from tests.support.gateway import Gateway, scratch_folder, wait_until  # noqa: E402

DISK_BYTES = 600 << 20
SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN
WITHOUT_LOG_FLUSH = 2
MAKE = {"ext4": ["mkfs.ext4", "-q", "-F", "-m", "0"], "xfs": ["mkfs.xfs", "-q", "-f"]}
SCRIPT = """
set -e
mount -o loop "$DISK_IMAGE" "$DISK_FOLDER"
[ -z "$DISK_PRELOAD" ] || export LD_PRELOAD="$DISK_PRELOAD"
exec "$@"
"""


def why_not(kind):
    """Why the power of such a file system cannot be cut here; None when it can."""
    if os.geteuid() != 0:
        return "mounting a disk takes root"
    if kind not in Path("/proc/filesystems").read_text().split():
        return f"this kernel has no {kind}"
    if shutil.which(MAKE[kind][0]) is None:
        return f"no {MAKE[kind][0]} here"
    if not os.path.exists("/dev/loop-control"):
        return "this kernel has no loop devices"
    folder = scratch_folder()
    try:
        make_image(folder, kind)
        done = subprocess.run(["unshare", "-m", "sh", "-c", SCRIPT, "sh", "true"], env=environment(folder),
                              capture_output=True, text=True, check=False)
        return None if done.returncode == 0 else f"cannot mount {kind}: {done.stderr.strip()}"
    finally:
        shutil.rmtree(folder)


def make_image(folder, kind):
    with open(folder / "disk.image", "wb") as disk:
        disk.truncate(DISK_BYTES)
    (folder / "disk").mkdir()
    subprocess.run([*MAKE[kind], str(folder / "disk.image")], check=True, capture_output=True)


def environment(folder, preload=""):
    return {**os.environ, "DISK_IMAGE": str(folder / "disk.image"), "DISK_FOLDER": str(folder / "disk"),
            "DISK_PRELOAD": preload}


def is_attached(folder):
    done = subprocess.run(["losetup", "-j", str(folder / "disk.image")], capture_output=True, text=True,
                          check=True)
    return done.stdout != ""


def shut_down(disk):
    """From here on nothing of what was not synced reaches the disk. `disk`: its mount point."""
    handle = os.open(disk, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.ioctl(handle, SHUTDOWN, struct.pack("I", WITHOUT_LOG_FLUSH))
    finally:
        os.close(handle)


class PowerCuts(kill_loop.Kills):
    """`preload`: a library for the daemon alone."""

    spool = "disk/spool"
    has_failed_syncs = True

    def __init__(self, kind, preload=""):
        self.kind = kind
        self.preload = preload

    def gateway(self, config, folder):
        make_image(folder, self.kind)
        return Gateway(config, folder=folder, environment=environment(folder, self.preload),
                       prefix=["unshare", "-m", "sh", "-c", SCRIPT, "sh"])

    def end(self, gateway, chance):
        shut_down(f"/proc/{gateway.process.pid}/root{gateway.folder}/disk")
        # It may find out that its disk is gone, and must not say 250 any more.
        time.sleep(chance.choice([0, chance.uniform(0, 0.1)]))
        gateway.process.kill()
        gateway.process.wait()
        gateway.process = None
        gateway.check_reports()
        wait_until(lambda: not is_attached(gateway.folder), "the disk to be let go of")


def run(cuts, seed, kind, say=lambda line: None, preload=""):
    return kill_loop.run(cuts, seed, say=say, way=PowerCuts(kind, preload), lives_seconds=(0.05, 0.6))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--file-system", choices=sorted(MAKE), default="ext4")
    parser.add_argument("--seed", type=int, default=None, help="of the moments; random when left out")
    arguments = parser.parse_args()
    reason = why_not(arguments.file_system)
    if reason is not None:
        sys.exit(reason)
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
    try:
        summary = run(arguments.cuts, seed, arguments.file_system, lambda line: print(line, flush=True))
    except AssertionError as failure:
        print(failure, file=sys.stderr)
        print(f"seed {seed}", file=sys.stderr)
        sys.exit(1)
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
