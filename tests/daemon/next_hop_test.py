"""What is agreed with a next hop before the first message: TLS as the route demands it, AUTH, LMTP."""

import os
import socket
import tempfile
import threading
import time
import unittest
from pathlib import Path

from tests.support import certificates
from tests.support.dns_server import DnsServer, mx
from tests.support.gateway import Gateway, settings, wait_until
from tests.support.secure_hop import SecureHop

MAIL = b"Subject: x\r\n\r\n.dot\r\nhello\r\n"
NAME = "mx1.example.test"


class HopCase(unittest.TestCase):
    def hop(self, **options):
        made = SecureHop(**options)
        self.addCleanup(made.close)
        return made

    def start(self, action, **changes):
        self.gateway = Gateway(settings(**{
            "node": {"hostname": "mx.gateway.test", "cores": 1},
            "routes": [
                {"match": {"domain": ["box.test"]}, "action": {"maildir": {"path": "mail/{domain}/{local}"}}},
                {"match": {"domain": ["*"]}, "action": action}],
            "delivery": {"retry": {"first": "500ms", "factor": 1, "max": "500ms", "jitter": "0%"}},
            **changes}))
        self.addCleanup(self.gateway.clean_up)
        self.gateway.start()

    def send(self, *recipients):
        with self.gateway.client() as client:
            self.assertEqual(client.mail("a@box.test", list(recipients), MAIL).code, 250)

    def lines(self, event, recipient=None):
        return [line for line in self.gateway.log(event)
                if recipient in (None, line.get("recipient"))]

    def wait_for(self, event, recipient=None, count=1):
        wait_until(lambda: len(self.lines(event, recipient)) >= count, f"{count} {event} lines")
        return self.lines(event, recipient)[0]

    def smtp(self, hop, **more):
        return {"smtp": {"hosts": [hop.address], **more}}


class TlsTest(HopCase):
    def by_name(self, hop, **more):
        """The hop by a name, so that its certificate can be good for it."""
        dns = DnsServer()
        self.addCleanup(dns.close)
        dns.add(mx("example.test", 10, NAME))
        dns.host(NAME, "127.0.0.1")
        self.start({"mx": {"port": hop.port, "allow_addresses": ["127.0.0.1"], **more}},
                   resolver={"servers": [dns.address], "timeout": "1s"})

    def verify(self, pair, event, status=""):
        hop = self.hop(pair=pair)
        self.by_name(hop, tls="verify", tls_ca=str(certificates.authority_file()))
        self.send("a@example.test")
        line = self.wait_for(event)
        self.assertTrue(line["reply"].startswith(status), line)
        self.assertFalse([line for is_tls, line in hop.lines if line.startswith(b"MAIL") and not is_tls])
        return hop

    def test_a_good_certificate_is_verified(self):
        hop = self.verify(certificates.server(NAME), "delivered")
        self.assertEqual(hop.messages[0][0], True)
        self.assertEqual(hop.messages[0][3].partition(b"\r\nSubject")[2], MAIL.partition(b"Subject")[2])
        self.assertGreaterEqual(self.gateway.metric("postern_delivery_tls_handshakes_total", result="done",
                                                    version="TLSv1.3"), 1)

    def test_an_expired_certificate_defers(self):
        self.assertEqual(self.verify(certificates.expired(NAME), "deferred", "4.7.5").messages, [])

    def test_a_wrong_name_defers(self):
        self.assertEqual(self.verify(certificates.mismatched(), "deferred", "4.7.5").messages, [])

    def test_may_takes_any_certificate(self):
        hop = self.hop(pair=certificates.expired("elsewhere.test"))
        self.start(self.smtp(hop, tls="may"))
        self.send("a@a.test")
        self.wait_for("delivered")
        self.assertTrue(hop.messages[0][0])

    def test_may_goes_in_the_clear_when_the_handshake_fails(self):
        hop = self.hop(pair=certificates.server(NAME), replies={"STARTTLS": b"220 go\r\n"})
        self.start(self.smtp(hop, tls="may"))
        self.send("a@a.test")
        self.wait_for("delivered")
        self.assertFalse(hop.messages[0][0])
        self.assertEqual(self.lines("deferred"), [])

    def test_may_goes_on_when_starttls_is_refused(self):
        hop = self.hop(pair=certificates.server(NAME), replies={"STARTTLS": b"454 4.7.0 not now\r\n"})
        self.start(self.smtp(hop, tls="may"))
        self.send("a@a.test")
        self.wait_for("delivered")
        self.assertFalse(hop.messages[0][0])

    def never_in_the_clear(self, hop, status, **more):
        self.start(self.smtp(hop, tls="require", **more))
        self.send("a@a.test")
        line = self.wait_for("deferred")
        self.assertTrue(line["reply"].startswith(status), line)
        self.assertEqual(hop.messages, [])
        self.assertFalse([line for is_tls, line in hop.lines if line.startswith(b"MAIL") and not is_tls])

    def test_require_without_an_offer(self):
        self.never_in_the_clear(self.hop(), "4.7.4")

    def test_require_and_refused(self):
        self.never_in_the_clear(self.hop(pair=certificates.server(NAME),
                                         replies={"STARTTLS": b"454 4.7.0 not now\r\n"}), "4.7.4")

    def test_require_and_no_handshake(self):
        self.never_in_the_clear(self.hop(pair=certificates.server(NAME),
                                         replies={"STARTTLS": b"220 go\r\n"}), "4.7.5")

    def test_require_takes_any_certificate(self):
        hop = self.hop(pair=certificates.expired("elsewhere.test"))
        self.start(self.smtp(hop, tls="require"))
        self.send("a@a.test")
        self.wait_for("delivered")
        self.assertTrue(hop.messages[0][0])

    def test_bytes_behind_the_220_are_not_taken(self):
        hop = self.hop(pair=certificates.server(NAME),
                       replies={"STARTTLS": b"220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n"})
        self.start(self.smtp(hop, tls="require"))
        self.send("a@a.test")
        self.assertTrue(self.wait_for("deferred")["reply"].startswith("4.7.0"))
        self.assertEqual(hop.messages, [])

    def test_tls_from_the_first_byte_on(self):
        hop = self.hop(pair=certificates.server(NAME), implicit=True)
        self.start(self.smtp(hop, tls="require", implicit_tls=True))
        for n in range(3):
            self.send(f"a{n}@a.test")
        self.wait_for("delivered", count=3)
        self.assertTrue(all(message[0] for message in hop.messages))

    def test_requiretls_needs_a_verified_hop_that_promises_it(self):
        hop = self.hop(pair=certificates.server(NAME), offers=["PIPELINING", "REQUIRETLS"])
        self.by_name(hop, tls="verify", tls_ca=str(certificates.authority_file()))
        hop_plain = self.hop()
        self.assertIsNotNone(hop_plain)
        with self.gateway.client() as client:  # in the clear REQUIRETLS cannot be asked for
            self.assertNotEqual(client.command("MAIL FROM:<a@box.test> REQUIRETLS").code, 250)


class AuthTest(HopCase):
    def secret(self, password):
        handle, path = tempfile.mkstemp(text=True)
        os.write(handle, password.encode() + b"\n")
        os.close(handle)
        self.addCleanup(os.unlink, path)
        return path

    def login(self, hop, password="s3cret pass", **more):
        return self.smtp(hop, tls="require", username="relay", password_file=self.secret(password), **more)

    def test_each_mechanism(self):
        for mechanism in ("SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN"):
            with self.subTest(mechanism):
                hop = self.hop(pair=certificates.server(NAME), users={"relay": "s3cret pass"},
                               mechanisms=[mechanism])
                self.start(self.login(hop))
                self.send("a@a.test")
                self.wait_for("delivered")
                self.assertTrue(hop.messages[0][0])
                self.assertTrue(any(line.startswith(b"AUTH " + mechanism.encode()) for _, line in hop.lines))
                self.gateway.stop()

    def test_the_strongest_that_may_be_used(self):
        hop = self.hop(pair=certificates.server(NAME), users={"relay": "s3cret pass"},
                       mechanisms=["PLAIN", "CRAM-MD5", "SCRAM-SHA-256", "LOGIN"])
        self.start(self.login(hop, mechanisms=["PLAIN", "CRAM-MD5"]))
        self.send("a@a.test")
        self.wait_for("delivered")
        self.assertTrue(any(line == b"AUTH CRAM-MD5" for _, line in hop.lines))

    def test_a_wrong_password_alarms_and_is_not_tried_in_a_loop(self):
        hop = self.hop(pair=certificates.server(NAME), users={"relay": "another"})
        self.start(self.login(hop), delivery={
            "retry": {"first": "200ms", "factor": 1, "max": "30s", "jitter": "0%", "expire": "1h"}})
        for n in range(5):
            self.send(f"a{n}@a.test")
        self.wait_for("deferred", count=10)
        self.assertEqual(hop.auth_count, 1)
        self.assertEqual(len(self.lines("auth_refused")), 1)
        self.assertEqual(self.lines("auth_refused")[0]["level"], "error")
        self.assertTrue(self.lines("deferred")[0]["reply"].startswith("4.7.8"))
        self.assertEqual(self.gateway.metric("postern_delivery_auth_failures_total"), 1)
        self.assertNotIn("s3cret", Path(self.gateway.log_file).read_text())

    def test_a_server_that_does_not_know_the_password_itself(self):
        hop = self.hop(pair=certificates.server(NAME), users={"relay": "s3cret pass"},
                       mechanisms=["SCRAM-SHA-256"], replies={"lie": b""})
        self.start(self.login(hop))
        self.send("a@a.test")
        self.assertTrue(self.wait_for("deferred")["reply"].startswith("4.7.0"))
        self.assertEqual(hop.messages, [])

    def test_no_password_in_the_clear(self):
        hop = self.hop(users={"relay": "s3cret pass"})
        self.start({"smtp": {"hosts": [hop.address], "tls": "may", "username": "relay",
                             "password_file": self.secret("s3cret pass")}})
        self.send("a@a.test")
        self.assertTrue(self.wait_for("deferred")["reply"].startswith("4.7.11"))
        self.assertEqual(hop.auth_count, 0)

    def test_in_the_clear_where_that_is_allowed(self):
        hop = self.hop(users={"relay": "s3cret pass"}, mechanisms=["PLAIN"])
        self.start({"smtp": {"hosts": [hop.address], "tls": "none", "username": "relay",
                             "password_file": self.secret("s3cret pass"), "allow_plaintext_auth": True}})
        self.send("a@a.test")
        self.wait_for("delivered")


class LmtpTest(HopCase):
    def test_each_recipient_has_its_own_result(self):
        hop = self.hop(is_lmtp=True, unknown={"nobody@a.test"})
        self.start({"lmtp": {"hosts": [hop.address]}})
        self.send("one@a.test", "nobody@a.test", "full@a.test", "two@a.test")
        self.wait_for("delivered", "one@a.test")
        self.wait_for("delivered", "two@a.test")
        self.assertIn("452", self.wait_for("deferred", "full@a.test")["reply"])
        self.assertIn("550 5.1.1", self.wait_for("failed", "nobody@a.test")["reply"])
        self.assertEqual(hop.messages[0][2], ["one@a.test", "full@a.test", "two@a.test"])
        self.assertTrue(any(line.startswith(b"LHLO mx.gateway.test") for _, line in hop.lines))
        # The one that was full is tried again, alone.
        wait_until(lambda: len(hop.messages) >= 2, "another try")
        self.assertEqual(hop.messages[1][2], ["full@a.test"])

    def test_over_a_unix_socket(self):
        with tempfile.TemporaryDirectory() as folder:
            hop = self.hop(is_lmtp=True, unix_path=f"{folder}/lmtp")
            self.start({"lmtp": {"hosts": [hop.address]}})
            for n in range(3):
                self.send(f"u{n}@a.test")
            self.wait_for("delivered", count=3)
            self.assertEqual(self.lines("delivered")[0]["host"], hop.address)
            self.assertEqual(hop.session_count, 1)

    def test_a_socket_that_is_not_there(self):
        self.start({"lmtp": {"hosts": ["unix:/nowhere/lmtp"]}})
        self.send("a@a.test")
        self.assertTrue(self.wait_for("deferred")["reply"].startswith("4.4.1"))


class SourceTest(HopCase):
    def test_connections_come_from_the_source_address(self):
        peers = []
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def accept():
            connection, peer = listener.accept()
            peers.append(peer[0])
            connection.close()

        threading.Thread(target=accept, daemon=True).start()
        self.start({"smtp": {"hosts": [f"127.0.0.1:{listener.getsockname()[1]}"],
                             "source": ["127.0.0.9"]}})
        self.send("a@a.test")
        wait_until(lambda: peers, "a connection")
        self.assertEqual(peers, ["127.0.0.9"])


class DeadHostTest(HopCase):
    def test_it_sees_probes_and_not_an_attempt_a_message(self):
        accepted = []
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def refuse():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                accepted.append(time.monotonic())
                connection.close()  # before a greeting

        threading.Thread(target=refuse, daemon=True).start()
        good = self.hop()
        self.start({"smtp": {"hosts": [good.address]}}, routes=[
            {"match": {"domain": ["dead.test"]},
             "action": {"smtp": {"hosts": [f"127.0.0.1:{listener.getsockname()[1]}"]}}},
            {"match": {"domain": ["*"]}, "action": {"smtp": {"hosts": [good.address]}}}],
            delivery={"retry": {"first": "1h", "factor": 1, "max": "1h", "jitter": "0%"}})
        for batch in range(4):
            with self.gateway.client() as client:
                for n in range(80):
                    self.assertEqual(client.mail("a@box.test", [f"u{batch}-{n}@dead.test"], MAIL).code, 250)
        self.send("a@good.test")
        self.wait_for("delivered", "a@good.test")
        self.wait_for("deferred", count=320)
        # Every message has its reason; the host was asked once for each back-off (5 s at first).
        self.assertLessEqual(len(accepted), 3)
        self.assertTrue(all(line["reply"].startswith("4.4.2") for line in self.lines("deferred")))


class RateTest(HopCase):
    def test_no_more_messages_a_second_than_the_destination_gets(self):
        hop = self.hop()
        self.start(self.smtp(hop), delivery={"per_destination": {"rate": 5, "connections": 3}})
        begun = time.monotonic()
        for n in range(15):
            self.send(f"a{n}@a.test")
        wait_until(lambda: len(hop.messages) == 15, "all messages")
        # Five are in store at the start; the other ten take two seconds whatever the machine does.
        self.assertGreater(time.monotonic() - begun, 1.5)


if __name__ == "__main__":
    unittest.main()
