"""HAProxy in front of the gateway, as load balancers are: PROXY headers of both versions ahead of
SMTP, STARTTLS and implicit TLS, with and without values behind the addresses, and health checks all
the while.

What the gateway believes is the header: clients come from addresses of 127.0.0.0/8 of their own, and
HAProxy connects from 127.0.0.1."""

import contextlib
import csv
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

from tests.peers import messages
from tests.support import certificates, peers, smtp_client
from tests.support.gateway import (Gateway, listener, scratch_folder, settings, tls_settings,
                                   wait_until, without_trace)
from tests.support.sink_server import Sink

CONNECTIONS_PER_CLIENT = 2
STOP_SECONDS = 20.0
# So many checks of each server have come and gone before their traces are looked for.
CHECKS_MIN = 20

# Each front has a server line of its own, and a listener of the gateway behind it.
FRONTS = {
    "v1": "send-proxy check",
    "v2": "send-proxy-v2 check",
    "v2-implicit": "send-proxy-v2 check check-ssl verify none",
    # HAProxy ends TLS, and tells what it saw of it behind the addresses.
    "v2-values": "send-proxy-v2-ssl-cn check "
                 "proxy-v2-options ssl,cert-cn,ssl-cipher,crc32c,authority,unique-id",
    # A check without a header. HAProxy gives up the connection in the middle of TCP's own handshake,
    # so that the gateway hears of it only when the kernel is quick.
    "v1-bare-check": "send-proxy check port {port}",
}
CONFIG = """global
    stats socket {statistics} level admin
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    unique-id-format %ci.%cp.%Ts
"""


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


class Balancer:
    """HAProxy. Its sockets are opened here, on ports that the kernel chooses, and handed over."""

    def __init__(self, gateway):
        self.program = peers.Program("haproxy", "usr/sbin/haproxy")
        self.folder = scratch_folder()
        # The path of a socket has at most 107 bytes, and the folder's may be long.
        self.socket_folder = Path(tempfile.mkdtemp(prefix="haproxy-"))
        self.statistics = self.socket_folder / "stats"
        self.sockets, self.ports, self.process = [], {}, None
        pair = certificates.server("front.gateway.test")
        self.pem = self.folder / "front.pem"
        self.pem.write_bytes(pair.chain.read_bytes() + pair.key.read_bytes())
        self.config = self.folder / "haproxy.cfg"
        self.config.write_text(CONFIG.format(statistics=self.statistics) +
                               "".join(self.section(name, gateway.port(name)) for name in FRONTS))

    def section(self, name, port):
        lines = [f"listen {name}"]
        for host in ["127.0.0.1", *(["::1"] if has_ipv6() else [])]:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            opened = socket.create_server((host, 0), family=family)
            self.sockets.append(opened)
            self.ports[name, host] = opened.getsockname()[1]
            tls = (f" ssl crt {self.pem} ca-file {certificates.authority_file()} verify optional"
                   if name == "v2-values" else "")
            lines.append(f"    bind fd@{opened.fileno()}{tls}")
        if name != "v1-bare-check":
            lines.append("    option smtpchk EHLO balancer.example.test")
        lines.append(f"    server gateway 127.0.0.1:{port} {FRONTS[name].format(port=port)} inter 50ms")
        return "\n".join(lines) + "\n"

    def start(self):
        with open(self.folder / "output", "wb") as output:
            self.process = subprocess.Popen(
                [self.program.path, "-db", "-f", self.config], env=self.program.environment,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                pass_fds=[opened.fileno() for opened in self.sockets])
        for opened in self.sockets:
            opened.close()
        wait_until(lambda: self.process.poll() is not None or self.statistics.exists(), "HAProxy")
        if self.process.poll() is not None:
            raise AssertionError("HAProxy ended:\n" + (self.folder / "output").read_text()[-3000:])

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for folder in (self.folder, self.socket_folder):
            shutil.rmtree(folder, ignore_errors=True)

    def servers(self):
        """{front: its server's row of the statistics}."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(self.statistics))
            client.sendall(b"show stat\n")
            answer = b""
            while more := client.recv(65536):
                answer += more
        rows = csv.DictReader(answer.decode("ascii").lstrip("# ").splitlines())
        return {row["pxname"]: row for row in rows if row["svname"] == "gateway"}


class HaproxyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # The last attempt of later@sink.test never comes: its message stays in the queue.
        cls.sink = Sink({"RCPT": lambda _session, address:
                         "451 4.3.0 later" if address.startswith("later") else None})
        cls.addClassCleanup(cls.sink.stop)
        behind = {"proxy_protocol": {"from": ["127.0.0.1/32"]},
                  "limits": {"connections_per_client": CONNECTIONS_PER_CLIENT}}
        cls.gateway = Gateway(settings(cls.sink.address, listeners=[
            listener(name, tls=tls_settings(mode="implicit" if name == "v2-implicit" else "starttls"),
                     **behind)
            for name in FRONTS]))
        cls.addClassCleanup(cls.gateway.clean_up)
        cls.gateway.start()
        cls.balancer = Balancer(cls.gateway)
        cls.addClassCleanup(cls.balancer.stop)
        cls.balancer.start()

    @classmethod
    def tearDownClass(cls):
        cls.balancer.stop()
        cls.gateway.stop()

    def tearDown(self):
        self.gateway.check_is_alive()

    def client(self, front, source="127.0.0.7", host="127.0.0.1", **options):
        client = smtp_client.connected(self.balancer.ports[front, host], host=host, source=source,
                                       **options)
        self.addCleanup(client.close)
        return client

    def check_passes(self, client, name, count=20):
        """So many messages of one connection arrive, and are the client's."""
        address = client.raw.getsockname()[0]
        trace = f"[{'IPv6:' if ':' in address else ''}{address}]".encode("ascii")
        for number in range(count):
            recipient = f"{name}-{number}@sink.test"
            content = messages.dots(name, recipient)
            reply = client.mail(messages.SENDER, [recipient], content)
            self.assertEqual(reply.code, 250, reply)
            wait_until(lambda: self.sink.accepted(recipient), recipient)
            arrived = self.sink.accepted(recipient)[0].content
            self.assertEqual(without_trace(arrived), content)
            self.assertIn(trace, arrived[: -len(content)])
            line = self.line("received", lambda entry: entry["id"] in reply.text)
            self.assertEqual(line["peer"].rpartition(":")[0].strip("[]"), address)
        self.assertEqual(client.command("QUIT").code, 221)
        client.close()

    def line(self, event, is_meant):
        """The one line of the log; it may be written a moment after the reply."""
        found = wait_until(lambda: [line for line in self.gateway.log(event) if is_meant(line)],
                           f"a line {event}")
        self.assertEqual(len(found), 1, found)
        return found[0]

    def test_v1(self):
        self.check_passes(self.client("v1"), "v1")

    def test_v2(self):
        self.check_passes(self.client("v2"), "v2")

    def test_v1_starttls(self):
        self.check_passes(self.client("v1", tls="starttls"), "v1-starttls")

    def test_v2_starttls(self):
        self.check_passes(self.client("v2", tls="starttls"), "v2-starttls")

    def test_v2_implicit(self):
        """The handshake is the gateway's own, behind the header."""
        client = self.client("v2-implicit", tls="implicit")
        self.check_passes(client, "v2-implicit")

    def test_v1_bare_check(self):
        self.check_passes(self.client("v1-bare-check"), "v1-bare-check")

    @unittest.skipUnless(has_ipv6(), "the loopback has no IPv6")
    def test_ipv6(self):
        for front in ("v1", "v2"):
            self.check_passes(self.client(front, source="::1", host="::1"), f"{front}-ipv6", 2)

    def test_values(self):
        """What HAProxy saw of TLS is in the log: it is all that tells of it."""
        context = certificates.client_context(certificate=certificates.client("who.example.test"))
        client = self.client("v2-values", tls="implicit", context=context,
                             server_name="front.gateway.test", source="127.0.0.9")
        self.check_passes(client, "v2-values")
        line = self.line("proxy", lambda entry: entry["peer"].startswith("127.0.0.9:"))
        self.assertEqual(line["authority"], "front.gateway.test")
        self.assertEqual(line["client_name"], "who.example.test")
        self.assertEqual(line["client_verified"], "ok")
        self.assertEqual(line["proxy_tls"], client.tls.version())
        self.assertEqual(line["proxy_cipher"], client.tls.cipher()[0])
        self.assertTrue(line["unique_id"].startswith("127.0.0.9."), line)

    def test_values_without_a_certificate(self):
        client = self.client("v2-values", tls="implicit", server_name="front.gateway.test",
                             source="127.0.0.10")
        self.check_passes(client, "v2-values-2")
        line = self.line("proxy", lambda entry: entry["peer"].startswith("127.0.0.10:"))
        self.assertNotIn("client_name", line)

    def test_queue(self):
        """The client's own address is in the queue as well."""
        client = self.client("v2", source="127.0.0.11")
        reply = client.mail(messages.SENDER, ["later@sink.test"], b"Subject: later\r\n\r\n")
        self.assertEqual(reply.code, 250)
        message = next(entry for entry in self.gateway.queue() if entry["id"] in reply.text)
        self.assertEqual(message["client"].rpartition(":")[0] or message["client"], "127.0.0.11")

    def test_limit_is_the_clients(self):
        """The limit of connections is per client, not for all that come through the balancer."""
        for front in ("v1", "v2"):
            held = [self.client(front, source="127.0.0.21") for _ in range(CONNECTIONS_PER_CLIENT)]
            over = smtp_client.Client(self.balancer.ports[front, "127.0.0.1"], source="127.0.0.21")
            self.addCleanup(over.close)
            reply = over.read_reply()
            self.assertEqual((reply.code, reply.status), (421, "4.7.0"), reply)
            others = [self.client(front, source=f"127.0.0.{number}") for number in range(30, 40)]
            for client in [*held, *others]:
                self.assertEqual(client.command("NOOP").code, 250)
                client.close()

    def checks(self):
        """How many checks each listener has seen. In version 1 HAProxy names its own address in the
        header of a check, so that it is a client like others there."""
        metrics = self.gateway.metrics()
        return {name: metrics.value("postern_smtp_connections_total", listener=name,
                                    result="accepted" if name == "v1" else "probe")
                for name in FRONTS if name != "v1-bare-check"}

    def refused(self):
        metrics = self.gateway.metrics()
        return {(name, result): metrics.value("postern_smtp_connections_total", listener=name,
                                              result=result)
                for name in FRONTS for result in ("refused_proxy", "refused_client", "refused_full")}

    def test_checks(self):
        """Every server is up and was never down; and nothing of all the checks is in the log, or
        among what was refused."""
        before, refused = self.checks(), self.refused()
        lines = self.gateway.log_file.read_bytes()
        wait_until(lambda: all(count >= before[name] + CHECKS_MIN
                               for name, count in self.checks().items()), f"{CHECKS_MIN} checks of each")
        self.assertEqual(self.gateway.log_file.read_bytes()[len(lines) :], b"")
        for name, row in self.balancer.servers().items():
            status = "L4OK" if name == "v1-bare-check" else "L7OK"
            # "* " is in front while the next check is under way.
            self.assertEqual((row["status"], row["check_status"].removeprefix("* ")), ("UP", status), name)
            self.assertEqual((row["chkfail"], row["chkdown"]), ("0", "0"), name)
        self.assertEqual(self.refused(), refused)

    def test_unlisted_peer(self):
        """Who comes past the balancer is refused, whatever the header says."""
        for header in (smtp_client.proxy_v1("192.0.2.1"), smtp_client.proxy_v2("192.0.2.1"), b""):
            with smtp_client.Client(self.gateway.port("v1"), source="127.0.0.99",
                                    proxy=header) as client:
                with contextlib.suppress(ConnectionResetError):  # the header was not even read
                    self.assertEqual(client.read_to_end(), [])
