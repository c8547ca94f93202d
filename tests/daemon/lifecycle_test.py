"""Start, ready, reload, drain, stop, and starts that must fail with words that help."""

import os
import signal
import socket
import subprocess
import time
import unittest

from tests.support.gateway import Gateway, binary, merged, settings, wait_until
from tests.support.sink_server import Hang, Sink
from tests.support.smtp_client import Client

MAIL = b"Subject: x\r\n\r\nbody\r\n"


class StartTest(unittest.TestCase):
    def test_ready_names_every_address(self):
        config = settings(listener={"address": ["127.0.0.1:0", "127.0.0.2:0"]})
        config["listeners"].append({"name": "second", "address": ["127.0.0.1:0"], "service": "mx"})
        with Gateway(config) as gateway:
            self.assertEqual(set(gateway.ready["listeners"]), {"mx", "second"})
            self.assertEqual(len(gateway.ready["listeners"]["mx"]), 2)
            for addresses in gateway.ready["listeners"].values():
                for address in addresses:
                    host, _, port = address.rpartition(":")
                    with Client(int(port), host=host) as client:
                        client.greet()

    def test_a_second_process_on_the_same_spool(self):
        with Gateway() as gateway:
            other = Gateway(gateway.config, folder=gateway.folder)
            other.config_file = gateway.folder / "second.yaml"
            other.log_file = gateway.folder / "second.log"
            other.error_file = gateway.folder / "second.err"
            other.write_config(gateway.config)
            self.addCleanup(other.clean_up)
            self.assertEqual(other.run_to_end(), 73)
            words = other.errors() + other.log_tail()
            self.assertIn("spool", words)
            with gateway.client() as client:
                client.mail("a@client.test", ["still-here@box.test"], MAIL)
            gateway.wait_for_mail("still-here@box.test")

    def test_a_port_that_is_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            gateway = Gateway(settings(listener={"address": [f"127.0.0.1:{port}"]}))
            self.addCleanup(gateway.clean_up)
            self.assertEqual(gateway.run_to_end(), 1)
            words = gateway.errors() + gateway.log_tail()
            self.assertIn(f"127.0.0.1:{port}", words)
            self.assertRegex(words.lower(), "in use")

    def test_an_admin_port_that_is_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            gateway = Gateway(settings(admin={"address": [address]}))
            self.addCleanup(gateway.clean_up)
            self.assertEqual(gateway.run_to_end(), 1)
            self.assertIn(address, gateway.errors() + gateway.log_tail())

    def test_a_bad_configuration(self):
        gateway = Gateway("node:\n  hostnam: mx.test\n")
        self.addCleanup(gateway.clean_up)
        self.assertEqual(gateway.run_to_end(), 78)
        self.assertIn("postern.yaml:2:3:", gateway.errors() + gateway.log_tail())

    def test_a_configuration_that_is_not_there(self):
        done = subprocess.run([binary(), "run", "--config", "/nowhere/postern.yaml"], timeout=30,
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 78, done.stderr)
        self.assertIn("/nowhere/postern.yaml", done.stderr)

    def test_a_spool_that_cannot_be_made(self):
        gateway = Gateway(settings(spool={"path": "/proc/spool"}))
        self.addCleanup(gateway.clean_up)
        self.assertNotEqual(gateway.run_to_end(), 0)
        self.assertIn("/proc/spool", gateway.errors() + gateway.log_tail())

    def test_restart_keeps_what_was_queued(self):
        with Sink(is_up=False) as sink, Gateway(sink=sink) as gateway:
            with gateway.client() as client:
                for index in range(20):
                    reply = client.mail("a@client.test", [f"r{index}@sink.test"], MAIL)
                    self.assertEqual(reply.code, 250)
            gateway.restart()
            self.assertEqual(len(gateway.queue()), 20)
            sink.start()
            gateway.wait_for_empty_queue()
            self.assertEqual(len(sink.accepted()), 20)


class StopTest(unittest.TestCase):
    """D27: what TERM does."""

    def test_idle_sessions_are_told(self):
        with Gateway() as gateway:
            with gateway.client() as idle, gateway.client() as in_transaction:
                in_transaction.start("a@client.test", ["x@box.test"])
                gateway.terminate()
                for client in (idle, in_transaction):
                    replies = client.read_to_end()
                    self.assertEqual([(r.code, r.status) for r in replies], [(421, "4.3.2")])
                self.assertEqual(gateway.wait(), 0)

    def test_an_open_message_ends_first(self):
        with Gateway() as gateway:
            with gateway.client() as client:
                client.start_data("a@client.test", ["kept@box.test"])
                client.send(b"Subject: half\r\n\r\n")
                gateway.terminate()
                time.sleep(0.5)
                self.assertIsNone(gateway.process.poll(), "it did not wait for the message")
                with self.assertRaises(OSError):
                    Client(gateway.port(), timeout=5).close()
                client.send(b"other half\r\n.\r\n")
                self.assertEqual(client.read_reply().code, 250)
                replies = client.read_to_end()
                self.assertEqual([(r.code, r.status) for r in replies], [(421, "4.3.2")])
            self.assertEqual(gateway.wait(), 0)
            gateway.start()
            gateway.wait_for_mail("kept@box.test")

    def test_a_session_that_will_not_end_is_cut(self):
        with Gateway(node={"drain_timeout": "1s"}) as gateway:
            with gateway.client() as client:
                client.start_data("a@client.test", ["cut@box.test"])
                client.send(b"Subject: for ever\r\n")
                started = time.monotonic()
                gateway.terminate()
                self.assertEqual(gateway.wait(), 0)
                self.assertLess(time.monotonic() - started, 15)

    def test_a_second_term_stops_now(self):
        with Gateway(node={"drain_timeout": "60s"}) as gateway:
            with gateway.client() as client:
                client.start_data("a@client.test", ["cut@box.test"])
                gateway.terminate()
                time.sleep(0.3)
                started = time.monotonic()
                gateway.terminate()
                self.assertEqual(gateway.wait(), 0)
                self.assertLess(time.monotonic() - started, 15)

    def test_drain_delay_keeps_accepting(self):
        with Gateway(node={"drain_delay": "2s"}) as gateway:
            self.assertEqual(gateway.get("/readyz")[0], 200)
            gateway.terminate()
            wait_until(lambda: gateway.get("/readyz")[0] == 503, "/readyz to say 503", 2, 0.05)
            with gateway.client() as client:
                self.assertEqual(client.mail("a@client.test", ["late@box.test"], MAIL).code, 250)
                client.expect("QUIT", 221)
            self.assertEqual(gateway.wait(), 0)

    def test_int_stops_too(self):
        with Gateway() as gateway:
            gateway.process.send_signal(signal.SIGINT)
            self.assertEqual(gateway.wait(), 0)

    def test_a_delivery_that_hangs_does_not_hold_it(self):
        with Sink({"dot": Hang()}) as sink:
            with Gateway(sink=sink, node={"drain_timeout": "1s"}) as gateway:
                with gateway.client() as client:
                    client.mail("a@client.test", ["hung@sink.test"], MAIL)
                wait_until(lambda: sink.messages, "the delivery to reach the dot")
                gateway.terminate()
                self.assertEqual(gateway.wait(), 0)
                sink.replies.clear()
                gateway.start()
                gateway.wait_for_empty_queue()
                self.assertEqual(len(sink.accepted("hung@sink.test")), 1)


class ReloadTest(unittest.TestCase):
    """D29."""

    def accepts(self, gateway, recipient):
        with gateway.client() as client:
            client.expect("MAIL FROM:<a@client.test>", 250)
            return client.command(f"RCPT TO:<{recipient}>").code == 250

    def test_a_broken_file_changes_nothing(self):
        with Gateway() as gateway:
            good = gateway.config
            self.assertEqual(gateway.metric("postern_config_reload_success"), 1)
            gateway.write_config("listeners: [\n")
            gateway.reload()
            wait_until(lambda: gateway.metric("postern_config_reload_success") == 0, "the metric")
            with gateway.client() as client:
                self.assertEqual(client.mail("a@client.test", ["r@box.test"], MAIL).code, 250)
            gateway.wait_for_mail("r@box.test")
            wait_until(lambda: "postern.yaml:" in gateway.log_tail(), "the mistake to be in the log")

            gateway.write_config(good)
            gateway.reload()
            wait_until(lambda: gateway.metric("postern_config_reload_success") == 1, "the metric")

    def test_routes_and_limits_change(self):
        with Gateway() as gateway:
            self.assertFalse(self.accepts(gateway, "x@new.test"))
            config = merged(gateway.config, {})
            config["routes"].insert(0, {"match": {"domain": ["new.test"]},
                                        "action": {"maildir": {"path": "mail/{domain}/{local}"}}})
            config["listeners"][0]["limits"] = {"message_size": "5000B"}
            with gateway.client() as old:
                gateway.write_config(config)
                gateway.reload()
                wait_until(lambda: self.accepts(gateway, "x@new.test"), "the new route")
                # A session that was open before goes on.
                self.assertEqual(old.mail("a@client.test", ["o@box.test"], MAIL).code, 250)
            with gateway.client() as client:
                self.assertIn("SIZE 5000", client.command("EHLO x.test").lines)
                self.assertEqual(client.mail("a@client.test", ["x@new.test"], MAIL).code, 250)
            gateway.wait_for_mail("x@new.test")

    def test_what_cannot_change_is_said(self):
        with Gateway() as gateway:
            config = merged(gateway.config, {"spool": {"path": "elsewhere"}})
            gateway.write_config(config)
            gateway.reload()
            wait_until(lambda: gateway.metric("postern_config_reload_success") == 0, "the metric")
            wait_until(lambda: "spool.path" in gateway.log_tail(), "the key to be named in the log")
            self.assertFalse((gateway.folder / "elsewhere").exists())

    def test_reload_under_load(self):
        with Gateway() as gateway:
            with gateway.client() as client:
                for index in range(50):
                    if index % 5 == 0:
                        gateway.reload()
                    reply = client.mail("a@client.test", [f"{index}@box.test"], MAIL)
                    self.assertEqual(reply.code, 250)
            for index in range(50):
                gateway.wait_for_mail(f"{index}@box.test")


class IsolationTest(unittest.TestCase):
    def test_the_environment_overrides_the_file(self):
        with Gateway(environment={"POSTERN__NODE__HOSTNAME": "env.gateway.test"}) as gateway:
            with gateway.raw_client() as client:
                self.assertIn("env.gateway.test", client.read_reply().text)

    def test_descriptors_do_not_leak(self):
        with Gateway() as gateway:
            def open_files():
                return len(os.listdir(f"/proc/{gateway.process.pid}/fd"))

            def round_of_mail():
                for index in range(30):
                    with gateway.client() as client:
                        client.mail("a@client.test", ["fd@box.test"], MAIL)
                        if index % 3:
                            client.command("QUIT")
                wait_until(lambda: gateway.metric("postern_smtp_connections") == 0, "no session")
                gateway.wait_for_empty_queue()

            round_of_mail()
            before = open_files()
            round_of_mail()
            self.assertLessEqual(open_files(), before + 3)
