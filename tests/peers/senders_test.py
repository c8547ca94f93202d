"""Real senders against the gateway: what each was given arrives at the next hop byte by byte.

MATRIX below is the whole of it: which sender goes which ways. Each way carries the messages of
tests/peers/messages.py: one, 100, an empty one, one of 8-bit bytes, one of dots, one of 25 MiB; with
AUTH those of AUTH_KINDS. It ends with a comparison of what stands at the sink under our own Received
field with what the sender had, but for what the sender itself is known to change (as_sent(),
without_additions())."""

import os
import unittest

from tests.peers import clients, messages, servers
from tests.support import certificates
from tests.support.gateway import (Gateway, listener, merged, settings, tls_settings, wait_until,
                                   without_trace)
from tests.support.sink_server import Sink

KINDS = ("one", "hundred", "eight-bit", "dots", "big", "empty")
AUTH_KINDS = ("one", "eight-bit", "dots")
USER, PASSWORD = "user@gateway.test", "Tr0ub4dor-and-3"
ARRIVE_SECONDS = 120.0

# Sender: ways without AUTH, and the mechanisms it knows.
MATRIX = {
    clients.Swaks: (("plain", "starttls", "implicit"),
                    ("PLAIN", "LOGIN", "CRAM-MD5")),
    clients.Smtplib: (("plain", "starttls", "implicit"),
                      ("PLAIN", "LOGIN", "CRAM-MD5")),
    clients.Nodemailer: (("plain", "starttls", "implicit"),
                         ("PLAIN", "LOGIN", "CRAM-MD5")),
    clients.Msmtp: (("plain", "starttls", "implicit"),
                    ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256")),
    clients.Curl: (("plain", "starttls", "implicit"),
                   ("PLAIN", "LOGIN", "CRAM-MD5")),
    clients.SClient: (("starttls", "implicit"),
                      ("PLAIN",)),
    servers.Postfix: (("plain", "starttls", "implicit"),
                      ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256")),
    servers.Exim: (("plain", "starttls", "implicit"),
                   ("PLAIN", "LOGIN", "CRAM-MD5")),
    servers.Opensmtpd: (("plain", "starttls", "implicit"),
                        ("PLAIN", "LOGIN")),
}
# Listener and mode of each way; with AUTH "auth-MECHANISM" has a client for each of them.
WAYS = {"plain": ("mx", "plain"), "starttls": ("mx", "starttls"), "implicit": ("mxs", "implicit")}
AUTH_WAYS = {"": ("submission", "starttls"), "-implicit": ("submissions", "implicit"),
             "-plain": ("submission-in-the-clear", "plain")}


def gateway_settings(sink):
    pair = certificates.server("mx.gateway.test", clients.HOST)
    auth = {"users": "users.txt",
            "mechanisms": ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"]}
    starttls, implicit = tls_settings(pair), tls_settings(pair, mode="implicit")
    relay = {"smtp": {"hosts": [sink.address]}}
    return merged(settings(), {
        "listeners": [
            listener("mx", tls=starttls),
            listener("mxs", tls=implicit),
            listener("submission", "submission", tls=starttls, auth=auth),
            listener("submissions", "submission", tls=implicit, auth=auth),
            listener("submission-in-the-clear", "submission",
                     auth=merged(auth, {"allow_plaintext": True})),
        ],
        "routes": [{"match": {"domain": ["*.sink.test"]}, "action": relay}],
    })


class SenderTest(unittest.TestCase):
    """One class of these for each sender; they are made below."""

    kind = None  # the sender's class

    @classmethod
    def setUpClass(cls):
        cls.sink = Sink()
        cls.addClassCleanup(cls.sink.stop)
        cls.gateway = Gateway(gateway_settings(cls.sink))
        cls.addClassCleanup(cls.gateway.clean_up)
        cls.gateway.write_users([(USER, PASSWORD, "--cram-md5")])
        cls.gateway.start()
        cls.authority = certificates.authority_file()
        if issubclass(cls.kind, servers.Server):
            cls.sender = cls.kind(cls.all_targets())
            cls.addClassCleanup(lambda: cls.sender.stop())
        else:
            cls.sender = cls.kind()

    @classmethod
    def tearDownClass(cls):
        cls.gateway.stop()

    @classmethod
    def target(cls, way):
        if way in WAYS:
            listener_name, mode = WAYS[way]
            return clients.Target(cls.gateway.port(listener_name), mode, cls.authority)
        mechanism, suffix = split_way(way)
        listener_name, mode = AUTH_WAYS[suffix]
        return clients.Target(cls.gateway.port(listener_name), mode, cls.authority, mechanism,
                              USER, PASSWORD)

    @classmethod
    def all_targets(cls):
        return {way: cls.target(way) for way in ways_of(cls.kind)}

    def tearDown(self):
        with self.sink.lock:
            self.sink.messages.clear()
        self.gateway.check_is_alive()

    def send(self, way, kind):
        folder = self.gateway.folder / "given" / way
        given = messages.made(folder, kind, f"to@{way}.sink.test")
        self.sender.send(self.target(way), given)
        for message in given:
            self.check(message)
        with self.sink.lock:
            self.assertEqual(len(self.sink.messages), len(given), "messages at the sink")
            self.sink.messages.clear()
        for message in given:
            message.remove()

    def check(self, message):
        try:
            arrived = wait_until(lambda: self.sink.accepted(message.recipient),
                                 f"{message.name} at the sink", ARRIVE_SECONDS)
        except AssertionError as error:
            log_tail = getattr(self.sender, "log_tail", lambda: "")
            raise AssertionError(f"{error}\n{log_tail()}\n{self.gateway.log_tail()}") from None
        self.assertEqual(arrived[0].sender, message.sender)
        content = self.sender.without_additions(without_trace(arrived[0].content),
                                                 message.content)
        expected = self.sender.as_sent(message.content)
        if content != expected:
            at = len(os.path.commonprefix([content, expected]))
            self.fail(f"{message.name}: {len(content)} bytes, not {len(expected)}; they differ at {at}:"
                      f" {content[max(0, at - 100):at + 100]!r} is not"
                      f" {expected[max(0, at - 100):at + 100]!r}")


def split_way(way):
    """("PLAIN", "-implicit") of "auth-plain-implicit"."""
    for suffix in sorted(AUTH_WAYS, key=len, reverse=True):
        name = way.removeprefix("auth-").removesuffix(suffix)
        if way == f"auth-{name}{suffix}" and name:
            return name.upper(), suffix
    raise ValueError(way)


def ways_of(kind):
    """Every way of a sender; those that carry AUTH_KINDS begin with "auth-"."""
    plain_ways, mechanisms = MATRIX[kind]
    suffixes = [""] if issubclass(kind, servers.Server) else list(AUTH_WAYS)
    if kind is clients.SClient:
        suffixes.remove("-plain")
    return [*plain_ways, *(f"auth-{mechanism.lower()}{suffix}" for mechanism in mechanisms
                           for suffix in suffixes)]


def test_of(way, kind):
    def test(self):
        self.send(way, kind)

    return test


def case_of(kind):
    body = {"kind": kind, "__module__": __name__}
    for way in ways_of(kind):
        for message in AUTH_KINDS if way.startswith("auth-") else KINDS:
            body[f"test_{way}_{message}".replace("-", "_")] = test_of(way, message)
    return type(kind.__name__ + "Test", (SenderTest,), body)


for sender in MATRIX:
    globals()[sender.__name__ + "Test"] = case_of(sender)
