"""BDAT (RFC 3030): chunks are content whatever they look like, whole or not there, byte for byte.

P24 to P30, P18, P20, E28 and E29 of the hostile cases, and C27 for chunks."""

import random
import time
import unittest

from tests.support.daemon_case import DaemonTest
from tests.support.gateway import (
    Gateway, is_sanitized, merged, settings, wait_until, without_trace)
from tests.support.smtp_client import bdat_chunk

MESSAGE_SIZE_MAX = 30 << 20
BLOCK_BOUNDARIES = (4096, 8192, 16384, 65536, 65536 + 8192, 131072)
LINE = b"0123456789 abcdefghijklmnopqrstuvwxyz 0123456789 ABCDEFGHIJKLMNOPQRSTUVW\r\n"


def lines_of(size, name=""):
    """Text of exactly `size` bytes, which need not end with a line."""
    head = f"Subject: {name}\r\n\r\n".encode()
    content = (head + LINE * (size // len(LINE) + 1))[:size]
    # A cut inside of a CRLF would leave a bare CR; a letter takes its place.
    return content[:-1] + b"x" if content.endswith(b"\r") else content


def random_octets(size, seed=1):
    return random.Random(seed).randbytes(size)


class BdatTest(DaemonTest):
    settings = {"listener": {"limits": {"message_size": "30MiB", "errors": 1000,
                                        "junk_commands": 1000}}}

    def box(self, number=0):
        return f"{self.tag}-{number}@box.test"

    def started(self, number=0, parameters="", **options):
        client = self.client(**options)
        client.expect(f"MAIL FROM:<a@client.test>{parameters}", 250)
        client.expect(f"RCPT TO:<{self.box(number)}>", 250)
        return client

    def assert_stored(self, content, number=0):
        mail = self.gateway.wait_for_mail(self.box(number))[0]
        self.assertEqual(without_trace(mail), content)

    def assert_not_stored(self, before, *numbers):
        self.assertEqual(self.gateway.received(), before)
        for number in numbers or (0,):
            self.assertEqual(self.gateway.mailbox(self.box(number)), [])

    # --- what is taken ---

    def test_replies_name_the_octets(self):
        client = self.started()
        replies = [client.bdat(b"Subject: a\r\n"), client.bdat(b""), client.bdat(b"\r\nbody")]
        self.assertEqual([str(reply) for reply in replies],
                         ["250 2.0.0 12 octets received", "250 2.0.0 0 octets received",
                          "250 2.0.0 6 octets received"])
        reply = client.bdat(b" and its end", is_last=True)
        self.assertRegex(str(reply), r"^250 2\.0\.0 Queued as [0-9A-Z]{13}$")
        self.assert_goes_on(client)
        self.assert_stored(b"Subject: a\r\n\r\nbody and its end")

    def test_p27_zero_octets_and_last(self):
        client = self.started()
        self.assert_reply(client.bdat(b"Subject: a\r\n\r\nbody\r\n"), 250)
        self.assert_reply(client.command("BDAT 0 LAST"), 250, "2.0.0")
        self.assert_goes_on(client)
        self.assert_stored(b"Subject: a\r\n\r\nbody\r\n")

    def test_p27_an_empty_message(self):
        client = self.started()
        self.assert_reply(client.command("BDAT 0 LAST"), 250, "2.0.0")
        self.assert_goes_on(client)
        self.assert_stored(b"")

    def test_forms_of_the_command(self):
        for number, line in enumerate((b"bdat 4 last", b"BDAT  4  LAST", b"BDAT 0004 Last ")):
            client = self.started(number)
            client.send(line + b"\r\nabcd")
            self.assert_reply(client.read_reply(), 250, "2.0.0", line)
            self.assert_stored(b"abcd", number)

    def test_bdat_and_data_in_one_session(self):
        client = self.client()
        for number in range(4):
            content = b"Subject: %d\r\n\r\n.dot\r\n" % number
            send = client.mail_bdat if number % 2 == 0 else client.mail
            self.assert_reply(send("a@client.test", [self.box(number)], content), 250)
            self.assert_stored(content, number)

    def test_relayed_by_data_as_it_came(self):
        recipient = f"{self.tag}@sink.test"
        content = b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nMAIL FROM:<x@y.test>\r\n"
        client = self.client()
        self.assert_reply(client.mail_bdat("a@client.test", [recipient], content, 7), 250)
        wait_until(lambda: self.sink.accepted(recipient), "the relayed message")
        self.assertEqual(without_trace(self.sink.accepted(recipient)[0].content), content)

    def test_e32_a_message_without_an_end_of_line(self):
        recipient = f"{self.tag}@sink.test"
        client = self.client()
        self.assert_reply(client.mail_bdat("a@client.test", [recipient], b"Subject: a\r\n\r\nbody"), 250)
        wait_until(lambda: self.sink.accepted(recipient), "the relayed message")
        self.assertEqual(without_trace(self.sink.accepted(recipient)[0].content),
                         b"Subject: a\r\n\r\nbody\r\n")

    def test_e28_an_end_of_data_is_content(self):
        content = (b"Subject: first\r\n\r\nfirst\r\n.\r\nMAIL FROM:<evil@evil.test>\r\n"
                   b"RCPT TO:<evil@box.test>\r\nDATA\r\nSubject: second\r\n\r\nsecond\r\n.\r\n")
        before = self.gateway.received()
        client = self.started()
        self.assert_reply(client.bdat(content, is_last=True), 250)
        self.assert_goes_on(client)
        self.assert_stored(content)
        self.assertEqual(self.gateway.received(), before + 1)
        self.assertEqual(self.gateway.mailbox("evil@box.test"), [])

    def test_p29_one_octet_a_segment(self):
        content = b"Subject: slow\r\n\r\n.\r\nbody"
        client = self.started()
        wire = bdat_chunk(content[:11]) + bdat_chunk(content[11:], is_last=True)
        for index in range(len(wire)):
            client.send(wire[index : index + 1])
            time.sleep(0.003)
        self.assertEqual([reply.code for reply in client.read_replies(2)], [250, 250])
        self.assert_goes_on(client)
        self.assert_stored(content)

    def test_p29_one_octet_a_chunk(self):
        content = b"Subject: a\r\n\r\nb\r\n.\r\n"
        client = self.started()
        client.send(b"".join(bdat_chunk(content[at : at + 1]) for at in range(len(content))))
        client.send(b"BDAT 0 LAST\r\n")
        for reply in client.read_replies(len(content) + 1):
            self.assert_reply(reply, 250, "2.0.0")
        self.assert_stored(content)

    def test_p29_64_chunks_and_commands_pipelined(self):
        content = lines_of(64 * 3000, "pipelined")
        chunks = [content[at : at + 3000] for at in range(0, len(content), 3000)]
        client = self.client()
        wire = b"MAIL FROM:<a@client.test>\r\nRCPT TO:<%s>\r\n" % self.box().encode()
        wire += b"".join(bdat_chunk(chunk) for chunk in chunks[:-1])
        wire += bdat_chunk(chunks[-1], is_last=True)
        wire += b"MAIL FROM:<a@client.test>\r\nRCPT TO:<%s>\r\n" % self.box(1).encode()
        wire += bdat_chunk(b"second", is_last=True) + b"NOOP\r\nQUIT\r\n"
        client.send(wire)
        codes = [reply.code for reply in client.read_to_end()]
        self.assertEqual(codes, [250] * (2 + 64 + 2 + 1 + 1) + [221])
        self.assert_stored(content)
        self.assert_stored(b"second", 1)

    def test_borders_of_chunks_at_those_of_blocks(self):
        client = self.client(timeout=60)
        probe = self.box(1)
        self.assert_reply(client.mail_bdat("a@client.test", [probe], b"probe"), 250)
        mail = self.gateway.wait_for_mail(probe)[0]
        trace_bytes = mail.index(b"probe") - mail.index(b"Received:")
        wanted = set()
        for boundary in BLOCK_BOUNDARIES:
            for offset in (0, trace_bytes):
                for delta in range(-4, 5):
                    first = boundary - offset + delta
                    content = lines_of(first + 500 + boundary % 7, f"{boundary} {offset} {delta}")
                    wanted.add(content)
                    client.start("a@client.test", [self.box()])
                    client.send(bdat_chunk(content[:first]) + bdat_chunk(content[first:], True))
                    for reply in client.read_replies(2):
                        self.assert_reply(reply, 250, "2.0.0", f"{boundary} {offset} {delta}")
        found = {without_trace(mail) for mail in self.gateway.wait_for_mail(self.box(), len(wanted))}
        self.assertEqual(wanted - found, set())

    def test_25_mib_in_one_chunk_and_in_many(self):
        content = lines_of(25 << 20, "large")
        client = self.client(timeout=120)
        for number, size in enumerate((25 << 20, 1 << 20, 100_003)):
            reply = client.mail_bdat("a@client.test", [self.box(number)], content, size)
            self.assert_reply(reply, 250, "2.0.0", size)
        for number in range(3):
            self.assert_stored(content, number)

    def test_random_sizes_of_chunks_and_segments(self):
        rng = random.Random(7)
        content = lines_of(400_000, "random")
        client = self.started()
        wire, at, count = b"", 0, 1
        while at < len(content):
            size = rng.choice((1, 2, 77, 1000, 9000, 70_000))
            wire += bdat_chunk(content[at : at + size])
            at, count = at + size, count + 1
        wire += b"BDAT 0 LAST\r\n"
        at = 0
        while at < len(wire):
            size = rng.choice((1, 5, 100, 5000, 60_000))
            client.send(wire[at : at + size])
            at += size
        for reply in client.read_replies(count):
            self.assert_reply(reply, 250, "2.0.0")
        self.assert_stored(content)

    def test_binarymime_is_byte_for_byte(self):
        contents = [bytes(range(256)), b"\r", b"\n", b"\0", b"\r\n.\r\n\r", b"x" * 5000,
                    random_octets(300_000)]
        for number, content in enumerate(contents):
            client = self.started(number, " BODY=BINARYMIME")
            half = len(content) // 2
            self.assert_reply(client.bdat(content[:half]), 250)
            self.assert_reply(client.bdat(content[half:], is_last=True), 250)
            self.assert_stored(content, number)

    def test_8bit_content(self):
        content = "Subject: \u00e4\r\n\r\n\u00f6\r\n".encode()
        client = self.started(0, " BODY=8BITMIME")
        self.assert_reply(client.bdat(content, is_last=True), 250)
        self.assert_stored(content)

    # --- what is refused ---

    def test_p24_sizes_that_cannot_be_read(self):
        before = self.gateway.received()
        for size in ("-1", "+1", "0x10", "1e9", "1.5", str(1 << 63), str(1 << 64), "9" * 100, "",
                     "LAST", "LAST 5", "five"):
            client = self.started()
            client.send(f"BDAT {size}".rstrip().encode() + b"\r\nMAIL FROM:<x@y.test>\r\n")
            replies = client.read_to_end()
            self.assertEqual([(reply.code, reply.status) for reply in replies], [(501, "5.5.4")], size)
        self.assert_not_stored(before)

    def test_p24_more_arguments(self):
        before = self.gateway.received()
        for arguments in (b"4 LAST x", b"4 FIRST", b"4 4", b"4 LAST LAST", b"4 LASTX"):
            client = self.started()
            client.send(b"BDAT " + arguments + b"\r\nQUIT")
            self.assert_reply(client.read_reply(), 501, "5.5.4", arguments)
            self.assert_reply(client.bdat(b"NOOP", is_last=True), 503, "5.5.1")
            self.assert_goes_on(client)
        self.assert_not_stored(before)

    def test_p25_without_a_recipient(self):
        before = self.gateway.received()
        commands = b"RCPT TO:<%s>\r\n" % self.box().encode()
        client = self.client()
        for is_last in (False, True):  # without MAIL
            self.assert_reply(client.bdat(commands, is_last), 503, "5.5.1")
        client.expect("MAIL FROM:<a@client.test>", 250)
        self.assert_reply(client.bdat(commands), 503, "5.5.1")
        self.assert_reply(client.bdat(commands * 1000, is_last=True), 503, "5.5.1")
        self.assert_goes_on(client)
        client.expect("MAIL FROM:<a@client.test>", 250)  # LAST has ended the one before
        client.expect("RCPT TO:<x@refused.test>", 550)
        self.assert_reply(client.bdat(commands), 503, "5.5.1")
        client.expect(f"RCPT TO:<{self.box()}>", 503, "5.5.1")
        client.expect("RSET", 250)
        self.assert_not_stored(before)

    def test_p25_before_the_greeting(self):
        client = self.raw_client()
        self.assert_reply(client.read_reply(), 220)
        self.assert_reply(client.bdat(b"NOOP\r\n"), 503, "5.5.1")
        client.expect("HELO client.test", 250)
        client.start("a@client.test", [self.box()])
        self.assert_reply(client.bdat(b"NOOP\r\n"), 503, "5.5.1")
        client.expect("RSET", 250)
        self.assert_goes_on(client)

    def test_p25_a_pipelined_message_to_nobody(self):
        client = self.client()
        client.send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<x@refused.test>\r\n" +
                    bdat_chunk(b"Subject: a\r\n\r\n") + bdat_chunk(b"RSET\r\nQUIT\r\n", True) +
                    b"MAIL FROM:<b@client.test>\r\n")
        self.assertEqual([reply.code for reply in client.read_replies(5)], [250, 550, 503, 503, 250])
        self.assert_goes_on(client)

    def test_p26_over_the_limit(self):
        before = self.gateway.received()
        client = self.started(timeout=60)
        self.assert_reply(client.bdat(LINE * 1000), 250)
        self.assert_reply(client.bdat(LINE * (MESSAGE_SIZE_MAX // len(LINE))), 552, "5.3.4")
        for _ in range(3):
            self.assert_reply(client.bdat(LINE), 503, "5.5.1")
        self.assert_reply(client.command("RSET"), 250)
        self.assert_goes_on(client)
        self.assert_not_stored(before)

    def test_c27_exactly_at_the_limit(self):
        client = self.started(0, timeout=120)
        content = lines_of(MESSAGE_SIZE_MAX, "limit")
        self.assert_reply(client.bdat(content[:-1000]), 250)
        self.assert_reply(client.bdat(content[-1000:], is_last=True), 250)
        client.start("a@client.test", [self.box(1)])
        self.assert_reply(client.bdat(content + b"x", is_last=True), 552, "5.3.4")
        client.start("a@client.test", [self.box(1)])
        self.assert_reply(client.bdat(content), 250)
        self.assert_reply(client.bdat(b"x", is_last=True), 552, "5.3.4")
        self.assert_goes_on(client)
        self.assert_stored(content)
        self.assertEqual(self.gateway.mailbox(self.box(1)), [])

    def resident_kib(self):
        with open(f"/proc/{self.gateway.process.pid}/status", encoding="ascii") as status:
            return int(next(line.split()[1] for line in status if line.startswith("VmRSS")))

    def test_p26_in_constant_memory(self):
        client = self.started(timeout=120)
        before = self.resident_kib()
        piece = LINE * 20_000
        client.send(b"BDAT %d LAST\r\n" % (len(piece) * 150))
        peak = before
        for _ in range(150):
            client.send(piece)
            peak = max(peak, self.resident_kib())
        self.assert_reply(client.read_reply(), 552, "5.3.4")
        self.assert_goes_on(client)
        allowed_kib = 100_000 if is_sanitized() else 4096  # a sanitizer keeps what was freed
        self.assertLess(peak - before, allowed_kib, "more KiB for 200 MB that were refused")

    def test_p28_data_or_mail_or_rcpt_after_bdat(self):
        client = self.started()
        self.assert_reply(client.bdat(b"Subject: a\r\n"), 250)
        self.assert_reply(client.command("DATA"), 503, "5.5.1")
        self.assert_reply(client.command("MAIL FROM:<b@client.test>"), 503, "5.5.1")
        self.assert_reply(client.command(f"RCPT TO:<{self.box(1)}>"), 503, "5.5.1")
        self.assert_reply(client.bdat(b"\r\nbody", is_last=True), 250)
        self.assert_stored(b"Subject: a\r\n\r\nbody")

    def test_data_after_binarymime(self):
        client = self.started(0, " BODY=BINARYMIME")
        self.assert_reply(client.command("DATA"), 503, "5.5.1")
        self.assert_reply(client.bdat(b"a\0b", is_last=True), 250)
        self.assert_stored(b"a\0b")

    def test_p30_rset_between_chunks(self):
        before = self.gateway.received()
        client = self.started()
        self.assert_reply(client.bdat(LINE * 5000), 250)
        self.assert_reply(client.command("RSET"), 250)
        self.assert_reply(client.bdat(b"", is_last=True), 503, "5.5.1")
        self.assert_not_stored(before)
        content = b"Subject: whole\r\n\r\n"
        self.assert_reply(client.mail_bdat("a@client.test", [self.box()], content), 250)
        self.assert_stored(content)

    def test_p30_ehlo_and_quit_between_chunks(self):
        before = self.gateway.received()
        for end, code in (("EHLO client.test", 250), ("QUIT", 221)):
            client = self.started()
            self.assert_reply(client.bdat(b"Subject: a\r\n"), 250)
            self.assert_reply(client.command(end), code)
        self.assert_not_stored(before)

    def test_e29_h5_what_no_text_may_hold(self):
        before = self.gateway.received()
        for bad in (b"a\nb\r\n", b"a\rb\r\n", b"a\r\r\n", b"a\0b\r\n", b"\n", b"a\r"):
            client = self.started()
            self.assert_reply(client.bdat(b"Subject: a\r\n\r\n" + bad, is_last=True), 550, "5.6.0", bad)
            client.start("a@client.test", [self.box()])
            self.assert_reply(client.bdat(b"X: b\r\n\r\n"), 250)
            client.send(bdat_chunk(bad + b"x" * 50_000) + bdat_chunk(LINE) + bdat_chunk(LINE, True))
            replies = client.read_replies(3)
            self.assert_reply(replies[0], 550, "5.6.0", bad)
            self.assert_reply(replies[1], 503, "5.5.1", bad)
            self.assert_reply(replies[2], 503, "5.5.1", bad)
            self.assert_goes_on(client)
        self.assert_not_stored(before)

    def test_e29_a_crlf_over_two_chunks_is_whole(self):
        client = self.started()
        client.send(bdat_chunk(b"a\r") + bdat_chunk(b"") + bdat_chunk(b"\nb\r\n", is_last=True))
        self.assertEqual([reply.code for reply in client.read_replies(3)], [250] * 3)
        self.assert_stored(b"a\r\nb\r\n")

    def test_h1_h2_headers(self):
        field = b"Received: from a by b; Mon, 23 Nov 2026 16:00:00 +0000\r\n"
        client = self.started()
        self.assert_reply(client.bdat(field * 60), 250)
        self.assert_reply(client.bdat(field * 40 + b"\r\n", is_last=True), 554, "5.4.6")
        self.assert_reply(client.mail_bdat("a@client.test", [self.box()], field * 99 + b"\r\n"), 250)
        client.start("a@client.test", [self.box(1)])
        self.assert_reply(client.bdat((b"X: " + b"x" * 900 + b"\r\n") * 1300, is_last=True), 552, "5.3.4")
        self.assert_goes_on(client)

    # --- ends ---

    def test_p20_the_client_goes_away(self):
        before = self.gateway.received()
        for size in (10, 5000, 200_000):
            for end in ("half_close", "reset"):
                client = self.started()
                client.send(b"BDAT 300000 LAST\r\n" + (LINE * 5000)[:size])
                time.sleep(0.05)
                getattr(client, end)()
        client = self.started()  # all octets, but no LAST
        self.assert_reply(client.bdat(LINE), 250)
        client.half_close()
        time.sleep(0.1)
        self.assert_not_stored(before)
        wait_until(lambda: self.gateway.metric("postern_connections") <= 1, "no open session")

    def test_g2_others_are_served_meanwhile(self):
        stuck = [self.started(number) for number in range(1, 30)]
        for client in stuck:
            client.send(b"BDAT 20000000\r\n" + LINE * 3000)
        canary = self.client()
        for number in range(20):
            begun = time.monotonic()
            reply = canary.mail_bdat("a@client.test", [self.box()], b"Subject: %d\r\n\r\n" % number)
            self.assert_reply(reply, 250)
            self.assertLess(time.monotonic() - begun, 5)
        self.gateway.wait_for_mail(self.box(), 20)
        self.gateway.wait_for_empty_queue()


class BdatUnderTls(BdatTest):
    """BdatTest over TLS, and what only TLS can do to it."""

    tls = "implicit"

    def test_p18_close_notify_and_then_cleartext(self):
        before = self.gateway.received()
        for sent in (0, 100, 50_000):
            client = self.started()
            client.send(b"BDAT 100000 LAST\r\n" + (LINE * 1000)[:sent])
            time.sleep(0.05)
            client.socket.close_notify()
            try:
                client.raw.sendall(b"x")
                client.raw.sendall(b"x" * 99_999)
            except OSError:
                pass  # closed at once: as it should be
            time.sleep(0.05)
        self.assert_not_stored(before)
        self.assert_goes_on(self.client())


class NormalizeTest(DaemonTest):
    """bare_newline: normalize."""

    settings = {"listener": {"bare_newline": "normalize"}}

    def test_bare_newlines_are_mended_and_dots_are_not_stuffed(self):
        content = b"Subject: a\nX: b\rc\r\n\r\n.\n.x\r\n\r\r\n\n.\r\nend\r"
        mended = b"Subject: a\r\nX: b c\r\n\r\n.\r\n.x\r\n \r\n\r\n.\r\nend "
        for cut in range(len(content) + 1):
            client = self.client()
            client.start("a@client.test", [f"{self.tag}@box.test"])
            client.send(bdat_chunk(content[:cut]) + bdat_chunk(content[cut:], is_last=True))
            for reply in client.read_replies(2):
                self.assert_reply(reply, 250, "2.0.0", cut)
            client.close()
        for mail in self.gateway.wait_for_mail(f"{self.tag}@box.test", len(content) + 1):
            self.assertEqual(without_trace(mail), mended)

    def test_of_many_blocks(self):
        content = (b"text\n.\nmore\r\r" + b"x" * 70 + b"\r\n") * 4000
        mended = (b"text\r\n.\r\nmore  " + b"x" * 70 + b"\r\n") * 4000
        client = self.client(timeout=60)
        reply = client.mail_bdat("a@client.test", [f"{self.tag}@box.test"], content, 9_999)
        self.assert_reply(reply, 250)
        self.assertEqual(without_trace(self.gateway.wait_for_mail(f"{self.tag}@box.test")[0]), mended)

    def test_nul_is_refused(self):
        client = self.client()
        client.start("a@client.test", [f"{self.tag}@box.test"])
        self.assert_reply(client.bdat(b"a\0b\n", is_last=True), 550, "5.6.0")
        self.assert_goes_on(client)

    def test_binarymime_stays_as_it_is(self):
        content = b"a\rb\nc\0d"
        client = self.client()
        client.expect("MAIL FROM:<a@client.test> BODY=BINARYMIME", 250)
        client.expect(f"RCPT TO:<{self.tag}@box.test>", 250)
        self.assert_reply(client.bdat(content, is_last=True), 250)
        self.assertEqual(without_trace(self.gateway.wait_for_mail(f"{self.tag}@box.test")[0]), content)


class DeadlineTest(unittest.TestCase):
    def test_a_chunk_that_does_not_come(self):
        changes = {"timeouts": {"data": "1s"}}
        with Gateway(settings(listener=changes)) as gateway:
            for announced in (b"BDAT 5 LAST\r\n", b"BDAT 500000\r\nabc"):
                with gateway.client() as client:
                    client.start("a@client.test", ["x@box.test"])
                    begun = time.monotonic()
                    client.send(announced)
                    replies = client.read_to_end()
                    self.assertEqual([(r.code, r.status) for r in replies], [(421, "4.4.2")])
                    self.assertGreater(time.monotonic() - begun, 0.9)
            self.assertEqual(gateway.received(), 0)


class KillTest(unittest.TestCase):
    def test_killed_inside_a_chunk(self):
        config = settings()
        config = merged(config, {"node": {"cores": 1}})
        with Gateway(config) as gateway:
            clients = []
            for size in (0, 100, 70_000, 1_000_000):
                client = gateway.client()
                client.start("a@client.test", ["cut@box.test"])
                client.send(b"BDAT 2000000 LAST\r\n" + (LINE * 15_000)[:size])
                clients.append(client)
            with gateway.client() as client:
                content = lines_of(500_000, "acknowledged")
                reply = client.mail_bdat("a@client.test", ["whole@box.test"], content, 60_000)
                self.assertEqual(reply.code, 250)
            gateway.kill()
            gateway.start()
            mail = gateway.wait_for_mail("whole@box.test")[0]
            self.assertEqual(without_trace(mail), content)
            gateway.wait_for_empty_queue()
            self.assertEqual(gateway.mailbox("cut@box.test"), [])
            for client in clients:
                client.close()
