"""Who speaks out of turn, too long or too often: the exact reply, and then the end (P1 to P10, P13,
C1 to C4, C16 to C18, E16, E26)."""

import ssl

from tests.support.daemon_case import DaemonTest, under_tls

JUNK_MAX, ERRORS_MAX = 100, 20  # the defaults
ENDLESS_BYTES = 65536
NOT_YOUR_TURN = (554, "5.5.0")


class EndTest(DaemonTest):
    def assert_end(self, client, *wanted):
        """Exactly these replies, and an orderly end."""
        replies = client.read_to_end()
        self.assertEqual([(reply.code, reply.status) for reply in replies], list(wanted))

    def banner_read(self):
        client = self.raw_client()
        self.assert_reply(client.read_reply(), 220)
        return client

    # --- out of turn ---

    def test_p2_behind_ehlo(self):
        for verb in ("EHLO", "HELO", "ehlo"):
            for behind in (b"MAIL FROM:<a@client.test>\r\n", b"NOOP\r\n", b"QUIT\r\n", b"x", b"\0", b"\n"):
                client = self.banner_read()
                client.send(f"{verb} a.example\r\n".encode() + behind)
                self.assert_end(client, NOT_YOUR_TURN)

    def test_p3_behind_data(self):
        before = self.gateway.received()
        for behind in (b"Subject: x\r\n\r\nx\r\n.\r\n", b".\r\n", b".", b"QUIT\r\n",
                       b".\r\nMAIL FROM:<evil@evil.test>\r\n"):
            client = self.client()
            client.start("a@client.test", [f"{self.tag}@box.test"])
            client.send(b"DATA\r\n" + behind)
            self.assert_end(client, NOT_YOUR_TURN)
        self.assertEqual(self.gateway.received(), before)

    def test_p3_behind_data_that_is_refused(self):
        client = self.client()
        client.send(b"DATA\r\nSubject: x\r\n\r\nx\r\n.\r\n")
        self.assert_end(client, NOT_YOUR_TURN)

    def test_p4_behind_anything_after_helo(self):
        for line in (b"MAIL FROM:<a@client.test>\r\n", b"NOOP\r\n", b"RSET\r\n", b"FROB\r\n"):
            client = self.banner_read()
            client.expect("HELO a.example", 250)
            client.send(line + b"RCPT TO:<x@box.test>\r\n")
            self.assert_end(client, NOT_YOUR_TURN)
        client = self.banner_read()  # one at a time is fine
        client.expect("HELO a.example", 250)
        self.assert_reply(client.mail("a@client.test", ["x@void.test"], b"x\r\n"), 250)

    # --- too often ---

    def test_p10_a_hundred_commands_without_a_message(self):
        for line in (b"NOOP\r\n", b"RSET\r\n", b"VRFY x\r\n", b"HELP\r\n"):
            client = self.client()  # EHLO was the first
            client.send(line * 200)
            replies = client.read_to_end()
            self.assertEqual(len(replies), JUNK_MAX, line)
            self.assertEqual({reply.code // 100 for reply in replies[:-1]}, {2}, line)
            self.assert_reply(replies[-1], 421, "4.7.0", line)

    def test_c16_the_twentieth_error(self):
        client = self.client()
        client.send(b"FROB\r\n" * 200)
        wanted = [(500, "5.5.2")] * (ERRORS_MAX - 1) + [(421, "4.7.0")]
        self.assert_end(client, *wanted)

    # --- too long ---

    def test_c3_a_line_that_does_not_end(self):
        client = self.client()
        client.send(b"x" * (ENDLESS_BYTES - 1))
        self.assertTrue(client.is_silent(0.2))
        client.send(b"x")
        self.assert_end(client, (421, "4.5.2"))

    def test_c3_a_line_that_ends_just_in_time(self):
        client = self.client()
        client.send(b"x" * (ENDLESS_BYTES - 2) + b"\r\n")
        self.assert_reply(client.read_reply(), 500, "5.5.2")
        self.assert_goes_on(client)

    def test_c1_c2_the_longest_command(self):
        client = self.client()
        for length in (512, 513, 2000, 4096):
            self.assert_reply(client.command("NOOP " + "x" * (length - 7)), 250, "2.0.0", length)
        for length in (4097, 4098, 8192, 60_000):
            self.assert_reply(client.command("NOOP " + "x" * (length - 7)), 500, "5.5.2", length)
            self.assert_goes_on(client)

    # --- other protocols ---

    def test_c17_other_protocols(self):
        for line in ("GET / HTTP/1.1", "POST /mail HTTP/1.1", "CONNECT mx.test:25 HTTP/1.1",
                     "OPTIONS * HTTP/1.1", "PRI * HTTP/2.0", "Host: mx.test", "Subject: a body"):
            client = self.banner_read()
            client.send(line.encode() + b"\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<a@b.test>\r\n")
            self.assert_end(client, NOT_YOUR_TURN)

    def test_c18_a_hello_of_tls(self):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="mx.test")
        with self.assertRaises(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outgoing.read()
        for part in (hello, hello[:1], hello[:5]):
            client = self.banner_read()
            client.send(part)
            self.assert_end(client, NOT_YOUR_TURN)
        client = self.client()  # and later
        client.send(hello)
        self.assert_end(client, NOT_YOUR_TURN)

    # --- bytes of no command ---

    def test_bytes_that_no_line_may_hold(self):
        for line, code in (
            (b"\0NOOP", 500), (b"\0", 500), (b"NO\0OP", 501), (b"NOOP \0", 501),  # E16, C4
            (b"NOOP\nNOOP", 500), (b"NOOP\rNOOP", 500), (b"\nNOOP", 500), (b"\rNOOP", 500),
            (b"NOOP\n", 500), (b"NOOP\r", 500), (b"NO\0OP\nNOOP", 500),
        ):
            client = self.client()
            client.send(line + b"\r\n")
            self.assert_reply(client.read_reply(), code, "5.5.2", line)
            self.assert_goes_on(client)
            client.close()

    def test_a_session_cut_at_every_byte(self):
        """The same replies, wherever the segments end."""
        session = (b"MAIL FROM:<a@client.test> BODY=8BITMIME\r\nRCPT TO:<x@void.test>\r\nRSET\r\n"
                   b"NO\0OP\r\nFROB\rx\r\nBDAT 3\r\n\r\n.MAIL FROM:<b@client.test>\r\n"
                   b"RCPT TO:<x@void.test>\r\nBDAT 7 LAST\r\nNOOP\r\n\r\r\nQUIT\r\n")
        # The second chunk ends with a CR; the LF behind the next one ends an empty line.
        wanted = [250, 250, 250, 501, 500, 503, 250, 250, 550, 500, 221]
        for cut in range(1, len(session)):
            client = self.client()
            client.send_split(session, cut, gap=0.001)
            self.assertEqual([reply.code for reply in client.read_to_end()], wanted, f"cut at {cut}")
            client.close()


EndUnderTls = under_tls(EndTest)
