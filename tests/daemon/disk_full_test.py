"""D13: the disk fills up under a running daemon. 452 4.3.1 after the dot, what was accepted still
leaves, and when there is room again mail is taken again.

The spool is a small file system of its own, mounted where only this daemon sees it."""

import os
import subprocess
import unittest

from tests.support.gateway import Gateway, settings, wait_until, without_trace
from tests.support.sink_server import Sink

DISK_BYTES = 320 << 20
SCRIPT = """
set -e
mount -o loop "$DISK_IMAGE" "$DISK_FOLDER"
exec "$@"
"""


def why_not():
    """Why a file system cannot be mounted here; None when it can."""
    if os.geteuid() != 0:
        return "mounting a small disk takes root"
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return f"no mount namespace: {done.stderr.strip()}"
    if not os.path.exists("/dev/loop-control"):
        return "this kernel has no loop devices"
    return None


class DiskFullTest(unittest.TestCase):
    def setUp(self):
        reason = why_not()
        if reason is not None:
            self.skipTest(reason)
        self.sink = Sink(is_up=False)
        self.addCleanup(self.sink.close)
        config = settings(
            sink_address=self.sink.address, node={"cores": 1}, spool={"path": "disk/spool", "min_free": "1MiB"},
            listener={"limits": {"message_size": "400MiB"}},
            delivery={"retry": {"first": "300ms", "max": "500ms", "factor": 1, "jitter": "0%"}},
        )
        self.gateway = Gateway(config, prefix=["unshare", "-m", "sh", "-c", SCRIPT, "sh"])
        self.addCleanup(self.gateway.clean_up)
        image, folder = self.gateway.folder / "disk.image", self.gateway.folder / "disk"
        with open(image, "wb") as disk:
            disk.truncate(DISK_BYTES)
        folder.mkdir()
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], check=True, capture_output=True)
        self.gateway.environment = {"DISK_IMAGE": str(image), "DISK_FOLDER": str(folder)}
        try:
            self.gateway.start()
        except AssertionError:
            if "mount:" in self.gateway.errors():
                self.skipTest(f"cannot mount: {self.gateway.errors().strip()}")
            raise

    def inside(self, name):
        """A path of the mounted disk, seen through the daemon's own namespace."""
        return f"/proc/{self.gateway.process.pid}/root{self.gateway.folder}/disk/{name}"

    def fill(self):
        """Takes every byte that is free."""
        with open(self.inside("filler"), "wb", buffering=0) as filler:
            for piece in (1 << 20, 4096):
                try:
                    while True:
                        filler.write(b"\0" * piece)
                except OSError:
                    pass

    def test_full_and_free_again(self):
        small = b"Subject: small\r\n\r\nkept\r\n"
        line = b"x" * 998 + b"\r\n"
        with self.gateway.client(timeout=120) as client, self.gateway.client() as other:
            for index in range(10):
                reply = client.mail("a@client.test", [f"early{index}@sink.test"], small)
                self.assertEqual(reply.code, 250)

            # The disk fills while a message arrives: it finds no room for its last blocks.
            client.start_data("a@client.test", ["late@sink.test"])
            other.start_data("a@client.test", ["small@sink.test"])
            client.send(b"\r\n" + line * 1000)
            self.fill()
            for _ in range(200):
                client.send(line * 1000)
            client.send(b".\r\n")
            reply = client.read_reply()
            self.assertEqual((reply.code, reply.status), (452, "4.3.1"))
            client.expect("NOOP", 250)
            # A small one may still fit into what is preallocated: then it counts as accepted.
            other.send(small + b".\r\n")
            reply = other.read_reply()
            self.assertIn((reply.code, reply.status), ((250, "2.0.0"), (452, "4.3.1")))
            accepted = 11 if reply.code == 250 else 10
            wait_until(lambda: self.gateway.metric("postern_backpressure", reason="disk") == 1,
                       "the gate to close")
            client.expect("MAIL FROM:<a@client.test>", 452, "4.3.1")

            # What was accepted leaves, and its records with it.
            self.sink.start()
            self.gateway.wait_for_empty_queue()
            self.assertEqual(len(self.sink.accepted()), accepted)
            self.assertEqual(self.sink.accepted("late@sink.test"), [])
            for message in self.sink.accepted():
                self.assertEqual(without_trace(message.content), small)

            os.unlink(self.inside("filler"))
            wait_until(lambda: self.gateway.metric("postern_backpressure", reason="disk") == 0,
                       "the gate to open")
            reply = client.mail("a@client.test", ["again@sink.test"], b"\r\n" + line * 3000)
            self.assertEqual(reply.code, 250, reply)
        self.gateway.wait_for_empty_queue()
        self.assertEqual(len(self.sink.accepted("again@sink.test")), 1)
        self.gateway.stop()
