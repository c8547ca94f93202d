"""Moments at which a session is easily lost: refusals inside large messages, ends in the middle of
an answer, full listeners, a drain while a message is refused, groups that do not wait (list P)."""

import time

from tests.support.daemon_case import DaemonTest, under_tls
from tests.support.gateway import wait_until


class LargeHeaderTest(DaemonTest):
    """Past 64 KiB the kernel receives straight into the queue's blocks; refusing must still work."""

    def refused(self, header, status):
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test"])
        client.send(header)
        time.sleep(0.05)
        client.send(b"\r\nbody\r\n.\r\n")
        self.assert_reply(client.read_reply(), *status)
        self.assert_goes_on(client)

    def test_a_loop_is_found_behind_a_long_header(self):
        long = b"".join(b"X-Filler: %060d\r\n" % i for i in range(1200))
        self.refused(long + b"Received: x\r\n" * 100, (554, "5.4.6"))

    def test_an_endless_header_in_small_pieces(self):
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test"])
        for _ in range(40):
            client.send(b"X-Filler: %060d\r\n" % 7 * 400)
            time.sleep(0.005)
        client.send(b"\r\nbody\r\n.\r\n")
        self.assert_reply(client.read_reply(), 552, "5.3.4")
        self.assert_goes_on(client)

    def test_a_bare_newline_behind_a_megabyte(self):
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test"])
        client.send(b"Subject: x\r\n\r\n" + b"line of text\r\n" * 80000)
        client.send(b"bare\nnewline\r\n" + b"line of text\r\n" * 20000 + b".\r\n")
        self.assert_reply(client.read_reply(), 550, "5.6.0")
        self.assert_goes_on(client)


class SynchronizationTest(DaemonTest):
    def expect_end(self, client, data, codes):
        client.send(data)
        self.assert_closed(client, codes)

    def test_p2_a_command_behind_ehlo(self):
        client = self.raw_client()
        client.read_reply()
        self.expect_end(client, b"EHLO a.example\r\nMAIL FROM:<a@client.test>\r\n", [554])

    def test_p3_a_body_that_did_not_wait_for_354(self):
        client = self.client()
        client.start("a@client.test", [f"{self.tag}@box.test"])
        self.expect_end(client, b"DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n", [554])
        self.assertEqual(self.gateway.mailbox(f"{self.tag}@box.test"), [])

    def test_p4_a_group_after_helo(self):
        client = self.raw_client()
        client.read_reply()
        self.assert_reply(client.command("HELO a.example"), 250)
        self.expect_end(client, b"NOOP\r\nNOOP\r\n", [554])

    def test_quit_may_follow_and_be_followed(self):
        client = self.client()
        self.expect_end(client, b"NOOP\r\nQUIT\r\nNOOP\r\n", [250, 221])


class VanishingPeerTest(DaemonTest):
    def test_a_client_that_closes_while_the_354_is_on_its_way(self):
        for _ in range(40):
            client = self.client()
            client.send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<x@void.test>\r\nDATA\r\n")
            client.half_close()
        wait_until(lambda: self.gateway.metric("postern_smtp_connections", listener="mx") == 0,
                   "the sessions to end")


class FullListenerTest(DaemonTest):
    settings = {"listener": {"limits": {"connections": 5}}, "node": {"cores": 1}}

    def test_everyone_beyond_the_limit_is_told(self):
        inside = [self.client() for _ in range(5)]
        for _ in range(45):
            outside = self.raw_client()
            self.assert_closed(outside, [421])
        for client in inside:
            self.assert_goes_on(client)


class DrainTest(DaemonTest):
    def test_a_message_refused_at_its_dot_gets_421_after_it(self):
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test"])
        client.send(b"bare\nnewline\r\n")
        time.sleep(0.1)
        self.gateway.terminate()
        time.sleep(0.3)
        client.send(b".\r\n")
        self.assert_closed(client, [550, 421])
        self.assertEqual(self.gateway.wait(), 0)

    def tearDown(self):
        pass  # the gateway has ended as it should

    @classmethod
    def tearDownClass(cls):
        pass


LargeHeaderUnderTls = under_tls(LargeHeaderTest)
SynchronizationUnderTls = under_tls(SynchronizationTest)
VanishingPeerUnderTls = under_tls(VanishingPeerTest)
DrainUnderTls = under_tls(DrainTest)
