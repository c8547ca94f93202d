"""Relaying to a next hop that misbehaves in every way a test can think of (list Q)."""

import re
import time
import unittest

from tests.support.daemon_case import DaemonTest
from tests.support.gateway import Gateway, merged, settings, wait_until, without_trace
from tests.support.sink_server import Drop, Hang, Sink, Wait
from tests.support.smtp_client import stuffed

MAIL = b"Subject: x\r\n\r\nbody\r\n"
RETRY = {"retry": {"first": "300ms", "factor": 2, "max": "1s", "jitter": "0%"}}


def first_then(first, then=None, count=1):
    """A script that answers `first` so many times, and then as usual (or with `then`)."""
    state = {"left": count}

    def reply(_session, _argument):
        state["left"] -= 1
        return first if state["left"] >= 0 else then

    return reply


class RelayTest(DaemonTest):
    settings = {"delivery": RETRY}

    def recipient(self, name=""):
        return f"{self.tag}{name}@sink.test"

    def wait_for_relay(self, recipient, count=1):
        wait_until(lambda: len(self.sink.accepted(recipient)) >= count, f"{count} for {recipient}")
        return self.sink.accepted(recipient)

    def test_bytes_out_are_bytes_in(self):
        content = (b"Subject: bytes\r\nX-Fold: a\r\n\tb\r\n\r\n" + bytes(range(128, 256)) + b"\r\n"
                   b".\r\n..\r\n.dot\r\n\r\n\r\n" + b"x" * 998 + b"\r\n trailing  \r\n\t\r\n")
        client = self.client()
        client.expect("MAIL FROM:<a@client.test> BODY=8BITMIME", 250)
        client.expect(f"RCPT TO:<{self.recipient()}>", 250)
        client.expect("DATA", 354)
        client.send(stuffed(content) + b".\r\n")
        self.assert_reply(client.read_reply(), 250)
        message = self.wait_for_relay(self.recipient())[0]
        self.assertEqual(without_trace(message.content), content)
        self.assertEqual(message.sender, "a@client.test")
        self.assertIn("BODY=8BITMIME", message.mail_line.upper())
        self.assertNotIn(b"\r", message.wire.replace(b"\r\n", b""))
        self.assertNotIn(b"\n", message.wire.replace(b"\r\n", b""))

    def test_the_trace_field(self):
        client = self.raw_client()
        client.greet("trace.client.test")
        reply = client.mail("a@client.test", [self.recipient()], MAIL)
        content = self.wait_for_relay(self.recipient())[0].content
        field = content[: len(content) - len(without_trace(content))].decode("ascii")
        text = re.sub(r"\r\n[ \t]+", " ", field).rstrip("\r\n")
        form = (r"Received: from trace\.client\.test \(\[127\.0\.0\.1\]\) by mx\.gateway\.test \(Postern\) "
                r"with ESMTP id (\w+) for <" + re.escape(self.recipient()) + r">; "
                r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{1,2} "
                r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d \+0000")
        found = re.fullmatch(form, text)
        self.assertIsNotNone(found, text)
        self.assertIn(found.group(1), reply.text)
        for line in field.split("\r\n"):
            self.assertLessEqual(len(line), 998)

    def test_the_trace_field_hides_other_recipients(self):
        client = self.client()
        client.mail("a@client.test", [self.recipient("-1"), self.recipient("-2")], MAIL)
        content = self.wait_for_relay(self.recipient("-1"))[0].content
        trace = content[: len(content) - len(without_trace(content))]
        self.assertNotIn(b"for <", trace)

    def test_the_protocol_of_helo(self):
        client = self.raw_client()
        client.greet("[192.0.2.1]", verb="HELO")
        client.mail("a@client.test", [self.recipient()], MAIL)
        content = self.wait_for_relay(self.recipient())[0].content
        self.assertIn(b"with SMTP id", re.sub(rb"\r\n[ \t]+", b" ", content))

    def test_recipients_of_one_domain_share_a_transaction(self):
        recipients = [self.recipient(f"-{index}") for index in range(10)]
        client = self.client()
        client.mail("a@client.test", recipients, MAIL)
        message = self.wait_for_relay(recipients[0])[0]
        self.assertEqual(sorted(message.recipients), sorted(recipients))

    def test_the_null_sender(self):
        client = self.client()
        client.mail("", [self.recipient()], MAIL)
        self.assertEqual(self.wait_for_relay(self.recipient())[0].sender, "")

    def test_quoted_local_parts_are_kept(self):
        client = self.client()
        recipients = ['"a b"@sink.test', '"a@b"@sink.test', r'"a\"\\b"@sink.test']
        client.start("a@client.test", recipients)
        client.expect("DATA", 354)
        client.send(MAIL + b".\r\n")
        self.assert_reply(client.read_reply(), 250)
        message = self.wait_for_relay(recipients[0])[0]
        self.assertEqual(sorted(message.recipients), sorted(recipients))

    def test_many_messages_use_few_connections(self):
        before = self.sink.session_count
        client = self.client()
        for index in range(100):
            client.mail("a@client.test", [self.recipient(f"-{index}")], MAIL)
        for index in range(100):
            self.wait_for_relay(self.recipient(f"-{index}"))
        self.assertLess(self.sink.session_count - before, 60)
        self.gateway.wait_for_empty_queue()


class MisbehaviourTest(unittest.TestCase):
    """One sink and one gateway a case: the script is the case."""

    def start(self, replies=None, **changes):
        options = {key: changes.pop(key) for key in ("capabilities", "is_up") if key in changes}
        self.sink = Sink(replies, **options)
        self.addCleanup(self.sink.close)
        config = settings(sink_address=changes.pop("hosts", self.sink.address), delivery=RETRY)
        self.gateway = Gateway(merged(config, changes))
        self.addCleanup(self.gateway.clean_up)
        self.gateway.start()

    def send(self, *recipients, content=MAIL, count=1):
        with self.gateway.client() as client:
            for _ in range(count):
                reply = client.mail("a@client.test", recipients or ["r@sink.test"], content)
                self.assertEqual(reply.code, 250, reply)

    def finish(self, accepted=None):
        self.gateway.wait_for_empty_queue()
        if accepted is not None:
            self.assertEqual(len(self.sink.accepted()), accepted)
        for message in self.sink.accepted():
            self.assertTrue(without_trace(message.content))
        self.gateway.stop()

    def recipient_states(self):
        return {recipient["address"]: recipient
                for message in self.gateway.queue() for recipient in message["recipients"]}

    def wait_for_failure(self, address, event="failed"):
        """The log line of the failure: the queue keeps nothing of what the sender was told of."""
        def lines():
            return [line for line in self.gateway.log(event) if line["recipient"] == address]

        wait_until(lines, f"{address} to fail")
        return lines()[0]

    def test_next_hop_down_then_tempfails_then_drops_then_well(self):
        self.start(is_up=False)
        self.send(count=30)
        time.sleep(0.6)
        self.assertEqual(len(self.gateway.queue()), 30)
        self.assertGreater(self.gateway.metric("postern_delivery_attempts_total", outcome="deferred"), 0)

        self.sink.replies["MAIL"] = "451 4.3.0 not now"
        self.sink.start()
        time.sleep(1.5)
        self.assertEqual(len(self.gateway.queue()), 30)
        self.assertEqual(self.sink.messages, [])
        state = next(iter(self.recipient_states().values()))
        self.assertGreaterEqual(state["attempts"], 1)
        self.assertIn("451", state["reply"])

        self.sink.replies.pop("MAIL")
        self.sink.replies["dot"] = Drop()
        wait_until(lambda: self.sink.messages, "a message dropped after its dot")
        self.sink.replies.pop("dot")
        self.finish(accepted=30)

    def test_replies_for_each_recipient(self):
        scripts = {"later@sink.test": first_then("450 4.2.1 later", count=2)}

        def rcpt(session, address):
            if address == "never@sink.test":
                return "550 5.1.1 no such user"
            script = scripts.get(address)
            return script(session, address) if script else None

        self.start({"RCPT": rcpt})
        self.send("now@sink.test", "later@sink.test", "never@sink.test")
        wait_until(lambda: self.sink.accepted("now@sink.test"), "the first recipient")
        wait_until(lambda: self.sink.accepted("later@sink.test"), "the second recipient")
        state = self.wait_for_failure("never@sink.test")
        self.assertIn("550 5.1.1", state["reply"])
        self.assertEqual(state["attempt"], 1)
        self.assertEqual(len(self.sink.accepted("now@sink.test")), 1)
        self.assertEqual(len(self.sink.accepted("later@sink.test")), 1)
        self.gateway.stop()

    def refused(self, replies, text):
        self.start(replies)
        self.send()
        state = self.wait_for_failure("r@sink.test")
        self.assertIn(text, state["reply"])
        time.sleep(0.5)
        self.assertEqual(state["attempt"], 1)
        self.assertNotIn("r@sink.test", self.recipient_states())
        self.assertEqual(len(self.gateway.log("notified")), 1)
        self.assertEqual(self.sink.accepted(), [])
        self.gateway.stop()

    def test_sender_refused_for_good(self):
        self.refused({"MAIL": "550 5.7.1 not you"}, "550 5.7.1 not you")

    def test_every_recipient_refused_for_good(self):
        self.refused({"RCPT": "550 5.1.1 nobody"}, "550 5.1.1 nobody")

    def test_data_refused_for_good(self):
        self.refused({"DATA": "554 5.6.0 no"}, "554 5.6.0 no")

    def test_message_refused_for_good(self):
        self.refused({"dot": "554 5.6.0 bad content"}, "554 5.6.0 bad content")

    def test_a_refusal_of_many_lines(self):
        self.refused({"dot": ["550 5.7.1 first", "550 5.7.1 second", "550 5.7.1 third"]}, "550 5.7.1")

    def tried_again(self, replies, **changes):
        self.start(replies, **changes)
        self.send(count=3)
        self.finish()
        self.assertGreaterEqual(len(self.sink.accepted()), 3)

    def test_busy_banner(self):
        self.tried_again({"connect": first_then("421 4.3.2 busy")})

    def test_refusing_banner(self):
        self.tried_again({"connect": first_then("554 5.7.1 no service")})

    def test_drop_before_the_banner(self):
        self.tried_again({"connect": first_then(Drop())})

    def test_drop_after_ehlo(self):
        self.tried_again({"EHLO": first_then(Drop())})

    def test_drop_after_mail(self):
        self.tried_again({"MAIL": first_then(Drop())})

    def test_drop_after_data(self):
        self.tried_again({"DATA": first_then(Drop())})

    def test_drop_after_dot(self):
        self.tried_again({"dot": first_then(Drop())})

    def test_tempfail_of_each_command(self):
        for key in ("MAIL", "RCPT", "DATA", "dot"):
            with self.subTest(key=key):
                self.tried_again({key: first_then("451 4.3.0 later", count=2)})

    def test_a_421_in_the_middle(self):
        self.tried_again({"RCPT": first_then("421 4.3.2 going down")})

    def test_ehlo_unknown(self):
        self.tried_again({"EHLO": "502 5.5.1 what?"})
        self.assertIn(b"HELO mx.gateway.test", self.sink.lines)

    def test_no_extensions(self):
        self.tried_again({}, capabilities=[])

    def test_garbage_replies(self):
        garbage = [
            b"what\r\n", b"999 no such code\r\n", b"250", b"250 a\n250 b\n", b"250-a\r\n251 b\r\n",
            b"\0\0\0\r\n", b"250 " + b"x" * 100_000 + b"\r\n", b"250-x\r\n" * 5_000, b"2500 x\r\n",
            b"25\r\n", b"\r\n", b"-250 x\r\n",
        ]
        state = {"at": 0}

        def mail(_session, _argument):
            state["at"] += 1
            return garbage[state["at"] - 1] if state["at"] <= len(garbage) else None

        self.start({"MAIL": mail}, delivery={"timeouts": {"command": "1s"}})
        self.send()
        wait_until(lambda: self.sink.accepted(), "the message past all garbage", 90)
        self.finish(accepted=1)
        self.gateway.log()

    def test_replies_nobody_asked_for(self):
        self.tried_again({"connect": first_then(b"220 hi\r\n250 early\r\n250 early\r\n")})

    def test_two_replies_to_one_command(self):
        self.tried_again({"RCPT": first_then(b"250 one\r\n250 two\r\n250 three\r\n")})

    def test_silence_is_cut_short(self):
        for key, limit in (("connect", "greeting"), ("MAIL", "command"), ("DATA", "data_init"),
                           ("dot", "data_end")):
            with self.subTest(key=key):
                self.tried_again({key: first_then(Hang())}, delivery={"timeouts": {limit: "500ms"}})

    def test_slow_replies_are_waited_for(self):
        self.start({key: Wait(0.3, reply) for key, reply in
                    (("connect", "220 slow"), ("MAIL", "250 ok"), ("dot", "250 ok"))})
        self.send(count=3)
        self.finish(accepted=3)

    def test_the_second_host_takes_over(self):
        with Sink(is_up=False) as dead:
            first = dead.address
            self.sink = Sink()
            self.addCleanup(self.sink.close)
            self.gateway = Gateway(settings(sink_address=[first, self.sink.address], delivery=RETRY))
            self.addCleanup(self.gateway.clean_up)
            self.gateway.start()
            self.send(count=5)
            self.finish(accepted=5)

    def test_connections_per_destination_are_kept(self):
        self.start({"dot": Wait(0.05, "250 ok")}, delivery={"per_destination": {"connections": 3}})
        with self.gateway.client() as client:
            for index in range(60):
                client.mail("a@client.test", [f"{index}@sink.test"], MAIL)
        self.finish(accepted=60)
        self.assertLessEqual(self.sink.open_max, 3)

    def test_messages_per_connection_are_kept(self):
        counts = []

        def on_quit(session, _argument):
            counts.append(session.message_count)

        self.start({"QUIT": on_quit},
                   delivery={"per_destination": {"connections": 1, "messages_per_connection": 5}})
        with self.gateway.client() as client:
            for index in range(20):
                client.mail("a@client.test", [f"{index}@sink.test"], MAIL)
        self.finish(accepted=20)
        self.assertTrue(counts)
        self.assertLessEqual(max(counts), 5)

    def test_an_expired_message_fails(self):
        self.start({"MAIL": "451 4.3.0 never"}, delivery={"retry": {"expire": "2s"}})
        self.send()
        state = self.wait_for_failure("r@sink.test", "expired")
        self.assertGreater(state["attempt"], 1)
        self.gateway.stop()

    def test_a_failing_destination_does_not_hold_others(self):
        self.start({"MAIL": Hang()})
        self.send(count=200)
        with self.gateway.client() as client:
            started = time.monotonic()
            for index in range(20):
                client.mail("a@client.test", [f"other{index}@box.test"], MAIL)
            for index in range(20):
                self.gateway.wait_for_mail(f"other{index}@box.test")
            self.assertLess(time.monotonic() - started, 10)
        self.sink.stop()
        self.sink.replies.clear()
        self.sink.start()
        self.finish()
        self.assertGreaterEqual(len(self.sink.accepted()), 200)

    def test_a_message_of_many_blocks(self):
        content = b"Subject: big\r\n\r\n" + (b"0123456789" * 7 + b"\r\n") * 100_000
        self.start({"dot": first_then(Drop())})
        self.send(content=content)
        self.gateway.wait_for_empty_queue()
        self.assertEqual({without_trace(m.content) for m in self.sink.messages}, {content})
        self.finish()

    def test_retry_after_a_restart(self):
        self.start(is_up=False)
        content = b"Subject: disk\r\n\r\n" + b"from the disk\r\n" * 20_000
        self.send(content=content)
        self.send()
        self.gateway.restart()
        self.sink.start()
        self.finish(accepted=2)
        self.assertIn(content, [without_trace(m.content) for m in self.sink.accepted()])
