"""What comes at the TLS of a listener: old versions, renegotiation, floods, wrong names, cut streams
(list B7, T1 to T10). Silence in a handshake (T3) is in starttls_test, bad reloads (T8) in
reload_tls_test."""

import hashlib
import os
import socket
import ssl
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from tests.support import certificates, tls_records
from tests.support.daemon_case import DaemonTest
from tests.support.gateway import (Gateway, is_sanitized, listener, settings, tls_settings,
                                   wait_until, without_trace)
from tests.support.smtp_client import Closed, ProtocolError, bdat_chunk
from tests.support.tls_records import ALERT, DATA, HANDSHAKE, Alert, Flight

NAME, OTHER = "mx.gateway.test", "other.gateway.test"
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = (TLS_1_2, TLS_1_3)
END_SECONDS_MAX = 10.0


def pairs():
    """The first is the default; each name has an ECDSA certificate, the first an RSA one, too."""
    return (certificates.server(NAME), certificates.server(NAME, kind="rsa"),
            certificates.server(OTHER, "*.wild.gateway.test"))


class TlsCase(DaemonTest):
    """The listener `mx` has TLS from the first byte, `starttls` STARTTLS."""

    settings = {"listeners": [
        listener("mx", tls=tls_settings(*pairs(), mode="implicit")),
        listener("starttls", tls=tls_settings(*pairs())),
        listener("new", tls=tls_settings(*pairs(), mode="implicit", min_version="1.3")),
    ]}

    def both(self, **options):
        """A client of each listener that speaks TLS next."""
        yield self.raw_client(**options)
        client = self.raw_client(listener="starttls", **options)
        client.greet()
        client.expect("STARTTLS", 220, "2.0.0")
        yield client

    def box(self, name=""):
        return f"{self.tag}{name}@box.test"

    def s_client(self, *options, text=b"", name="mx"):
        """What `openssl s_client` prints, and its status."""
        port = self.gateway.port(name)
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options],
                              input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=30, check=False)
        return done.stdout.decode("utf-8", "replace"), done.returncode

    def assert_ends(self, client, what=""):
        """The server ends the connection, in order or not: bytes may be left that it did not read."""
        started = time.monotonic()
        client.raw.settimeout(END_SECONDS_MAX)
        try:
            while client.raw.recv(65536):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            self.fail(f"{what}: the connection is still open")
        self.assertLess(time.monotonic() - started, END_SECONDS_MAX)

    def assert_others_are_served(self):
        """G2: as quick as ever, on a new connection."""
        started = time.monotonic()
        self.assert_goes_on(self.client(tls="implicit"))
        self.assertLess(time.monotonic() - started, 10 if is_sanitized() else 3)

    def failures(self):
        return self.gateway.metric("postern_tls_handshakes_total", result="failed")


class HandshakeTest(TlsCase):
    # --- T1 ---

    def test_t1_a_hello_of_an_old_version(self):
        # SSL 3.0 has no alert of that name.
        for version, description in ((0x0300, tls_records.HANDSHAKE_FAILURE),
                                     (0x0301, tls_records.PROTOCOL_VERSION),
                                     (0x0302, tls_records.PROTOCOL_VERSION)):
            for client in self.both():
                hello = tls_records.client_hello(version, ciphers=(0xC009, 0xC013, 0x002F))
                answer = tls_records.answer_to(client.raw, hello)
                self.assertIsInstance(answer, Alert, hex(version))
                self.assertEqual(answer.description, description, hex(version))
                self.assert_ends(client)

    def test_t1_old_versions_by_the_extension(self):
        for versions in ((0x0301,), (0x0302, 0x0301), (0x0300,)):
            client = self.raw_client()
            answer = tls_records.answer_to(client.raw, tls_records.client_hello(versions=versions))
            self.assertIsInstance(answer, Alert, versions)
            self.assertEqual(answer.description, tls_records.PROTOCOL_VERSION, versions)

    def test_t1_sslv2(self):
        client = self.raw_client()
        client.raw.sendall(b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(37))
        self.assertNotIsInstance(tls_records.read_answer(client.raw), Flight)

    def test_t1_1_2_where_1_3_is_the_least(self):
        client = self.raw_client(listener="new")
        answer = tls_records.answer_to(client.raw, tls_records.client_hello())
        self.assertIsInstance(answer, Alert)
        self.assertEqual(answer.description, tls_records.PROTOCOL_VERSION)
        self.assertEqual(self.client(listener="new", tls="implicit").tls.version(), "TLSv1.3")

    def test_t1_openssl_of_old(self):
        for option in ("-tls1", "-tls1_1"):
            for more in ((), ("-starttls", "smtp")):
                output, status = self.s_client(option, "-cipher", "ALL:@SECLEVEL=0", *more,
                                               name="starttls" if more else "mx")
                self.assertNotEqual(status, 0, output[-500:])
                self.assertIn("alert protocol version", output)

    def test_t1_weak_ciphers(self):
        """CBC, RC4, 3DES, no forward secrecy, no authentication, no encryption."""
        for cipher in (0xC009, 0xC013, 0xC027, 0x002F, 0x003C, 0x009C, 0x0005, 0x000A, 0xC018, 0x0001,
                       0xC006, 0x0034):
            client = self.raw_client()
            answer = tls_records.answer_to(client.raw, tls_records.client_hello(ciphers=(cipher,)))
            self.assertIsInstance(answer, Alert, hex(cipher))
            self.assertEqual(answer.description, tls_records.HANDSHAKE_FAILURE, hex(cipher))

    def test_1_2_and_1_3_are_spoken(self):
        for version in VERSIONS:
            for listener_name, tls in (("mx", "implicit"), ("starttls", "starttls")):
                context = certificates.client_context(minimum=version, maximum=version)
                client = self.client(listener=listener_name, tls=tls, context=context)
                self.assert_goes_on(client)
                self.assertIsNone(client.tls.compression())

    # --- T2 ---

    def test_t2_renegotiation(self):
        before = self.gateway.metric("postern_tls_handshakes_total", direction="in")
        for more in ((), ("-starttls", "smtp")):
            output, status = self.s_client("-tls1_2", *more, text=b"R\n",
                                           name="starttls" if more else "mx")
            self.assertIn("RENEGOTIATING", output)
            # How the client words it depends on whether it read the alert before the end.
            self.assertNotEqual(status, 0)
        after = self.gateway.metric("postern_tls_handshakes_total", direction="in")
        self.assertEqual(after - before, 2)

    def test_t2_a_hello_inside_of_the_session(self):
        context = tls_records.forging_context(TLS_1_2)
        client = self.raw_client(context=context)
        forger = tls_records.forge(client)
        self.assert_reply(client.read_reply(), 220)
        forger.send(HANDSHAKE, tls_records.client_hello())
        with self.assertRaises(ssl.SSLError) as caught:
            client.read_reply()
        self.assertEqual(caught.exception.reason, "NO_RENEGOTIATION")

    # --- T5 ---

    def test_t5_tickets_allow_no_early_data(self):
        with tempfile.TemporaryDirectory() as folder:
            ticket, early = Path(folder) / "ticket", Path(folder) / "early"
            early.write_bytes(b"EHLO early.test\r\n")
            self.s_client("-tls1_3", "-sess_out", str(ticket), "-ign_eof", text=b"QUIT\r\n")
            shown = subprocess.run(["openssl", "sess_id", "-in", str(ticket), "-noout", "-text"],
                                   capture_output=True, text=True, check=True).stdout
            self.assertIn("TLSv1.3", shown)
            self.assertNotRegex(shown, r"Max Early Data: [1-9]")
            output, _ = self.s_client("-tls1_3", "-sess_in", str(ticket), "-early_data", str(early),
                                      "-ign_eof", text=b"QUIT\r\n")
            self.assertIn("Reused, TLSv1.3", output)
            self.assertIn("Early data was not sent", output)

    def session(self, version):
        context = certificates.client_context(minimum=version, maximum=version)
        client = self.client(tls="implicit", context=context)
        session = client.tls.session
        client.expect("QUIT", 221)
        client.close()
        return context, session

    def resumes(self, context, session, **options):
        client = self.client(tls="implicit", context=context, session=session, **options)
        self.assert_reply(client.command("NOOP"), 250)
        is_reused = client.tls.session_reused
        client.close()
        return is_reused

    def test_t5_a_ticket_of_1_3_is_good_on_any_core_and_after_a_reload(self):
        context, session = self.session(TLS_1_3)
        for _ in range(16):
            self.assertTrue(self.resumes(context, session))
        self.gateway.reload()
        wait_until(lambda: self.gateway.log("reload"), "the reload")
        for _ in range(16):
            self.assertTrue(self.resumes(context, session))

    def test_t5_a_ticket_that_was_changed_is_none(self):
        """Every byte of it counts: the handshake becomes a full one, not a failure."""
        before = self.failures()
        hello = tls_records.client_hello(more=tls_records.extension(35, os.urandom(180)))
        client = self.raw_client()
        self.assertIsInstance(tls_records.answer_to(client.raw, hello), Flight)
        client.close()
        wait_until(lambda: self.failures() == before + 1, "the handshake that was left")

    # --- T6 ---

    def test_t6_alpn(self):
        for version in VERSIONS:
            for offered, chosen in ((None, None), (["smtp"], "smtp"), (["h2", "smtp"], "smtp")):
                context = certificates.client_context(minimum=version, maximum=version, alpn=offered)
                for client in self.both(context=context):
                    client.handshake()
                    self.assertEqual(client.tls.selected_alpn_protocol(), chosen)
            for offered in (["h2"], ["http/1.1", "h2"], ["smtpx"], ["SMTP"]):
                context = certificates.client_context(minimum=version, maximum=version, alpn=offered)
                for client in self.both(context=context):
                    with self.assertRaises(ssl.SSLError) as caught:
                        client.handshake()
                        client.read_reply()
                    self.assertIn("no application protocol", str(caught.exception))
                    self.assert_ends(client)

    def test_t6_alpn_that_is_malformed(self):
        for data in (b"", b"\x00\x00", b"\x00\x01\x00", b"\x00\x05\x04smt", b"\x00\x09\x04smtp\x04smt"):
            client = self.raw_client()
            hello = tls_records.client_hello(more=tls_records.extension(16, data))
            self.assertIsInstance(tls_records.answer_to(client.raw, hello), Alert, data)
            self.assert_ends(client)

    # --- T7 ---

    def shown(self, name, **options):
        client = self.raw_client()
        answer = tls_records.answer_to(client.raw, tls_records.client_hello(name=name, **options))
        self.assertIsInstance(answer, Flight, name)
        client.close()
        return answer.fingerprint

    def test_t7_a_name_that_nobody_has(self):
        default = pairs()[0].fingerprint
        for name in (None, b"", b"unknown.test", b"127.0.0.1", b"::1", b"[::1]", b"x" * 255,
                     b".".join([b"a" * 63] * 4)[:255], b"mx.gateway.test.", b"a.b.wild.gateway.test",
                     b"wild.gateway.test", b"..", b"%s%n", b"mx gateway",
                     b"mx.gateway.test\r\nX: y", b"\xff\xfe", b"-"):
            self.assertEqual(self.shown(name), default, name)

    def test_t7_a_name_that_no_hello_may_hold(self):
        for name in (b"x" * 256, b"x" * 5000, b"mx.gateway.test\0.evil.test", b"\0"):
            client = self.raw_client()
            answer = tls_records.answer_to(client.raw, tls_records.client_hello(name=name))
            self.assertIsInstance(answer, Alert, name[:40])
            self.assert_ends(client)

    def test_t7_openssl_with_such_names(self):
        for name in ("127.0.0.1", "unknown.test", "l" * 255):
            output, _ = self.s_client("-tls1_3", "-servername", name)
            self.assertIn(f"subject=CN = {NAME}", output)

    def test_the_certificate_of_the_name_and_of_the_clients_ability(self):
        ecdsa, rsa, other = (pair.fingerprint for pair in pairs())
        both = (tls_records.ECDSA_AES128, tls_records.RSA_AES128)
        for name in (None, NAME.encode(), b"unknown.test", NAME.upper().encode()):
            self.assertEqual(self.shown(name, ciphers=both), ecdsa)
            self.assertEqual(self.shown(name, ciphers=both[1:]), rsa)
            self.assertEqual(self.shown(name, ciphers=both[:1]), ecdsa)
            self.assertEqual(self.shown(name, ciphers=both, signatures=(0x0804, 0x0401)), rsa)
        for name in (OTHER.encode(), b"x.wild.gateway.test", b"X.WILD.Gateway.Test"):
            self.assertEqual(self.shown(name, ciphers=both), other)

    def test_the_certificate_of_the_name_in_1_3(self):
        ecdsa, rsa, other = (pair.fingerprint for pair in pairs())
        for name, want in ((NAME, ecdsa), (OTHER, other), ("a.wild.gateway.test", other)):
            for mode, listener_name in (("implicit", "mx"), ("starttls", "starttls")):
                client = self.client(tls=mode, listener=listener_name, server_name=name)
                shown = client.tls.getpeercert(binary_form=True)
                self.assertEqual(hashlib.sha256(shown).hexdigest(), want, name)
        output, _ = self.s_client("-tls1_3", "-sigalgs", "rsa_pss_rsae_sha256", "-showcerts")
        self.assertIn("Peer signature type: RSA-PSS", output)


class FloodTest(TlsCase):
    """T4. A record that brings nothing is cheap to send and not to read."""

    COUNT = 2000

    def flood(self, version, records):
        """Sends them behind a handshake; the server must have ended long before the last."""
        context = tls_records.forging_context(version)
        client = self.raw_client(context=context)
        forger = tls_records.forge(client)
        try:
            for data in records(forger):
                client.raw.sendall(data)
        except (ConnectionResetError, BrokenPipeError):
            pass
        self.assert_ends(client)
        client.close()

    def repeated(self, kind, data, every=0):
        """`every`: a command comes behind so many of them."""

        def records(forger):
            for count in range(self.COUNT):
                yield forger.seal(kind, data)
                if every > 0 and count % every == 0:
                    yield forger.seal(DATA, b"X")
        return records

    def check(self, kind, data, versions=VERSIONS):
        for version in versions:
            for every in (0, 1, 7):
                self.flood(version, self.repeated(kind, data, every))
        self.assert_others_are_served()

    def test_t4_empty_records(self):
        for version in VERSIONS:
            self.flood(version, self.repeated(DATA, b""))
        self.assert_others_are_served()

    def test_t4_alerts(self):
        self.check(ALERT, bytes([1, tls_records.USER_CANCELED]))

    def test_t4_hellos(self):
        self.check(HANDSHAKE, tls_records.client_hello(), versions=(TLS_1_2,))

    def test_t4_key_updates(self):
        for asks in (False, True):
            for every in (0, 1, 7):
                def records(forger, asks=asks, every=every):
                    for count in range(self.COUNT):
                        yield forger.key_update(asks)
                        if every > 0 and count % every == 0:
                            yield forger.seal(DATA, b"X")
                self.flood(TLS_1_3, records)
        self.assert_others_are_served()

    def test_a_few_of_each_are_nothing(self):
        for version in VERSIONS:
            context = tls_records.forging_context(version)
            client = self.raw_client(context=context)
            forger = tls_records.forge(client)
            self.assert_reply(client.read_reply(), 220)
            forger.send(DATA, b"")
            forger.send(ALERT, bytes([1, tls_records.USER_CANCELED]))
            if version == TLS_1_3:
                client.raw.sendall(forger.key_update())
                client.raw.sendall(forger.key_update(asks=True))
            forger.send(DATA, b"NO")
            forger.send(DATA, b"")
            forger.send(DATA, b"OP\r\nQUIT\r\n")
            self.assert_closed(client, [250, 221])

    def test_t4_before_the_handshake_is_over(self):
        """In the clear: nothing but a handshake may come."""
        hello = tls_records.record(HANDSHAKE, tls_records.client_hello())
        warning = tls_records.record(ALERT, bytes([1, tls_records.USER_CANCELED]))
        floods = {
            "empty": tls_records.record(HANDSHAKE, b"") * self.COUNT,
            "changes of ciphers": tls_records.record(tls_records.CHANGE_CIPHER_SPEC, b"\x01") * self.COUNT,
            "alerts": warning * self.COUNT,
            "alerts behind a hello": hello + warning * self.COUNT,
            "hellos": hello * self.COUNT,
            "data": hello + tls_records.record(DATA, b"NOOP\r\n") * self.COUNT,
            "empty data": hello + tls_records.record(DATA, b"") * self.COUNT,
            "a hello without end": tls_records.record(
                HANDSHAKE, b"\x01\xff\xff\xff\x03\x03" + bytes(16000)) * 20,
        }
        for name, data in floods.items():
            for client in self.both():
                try:
                    client.raw.sendall(data)
                except (ConnectionResetError, BrokenPipeError):
                    pass
                self.assert_ends(client, name)
                client.close()
        self.assert_others_are_served()

    def test_records_that_are_wrong(self):
        """Too long, of no type, of no version, badly sealed: the end, and nothing is taken."""
        for version in VERSIONS:
            for wrong in ("long", "type", "version", "seal", "plain", "order"):
                context = tls_records.forging_context(version)
                client = self.raw_client(context=context)
                forger = tls_records.forge(client)
                self.assert_reply(client.read_reply(), 220)
                good = forger.seal(DATA, b"QUIT\r\n")
                data = {
                    "long": b"\x17\x03\x03\x48\x01" + bytes(0x4801),
                    "type": b"\x63" + good[1:],
                    "version": good[:1] + b"\x07\x07" + good[3:],
                    "seal": good[:-1] + bytes([good[-1] ^ 1]),
                    "plain": tls_records.record(DATA, b"QUIT\r\n", 0x0303),
                    "order": forger.seal(DATA, b"QUIT\r\n"),
                }[wrong]
                client.raw.sendall(data)
                with self.assertRaises((ssl.SSLError, ProtocolError, ConnectionResetError)):
                    client.read_reply()
                self.assert_ends(client, wrong)


class TruncationTest(TlsCase):
    """T10: an end of TCP is no end of TLS, and ends no message."""

    CONTENT = b"Subject: cut\r\n\r\ncut\r\n"

    def start_message(self, version, recipient):
        context = certificates.client_context(minimum=version, maximum=version)
        client = self.client(tls="implicit", context=context)
        client.start("a@client.test", [recipient])
        return client

    def check_every_cut(self, name, message, begins_with_data):
        """Every part of the records, then FIN, then RST: no message."""
        before = self.gateway.received()
        for version in VERSIONS:
            for end in (socket.SHUT_WR, None):
                recipient, at = self.box(name), 0
                while True:
                    client = self.start_message(version, recipient)
                    if begins_with_data:
                        client.expect("DATA", 354)
                    records = client.socket.records(message)
                    if at >= len(records):
                        break
                    client.raw.sendall(records[:at])
                    if end is None:
                        client.reset()
                    else:
                        client.raw.shutdown(end)
                        self.assert_ends(client, f"cut at {at}")
                        client.close()
                    at += 1
                client.reset()
        self.wait_for_no_session()
        self.assertEqual(self.gateway.received(), before)
        self.assertEqual(self.gateway.mailbox(self.box(name)), [])

    def wait_for_no_session(self):
        wait_until(lambda: self.gateway.metric("postern_smtp_connections") == 0, "no open session")

    def test_t10_in_data(self):
        self.check_every_cut("-data", self.CONTENT + b".\r\n", begins_with_data=True)

    def test_t10_in_a_chunk(self):
        self.check_every_cut("-bdat", bdat_chunk(self.CONTENT, is_last=True), begins_with_data=False)

    def test_t10_close_notify_in_the_middle_is_an_end_too(self):
        before = self.gateway.received()
        for part in (b"", b"Subject: half\r\n", b"Subject: x\r\n\r\nx\r\n.\r"):
            client = self.start_message(TLS_1_3, self.box())
            client.expect("DATA", 354)
            client.send(part)
            client.half_close()
            self.assert_ends(client)
        self.wait_for_no_session()
        self.assertEqual(self.gateway.received(), before)

    def test_t10_behind_the_end_of_the_message(self):
        """Whole, or not there: and what was accepted is delivered."""
        before = self.gateway.received()
        for version in VERSIONS:
            for _ in range(10):
                client = self.start_message(version, self.box())
                client.expect("DATA", 354)
                client.send(self.CONTENT + b".\r\n")
                client.raw.shutdown(socket.SHUT_WR)
                self.assert_ends(client)
        self.wait_for_no_session()
        self.gateway.wait_for_empty_queue()
        mails = self.gateway.mailbox(self.box())
        self.assertEqual({without_trace(mail) for mail in mails} | {self.CONTENT}, {self.CONTENT})
        self.assertGreaterEqual(len(mails), self.gateway.received() - before)


class DeafClientsTest(DaemonTest):
    """T9: what a client does not read is not made: our memory has a bound, and its time has one."""

    COUNT = 20
    BYTES_EACH_MAX = 1536 * 1024  # beside the pages of our buffers; each client sends more
    settings = {"listener": {"tls": tls_settings(mode="implicit"), "timeouts": {"command": "3s"}}}

    def resident_bytes(self):
        with open(f"/proc/{self.gateway.process.pid}/status", encoding="ascii") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) * 1024

    def fill(self, clients):
        """Sends commands that are all answered until nobody takes any more; the bytes of each."""
        commands = b"BDAT 0\r\n" * 1000
        pending, sent = {client: b"" for client in clients}, {client: 0 for client in clients}
        last = time.monotonic()
        while time.monotonic() - last < 1.0:
            for client in clients:
                try:
                    if not pending[client]:
                        pending[client] = client.socket.records(commands)
                    count = client.raw.send(pending[client])
                except BlockingIOError:
                    continue
                pending[client] = pending[client][count:]
                sent[client] += count
                last = time.monotonic()
        return sent

    def test_t9_clients_that_read_nothing(self):
        clients = [self.client(tls="implicit", receive_buffer=2048) for _ in range(self.COUNT)]
        for client in clients:
            client.start("a@client.test", ["x@void.test"])
            client.raw.setblocking(False)
        before = self.resident_bytes()
        sent = self.fill(clients)
        self.assertGreater(min(sent.values()), 500_000)
        if not is_sanitized():
            self.assertLess(self.resident_bytes() - before, self.COUNT * self.BYTES_EACH_MAX)
        self.assert_goes_on(self.client(tls="implicit"))
        wait_until(lambda: self.gateway.metric("postern_smtp_connections") == 0,
                   "the sessions of deaf clients to end", 60)


class ClientCertificateTest(DaemonTest):
    """A client is asked for a certificate where the listener says so; what it shows is logged, and
    decides nothing."""

    @classmethod
    def setUpClass(cls):
        asks = {"client_certificates": "request", "client_ca": str(certificates.authority_file())}
        cls.settings = {"log": {"level": "debug"}, "listeners": [
            listener("mx", tls=tls_settings(mode="implicit", **asks)),
            listener("starttls", tls=tls_settings(**asks)),
            listener("incurious", tls=tls_settings(mode="implicit")),
        ]}
        super().setUpClass()

    def logged(self, name, pair, version):
        """The one log line about a handshake with this certificate."""
        context = certificates.client_context(minimum=version, maximum=version, certificate=pair)
        before = len(self.gateway.log("tls"))
        client = self.client(listener=name, context=context,
                             tls="starttls" if name == "starttls" else "implicit")
        self.assert_reply(client.mail("a@client.test", ["x@void.test"], b"x\r\n"), 250)
        client.close()
        wait_until(lambda: len(self.gateway.log("tls")) > before, "the line about the handshake")
        line, = self.gateway.log("tls")[before:]
        return line

    def test_what_is_shown_is_logged(self):
        good = certificates.client("good.client.test")
        rsa = certificates.client("rsa.client.test", kind="rsa")
        late = certificates.client("late.client.test", is_expired=True)
        for version in VERSIONS:
            for name in ("mx", "starttls"):
                line = self.logged(name, None, version)
                self.assertNotIn("client_subject", line)
                for pair, subject in ((good, "good"), (rsa, "rsa")):
                    line = self.logged(name, pair, version)
                    self.assertEqual(line["client_subject"], f"CN={subject}.client.test")
                    self.assertEqual((line["client_verified"], line["level"]), ("ok", "info"))
                line = self.logged(name, late, version)
                self.assertEqual(line["client_subject"], "CN=late.client.test")
                self.assertRegex(line["client_verified"], "expired")

    def test_a_certificate_for_servers_is_let_in(self):
        line = self.logged("mx", certificates.server(OTHER), TLS_1_3)
        self.assertNotEqual(line["client_verified"], "ok")

    def test_who_is_not_asked_shows_none(self):
        pair = certificates.client("good.client.test")
        self.assertNotIn("client_subject", self.logged("incurious", pair, TLS_1_3))


class RotationTest(unittest.TestCase):
    """T5: keys of tickets do not live long, and not over a restart."""

    def resumes(self, gateway, context, session):
        with gateway.client(tls="implicit", context=context, session=session) as client:
            return client.tls.session_reused

    def session(self, gateway, context):
        with gateway.client(tls="implicit", context=context) as client:
            return client.tls.session

    def test_t5_an_old_ticket_opens_nothing(self):
        config = settings(listener={"tls": tls_settings(mode="implicit")},
                          node={"hostname": NAME, "tls_ticket_rotation": "2s"})
        context = certificates.client_context(maximum=TLS_1_2)
        with Gateway(config) as gateway:
            session = self.session(gateway, context)
            self.assertTrue(self.resumes(gateway, context, session))
            time.sleep(4.5)  # two rotations and more
            self.assertFalse(self.resumes(gateway, context, session))
            self.assertTrue(self.resumes(gateway, context, self.session(gateway, context)))

    def test_t5_a_ticket_of_another_run_opens_nothing(self):
        context = certificates.client_context(maximum=TLS_1_2)
        with Gateway(settings(listener={"tls": tls_settings(mode="implicit")})) as gateway:
            session = self.session(gateway, context)
            gateway.restart()
            self.assertFalse(self.resumes(gateway, context, session))


if __name__ == "__main__":
    unittest.main()
