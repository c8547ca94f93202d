"""What the gateway does not look into (H7 to H11, H14): nested MIME, signatures, odd senders and
packed bytes pass unchanged, in time that grows with their length."""

import base64
import time
import zlib

from tests.support.daemon_case import DaemonTest
from tests.support.gateway import is_sanitized, without_trace

SECONDS_MAX = 120 if is_sanitized() else 30


def nested(depth):
    head = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level)
                    for level in range(depth))
    return head + b"\r\nthe core\r\n"


def parts(count):
    return (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * count +
            b"--b--\r\n")


class UnchangedTest(DaemonTest):
    def check(self, *contents):
        box = f"{self.tag}@box.test"
        client = self.client(timeout=SECONDS_MAX)
        for content in contents:
            started = time.monotonic()
            self.assert_reply(client.mail("a@client.test", [box], content), 250, "2.0.0")
            self.assertLess(time.monotonic() - started, SECONDS_MAX)
        self.assert_goes_on(client)
        found = [without_trace(mail) for mail in self.gateway.wait_for_mail(box, len(contents))]
        self.assertEqual(sorted(found), sorted(contents))

    def test_h7_nesting_parts_and_boundaries(self):
        long = b"b" * 65536
        self.check(
            nested(10_000), parts(100_000),
            b"Content-Type: multipart/mixed; boundary=" + long + b"\r\n\r\n--" + long + b"\r\n\r\n",
            b"Content-Type: multipart/mixed; boundary=aa\r\n\r\n"
            b"--a\r\n\r\nx\r\n--aa\r\n\r\n--aa--\r\n",
            b"Content-Type: message/rfc822\r\n\r\n" * 10_000)

    def test_h8_h9_signatures_and_seals(self):
        signature = b"DKIM-Signature: v=1; a=rsa-sha256; d=a.test; s=s; l=0; x=1; b=AAAA\r\n"
        seals = b"".join(b"ARC-Seal: i=%d; a=rsa-sha256; cv=pass; d=a.test; s=s; b=AAAA\r\n" % count
                         for count in range(1, 61))
        self.check(signature * 500 + b"\r\nbody\r\n", seals + b"\r\nbody\r\n")

    def test_h11_odd_senders(self):
        self.check(b"From: a@a.test\r\nFrom: b@b.test\r\n\r\n",
                   b"From: a group: a@a.test, b@b.test;\r\n\r\n",
                   b"From: =?utf-8?q?=40?= <a@a.test>\r\n\r\n",
                   b"Bcc: hidden@a.test\r\n\r\nbody\r\n")

    def test_h14_packed_bytes_stay_packed(self):
        packed = base64.encodebytes(zlib.compress(b"\0" * (64 << 20), 9)).replace(b"\n", b"\r\n")
        self.check(b"Content-Transfer-Encoding: base64\r\n\r\n" + packed)
