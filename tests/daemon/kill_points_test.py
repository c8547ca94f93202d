"""SIGKILL at each place of the code that has a name (ring/base/crash_point.h): nothing that got 250
is lost (G3), and every place is come to. In builds without them: no trace of them is in the binary."""

import random
import re
import unittest
from pathlib import Path

from tests.support.gateway import ROOT, Gateway, binary, wait_until, without_trace
from tests.support.sink_server import Sink
from tests.support.smtp_client import Closed

SOURCE_FOLDERS = ("ring", "store", "resolver", "server")
SIZES = (40, 3000, 9000, 70_000, 300_000)
MESSAGES_MAX = 300
PASSES_MAX = 12
ONCE = {"index_made", "segment_zeroed", "segment_made"}  # come to once in a start
HAS_POINTS = b"POSTERN_CRASH_AT" in Path(binary()).read_bytes()


def point_names():
    names = []
    for folder in SOURCE_FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.c")):
            names += re.findall(r'CRASH_POINT\("(\w+)"\)', path.read_text())
    return names


def content_of(number):
    size = SIZES[number % len(SIZES)]
    return b"Subject: number %d\r\n\r\n" % number + b"%060d\r\n" % number * (size // 62) + b"\r\n"


def rcpt(_session, address):
    return "550 5.1.1 no such mailbox" if address == "nobody@sink.test" else None


class KillPointsTest(unittest.TestCase):
    def test_names_are_unique(self):
        self.assertGreater(len(point_names()), 5)
        self.assertEqual(sorted(set(point_names())), sorted(point_names()))

    def test_nothing_is_lost(self):
        if not HAS_POINTS:
            self.skipTest("this build has no such places, as it should: -DPOSTERN_CRASH_POINTS=ON has")
        for name in point_names():
            passes = 1 if name in ONCE else random.randint(1, PASSES_MAX)
            with self.subTest(point=name, passes=passes):
                self.check(name, passes)

    def check(self, name, passes):
        with Sink({"RCPT": rcpt}) as sink:
            gateway = Gateway(sink=sink, environment={"POSTERN_CRASH_AT": f"{name}:{passes}"})
            try:
                acked = self.work_until_killed(gateway)
                gateway.environment = {}
                gateway.start()
                gateway.wait_for_empty_queue()
                self.compare(acked, sink, gateway)
                gateway.stop()
            finally:
                gateway.clean_up()

    def work_until_killed(self, gateway):
        """The numbers of the messages that got 250, by recipient."""
        acked = {"a@sink.test": [], "b@box.test": [], "nobody@sink.test": []}
        recipients = list(acked)
        gateway.expected_signal = 9
        try:
            gateway.start()
            with gateway.client() as client:
                for number in range(MESSAGES_MAX):
                    recipient = recipients[number % len(recipients)]
                    if client.mail("s@sink.test", [recipient], content_of(number)).code == 250:
                        acked[recipient].append(number)
        except (OSError, Closed):
            pass  # the connection ended
        except AssertionError as failure:
            if "status -9" not in str(failure):
                raise
        if gateway.process is not None:
            wait_until(lambda: gateway.process.poll() is not None, "the place to be come to")
            self.assertEqual(gateway.process.returncode, -9)
            gateway.process = None
        return acked

    def compare(self, acked, sink, gateway):
        arrived = [without_trace(message.content) for message in sink.accepted("a@sink.test")]
        for number in acked["a@sink.test"]:
            self.assertIn(content_of(number), arrived)
        delivered = b"\n".join(bytes(message) for message in gateway.mailbox("b@box.test"))
        for number in acked["b@box.test"]:
            self.assertIn(content_of(number), delivered)
        told = b"\n".join(message.content for message in sink.accepted("s@sink.test"))
        for number in acked["nobody@sink.test"]:
            self.assertIn(b"Subject: number %d\r\n" % number, told)
