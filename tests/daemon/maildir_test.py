"""Maildirs: byte for byte under our two fields, whole or not there, and never outside their place."""

import re
import threading
import unittest

from tests.support.daemon_case import DaemonTest
from tests.support.gateway import Gateway, wait_until, without_trace

NAME = re.compile(r"[^/:\s]+")


class MaildirTest(DaemonTest):
    def box(self):
        return f"{self.tag}@box.test"

    def test_byte_for_byte(self):
        content = (b"From: a@client.test\r\nSubject: bytes\r\n\r\n" + bytes(range(128, 256)) +
                   b"\r\nFrom the start\r\n.\r\n..\r\n\r\nx\r\n")
        client = self.client()
        self.assert_reply(client.mail("a@client.test", [self.box()], content), 250)
        mail = self.gateway.wait_for_mail(self.box())[0]
        self.assertTrue(mail.startswith(b"Return-Path: <a@client.test>\r\nReceived: from "), mail[:99])
        self.assertEqual(without_trace(mail), content)

    def test_the_null_sender(self):
        client = self.client()
        client.mail("", [self.box()], b"x\r\n")
        self.assertTrue(self.gateway.wait_for_mail(self.box())[0].startswith(b"Return-Path: <>\r\n"))

    def test_names_and_folders(self):
        client = self.client()
        for index in range(30):
            client.mail("a@client.test", [self.box()], b"%d\r\n" % index)
        self.gateway.wait_for_mail(self.box(), 30)
        folder = self.gateway.folder / "mail" / "box.test" / self.tag
        self.assertEqual({path.name for path in folder.iterdir()}, {"cur", "new", "tmp"})
        self.assertEqual(list((folder / "tmp").iterdir()), [])
        names = [path.name for path in (folder / "new").iterdir()]
        for name in names:
            self.assertRegex(name, NAME)
        self.gateway.wait_for_empty_queue()

    def test_case_of_the_domain(self):
        client = self.client()
        client.mail("a@client.test", [f"{self.tag}@BOX.Test"], b"x\r\n")
        self.gateway.wait_for_mail(self.box())

    def test_local_parts_cannot_leave_their_folder(self):
        nasty = ['"../../escape"', '"/etc/escape"', '".."', '"."', '"a/../../b"', '"a\\/b"',
                 "a/b", "-oQ/x", "|cmd", "$(id)", "`id`", "a'b", '"a b"', "~root", "*", "a=b", "a%2f"]
        client = self.client()
        before = self.gateway.received()
        count = 0
        for local in nasty:
            client.expect("MAIL FROM:<a@client.test>", 250)
            reply = client.command(f"RCPT TO:<{local}@box.test>")
            self.assertIn(reply.code, (250, 501, 550, 553), (local, reply))
            if reply.code == 250:
                client.expect("DATA", 354)
                client.send(b"Subject: nasty\r\n\r\n.\r\n")
                self.assertEqual(client.read_reply().code, 250)
                count += 1
            else:
                client.expect("RSET", 250)
        self.assertEqual(self.gateway.received(), before + count)
        self.gateway.wait_for_empty_queue()
        top = {path.name for path in self.gateway.folder.iterdir()}
        self.assertLessEqual(top, {"mail", "spool", "postern.yaml", "stdout.log", "stderr.log"})
        self.assertEqual({path.name for path in (self.gateway.folder / "mail").iterdir()}, {"box.test"})
        box = self.gateway.folder / "mail" / "box.test"
        for path in box.rglob("*"):
            if path.is_dir():
                depth = len(path.relative_to(box).parts)
                self.assertLessEqual(depth, 2, path)
        found = sum(1 for path in box.rglob("new/*") if b"Subject: nasty" in path.read_bytes())
        self.assertEqual(found, count)

    def test_many_writers(self):
        def writer(number):
            with self.gateway.client() as client:
                for index in range(10):
                    reply = client.mail("a@client.test", [self.box()], b"%d %d\r\n" % (number, index))
                    if reply.code != 250:
                        failures.append(reply)

        failures = []
        threads = [threading.Thread(target=writer, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        mails = self.gateway.wait_for_mail(self.box(), 200)
        self.assertEqual(len({without_trace(mail) for mail in mails}), 200)


class BlockedMaildirTest(unittest.TestCase):
    def test_a_folder_that_cannot_be_made_defers(self):
        with Gateway() as gateway:
            (gateway.folder / "mail").write_text("in the way\n")
            with gateway.client() as client:
                self.assertEqual(client.mail("a@client.test", ["x@box.test"], b"x\r\n").code, 250)
            wait_until(lambda: gateway.metric("postern_delivery_attempts_total", outcome="deferred"),
                       "a deferred delivery")
            self.assertEqual(len(gateway.queue()), 1)
            (gateway.folder / "mail").unlink()
            gateway.wait_for_mail("x@box.test")
            gateway.wait_for_empty_queue()
