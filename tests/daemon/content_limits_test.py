"""Messages of extreme shapes (H1 to H6): each in time that grows with its length, and in constant
memory when it is refused."""

import time

from tests.support.daemon_case import DaemonTest, under_tls
from tests.support.gateway import is_sanitized
from tests.support.smtp_client import bdat_chunk

MANY = 100_000
HEADER_BYTES_MAX = 1 << 20
SECONDS_MAX = 60 if is_sanitized() else 10


class ShapeTest(DaemonTest):
    settings = {"listener": {"limits": {"errors": 1000}}}

    def box(self):
        return f"{self.tag}@box.test"

    def ways(self):
        """DATA and BDAT, as functions of (sender, recipients, content)."""
        client = self.client(timeout=60)
        return client, (client.mail, client.mail_bdat)

    def check(self, content, code, status):
        client, ways = self.ways()
        before = self.gateway.received()
        for send in ways:
            started = time.monotonic()
            reply = send("a@client.test", [self.box()], content)
            self.assert_reply(reply, code, status, f"{send.__name__} of {content[:40]!r}")
            self.assertLess(time.monotonic() - started, SECONDS_MAX)
            if code != 250:
                client.expect("RSET", 250)  # chunks may be left over
        self.assert_goes_on(client)
        self.assertEqual(self.gateway.received() - before, len(ways) if code == 250 else 0)
        client.close()

    @staticmethod
    def sent(mail):
        """What the client sent: all behind our own Received, which ends with the date. (A message
        that begins with a blank goes on with that field for other readers.)"""
        return mail.partition(b" +0000\r\n")[2]

    def check_taken(self, *contents):
        for content in contents:
            self.check(content, 250, "2.0.0")
        wanted = [content for content in contents for _ in range(2)]
        found = [self.sent(mail) for mail in self.gateway.wait_for_mail(self.box(), len(wanted))]
        self.assertEqual(sorted(found), sorted(wanted))

    def test_h1_the_hundredth_received(self):
        field = b"Received: from a by b; Mon, 23 Nov 2026 16:00:00 +0000\r\n"
        folded = b"RECEIVED\t:\r\n from a\r\n by b;\r\n Mon, 23 Nov 2026 16:00:00 +0000\r\n"
        for one in (field, folded):
            self.check(one * 100 + b"\r\nbody\r\n", 554, "5.4.6")
            self.check(b"X: y\r\n" * 1000 + one * 100 + b"\r\n", 554, "5.4.6")
        self.check_taken(field * 99 + b"\r\n" + field, b"Subject: x\r\n\r\n" + field * 200,
                         b"X-Received: x\r\nReceived-SPF: x\r\n" * 200 + b"\r\n",
                         b"X: y\r\n " + field * 1 + b" " + field * 1 + b"\r\n")

    def test_h2_at_the_limit_of_the_header_section(self):
        line = b"X: " + b"x" * 1019 + b"\r\n"
        self.assertEqual(len(line), 1024)
        whole = line * (HEADER_BYTES_MAX // 1024)
        self.check(whole + b"\r\nbody\r\n", 552, "5.3.4")
        self.check(whole[:-2] + b"x" * 5000 + b"\r\n", 552, "5.3.4")
        self.check(b"x" * (HEADER_BYTES_MAX + 1) + b"\r\n", 552, "5.3.4")
        self.check_taken(whole[1026:] + b"x" * 1020 + b"\r\n\r\nbody\r\n")

    def test_h3_names_of_fields(self):
        self.check_taken(
            b"__proto__: x\r\nconstructor: y\r\n\r\n", b": x\r\n\r\n", b"Foo : x\r\n\r\n", b"F\xf6o: \xff\r\n\r\n",
            b"x" * 65536 + b": y\r\n\r\n", b"X" * 65536 + b"\r\n\r\n", b" : \r\n\r\n", b":\r\n\r\n", b"\t\r\n\r\n",
            b"%s%n: %x\r\n\r\n", b"\x01\x02\x7f: \x1b[31m\r\n\r\n")
        self.check(b"a\0b: x\r\n\r\n", 550, "5.6.0")
        self.check(b"\0: x\r\n\r\n", 550, "5.6.0")

    def test_h3_a_hundred_thousand_fields(self):
        distinct = b"".join(b"%x:\r\n" % count for count in range(MANY))
        self.check_taken(distinct + b"\r\nbody\r\n", b"X: y\r\n" * MANY + b"\r\nbody\r\n")

    def test_h4_a_hundred_thousand_folded_lines(self):
        self.check_taken(
            b"X: a\r\n" + b" b\r\n" * MANY + b"\r\nbody\r\n", b"X: a\r\n" + b" \r\n" * MANY + b"\r\n",
            b"X: a\r\n" + b"\t \r\n" * MANY, b"\t\r\n" * MANY)

    def test_h4_without_header_or_body(self):
        self.check_taken(b"", b"\r\n", b"no colon\r\n", b"\r\nbody only\r\n", b"Subject: header only\r\n",
                         b"Subject: x\r\n\r\n", b"text\r\nSubject: x\r\n\r\n", b"\r\n\r\n\r\n")

    def test_h5_nul_anywhere(self):
        for content in (b"\0", b"\0\r\n", b"Subject: \0\r\n\r\n", b"Subject: x\r\n\r\n\0", b"\r\n\0\r\n",
                        b"Subject: x\r\n\r\n" + b"x" * 200_000 + b"\0\r\n"):
            content += b"" if content.endswith(b"\r\n") else b"\r\n"
            self.check(content, 550, "5.6.0")

    def test_h6_every_byte_but_three(self):
        octets = bytes(byte for byte in range(1, 256) if byte not in (10, 13))
        self.check_taken(b"Subject: \xe4 \xc3\xa4\r\nX-\xff: " + octets + b"\r\n\r\n" + octets * 100 + b"\r\n")

    def test_e24_h5_what_is_worse_comes_first(self):
        """One message, many faults: one reply, and the session goes on."""
        bad = b"Received: x\r\n" * 200 + b"a\0b\nc\rd\r\n" + b"X: " + b"x" * HEADER_BYTES_MAX
        client = self.client()
        client.start_data("a@client.test", [self.box()])
        client.send(bad + b"\r\n.\r\n")
        self.assertIn(client.read_reply().code, (550, 552, 554))
        self.assert_goes_on(client)


class MemoryTest(DaemonTest):
    """What is refused is read to its end, and kept nowhere."""

    BYTES_MAX = 8 << 20
    LINE = b"a line of text that goes on\r\n" * 2000
    COUNT = 2000  # more than 100 MB

    def resident_bytes(self):
        with open(f"/proc/{self.gateway.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) * 1024

    def check(self, client, first, last, wanted):
        client.send(first)
        for _ in range(20):
            client.send(self.LINE)
        before = most = self.resident_bytes()
        for _ in range(self.COUNT):
            client.send(self.LINE)
            most = max(most, self.resident_bytes())
        client.send(last)
        self.assert_reply(client.read_reply(), *wanted)
        self.assert_goes_on(client)
        if not is_sanitized():
            self.assertLess(most - before, self.BYTES_MAX)

    def test_refused_for_what_it_holds(self):
        for first, wanted in ((b"a\n.\r\nMAIL FROM:<evil@evil.test>\r\n", (550, "5.6.0")),
                              (b"a\0b\r\n", (550, "5.6.0")),
                              (b"Received: x\r\n" * 100 + b"\r\n", (554, "5.4.6"))):
            client = self.client(timeout=60)
            client.start_data("a@client.test", [f"{self.tag}@box.test"])
            self.check(client, first, b".\r\n", wanted)
            client.close()
        self.assertEqual(self.gateway.received(), 0)

    def test_refused_in_a_chunk(self):
        client = self.client(timeout=60)
        client.start("a@client.test", [f"{self.tag}@box.test"])
        self.assert_reply(client.bdat(b"a\0b\r\n"), 550, "5.6.0")
        client.send(b"BDAT %d LAST\r\n" % ((self.COUNT + 20) * len(self.LINE)))
        self.check(client, b"", b"", (503, "5.5.1"))
        client.send(bdat_chunk(b"x", is_last=True))
        self.assert_reply(client.read_reply(), 503, "5.5.1")


ShapeUnderTls = under_tls(ShapeTest)
MemoryUnderTls = under_tls(MemoryTest)
