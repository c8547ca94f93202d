"""What a message is made of (list H): limits of its header section, NUL, odd fields."""

from tests.support.daemon_case import DaemonTest, under_tls
from tests.support.gateway import without_trace


class ContentTest(DaemonTest):
    def box(self):
        return f"{self.tag}@box.test"

    def offer(self, content, timeout=60):
        client = self.client(timeout=timeout)
        reply = client.mail("a@client.test", [self.box()], content)
        self.assert_goes_on(client)
        return reply

    def test_h1_received_fields(self):
        line = b"Received: from a by b; Mon, 23 Nov 2026 16:00:00 +0000\r\n"
        self.assert_reply(self.offer(line * 99 + b"\r\nbody\r\n"), 250)
        self.gateway.wait_for_mail(self.box())
        for count in (100, 101, 5000):
            self.assert_reply(self.offer(line * count + b"\r\nbody\r\n"), 554, "5.4.6", count)
        self.assert_reply(self.offer(b"rEcEiVeD: x\r\n" * 100 + b"\r\n"), 554, "5.4.6")
        in_body = b"Subject: x\r\n\r\n" + line * 200
        self.assert_reply(self.offer(in_body), 250)

    def test_h2_a_huge_header_section(self):
        field = b"X-Field: " + b"x" * 900 + b"\r\n"
        self.assert_reply(self.offer(field * 1300 + b"\r\n"), 552, "5.3.4")
        self.assert_reply(self.offer(field * 900 + b"\r\nbody\r\n"), 250)

    def test_h3_h4_odd_headers_are_bytes(self):
        contents = [
            b"__proto__: x\r\n\r\n", b": x\r\n\r\n", b"Foo : x\r\n\r\n", b"F\xf6o: \xff\r\n\r\n",
            b"no colon here\r\n\r\nbody\r\n", b"\r\nbody only\r\n", b"Subject: no body\r\n",
            b"X: a\r\n \r\n\t\r\n  \r\n\r\n", b"X: 1\r\nX: 1\r\n" * 100 + b"\r\n", b"\r\n\r\n\r\n",
            b"Return-Path: <x@y.test>\r\n\r\n", b"x" * 60_000 + b": y\r\n\r\n",
        ]
        for content in contents:
            self.assert_reply(self.offer(content), 250, None, content[:40])
        mails = self.gateway.wait_for_mail(self.box(), len(contents))
        self.assertEqual({without_trace(mail) for mail in mails}, set(contents))

    def test_h4_a_folded_line_at_the_very_start(self):
        content = b" starts folded\r\n\r\nbody\r\n"
        self.assert_reply(self.offer(content), 250)
        self.assertTrue(self.gateway.wait_for_mail(self.box())[0].endswith(b" +0000\r\n" + content))

    def test_h5_nul(self):
        before = self.gateway.received()
        for content in (b"Subject: a\0b\r\n\r\n", b"Subject: x\r\n\r\nbo\0dy\r\n", b"\0\r\n"):
            self.assert_reply(self.offer(content), 550, "5.6.0", content)
        self.assertEqual(self.gateway.received(), before)

    def test_h6_8bit_content_and_headers(self):
        content = (b"Subject: \xe4 \xc3\xa4\r\nX-\xff: y\r\n\r\n" + bytes(range(128, 256)) + b"\r\n")
        for parameters in ("", " BODY=8BITMIME"):
            client = self.client()
            client.expect(f"MAIL FROM:<a@client.test>{parameters}", 250)
            client.expect(f"RCPT TO:<{self.box()}>", 250)
            client.expect("DATA", 354)
            client.send(content + b".\r\n")
            self.assert_reply(client.read_reply(), 250)
        for mail in self.gateway.wait_for_mail(self.box(), 2):
            self.assertEqual(without_trace(mail), content)

    def test_a_megabyte_line(self):
        content = b"Subject: x\r\n\r\n" + b"y" * 1_000_000 + b"\r\n"
        reply = self.offer(content)
        self.assertIn(reply.code, (250, 550, 552))
        if reply.code == 250:
            self.assertEqual(without_trace(self.gateway.wait_for_mail(self.box())[0]), content)


ContentUnderTls = under_tls(ContentTest)
