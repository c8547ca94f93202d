"""The admin listener: health, metrics in the text format, and the queue as JSON."""

import http.client
import json
import re
import socket
import ssl
import unittest

from tests.support import certificates
from tests.support.daemon_case import DaemonTest
from tests.support.gateway import ROOT, Gateway, tls_settings, wait_until
from tests.support.sink_server import Sink

MAIL = b"Subject: x\r\n\r\nbody\r\n"


class HealthTest(DaemonTest):
    def test_health(self):
        self.assertEqual(self.gateway.get("/livez")[0], 200)
        self.assertEqual(self.gateway.get("/readyz")[0], 200)

    def test_unknown_paths_and_methods(self):
        self.assertEqual(self.gateway.get("/nothing")[0], 404)
        self.assertEqual(self.gateway.get("/metrics", method="POST")[0], 405)
        self.assertEqual(self.gateway.get("/metrics", method="HEAD"), (200, ""))
        self.assertEqual(self.gateway.get("/api/v1/queue?after=!!")[0], 400)
        self.assertEqual(self.gateway.get("/api/v1/queue?limit=0")[0], 400)
        self.assertEqual(self.gateway.get("/api/v1/queue?limit=9999999")[0], 400)

    def test_requests_that_are_none(self):
        for data in (b"EHLO x\r\n\r\n", b"\0" * 1000, b"GET " + b"x" * 100_000, b"\r\n" * 50):
            with socket.create_connection(("127.0.0.1", self.gateway.admin_port()), 10) as raw:
                try:
                    raw.sendall(data)
                    raw.shutdown(socket.SHUT_WR)
                    while raw.recv(65536):
                        pass
                except OSError:
                    pass
        self.assertEqual(self.gateway.get("/livez")[0], 200)


class MetricsTest(DaemonTest):
    # Those that are there before anything has happened.
    ALWAYS = {
        "postern_build_info", "postern_ready", "postern_smtp_connections",
        "postern_messages_received_total", "postern_message_bytes_received_total",
        "postern_accept_duration_seconds_bucket", "postern_commit_batch_messages_count",
        "postern_sync_duration_seconds_sum", "postern_queue_messages", "postern_queue_bytes",
        "postern_segments", "postern_disk_free_bytes", "postern_backpressure",
        "postern_delivery_attempts_total", "postern_delivery_attempt_duration_seconds_count",
        "postern_delivery_latency_seconds_count", "postern_delivery_connections",
        "postern_core_busy_seconds_total", "postern_core_stall_seconds", "postern_log_dropped_total",
        "postern_config_reload_success", "process_cpu_seconds_total",
        "process_resident_memory_bytes", "process_open_fds", "process_max_fds",
        "process_start_time_seconds",
    }

    def test_all_are_there(self):
        self.assertEqual(self.ALWAYS - self.gateway.metrics().names(), set())

    def test_all_are_documented_and_typed(self):
        page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
        text = self.gateway.metrics().text
        typed = set(re.findall(r"^# TYPE (\S+) (?:counter|gauge|histogram|summary)$", text, re.M))
        for name in self.gateway.metrics().names():
            base = name if name in typed else re.sub(r"_(bucket|sum|count)$", "", name)
            self.assertIn(base, typed, "no TYPE line")
            if base.startswith("postern_"):
                self.assertIn(f"`{base}", page)

    def test_counts_of_one_mail(self):
        before = self.gateway.metrics()
        client = self.client()
        client.expect("VRFY x", 252)
        client.expect("MAIL FROM:<a@client.test>", 250)
        client.expect("RCPT TO:<x@elsewhere.test>", 550)
        client.expect("RCPT TO:<x@refused.test>", 550)
        client.expect(f"RCPT TO:<{self.tag}@box.test>", 250)
        client.expect("DATA", 354)
        client.send(MAIL + b".\r\n")
        self.assertEqual(client.read_reply().code, 250)
        self.gateway.wait_for_mail(f"{self.tag}@box.test")
        self.gateway.wait_for_empty_queue()
        after = self.gateway.metrics()

        def grown(name, **labels):
            return after.value(name, **labels) - before.value(name, **labels)

        self.assertEqual(grown("postern_smtp_connections_total", listener="mx", result="accepted"), 1)
        self.assertEqual(grown("postern_messages_received_total", listener="mx"), 1)
        self.assertEqual(grown("postern_message_bytes_received_total", listener="mx"), len(MAIL))
        self.assertEqual(grown("postern_accept_duration_seconds_count"), 1)
        self.assertEqual(grown("postern_smtp_replies_total", verb="VRFY", code="252"), 1)
        self.assertEqual(grown("postern_smtp_replies_total", verb="RCPT", code="550"), 2)
        self.assertEqual(grown("postern_smtp_replies_total", verb="DATA", code="354"), 1)
        self.assertEqual(grown("postern_smtp_rejections_total", reason="relay_denied"), 1)
        self.assertEqual(grown("postern_smtp_rejections_total", reason="route"), 1)
        self.assertEqual(grown("postern_delivery_attempts_total", outcome="delivered"), 1)
        self.assertEqual(after.value("postern_queue_messages"), 0)
        self.assertEqual(after.value("postern_smtp_connections", listener="mx"), 1)
        self.assertEqual(after.value("postern_ready"), 1)

    def test_histograms_add_up(self):
        metrics = self.gateway.metrics()
        for name in ("postern_accept_duration_seconds", "postern_sync_duration_seconds"):
            buckets = [(labels["le"], value) for sample, labels, value in metrics.samples
                       if sample == name + "_bucket"]
            self.assertEqual(buckets[-1][0], "+Inf")
            values = [value for _, value in buckets]
            self.assertEqual(values, sorted(values))
            self.assertEqual(values[-1], metrics.value(name + "_count"))
            self.assertEqual(float(buckets[0][0]), 0.0001)
            self.assertEqual(float(buckets[-2][0]), 60.0)


class SecurityMetricsTest(DaemonTest):
    users = [("alice", "wonderland")]
    pairs = (certificates.server("mx.gateway.test", "other.gateway.test", serial=3),
             certificates.server("mx.gateway.test", kind="rsa"))
    settings = {"listener": {"tls": tls_settings(*pairs), "auth": {"users": "users.txt"}}}

    def grown(self, do, name):
        """What the samples of `name` grew by while do() ran: {labels without the listener: n}."""
        def counts():
            return {tuple(sorted((key, value) for key, value in labels.items() if key != "listener")):
                    value for sample, labels, value in self.gateway.metrics().samples
                    if sample == name}
        before = counts()
        do()
        return {labels: value - before.get(labels, 0) for labels, value in counts().items()
                if value != before.get(labels, 0)}

    def test_handshakes(self):
        def connect(version, session=None):
            context = certificates.client_context(maximum=version)
            if session is not None:
                context = session[0]
            client = self.client(tls="starttls", context=context,
                                 session=session[1] if session else None)
            client.expect("QUIT", 221)
            client.read_to_end()
            return context, client.tls.session

        def fail():
            client = self.raw_client()
            client.greet()
            client.expect("STARTTLS", 220)
            client.send(b"this is no ClientHello")
            while client.raw.recv(1 << 16):
                pass

        def run():
            connect(ssl.TLSVersion.TLSv1_3)
            kept = connect(ssl.TLSVersion.TLSv1_2)
            connect(ssl.TLSVersion.TLSv1_2, kept)
            fail()

        self.assertEqual(self.grown(run, "postern_tls_handshakes_total"), {
            (("direction", "in"), ("result", "full"), ("version", "1.2")): 1,
            (("direction", "in"), ("result", "full"), ("version", "1.3")): 1,
            (("direction", "in"), ("result", "resumed"), ("version", "1.2")): 1,
            (("direction", "in"), ("result", "failed"), ("version", "unknown")): 1})

    def test_auth(self):
        def run():
            client = self.client(tls="starttls")
            self.assertEqual(client.auth_plain("alice", "wrong").code, 535)
            self.assertEqual(client.auth_plain("alice", "wonderland").code, 235)

        self.assertEqual(self.grown(run, "postern_auth_attempts_total"), {
            (("result", "failed"),): 1, (("result", "ok"),): 1})

    def test_of_certificates_for_a_name_the_first_to_end_counts(self):
        ends = [(labels, value) for sample, labels, value in self.gateway.metrics().samples
                if sample == "postern_tls_certificate_expiry_timestamp_seconds"]
        self.assertEqual([labels for labels, _ in ends], [{"name": "mx.gateway.test"}])
        first = min(ssl.cert_time_to_seconds(
            certificates.openssl("x509", "-noout", "-enddate", "-in", str(pair.chain),
                                 folder=pair.folder).strip().removeprefix("notAfter="))
            for pair in self.pairs)
        self.assertEqual(ends[0][1], first)


class QueueTest(unittest.TestCase):
    def test_what_is_listed(self):
        with Sink(is_up=False) as sink, Gateway(sink=sink) as gateway:
            with gateway.client() as client:
                replies = [client.mail("a@client.test", [f"r{index}@sink.test"], MAIL)
                           for index in range(25)]
            listed = gateway.queue()
            self.assertEqual(len(listed), 25)
            self.assertEqual(sorted(listed, key=lambda message: message["id"]), listed)
            for message in listed:
                self.assertTrue(any(message["id"] in reply.text for reply in replies))
                self.assertEqual(message["state"], "queued")
                self.assertEqual(message["sender"], "a@client.test")
                self.assertEqual(message["client"], "127.0.0.1")
                self.assertEqual(message["listener"], "mx")
                self.assertGreater(message["size"], len(MAIL))
                self.assertRegex(message["received"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
                self.assertEqual(message["recipients"][0]["state"], "queued")
            self.assertEqual(gateway.metric("postern_queue_messages", state="queued"), 25)
            self.assertGreater(gateway.metric("postern_queue_bytes"), 25 * len(MAIL))

    def test_pages(self):
        with Sink(is_up=False) as sink, Gateway(sink=sink) as gateway:
            with gateway.client() as client:
                for index in range(25):
                    client.mail("a@client.test", [f"r{index}@sink.test"], MAIL)
            ids, after = [], ""
            while True:
                status, text = gateway.get(f"/api/v1/queue?limit=10{after}")
                self.assertEqual(status, 200)
                page = json.loads(text)
                self.assertLessEqual(len(page["messages"]), 10)
                ids += [message["id"] for message in page["messages"]]
                if page["next"] is None:
                    break
                after = "&after=" + page["next"]
            self.assertEqual(len(ids), 25)
            self.assertEqual(len(set(ids)), 25)


class UnixSocketTest(unittest.TestCase):
    def test_the_same_on_a_unix_socket(self):
        with Gateway(admin={"address": ["127.0.0.1:0", "unix:admin.sock"]}) as gateway:
            path = gateway.folder / "admin.sock"
            wait_until(path.is_socket, "the socket")

            class Connection(http.client.HTTPConnection):
                def connect(self):
                    self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                    self.sock.settimeout(10)
                    self.sock.connect(str(path))

            connection = Connection("localhost")
            connection.request("GET", "/livez")
            self.assertEqual(connection.getresponse().status, 200)
            connection.close()
