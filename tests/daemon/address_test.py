"""Addresses (list A) and who may be written to (list R: open-relay probes)."""

import urllib.parse

from tests.support.daemon_case import DaemonTest, under_tls
from tests.support.gateway import wait_until


class AddressTest(DaemonTest):
    settings = {"listener": {"limits": {"errors": 1000, "junk_commands": 10000}}}

    def rcpt(self, client, path, codes):
        client.expect("RSET", 250)
        client.expect("MAIL FROM:<a@client.test>", 250)
        reply = client.command(f"RCPT TO:{path}")
        self.assertIn(reply.code, codes, (path[:100], reply))
        return reply

    def test_a1_source_routes(self):
        client = self.client()
        self.rcpt(client, "<@relay.test,@other.test:x@box.test>", [250])
        self.rcpt(client, "<@box.test:x@elsewhere.test>", [550])
        client.expect("RSET", 250)
        client.expect("MAIL FROM:<@route.test:s@client.test>", 250)
        client.expect(f"RCPT TO:<@box.test:{self.tag}@box.test>", 250)
        client.expect("DATA", 354)
        client.send(b"x\r\n.\r\n")
        self.assert_reply(client.read_reply(), 250)
        mail = self.gateway.wait_for_mail(f"{self.tag}@box.test")[0]
        self.assertTrue(mail.startswith(b"Return-Path: <s@client.test>\r\n"), mail[:80])

    def test_a3_the_null_recipient(self):
        self.rcpt(self.client(), "<>", [501])

    def test_a4_quoted_is_local(self):
        client = self.client()
        self.rcpt(client, '"x@elsewhere.test"@box.test', [501])
        self.rcpt(client, '<"x@elsewhere.test"@box.test>', [250])
        self.rcpt(client, '<"x@box.test"@elsewhere.test>', [550])

    def test_a5_to_a9_bad_paths(self):
        client = self.client()
        for path in ('<""@box.test>', "<u(x)@box.test>", "<<a@box.test>>", "<a@box.test", "a@box.test>",
                     "<a@box.test>x", "<a@box.test><c@box.test>", "<a..b@box.test>", "<.a@box.test>",
                     "<a.@box.test>", "<a@box.test..>", "<a@-box.test>", "<a@>", "<@box.test>",
                     "<a@" + "d" * 64 + ".box.test>", "<a@" + "d." * 130 + "box.test>",
                     "<" + "l" * 65 + "@box.test>", "<a b@box.test>", '<"a@box.test>', "", "<"):
            self.rcpt(client, path, [501, 550] if path == '<""@box.test>' else [501])

    def test_a10_address_literals_are_never_relayed_to(self):
        client = self.client()
        for path in ("<u@[127.0.0.1]>", "<u@[IPv6:::1]>", "<u@[1.2.3.4]:25>", "<u@[box.test]>"):
            self.rcpt(client, path, [550, 501])

    def test_a11_data_is_not_run(self):
        client = self.client()
        for local in ("-oQ/x", "|cmd", "/file", "$(id)", ";sh", "${run{id}}", "`id`"):
            self.rcpt(client, f"<{local}@box.test>", [250, 501, 550])

    def test_a12_newlines_in_quoted_pairs(self):
        client = self.client()
        client.expect("MAIL FROM:<a@client.test>", 250)
        for data in (b'RCPT TO:<"a\\\rb"@box.test>\r\n', b'RCPT TO:<"a\\\nb"@box.test>\r\n',
                     b'RCPT TO:<"a\\\0b"@box.test>\r\n', b'RCPT TO:<"a\x01b"@box.test>\r\n'):
            client.send(data)
            self.assertIn(client.read_reply().code, (500, 501), data)
            self.assert_goes_on(client)

    def test_a14_u_labels(self):
        client = self.client()
        for path in ("<a@bücher.test>", "<ü@box.test>", '<"ü"@box.test>', "<a@例え.test>"):
            client.expect("RSET", 250)
            self.assert_reply(client.command(f"MAIL FROM:{path}"), 553, "5.6.7", path)
            client.expect("MAIL FROM:<a@client.test>", 250)
            self.assert_reply(client.command(f"RCPT TO:{path}"), 553, "5.6.7", path)
            client.expect("RSET", 250)
            self.assert_reply(client.command(f"MAIL FROM:{path} SMTPUTF8"), 250, "2.1.0", path)
        for path in ("<a@xn-->", "<a@xn--.test>", "<a@box.xn--abc-.test>"):
            self.rcpt(client, path, [501])
        for path in ("<a@xn--zzzzzzzzz.test>", "<a@xn--0.pt>", "<a@box.XN--0.test>"):
            self.assertEqual(self.rcpt(client, path, [501]).status, "5.5.2")
            client.expect("RSET", 250)
            self.assert_reply(client.command(f"MAIL FROM:{path}"), 501, None, path)

    def utf8_rcpt(self, client, path):
        client.expect("RSET", 250)
        client.expect("MAIL FROM:<a@client.test> SMTPUTF8", 250)
        return client.command(f"RCPT TO:{path}")

    def test_a15_no_second_address_appears(self):
        client = self.client()
        for path in ("<x＠box.test>", "<x@elsewhere.test＠box.test>", "<x@box.test＠elsewhere.test>",
                     "<x@box。test>", "<x@box．test>", "<x@\u202etset.xob>", "<x@bo\u00adx.test>",
                     "<x@ｂｏｘ.test>", "<x@\u0085box.test>", "<x\u0085@box.test>"):
            self.assert_reply(self.utf8_rcpt(client, path), 501, None, path)
        for path in ("<x＠elsewhere.test@box.test>", "<\u202ex@box.test>", "<ü@box.test>", "<u\u0308@box.test>"):
            self.assert_reply(self.utf8_rcpt(client, path), 250, "2.1.5", path)
        for path in ("<x＠box.test@elsewhere.test>", "<x@box.test.elsewhere.bücher>"):
            self.assert_reply(self.utf8_rcpt(client, path), 550, "5.7.1", path)

    def test_a15_nfc_and_nfd_are_two_mailboxes(self):
        client = self.client()
        nfc, nfd = f"ü.{self.tag}@box.test", f"u\u0308.{self.tag}@box.test"
        client.expect("MAIL FROM:<ä@client.test> SMTPUTF8 BODY=8BITMIME", 250)
        for recipient in (nfc, nfd, nfc):
            client.expect(f"RCPT TO:<{recipient}>", 250)
        client.expect("DATA", 354)
        client.send("Subject: ü\r\n\r\nü\r\n.\r\n".encode())
        self.assert_reply(client.read_reply(), 250)
        for recipient in (nfc, nfd):
            mail = self.gateway.wait_for_mail(urllib.parse.quote(recipient, safe="@"))[0]
            self.assertTrue(mail.startswith("Return-Path: <ä@client.test>\r\n".encode()), mail[:80])
            self.assertTrue(mail.endswith("\r\n\r\nü\r\n".encode()))

    def test_relay_probes(self):
        senders = ["<>", "<s@ext.test>", "<s@box.test>", "<s@[127.0.0.1]>"]
        recipients = [
            "<u@ext.test>", '<"u@ext.test">', "u@ext.test", "<ext.test!u>", "<u%ext.test@[127.0.0.1]>",
            '<"u%ext.test">', "<u@ext.test@box.test>", "<u@ext.test@[127.0.0.1]>",
            '<"u@ext.test"@[127.0.0.1]>', "<@box.test:u@ext.test>", "<@[127.0.0.1]:u@ext.test>",
            "<ext.test!u@[127.0.0.1]>", "<u@ext.test.>", "<u@box.test%ext.test>", "<u@ext.test,x@box.test>",
            "<u@box.test@ext.test>", "<u@ext.test:x@box.test>", "<u@xbox.test>", "<u@box.test.ext.test>",
            "<u@sub.box.test>", "<u@test>",
        ]
        client = self.client()
        for sender in senders:
            for recipient in recipients:
                client.expect("RSET", 250)
                client.expect(f"MAIL FROM:{sender}", 250)
                reply = client.command(f"RCPT TO:{recipient}")
                self.assertIn((reply.code, reply.status[:4]), ((550, "5.7."), (501, "5.1."), (501, "5.5."),
                                                               (554, "5.7.")), (sender, recipient, reply))

    def test_local_percent_and_bang_are_only_local(self):
        # Opaque local parts of a domain of ours: taken, and delivered nowhere else.
        client = self.client()
        for local in ("u%ext.test", "ext.test!u"):
            client.start("s@ext.test", [f"{local}@sink.test"])
            client.expect("DATA", 354)
            client.send(b"x\r\n.\r\n")
            self.assert_reply(client.read_reply(), 250)
            wait_until(lambda: self.sink.accepted(f"{local}@sink.test"), "the relayed message")


class PostmasterTest(DaemonTest):
    """A2: <Postmaster> is a recipient at node.hostname, when a route takes that."""

    settings = {"node": {"hostname": "box.test"}}

    def test_a2_postmaster_without_a_domain(self):
        client = self.client()
        for name in ("Postmaster", "postmaster", "POSTMASTER"):
            client.expect("RSET", 250)
            client.expect("MAIL FROM:<a@client.test>", 250)
            client.expect(f"RCPT TO:<{name}>", 250)
        client.expect("DATA", 354)
        client.send(b"x\r\n.\r\n")
        self.assert_reply(client.read_reply(), 250)
        self.gateway.wait_for_empty_queue()
        self.assertEqual(self.gateway.metric("postern_queue_messages", state="failed"), 0)


AddressUnderTls = under_tls(AddressTest)
