"""Mail for a domain finds its servers through a real name server, and arrives at a real mail server under TLS."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
from email import message_from_bytes, policy
from pathlib import Path

from tests.peers import servers
from tests.support import certificates, peers
from tests.support.gateway import Gateway, fixed_port, scratch_folder, settings, wait_until
from tests.support.sink_server import Sink

MAIL = (b"From: a@example.test\r\nTo: b@example.test\r\nDate: Tue, 24 Nov 2026 00:00:00 +0000\r\n"
        b"Message-ID: <x@example.test>\r\nSubject: x\r\n\r\nhello\r\n8-bit: \xc3\xb6\r\n")
NAME = "mx2.example.test"
ZONE = """$ORIGIN example.test.
$TTL 60
@ SOA ns.example.test. root.example.test. 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
@ MX 10 mx1
@ MX 20 mx2
mx1 A 127.0.0.3
mx2 A 127.0.0.2
null MX 0 .
"""


class Knot:
    """Knot DNS with one zone, as an ordinary program on a free port."""

    def __init__(self):
        self.folder = scratch_folder()
        os.makedirs(f"{self.folder}/db", exist_ok=True)
        self.port = fixed_port()
        self.address = f"127.0.0.1:{self.port}"
        with open(f"{self.folder}/example.zone", "w", encoding="utf-8") as zone:
            zone.write(ZONE)
        with open(f"{self.folder}/knot.conf", "w", encoding="utf-8") as conf:
            conf.write(f"""server:
    rundir: "{self.folder}"
    listen: [ "127.0.0.1@{self.port}" ]
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stdout
    any: info
database:
    storage: "{self.folder}/db"
zone:
  - domain: example.test
    file: "{self.folder}/example.zone"
""")
        path = peers.folder("knot") / "usr" / "sbin" / "knotd"
        self.log = open(f"{self.folder}/log", "wb")
        self.process = subprocess.Popen([str(path), "-c", f"{self.folder}/knot.conf"], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=subprocess.STDOUT, env=peers.environment("knot"))
        deadline = time.monotonic() + 20
        while "server started" not in self.said():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("knotd did not start:\n" + self.said())
            time.sleep(0.05)

    def said(self):
        return Path(f"{self.folder}/log").read_text(encoding="utf-8", errors="replace")

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
        self.log.close()


class PostfixHop(servers.Postfix):
    """Receives at one address and hands everything on to a sink, so that what arrived can be looked at."""

    def __init__(self, address, sink, pair, auth=None):
        self.at, self.sink, self.pair, self.auth = address, sink, pair, auth
        super().__init__({})

    def write_configuration(self):
        self.tree = peers.folder("postfix")
        self.config = self.folder / "config"
        self.config.mkdir()
        main = self.main.replace("inet_interfaces = loopback-only\n", "inet_interfaces = all\n")
        (self.config / "main.cf").write_text(main.format(
            authority=certificates.authority_file(), config=self.config, tree=self.tree,
            transports=f"{{ example.test = smtp:[127.0.0.1]:{self.sink.port} }}", passwords="") +
            "relay_domains = example.test\nsmtpd_peername_lookup = no\nsmtp_tls_security_level = none\n"
            "smtpd_relay_restrictions = reject_unauth_destination\n"
            "smtpd_recipient_restrictions = permit\n"
            f"smtpd_tls_security_level = encrypt\nsmtpd_tls_cert_file = {self.pair.chain}\n"
            f"smtpd_tls_key_file = {self.pair.key}\nsmtpd_tls_received_header = yes\n")
        if self.auth is not None:
            with open(self.config / "main.cf", "a", encoding="utf-8") as main_file:
                main_file.write("smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\n"
                                f"smtpd_sasl_path = {self.auth}\nsmtpd_tls_auth_only = yes\n"
                                "smtpd_client_restrictions = permit_sasl_authenticated, reject\n"
                                "smtpd_delay_reject = yes\n")
        (self.config / "master.cf").write_text(
            self.master + "smtp unix - - n - - smtp\n" + f"{self.at} inet n - n - - smtpd\n")


OVERLAY = 'mount -t overlay -o "lowerdir=$1/usr/lib:/usr/lib" overlay /usr/lib && shift && exec "$@"'


def need_dovecot():
    """Its paths to modules are fixed, so it needs a mount namespace that has its tree over the machine's."""
    if os.geteuid() != 0:
        peers.skip("Dovecot wants root")
    tree = peers.folder("dovecot-lmtpd")
    done = subprocess.run(["unshare", "--mount", "sh", "-c", OVERLAY, "sh", str(tree), "true"],
                          capture_output=True, timeout=30, check=False)
    if done.returncode != 0:
        raise unittest.SkipTest(f"no overlay can be mounted here: {done.stderr.decode(errors='replace').strip()}")


class Dovecot:
    """LMTP over TCP and a Unix socket, for two users with Maildirs."""

    def __init__(self):
        # Its processes run as other users, who must come this far.
        self.folder = Path(tempfile.mkdtemp(prefix="postern-dovecot-"))
        self.folder.chmod(0o755)
        self.port = fixed_port()
        self.socket = self.folder / "lmtp"
        self.auth = self.folder / "auth"
        tree = peers.folder("dovecot-lmtpd")
        (self.folder / "run").mkdir()
        (self.folder / "mail").mkdir()
        (self.folder / "mail").chmod(0o777)
        (self.folder / "users").write_text("one@box.example::65534:65534::::\ntwo@box.example::65534:65534::::\n"
                                           "relay:{PLAIN}s3cret pass:65534:65534::::\n")
        (self.folder / "dovecot.conf").write_text(f"""protocols = lmtp
base_dir = {self.folder}/run
libexec_dir = {tree}/usr/lib/dovecot
default_internal_user = nobody
default_internal_group = nogroup
default_login_user = daemon
import_environment = LD_LIBRARY_PATH LC_ALL
log_path = /dev/stderr
ssl = no
mail_location = maildir:{self.folder}/mail/%n
lmtp_save_to_detail_mailbox = no
passdb {{
  driver = passwd-file
  args = {self.folder}/users
}}
userdb {{
  driver = passwd-file
  args = {self.folder}/users
}}
service lmtp {{
  chroot =
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.port}
  }}
  unix_listener {self.socket} {{
    mode = 0666
  }}
}}
auth_mechanisms = plain login cram-md5 scram-sha-256
service auth {{
  unix_listener {self.auth} {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
""")
        self.log = open(self.folder / "log", "wb")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", OVERLAY, "sh",
             str(tree), str(tree / "usr" / "bin" / "doveconf"), "-c", str(self.folder / "dovecot.conf"),
             "-f", "service=master", "-m", "master", "-e", str(tree / "usr" / "sbin" / "dovecot"), "-F",
             "-c", str(self.folder / "dovecot.conf")],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT,
            env=peers.environment("dovecot-lmtpd", LD_LIBRARY_PATH=":".join(
                [f"{tree}/usr/lib/dovecot", f"{tree}/usr/lib/{peers.TRIPLET}", f"{tree}/lib/{peers.TRIPLET}"])))
        deadline = time.monotonic() + 20
        while not self.socket.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("dovecot did not start:\n" + self.said())
            time.sleep(0.05)

    def said(self):
        return (self.folder / "log").read_text(errors="replace")

    def delivered(self, user):
        new = self.folder / "mail" / user / "new"
        return [path.read_bytes() for path in new.iterdir()] if new.is_dir() else []

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class DovecotTest(unittest.TestCase):
    def test_two_good_recipients_and_an_unknown_one(self):
        need_dovecot()
        dovecot = Dovecot()
        self.addCleanup(dovecot.close)
        for hosts in ([f"127.0.0.1:{dovecot.port}"], [f"unix:{dovecot.socket}"]):
            with self.subTest(hosts):
                self.check(dovecot, hosts)

    def check(self, dovecot, hosts):
        gateway = Gateway(settings(routes=[
            {"match": {"domain": ["box.example"]}, "action": {"lmtp": {"hosts": hosts}}},
            {"match": {"domain": ["box.test"]}, "action": {"maildir": {"path": "mail/{domain}/{local}"}}}]))
        self.addCleanup(gateway.clean_up)
        gateway.start()
        before = len(dovecot.delivered("one"))
        with gateway.client() as client:
            reply = client.mail("a@box.test", ["one@box.example", "nobody@box.example", "two@box.example"], MAIL)
            self.assertEqual(reply.code, 250)
        try:
            wait_until(lambda: gateway.log("notified"), "a notification", 60)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{gateway.log_tail()}\n{dovecot.said()}") from None
        for user in ("one", "two"):
            self.assertEqual(len(dovecot.delivered(user)), before + 1)
            # It keeps lines its own way; the words are the same.
            self.assertTrue(dovecot.delivered(user)[0].replace(b"\r\n", b"\n").endswith(MAIL.replace(b"\r\n", b"\n")))
        box = gateway.folder / "mail" / "box.test" / "a" / "new"
        wait_until(lambda: box.is_dir() and list(box.iterdir()), "the notification in the mailbox")
        report = message_from_bytes(next(box.iterdir()).read_bytes(), policy=policy.default)
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertEqual(report.get_param("report-type"), "delivery-status")
        parts = list(report.iter_parts())
        self.assertEqual([part.get_content_type() for part in parts],
                         ["text/plain", "message/delivery-status", "message/rfc822"])
        _, recipient = parts[1].get_payload()
        self.assertEqual(recipient["Final-Recipient"], "rfc822; nobody@box.example")
        self.assertEqual(recipient["Action"], "failed")
        self.assertEqual(recipient["Status"], "5.1.1")
        gateway.stop()


class SmarthostTest(unittest.TestCase):
    """Postfix asks Dovecot for passwords, and takes mail of users only."""

    def setUp(self):
        need_dovecot()
        self.dovecot = Dovecot()
        self.addCleanup(self.dovecot.close)
        self.sink = Sink()
        self.addCleanup(self.sink.close)
        self.port = fixed_port()
        self.postfix = PostfixHop(f"127.0.0.1:{self.port}", self.sink, certificates.server(NAME), self.dovecot.auth)
        self.addCleanup(self.postfix.stop)

    def gateway(self, password, mechanism):
        secret = self.dovecot.folder / "relay.secret"
        secret.write_text(password + "\n")
        secret.chmod(0o600)
        made = Gateway(settings(
            routes=[{"match": {"domain": ["*"]}, "action": {"smtp": {
                "hosts": [f"127.0.0.1:{self.port}"], "tls": "require", "username": "relay",
                "password_file": str(secret), "mechanisms": [mechanism]}}}],
            delivery={"retry": {"first": "500ms", "factor": 1, "max": "30s", "jitter": "0%"}}))
        self.addCleanup(made.clean_up)
        made.start()
        return made

    def test_each_mechanism(self):
        for count, mechanism in enumerate(("SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN"), 1):
            with self.subTest(mechanism):
                gateway = self.gateway("s3cret pass", mechanism)
                with gateway.client() as client:
                    client.mail("a@example.test", [f"b{count}@example.test"], MAIL)
                try:
                    wait_until(lambda: self.sink.accepted(f"b{count}@example.test"), "the message", 30)
                except AssertionError as error:
                    raise AssertionError(f"{error}\n{gateway.log_tail()}\n{self.postfix.log_tail()}\n"
                                         f"{self.dovecot.said()}") from None
                self.assertIn(f"sasl_method={mechanism}", self.postfix.log_tail())
                gateway.stop()

    def test_a_wrong_password_is_an_alarm_and_no_loop(self):
        gateway = self.gateway("wrong", "PLAIN")
        for n in range(4):
            with gateway.client() as client:
                client.mail("a@example.test", [f"b{n}@example.test"], MAIL)
        wait_until(lambda: len(gateway.log("deferred")) >= 8, "deferrals", 60)
        # One for each core at the most, since each finds out for itself.
        self.assertLessEqual(self.postfix.log_tail().count("authentication failed"), 2)
        self.assertGreaterEqual(len(gateway.log("auth_refused")), 1)
        self.assertLessEqual(len(gateway.log("auth_refused")), 2)
        self.assertEqual(self.sink.accepted(), [])
        gateway.stop()


class MxThroughKnotTest(unittest.TestCase):
    def test_the_preferred_is_down_and_the_next_takes_it_under_tls(self):
        sink = Sink()
        self.addCleanup(sink.close)
        knot = Knot()
        self.addCleanup(knot.close)
        port = fixed_port()
        postfix = PostfixHop(f"127.0.0.2:{port}", sink, certificates.server(NAME))
        self.addCleanup(postfix.stop)
        gateway = Gateway(settings(
            routes=[{"match": {"domain": ["*"]},
                     "action": {"mx": {"port": port, "tls": "verify", "allow_addresses": ["127.0.0.2/31"],
                                       "tls_ca": str(certificates.authority_file())}}}],
            resolver={"servers": [knot.address], "timeout": "2s"}))
        self.addCleanup(gateway.clean_up)
        gateway.start()
        with gateway.client() as client:
            self.assertEqual(client.mail("a@example.test", ["b@example.test"], MAIL).code, 250)
        try:
            wait_until(lambda: sink.accepted("b@example.test"), "the message behind Postfix", 60)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{gateway.log_tail()}\n{postfix.log_tail()}") from None
        content = sink.accepted("b@example.test")[0].content
        self.assertTrue(content.endswith(MAIL), content)
        self.assertIn(b"TLSv1.3", content)
        line = wait_until(lambda: gateway.log("delivered"), "the line of the delivery")[0]
        self.assertEqual(line["host"], f"{NAME}[127.0.0.2]:{port}")
        # The name that takes no mail.
        with gateway.client() as client:
            client.mail("", ["b@null.example.test"], MAIL)
        wait_until(lambda: gateway.log("failed"), "a failure")
        self.assertTrue(gateway.log("failed")[0]["reply"].startswith("556 5.1.10"))


if __name__ == "__main__":
    unittest.main()
