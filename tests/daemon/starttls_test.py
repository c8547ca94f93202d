"""STARTTLS: what is forgotten, what is refused, and what somebody on the way cannot smuggle in
(RFC 3207; list P11 to P19)."""

import ssl
import time

from tests.support.daemon_case import DaemonTest
from tests.support.gateway import listener, tls_settings, wait_until, without_trace
from tests.support.smtp_client import Closed


def with_tls():
    """`mx` with STARTTLS and `plain` without."""
    return [listener("mx", tls=tls_settings()), listener("plain")]


class StartTlsTest(DaemonTest):
    settings = {"listeners": with_tls()}

    def greeted(self, **options):
        """EHLO said, still in the clear."""
        client = self.raw_client(**options)
        client.greet()
        return client

    def box(self):
        return f"{self.tag}@box.test"

    def test_it_is_offered_before_and_not_after(self):
        client = self.raw_client()
        before = client.greet()
        self.assertIn("STARTTLS", before.lines)
        self.assertNotIn("REQUIRETLS", before.lines)
        client.starttls()
        after = client.expect("EHLO client.test", 250)
        self.assertNotIn("STARTTLS", after.lines)
        self.assertIn("REQUIRETLS", after.lines)

    def test_received_names_what_was_used(self):
        client = self.client(tls="starttls")
        version, cipher = client.tls.version(), client.tls.cipher()[0]
        self.assert_reply(client.mail("a@client.test", [self.box()], b"Subject: x\r\n\r\n"), 250)
        trace = self.gateway.wait_for_mail(self.box())[0].split(b"\r\nSubject")[0].decode()
        self.assertIn(f"with ESMTPS ({version} {cipher})", " ".join(trace.split()))

    def test_p11_commands_behind_starttls(self):
        for injected in (b"EHLO evil.test\r\n", b"RSET\r\n", b"MAIL FROM:<evil@evil.test>\r\n", b"\0"):
            client = self.greeted()
            client.send(b"STARTTLS\r\n" + injected)
            replies = client.read_to_end()
            self.assertEqual([(reply.code, reply.status) for reply in replies], [(554, "5.5.0")])

    def test_p12_bytes_between_the_220_and_the_handshake(self):
        for injected in (b"EHLO evil.test\r\n", b"\0", b"MAIL FROM:<evil@evil.test>\r\n" * 100):
            client = self.greeted()
            client.expect("STARTTLS", 220, "2.0.0")
            client.raw.sendall(injected)
            with self.assertRaises((ssl.SSLError, OSError, AssertionError)):
                client.handshake()
                client.command("NOOP")

    def test_p13_what_was_said_in_clear_is_forgotten(self):
        client = self.greeted()
        client.starttls()
        client.expect("MAIL FROM:<a@client.test>", 503, "5.5.1")
        client.expect("EHLO again.test", 250)
        client.expect("RCPT TO:<x@box.test>", 503, "5.5.1")
        client.expect("MAIL FROM:<a@client.test>", 250)

    def test_p14_inside_a_transaction(self):
        client = self.greeted()
        client.start("a@client.test", [self.box()])
        client.expect("STARTTLS", 503, "5.5.1")
        client.expect("DATA", 354)
        client.send(b"Subject: x\r\n\r\n.\r\n")
        self.assert_reply(client.read_reply(), 250)
        client.starttls()

    def test_p15_twice(self):
        client = self.client(tls="starttls")
        client.expect("STARTTLS", 554, "5.5.1")
        self.assert_goes_on(client)

    def test_p16_with_an_argument(self):
        client = self.greeted()
        client.expect("STARTTLS now", 501, "5.5.4")
        client.starttls()

    def test_p17_without_a_certificate(self):
        client = self.raw_client(listener="plain")
        self.assertNotIn("STARTTLS", client.greet().lines)
        client.expect("STARTTLS", 502, "5.5.1")

    def test_p18_clear_bytes_after_the_end_of_tls_inside_a_chunk(self):
        before = self.gateway.received()
        client = self.client(tls="starttls")
        client.start("a@client.test", [self.box()])
        client.send(b"BDAT 1000 LAST\r\nSubject: half\r\n")
        client.socket.close_notify()
        self.finish_in_clear(client, b"x" * 985)
        self.assertEqual(self.gateway.received(), before)

    def test_p19_a_clear_end_of_data_after_the_end_of_tls(self):
        before = self.gateway.received()
        client = self.client(tls="starttls")
        client.start_data("a@client.test", [self.box()])
        client.send(b"Subject: half\r\n\r\n")
        client.socket.close_notify()
        self.finish_in_clear(client, b"\r\n.\r\nQUIT\r\n")
        self.assertEqual(self.gateway.received(), before)

    def finish_in_clear(self, client, data):
        """Sends below TLS; the server must end the connection."""
        try:
            client.raw.sendall(data)
            while client.raw.recv(65536):
                pass
        except OSError:
            pass
        wait_until(lambda: self.gateway.metric("postern_smtp_connections") == 0, "no open session")

    def test_a_message_in_every_cut_of_a_record(self):
        client = self.client(tls="starttls")
        client.start_data("a@client.test", [self.box()])
        content = b"Subject: cut\r\n\r\n..dot\r\n"
        records = client.socket.records(content + b".\r\n")
        for byte in records:
            client.raw.sendall(bytes([byte]))
        self.assert_reply(client.read_reply(), 250)
        mail = self.gateway.wait_for_mail(self.box())[0]
        self.assertEqual(without_trace(mail), b"Subject: cut\r\n\r\n.dot\r\n")

    def test_truncation_drops_the_message(self):
        before = self.gateway.received()
        for part in (b"Subject: half\r\n", b"Subject: x\r\n\r\nx\r\n.\r"):
            client = self.client(tls="starttls")
            client.start_data("a@client.test", [self.box()])
            client.send(part)
            time.sleep(0.05)
            client.raw.close()
        wait_until(lambda: self.gateway.metric("postern_smtp_connections") == 0, "no open session")
        self.assertEqual(self.gateway.received(), before)


class HandshakeTimeTest(DaemonTest):
    settings = {"listeners": [
        listener("mx", tls=tls_settings(), timeouts={"handshake": "1s"}),
        listener("implicit", tls=tls_settings(mode="implicit"), timeouts={"handshake": "1s"}),
    ]}

    def assert_ends(self, client, started):
        with self.assertRaises((Closed, OSError, AssertionError)):
            client.read_reply()
        self.assertLess(time.monotonic() - started, 8)

    def test_t3_a_silent_client(self):
        client = self.raw_client()
        client.greet()
        client.expect("STARTTLS", 220)
        self.assert_ends(client, time.monotonic())

    def test_t3_a_silent_client_of_implicit_tls(self):
        self.assert_ends(self.raw_client(listener="implicit"), time.monotonic())

    def test_t3_a_hello_byte_by_byte(self):
        started = time.monotonic()
        client = self.raw_client(listener="implicit")
        try:
            for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60):
                client.raw.sendall(bytes([byte]))
                time.sleep(0.1)
        except OSError:
            pass
        self.assert_ends(client, started)


class HandshakeCountTest(DaemonTest):
    """D8: a flood of new TLS sessions; those inside are not touched."""

    settings = {"listeners": [
        listener("mx", tls=tls_settings(), limits={"handshakes": 2}),
        listener("implicit", tls=tls_settings(mode="implicit"), limits={"handshakes": 2}),
    ]}

    def test_d8_more_handshakes_than_allowed(self):
        inside = self.client(tls="starttls")
        halves = []
        for _ in range(2):
            client = self.raw_client()
            client.greet()
            client.expect("STARTTLS", 220)
            halves.append(client)
        late = self.raw_client()
        late.greet()
        late.expect("STARTTLS", 454, "4.7.0")
        self.assert_goes_on(late)
        self.assert_goes_on(inside)
        halves[0].handshake()
        # The client is done a moment before the server is.
        wait_until(lambda: late.command("STARTTLS").code == 220, "a place for one more handshake")
        late.handshake()
        late.expect("EHLO client.test", 250)

    def test_d8_more_handshakes_than_allowed_from_the_first_byte(self):
        halves = [self.raw_client(listener="implicit") for _ in range(2)]
        time.sleep(0.1)
        late = self.raw_client(listener="implicit")
        with self.assertRaises((Closed, OSError)):
            late.read_reply()
        for client in halves:
            client.handshake()
            self.assert_reply(client.read_reply(), 220)


class EarlyTalkerTest(DaemonTest):
    settings = {"listeners": [
        listener("mx"), listener("late", greeting_delay="1s"),
        listener("implicit", tls=tls_settings(mode="implicit"), greeting_delay="500ms"),
    ]}

    def test_p1_bytes_before_a_banner_that_waits(self):
        for early in (b"EHLO a.example\r\n", b"\0", b"GET / HTTP/1.1\r\n\r\n"):
            client = self.raw_client(listener="late")
            client.send(early)
            replies = client.read_to_end()
            self.assertEqual([(reply.code, reply.status) for reply in replies], [(554, "5.5.0")])

    def test_p1_bytes_that_came_with_the_connection(self):
        """Without a delay who sends at once is a little late most times; then it is let be."""
        for _ in range(20):
            client = self.raw_client()
            client.send(b"NOOP\r\n")
            client.send(b"QUIT\r\n")
            codes = [reply.code for reply in client.read_to_end()]
            self.assertIn(codes, ([554], [220, 554], [220, 250, 221]))

    def test_p1_under_tls(self):
        client = self.raw_client(listener="implicit", tls="implicit")
        client.send(b"EHLO a.example\r\n")
        self.assert_closed(client, [554])

    def test_who_waits_is_greeted(self):
        started = time.monotonic()
        client = self.client(listener="late")
        self.assertGreater(time.monotonic() - started, 0.8)
        self.assert_goes_on(client)
        self.assert_goes_on(self.client(listener="implicit", tls="implicit"))
