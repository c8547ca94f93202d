"""Behind a load balancer: the PROXY protocol, versions 1 and 2, by raw sockets (D6, D31, D32).

A connection that is refused must be closed without a byte, in order and within five seconds."""

import socket
import struct
import time
import unittest

from tests.support.daemon_case import DaemonTest
from tests.support.gateway import tls_settings, wait_until
from tests.support.smtp_client import PROXY_V2_SIGNATURE, proxy_v1, proxy_v2

CLOSE_SECONDS_MAX = 5.0
PROBE, REFUSED = "probe", "refused_proxy"  # results of postern_smtp_connections_total
CLIENT = "198.51.100.7"
CLIENT_V6 = "2001:db8::7"
V4_ADDRESSES = socket.inet_aton(CLIENT) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 50000, 25)


def v2(command, family, rest, length=None):
    """A version 2 header of any make; the length may be a lie."""
    length = len(rest) if length is None else length
    return PROXY_V2_SIGNATURE + struct.pack("!BBH", command, family, length) + rest


def value(kind, data):
    return struct.pack("!BH", kind, len(data)) + data


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def with_checksum(before=b"", after=b"", error=0):
    """A version 2 header whose checksum stands between these values; `error` spoils it."""
    zero = v2(0x21, 0x11, V4_ADDRESSES + before + value(3, bytes(4)) + after)
    at = len(PROXY_V2_SIGNATURE) + 4 + len(V4_ADDRESSES) + len(before) + 3
    return zero[:at] + struct.pack("!I", crc32c(zero) ^ error) + zero[at + 4 :]


class ProxyCase(DaemonTest):
    """What the classes here share."""

    def connections(self, result):
        return int(self.gateway.metric("postern_smtp_connections_total", listener="mx",
                                       result=result))

    def assert_closed_silently(self, client, started=None):
        """Closed by FIN without a byte, soon."""
        started = time.monotonic() if started is None else started
        client.raw.settimeout(CLOSE_SECONDS_MAX + 5)
        self.assertEqual(client.raw.recv(4096), b"", "a byte before the end")
        self.assertLess(time.monotonic() - started, CLOSE_SECONDS_MAX)

    def deliver(self, client, recipient):
        reply = client.mail("a@client.test", [recipient], b"Subject: x\r\n\r\nbody\r\n")
        self.assert_reply(reply, 250)
        return reply

    def assert_client_is(self, address, proxy, tag, **options):
        """A message comes through, and the log and the trace name the client."""
        client = self.client(proxy=proxy, **options)
        recipient = f"{tag}@box.test"
        self.deliver(client, recipient)
        client.close()
        content = self.gateway.wait_for_mail(recipient)[0]
        literal = f"[IPv6:{address}]" if ":" in address else f"[{address}]"
        self.assertIn(literal.encode(), content.split(b"\r\nSubject")[0])

        def received():
            return [line for line in self.gateway.log("received") if line["recipient"] == recipient]

        wait_until(received, "the line about the message")
        self.assertEqual(len(received()), 1)
        shown = f"[{address}]" if ":" in address else address
        self.assertEqual(received()[0]["peer"].rpartition(":")[0], shown)


class ProxyTest(ProxyCase):
    settings = {"listener": {"proxy_protocol": {"from": ["127.0.0.0/8"], "timeout": "1s"}}}

    # --- good headers ---

    def test_the_client_of_version_1(self):
        self.assert_client_is(CLIENT, proxy_v1(CLIENT), self.tag)

    def test_the_client_of_version_1_by_ipv6(self):
        self.assert_client_is(CLIENT_V6, proxy_v1(CLIENT_V6, target="::1"), self.tag)

    def test_the_client_of_version_2(self):
        self.assert_client_is(CLIENT, proxy_v2(CLIENT), self.tag)

    def test_the_client_of_version_2_by_ipv6(self):
        self.assert_client_is(CLIENT_V6, proxy_v2(CLIENT_V6, target="::1"), self.tag)

    def test_a_mapped_address_is_the_ipv4_client(self):
        mapped = f"::ffff:{CLIENT}"
        self.assert_client_is(CLIENT, proxy_v1(mapped, target="::ffff:127.0.0.1"), self.tag + "1")
        self.assert_client_is(CLIENT, proxy_v2(mapped, target="::ffff:127.0.0.1"), self.tag + "2")

    def test_the_queue_names_the_client(self):
        self.sink.stop()  # the message stays in the queue
        client = self.client(proxy=proxy_v2(CLIENT))
        self.deliver(client, f"{self.tag}@sink.test")
        found = [message for message in self.gateway.queue()
                 if message["recipients"][0]["address"] == f"{self.tag}@sink.test"]
        self.assertEqual([message["client"] for message in found], [CLIENT])

    def test_unknown_values_are_passed_over(self):
        tlvs = [(0x01, b"smtp"), (0x04, bytes(7)), (0x30, b"ns"), (0xEA, b"\x01vpce-1"), (0xFF, b"")]
        self.assert_client_is(CLIENT, proxy_v2(CLIENT, tlvs=tlvs), self.tag)

    def test_a_checksum_that_is_right(self):
        self.assert_client_is(CLIENT, with_checksum(), self.tag + "1")
        self.assert_client_is(CLIENT, with_checksum(value(2, b"mx"), value(4, b"zz")), self.tag + "2")

    def test_the_longest_header(self):
        """The whole 64 KiB that the length field can say, in segments of any size."""
        rest = V4_ADDRESSES + value(4, bytes(65535 - len(V4_ADDRESSES) - 3))
        header = v2(0x21, 0x11, rest)
        self.assertEqual(len(header), 16 + 65535)
        self.assert_client_is(CLIENT, header, self.tag + "1")
        client = self.raw_client()
        for at in range(0, len(header), 9001):
            client.send(header[at : at + 9001])
            time.sleep(0.01)
        client.greet()
        self.deliver(client, f"{self.tag}2@box.test")

    def test_a_header_in_two_segments_or_byte_by_byte(self):
        for header in (proxy_v1(CLIENT), proxy_v2(CLIENT, tlvs=[(5, b"id")]), with_checksum()):
            for cut in (1, 5, 12, 15, 16, 20, 27, len(header) - 1):
                client = self.raw_client()
                client.send_split(header, cut, gap=0.02)
                client.greet()
                client.close()
            client = self.raw_client()
            for at in range(len(header)):
                client.send(header[at : at + 1])
            client.greet()
            client.close()

    def test_nothing_is_said_before_the_header(self):
        client = self.raw_client()
        self.assertTrue(client.is_silent(0.4))
        client.send(proxy_v1(CLIENT))
        client.greet()

    def test_bytes_behind_the_header_are_before_the_banner(self):
        """P1 holds for the client behind the balancer."""
        for header in (proxy_v1(CLIENT), proxy_v2(CLIENT)):
            client = self.raw_client(proxy=header + b"EHLO early.example.test\r\n")
            replies = client.read_to_end(CLOSE_SECONDS_MAX)
            self.assertEqual([(reply.code, reply.status) for reply in replies], [(554, "5.5.0")])

    def test_what_the_balancer_tells_is_logged(self):
        tls = b"\x03" + bytes(4) + value(0x21, b"TLSv1.3") + value(0x22, b"cn\r\nx") + value(0x23, b"AES")
        header = with_checksum(value(5, b"unique-" + self.tag.encode()) + value(2, b"mx.example"),
                               value(0x20, tls))
        client = self.client(proxy=header)
        client.close()

        def lines():
            return [line for line in self.gateway.log("proxy")
                    if line.get("unique_id") == f"unique-{self.tag}"]

        wait_until(lines, "the line about the header")
        self.assertEqual(len(lines()), 1)
        line = lines()[0]
        self.assertEqual(line["authority"], "mx.example")
        self.assertEqual(line["proxy_tls"], "TLSv1.3")
        self.assertEqual(line["proxy_cipher"], "AES")
        self.assertEqual(line["client_name"], "cn\r\nx")
        self.assertEqual(line["client_verified"], "ok")
        self.assertEqual(line["peer"], f"{CLIENT}:50000")
        self.assertTrue(line["proxy"].startswith("127.0.0.1:"))

    # --- health checks ---

    def assert_is_probe(self, header):
        """The session of a balancer: it may look, and no more."""
        before = self.connections(PROBE)
        client = self.client(proxy=header)
        self.assert_reply(client.command("NOOP"), 250)
        self.assert_reply(client.command("MAIL FROM:<a@client.test>"), 503, "5.5.1")
        self.assert_reply(client.command("QUIT"), 221)
        client.close()
        self.assertEqual(self.connections(PROBE) - before, 1)

    def test_local_is_a_health_session(self):
        self.assert_is_probe(proxy_v2(None, is_local=True))

    def test_local_with_an_address_block_is_a_health_session(self):
        self.assert_is_probe(proxy_v2(CLIENT, is_local=True))
        self.assert_is_probe(proxy_v2(CLIENT_V6, target="::1", is_local=True, tlvs=[(4, b"xyz")]))
        self.assert_is_probe(v2(0x20, 0xFF, b"whatever"))

    def test_unknown_is_a_health_session(self):
        self.assert_is_probe(proxy_v1(None))
        self.assert_is_probe(b"PROXY UNKNOWN ::1 ::2 3 4\r\n")
        self.assert_is_probe(proxy_v2(None))

    def test_d32_probes_leave_no_trace(self):
        """1000 connections that say nothing, and 300 health checks, in order or by RST."""
        lines, before = len(self.gateway.log()), self.connections(PROBE)
        refused = self.connections(REFUSED)
        for count in range(1000):
            client = self.raw_client()
            if count % 2 == 0:
                client.close()
            else:
                client.reset()
        for _ in range(300):
            client = self.raw_client(proxy=proxy_v2(CLIENT, is_local=True))
            client.read_reply()
            client.close()
        wait_until(lambda: self.connections(PROBE) - before >= 1300, "1300 probes counted")
        self.assertEqual(self.connections(PROBE) - before, 1300)
        self.assertEqual(self.connections(REFUSED), refused)
        self.assertEqual(self.gateway.log()[lines:], [], "probes are for debug alone")
        wait_until(lambda: self.gateway.metric("postern_smtp_connections", listener="mx") == 0,
                   "no connection is left")
        self.client(proxy=proxy_v1(CLIENT)).close()

    # --- bad headers ---

    def assert_logged(self, before, reason):
        """One more line about a refusal, with this reason."""
        wait_until(lambda: len(self.gateway.log("proxy_refused")) > before, "a line in the log")
        logged = self.gateway.log("proxy_refused")[before:]
        self.assertEqual([line["reason"] for line in logged], [reason])

    def assert_refused(self, sent, reason):
        """Closed at once, counted, and said why."""
        before, lines = self.connections(REFUSED), len(self.gateway.log("proxy_refused"))
        client = self.raw_client()
        started = time.monotonic()
        client.send(sent)
        self.assert_closed_silently(client, started)
        client.close()
        self.assertLess(time.monotonic() - started, 0.9, "it was the time limit")
        self.assertEqual(self.connections(REFUSED) - before, 1)
        self.assert_logged(lines, reason)

    def test_d31_garbage(self):
        for sent in (b"EHLO a.example.test\r\n", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n",
                     b"proxy TCP4", b"PROXX", b"\r\n\r\nX", b"\0", b"\xff" * 5000):
            self.assert_refused(sent, "the first bytes are no header")

    def test_d31_version_1_too_long(self):
        self.assert_refused(b"PROXY UNKNOWN " + b"x" * 93, "v1: the line is too long")
        self.assert_refused(b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n", "v1: the line is too long")
        self.assert_refused(b"PROXY TCP4 " + b"1" * 60000, "v1: the line is too long")
        client = self.raw_client(proxy=b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n")
        self.assertEqual(client.read_reply().code, 220)

    def test_d31_version_1_malformed(self):
        family = "v1: the protocol is not TCP4 or TCP6"
        source = "v1: the source is no address and port of that family"
        target = "v1: the destination is no address and port of that family"
        for line, reason in (
            (b"PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", family),
            (b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", family),
            (b"PROXY TCP4\r\n", family),
            (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", source),
            (b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", source),
            (b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", source),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", source),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", source),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", target),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", target),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\nEHLO x\r\n", "v1: a CR or LF stands alone"),
        ):
            with self.subTest(line):
                self.assert_refused(line, reason)

    def test_d31_version_2_of_a_wrong_family(self):
        unknown, no_tcp = ("v2: the address family or transport is unknown",
                           "v2: the client is not on TCP")
        self.assert_refused(v2(0x21, 0x41, V4_ADDRESSES), unknown)
        self.assert_refused(v2(0x21, 0x13, V4_ADDRESSES), unknown)
        self.assert_refused(v2(0x21, 0x12, V4_ADDRESSES), no_tcp)
        self.assert_refused(v2(0x21, 0x31, bytes(216)), no_tcp)
        self.assert_refused(v2(0x21, 0x21, V4_ADDRESSES), "v2: the addresses are cut short")
        self.assert_refused(v2(0x21, 0x11, V4_ADDRESSES[:11]), "v2: the addresses are cut short")

    def test_d31_version_2_of_a_wrong_version_or_command(self):
        for byte in (0x11, 0x22, 0x2F, 0x31, 0x00, 0xFF):
            self.assert_refused(v2(byte, 0x11, V4_ADDRESSES), "v2: the version or command is unknown")

    def test_d31_values_that_do_not_fit(self):
        cut = "v2: a value is longer than the header"
        self.assert_refused(v2(0x21, 0x11, V4_ADDRESSES + b"\x04\0\x09xyz"), cut)
        self.assert_refused(v2(0x21, 0x11, V4_ADDRESSES + value(0x20, b"\1\0\0\0\0\x21\0\x05x")), cut)
        self.assert_refused(v2(0x21, 0x11, V4_ADDRESSES + b"\x04"),
                            "v2: bytes are left over behind the last value")
        self.assert_refused(v2(0x21, 0x11, V4_ADDRESSES + value(0x20, b"\1")),
                            "v2: the TLS value is cut short")

    def test_a_checksum_that_is_wrong(self):
        self.assert_refused(with_checksum(error=1), "v2: the checksum is wrong")
        self.assert_refused(with_checksum(before=value(4, bytes(30000)), error=0x80000000),
                            "v2: the checksum is wrong")

    def assert_times_out(self, sent, reason):
        before = len(self.gateway.log("proxy_refused"))
        client = self.raw_client()
        started = time.monotonic()
        client.send(sent)
        self.assert_closed_silently(client, started)
        self.assertGreater(time.monotonic() - started, 0.9)
        self.assert_logged(before, reason)

    def test_d31_none(self):
        self.assert_times_out(b"", "no header came in time")

    def test_d31_a_length_of_65535_that_never_comes(self):
        part = "the header was not whole in time"
        self.assert_times_out(v2(0x21, 0x11, V4_ADDRESSES, length=65535), part)
        self.assert_times_out(v2(0x20, 0x00, b"", length=65535), part)
        self.assert_times_out(b"PROXY TCP4 192.0.2.1 ", part)
        self.assert_times_out(b"\r", part)

    def test_the_time_is_for_the_whole_header(self):
        header = proxy_v1(CLIENT)
        client = self.raw_client()
        started = time.monotonic()
        client.raw.settimeout(0.15)
        for byte in header:
            try:
                client.send(bytes([byte]))
                self.assertEqual(client.raw.recv(100), b"")
                break
            except TimeoutError:
                continue
        took = time.monotonic() - started
        self.assertGreater(took, 0.9)
        self.assertLess(took, CLOSE_SECONDS_MAX)

    def test_a_header_that_breaks_off(self):
        before = self.connections(REFUSED)
        for sent in (b"PROXY TCP4", proxy_v2(CLIENT)[:20], b"\r"):
            client = self.raw_client()
            client.send(sent)
            client.close()
        wait_until(lambda: self.connections(REFUSED) - before == 3, "three refusals")


class UntrustedTest(ProxyCase):
    settings = {"listener": {"proxy_protocol": {"from": ["192.0.2.0/24", "127.0.0.2"],
                                                "timeout": "1s"}}}

    def test_d31_a_peer_that_is_not_listed(self):
        for sent in (b"", proxy_v1(CLIENT), proxy_v1("192.0.2.1"), proxy_v2(CLIENT),
                     proxy_v2(None, is_local=True), b"EHLO a.example.test\r\n"):
            before = self.connections(REFUSED)
            client = self.raw_client()
            started = time.monotonic()
            try:
                client.send(sent)
                self.assertEqual(client.raw.recv(4096), b"")
            except (ConnectionResetError, BrokenPipeError):
                pass  # closed before it was read
            self.assertLess(time.monotonic() - started, 0.9)
            client.close()
            self.assertEqual(self.connections(REFUSED) - before, 1)

    def test_a_peer_that_is_listed(self):
        client = self.client(source="127.0.0.2", proxy=proxy_v1(CLIENT))
        self.assert_reply(client.command("NOOP"), 250)


class PlainTest(DaemonTest):
    """A listener without proxy_protocol believes nobody."""

    def test_a_header_is_no_command(self):
        client = self.raw_client()
        client.read_reply()
        client.send(proxy_v1(CLIENT))
        self.assert_reply(client.read_reply(), 500)


class ClientLimitTest(ProxyCase):
    settings = {"listener": {"proxy_protocol": {"from": ["127.0.0.0/8"]},
                             "limits": {"connections_per_client": 2}}}

    def test_d6_the_limit_is_of_the_client(self):
        held = [self.client(proxy=proxy_v1(CLIENT)), self.client(proxy=proxy_v2(CLIENT))]
        over = self.raw_client(proxy=proxy_v1(CLIENT, source_port=1))
        replies = over.read_to_end(CLOSE_SECONDS_MAX)
        self.assertEqual([(reply.code, reply.status) for reply in replies], [(421, "4.7.0")])
        # Another client, however the same balancer, and the balancer's checks are let in.
        held.append(self.client(proxy=proxy_v1(CLIENT_V6, target="::1")))
        checks = [self.client(proxy=proxy_v2(None, is_local=True)) for _ in range(5)]
        for client in checks:
            client.close()
        # The mapped form is the same client.
        over = self.raw_client(proxy=proxy_v1(f"::ffff:{CLIENT}", target="::1"))
        self.assertEqual([reply.code for reply in over.read_to_end(CLOSE_SECONDS_MAX)], [421])
        held[0].close()

        def is_let_in():
            client = self.raw_client(proxy=proxy_v1(CLIENT))
            code = client.read_reply().code
            client.close()
            return code == 220

        wait_until(is_let_in, "a place is free again")

    def test_connections_without_a_header_have_no_client(self):
        idle = [self.raw_client() for _ in range(10)]
        self.client(proxy=proxy_v1("198.51.100.9")).close()
        for client in idle:
            client.close()


class ImplicitTlsTest(ProxyCase):
    """The header comes in the clear, before the handshake."""

    settings = {"listener": {"proxy_protocol": {"from": ["127.0.0.0/8"], "timeout": "1s"},
                             "limits": {"connections_per_client": 2}}}
    tls = "implicit"

    def test_the_client_of_both_versions(self):
        self.assert_client_is(CLIENT, proxy_v1(CLIENT), self.tag + "1")
        self.assert_client_is(CLIENT_V6, proxy_v2(CLIENT_V6, target="::1"), self.tag + "2")

    def test_a_header_that_comes_with_the_handshake(self):
        """In one segment: what follows the header is TLS."""
        for header in (proxy_v1("198.51.100.8"), proxy_v2("198.51.100.8")):
            client = self.raw_client(tls=None)
            send = client.raw.sendall

            class Joined:
                """The first send takes the header along."""

                def __init__(self, raw):
                    self.raw = raw
                    self.before = header

                def sendall(self, data):
                    send(self.before + bytes(data))
                    self.before = b""

                def send(self, data):
                    self.sendall(data)
                    return len(data)

                def __getattr__(self, name):
                    return getattr(self.raw, name)

            client.raw = Joined(client.raw)
            client.handshake()
            client.greet()
            client.close()

    def test_a_bad_header_is_closed_without_an_alert(self):
        client = self.raw_client(tls=None)
        client.send(b"\x16\x03\x01\x02\x00\x01\x00")
        self.assert_closed_silently(client)

    def test_no_header(self):
        client = self.raw_client(tls=None)
        self.assert_closed_silently(client)

    def test_a_client_above_its_limit_gets_no_handshake(self):
        held = [self.client(proxy=proxy_v1("198.51.100.10")) for _ in range(2)]
        client = self.raw_client(tls=None)
        client.send(proxy_v1("198.51.100.10"))
        self.assert_closed_silently(client)
        for client in held:
            client.close()


class StarttlsTest(ProxyCase):
    settings = {"listener": {"proxy_protocol": {"from": ["127.0.0.0/8"]}, "tls": tls_settings()}}

    def test_the_client_stays_over_starttls(self):
        self.assert_client_is(CLIENT, proxy_v2(CLIENT), self.tag, tls="starttls")


if __name__ == "__main__":
    unittest.main()
