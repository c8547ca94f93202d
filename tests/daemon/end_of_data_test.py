"""The end of the data, and nothing else, ends the data (SMTP smuggling, CVE-2023-51764 and kin).

Each case is sent with a second mail behind it, which a server that takes the case for an end of
data would accept as a mail of its own."""

import time

from tests.support.daemon_case import DaemonTest, under_tls
from tests.support.gateway import IS_LONG, wait_until, without_trace

HEAD = b"Subject: first\r\n\r\nfirst"

# None of these ends the data.
NO_ENDS = {
    "E1": b"\n.\n",
    "E2": b"\n.\r\n",
    "E3": b"\r\n.\n",
    "E4": b"\r\n.\rx",
    "E5": b"\n.\r",
    "E6": b"\r.\n",
    "E7": b"\r.\r",
    "E8": b"\r.\r\n",
    "E9": b"\r\n.\r\r\n",
    "E10": b"\r\r\n.\r\r\n",
    "E11": b"\r\n\0.\r\n",
    "E12": b"\r\n.\0\r\n",
    "E13": b"\r\0\n.\r\n",
    "E14": b"\r\n.\r\0\n",
}


def second_mail(tag):
    return (f"MAIL FROM:<evil@evil.test>\r\nRCPT TO:<evil-{tag}@box.test>\r\nDATA\r\n"
            "Subject: second\r\n\r\nsecond").encode()


def normalized(content):
    """What `bare_newline: normalize` makes of the content: bare LF to CRLF, bare CR to a space."""
    content = content.replace(b"\r\n", b"\0").replace(b"\n", b"\0").replace(b"\r", b" ")
    return content.replace(b"\0", b"\r\n")


class Cases:
    """The cases for both policies; not a test class itself."""

    def send_case(self, sequence, tag):
        """One message with `sequence` and a second mail in it. Returns the reply to its one end."""
        client = self.client()
        client.start_data("a@client.test", [f"{tag}@box.test", f"{tag}@sink.test"])
        client.send(HEAD + sequence + second_mail(tag) + b"\r\n.\r\n")
        reply = client.read_reply()
        self.assert_goes_on(client)
        return reply

    def assert_no_second_mail(self, tag):
        self.assertEqual(self.gateway.mailbox(f"evil-{tag}@box.test"), [])
        for message in self.sink.messages:
            self.assertNotEqual(message.sender, "evil@evil.test")
            self.assertNotIn(f"evil-{tag}@box.test", message.recipients)

    def assert_refused(self, name, sequence):
        tag = f"{self.tag}-{name.lower()}"
        before = self.gateway.received()
        reply = self.send_case(sequence, tag)
        self.assert_reply(reply, 550, "5.6.0", name)
        self.assertEqual(self.gateway.received(), before, name)
        self.assertEqual(self.gateway.mailbox(f"{tag}@box.test"), [], name)
        self.assert_no_second_mail(tag)

    # --- what both policies have in common ---

    def test_e15_nul_before_the_true_end(self):
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test"])
        client.send(HEAD + b"\0\r\n.\r\n")
        self.assert_reply(client.read_reply(), 550, "5.6.0")
        self.assert_goes_on(client)
        self.assertEqual(self.gateway.mailbox(f"{self.tag}@box.test"), [])

    def test_e16_nul_after_the_true_end(self):
        before = self.gateway.received()
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test"])
        client.send(HEAD + b"\r\n.\r\n\0" + second_mail(self.tag).split(b"Subject")[0])
        replies = client.read_replies(4)
        self.assert_reply(replies[0], 250)
        self.assertIn(replies[1].code, (500, 501))  # B1 and C4 of the list differ in the code
        self.assertEqual(replies[1].status, "5.5.2")
        self.assertEqual([reply.code for reply in replies[2:]], [503, 503])
        self.assertEqual(self.gateway.received(), before + 1)
        self.assert_no_second_mail(self.tag)

    def test_e18_dots_are_unstuffed(self):
        wire = (b"Subject: dots\r\n\r\n" b"..\r\n" b"...\r\n" b"..x\r\n" b".y\r\n" b"a..b\r\n"
                b"....\r\n" b"..")
        content = (b"Subject: dots\r\n\r\n" b".\r\n" b"..\r\n" b".x\r\n" b"y\r\n" b"a..b\r\n"
                   b"...\r\n" b".\r\n")
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test", f"{self.tag}@sink.test"])
        client.send(wire + b"\r\n.\r\n")
        self.assert_reply(client.read_reply(), 250)
        mail = self.gateway.wait_for_mail(f"{self.tag}@box.test")[0]
        self.assertEqual(without_trace(mail), content)
        self.assertEqual(without_trace(self.relayed(self.tag).content), content)

    def relayed(self, tag):
        recipient = f"{tag}@sink.test"
        wait_until(lambda: self.sink.accepted(recipient), f"a relayed message for {recipient}")
        messages = self.sink.accepted(recipient)
        self.assertEqual(len(messages), 1)
        return messages[0]

    def test_e19_an_empty_message(self):
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test", f"{self.tag}@sink.test"])
        client.send(b".\r\n")
        self.assert_reply(client.read_reply(), 250)
        self.assert_goes_on(client)
        self.assertEqual(without_trace(self.gateway.wait_for_mail(f"{self.tag}@box.test")[0]), b"")
        self.assertEqual(without_trace(self.relayed(self.tag).content), b"")

    def test_e20_blanks_beside_the_dot(self):
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test"])
        client.send(HEAD + b"\r\n .\r\n. \r\n.\t\r\nlast\r\n.\r\n")
        self.assert_reply(client.read_reply(), 250)
        self.assert_goes_on(client)
        mail = self.gateway.wait_for_mail(f"{self.tag}@box.test")[0]
        self.assertEqual(without_trace(mail), HEAD + b"\r\n .\r\n \r\n\t\r\nlast\r\n")

    def test_e21_the_end_cut_at_every_byte(self):
        gaps = [0.02, 0.2] + ([2.0, 5.0] if IS_LONG else [])
        wire = HEAD + b"\r\n.\r\n"
        recipient = f"{self.tag}@box.test"
        count = 0
        for gap in gaps:
            for at in range(len(wire) - 6, len(wire)):
                client = self.client()
                client.start_data("a@client.test", [recipient])
                client.send_split(wire, at, gap)
                self.assert_reply(client.read_reply(), 250, None, f"cut {at}, gap {gap}")
                self.assert_goes_on(client)
                client.close()
                count += 1
        client = self.client()
        client.start_data("a@client.test", [recipient])
        for index in range(len(wire)):
            client.send(wire[index : index + 1])
            time.sleep(0.005)
        self.assert_reply(client.read_reply(), 250, None, "byte by byte")
        for mail in self.gateway.wait_for_mail(recipient, count + 1):
            self.assertEqual(without_trace(mail), HEAD + b"\r\n")

    def test_e22_the_end_across_every_buffer_boundary(self):
        recipient = f"{self.tag}@box.test"
        client = self.client()
        trace_bytes = self.trace_bytes(client, recipient)
        boundaries = [4096, 8192, 16384, 65536, 65536 + 8192, 131072]
        wanted = set()
        for boundary in boundaries:
            for offset in (0, trace_bytes):
                for delta in range(-4, 5):
                    # The end begins at `boundary + delta` of the stream, or of what is stored.
                    content = self.content_of(boundary + delta - offset, f"{boundary} {offset} {delta}")
                    wanted.add(content)
                    reply = client.mail("a@client.test", [recipient], content)
                    self.assert_reply(reply, 250, None, f"{boundary} {offset} {delta}")
        self.assert_goes_on(client)
        found = self.gateway.wait_for_mail(recipient, len(wanted) + 1)
        contents = {without_trace(mail) for mail in found}
        self.assertEqual(wanted - contents, set())

    def trace_bytes(self, client, recipient):
        self.assert_reply(client.mail("a@client.test", [recipient], b"probe\r\n"), 250)
        mail = self.gateway.wait_for_mail(recipient)[0]
        return mail.index(b"probe\r\n") - mail.index(b"Received:")

    @staticmethod
    def content_of(size, name):
        """A message of `size` bytes, its last CRLF not counted, of lines without leading dots."""
        line = b"0123456789abcdefghijklmnopqrstuvwxyz" * 2 + b"\r\n"
        head = f"Subject: {name}\r\n\r\n".encode()
        body = (line * (size // len(line) + 1))[: size - len(head)]
        # A cut inside of a CRLF would leave a bare CR; a letter takes its place.
        if body.endswith(b"\r"):
            body = body[:-1] + b"x"
        return head + body + b"\r\n"

    def test_e23_what_looks_like_dots_and_newlines(self):
        lines = [
            "\uff0e".encode(), "\u2024".encode(), b"\x0b.\x0b", b"\x0c.\x0c", b"\x85.\x85",
            "\u2028.\u2028".encode(), b"\xae", b"\x0b", b"\x0c", b"\x8d\x8a.\x8d\x8a",
        ]
        content = HEAD + b"\r\n" + b"\r\n".join(lines) + b"\r\n" + second_mail(self.tag) + b"\r\n"
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test", f"{self.tag}@sink.test"])
        client.send(content + b".\r\n")
        self.assert_reply(client.read_reply(), 250)
        self.assert_goes_on(client)
        self.assertEqual(without_trace(self.gateway.wait_for_mail(f"{self.tag}@box.test")[0]), content)
        self.assertEqual(without_trace(self.relayed(self.tag).content), content)
        self.assert_no_second_mail(self.tag)

    # --- the same for command lines ---

    def test_e25_a_command_after_a_bare_lf(self):
        client = self.client()
        client.send(b"EHLO x\nMAIL FROM:<a@b.test>\r\n")
        self.assert_reply(client.read_reply(), 500, "5.5.2")
        self.assert_goes_on(client)
        self.assert_reply(client.command(f"RCPT TO:<{self.tag}@box.test>"), 503, "5.5.1")

    def test_e25_in_every_command(self):
        client = self.client()
        for line in (b"NOOP\nNOOP\r\n", b"RSET\nRSET\r\n", b"MAIL FROM:<a@b.test>\nRCPT TO:<x@box.test>\r\n",
                     b"\nNOOP\r\n", b"NOOP\n\r\n"):
            client.send(line)
            self.assert_reply(client.read_reply(), 500, "5.5.2", line)
            self.assert_goes_on(client)

    def test_e26_a_bare_cr_in_a_command(self):
        client = self.client()
        for line in (b"NOOP\rNOOP\r\n", b"MAIL FROM:<a\r@b.test>\r\n", b"NOOP\r\r\n", b"\rNOOP\r\n"):
            client.send(line)
            reply = client.read_reply()
            self.assertIn(reply.code, (500, 501), (line, reply))
            self.assert_goes_on(client)
        self.assert_reply(client.command("RCPT TO:<x@box.test>"), 503)

    def test_e27_data_with_a_bare_lf(self):
        client = self.client()
        client.start("a@client.test", [f"{self.tag}@box.test"])
        client.send(b"DATA\n")
        self.assertTrue(client.is_silent(), "an answer to half a command line")
        client.send(b"Subject: x\n\nbody\n.\n\r\n")
        self.assert_reply(client.read_reply(), 500, "5.5.2")
        self.assert_goes_on(client)
        self.assertEqual(self.gateway.mailbox(f"{self.tag}@box.test"), [])

    def test_e28_an_end_of_data_inside_a_chunk(self):
        content = HEAD + b"\r\n.\r\n" + second_mail(self.tag) + b"\r\n.\r\n"
        client = self.client()
        client.start("a@client.test", [f"{self.tag}@box.test", f"{self.tag}@sink.test"])
        self.assert_reply(client.bdat(content, is_last=True), 250)
        self.assert_goes_on(client)
        self.assertEqual(without_trace(self.gateway.wait_for_mail(f"{self.tag}@box.test")[0]), content)
        self.assertEqual(without_trace(self.relayed(self.tag).content), content)
        self.assert_no_second_mail(self.tag)


class RejectTest(Cases, DaemonTest):
    """bare_newline: reject, which is the default."""

    def test_e17_a_stray_cr_before_the_true_end(self):
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test"])
        client.send(HEAD + b"\r\r\n.\r\n")
        self.assert_reply(client.read_reply(), 550, "5.6.0")
        self.assert_goes_on(client)
        self.assertEqual(self.gateway.mailbox(f"{self.tag}@box.test"), [])

    def test_e24_in_headers_only(self):
        for name, bad in (("lf", b"Subject: a\nX: b\r\n\r\nbody"), ("cr", b"Subject: a\rX: b\r\n\r\nbody")):
            client = self.client()
            client.start_data("a@client.test", [f"{self.tag}-{name}@box.test"])
            client.send(bad + b"\r\n.\r\n")
            self.assert_reply(client.read_reply(), 550, "5.6.0", name)
            self.assert_goes_on(client)
            self.assertEqual(self.gateway.mailbox(f"{self.tag}-{name}@box.test"), [])

    def test_e29_bare_newlines_in_a_chunk(self):
        for name, sequence in NO_ENDS.items():
            tag = f"{self.tag}-{name.lower()}"
            client = self.client()
            client.start("a@client.test", [f"{tag}@box.test"])
            content = HEAD + sequence + second_mail(tag) + b"\r\n.\r\n"
            self.assert_reply(client.bdat(content, is_last=True), 550, "5.6.0", name)
            self.assert_goes_on(client)
            self.assertEqual(self.gateway.mailbox(f"{tag}@box.test"), [], name)
            self.assert_no_second_mail(tag)

    def test_a_long_refused_message_is_read_to_its_end(self):
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test"])
        client.send(HEAD + b"\n.\n" + second_mail(self.tag))
        client.send(b"a line of text that goes on\r\n" * 200_000)
        client.send(b"\r\n.\r\n")
        self.assert_reply(client.read_reply(), 550, "5.6.0")
        self.assert_goes_on(client)


class NormalizeTest(Cases, DaemonTest):
    """bare_newline: normalize: one message, its payload inside its body."""

    settings = {"listener": {"bare_newline": "normalize"}}

    def test_e17_a_stray_cr_before_the_true_end(self):
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test"])
        client.send(HEAD + b"\r\r\n.\r\n")
        self.assert_reply(client.read_reply(), 250)
        mail = self.gateway.wait_for_mail(f"{self.tag}@box.test")[0]
        self.assertEqual(without_trace(mail), HEAD + b" \r\n")

    def test_e24_in_headers_only(self):
        client = self.client()
        client.start_data("a@client.test", [f"{self.tag}@box.test"])
        client.send(b"Subject: a\nX: b\rc\r\n\r\nbody\r\n.\r\n")
        self.assert_reply(client.read_reply(), 250)
        mail = self.gateway.wait_for_mail(f"{self.tag}@box.test")[0]
        self.assertEqual(without_trace(mail), b"Subject: a\r\nX: b c\r\n\r\nbody\r\n")

    def assert_one_mail(self, name, sequence):
        tag = f"{self.tag}-{name.lower()}"
        before = self.gateway.received()
        self.assert_reply(self.send_case(sequence, tag), 250, None, name)
        self.assertEqual(self.gateway.received(), before + 1, name)
        boxed = without_trace(self.gateway.wait_for_mail(f"{tag}@box.test")[0])
        relayed = without_trace(self.relayed(tag).content)
        self.assertEqual(boxed, relayed, name)
        self.assertIn(b"MAIL FROM:<evil@evil.test>\r\n", boxed, name)
        self.assertNotIn(b"\n", boxed.replace(b"\r\n", b""), name)
        self.assertNotIn(b"\r", boxed.replace(b"\r\n", b""), name)
        if name not in ("E3", "E4", "E9", "E10"):  # there the client's own line begins with a dot
            expected = normalized(HEAD + sequence + second_mail(tag)) + b"\r\n"
            self.assertEqual(boxed, expected, name)
        self.assert_no_second_mail(tag)

    def test_e29_bare_newlines_in_a_chunk(self):
        for name, sequence in NO_ENDS.items():
            if b"\0" in sequence:
                continue
            tag = f"{self.tag}-{name.lower()}"
            client = self.client()
            client.start("a@client.test", [f"{tag}@box.test", f"{tag}@sink.test"])
            content = HEAD + sequence + second_mail(tag) + b"\r\n.\r\n"
            self.assert_reply(client.bdat(content, is_last=True), 250, "2.0.0", name)
            mail = self.gateway.wait_for_mail(f"{tag}@box.test")[0]
            self.assertEqual(without_trace(mail), normalized(content), name)
            self.assertEqual(without_trace(self.relayed(tag).content), normalized(content), name)
            self.assert_no_second_mail(tag)

    def test_a_normalized_message_of_many_blocks(self):
        line = b"text\n.\nmore\r\n" + b"x" * 70 + b"\r\n"
        content = line * 4000
        client = self.client(timeout=60)
        client.start_data("a@client.test", [f"{self.tag}@box.test"])
        client.send(content + b".\r\n")
        self.assert_reply(client.read_reply(), 250)
        mail = self.gateway.wait_for_mail(f"{self.tag}@box.test")[0]
        self.assertEqual(without_trace(mail), normalized(content))


def add_cases():
    """A test a case, so that each has its own name."""

    def refused(name, sequence):
        return lambda self: self.assert_refused(name, sequence)

    def one_mail(name, sequence):
        return lambda self: self.assert_one_mail(name, sequence)

    for name, sequence in NO_ENDS.items():
        test = f"test_{name.lower()}_is_no_end"
        setattr(RejectTest, test, refused(name, sequence))
        # A NUL is refused under both policies.
        make = refused if b"\0" in sequence else one_mail
        setattr(NormalizeTest, test, make(name, sequence))


add_cases()

RejectUnderTls = under_tls(RejectTest)
NormalizeUnderTls = under_tls(NormalizeTest)
