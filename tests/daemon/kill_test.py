"""D28: SIGKILL at random moments loses nothing, and needs no repair (G3). See kill_loop.py."""

import os
import random
import unittest
from concurrent.futures import ThreadPoolExecutor

from tests.daemon import kill_loop
from tests.support.gateway import (
    IS_LONG, Gateway, fixed_port, is_sanitized, settings, wait_until, without_trace)
from tests.support.sink_server import Sink

ROUNDS = int(os.environ.get("POSTERN_KILL_ROUNDS", "10000" if IS_LONG and not is_sanitized() else "10" if is_sanitized() else "50"))
LOOPS = 4 if ROUNDS >= 1000 else 1  # at once, each with a daemon of its own


class KillTest(unittest.TestCase):
    def test_nothing_is_lost_under_load(self):
        def one_of_them(number):
            return kill_loop.run(ROUNDS // LOOPS + (number < ROUNDS % LOOPS), random.randrange(1 << 32))

        with ThreadPoolExecutor(LOOPS) as loops:
            for summary in loops.map(one_of_them, range(LOOPS)):
                print(summary)
                self.assertGreater(summary["compare"]["accepted"], 0)

    def test_it_starts_again_at_once(self):
        # The kernel lets go of a killed process's ring, and of the sockets in it, a moment after the
        # process is gone; a supervisor does not wait for that.
        address = f"127.0.0.1:{fixed_port()}"
        with Gateway(settings(listener={"address": [address]})) as gateway:
            for _ in range(15):
                clients = [gateway.client() for _ in range(20)]
                for client in clients:
                    client.start_data("a@client.test", ["cut@box.test"])
                    client.send(b"x" * 100_000)
                gateway.kill()
                gateway.start()
                for client in clients:
                    client.close()

    def test_the_queue_outlives_a_kill(self):
        with Sink(is_up=False) as sink, Gateway(sink=sink) as gateway:
            contents = {b"Subject: %d\r\n\r\n" % size + b"x" * 70 * (size // 70) + b"\r\n"
                        for size in (1, 100, 5000, 70_000, 700_000)}
            with gateway.client() as client:
                for content in contents:
                    self.assertEqual(client.mail("a@client.test", ["r@sink.test"], content).code, 250)
            gateway.kill()
            gateway.start()
            self.assertEqual(len(gateway.queue()), len(contents))
            gateway.kill()
            gateway.start()
            sink.start()
            gateway.wait_for_empty_queue()
            self.assertEqual({without_trace(m.content) for m in sink.accepted()}, contents)

    def test_results_outlive_a_kill(self):
        def rcpt(_session, address):
            return "451 4.3.0 later" if address == "later@sink.test" else None

        with Sink({"RCPT": rcpt}) as sink, Gateway(sink=sink) as gateway:
            with gateway.client() as client:
                client.mail("a@client.test", ["now@sink.test", "later@sink.test"], b"x\r\n")

            def states():
                return {recipient["address"]: recipient["state"]
                        for message in gateway.queue() for recipient in message["recipients"]}

            wait_until(lambda: states().get("now@sink.test") == "delivered", "the first result")
            gateway.kill()
            gateway.start()
            self.assertEqual(states(), {"now@sink.test": "delivered", "later@sink.test": "queued"})
            sink.replies.clear()
            gateway.wait_for_empty_queue()
            self.assertEqual(len(sink.accepted("now@sink.test")), 1)
            self.assertEqual(len(sink.accepted("later@sink.test")), 1)

    def test_an_upload_that_was_cut_leaves_nothing(self):
        with Gateway() as gateway:
            with gateway.client() as client:
                client.start_data("a@client.test", ["cut@box.test"])
                client.send(b"half a message\r\n" * 50_000)
                gateway.kill()
            gateway.start()
            self.assertEqual(gateway.queue(), [])
            self.assertEqual(gateway.mailbox("cut@box.test"), [])
