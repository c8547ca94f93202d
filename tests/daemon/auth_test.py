"""AUTH (RFC 4954): each mechanism, the cases U1 to U12 of hostile input with their exact replies, and
the throttle that outlives the connection.

Clients are told apart by their address, so each test comes from one of its own. Users are held off
for failures from anywhere, so those who fail are others than those who must not."""

import os
import signal
import smtplib
import time
import unittest

from tests.support import certificates
from tests.support.daemon_case import DaemonTest
from tests.support.gateway import Gateway, listener, settings, tls_settings, wait_until
from tests.support.smtp_client import encoded

PASSWORD = "p=a,ss \u00fc word"
ASCII_PASSWORD = "correct horse"
USERS = [
    ("alice", ASCII_PASSWORD, "--cram-md5"),
    ("bob@example.test", ASCII_PASSWORD, "--crypt"),
    ("carol", PASSWORD),
    ("o=ne,two", ASCII_PASSWORD),
    ("dora", ASCII_PASSWORD, "--cram-md5"),
    ("emil", ASCII_PASSWORD, "--cram-md5"),
    ("fritz", ASCII_PASSWORD),
    ("gerda", ASCII_PASSWORD),
    ("slow", ASCII_PASSWORD, "--iterations", "100000"),
]
VERIFIER_JOBS_MAX = 256  # server/auth/verifier.h
ALL = ["SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN"]


def auth(**changes):
    return {"users": "users.txt", "mechanisms": ALL, **changes}


class AuthTest(DaemonTest):
    users = USERS
    settings = {"listeners": [
        listener("mx", auth=auth(allow_plaintext=True), limits={"auth_failures": 5, "errors": 50}),
        listener("few", auth=auth(allow_plaintext=True, mechanisms=["PLAIN"])),
        listener("none"),
        listener("tls", auth=auth(), tls=tls_settings()),
        listener("submission", service="submission", auth=auth(), tls=tls_settings()),
    ]}
    addresses = iter(f"127.7.{a}.{b}" for a in range(1, 250) for b in range(1, 250))

    def setUp(self):
        super().setUp()
        self.address = next(self.addresses)

    def client(self, listener="mx", **options):
        options.setdefault("source", self.address)
        return super().client(listener=listener, **options)

    # --- what is offered ---

    def offer(self, client):
        reply = client.command("EHLO client.example.test")
        return [line for line in reply.lines if line.split()[0] == "AUTH"]

    def test_what_is_offered(self):
        self.assertEqual(self.offer(self.client()), ["AUTH SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN"])
        self.assertEqual(self.offer(self.client("few")), ["AUTH PLAIN"])
        self.assertEqual(self.offer(self.client("none")), [])
        self.assertEqual(self.offer(self.client("tls")), [])
        self.assertEqual(self.offer(self.client("tls", tls="starttls")),
                         ["AUTH SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN"])

    def test_auth_without_users_is_not_there(self):
        client = self.client("none")
        self.assert_reply(client.command("AUTH PLAIN"), 502, "5.5.1")
        self.assert_goes_on(client)

    # --- each mechanism ---

    def each_way(self, client):
        """Each mechanism and way of it, as functions of (user, password)."""
        return {
            "plain": client.auth_plain,
            "plain later": lambda u, p: client.auth_plain(u, p, is_initial=False),
            "plain authzid": lambda u, p: client.auth_plain(u, p, authorize=u),
            "login": client.auth_login,
            "scram": client.auth_scram_sha_256,
            "scram later": lambda u, p: client.auth_scram_sha_256(u, p, is_initial=False),
            "cram": client.auth_cram_md5,
        }

    def check_each_way(self, **options):
        for user, password, *how in USERS[:4]:
            for way in self.each_way(_NoClient()):
                client = self.client(source=next(self.addresses), **options)
                reply = self.each_way(client)[way](user, password)
                has_scram = "--crypt" not in how
                is_right = ("scram" not in way or has_scram) and (
                    way != "cram" or "--cram-md5" in how)
                with self.subTest(user=user, way=way):
                    self.assert_reply(reply, 235 if is_right else 535,
                                      "2.7.0" if is_right else "5.7.8")
                self.assert_goes_on(client)
                client.close()

    def test_each_mechanism_in_the_clear(self):
        self.check_each_way()

    def test_each_mechanism_under_starttls(self):
        self.check_each_way(listener="tls", tls="starttls")

    def test_wrong_passwords_and_strangers(self):
        """U3: the same answer for both."""
        for user in ("dora", "nobody", "dora@example.test", "Dora"):
            for way in self.each_way(_NoClient()):
                client = self.client(source=next(self.addresses))
                self.assert_reply(self.each_way(client)[way](user, "wrong"), 535, "5.7.8")
                self.assert_goes_on(client)
                client.close()

    def test_an_initial_response_to_login(self):
        client = self.client()
        reply = client.command(f"AUTH LOGIN {encoded('alice')}")
        self.assertEqual((reply.code, reply.text), (334, "UGFzc3dvcmQ6"))
        self.assert_reply(client.command(encoded(ASCII_PASSWORD)), 235, "2.7.0")

    def test_mechanisms_in_any_case(self):
        client = self.client()
        self.assert_reply(client.command("auth plain " + encoded(f"\0alice\0{ASCII_PASSWORD}")), 235)

    def test_smtplib(self):
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
            with self.subTest(mechanism):
                with smtplib.SMTP("127.0.0.1", self.gateway.port("tls"), timeout=20,
                                  source_address=(self.address, 0)) as client:
                    client._host = "mx.gateway.test"  # whom the certificate names
                    client.starttls(context=certificates.client_context())
                    client.ehlo()
                    client.user, client.password = "alice", ASCII_PASSWORD
                    method = getattr(client, "auth_" + mechanism.lower().replace("-", "_"))
                    code, text = client.auth(mechanism, method)
                    self.assertEqual((code, text[:5]), (235, b"2.7.0"))
                    client.sendmail("alice@example.test", ["x@void.test"], b"Subject: x\r\n\r\nx\r\n")

    def test_mail_after_auth_is_esmtpa(self):
        client = self.client()
        self.assert_reply(client.auth_scram_sha_256("alice", ASCII_PASSWORD), 235)
        address = f"{self.tag}@box.test"
        self.assert_reply(client.mail("a@example.test", [address], b"Subject: x\r\n\r\nx\r\n"), 250)
        content = self.gateway.wait_for_mail(address)[0]
        self.assertIn(b"with ESMTPA", content.replace(b"\r\n ", b" "))

    # --- U1 to U12 ---

    def test_u1_before_tls(self):
        client = self.client("tls")
        self.assert_reply(client.command("AUTH PLAIN " + encoded(f"\0alice\0{ASCII_PASSWORD}")), 530,
                          "5.7.0")
        self.assert_reply(client.command("AUTH LOGIN"), 530, "5.7.0")
        self.assert_goes_on(client)

    def test_u2_bad_base64(self):
        for line in ("A", "AA", "AAA", "=AAA", "AA=A", "A===", "====", "AGFs=WNl", "AAAA AAAA", "AA*A",
                     "AAAA\t", "\x01AAA", "AAA-", "Zh=="):
            with self.subTest(line):
                client = self.client()
                self.assertEqual(client.command("AUTH PLAIN").code, 334)
                self.assert_reply(client.command(line), 501, "5.5.2")
                self.assert_goes_on(client)
                client.close()
        client = self.client()
        self.assert_reply(client.command("AUTH PLAIN =AAA"), 501, "5.5.2")
        self.assert_reply(client.command("AUTH PLAIN A"), 501, "5.5.2")
        self.assert_goes_on(client)

    def test_u2_bytes_that_end_no_line(self):
        for data in (b"AA\nAA\r\n", b"AA\rAA\r\n", b"AA\0A\r\n", b"\r\r\n", b"AAAA\n\r\n", b"\xff\xfe\r\n"):
            with self.subTest(data):
                client = self.client()
                self.assertEqual(client.command("AUTH PLAIN").code, 334)
                client.send(data)
                self.assert_reply(client.read_reply(), 501, "5.5.2")
                self.assert_goes_on(client)
                client.close()

    def test_u5_cancel(self):
        for mechanism in ALL:
            client = self.client()
            self.assertEqual(client.command(f"AUTH {mechanism}").code, 334)
            self.assert_reply(client.command("*"), 501, "5.7.0")
            self.assert_goes_on(client)
            client.close()
        client = self.client()
        self.assertEqual(client.command(f"AUTH LOGIN {encoded('alice')}").code, 334)
        self.assert_reply(client.command("*"), 501, "5.7.0")
        self.assert_reply(client.auth_plain("alice", ASCII_PASSWORD), 235)

    def test_u6_long_responses(self):
        client = self.client()
        for length, code, status in ((12288, 501, "5.5.2"), (12289, 500, "5.5.6"), (12292, 500, "5.5.6"),
                                     (40000, 500, "5.5.6")):
            with self.subTest(length):
                self.assertEqual(client.command("AUTH PLAIN").code, 334)
                self.assert_reply(client.command("A" * length), code, status)
        self.assert_goes_on(client)
        self.assert_reply(client.command("AUTH PLAIN " + "A" * 5000), 500, "5.5.2")
        self.assert_goes_on(client)

    def test_u6_a_response_without_end(self):
        client = self.client()
        self.assertEqual(client.command("AUTH LOGIN").code, 334)
        client.send(b"A" * 65600)
        self.assert_closed(client, [421])

    def test_a_long_response_in_pieces(self):
        client = self.client()
        self.assertEqual(client.command("AUTH PLAIN").code, 334)
        line = encoded(f"alice\0alice\0{ASCII_PASSWORD}").encode() + b"\r\n"
        for at in range(len(line)):
            client.send(line[at : at + 1])
            time.sleep(0.002)
        self.assert_reply(client.read_reply(), 235, "2.7.0")

    def test_every_cut_of_a_response(self):
        line = encoded(f"\0alice\0{ASCII_PASSWORD}").encode() + b"\r\n"
        for at in range(1, len(line)):
            client = self.client()
            self.assertEqual(client.command("AUTH PLAIN").code, 334)
            client.send_split(line, at, gap=0.01)
            self.assert_reply(client.read_reply(), 235, "2.7.0", f"cut at {at}")
            client.close()

    def test_u7_twice_and_in_a_transaction(self):
        client = self.client()
        client.expect("MAIL FROM:<a@example.test>", 250)
        self.assert_reply(client.command("AUTH PLAIN"), 503, "5.5.1")
        client.expect("RSET", 250)
        self.assert_reply(client.auth_plain("alice", ASCII_PASSWORD), 235)
        self.assert_reply(client.command("AUTH PLAIN"), 503, "5.5.1")
        client.expect("RSET", 250)
        self.assert_reply(client.command("AUTH LOGIN"), 503, "5.5.1")
        self.assert_goes_on(client)

    def test_before_ehlo_and_after_helo(self):
        client = self.raw_client(listener="mx", source=self.address)
        self.assertEqual(client.read_reply().code, 220)
        self.assert_reply(client.command("AUTH PLAIN"), 503, "5.5.1")
        client.expect("HELO client.example.test", 250)
        self.assert_reply(client.command("AUTH PLAIN"), 503, "5.5.1")
        client.expect("EHLO client.example.test", 250)
        self.assert_reply(client.auth_plain("alice", ASCII_PASSWORD), 235)

    def test_u8_unknown_mechanisms_and_bad_arguments(self):
        client = self.client("few")
        for name in ("GSSAPI", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "LOGIN", "PLAINX", "\u00fc", "*"):
            self.assert_reply(client.command(f"AUTH {name}"), 504, "5.5.4", name)
        self.assert_reply(client.command("AUTH"), 501, "5.5.4")
        self.assert_reply(client.command("AUTH PLAIN AAAA AAAA"), 501, "5.5.4")
        self.assert_goes_on(client)

    def test_u9_a_fresh_start_after_a_failed_try(self):
        client = self.client()
        self.assertEqual(client.command(f"AUTH LOGIN {encoded('emil')}").code, 334)
        self.assert_reply(client.command(encoded("wrong")), 535, "5.7.8")
        reply = client.command("AUTH LOGIN")
        self.assertEqual((reply.code, reply.text), (334, "VXNlcm5hbWU6"))
        self.assert_reply(client.command("*"), 501)
        self.assertEqual(client.command("AUTH SCRAM-SHA-256").code, 334)
        self.assert_reply(client.command(encoded("c=biws,r=x,p=AAAA")), 501, "5.5.2")
        self.assertEqual(client.command("AUTH CRAM-MD5").code, 334)
        self.assert_reply(client.command(encoded("\0alice\0" + ASCII_PASSWORD)), 501, "5.5.2")
        self.assert_reply(client.auth_scram_sha_256("emil", ASCII_PASSWORD), 235)

    def test_cram_md5_takes_no_initial_response(self):
        client = self.client()
        self.assertEqual(client.command("AUTH CRAM-MD5 " + encoded("alice 00")).code, 501)
        self.assertEqual(client.command("AUTH CRAM-MD5 =").code, 501)
        self.assert_goes_on(client)

    def test_an_empty_initial_response(self):
        client = self.client()
        self.assert_reply(client.command("AUTH PLAIN ="), 501, "5.5.2")
        self.assert_reply(client.command("AUTH SCRAM-SHA-256 ="), 501, "5.5.2")
        self.assert_goes_on(client)

    def test_u11_messages_of_plain(self):
        cases = [
            ("alice", 501), ("\0alice", 501), ("\0alice\0", 501), ("\0\0pw", 501),
            (f"\0alice\0{ASCII_PASSWORD}\0", 501), ("\0ali\0ce\0pw", 501),
            (f"bob\0fritz\0{ASCII_PASSWORD}", 535), (f"\0ali\nce\0{ASCII_PASSWORD}", 535),
            (f"\0alice\r\nx\0{ASCII_PASSWORD}", 535), ("\0" + "n" * 256 + "\0pw", 535),
            ("\0fritz\0" + "p" * 600, 535),
        ]
        for message, code in cases:
            with self.subTest(message[:40]):
                client = self.client(source=next(self.addresses))
                self.assertEqual(client.command("AUTH PLAIN " + encoded(message)).code, code)
                self.assert_goes_on(client)
                client.close()

    def test_u12_no_credential_in_the_log(self):
        marker = "s3cr3t-" + self.tag
        client = self.client()
        client.auth_plain("fritz", marker)
        client.auth_login("fritz", marker)
        client.command("AUTH PLAIN " + encoded(f"fritz\0{marker}"))
        client.command("AUTH PLAIN " + marker)
        self.assert_reply(client.auth_plain("fritz", ASCII_PASSWORD), 235)
        client.expect("QUIT", 221)
        wait_until(lambda: [line for line in self.gateway.log("authenticated")
                            if (line["user"], line["mechanism"]) == ("fritz", "PLAIN")], "the log line")
        text = self.gateway.log_file.read_bytes()
        for secret in (marker, ASCII_PASSWORD, encoded(f"\0fritz\0{marker}"), encoded(marker),
                       encoded(f"\0fritz\0{ASCII_PASSWORD}")):
            self.assertNotIn(secret.encode(), text)

    def test_names_are_escaped_in_the_log(self):
        client = self.client()
        self.assertEqual(client.command("AUTH PLAIN " + encoded("\0\u202ex\"=\\\0pw")).code, 535)
        wait_until(lambda: [line for line in self.gateway.log("auth_failed")
                            if line.get("user") == "\u202ex\"=\\"], "the log line")

    # --- synchronisation and endings ---

    def test_nothing_may_follow_before_the_answer(self):
        for lines in (
            [b"AUTH LOGIN\r\n" + encoded("alice").encode() + b"\r\n"],
            [b"AUTH PLAIN " + encoded(f"\0alice\0{ASCII_PASSWORD}").encode() + b"\r\nMAIL FROM:<>\r\n"],
            [b"AUTH LOGIN\r\n", encoded("alice").encode() + b"\r\n" + encoded("x").encode() + b"\r\n"],
        ):
            with self.subTest(lines):
                client = self.client()
                for line in lines[:-1]:
                    client.send(line)
                    self.assertEqual(client.read_reply().code, 334)
                client.send(lines[-1])
                self.assert_closed(client, [554])
                client.close()

    def test_a_client_that_goes_in_the_middle(self):
        line = b"AUTH PLAIN " + encoded(f"\0alice\0{ASCII_PASSWORD}").encode() + b"\r\n"
        for at in (0, 5, 12, len(line) - 1, len(line)):
            for end in ("close", "reset", "half_close"):
                client = self.client()
                client.send(line[:at])
                getattr(client, end)()
                if end == "half_close" and at == len(line):
                    self.assert_reply(client.read_reply(), 235)
                client.close()
        client = self.client()
        self.assertEqual(client.command("AUTH LOGIN").code, 334)
        client.half_close()
        self.assertEqual(client.read_to_end(), [])
        wait_until(lambda: self.gateway.metric("postern_smtp_connections", listener="mx") == 0, "no session")

    def test_many_at_once(self):
        clients = [self.client() for _ in range(60)]
        line = b"AUTH PLAIN " + encoded(f"\0carol\0{PASSWORD}").encode() + b"\r\n"
        for client in clients:
            client.send(line)
        for client in clients:
            self.assert_reply(client.read_reply(), 235)

    def test_u4_too_many_passwords_at_once(self):
        """Those beyond the queue get 454, the others their answer; and nobody else waits for them."""
        count = VERIFIER_JOBS_MAX + 60
        clients = [self.client() for _ in range(count)]
        other = self.client(source=next(self.addresses))
        line = b"AUTH PLAIN " + encoded(f"\0slow\0{ASCII_PASSWORD}").encode() + b"\r\n"
        for client in clients:
            client.send(line)
        latest = 0.0
        for _ in range(50):
            before = time.monotonic()
            other.expect("RSET", 250)
            latest = max(latest, time.monotonic() - before)
        replies = [client.read_reply() for client in clients]
        codes = [reply.code for reply in replies]
        self.assertEqual(set(codes), {235, 454}, "either")
        self.assertEqual({reply.status for reply in replies if reply.code == 454}, {"4.7.0"})
        self.assertGreaterEqual(codes.count(235), VERIFIER_JOBS_MAX)
        self.assertLess(latest, 1.0)
        refused = clients[codes.index(454)]
        self.assert_reply(refused.auth_plain("alice", ASCII_PASSWORD), 235)

    def test_the_users_right_ends_with_the_session_and_outlives_rset(self):
        client = self.client("submission", tls="starttls")
        self.assert_reply(client.command("MAIL FROM:<a@example.test>"), 530, "5.7.0")
        self.assert_reply(client.auth_plain("alice", ASCII_PASSWORD), 235)
        client.expect("RSET", 250)
        client.expect("MAIL FROM:<a@example.test>", 250)
        plain = self.client("submission")
        self.assert_reply(plain.command("MAIL FROM:<a@example.test>"), 530, "5.7.0")

    # --- the throttle ---

    def test_u10_failures_close_and_are_remembered(self):
        client = self.client()
        for _ in range(4):
            self.assert_reply(client.auth_plain("mallory", "wrong"), 535, "5.7.8")
        client.send(b"AUTH PLAIN " + encoded("\0mallory\0wrong").encode() + b"\r\n")
        self.assert_closed(client, [421])
        for way in self.each_way(_NoClient()):
            client = self.client()
            reply = self.each_way(client)[way]("alice", ASCII_PASSWORD)
            self.assert_reply(reply, 421, "4.7.0", way)
            self.assertEqual(client.read_to_end(), [])
            client.close()
        other = self.client(source=next(self.addresses))
        self.assert_reply(other.auth_plain("alice", ASCII_PASSWORD), 235)

    def test_a_known_user_is_not_locked_out_by_others(self):
        client = self.client()
        self.assert_reply(client.auth_plain("gerda", ASCII_PASSWORD), 235)
        client.close()
        for _ in range(3):
            attacker = self.client(source=next(self.addresses))
            for _ in range(4):
                reply = attacker.auth_plain("gerda", "wrong")
                if reply.code == 421:
                    break
            attacker.close()
        beside = self.client()
        for _ in range(5):
            reply = beside.auth_plain("neighbour", "wrong")
        self.assert_reply(reply, 421, "4.7.0")
        stranger = self.client(source=next(self.addresses))
        self.assert_reply(stranger.auth_plain("gerda", ASCII_PASSWORD), 421, "4.7.0")
        client = self.client()
        self.assert_reply(client.auth_plain("gerda", ASCII_PASSWORD), 235)

    def test_metrics(self):
        def counted(result):
            return self.gateway.metric("postern_auth_attempts_total", listener="few", result=result)
        before = {result: counted(result) for result in ("ok", "failed")}
        client = self.client("few")
        client.auth_plain("nobody at all", "wrong")
        client.auth_plain("alice", ASCII_PASSWORD)
        self.assertEqual(counted("ok"), before["ok"] + 1)
        self.assertEqual(counted("failed"), before["failed"] + 1)


class _NoClient:
    """Stands for a client where only the names of the ways are wanted."""

    def __getattr__(self, name):
        return None


class UsersFileTest(unittest.TestCase):
    def gateway(self):
        gateway = Gateway(settings(listener={"auth": auth(allow_plaintext=True)}))
        self.addCleanup(gateway.clean_up)
        gateway.write_users(USERS)
        return gateway

    def test_a_bad_file_is_refused_at_start(self):
        for change, words in ((lambda p: p.write_text("alice secret\n"), "users.txt:1: "),
                              (lambda p: p.unlink(), "users.txt"),
                              (lambda p: p.chmod(0o644), "chmod o=")):
            gateway = self.gateway()
            change(gateway.folder / "users.txt")
            self.assertEqual(gateway.run_to_end(), 78)
            self.assertIn(words, gateway.errors() + gateway.log_tail())

    def test_a_reload_brings_users_and_a_bad_file_none(self):
        gateway = self.gateway()
        path = gateway.folder / "users.txt"
        with gateway:
            gateway.write_users([("dave", "new password")])
            path.chmod(0o600)
            open_one = gateway.client()
            self.addCleanup(open_one.close)
            self.assertEqual(open_one.command("AUTH LOGIN").code, 334)
            self.assertEqual(open_one.command(encoded("alice")).code, 334)  # of the old users
            gateway.reload()

            def is_known():
                with gateway.client() as client:
                    return client.auth_plain("dave", "new password").code == 235

            wait_until(is_known, "the new user", step=1.0)
            self.assertEqual(open_one.command(encoded(ASCII_PASSWORD)).code, 235)
            path.write_text("dave nonsense\n")
            gateway.reload()
            wait_until(lambda: gateway.metric("postern_config_reload_success") == 0, "a refusal")
            self.assertTrue(is_known())
            gateway.stop()

    def test_no_password_in_a_core_dump(self):
        """What a session said is not found afterwards, nor while it is in the middle of an exchange."""
        gateway = self.gateway()
        marker = "s3cr3t-in-the-core-dump"
        with gateway:
            client = gateway.client()
            self.addCleanup(client.close)
            client.auth_plain("alice", marker)
            client.auth_login("alice", marker)
            client.command("AUTH LOGIN")
            client.command(encoded(marker))
            memory = self.dumped_memory(gateway.process.pid)
            self.assertIn(b"bob@example.test", memory)
            for secret in (marker, encoded(marker), encoded(f"\0alice\0{marker}")):
                self.assertNotIn(secret.encode(), memory)
            gateway.stop()

    def dumped_memory(self, pid):
        """What a core dump would hold: the writable private mappings that are not left out."""
        os.kill(pid, signal.SIGSTOP)
        try:
            found, span = bytearray(), None
            with open(f"/proc/{pid}/smaps", encoding="ascii") as maps, \
                    open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
                for line in maps:
                    if "-" in line.split(" ", 1)[0]:
                        start, end = (int(n, 16) for n in line.split(" ", 1)[0].split("-"))
                        span = (start, end - start) if line.split()[1].startswith("rw") else None
                    elif line.startswith("VmFlags:") and span and " dd" not in line and " io" not in line:
                        try:
                            memory.seek(span[0])
                            found += memory.read(span[1])
                        except OSError:
                            pass
            return bytes(found)
        finally:
            os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    unittest.main()
