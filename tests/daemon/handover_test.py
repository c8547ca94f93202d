"""What a next hop can take is seen when the message is handed over: each kind of message, to a hop
that offers all of it, to one that offers some, and to one that offers nothing."""

import random
import re
import unittest

from tests.support.daemon_case import DaemonTest
from tests.support.gateway import Gateway, merged, settings, wait_until, without_trace
from tests.support.sink_server import Sink
from tests.support.smtp_client import stuffed

EVERYTHING = ("PIPELINING", "SIZE 52428800", "8BITMIME", "CHUNKING", "BINARYMIME", "SMTPUTF8", "DSN",
              "ENHANCEDSTATUSCODES")
HOPS = {  # by domain
    "full.test": EVERYTHING,
    "data.test": ("PIPELINING", "8BITMIME"),
    "text.test": ("PIPELINING", "8BITMIME", "CHUNKING"),
    "old.test": (),
}
TEXT = b"Subject: x\r\n\r\n.dot\r\n..\r\n.\r\nline\r\n"
NO_END = b"Subject: x\r\n\r\n.dot\r\n.\r\n..\r\nno line end"
EIGHT_BIT = b"Subject: x\r\n\r\n" + bytes(range(128, 256)) + b"\r\n"
BINARY = b"Subject: x\r\n\r\n" + bytes(range(256)) * 20 + b"\n.\r\n.\n\r.\r\n\rMAIL FROM:<x@y>"
UTF8_HEADER = "Subject: gr\u00fcn\r\n\r\n\u00fc\r\n".encode("utf-8")


def route(domain, sink):
    return {"match": {"domain": [domain]}, "action": {"smtp": {"hosts": [sink.address]}}}


class HandoverTest(DaemonTest):
    @classmethod
    def setUpClass(cls):
        cls.sinks = {domain: Sink(capabilities=offers) for domain, offers in HOPS.items()}
        for sink in cls.sinks.values():
            cls.addClassCleanup(sink.close)
        cls.sinks["xn--bcher-kva.test"] = cls.sinks["old.test"]
        config = settings(delivery={"retry": {"first": "300ms", "factor": 2, "max": "1s"}})
        config["routes"] = [route(domain, sink) for domain, sink in cls.sinks.items()] + config["routes"]
        cls.gateway = Gateway(config)
        cls.addClassCleanup(cls.gateway.clean_up)
        cls.gateway.start()

    def address(self, domain, name=""):
        return f"{self.tag}{name}@{domain}"

    def send(self, recipients, content, parameters="", by_bdat=False, chunk_bytes=65536,
             sender="a@client.test"):
        """`recipients`: addresses, or (address, parameters)."""
        client = self.client()
        client.expect(f"MAIL FROM:<{sender}>{parameters}", 250)
        for recipient in recipients:
            address, more = recipient if isinstance(recipient, tuple) else (recipient, "")
            client.expect(f"RCPT TO:<{address}>{more}", 250)
        if not by_bdat:
            client.expect("DATA", 354)
            client.send(stuffed(content) + b".\r\n")
            self.assert_reply(client.read_reply(), 250)
            return
        for at in range(0, max(len(content), 1), chunk_bytes):
            reply = client.bdat(content[at : at + chunk_bytes], at + chunk_bytes >= len(content))
            self.assert_reply(reply, 250)

    def arrival(self, address):
        """The one message that this recipient's hop accepted."""
        sink = self.sinks[address.rpartition("@")[2]]
        wait_until(lambda: sink.accepted(address), f"a message for {address}")
        self.assertEqual(len(sink.accepted(address)), 1)
        return sink.accepted(address)[0]

    def assert_refused(self, address, status):
        """Failed at the first attempt, and the hop never saw the recipient."""
        def lines():
            return [line for line in self.gateway.log("failed") if line["recipient"] == address]

        wait_until(lines, f"{address} to fail")
        state = lines()[0]
        self.assertTrue(state["reply"].startswith(status + " "), state)
        self.assertEqual(state["attempt"], 1)
        sink = self.sinks[address.rpartition("@")[2]]
        self.assertFalse([line for line in sink.lines if address.encode() in line])

    # --- the body ---

    def test_data_goes_by_data_everywhere(self):
        recipients = [self.address(domain) for domain in HOPS]
        self.send(recipients, TEXT)
        for recipient in recipients:
            message = self.arrival(recipient)
            self.assertFalse(message.is_chunked)
            self.assertEqual(without_trace(message.content), TEXT)
            self.assertNotIn("BODY=", message.mail_line)

    def test_bdat_goes_by_bdat_where_it_can(self):
        for name, content in (("-end", TEXT), ("-no-end", NO_END), ("-empty", b"")):
            with self.subTest(name):
                recipients = [self.address(domain, name) for domain in HOPS]
                self.send(recipients, content, by_bdat=True)
                for recipient in recipients:
                    message = self.arrival(recipient)
                    can_chunk = "CHUNKING" in HOPS[recipient.rpartition("@")[2]]
                    self.assertEqual(message.is_chunked, can_chunk)
                    is_whole = can_chunk or not content or content.endswith(b"\r\n")
                    want = content if is_whole else content + b"\r\n"
                    self.assertEqual(without_trace(message.content), want)

    def test_bdat_in_random_chunks_is_the_same_by_data_and_by_bdat(self):
        rng = random.Random(8)
        words = [b".", b"..", b"\r\n", b"\r\n.", b"\r\n.\r\n", b"x", b"some words ", b"\r\n..\r\n"]
        for index in range(20):
            content = b"".join(rng.choice(words) for _ in range(rng.randrange(1, 6000))) + b"\r\n"
            recipients = [self.address("full.test", f"-{index}"), self.address("old.test", f"-{index}")]
            self.send(recipients, content, by_bdat=True, chunk_bytes=rng.randrange(1000, 9000))
            for recipient in recipients:
                self.assertEqual(without_trace(self.arrival(recipient).content), content, index)

    def test_large_messages(self):
        content = b"Subject: x\r\n\r\n" + b".dots\r\n..\r\n and a line without any\r\n" * 80000
        recipients = [self.address(domain) for domain in HOPS]
        self.send(recipients, content, by_bdat=True, chunk_bytes=1 << 20)
        for recipient in recipients:
            self.assertEqual(without_trace(self.arrival(recipient).content), content)

    def test_what_leaves_by_data_has_no_bare_newline(self):
        self.send([self.address("old.test")], NO_END, by_bdat=True)
        wire = self.arrival(self.address("old.test")).wire.replace(b"\r\n", b"")
        self.assertNotIn(b"\r", wire)
        self.assertNotIn(b"\n", wire)

    def test_8_bit_content(self):
        for by_bdat in (False, True):
            with self.subTest(by_bdat=by_bdat):
                name = f"-{by_bdat}".lower()
                self.send([self.address(domain, name) for domain in HOPS], EIGHT_BIT,
                          parameters=" BODY=8BITMIME", by_bdat=by_bdat)
                for domain in ("full.test", "data.test", "text.test"):
                    message = self.arrival(self.address(domain, name))
                    self.assertEqual(without_trace(message.content), EIGHT_BIT)
                    self.assertIn(" BODY=8BITMIME", message.mail_line)
                self.assert_refused(self.address("old.test", name), "5.6.3")

    def test_8_bit_content_that_was_not_declared(self):
        self.send([self.address("full.test"), self.address("old.test")], EIGHT_BIT)
        self.assertIn(" BODY=8BITMIME", self.arrival(self.address("full.test")).mail_line)
        self.assert_refused(self.address("old.test"), "5.6.3")

    def test_7_bit_content_that_was_declared_8_bit(self):
        recipients = [self.address(domain) for domain in HOPS]
        for by_bdat, name in ((False, "-data"), (True, "-bdat")):
            recipients = [self.address(domain, name) for domain in HOPS]
            self.send(recipients, TEXT, parameters=" BODY=8BITMIME", by_bdat=by_bdat)
            for recipient in recipients:
                self.assertEqual(without_trace(self.arrival(recipient).content), TEXT)

    def test_binary_content(self):
        recipients = [self.address(domain) for domain in HOPS]
        self.send(recipients, BINARY, parameters=" BODY=BINARYMIME", by_bdat=True, chunk_bytes=1000)
        message = self.arrival(self.address("full.test"))
        self.assertTrue(message.is_chunked)
        self.assertIn(" BODY=BINARYMIME", message.mail_line)
        self.assertEqual(without_trace(message.content), BINARY)
        for domain in ("data.test", "text.test", "old.test"):
            self.assert_refused(self.address(domain), "5.6.3")

    def test_text_that_was_declared_binary(self):
        recipients = [self.address(domain) for domain in HOPS]
        self.send(recipients, TEXT, parameters=" BODY=BINARYMIME", by_bdat=True)
        for recipient in recipients:
            self.assertEqual(without_trace(self.arrival(recipient).content), TEXT)

    def test_maildirs_take_everything_as_it_is(self):
        for name, content, parameters in (("-text", TEXT, ""), ("-no-end", NO_END, ""),
                                          ("-binary", BINARY, " BODY=BINARYMIME")):
            self.send([self.address("box.test", name)], content, parameters, by_bdat=True)
            mail = self.gateway.wait_for_mail(self.address("box.test", name))[0]
            self.assertEqual(without_trace(mail), content)

    # --- UTF-8 ---

    def test_utf8_addresses(self):
        local = f"\u00fc-{self.tag}"
        self.send([f"{local}@full.test", f"{local}@old.test", self.address("old.test")], TEXT,
                  parameters=" SMTPUTF8")
        message = self.arrival(f"{local}@full.test")
        self.assertIn(" SMTPUTF8", message.mail_line)
        self.assertNotIn(" SMTPUTF8", self.arrival(self.address("old.test")).mail_line)
        self.assert_refused(f"{local}@old.test", "5.6.7")

    def test_a_utf8_sender(self):
        self.send([self.address("full.test"), self.address("old.test")], TEXT, parameters=" SMTPUTF8",
                  sender="\u00fc@client.test")
        self.assertEqual(self.arrival(self.address("full.test")).sender, "\u00fc@client.test")
        self.assert_refused(self.address("old.test"), "5.6.7")

    def test_domains_in_utf8_go_as_a_labels(self):
        self.send([f"{self.tag}@b\u00fccher.test"], TEXT, parameters=" SMTPUTF8",
                  sender="a@m\u00fcller.test")
        sink = self.sinks["old.test"]
        recipient = f"{self.tag}@xn--bcher-kva.test"
        wait_until(lambda: sink.accepted(recipient), "the message")
        self.assertEqual(sink.accepted(recipient)[0].sender, "a@xn--mller-kva.test")

    def test_a_utf8_header(self):
        parameters = " BODY=8BITMIME SMTPUTF8"
        self.send([self.address("full.test"), self.address("data.test")], UTF8_HEADER, parameters)
        message = self.arrival(self.address("full.test"))
        self.assertEqual(without_trace(message.content), UTF8_HEADER)
        self.assertIn(" SMTPUTF8", message.mail_line)
        self.assert_refused(self.address("data.test"), "5.6.9")

    def test_a_raw_header_without_smtputf8_is_only_8_bit_content(self):
        self.send([self.address("full.test"), self.address("data.test")], UTF8_HEADER, " BODY=8BITMIME")
        for domain in ("full.test", "data.test"):
            message = self.arrival(self.address(domain))
            self.assertEqual(without_trace(message.content), UTF8_HEADER)
            self.assertNotIn("SMTPUTF8", message.mail_line)

    def test_one_mailbox_for_both_ways_to_write_its_domain(self):
        config = settings()
        config["routes"] = [{"match": {"domain": ["*"]},
                             "action": {"maildir": {"path": "mail/{domain}/{local}"}}}]
        with Gateway(config) as gateway, gateway.client() as client:
            client.expect("MAIL FROM:<a@client.test> SMTPUTF8", 250)
            client.expect("RCPT TO:<joe@B\u00fccher.test>", 250)
            client.expect("DATA", 354)
            client.send(stuffed(TEXT) + b".\r\n")
            self.assert_reply(client.read_reply(), 250)
            self.assert_reply(client.mail("a@client.test", ["joe@xn--bcher-kva.test"], TEXT), 250)
            gateway.wait_for_mail("joe@xn--bcher-kva.test", 2)

    # --- the sender's wishes ---

    def test_dsn_parameters_are_sent_on(self):
        wishes = " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;old+2Bname@old.test"
        recipients = [(self.address("full.test"), wishes), (self.address("old.test"), wishes),
                      (self.address("full.test", "-never"), " NOTIFY=NEVER"),
                      self.address("full.test", "-none")]
        self.send(recipients, TEXT, parameters=" RET=HDRS ENVID=a+3Db")
        message = self.arrival(self.address("full.test"))
        self.assertIn(" RET=HDRS ENVID=a+3Db", message.mail_line)
        ends = {line.partition("<")[2].partition(">")[0]: line.partition(">")[2]
                for line in message.rcpt_lines}
        self.assertEqual(ends, {self.address("full.test"): wishes,
                                self.address("full.test", "-never"): " NOTIFY=NEVER",
                                self.address("full.test", "-none"): ""})
        old = self.arrival(self.address("old.test"))
        self.assertNotIn("RET=", old.mail_line)
        self.assertTrue(all(line.endswith(">") for line in old.rcpt_lines))

    def test_an_original_recipient_in_utf8(self):
        orcpt = " ORCPT=utf-8;j\u00f6rg@old.test"
        self.send([(self.address("full.test"), orcpt)], TEXT, parameters=" SMTPUTF8")
        line = self.arrival(self.address("full.test")).rcpt_lines[0]
        self.assertEqual(line.partition(">")[2], orcpt)

    def test_the_declared_size_is_that_of_what_is_sent(self):
        self.send([self.address("full.test")], NO_END, by_bdat=True)
        message = self.arrival(self.address("full.test"))
        size = re.search(r" SIZE=(\d+)", message.mail_line)
        self.assertEqual(int(size.group(1)), len(message.wire))


class LimitsTest(unittest.TestCase):
    def start(self, *capabilities, replies=None):
        self.sink = Sink(replies, capabilities=("PIPELINING", *capabilities))
        self.addCleanup(self.sink.close)
        changes = {"delivery": {"retry": {"first": "300ms", "factor": 2, "max": "1s"},
                                "per_destination": {"connections": 2}}}
        self.gateway = Gateway(merged(settings(sink_address=self.sink.address), changes))
        self.addCleanup(self.gateway.clean_up)
        self.gateway.start()

    def finish(self, count):
        self.gateway.wait_for_empty_queue()
        arrived = [name for message in self.sink.accepted() for name in message.recipients]
        self.assertEqual(len(arrived), count)
        self.assertEqual(len(set(arrived)), count)
        # Nothing was said that the hop had to refuse.
        self.assertEqual(self.gateway.metric("postern_delivery_attempts_total", outcome="deferred"), 0)
        self.gateway.stop()

    def test_recipients_of_a_transaction(self):
        self.start("LIMITS RCPTMAX=7")
        with self.gateway.client() as client:
            reply = client.mail("a@client.test", [f"u{i}@sink.test" for i in range(150)], TEXT)
            self.assertEqual(reply.code, 250)
        self.finish(150)
        self.assertLessEqual(max(len(message.recipients) for message in self.sink.messages), 7)

    def test_transactions_of_a_connection(self):
        self.start("CHUNKING", "LIMITS MAILMAX=3")
        with self.gateway.client() as client:
            for index in range(20):
                client.start("a@client.test", [f"u{index}@sink.test"])
                self.assertEqual(client.bdat(TEXT, is_last=True).code, 250)
        self.finish(20)
        self.assertGreaterEqual(self.sink.session_count, 7)

    def test_a_crash_between_two_transactions_of_a_message_doubles_at_most_one(self):
        replies = {}
        self.start("LIMITS RCPTMAX=2", replies=replies)

        def dot(_session, _message):
            if len(self.sink.messages) == 4:
                self.gateway.kill()
                self.sink.replies.pop("dot")
            return None

        self.sink.replies["dot"] = dot
        with self.gateway.client() as client:
            reply = client.mail("a@client.test", [f"u{i}@sink.test" for i in range(20)], TEXT)
            self.assertEqual(reply.code, 250)
        wait_until(lambda: self.gateway.process is None, "the kill")
        self.gateway.start()
        self.gateway.wait_for_empty_queue()
        arrived = [name for message in self.sink.messages for name in message.recipients]
        self.assertEqual(len(set(arrived)), 20)
        # The last transaction, and one whose result was not on the disk yet.
        self.assertLessEqual(len(arrived), 24)
        self.gateway.stop()


if __name__ == "__main__":
    unittest.main()
