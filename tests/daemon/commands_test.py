"""Commands, parameters and limits: each input and the one right answer to it (list C)."""

import ssl
import time
import unittest

from tests.support.daemon_case import DaemonTest, under_tls
from tests.support.gateway import Gateway, settings, without_trace


class CommandsTest(DaemonTest):
    def box(self):
        return f"{self.tag}@box.test"

    def test_c1_what_must_be_accepted(self):
        client = self.client()
        line = "NOOP " + "x" * 505
        self.assertEqual(len(line) + 2, 512)
        self.assert_reply(client.command(line), 250)
        local = "l" * 64
        domain = ".".join(["d" * 63] * 3 + ["e" * 59, "ee"])[:255]
        self.assert_reply(client.command(f"MAIL FROM:<{local}@{domain}>"), 250)
        self.assert_reply(client.command(f"RCPT TO:<{local}@box.test>"), 250)
        client.expect("RSET", 250)
        client.expect("MAIL FROM:<a@client.test>", 250)
        for index in range(100):
            client.expect(f"RCPT TO:<{index}@void.test>", 250)
        client.expect("RSET", 250)
        text = b"Subject: long\r\n\r\n" + b"x" * 998 + b"\r\n"
        self.assert_reply(client.mail("a@client.test", [self.box()], text), 250)
        self.assertEqual(without_trace(self.gateway.wait_for_mail(self.box())[0]), text)

    def test_c2_a_long_command_line(self):
        client = self.client()
        self.assert_reply(client.command("NOOP " + "x" * 8192), 500, "5.5.2")
        self.assert_goes_on(client)
        client.send(b"NOOP " + b"x" * 8192 + b"\r\nNOOP\r\n")
        self.assertEqual([reply.code for reply in client.read_replies(2)], [500, 250])

    def test_c3_a_line_without_an_end(self):
        client = self.client()
        sent = 0
        try:
            while sent < 1 << 20:
                client.send(b"x" * 4096)
                sent += 4096
                if not client.is_silent(0.001):
                    break
        except OSError:
            pass  # closed while we were sending
        self.assertLess(sent, 1 << 20, "the server reads on without an end")
        replies = client.read_to_end()
        self.assertEqual([reply.code for reply in replies], [421], replies)

    def test_c4_nul_in_a_command(self):
        client = self.client()
        for line in (b"NO\0OP", b"MAIL FROM:<a\0@client.test>", b"NOOP\0"):
            self.assert_reply(client.command(line), 501, "5.5.2", line)
        self.assert_goes_on(client)

    def test_c5_8_bit_addresses(self):
        client = self.client()
        self.assert_reply(client.command("MAIL FROM:<jürgen@client.test>"), 553, "5.6.7")
        self.assert_reply(client.command(b"MAIL FROM:<\xff@client.test>"), 553, "5.6.7")
        client.expect("MAIL FROM:<a@client.test>", 250)
        self.assert_reply(client.command("RCPT TO:<jürgen@box.test>"), 553, "5.6.7")
        self.assert_reply(client.command("RCPT TO:<a@bücher.box.test>"), 553, "5.6.7")
        self.assert_goes_on(client)

    def test_c6_bad_utf8(self):
        client = self.client()
        for address in (b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82", b"\xff", b"a\x80b", b"\xf4\x90\x80\x80"):
            for path in (b"<" + address + b"@client.test>", b"<a@" + address + b".test>",
                         b'<"' + address + b'"@client.test>'):
                reply = client.command(b"MAIL FROM:" + path + b" SMTPUTF8")
                self.assert_reply(reply, 501, "5.5.2", path)
                reply = client.command(b"MAIL FROM:" + path)
                self.assert_reply(reply, 553, "5.6.7", path)
                client.expect("MAIL FROM:<a@client.test> SMTPUTF8", 250)
                self.assert_reply(client.command(b"RCPT TO:" + path), 501, "5.5.2", path)
                client.expect("RSET", 250)
                if path.startswith(b'<"'):  # well below the limit of errors
                    client.close()
                    client = self.client()
        self.assert_goes_on(client)

    def test_c7_case_and_blanks(self):
        client = self.client()
        self.assert_reply(client.command("nOoP"), 250)
        self.assert_reply(client.command("NOOP  \t"), 250)
        self.assert_reply(client.command("RSET "), 250)
        self.assert_reply(client.command("mail from:<a@client.test>  "), 250)
        self.assert_reply(client.command(f"rCPT tO:<{self.box()}>"), 250)
        self.assert_reply(client.command(" NOOP"), 500, "5.5.2")
        self.assert_reply(client.command("\tNOOP"), 500, "5.5.2")
        self.assert_reply(client.command(""), 500, "5.5.2")

    def test_c8_a_blank_before_the_path(self):
        client = self.client()
        self.assert_reply(client.command("MAIL FROM: <a@client.test>"), 250)
        self.assert_reply(client.command(f"RCPT TO: <{self.box()}>"), 250)

    def test_c9_no_angle_brackets(self):
        client = self.client()
        self.assert_reply(client.command("MAIL FROM:a@client.test"), 501, "5.1.7")
        client.expect("MAIL FROM:<a@client.test>", 250)
        self.assert_reply(client.command(f"RCPT TO:{self.box()}"), 501, "5.1.3")
        self.assert_goes_on(client)

    def test_c10_the_order_of_commands(self):
        client = self.raw_client()
        client.read_reply()
        for line in ("MAIL FROM:<a@client.test>", f"RCPT TO:<{self.box()}>", "DATA"):
            self.assert_reply(client.command(line), 503, "5.5.1", line)
        client.expect("EHLO client.test", 250)
        self.assert_reply(client.command(f"RCPT TO:<{self.box()}>"), 503, "5.5.1")
        self.assert_reply(client.command("DATA"), 503, "5.5.1")
        client.expect("MAIL FROM:<a@client.test>", 250)
        self.assert_reply(client.command("DATA"), 503, "5.5.1")
        self.assert_reply(client.command("MAIL FROM:<b@client.test>"), 503, "5.5.1")
        client.expect(f"RCPT TO:<{self.box()}>", 250)
        self.assert_reply(client.command("MAIL FROM:<b@client.test>"), 503, "5.5.1")
        client.expect("DATA", 354)

    def test_c11_ehlo_resets_a_transaction(self):
        client = self.client()
        for verb in ("EHLO", "HELO"):
            client.start("a@client.test", [self.box()])
            client.expect(f"{verb} client.test", 250)
            self.assert_reply(client.command("DATA"), 503, "5.5.1", verb)

    def test_c12_a_refused_command_changes_nothing(self):
        client = self.client()
        client.start("a@client.test", [self.box()])
        self.assert_reply(client.command("EHLO"), 501)
        self.assert_reply(client.command("MAIL FROM:<b@client.test>"), 503)
        self.assert_reply(client.command("RCPT TO:<nobody@refused.test>"), 550, "5.1.1")
        client.expect("DATA", 354)
        client.send(b"kept\r\n.\r\n")
        self.assert_reply(client.read_reply(), 250)
        mail = self.gateway.wait_for_mail(self.box())[0]
        self.assertTrue(mail.startswith(b"Return-Path: <a@client.test>\r\n"), mail[:80])
        self.assert_reply(client.command("MAIL FROM:<a@client.test> FOO=1"), 555)
        self.assert_reply(client.command("RCPT TO:<x@box.test>"), 503, "5.5.1")
        client.expect("MAIL FROM:<b@client.test>", 250)

    def test_c13_before_ehlo(self):
        client = self.raw_client()
        client.read_reply()
        for line, code in (("NOOP", 250), ("RSET", 250), ("HELP", 214), ("NOOP with words", 250),
                           ("RSET", 250), ("RSET", 250)):
            self.assert_reply(client.command(line), code, None, line)
        client.expect("EHLO client.test", 250)

    def test_c14_vrfy_expn_unknown(self):
        client = self.client()
        self.assert_reply(client.command("VRFY someone"), 252, "2.5.0")
        self.assert_reply(client.command("EXPN list"), 502, "5.5.1")
        self.assert_reply(client.command("FROB"), 500, "5.5.2")
        self.assert_reply(client.command("FROB nicate"), 500, "5.5.2")
        self.assert_reply(client.command("MAILX FROM:<a@b>"), 500, "5.5.2")

    def test_c15_arguments_where_none_belong(self):
        client = self.client()
        client.start("a@client.test", [self.box()])
        for line in ("DATA now", "RSET all", "QUIT please"):
            self.assert_reply(client.command(line), 501, "5.5.4", line)
        client.expect("DATA", 354)

    def test_c16_too_many_errors(self):
        client = self.client()
        for _ in range(19):
            self.assert_reply(client.command("FROB"), 500)
        client.send(b"FROB\r\n")
        last = client.read_to_end()
        self.assertEqual([(reply.code, reply.status) for reply in last], [(421, "4.7.0")])

    def test_c16_an_accepted_mail_forgives(self):
        client = self.client()
        for _ in range(3):
            for _ in range(15):
                self.assert_reply(client.command("FROB"), 500)
            self.assert_reply(client.mail("a@client.test", ["x@void.test"], b"x\r\n"), 250)

    def test_c17_other_protocols(self):
        for line in ("GET / HTTP/1.1", "POST /mail HTTP/1.1", "CONNECT mx.test:25 HTTP/1.1",
                     "Subject: a body sent as commands", "Host: mx.test"):
            with self.subTest(line=line):
                client = self.raw_client()
                client.read_reply()
                client.send(line.encode() + b"\r\nHost: x\r\n\r\nEHLO x\r\nMAIL FROM:<a@b.test>\r\n")
                replies = client.read_to_end()
                self.assertEqual(len(replies), 1, replies)
                self.assertIn(replies[0].code, (554, 421))

    def test_c18_a_tls_client_hello(self):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="mx.test")
        with self.assertRaises(ssl.SSLWantReadError):
            tls.do_handshake()
        hello = outgoing.read()
        client = self.raw_client()
        client.read_reply()
        client.send(hello)
        replies = client.read_to_end(10)
        self.assertLessEqual(len(replies), 1)
        for reply in replies:
            self.assertIn(reply.code, (554, 421))

    def test_c19_bad_names(self):
        client = self.client()
        for name in (b"", b"x" * 1024, b"%s%n", b"a\x1b[31mb", b"a b", b"-", b"<x>", b"a@b"):
            self.assert_reply(client.command(b"EHLO " + name), 501, None, name)
        self.assert_reply(client.command("HELO"), 501)
        self.gateway.log()  # reads every line: none holds a control byte
        self.assert_goes_on(client)

    def test_c20_address_literals(self):
        client = self.client()
        for name in ("[1.2.3.4]", "[IPv6:::1]", "[IPv6:2001:db8::1]", "under_score.test", "localhost"):
            self.assert_reply(client.command(f"EHLO {name}"), 250, None, name)
        for name in ("[IPv6:zz]", "[999.1.1.1]", "[1.2.3]", "[1.2.3.4", "1.2.3.4]", "[]"):
            self.assert_reply(client.command(f"EHLO {name}"), 501, None, name)

    def test_c21_a_name_that_is_not_the_clients(self):
        client = self.raw_client()
        client.greet("[192.0.2.77]")
        self.assert_reply(client.mail("a@client.test", [self.box()], b"x\r\n"), 250)

    def test_c22_unknown_parameters(self):
        client = self.client()
        # AUTH is offered where there are users, REQUIRETLS under TLS.
        for parameter in ("FOO", "FOO=bar", "AUTH=<>", "NOTIFY=NEVER", "ORCPT=rfc822;a", "BY=120;R",
                          *(["REQUIRETLS"] if self.tls is None else [])):
            reply = client.command(f"MAIL FROM:<a@client.test> {parameter}")
            self.assert_reply(reply, 555, "5.5.4", parameter)
        client.expect("MAIL FROM:<a@client.test>", 250)
        for parameter in ("FOO", "FOO=bar", "SIZE=1", "RET=FULL", "ENVID=a", "SMTPUTF8"):
            reply = client.command(f"RCPT TO:<{self.box()}> {parameter}")
            self.assert_reply(reply, 555, "5.5.4", parameter)
        self.assert_goes_on(client)

    def test_c23_size_values(self):
        client = self.client()
        for value in ("SIZE=abc", "SIZE=-1", "SIZE=", "SIZE", "SIZE=1 SIZE=1", "SIZE=0x10", "SIZE=1.5"):
            reply = client.command(f"MAIL FROM:<a@client.test> {value}")
            self.assert_reply(reply, 501, "5.5.4", value)
        for value in (10**20, 2**64, 2**64 + 1, 2**63):
            reply = client.command(f"MAIL FROM:<a@client.test> SIZE={value}")
            self.assert_reply(reply, 552, "5.3.4", value)
        self.assert_reply(client.command("MAIL FROM:<a@client.test> size=1000"), 250)

    def test_c25_body_values(self):
        client = self.client()
        for value in ("BODY=FOO", "BODY=", "BODY", "BODY=BINARY", "BODY=7BIT BODY=7BIT"):
            reply = client.command(f"MAIL FROM:<a@client.test> {value}")
            self.assert_reply(reply, 501, "5.5.4", value)
        for value in ("BODY=7BIT", "BODY=8BITMIME", "body=8bitmime SIZE=10", "BODY=BINARYMIME"):
            self.assert_reply(client.command(f"MAIL FROM:<a@client.test> {value}"), 250, None, value)
            client.expect("RSET", 250)

    def test_c26_parameters_after_helo(self):
        client = self.raw_client()
        client.greet(verb="HELO")
        for value in ("SIZE=10", "BODY=8BITMIME", "SMTPUTF8", "RET=FULL", "ENVID=a"):
            self.assert_reply(client.command(f"MAIL FROM:<a@client.test> {value}"), 555, "5.5.4", value)
        # Without parameters there is no SMTPUTF8, so that an address can only be ASCII.
        self.assert_reply(client.command("MAIL FROM:<ä@client.test> SMTPUTF8"), 553, "5.6.7")
        client.expect("MAIL FROM:<a@client.test>", 250)
        self.assert_reply(client.command(f"RCPT TO:<{self.box()}> NOTIFY=NEVER"), 555, "5.5.4")

    def test_c29_the_recipient_past_the_limit(self):
        client = self.client(timeout=60)
        lines = [f"RCPT TO:<r{index}@void.test>\r\n" for index in range(1001)]
        client.send(("MAIL FROM:<a@client.test>\r\n" + "".join(lines)).encode())
        replies = client.read_replies(1002)
        self.assertEqual({reply.code for reply in replies[:1001]}, {250})
        self.assert_reply(replies[1001], 452, "4.5.3")
        client.expect("DATA", 354)
        client.send(b"to a thousand\r\n.\r\n")
        self.assert_reply(client.read_reply(), 250)

    def test_c30_a_recipient_twice(self):
        client = self.client()
        domain_in_capitals = self.box().replace("box.test", "BOX.test")
        reply = client.mail("a@client.test", [self.box(), self.box(), domain_in_capitals], b"once\r\n")
        self.assert_reply(reply, 250)
        self.gateway.wait_for_mail(self.box(), 1)
        time.sleep(0.3)
        self.gateway.wait_for_mail(self.box(), 1)

    def test_c31_bad_dsn_parameters(self):
        client = self.client()
        for parameter in ("RET=BOTH", "RET", "RET=FULL RET=FULL", "ENVID=", "ENVID=a+2", "ENVID=a+0D+0A",
                          "ENVID=" + "x" * 101, "ENVID=a ENVID=a"):
            reply = client.command(f"MAIL FROM:<a@client.test> {parameter}")
            self.assert_reply(reply, 501, "5.5.4", parameter)
        client.expect("MAIL FROM:<a@client.test>", 250)
        for parameter in ("NOTIFY=NEVER,FAILURE", "NOTIFY=DELAY,DELAY", "NOTIFY=FOO", "ORCPT=a@b",
                          "ORCPT=rfc822;a+zz", "ORCPT=rfc822;" + "x" * 494, "ORCPT=rfc822;+0D+0AX"):
            reply = client.command(f"RCPT TO:<{self.box()}> {parameter}")
            self.assert_reply(reply, 501, "5.5.4", parameter)
        client.expect(f"RCPT TO:<{self.box()}> NOTIFY=NEVER ORCPT=rfc822;" + "x" * 493, 250)

    def test_c32_what_is_advertised_works(self):
        client = self.raw_client()
        client.read_reply()
        self.assertEqual(len(client.expect("HELO client.test", 250).lines), 1)
        lines = client.expect("EHLO client.test", 250).lines
        names = {line.split(" ")[0] for line in lines[1:]}
        self.assertLessEqual({"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE", "CHUNKING",
                              "BINARYMIME", "SMTPUTF8", "DSN", "LIMITS"}, names)
        commands = {"STARTTLS": "STARTTLS", "AUTH": "AUTH PLAIN", "CHUNKING": "BDAT 0 LAST",
                    "VRFY": "VRFY x", "HELP": "HELP", "EXPN": "EXPN x", "ETRN": "ETRN x"}
        for name in names & set(commands):
            with self.raw_client() as other:
                other.greet()
                self.assertNotIn(other.command(commands[name]).code, (500, 502), name)

    def test_not_offered(self):
        client = self.client()
        for line in ("AUTH PLAIN AGEAYg==", "EXPN list", *(["STARTTLS"] if self.tls is None else [])):
            self.assert_reply(client.command(line), 502, "5.5.1", line)

    def test_every_error_has_a_status(self):
        client = self.client()
        for line in ("FROB", "EHLO", "MAIL", "MAIL FROM:x", "RCPT TO:<a@b>", "DATA", "EXPN x", "VRFY"):
            reply = client.command(line)
            self.assertIsNotNone(reply.status, reply)
            self.assertEqual(reply.status[0], str(reply.code)[0], reply)

    def test_the_reply_names_the_queue_id(self):
        client = self.client()
        reply = client.mail("a@client.test", [self.box()], b"x\r\n")
        self.assert_reply(reply, 250, "2.0.0")
        received = self.gateway.wait_for_mail(self.box())[0].split(b"\r\n\r\n")[0].decode()
        ids = [word for word in reply.text.split() if word in received]
        self.assertTrue(ids, f"no word of {reply.text!r} is in {received!r}")


class SizeTest(unittest.TestCase):
    """C24, C27, C28 with a small limit."""

    LIMIT = 100_000

    @classmethod
    def setUpClass(cls):
        cls.gateway = Gateway(settings(listener={"limits": {"message_size": f"{cls.LIMIT}B"}}))
        cls.addClassCleanup(cls.gateway.clean_up)
        cls.gateway.start()

    @classmethod
    def tearDownClass(cls):
        cls.gateway.stop()

    def content(self, size):
        line = b"x" * 98 + b"\r\n"
        return (line * (size // 100)) + (b"y" * (size % 100 - 2) + b"\r\n" if size % 100 else b"")

    def test_c24_a_declared_size(self):
        with self.gateway.client() as client:
            self.assertIn(f"SIZE {self.LIMIT}", client.command("EHLO x.test").lines)
            client.expect(f"MAIL FROM:<a@client.test> SIZE={self.LIMIT}", 250)
            client.expect("RSET", 250)
            client.expect(f"MAIL FROM:<a@client.test> SIZE={self.LIMIT + 1}", 552, "5.3.4")
            client.expect("MAIL FROM:<a@client.test>", 250)

    def test_c27_at_the_limit_and_past_it(self):
        with self.gateway.client() as client:
            for size, code in ((self.LIMIT - 3, 250), (self.LIMIT, 250), (self.LIMIT + 3, 552),
                               (self.LIMIT + 50, 552)):
                content = self.content(size)
                self.assertEqual(len(content), size)
                before = self.gateway.received()
                reply = client.mail("a@client.test", ["c27@box.test"], content)
                self.assertEqual(reply.code, code, (size, reply))
                if code == 552:
                    self.assertEqual(reply.status, "5.3.4")
                self.assertEqual(self.gateway.received() - before, 1 if code == 250 else 0)
            self.gateway.wait_for_mail("c27@box.test", 2)

    def test_c27_one_byte_past_it(self):
        with self.gateway.client() as client:
            content = b"z" + self.content(self.LIMIT)
            reply = client.mail("a@client.test", ["c27b@box.test"], content)
            self.assertEqual((reply.code, reply.status), (552, "5.3.4"))
            client.expect("NOOP", 250)

    def test_c28_data_without_a_size_and_far_past_the_limit(self):
        with self.gateway.client(timeout=60) as client:
            client.start_data("a@client.test", ["c28@box.test"])
            before = self.resident_kib()
            piece = self.content(50_000)
            for _ in range(1000):
                client.send(piece)
            self.assertLess(self.resident_kib() - before, 32 * 1024)
            client.send(b".\r\n")
            reply = client.read_reply()
            self.assertEqual((reply.code, reply.status), (552, "5.3.4"))
            client.expect("NOOP", 250)
        self.assertEqual(self.gateway.mailbox("c28@box.test"), [])

    def resident_kib(self):
        with open(f"/proc/{self.gateway.process.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
        raise AssertionError("no VmRSS")


CommandsUnderTls = under_tls(CommandsTest)
