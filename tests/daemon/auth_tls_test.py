"""AUTH over TLS from the first byte: the cases U2 to U11 with their exact replies, and U3's time."""

import base64
import statistics
import time

from tests.support.daemon_case import DaemonTest
from tests.support.gateway import listener, tls_settings
from tests.support.smtp_client import encoded

USER, PASSWORD = "alice", "correct horse"
GOOD = encoded(f"\0{USER}\0{PASSWORD}")
ALL = ["SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN"]
MALFORMED, FAILED = (501, "5.5.2"), (535, "5.7.8")

# U11: messages of PLAIN, by what is wrong with them.
PLAIN_MESSAGES = [
    (b"alice", MALFORMED), (b"\0alice", MALFORMED), (b"\0alice\0pw\0", MALFORMED), (b"\0\0\0", MALFORMED),
    (b"\0a\0b\0c", MALFORMED), (b"\0\0pw", MALFORMED), (b"\0alice\0", MALFORMED), (b"\0", MALFORMED),
    (b"bob\0known\0correct horse", FAILED), (b"\0ali\nce\0correct horse", FAILED),
    (b"\0alice \r\n\0correct horse", FAILED), (b"\0known\0correct horse\n", FAILED),
    (b"\0\xff\xfe\0correct horse", FAILED),
]


class AuthUnderTlsTest(DaemonTest):
    # Failures of a user are held against that user from everywhere: those who fail are others.
    users = ((USER, PASSWORD, "--cram-md5"), ("known", PASSWORD, "--cram-md5"))
    settings = {"listeners": [listener(
        "mx", tls=tls_settings(mode="implicit"), auth={"users": "users.txt", "mechanisms": ALL},
        limits={"errors": 100})]}
    tls_mode = "implicit"
    addresses = iter(f"127.9.{a}.{b}" for a in range(1, 250) for b in range(1, 250))

    def client(self, **options):
        """Each comes from an address of its own: failures are counted by client."""
        return super().client(tls=self.tls_mode, source=next(self.addresses), **options)

    def test_each_mechanism(self):
        for name in ("plain", "login", "cram_md5", "scram_sha_256"):
            client = self.client()
            self.assert_reply(getattr(client, f"auth_{name}")(USER, PASSWORD), 235, "2.7.0", name)
            self.assert_goes_on(client)

    def test_u2_bad_base64(self):
        for line in (b"A", b"=AAA", b"AA=A", b"A===", b"AA*A", b"AAAA AAAA", b"AA\nAA", b"AA\rAA", b"AA\0A",
                     b"\xff"):
            client = self.client()
            client.expect("AUTH PLAIN", 334)
            client.send(line + b"\r\n")
            self.assert_reply(client.read_reply(), 501, "5.5.2", line)
            self.assert_goes_on(client)

    def test_u3_the_same_answer_in_the_same_time(self):
        took = {"known": [], "nobody": [], "another": []}
        for _ in range(9):
            for user, times in took.items():
                client = self.client()
                started = time.monotonic()
                reply = client.auth_plain(user, "wrong")
                times.append(time.monotonic() - started)
                if reply.code != 421:  # failures of one user are held off as well
                    self.assert_reply(reply, 535, "5.7.8", user)
                client.close()
        # Only those before anybody was held off are told apart by what was worked.
        first = {user: statistics.median(times[:4]) for user, times in took.items()}
        self.assertLess(max(first.values()), 3 * min(first.values()) + 0.01, first)

    def test_u5_cancel(self):
        for mechanism in ALL:
            client = self.client()
            client.expect(f"AUTH {mechanism}", 334)
            self.assert_reply(client.command("*"), 501, "5.7.0", mechanism)
            self.assert_goes_on(client)

    def test_u6_long_responses(self):
        client = self.client()
        for length, code, status in ((12288, 501, "5.5.2"), (12289, 500, "5.5.6"), (60000, 500, "5.5.6")):
            client.expect("AUTH PLAIN", 334)
            self.assert_reply(client.command("A" * length), code, status, length)
            self.assert_goes_on(client)

    def test_u7_second_and_in_a_transaction(self):
        client = self.client()
        client.expect("MAIL FROM:<a@client.test>", 250)
        self.assert_reply(client.command(f"AUTH PLAIN {GOOD}"), 503, "5.5.1")
        client.expect("RSET", 250)
        self.assert_reply(client.command(f"AUTH PLAIN {GOOD}"), 235, "2.7.0")
        self.assert_reply(client.command(f"AUTH PLAIN {GOOD}"), 503, "5.5.1")

    def test_u8_unknown_mechanisms(self):
        client = self.client()
        for name in ("GSSAPI", "PLAINX", "PLAI", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "NTLM", "EXTERNAL"):
            self.assert_reply(client.command(f"AUTH {name}"), 504, "5.5.4", name)
        self.assert_goes_on(client)

    def test_u9_each_mechanism_after_each_that_failed(self):
        ways = ("plain", "login", "cram_md5", "scram_sha_256")
        for before in ways:
            for after in ways:
                client = self.client()
                reply = getattr(client, f"auth_{before}")(f"stranger-{before}-{after}", "wrong")
                self.assert_reply(reply, 535, "5.7.8", before)
                reply = getattr(client, f"auth_{after}")(USER, PASSWORD)
                self.assert_reply(reply, 235, "2.7.0", f"{before}, then {after}")
                client.close()

    def test_u10_the_fifth_failure(self):
        client = self.client()
        for _ in range(4):
            self.assert_reply(client.auth_plain("mallory", "wrong"), 535, "5.7.8")
        self.assert_reply(client.auth_plain("mallory", "wrong"), 421, "4.7.0")
        self.assertEqual(client.read_to_end(), [])

    def test_u11_messages_of_plain(self):
        for message, (code, status) in PLAIN_MESSAGES:
            client = self.client()
            answer = base64.b64encode(message).decode("ascii")
            self.assert_reply(client.command(f"AUTH PLAIN {answer}"), code, status, message)
            self.assert_goes_on(client)
            client.close()

    def test_an_exchange_cut_at_every_byte(self):
        session = f"AUTH LOGIN {encoded(USER)}\r\n".encode()
        for cut in range(1, len(session)):
            client = self.client()
            client.send_split(session, cut, gap=0.001)
            self.assert_reply(client.read_reply(), 334)
            self.assert_reply(client.command(encoded(PASSWORD)), 235, "2.7.0", f"cut at {cut}")
            client.close()
