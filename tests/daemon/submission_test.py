"""`service: submission`: Date and Message-ID are added where they are missing (RFC 6409 8), at the end
of the header section, and nothing else is changed (G5)."""

import email.utils
import random
import re
import time

from tests.support.daemon_case import DaemonTest
from tests.support.gateway import without_trace
from tests.support.smtp_client import bdat_chunk

DATE = rb"Date: (\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000)\r\n"
MESSAGE_ID = rb"Message-ID: <([0-9A-HJKMNP-TV-Z]{13})@mx\.gateway\.test>\r\n"
HAS_DATE = b"Date: Mon, 23 Nov 2026 16:00:00 +0000\r\n"
HAS_ID = b"Message-ID: <1@client.test>\r\n"

# What stands before the place of the fields, what stands behind it, and whether Date and Message-ID
# are to be put there.
CASES = {
    "both missing": (b"Subject: a\r\n", b"\r\nbody\r\n", True, True),
    "no body": (b"Subject: a\r\n", b"\r\n", True, True),
    "folded": (b"Subject: a\r\n b\r\n\tc\r\n", b"\r\nbody\r\n", True, True),
    "date is there": (HAS_DATE + b"Subject: a\r\n", b"\r\nbody\r\n", False, True),
    "id is there": (b"Subject: a\r\n" + HAS_ID, b"\r\nbody\r\n", True, False),
    "both are there": (HAS_DATE + HAS_ID, b"\r\nbody\r\n", False, False),
    "any case, blanks": (b"dAtE : x\r\nmessage-id\t:y\r\n", b"\r\nbody\r\n", False, False),
    "other names": (b"Dates: x\r\nResent-Date: y\r\nX-Message-ID: z\r\n", b"\r\nbody\r\n", True, True),
    "only in the body": (b"Subject: a\r\n", b"\r\n" + HAS_DATE + HAS_ID, True, True),
    "only in a folded line": (b"Subject: a\r\n " + HAS_DATE, b"\r\n\r\n", True, True),
    "no header": (b"", b"\r\nbody\r\n", True, True),
    "no field at all": (b"", b"Hello you,\r\n\r\nthis is text: see?\r\n", True, True),
    "text behind fields": (b"Subject: a\r\n", b"Hello you,\r\nDate: b\r\n\r\nc\r\n", True, True),
    "no empty line": (b"Subject: a\r\nX: b\r\n", b"", True, True),
    "a line without a colon at the end": (b"Subject: a\r\n", b"Hello\r\n", True, True),
    "nothing": (b"", b"", True, True),
    "dots": (b".X: a\r\nX: b\r\n", b"..\r\n.\r\n", True, True),
    "8-bit": (b"Subject: \xc3\xa4\r\n", b"\r\n\xff\r\n", True, True),
    "a long name": (b"X-" + b"y" * 500 + b": a\r\nX: " + b"z" * 900 + b"\r\n", b"\r\nbody\r\n", True, True),
}


class Cases:
    """The cases, by each way of receiving; not a test class itself."""

    users = (("user", "secret-of-the-user"),)

    def sender_session(self, **options):
        client = self.client(**options)
        self.assert_reply(client.auth_plain("user", "secret-of-the-user"), 235, "2.7.0")
        return client

    def box(self):
        return f"{self.tag}@box.test"

    def assert_completed(self, mail, name, case):
        before, behind, adds_date, adds_id = case
        added = (DATE if adds_date else b"") + (MESSAGE_ID if adds_id else b"")
        content = without_trace(mail)
        pattern = re.escape(before) + b"(" + added + b")" + re.escape(behind)
        whole = re.fullmatch(pattern, content)
        self.assertIsNotNone(whole, f"{name}: {content!r}")
        found = re.search(MESSAGE_ID, whole.group(1))
        if adds_id:  # it is the queue's id, as in Received
            self.assertIn(found.group(1), mail[: mail.index(b";")], name)
        found = re.search(DATE, whole.group(1))
        if adds_date:
            at = email.utils.parsedate_to_datetime(found.group(1).decode()).timestamp()
            self.assertLess(abs(at - time.time()), 60, name)

    def test_by_data(self):
        client = self.sender_session()
        for name, case in CASES.items():
            recipient = f"{self.tag}-{name.replace(' ', '-').replace(',', '')}@box.test"
            self.assert_reply(client.mail("a@client.test", [recipient], case[0] + case[1]), 250, None, name)
            self.assert_completed(self.gateway.wait_for_mail(recipient)[0], name, case)
        self.assert_goes_on(client)

    def test_by_bdat(self):
        client = self.sender_session()
        for name, case in CASES.items():
            recipient = f"{self.tag}-{name.replace(' ', '-').replace(',', '')}@box.test"
            reply = client.mail_bdat("a@client.test", [recipient], case[0] + case[1])
            self.assert_reply(reply, 250, None, name)
            self.assert_completed(self.gateway.wait_for_mail(recipient)[0], name, case)
        self.assert_goes_on(client)

    def test_by_data_cut_at_every_byte(self):
        client = self.sender_session()
        for name in ("folded", "date is there", "no empty line", "nothing", "dots", "text behind fields"):
            case = CASES[name]
            recipient = f"{self.tag}-{name.replace(' ', '-')}@box.test"
            wire = (case[0] + case[1]).replace(b"\r\n.", b"\r\n..") + b".\r\n"
            if wire.startswith(b".") and case[0] + case[1]:
                wire = b"." + wire
            for cut in range(1, len(wire)):
                client.start_data("a@client.test", [recipient])
                client.send_split(wire, cut, 0.002)
                self.assert_reply(client.read_reply(), 250, None, f"{name} {cut}")
            for mail in self.gateway.wait_for_mail(recipient, len(wire) - 1):
                self.assert_completed(mail, name, case)

    def test_by_data_byte_by_byte(self):
        client = self.sender_session()
        case = CASES["folded"]
        client.start_data("a@client.test", [self.box()])
        for byte in case[0] + case[1] + b".\r\n":
            client.send(bytes([byte]))
            time.sleep(0.002)
        self.assert_reply(client.read_reply(), 250)
        self.assert_completed(self.gateway.wait_for_mail(self.box())[0], "byte by byte", case)

    def test_by_bdat_cut_at_every_byte(self):
        client = self.sender_session()
        for name in ("folded", "date is there", "no empty line", "text behind fields", "a long name"):
            case = CASES[name]
            recipient = f"{self.tag}-{name.replace(' ', '-')}@box.test"
            content = case[0] + case[1]
            cuts = range(len(content) + 1) if len(content) < 200 else range(0, len(content), 13)
            for cut in cuts:
                client.start("a@client.test", [recipient])
                client.send(bdat_chunk(content[:cut]) + bdat_chunk(content[cut:], is_last=True))
                for reply in client.read_replies(2):
                    self.assert_reply(reply, 250, "2.0.0", f"{name} {cut}")
            for mail in self.gateway.wait_for_mail(recipient, len(cuts)):
                self.assert_completed(mail, name, case)

    def test_by_bdat_one_octet_a_chunk(self):
        client = self.sender_session()
        for name, case in CASES.items():
            content = case[0] + case[1]
            if len(content) > 200:
                continue
            recipient = f"{self.tag}-{name.replace(' ', '-').replace(',', '')}@box.test"
            client.start("a@client.test", [recipient])
            client.send(b"".join(bdat_chunk(content[at : at + 1]) for at in range(len(content))) +
                        b"BDAT 0 LAST\r\n")
            for reply in client.read_replies(len(content) + 1):
                self.assert_reply(reply, 250, "2.0.0", name)
            self.assert_completed(self.gateway.wait_for_mail(recipient)[0], name, case)

    def test_a_last_line_that_does_not_end(self):
        client = self.sender_session()
        cases = {
            "a field": (b"Subject: a", b"\r\n", b""),
            "no field": (b"Subject: a\r\n", b"", b"Hello"),
            "a name": (b"Subject: a\r\n", b"", b"Subj"),
            "a name and blanks": (b"", b"", b"Subject \t"),
        }
        for name, (before, separator, behind) in cases.items():
            recipient = f"{self.tag}-{name.replace(' ', '-')}@box.test"
            reply = client.mail_bdat("a@client.test", [recipient], before + behind, 4)
            self.assert_reply(reply, 250, None, name)
            mail = self.gateway.wait_for_mail(recipient)[0]
            self.assert_completed(mail, name, (before + separator, behind, True, True))

    def test_at_the_borders_of_blocks(self):
        client = self.sender_session(timeout=60)
        rng = random.Random(3)
        for by in (client.mail, client.mail_bdat):
            wanted = {}
            recipient = f"{self.tag}-{by.__name__.replace('_', '-')}@box.test"
            for boundary in (8192, 65536, 65536 + 8192):
                for short in [0, 1, 2, 3, 60, 64, 100, 150, 200, 250, 300, 310, 320, 400, *range(4, 60, 7)]:
                    size = boundary - short - rng.randrange(3)
                    before = b"X-Number: %06d\r\n" % len(wanted)
                    while size - len(before) > 900:
                        before += b"X: " + b"y" * 800 + b"\r\n"
                    before += b"X: " + b"z" * (size - len(before) - 5) + b"\r\n"
                    wanted[before[:18]] = (before, b"\r\nbody\r\n" * 50, True, True)
                    self.assert_reply(by("a@client.test", [recipient], before + b"\r\nbody\r\n" * 50), 250)
            for mail in self.gateway.wait_for_mail(recipient, len(wanted)):
                number = without_trace(mail)[:18]
                self.assert_completed(mail, number, wanted.pop(number))
            self.assertEqual(wanted, {})

    def test_a_large_message(self):
        client = self.sender_session(timeout=60)
        behind = b"\r\n" + (b"x" * 76 + b"\r\n") * 60_000
        case = (b"Subject: a\r\n", behind, True, True)
        for by in (client.mail, client.mail_bdat):
            recipient = f"{self.tag}-{by.__name__.replace('_', '-')}@box.test"
            self.assert_reply(by("a@client.test", [recipient], case[0] + case[1]), 250)
            self.assert_completed(self.gateway.wait_for_mail(recipient)[0], "large", case)

    def test_relayed_and_counted_as_sent(self):
        recipient = f"{self.tag}@sink.test"
        before = self.gateway.metric("postern_message_bytes_received_total")
        content = b"Subject: a\r\n\r\nbody\r\n"
        client = self.sender_session()
        self.assert_reply(client.mail("a@client.test", [recipient], content), 250)
        self.assertEqual(self.gateway.metric("postern_message_bytes_received_total") - before, len(content))
        self.gateway.wait_for_empty_queue()
        self.assert_completed(self.sink.accepted(recipient)[0].content, "relayed",
                              (b"Subject: a\r\n", b"\r\nbody\r\n", True, True))

    def test_nothing_is_added_to_what_is_refused(self):
        before = self.gateway.received()
        client = self.sender_session()
        reply = client.mail("a@client.test", [self.box()], b"Subject: a\0\r\n\r\n")
        self.assert_reply(reply, 550, "5.6.0")
        client.start("a@client.test", [self.box()])
        self.assert_reply(client.bdat(b"Subject: a\r\n\0", is_last=True), 550, "5.6.0")
        self.assert_goes_on(client)
        self.assertEqual(self.gateway.received(), before)

    def test_received_names_what_was_on(self):
        client = self.sender_session()
        client.mail("a@client.test", [self.box()], b"Subject: a\r\n\r\n")
        trace = re.sub(rb"\s+", b" ", self.gateway.wait_for_mail(self.box())[0])
        if self.tls is None:
            self.assertIn(b" with ESMTPA id ", trace)
        else:
            self.assertRegex(trace, rb" with ESMTPSA \(TLSv1\.3 TLS_[A-Z0-9_]+\) id ")


def submission(policy):
    return {"listener": {"service": "submission", "bare_newline": policy,
                         "auth": {"users": "users.txt", "allow_plaintext": True}}}


class SubmissionTest(Cases, DaemonTest):
    settings = submission("reject")


class SubmissionNormalizeTest(Cases, DaemonTest):
    """The third way of receiving."""

    settings = submission("normalize")

    def test_bare_newlines_of_the_header(self):
        client = self.sender_session()
        cases = {
            "lf": (b"Subject: a\nX: b\n\nbody\n", b"Subject: a\r\nX: b\r\n", b"\r\nbody\r\n"),
            "cr": (b"Subject: a\r\n\rb\r\n\r\n", b"Subject: a\r\n b\r\n", b"\r\n"),
        }
        for name, (content, before, behind) in cases.items():
            for by in (client.mail, client.mail_bdat):
                recipient = f"{self.tag}-{name}-{by.__name__.replace('_', '-')}@box.test"
                client_content = content if content.endswith(b"\r\n") else content + b"\r\n"
                end = behind if content.endswith(b"\r\n") else behind + b"\r\n"
                self.assert_reply(by("a@client.test", [recipient], client_content), 250, None, name)
                self.assert_completed(self.gateway.wait_for_mail(recipient)[0], name,
                                      (before, end, True, True))


class SubmissionUnderTls(SubmissionTest):
    """All of it over TLS."""

    settings = {"listener": {"service": "submission", "auth": {"users": "users.txt"}}}
    tls = "implicit"


class RelayTest(DaemonTest):
    """A listener for the mail of others adds nothing."""

    def test_nothing_is_added(self):
        client = self.client()
        for name, case in CASES.items():
            recipient = f"{self.tag}-{name.replace(' ', '-').replace(',', '')}@box.test"
            content = case[0] + case[1]
            self.assert_reply(client.mail("a@client.test", [recipient], content), 250, None, name)
            self.assertEqual(without_trace(self.gateway.wait_for_mail(recipient)[0]), content, name)
