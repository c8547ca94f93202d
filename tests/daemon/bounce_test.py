"""Delivery status notifications (RFC 3461, 3464, 6522, 6533), as Python's email package reads them."""

import email
import email.policy
import email.utils
import re
import time
import unittest

from tests.support.daemon_case import DaemonTest
from tests.support.gateway import Gateway, merged, settings, wait_until, without_trace
from tests.support.sink_server import Sink
from tests.support.smtp_client import stuffed

MAIL = b"Subject: x\r\nTo: someone\r\n\r\n.dot\r\nbody\r\n"
RETRY = {"first": "300ms", "factor": 1, "max": "300ms", "jitter": "0%"}


class Notification:
    """One that lies in a Maildir; what must hold of every one is checked."""

    def __init__(self, test, content):
        self.content = content
        test.assertTrue(content.startswith(b"Return-Path: <>\r\n"), content[:100])
        test.assertIsNone(re.search(rb"\r(?!\n)|(?<!\r)\n|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", content))
        test.assertLessEqual(max(map(len, content.split(b"\r\n"))), 998)
        raw = content.partition(b"\r\n")[2]
        self.message = email.message_from_bytes(raw, policy=email.policy.default)
        for part in self.message.walk():
            test.assertEqual(part.defects, [], part.get_content_type())
        test.assertEqual(self.message.get_content_type(), "multipart/report")
        test.assertEqual(self.message.get_param("report-type"), "delivery-status")
        test.assertEqual(self.message["MIME-Version"], "1.0")
        test.assertEqual(self.message["Auto-Submitted"], "auto-replied")
        test.assertIn("<MAILER-DAEMON@mx.gateway.test>", self.message["From"])
        test.assertRegex(self.message["Message-ID"], r"^<\w{13}@mx\.gateway\.test>$")
        test.assertIsNotNone(email.utils.parsedate_to_datetime(self.message["Date"]))
        parts = self.message.get_payload()
        test.assertEqual(len(parts), 3)
        self.text, self.status, self.original = parts
        test.assertEqual(self.text.get_content_type(), "text/plain")
        mark = b"\r\n--" + self.message.get_boundary().encode()
        raw_parts = [part.partition(b"\r\n\r\n")[2] for part in raw.split(mark)[1:4]]
        self.status_bytes, self.original_bytes = raw_parts[1:]
        if self.status.get_content_type() == "message/delivery-status":
            self.fields, *self.recipients = self.status.get_payload()
            test.assertEqual(self.fields["Reporting-MTA"], "dns; mx.gateway.test")
            test.assertIsNotNone(email.utils.parsedate_to_datetime(self.fields["Arrival-Date"]))

    def recipient(self, address):
        found = [block for block in self.recipients
                 if block["Final-Recipient"].partition("; ")[2] == address]
        if len(found) != 1:
            raise AssertionError(f"{len(found)} blocks about {address}:\n{self.content.decode()}")
        return found[0]


def answer_rcpt(_session, address):
    replies = {
        "never": "550 5.1.1 no such user",
        "later": "450 4.2.1 later",
        "lines": ["550 5.7.1 first", "550 5.7.1 second", "550 5.7.1 third"],
        "words": b"550 5.7.1 bell \x07 escape \x1b[31m \xff \xc3\xbc tab\tend\r\n",
        "plain": "553 no status at all",
        "other": "550 4.2.2 a status of another class",
        "long": "550 5.7.1 " + "word " * 90,
    }
    return replies.get(address.partition("@")[0].partition("-")[0])


class BounceCase(DaemonTest):
    sink_replies = {"RCPT": answer_rcpt}
    settings = {"delivery": {"retry": RETRY, "bounces": {"per_minute": 0}}}

    @property
    def sender(self):
        return f"{self.tag}@box.test"

    def send(self, *recipients, mail="", rcpt="", sender=None, content=MAIL):
        sender = self.sender if sender is None else sender
        with self.gateway.client() as client:
            client.expect(f"MAIL FROM:<{sender}>{mail}", 250)
            for recipient in recipients:
                client.expect(f"RCPT TO:<{recipient}>{rcpt}", 250)
            client.expect("DATA", 354)
            client.send(stuffed(content) + b".\r\n")
            reply = client.read_reply()
            self.assert_reply(reply, 250)
            return reply

    def notification(self, mailbox=None):
        """The only one that comes to the sender."""
        return Notification(self, self.gateway.wait_for_mail(mailbox or self.sender)[0])

    def logged(self, event, sender):
        return [line for line in self.gateway.log(event) if line["sender"] == sender]

    def wait_for_log(self, event, sender):
        return wait_until(lambda: self.logged(event, sender), f"{event} of {sender}")


class BounceTest(BounceCase):
    def test_refused_at_rcpt(self):
        reply = self.send("never@sink.test")
        found = self.notification()
        block = found.recipient("never@sink.test")
        self.assertEqual(block["Action"], "failed")
        self.assertEqual(block["Status"], "5.1.1")
        self.assertEqual(block["Remote-MTA"], "dns; [127.0.0.1]")
        self.assertEqual(block["Diagnostic-Code"], "smtp; 550 5.1.1 no such user")
        self.assertIsNotNone(email.utils.parsedate_to_datetime(block["Last-Attempt-Date"]))
        self.assertIsNone(block["Original-Recipient"])
        self.assertIsNone(block["Will-Retry-Until"])
        self.assertIsNone(found.fields["Original-Envelope-Id"])
        self.assertIn(found.fields["X-Postern-Queue-Id"], reply.text)
        self.assertIn(f"\r\nTo: <{self.sender}>\r\n".encode(), found.content)
        text = found.text.get_content()
        self.assertIn("<never@sink.test>", text)
        self.assertIn("550 5.1.1 no such user", text)
        self.assertIn("could not be delivered", text)
        self.assertEqual(found.original.get_content_type(), "message/rfc822")
        self.assertEqual(without_trace(found.original_bytes), MAIL)
        line = self.wait_for_log("notified", self.sender)[0]
        self.assertEqual(line["id"], found.fields["X-Postern-Queue-Id"])
        self.assertIn(line["notification"], found.message["Message-ID"])
        self.assertEqual(line["failed"], 1)
        wait_until(lambda: not [message for message in self.gateway.queue()
                                if message["id"] == line["id"]], "the end of the message")

    def test_one_for_all_recipients_of_a_round(self):
        good = f"{self.tag}@sink.test"
        self.send("never-1@sink.test", good, "never-2@sink.test", "plain@sink.test", "other@sink.test")
        found = self.notification()
        self.assertEqual(len(found.recipients), 4)
        self.assertEqual(found.recipient("never-1@sink.test")["Status"], "5.1.1")
        self.assertEqual(found.recipient("never-2@sink.test")["Status"], "5.1.1")
        self.assertEqual(found.recipient("plain@sink.test")["Status"], "5.0.0")
        self.assertEqual(found.recipient("other@sink.test")["Status"], "5.0.0")
        self.assertNotIn(good, found.content.decode())
        self.assertEqual(len(self.sink.accepted(good)), 1)

    def test_envid_and_orcpt_come_back_decoded(self):
        with self.gateway.client() as client:
            client.expect(f"MAIL FROM:<{self.sender}> RET=FULL ENVID=QQ+20314+2B159", 250)
            client.expect("RCPT TO:<never-1@sink.test> ORCPT=rfc822;Bob+2Bx@first.test", 250)
            client.expect("RCPT TO:<never-2@sink.test> ORCPT=X400;/C+3Dx NOTIFY=FAILURE,DELAY", 250)
            client.expect("DATA", 354)
            client.send(stuffed(MAIL) + b".\r\n")
            self.assert_reply(client.read_reply(), 250)
        found = self.notification()
        self.assertEqual(found.fields["Original-Envelope-Id"], "QQ 314+159")
        self.assertEqual(found.recipient("never-1@sink.test")["Original-Recipient"],
                         "rfc822; Bob+x@first.test")
        self.assertEqual(found.recipient("never-2@sink.test")["Original-Recipient"], "X400; /C=x")

    def test_ret_hdrs(self):
        self.send("never@sink.test", mail=" RET=HDRS")
        found = self.notification()
        self.assertEqual(found.original.get_content_type(), "text/rfc822-headers")
        self.assertEqual(without_trace(found.original_bytes), b"Subject: x\r\nTo: someone\r\n")

    def test_a_large_message_returns_as_its_header(self):
        content = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 3000
        for number, mail in enumerate(("", " RET=FULL")):
            sender = f"{self.tag}-{number}@box.test"
            self.send("never@sink.test", mail=mail, content=content, sender=sender)
            found = self.notification(sender)
            self.assertEqual(found.original.get_content_type(), "text/rfc822-headers")
            self.assertEqual(without_trace(found.original_bytes), b"Subject: large\r\n")

    def test_a_message_below_the_limit_returns_whole(self):
        content = b"Subject: long\r\n\r\n" + b"..0123456789abcd\r\n" * 2300
        self.send("never@sink.test", content=content)
        self.assertEqual(without_trace(self.notification().original_bytes), content)

    def test_8bit_bytes_return_as_they_are(self):
        content = b"Subject: x\r\n\r\n" + bytes(range(128, 256)) + b"\r\n"
        self.send("never@sink.test", mail=" BODY=8BITMIME", content=content)
        found = self.notification()
        self.assertEqual(found.original["Content-Transfer-Encoding"], "8bit")
        self.assertEqual(found.message["Content-Transfer-Encoding"], "8bit")
        self.assertEqual(without_trace(found.original_bytes), content)

    def test_the_words_of_the_remote_are_escaped(self):
        self.send("words@sink.test")
        found = self.notification()
        self.assertEqual(
            found.recipient("words@sink.test")["Diagnostic-Code"],
            r"smtp; 550 5.7.1 bell \x{07} escape \x{1B}[31m \x{FF} \x{FC} tab end")
        self.assertTrue(found.content.isascii())

    def test_all_lines_of_the_remote_come(self):
        self.send("lines@sink.test", "long@sink.test")
        found = self.notification()
        words = found.recipient("lines@sink.test")["Diagnostic-Code"]
        for word in ("first", "second", "third"):
            self.assertIn(word, words)
        words = " ".join(found.recipient("long@sink.test")["Diagnostic-Code"].split())
        self.assertTrue(words.startswith("smtp; 550 5.7.1 " + "word " * 50), words)

    def test_a_message_by_bdat_returns_as_it_is(self):
        content = b"Subject: x\r\n\r\n.\r\n..dots\r\n.end without a line end"
        with self.gateway.client() as client:
            self.assert_reply(client.mail_bdat(self.sender, ["never@sink.test"], content), 250)
        self.assertEqual(without_trace(self.notification().original_bytes), content)

    def test_a_binary_message_returns_as_its_header(self):
        content = b"Subject: binary\r\n\r\n\x00\r\n.\r\n\n\r"
        with self.gateway.client() as client:
            client.expect(f"MAIL FROM:<{self.sender}> BODY=BINARYMIME", 250)
            client.expect(f"RCPT TO:<{self.tag}@sink.test>", 250)
            self.assert_reply(client.bdat(content, is_last=True), 250)
        found = self.notification()
        self.assertEqual(found.recipients[0]["Status"], "5.6.3")
        self.assertEqual(found.original.get_content_type(), "text/rfc822-headers")
        self.assertEqual(without_trace(found.original_bytes), b"Subject: binary\r\n")


class SilenceTest(BounceCase):
    """Nobody is told."""

    def wait_for_end(self, address):
        wait_until(lambda: address not in str(self.gateway.queue()), f"the end of {address}")

    def test_the_null_sender(self):
        recipient = "never-" + self.tag + "@sink.test"
        self.send(recipient, sender="")
        self.wait_for_end(recipient)
        self.assertEqual([line for line in self.gateway.log("notified") if line["sender"] == ""], [])
        lines = wait_until(lambda: [line for line in self.gateway.log("not_notified")
                                    if line.get("recipient") == recipient], "a line in the log")
        self.assertIn("null", lines[0]["reason"])

    def test_notify_never(self):
        self.send("never@sink.test", rcpt=" NOTIFY=NEVER")
        self.wait_for_end(self.sender)
        self.assertEqual(self.gateway.mailbox(self.sender), [])
        self.assertEqual(self.logged("notified", self.sender), [])

    def test_notify_without_failure(self):
        self.send("never@sink.test", rcpt=" NOTIFY=SUCCESS,DELAY")
        self.wait_for_end(self.sender)
        self.assertEqual(self.gateway.mailbox(self.sender), [])

    def test_no_success_is_reported_unless_asked(self):
        self.send(f"{self.tag}-to@box.test", f"{self.tag}@sink.test")
        self.wait_for_end(self.sender)
        self.assertEqual(self.gateway.mailbox(self.sender), [])

    def test_nothing_about_a_notification(self):
        sender = f"{self.tag}@refused.test"  # refuses the notification too
        self.send("never@sink.test", sender=sender)
        line = self.wait_for_log("notified", sender)[0]
        self.wait_for_end(sender)
        wait_until(lambda: line["notification"] not in str(self.gateway.queue()),
                   "the end of the notification")
        self.assertEqual(len(self.logged("notified", sender)), 1)
        self.assertEqual([more for more in self.gateway.log("notified")
                          if more["id"] == line["notification"]], [])


class SuccessTest(BounceCase):
    def test_delivered_into_a_mailbox(self):
        recipient = f"{self.tag}-to@box.test"
        self.send(recipient, rcpt=" NOTIFY=SUCCESS,FAILURE", mail=" RET=FULL")
        found = self.notification()
        block = found.recipient(recipient)
        self.assertEqual(block["Action"], "delivered")
        self.assertEqual(block["Status"], "2.0.0")
        # RET is for failures (RFC 3461 4.3).
        self.assertEqual(found.original.get_content_type(), "text/rfc822-headers")
        self.assertEqual(len(self.gateway.wait_for_mail(recipient)), 1)

    def test_relayed_to_a_server_that_reports_nothing(self):
        recipient = f"{self.tag}@sink.test"
        self.send(recipient, rcpt=" NOTIFY=SUCCESS")
        block = self.notification().recipient(recipient)
        self.assertEqual(block["Action"], "relayed")
        self.assertEqual(block["Status"], "2.0.0")
        self.assertEqual(len(self.sink.accepted(recipient)), 1)

    def test_a_failure_among_successes(self):
        recipient = f"{self.tag}@sink.test"
        self.send(recipient, "never@sink.test", rcpt=" NOTIFY=SUCCESS,FAILURE")
        found = self.notification()
        self.assertEqual(found.recipient(recipient)["Action"], "relayed")
        self.assertEqual(found.recipient("never@sink.test")["Action"], "failed")
        self.assertEqual(without_trace(found.original_bytes), MAIL)


class Utf8Test(BounceCase):
    def send_utf8(self, sender, recipient, content=MAIL):
        self.send(recipient, sender=sender, mail=" SMTPUTF8 BODY=8BITMIME", content=content)

    def test_a_recipient_in_utf8_for_a_sender_in_ascii(self):
        self.send_utf8(self.sender, "j\u00fcrg@sink.test")  # the sink takes no UTF-8
        found = self.notification()
        self.assertTrue(found.content.isascii())
        block = found.recipients[0]
        self.assertEqual(block["Final-Recipient"], r"utf-8; j\x{FC}rg@sink.test")
        self.assertEqual(block["Status"], "5.6.7")

    def test_utf8_in_the_header_comes_back(self):
        content = "Subject: gr\u00fc\u00df\r\n\r\nbody\r\n".encode()
        self.send_utf8(self.sender, "j\u00fcrg@sink.test", content)
        found = self.notification()
        self.assertEqual(found.status.get_content_type(), "message/global-delivery-status")
        self.assertIn("\r\nFinal-Recipient: utf-8; j\u00fcrg@sink.test\r\nAction: failed\r\n"
                      "Status: 5.6.9\r\n".encode(), found.status_bytes)
        self.assertEqual(found.original.get_content_type(), "message/global")
        self.assertEqual(without_trace(found.original_bytes), content)
        self.assertIn("<j\u00fcrg@sink.test>", found.text.get_content())

    def test_a_sender_in_utf8(self):
        sender = f"j\u00fcrg-{self.tag}@box.test"
        self.send_utf8(sender, f"{self.tag}@sink.test")  # the sink takes no such sender

        def mailbox():
            return [path for path in (self.gateway.folder / "mail" / "box.test").glob("*/new/*")
                    if self.tag in str(path)]

        wait_until(mailbox, "the notification")
        found = Notification(self, mailbox()[0].read_bytes())
        self.assertEqual(found.status.get_content_type(), "message/global-delivery-status")
        self.assertIn(b"\r\nTo: <" + sender.encode() + b">\r\n", found.content)
        self.assertIn(f"\r\nFinal-Recipient: rfc822; {self.tag}@sink.test\r\nAction: failed\r\n"
                      "Status: 5.6.7\r\n".encode(), found.status_bytes)


class TimeTest(unittest.TestCase):
    def start(self, node=None, **delivery):
        self.sink = Sink({"RCPT": answer_rcpt})
        self.addCleanup(self.sink.close)
        config = settings(sink_address=self.sink.address, delivery={"retry": RETRY})
        self.gateway = Gateway(merged(config, {"delivery": delivery, "node": node or {}}))
        self.addCleanup(self.gateway.clean_up)
        self.gateway.start()

    def send(self, sender, recipient, rcpt=""):
        with self.gateway.client() as client:
            client.expect(f"MAIL FROM:<{sender}>", 250)
            client.expect(f"RCPT TO:<{recipient}>{rcpt}", 250)
            client.expect("DATA", 354)
            client.send(stuffed(MAIL) + b".\r\n")
            self.assertEqual(client.read_reply().code, 250)

    def test_a_delay_is_told_once_and_then_the_end(self):
        self.start(retry={"warn_after": "1s", "expire": "4s"})
        self.send("a@box.test", "later@sink.test")
        found = Notification(self, self.gateway.wait_for_mail("a@box.test")[0])
        block = found.recipient("later@sink.test")
        self.assertEqual(block["Action"], "delayed")
        self.assertEqual(block["Status"], "4.2.1")
        self.assertEqual(block["Diagnostic-Code"], "smtp; 450 4.2.1 later")
        arrival = email.utils.parsedate_to_datetime(found.fields["Arrival-Date"])
        until = email.utils.parsedate_to_datetime(block["Will-Retry-Until"])
        self.assertEqual((until - arrival).total_seconds(), 4)
        self.assertIn("still being tried", found.message["Subject"])
        self.assertEqual(found.original.get_content_type(), "text/rfc822-headers")
        wait_until(lambda: len(self.gateway.mailbox("a@box.test")) >= 2, "the second")
        self.gateway.wait_for_empty_queue()
        contents = self.gateway.mailbox("a@box.test")
        self.assertEqual(len(contents), 2)  # one warning, however often it was tried
        self.assertGreater(self.gateway.metric("postern_delivery_attempts_total",
                                               outcome="deferred"), 5)
        last = [one for one in contents if one != found.content][0]
        found = Notification(self, last)
        block = found.recipient("later@sink.test")
        self.assertEqual(block["Action"], "failed")
        self.assertEqual(block["Status"], "4.4.7")
        self.assertEqual(block["Diagnostic-Code"], "smtp; 450 4.2.1 later")
        self.assertEqual(without_trace(found.original_bytes), MAIL)
        self.gateway.stop()

    def test_a_delay_that_nobody_wants_to_know(self):
        self.start(retry={"warn_after": "500ms", "expire": "2s"})
        self.send("a@box.test", "later@sink.test", rcpt=" NOTIFY=FAILURE")
        found = Notification(self, self.gateway.wait_for_mail("a@box.test")[0])
        self.assertEqual(found.recipient("later@sink.test")["Status"], "4.4.7")
        self.gateway.wait_for_empty_queue()
        self.assertEqual(len(self.gateway.mailbox("a@box.test")), 1)
        self.gateway.stop()

    def test_a_domain_gets_no_more_than_its_rate(self):
        self.start(node={"cores": 1}, bounces={"per_minute": 1})  # each core counts for itself
        for _ in range(25):
            self.send("a@box.test", "never@sink.test")
        self.gateway.wait_for_empty_queue()
        sent, dropped = self.gateway.log("notified"), self.gateway.log("not_notified")
        self.assertGreaterEqual(len(sent), 20)
        self.assertLessEqual(len(sent), 22)  # one more for each minute that passes
        self.assertEqual(len(sent) + len(dropped), 25)
        self.assertEqual(len(self.gateway.mailbox("a@box.test")), len(sent))
        self.assertIn("bounces.per_minute", dropped[0]["reason"])
        self.gateway.stop()

    def test_a_report_outlives_a_crash(self):
        self.start(bounces={"per_minute": 0})
        for number in range(30):
            self.send(f"a{number}@box.test", "never@sink.test")
        time.sleep(0.05)
        self.gateway.kill()
        self.gateway.start()
        self.gateway.wait_for_empty_queue()
        for number in range(30):
            count = len(self.gateway.mailbox(f"a{number}@box.test"))
            self.assertIn(count, (1, 2), f"notifications of message {number}")
        self.gateway.stop()


if __name__ == "__main__":
    unittest.main()
