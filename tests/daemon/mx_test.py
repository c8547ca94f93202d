"""The servers of a domain, found through the DNS: what each answer of a name server leads to (RFC 5321 5.1,
RFC 7505), and which addresses are never connected to."""

import unittest

from tests.support.dns_server import (
    NXDOMAIN, REFUSED, SERVFAIL, Answer, DnsServer, address, cname, looping_answer, mx, overlong_answer,
    with_id_off, with_question)
from tests.support.gateway import Gateway, settings, wait_until
from tests.support.secure_hop import SecureHop
from tests.support.sink_server import Sink

MAIL = b"Subject: x\r\n\r\nhello\r\n"
ALLOWED = ["127.0.0.2/31"]


class MxCase(unittest.TestCase):
    def setUp(self):
        self.dns = DnsServer()
        self.addCleanup(self.dns.close)
        self.hop = SecureHop(host="127.0.0.2")
        self.addCleanup(self.hop.close)

    def start(self, **changes):
        mx_settings = {"port": self.hop.port, "allow_addresses": ALLOWED, "tls": "none"}
        self.gateway = Gateway(settings(**{
            "routes": [
                {"match": {"domain": ["box.test"]}, "action": {"maildir": {"path": "mail/{domain}/{local}"}}},
                {"match": {"domain": ["*"]}, "action": {"mx": mx_settings}}],
            "resolver": {"servers": [self.dns.address], "timeout": "300ms", "tries": 1},
            "delivery": {"retry": {"first": "60s", "max": "60s"}, "timeouts": {"connect": "2s"}},
            "node": {"hostname": "mx.gateway.test", "cores": 1},  # a cache belongs to a core
            **changes}))
        self.addCleanup(self.gateway.clean_up)
        self.gateway.start()

    def send(self, recipient):
        with self.gateway.client() as client:
            reply = client.mail("a@box.test", [recipient], MAIL)
            self.assertEqual(reply.code, 250)

    def result(self, recipient, event):
        """The log line of the recipient's one result."""
        def lines():
            return [line for kind in ("delivered", "deferred", "failed")
                    for line in self.gateway.log(kind) if line["recipient"] == recipient]

        wait_until(lines, f"a result for {recipient}")
        self.assertEqual(lines()[0]["event"], event, lines())
        return lines()[0]

    def check(self, recipient, event, status, words=""):
        self.send(recipient)
        line = self.result(recipient, event)
        self.assertTrue(line["reply"].startswith(status + " "), line)
        self.assertIn(words, line["reply"])


class MxTest(MxCase):
    def test_by_preference_and_the_next_when_one_is_down(self):
        self.dns.add(mx("example.test", 10, "down.example.test"), mx("example.test", 20, "mx2.example.test"))
        self.dns.host("down.example.test", "127.0.0.3")  # nobody listens there
        self.dns.host("mx2.example.test", "127.0.0.2")
        self.start()
        self.send("a@example.test")
        line = self.result("a@example.test", "delivered")
        self.assertTrue(line["host"].startswith("mx2.example.test[127.0.0.2]:"), line)
        self.assertEqual([message[2] for message in self.hop.messages], [["a@example.test"]])
        # What is known is not asked for again, and the host that is down is not tried again at once.
        for _ in range(5):
            self.send("b@example.test")
        wait_until(lambda: len(self.hop.messages) == 6, "all messages")
        self.assertEqual(self.dns.count("example.test", "MX"), 1)
        self.assertEqual(self.gateway.metric("postern_dns_queries_total", type="mx", result="found"), 1)

    def test_equal_ones_take_turns(self):
        names = [f"mx{n}.example.test" for n in range(4)]
        self.dns.add(*(mx("example.test", 10, name, ttl=1) for name in names))
        for name in names:
            self.dns.host(name, "127.0.0.2")
        self.start()
        self.send("a@example.test")
        self.assertIn(self.result("a@example.test", "delivered")["host"].partition("[")[0], names)

    def test_the_domain_itself_without_an_mx(self):
        self.dns.host("implicit.test", "127.0.0.2")
        self.start()
        self.send("a@implicit.test")
        line = self.result("a@implicit.test", "delivered")
        self.assertTrue(line["host"].startswith("implicit.test[127.0.0.2]"), line)

    def test_aliases_are_followed(self):
        self.dns.add(cname("alias.test", "real.test"), mx("real.test", 5, "mx.real.test"),
                     cname("mx.real.test", "host.real.test"))
        self.dns.host("host.real.test", "127.0.0.2")
        self.start()
        self.send("a@alias.test")
        self.result("a@alias.test", "delivered")

    def test_what_never_works(self):
        self.dns.add(mx("null.test", 0, "."), mx("noaddress.test", 10, "nowhere.test"),
                     mx("private.test", 10, "private.test"), mx("own.test", 10, "mx.gateway.test"),
                     mx("loop4.test", 10, "mapped.test"))
        self.dns.host("private.test", "10.0.0.1", "192.168.1.1", "169.254.169.254", "fd00::1")
        self.dns.host("mapped.test", "::ffff:10.0.0.1", "0.0.0.0", "224.0.0.1")
        self.dns.script("nowhere.test", "A", Answer(code=NXDOMAIN))
        self.dns.script("nowhere.test", "AAAA", Answer(code=NXDOMAIN))
        self.start()
        for domain, status, words in (
                ("nxdomain.test", "5.1.2", "does not exist"), ("null.test", "556 5.1.10", "null MX"),
                ("noaddress.test", "5.4.4", "no host"), ("private.test", "5.4.4", "not sent to"),
                ("loop4.test", "5.4.4", "not sent to"), ("own.test", "5.4.6", "loops back")):
            with self.subTest(domain):
                self.check(f"a@{domain}", "failed", status, words)
        self.assertEqual(self.hop.session_count, 0)
        wait_until(lambda: len(self.gateway.log("notified")) == 6, "six notifications")

    def test_what_may_work_later(self):
        answers = {
            "servfail.test": Answer(code=SERVFAIL), "refused.test": Answer(code=REFUSED),
            "silent.test": Answer(is_silent=True), "loop.test": looping_answer,
            "overlong.test": overlong_answer, "id.test": Answer(change=with_id_off),
            "question.test": Answer(change=with_question("other.test")),
            "alias.test": Answer(cname("alias.test", "alias.test")),
            "stall.test": Answer(is_truncated=True, stalls_tcp=True),
        }
        for name, answer in answers.items():
            self.dns.host(name, "127.0.0.2")  # which must not be used
            self.dns.script(name, "MX", answer)
        self.start()
        for name in answers:
            with self.subTest(name):
                self.check(f"a@{name}", "deferred", "4.4.3")
        self.assertEqual(self.hop.session_count, 0)

    def test_a_truncated_answer_comes_by_tcp(self):
        records = [mx("big.test", 10, f"mx{n}.big.test") for n in range(60)]
        self.dns.script("big.test", "MX", Answer(*records, is_truncated=True))
        for n in range(60):
            self.dns.host(f"mx{n}.big.test", "127.0.0.2")
        self.start()
        self.send("a@big.test")
        self.result("a@big.test", "delivered")
        self.assertGreaterEqual(self.dns.count("big.test", "MX", is_tcp=True), 1)
        # A thousand names would be asked for; sixteen are enough.
        asked = sum(self.dns.count(f"mx{n}.big.test", "A") for n in range(60))
        self.assertLessEqual(asked, 16)

    def test_a_server_with_our_own_name_is_not_sent_to(self):
        self.dns.add(mx("mirror.test", 10, "mx.mirror.test"))
        self.dns.host("mx.mirror.test", "127.0.0.2")
        self.hop.greeting = "MX.gateway.TEST"
        self.start()
        self.check("a@mirror.test", "failed", "5.4.6", "has our name")
        self.assertEqual(self.hop.messages, [])

    def test_a_dead_name_server_holds_nothing_else_up(self):
        sink = Sink()
        self.addCleanup(sink.close)
        self.dns.is_down = True
        self.start(routes=[
            {"match": {"domain": ["sink.test"]}, "action": {"smtp": {"hosts": [sink.address]}}},
            {"match": {"domain": ["*"]}, "action": {"mx": {"port": self.hop.port}}}])
        for n in range(20):
            self.send(f"a@d{n}.test")
        self.send("a@sink.test")
        wait_until(lambda: sink.accepted("a@sink.test"), "the message by address")
        wait_until(lambda: len(self.gateway.log("deferred")) == 20, "the others deferred")

    def test_a_name_of_the_configuration(self):
        self.dns.host("relay.example.test", "127.0.0.2")
        self.start(routes=[
            {"match": {"domain": ["a.test"]},
             "action": {"smtp": {"hosts": [f"relay.example.test:{self.hop.port}"]}}},
            {"match": {"domain": ["*"]}, "action": {"smtp": {"hosts": ["missing.example.test"]}}}])
        self.send("a@a.test")
        self.result("a@a.test", "delivered")
        self.check("a@b.test", "deferred", "4.3.5")


if __name__ == "__main__":
    unittest.main()
