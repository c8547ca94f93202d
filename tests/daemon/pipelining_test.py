"""Groups of commands in one write, and connections that end in the middle of things (list P)."""

import time

from tests.support.daemon_case import DaemonTest, under_tls
from tests.support.gateway import wait_until, without_trace


class PipeliningTest(DaemonTest):
    settings = {"listener": {"limits": {"message_size": "20MiB"}}}

    def box(self):
        return f"{self.tag}@box.test"

    def test_p5_a_hundred_recipients_in_one_write(self):
        client = self.client()
        group = ["MAIL FROM:<a@client.test>"] + [f"RCPT TO:<r{i}@void.test>" for i in range(100)]
        client.send("".join(line + "\r\n" for line in group + ["DATA"]).encode())
        codes = [reply.code for reply in client.read_replies(102)]
        self.assertEqual(codes, [250] * 101 + [354])
        client.send(b"x\r\n.\r\n")
        self.assert_reply(client.read_reply(), 250)

    def test_p6_the_next_mail_behind_the_dot(self):
        client = self.client()
        client.start_data("a@client.test", [self.box()])
        for index in range(20):
            body = f"Subject: {index}\r\n\r\n".encode()
            client.send(body + b".\r\n" + f"MAIL FROM:<a@client.test>\r\nRCPT TO:<{self.box()}>\r\n"
                        "DATA\r\n".encode())
            codes = [reply.code for reply in client.read_replies(4)]
            self.assertEqual(codes, [250, 250, 250, 354])
        client.send(b"Subject: last\r\n\r\n.\r\nQUIT\r\n")
        self.assert_closed(client, [250, 221])
        mails = self.gateway.wait_for_mail(self.box(), 21)
        self.assertEqual(len({without_trace(mail) for mail in mails}), 21)

    def test_p7_data_after_every_recipient_was_refused(self):
        client = self.client()
        client.send(b"MAIL FROM:<a@client.test>\r\nRCPT TO:<x@refused.test>\r\n"
                    b"RCPT TO:<y@elsewhere.test>\r\nDATA\r\n")
        replies = client.read_replies(4)
        self.assertEqual([reply.code for reply in replies], [250, 550, 550, 554])
        self.assertEqual([reply.status for reply in replies[1:]], ["5.1.1", "5.7.1", "5.5.1"])
        self.assert_goes_on(client)

    def test_p8_only_the_accepted_recipients_get_it(self):
        client = self.client()
        client.send(f"MAIL FROM:<a@client.test>\r\nRCPT TO:<x@refused.test>\r\n"
                    f"RCPT TO:<{self.box()}>\r\nRCPT TO:<{self.tag}@elsewhere.test>\r\n"
                    f"RCPT TO:<{self.tag}@sink.test>\r\nDATA\r\n".encode())
        self.assertEqual([reply.code for reply in client.read_replies(6)],
                         [250, 550, 250, 550, 250, 354])
        client.send(b"x\r\n.\r\n")
        self.assert_reply(client.read_reply(), 250)
        self.gateway.wait_for_mail(self.box())
        recipient = f"{self.tag}@sink.test"
        wait_until(lambda: self.sink.accepted(recipient), "the relayed message")
        self.assertEqual(self.sink.accepted(recipient)[0].recipients, [recipient])

    def test_p9_nothing_after_quit_is_read(self):
        client = self.client()
        client.send(f"QUIT\r\nNOOP\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<{self.box()}>\r\n".encode())
        self.assert_closed(client, [221])

    def test_p10_junk_commands(self):
        client = self.client()
        for line in ("NOOP", "RSET", "VRFY x", "HELP"):
            client = self.client()
            client.send((line + "\r\n").encode() * 200)
            replies = client.read_to_end()
            self.assertLessEqual(len(replies), 101, line)
            self.assertGreaterEqual(len(replies), 99, line)
            self.assert_reply(replies[-1], 421, "4.7.0", line)
            self.assertEqual({reply.code // 100 for reply in replies[:-1]}, {2}, line)

    def test_p20_the_connection_ends_in_the_middle(self):
        before = self.gateway.received()
        starts = [
            b"MAIL FROM:<a@cli", b"MAIL FROM:<a@client.test>\r\n",
            f"MAIL FROM:<a@client.test>\r\nRCPT TO:<{self.box()}>\r\n".encode(),
            f"MAIL FROM:<a@client.test>\r\nRCPT TO:<{self.box()}>\r\nDATA\r\n".encode(),
        ]
        for start in starts:
            for how in ("close", "reset"):
                client = self.client()
                client.send(start)
                time.sleep(0.05)
                getattr(client, how)()
        for how in ("close", "reset"):
            for part in (b"Subject: half\r\n", b"x" * 100_000, b"x\r\n.", b"x\r\n.\r"):
                client = self.client()
                client.start_data("a@client.test", [self.box()])
                client.send(part)
                time.sleep(0.05)
                getattr(client, how)()
        wait_until(lambda: self.gateway.metric("postern_smtp_connections") == 0, "no open session")
        self.assertEqual(self.gateway.received(), before)
        self.assertEqual(self.gateway.mailbox(self.box()), [])

    def test_p21_reset_between_the_dot_and_the_reply(self):
        before = self.gateway.received()
        content = b"Subject: whole\r\n\r\n" + b"line of text\r\n" * 500
        for _ in range(20):
            client = self.client()
            client.start_data("a@client.test", [self.box()])
            client.send(content + b".\r\n")
            client.reset()
        wait_until(lambda: self.gateway.metric("postern_smtp_connections") == 0, "no open session")
        self.gateway.wait_for_empty_queue()
        accepted = self.gateway.received() - before
        for mail in self.gateway.mailbox(self.box()):
            self.assertEqual(without_trace(mail), content)
        # What was committed is delivered, whether or not the client saw the reply.
        self.assertGreaterEqual(len(self.gateway.mailbox(self.box())), accepted)

    def test_p22_half_close_after_the_dot(self):
        client = self.client()
        client.start_data("a@client.test", [self.box()])
        client.send(b"Subject: bye\r\n\r\n.\r\n")
        client.half_close()
        replies = client.read_to_end()
        self.assertEqual(replies[0].code, 250, replies)
        self.gateway.wait_for_mail(self.box())

    def test_p22_half_close_after_a_group(self):
        client = self.client()
        client.send(b"NOOP\r\nMAIL FROM:<a@client.test>\r\nRCPT TO:<x@void.test>\r\nRSET\r\n")
        client.half_close()
        self.assertEqual([reply.code for reply in client.read_to_end()][:4], [250] * 4)

    def test_p23_half_close_before_the_dot(self):
        before = self.gateway.received()
        client = self.client()
        client.start_data("a@client.test", [self.box()])
        client.send(b"Subject: half\r\n\r\nno end")
        client.half_close()
        client.read_to_end()
        self.assertEqual(self.gateway.received(), before)
        self.assertEqual(self.gateway.mailbox(self.box()), [])

    def test_a_session_one_byte_a_segment(self):
        client = self.raw_client()
        client.read_reply()
        session = (f"EHLO client.test\r\nMAIL FROM:<a@client.test> SIZE=20\r\nRCPT TO:<{self.box()}>\r\n"
                   "DATA\r\n").encode()
        for byte in session:
            client.send(bytes([byte]))
            time.sleep(0.001)
        self.assertEqual([reply.code for reply in client.read_replies(4)], [250, 250, 250, 354])
        for byte in b"Subject: slow\r\n\r\n..dot\r\n.\r\n":
            client.send(bytes([byte]))
            time.sleep(0.001)
        self.assert_reply(client.read_reply(), 250)
        mail = self.gateway.wait_for_mail(self.box())[0]
        self.assertEqual(without_trace(mail), b"Subject: slow\r\n\r\n.dot\r\n")

    def test_large_messages_are_kept_byte_for_byte(self):
        client = self.client(timeout=60)
        wanted = set()
        for size in (1, 100, 8192, 65_536, 1_000_000, 10_000_000):
            line = bytes(range(32, 127)) + bytes(range(128, 256)) + b"\r\n"
            content = b"Subject: %d\r\n\r\n" % size + line * (size // len(line) + 1)
            wanted.add(content)
            self.assert_reply(client.mail("a@client.test", [self.box(), f"{self.tag}@sink.test"],
                                          content), 250, None, size)
        found = {without_trace(mail) for mail in self.gateway.wait_for_mail(self.box(), len(wanted))}
        self.assertEqual(found, wanted)
        recipient = f"{self.tag}@sink.test"
        wait_until(lambda: len(self.sink.accepted(recipient)) == len(wanted), "the relayed messages")
        self.assertEqual({without_trace(m.content) for m in self.sink.accepted(recipient)}, wanted)


PipeliningUnderTls = under_tls(PipeliningTest)
