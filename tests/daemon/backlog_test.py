"""More mail than the delivery half holds at once, and a next hop that goes away while much waits."""

import threading
import unittest

from tests.support.gateway import Gateway, settings, wait_until
from tests.support.sink_server import Sink

BATCH = 90  # MAIL commands in one session, below any limit of commands
WINDOW = 4096  # DELIVERY_MESSAGES_MAX


def fill(gateway, count):
    """Hands in `count` messages and returns how many got 250."""
    accepted = 0
    while count > 0:
        batch = min(BATCH, count)
        with gateway.client() as client:
            for _ in range(batch):
                accepted += client.mail("a@client.test", ["b@sink.test"], b"Subject: x\r\n\r\nx\r\n").code == 250
        count -= batch
    return accepted


class BacklogTest(unittest.TestCase):
    def begin(self, sink, **changes):
        gateway = Gateway(settings(sink_address=sink.address, node={"cores": 1}, **changes))
        self.addCleanup(gateway.clean_up)
        gateway.start()
        return gateway

    def test_what_comes_while_the_window_is_full_is_delivered_by_the_same_run(self):
        gate = threading.Event()
        sink = Sink({"MAIL": lambda _session, _argument: gate.wait(300) and None})
        self.addCleanup(sink.close)
        gateway = self.begin(sink)
        count = WINDOW + 600
        self.assertEqual(fill(gateway, count), count)
        gate.set()
        wait_until(lambda: len(sink.accepted()) >= count, "every message", 120)
        gateway.wait_for_empty_queue()
        self.assertEqual(len(sink.accepted()), count)
        gateway.stop()

    def test_a_next_hop_that_goes_away_between_two_transactions(self):
        gate = threading.Event()
        sink = Sink()

        def dot(_session, _message):
            gate.wait(60)
            if len(sink.messages) >= 5 and not sink_is_gone.is_set():
                sink_is_gone.set()
                threading.Thread(target=sink.stop).start()

        sink_is_gone = threading.Event()
        sink.replies["dot"] = dot
        self.addCleanup(sink.close)
        gateway = self.begin(sink, delivery={
            "retry": {"first": "1s", "factor": 2, "max": "2s", "jitter": "0%"},
            "per_destination": {"connections": 1, "messages_per_connection": 1}})
        self.assertEqual(fill(gateway, 20), 20)
        gate.set()
        wait_until(sink_is_gone.is_set, "the next hop to end")
        # Each of those that wait is deferred, again and again: none waits for what does not come.
        wait_until(lambda: len({e["id"] for e in gateway.log("deferred")}) >= 14, "the deferrals")
        del sink.replies["dot"]
        sink.start()
        wait_until(lambda: len({m.content for m in sink.accepted()}) >= 1 and not gateway.queue(),
                   "the rest", 60)
        gateway.stop()
