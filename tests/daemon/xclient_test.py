"""XCLIENT and XFORWARD for listed peers (Postfix's XCLIENT_README and XFORWARD_README), R34."""

import unittest

from tests.support.daemon_case import DaemonTest
from tests.support.gateway import tls_settings, wait_until
from tests.support.smtp_client import proxy_v1

XCLIENT_OFFER = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
XFORWARD_OFFER = "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"
CLIENT = "198.51.100.7"
LISTED, ONLY_XFORWARD, STRANGER = "127.0.0.1", "127.0.0.2", "127.0.0.3"


class XclientCase(DaemonTest):
    def claim(self, client, arguments):
        """XCLIENT, which must be answered by the banner."""
        reply = client.expect(f"XCLIENT {arguments}", 220)
        self.assertEqual(reply.lines, ["mx.gateway.test ESMTP Postern"])

    def deliver(self, client, recipient):
        self.assert_reply(client.mail("a@client.test", [recipient], b"Subject: x\r\n\r\nbody\r\n"), 250)

    def received(self, recipient):
        """The log line of the one message for this recipient."""

        def lines():
            return [line for line in self.gateway.log("received") if line["recipient"] == recipient]

        wait_until(lines, "the line about the message")
        self.assertEqual(len(lines()), 1)
        return lines()[0]


class XclientTest(XclientCase):
    settings = {"listener": {"xclient": {"from": [LISTED]},
                             "xforward": {"from": [LISTED, ONLY_XFORWARD]}}}

    # --- who may ---

    def test_the_offer_is_for_listed_peers(self):
        for source, xclient, xforward in ((LISTED, True, True), (ONLY_XFORWARD, False, True),
                                          (STRANGER, False, False)):
            client = self.raw_client(source=source)
            lines = client.greet().lines
            self.assertEqual(XCLIENT_OFFER in lines, xclient, lines)
            self.assertEqual(XFORWARD_OFFER in lines, xforward, lines)
            self.assertEqual(any(line.startswith("XCLIENT") for line in lines), xclient)
            self.assertEqual(any(line.startswith("XFORWARD") for line in lines), xforward)

    def test_others_are_refused(self):
        stranger = self.client(source=STRANGER)
        for line in (f"XCLIENT ADDR={CLIENT}", "XCLIENT", f"XFORWARD ADDR={CLIENT}", "XFORWARD NONSENSE"):
            self.assert_reply(stranger.command(line), 550, "5.7.0", line)
        self.deliver(stranger, f"{self.tag}@box.test")
        self.assertTrue(self.received(f"{self.tag}@box.test")["peer"].startswith(f"{STRANGER}:"))
        half = self.client(source=ONLY_XFORWARD)
        self.assert_reply(half.command(f"XCLIENT ADDR={CLIENT}"), 550, "5.7.0")
        self.assert_reply(half.command(f"XFORWARD ADDR={CLIENT}"), 250)

    def test_a_claim_keeps_the_right_to_claim(self):
        client = self.client()
        self.claim(client, f"ADDR={STRANGER}")
        self.assertIn(XCLIENT_OFFER, client.expect("EHLO x.example.test", 250).lines)
        self.claim(client, f"ADDR={CLIENT}")
        self.assert_reply(client.command("XFORWARD NAME=x"), 250)

    def test_a_claim_gives_no_right_to_claim(self):
        """Who may XFORWARD only cannot become one who may more, and nobody becomes a listed peer."""
        half = self.client(source=ONLY_XFORWARD)
        half.expect(f"XFORWARD ADDR={LISTED}", 250)
        self.assert_reply(half.command(f"XCLIENT ADDR={LISTED}"), 550, "5.7.0")

    # --- XCLIENT ---

    def test_the_session_is_the_client_s(self):
        recipient = f"{self.tag}@box.test"
        client = self.client()
        self.claim(client, f"NAME=host.client.test ADDR={CLIENT} PORT=4711 PROTO=ESMTP "
                           "HELO=said.client.test DESTADDR=192.0.2.25 DESTPORT=2525")
        client.expect("EHLO filter.example.test", 250)
        self.deliver(client, recipient)
        line = self.received(recipient)
        self.assertEqual(line["peer"], f"{CLIENT}:4711")
        content = self.gateway.wait_for_mail(recipient)[0]
        trace = content.split(b"\r\nSubject")[0]
        self.assertIn(f"[{CLIENT}]".encode(), trace)
        self.assertIn(b"from said.client.test", trace, "HELO= outlives the filter's own EHLO")
        lines = [line for line in self.gateway.log("xclient") if line["peer"] == f"{CLIENT}:4711"]
        self.assertEqual(len(lines), 1)
        self.assertTrue(lines[0]["by"].startswith(f"{LISTED}:"))
        self.assertEqual(lines[0]["client_name"], "host.client.test")
        self.assertEqual(lines[0]["client_proto"], "ESMTP")
        self.assertEqual(lines[0]["client_helo"], "said.client.test")
        self.assertEqual(lines[0]["client_destaddr"], "192.0.2.25")
        self.assertEqual(lines[0]["client_destport"], "2525")

    def test_an_ipv6_client(self):
        recipient = f"{self.tag}@box.test"
        client = self.client()
        self.claim(client, "addr=ipv6:2001:db8::7 port=99")
        client.expect("EHLO filter.example.test", 250)
        self.deliver(client, recipient)
        self.assertEqual(self.received(recipient)["peer"], "[2001:db8::7]:99")

    def test_a_client_of_no_known_address(self):
        recipient = f"{self.tag}@box.test"
        client = self.client()
        self.claim(client, "NAME=[TEMPUNAVAIL] ADDR=[UNAVAILABLE] HELO=[UNAVAILABLE]")
        client.expect("EHLO filter.example.test", 250)
        self.deliver(client, recipient)
        self.assertEqual(self.received(recipient)["peer"], "-")
        self.gateway.wait_for_mail(recipient)

    def test_everything_begins_anew(self):
        client = self.client()
        self.claim(client, f"ADDR={CLIENT}")
        self.assert_reply(client.command("MAIL FROM:<a@client.test>"), 503, "5.5.1")
        client.expect("EHLO filter.example.test", 250)
        client.expect("MAIL FROM:<a@client.test>", 250)
        client.expect("RSET", 250)
        self.claim(client, "NAME=other.client.test")
        self.assert_reply(client.command("MAIL FROM:<a@client.test>"), 503, "5.5.1")

    def test_what_an_earlier_xclient_said_stays(self):
        recipient = f"{self.tag}@box.test"
        client = self.client()
        self.claim(client, f"ADDR={CLIENT} PORT=42 LOGIN=ann+40client.test")
        client.expect("EHLO filter.example.test", 250)
        self.claim(client, "NAME=host.client.test HELO=x.client.test")
        client.expect("EHLO filter.example.test", 250)
        self.deliver(client, recipient)
        line = self.received(recipient)
        self.assertEqual(line["peer"], f"{CLIENT}:42")
        self.assertEqual(line["user"], "ann@client.test")

    def test_login_is_the_user(self):
        client = self.client()
        self.claim(client, f"ADDR={CLIENT} LOGIN=bob")
        client.expect("EHLO filter.example.test", 250)
        self.deliver(client, f"{self.tag}1@box.test")
        self.assertEqual(self.received(f"{self.tag}1@box.test")["user"], "bob")
        self.claim(client, "LOGIN=[UNAVAILABLE]")
        client.expect("EHLO filter.example.test", 250)
        self.deliver(client, f"{self.tag}2@box.test")
        self.assertNotIn("user", self.received(f"{self.tag}2@box.test"))

    def test_before_ehlo(self):
        client = self.raw_client()
        client.read_reply()
        self.claim(client, f"ADDR={CLIENT}")
        client.expect("EHLO filter.example.test", 250)

    def test_inside_of_a_transaction(self):
        recipient = f"{self.tag}@box.test"
        client = self.client()
        client.start("a@client.test", [recipient])
        self.assert_reply(client.command(f"XCLIENT ADDR={CLIENT}"), 503, "5.5.1")
        self.assert_reply(client.command(f"XFORWARD ADDR={CLIENT}"), 503, "5.5.1")
        client.expect("DATA", 354)
        client.send(b"Subject: x\r\n\r\n.\r\n")
        self.assert_reply(client.read_reply(), 250)
        self.assertTrue(self.received(recipient)["peer"].startswith(f"{LISTED}:"))

    def test_malformed_arguments_change_nothing(self):
        client = self.client()
        for arguments in ("", "ADDR", "ADDR=", "ADDR=192.0.2.256", "ADDR=2001:db8::1", "ADDR=[::1]",
                          f"ADDR={CLIENT} ADDR={CLIENT}", f"ADDR={CLIENT} TTL=3", f"ADDR={CLIENT} PORT=x",
                          "NAME=a..b", "NAME=x+0D+0Ay", "PROTO=HTTP", "LOGIN=a+0Ab", "LOGIN=a+zz",
                          "HELO=" + 256 * "h", "IDENT=x"):
            self.assert_reply(client.command(f"XCLIENT {arguments}"), 501, "5.5.4", arguments)
        self.assert_goes_on(client)
        client.expect("MAIL FROM:<a@client.test>", 250)

    def test_a_command_behind_it_is_not_synchronized(self):
        client = self.client()
        client.send(f"XCLIENT ADDR={CLIENT}\r\nEHLO x.example.test\r\n".encode())
        self.assert_closed(client, [554])

    def test_the_log_cannot_be_broken(self):
        """Bytes of xtext that would end a line are refused; what is let through is escaped."""
        client = self.client()
        self.assert_reply(client.command("XFORWARD NAME=a+0D+0Ab"), 501, "5.5.4")
        self.assert_reply(client.command('XFORWARD NAME="x"=y'), 501, "5.5.4")
        self.assert_reply(client.command('XFORWARD NAME="\\x"'), 250)
        self.deliver(client, f"{self.tag}@box.test")
        self.assertEqual(self.received(f"{self.tag}@box.test")["forwarded_name"], '"\\x"')

    # --- XFORWARD ---

    def test_xforward_is_for_the_log_of_one_message(self):
        client = self.client()
        client.expect(f"XFORWARD NAME=host.client.test ADDR={CLIENT} PORT=4711 PROTO=ESMTP", 250, "2.0.0")
        client.expect("XFORWARD HELO=said.client.test IDENT=4Rz+2B1 SOURCE=REMOTE", 250, "2.0.0")
        self.deliver(client, f"{self.tag}1@box.test")
        line = self.received(f"{self.tag}1@box.test")
        want = {"name": "host.client.test", "addr": CLIENT, "port": "4711", "proto": "ESMTP",
                "helo": "said.client.test", "ident": "4Rz+1", "source": "REMOTE"}
        self.assertEqual({key: line.get(f"forwarded_{key}") for key in want}, want)
        self.assertTrue(line["peer"].startswith(f"{LISTED}:"), "the client itself stays")
        self.deliver(client, f"{self.tag}2@box.test")
        self.assertFalse([key for key in self.received(f"{self.tag}2@box.test")
                          if key.startswith("forwarded_")], "it ends with its message")

    def test_xforward_ends_with_the_transaction(self):
        client = self.client()
        client.expect("XFORWARD NAME=one.client.test", 250)
        client.expect("MAIL FROM:<a@client.test>", 250)
        client.expect("RSET", 250)
        self.deliver(client, f"{self.tag}@box.test")
        self.assertNotIn("forwarded_name", self.received(f"{self.tag}@box.test"))

    def test_xforward_takes_back_what_is_not_known(self):
        client = self.client()
        client.expect(f"XFORWARD NAME=host.client.test ADDR={CLIENT}", 250)
        client.expect("XFORWARD NAME=[UNAVAILABLE]", 250)
        self.deliver(client, f"{self.tag}@box.test")
        line = self.received(f"{self.tag}@box.test")
        self.assertNotIn("forwarded_name", line)
        self.assertEqual(line["forwarded_addr"], CLIENT)

    def test_xforward_may_be_pipelined(self):
        client = self.client()
        client.send(b"XFORWARD NAME=host.client.test\r\nMAIL FROM:<a@client.test>\r\n"
                    b"RCPT TO:<%s@box.test>\r\nDATA\r\n" % self.tag.encode())
        self.assertEqual([reply.code for reply in client.read_replies(4)], [250, 250, 250, 354])
        client.send(b".\r\n")
        self.assert_reply(client.read_reply(), 250)
        self.assertEqual(self.received(f"{self.tag}@box.test")["forwarded_name"], "host.client.test")

    def test_xforward_malformed(self):
        client = self.client()
        for arguments in ("", "NAME", "NAME=", "NAME=a NAME=b", "LOGIN=x", "PORT=x", "SOURCE=HERE",
                          "PROTO=" + 65 * "p", "NAME=" + 256 * "n"):
            self.assert_reply(client.command(f"XFORWARD {arguments}"), 501, "5.5.4", arguments)
        self.assert_goes_on(client)


class RelayTest(XclientCase):
    """R34: no address gives a right to relay, claimed or not; a user does, and only a listed peer
    can name one."""

    settings = {"listener": {"xclient": {"from": [LISTED]}, "xforward": {"from": [STRANGER]}}}

    def assert_relay_is_denied(self, client):
        client.expect("MAIL FROM:<a@client.test>", 250)
        self.assert_reply(client.command("RCPT TO:<x@elsewhere.test>"), 550, "5.7.1")
        client.expect("RSET", 250)

    def test_r34_a_claimed_address_relays_nothing(self):
        client = self.client()
        for address in ("127.0.0.1", "10.0.0.1", "[UNAVAILABLE]", "IPV6:::1"):
            self.claim(client, f"ADDR={address}")
            client.expect("EHLO filter.example.test", 250)
            self.assert_relay_is_denied(client)

    def test_r34_a_stranger_cannot_name_a_user(self):
        client = self.client(source=STRANGER)
        self.assert_reply(client.command("XCLIENT LOGIN=root"), 550, "5.7.0")
        self.assert_reply(client.command("XFORWARD LOGIN=root"), 501, "5.5.4")
        self.assert_relay_is_denied(client)


class LimitTest(XclientCase):
    settings = {"listener": {"xclient": {"from": [LISTED]},
                             "limits": {"connections_per_client": 2}}}

    def test_the_limit_is_of_the_claimed_client(self):
        held = []
        for _ in range(2):  # more would be too many from the filter itself
            client = self.client()
            self.claim(client, f"ADDR={CLIENT}")
            held.append(client)
        client = self.client()
        self.assert_reply(client.command(f"XCLIENT ADDR={CLIENT}"), 421, "4.7.0")
        self.assertEqual(client.read_to_end(), [])
        client = self.client()  # the filter's own places are free
        self.claim(client, "ADDR=198.51.100.8")
        client.close()
        held[0].close()

        def is_let_in():
            with self.gateway.client() as again:
                return again.command(f"XCLIENT ADDR={CLIENT}").code == 220

        wait_until(is_let_in, "the place is given back")


class TlsTest(XclientCase):
    settings = {"listener": {"xclient": {"from": [LISTED]}, "tls": tls_settings()}}

    def test_tls_stays(self):
        client = self.client(tls="starttls")
        self.claim(client, f"ADDR={CLIENT} LOGIN=ann")
        self.assertNotIn("STARTTLS", client.expect("EHLO filter.example.test", 250).lines)
        self.deliver(client, f"{self.tag}@box.test")
        self.assertEqual(self.received(f"{self.tag}@box.test")["user"], "ann")

    def test_starttls_forgets_the_user(self):
        """RFC 3207 4.2: what was said in the clear does not hold under TLS."""
        client = self.client()
        self.claim(client, f"ADDR={CLIENT} LOGIN=ann")
        client.starttls()
        client.expect("EHLO filter.example.test", 250)
        self.deliver(client, f"{self.tag}@box.test")
        self.assertNotIn("user", self.received(f"{self.tag}@box.test"))


class BehindBalancerTest(XclientCase):
    """Behind a balancer the right hangs on the address that the balancer names."""

    settings = {"listener": {"proxy_protocol": {"from": ["127.0.0.1"]},
                             "xclient": {"from": ["192.0.2.1"]}}}

    def test_the_right_is_of_the_client_behind(self):
        client = self.raw_client(proxy=proxy_v1("192.0.2.1"))
        self.assertIn(XCLIENT_OFFER, client.greet().lines)
        self.claim(client, f"ADDR={CLIENT}")
        client = self.raw_client(proxy=proxy_v1("192.0.2.2"))
        self.assertNotIn(XCLIENT_OFFER, client.greet().lines)
        self.assert_reply(client.command(f"XCLIENT ADDR={CLIENT}"), 550, "5.7.0")

    def test_a_health_session_may_not(self):
        client = self.client(proxy=proxy_v1(None))
        self.assert_reply(client.command(f"XCLIENT ADDR={CLIENT}"), 503, "5.5.1")


if __name__ == "__main__":
    unittest.main()
