"""Time limits, connection limits and the disk's reserve: each is reached and answered (list D)."""

import os
import time
import unittest

from tests.support.daemon_case import DaemonTest, under_tls
from tests.support.gateway import IS_LONG, Gateway, scratch_folder, settings, wait_until
from tests.support.smtp_client import Client


class TimeTest(DaemonTest):
    settings = {"listener": {"timeouts": {"command": "2s", "data": "2s"}}}

    def assert_timed_out(self, client, started, least=1.5, most=10.0):
        replies = client.read_to_end(20)
        took = time.monotonic() - started
        self.assertEqual([(reply.code, reply.status) for reply in replies], [(421, "4.4.2")])
        self.assertGreater(took, least)
        self.assertLess(took, most)

    def test_d1_a_command_byte_by_byte(self):
        client = self.client()
        started = time.monotonic()
        try:
            for byte in b"NOOP with a very long argument that takes its time":
                client.send(bytes([byte]))
                if not client.is_silent(0.3):
                    break
        except OSError:
            pass
        self.assertLess(time.monotonic() - started, 8, "the deadline is one of each read")
        self.assert_timed_out(client, started)

    def test_d4_an_idle_session(self):
        client = self.client()
        self.assert_timed_out(client, time.monotonic())

    def test_an_idle_session_before_ehlo(self):
        client = self.raw_client()
        client.read_reply()
        self.assert_timed_out(client, time.monotonic())

    def test_each_command_has_its_whole_time(self):
        client = self.client()
        for _ in range(4):
            time.sleep(1.0)
            self.assert_reply(client.command("NOOP"), 250)

    def test_silence_inside_of_a_message(self):
        before = self.gateway.received()
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test"])
        client.send(b"Subject: half\r\n")
        self.assert_timed_out(client, time.monotonic())
        self.assertEqual(self.gateway.received(), before)

    def test_a_slow_message_that_goes_on_is_let_be(self):
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test"])
        for _ in range(5):
            client.send(b"x" * 50 + b"\r\n")
            time.sleep(1.0)
        client.send(b".\r\n")
        self.assert_reply(client.read_reply(), 250)


class SessionTimeTest(DaemonTest):
    settings = {"listener": {"timeouts": {"session": "3s"}}}

    def test_the_whole_session_is_bounded(self):
        client = self.client()
        started = time.monotonic()
        replies = []
        while time.monotonic() - started < 15:
            reply = client.command("NOOP")
            replies.append(reply)
            if reply.code == 421:
                break
            time.sleep(0.5)
        self.assertEqual((replies[-1].code, replies[-1].status), (421, "4.4.2"))
        self.assertGreater(time.monotonic() - started, 2)


@unittest.skipUnless(IS_LONG, "takes 40 s: ./test --long")
class DataRateTest(DaemonTest):
    settings = {"listener": {"limits": {"data_rate_min": "500B"}}}

    def test_d2_a_message_below_the_least_rate(self):
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test"])
        started = time.monotonic()
        while client.is_silent(0.5):
            client.send(b"x\r\n")
            self.assertLess(time.monotonic() - started, 60)
        replies = client.read_to_end()
        self.assertEqual([(reply.code, reply.status) for reply in replies], [(421, "4.4.2")])
        self.assertGreater(time.monotonic() - started, 25)
        self.assertEqual(self.gateway.mailbox(f"{self.tag}@box.test"), [])


class DeafClientTest(DaemonTest):
    settings = {"listener": {"timeouts": {"command": "2s"}, "limits": {"recipients": 10000}}}

    def test_d3_a_client_that_reads_nothing(self):
        client = self.client(receive_buffer=2048)
        client.socket.settimeout(0.5)
        client.send(b"MAIL FROM:<a@client.test>\r\n")
        try:
            while True:
                client.send(b"RCPT TO:<someone@elsewhere.test>\r\nRSET\r\nMAIL FROM:<a@b.test>\r\n" * 100)
        except OSError:
            pass  # neither side takes any more, or the server gave up already
        wait_until(lambda: self.gateway.metric("postern_smtp_connections") == 0,
                   "the session of a deaf client to end", 60)


class ConnectionsTest(DaemonTest):
    settings = {"listener": {"limits": {"connections": 6, "connections_per_client": 4}}}

    def banner(self, **options):
        client = self.raw_client(**options)
        return client, client.read_reply()

    def wait_until_free(self):
        wait_until(lambda: self.gateway.metric("postern_smtp_connections") == 0, "no open session")

    def test_d5_d6_more_connections_than_allowed(self):
        self.wait_until_free()
        clients = []
        for _ in range(4):
            client, reply = self.banner(source="127.0.0.2")
            self.assert_reply(reply, 220)
            clients.append(client)
        client, reply = self.banner(source="127.0.0.2")
        self.assert_reply(reply, 421, "4.7.0")
        self.assertEqual(client.read_to_end(), [])

        for _ in range(2):
            client, reply = self.banner(source="127.0.0.3")
            self.assert_reply(reply, 220)
            clients.append(client)
        client, reply = self.banner(source="127.0.0.4")
        self.assert_reply(reply, 421, "4.3.2")
        self.assertEqual(client.read_to_end(), [])

        metrics = self.gateway.metrics()
        self.assertEqual(metrics.value("postern_smtp_connections"), 6)
        # Those inside are not touched, and room that was given back is used again.
        for client in clients:
            client.greet() if client.pending else client.expect("EHLO client.test", 250)
            client.expect("QUIT", 221)
            client.close()
        self.wait_until_free()
        client, reply = self.banner(source="127.0.0.2")
        self.assert_reply(reply, 220)

    def test_d7_connect_and_reset(self):
        for _ in range(300):
            client = Client(self.gateway.port())
            client.reset()
        # Those that still wait in the kernel's backlog count against the limit until they are seen.
        wait_until(lambda: self.banner()[1].code == 220, "the storm to be over")


class StressTest(DaemonTest):
    """D1 and C16 while 80 % of the connections are open."""

    settings = {"listener": {"limits": {"connections": 10}}}

    def test_short_patience_under_stress(self):
        erring = self.client()
        self.assert_reply(erring.command("BOGUS"), 500)
        idle = [self.client(timeout=60) for _ in range(7)]
        self.assert_reply(erring.command("BOGUS"), 421, "4.7.0")
        erring.close()
        idle.append(self.client(timeout=60))
        for client in idle[:1]:
            self.assert_reply(client.read_reply(), 421, "4.4.2")
        # When it is over, the others have their whole time, and errors, again.
        for client in idle[1:4]:
            client.close()
        wait_until(lambda: self.gateway.metric("postern_smtp_connections") < 7, "room")
        late = self.client()
        self.assert_reply(late.command("BOGUS"), 500)
        self.assert_goes_on(late)


class MessagesPerConnectionTest(DaemonTest):
    settings = {"listener": {"limits": {"messages": 2, "errors": 3, "junk_commands": 5}}}

    def test_the_message_past_the_limit(self):
        client = self.client()
        for _ in range(2):
            self.assert_reply(client.mail("a@client.test", ["x@void.test"], b"x\r\n"), 250)
        client.send(b"MAIL FROM:<a@client.test>\r\n")
        self.assert_closed(client, [421])

    def test_errors(self):
        client = self.client()
        client.send(b"FROB\r\nFROB\r\nFROB\r\nNOOP\r\n")
        self.assert_closed(client, [500, 500, 421])

    def test_junk(self):
        client = self.client()
        client.send(b"NOOP\r\n" * 10)
        replies = client.read_to_end()
        self.assertLessEqual(len(replies), 6)
        self.assert_reply(replies[-1], 421, "4.7.0")


class DiskReserveTest(unittest.TestCase):
    def test_d12_less_free_than_wanted(self):
        folder = scratch_folder()
        disk = os.statvfs(folder)
        folder.rmdir()
        too_much = disk.f_frsize * disk.f_bavail // (1 << 30) + 100
        with Gateway(settings(spool={"min_free": f"{too_much}GiB"})) as gateway:
            with gateway.client() as client:
                client.expect("MAIL FROM:<a@client.test>", 452, "4.3.1")
                client.expect("MAIL FROM:<a@client.test> SIZE=10", 452, "4.3.1")
                client.expect("NOOP", 250)
            self.assertEqual(gateway.metric("postern_backpressure", reason="disk"), 1)
            self.assertEqual(gateway.get("/livez")[0], 200)


TimeUnderTls = under_tls(TimeTest)
DeafClientUnderTls = under_tls(DeafClientTest)
DataRateUnderTls = under_tls(DataRateTest)
MessagesPerConnectionUnderTls = under_tls(MessagesPerConnectionTest)
