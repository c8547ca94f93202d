"""Certificates, keys and users that change while the daemon runs: by a reload, and by themselves.

POSTERN_TEST_HANDSHAKES and POSTERN_TEST_RELOADS set how long the last test goes on; with
POSTERN_TEST_LONG=1 it is 10 000 handshakes during 100 reloads."""

import hashlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
import unittest
from pathlib import Path

from tests.support import certificates
from tests.support.gateway import (IS_LONG, Gateway, binary, is_sanitized, password_line, settings,
                                   tls_settings, wait_until)

NAME = "mx.gateway.test"
# The daemon looks every two seconds and waits a second for what it saw to be at rest.
UNNOTICED_SECONDS = 5.5
HANDSHAKES = int(os.environ.get("POSTERN_TEST_HANDSHAKES", 10000 if IS_LONG else 600))
RELOADS = int(os.environ.get("POSTERN_TEST_RELOADS", 100 if IS_LONG else 20))
CLIENTS = 4


def replace(path, source):
    """As a careful program writes it: whole, or not at all."""
    work = Path(f"{path}.new")
    shutil.copyfile(source, work)
    work.rename(path)


class ReloadTest(unittest.TestCase):
    """Each test has a gateway whose certificate and key are server.pem and server.key."""

    tls = "implicit"

    def setUp(self):
        self.first = certificates.server(NAME)
        self.second = certificates.server(NAME, serial=1)
        self.context = certificates.client_context()

    def start(self, pair=None, **changes):
        gateway = Gateway("")
        self.addCleanup(gateway.clean_up)
        self.gateway = gateway
        self.chain, self.key = (pair or self.first).copy_to(gateway.folder)
        listener = {"tls": {"mode": self.tls, "certificates": [
            {"certificate": self.chain.name, "key": self.key.name}]}}
        listener.update(changes)
        gateway.write_config(settings(listener=listener))
        gateway.start()
        return gateway

    def install(self, chain, key):
        replace(self.key, key)
        replace(self.chain, chain)

    def shown(self, context=None):
        """The certificate that a new client is shown, as Pair.fingerprint has it."""
        context = context or self.context
        with socket.create_connection(("127.0.0.1", self.gateway.port()), timeout=20) as raw:
            with context.wrap_socket(raw, server_hostname=NAME) as tls:
                return hashlib.sha256(tls.getpeercert(binary_form=True)).hexdigest()

    reloads = 0

    def reload(self):
        self.reloads += 1
        status, text = self.gateway.get("/api/v1/reload", method="POST")
        return status, json.loads(text)

    def end_of(self, name):
        """When the certificate for `name` ends, as the metric has it: there must be one."""
        ends, = [value for sample, labels, value in self.gateway.metrics().samples
                 if sample == "postern_tls_certificate_expiry_timestamp_seconds"
                 and labels == {"name": name}]
        return ends

    def is_good(self):
        return self.gateway.metric("postern_config_reload_success") == 1

    def wait_for_log(self, event, count=1):
        return wait_until(lambda: len(self.gateway.log(event)) >= count and self.gateway.log(event),
                          f"{count} log lines of {event}", 15)

    def assert_refused(self, *words):
        status, answer = self.reload()
        self.assertFalse(answer["ok"], answer)
        text = "\n".join(answer["problems"])
        for word in words:
            self.assertIn(word, text)
        self.assertEqual(self.shown(), self.first.fingerprint)
        self.assertFalse(self.is_good())
        # The log is written a moment after the answer, a line for each reload.
        lines = self.wait_for_log("reload", self.reloads)
        self.assertEqual(lines[-1]["level"], "error")


class ByReloadTest(ReloadTest):
    def test_a_new_pair_is_in_force_and_sessions_go_on(self):
        gateway = self.start()
        old = gateway.client(tls="implicit")
        self.addCleanup(old.close)
        self.assertEqual(self.shown(), self.first.fingerprint)
        self.install(self.second.chain, self.second.key)
        self.assertTrue(self.reload()[1]["ok"])
        self.assertEqual(self.shown(), self.second.fingerprint)
        old.mail("a@client.test", ["b@void.test"], b"Subject: x\r\n\r\nbody\r\n")
        self.assertTrue(self.is_good())
        gateway.stop()

    def test_what_is_bad_leaves_the_old_pair(self):
        gateway = self.start()
        chain, key = certificates.wrong_key(NAME)
        expired = certificates.expired(NAME)
        garbage = gateway.folder / "garbage"
        garbage.write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
        cases = [("a key of another certificate", chain, key, ["postern.yaml:", "server.key"]),
                 ("no PEM", garbage, self.second.key, ["postern.yaml:", "server.pem"]),
                 ("empty", os.devnull, self.second.key, ["postern.yaml:", "server.pem"]),
                 ("out of its time", expired.chain, expired.key, ["server.pem", "expired"])]
        for name, chain, key, words in cases:
            with self.subTest(name):
                self.install(chain, key)
                self.assert_refused(*words)
        self.chain.unlink()
        self.assert_refused("postern.yaml:", "server.pem", "No such file")
        self.install(self.second.chain, self.second.key)
        self.assertTrue(self.reload()[1]["ok"])
        self.assertEqual(self.shown(), self.second.fingerprint)
        self.assertTrue(self.is_good())
        gateway.stop()

    def test_a_session_is_resumed_after_a_reload_on_any_core(self):
        gateway = self.start()
        context = certificates.client_context(maximum=ssl.TLSVersion.TLSv1_2)
        client = gateway.client(tls="implicit", context=context)
        session = client.tls.session
        client.close()
        self.install(self.second.chain, self.second.key)
        self.assertTrue(self.reload()[1]["ok"])
        for _ in range(8):  # whatever core takes it
            client = gateway.client(tls="implicit", context=context, session=session)
            self.assertTrue(client.tls.session_reused)
            client.close()
        self.assertGreaterEqual(gateway.metric("postern_tls_handshakes_total", direction="in",
                                               version="1.2", result="resumed"), 8)
        gateway.stop()

    def test_tls_is_turned_on_changed_and_off(self):
        gateway = self.start()
        mode = gateway.config["listeners"][0]

        def change(tls):
            mode.pop("tls", None)
            if tls is not None:
                mode["tls"] = tls
            gateway.write_config(gateway.config)
            self.assertTrue(self.reload()[1]["ok"])

        change(None)
        with gateway.client() as client:
            self.assertNotIn("STARTTLS", client.command("EHLO client.example.test").text)
        change(tls_settings())
        with gateway.client(tls="starttls") as client:
            self.assertEqual(client.command("NOOP").code, 250)
        change(tls_settings(min_version="1.3"))
        with self.assertRaises(ssl.SSLError):
            gateway.client(tls="starttls",
                           context=certificates.client_context(maximum=ssl.TLSVersion.TLSv1_2))
        change(tls_settings(mode="implicit"))
        self.assertEqual(self.shown(), self.first.fingerprint)
        gateway.stop()


class WatchTest(ReloadTest):
    def test_files_that_are_written_anew(self):
        gateway = self.start()
        self.install(self.second.chain, self.second.key)
        wait_until(lambda: self.shown() == self.second.fingerprint, "the new certificate", 15, 0.2)
        self.assertTrue(self.is_good())
        self.assertEqual(len(gateway.log("reload")), 1)
        gateway.stop()

    def test_a_link_that_is_swapped(self):
        """As Kubernetes does it: tls.crt -> ..data/tls.crt, and ..data -> ..2026_01."""
        gateway = Gateway("")
        self.addCleanup(gateway.clean_up)
        self.gateway = gateway
        secret = gateway.folder / "secret"
        for version, pair in (("..1", self.first), ("..2", self.second)):
            (secret / version).mkdir(parents=True)
            shutil.copyfile(pair.chain, secret / version / "tls.crt")
            shutil.copyfile(pair.key, secret / version / "tls.key")
        (secret / "..data").symlink_to("..1")
        for name in ("tls.crt", "tls.key"):
            (secret / name).symlink_to(f"..data/{name}")
        gateway.write_config(settings(listener={"tls": {"mode": "implicit", "certificates": [
            {"certificate": "secret/tls.crt", "key": "secret/tls.key"}]}}))
        gateway.start()
        self.assertEqual(self.shown(), self.first.fingerprint)
        (secret / "..data_new").symlink_to("..2")
        (secret / "..data_new").rename(secret / "..data")
        wait_until(lambda: self.shown() == self.second.fingerprint, "the new certificate", 15, 0.2)
        gateway.stop()

    def test_what_is_bad_is_told_once(self):
        gateway = self.start()
        chain, key = certificates.wrong_key(NAME)
        self.install(chain, key)
        self.wait_for_log("reload_problem")
        self.assertEqual(self.shown(), self.first.fingerprint)
        self.assertFalse(self.is_good())
        time.sleep(UNNOTICED_SECONDS)
        self.assertEqual(len(gateway.log("reload_problem")), 1)
        self.install(self.second.chain, self.second.key)
        wait_until(lambda: self.shown() == self.second.fingerprint, "the new certificate", 15, 0.2)
        self.assertTrue(self.is_good())
        gateway.stop()

    def test_nothing_else_of_the_configuration_is_read(self):
        gateway = self.start()
        gateway.config_file.write_text("listeners: [half of a", encoding="utf-8")
        self.install(self.second.chain, self.second.key)
        wait_until(lambda: self.shown() == self.second.fingerprint, "the new certificate", 15, 0.2)
        self.assertTrue(self.is_good())
        self.assertFalse(self.reload()[1]["ok"])
        self.assertFalse(self.is_good())
        self.install(self.first.chain, self.first.key)
        wait_until(lambda: self.shown() == self.first.fingerprint, "the old certificate", 15, 0.2)
        self.assertFalse(self.is_good(), "the configuration is as bad as before")
        gateway.stop()

    def test_files_that_a_reload_names_are_watched(self):
        gateway = self.start()
        other, other_key = self.second.copy_to(gateway.folder, "other")
        gateway.config["listeners"][0]["tls"]["certificates"] = [
            {"certificate": other.name, "key": other_key.name}]
        gateway.write_config(gateway.config)
        self.assertTrue(self.reload()[1]["ok"])
        self.assertEqual(self.shown(), self.second.fingerprint)
        replace(other_key, self.first.key)
        replace(other, self.first.chain)
        wait_until(lambda: self.shown() == self.first.fingerprint, "the new certificate", 15, 0.2)
        gateway.stop()

    def test_users(self):
        gateway = Gateway("")
        self.addCleanup(gateway.clean_up)
        self.gateway = gateway
        users = gateway.folder / "users.txt"
        gateway.write_users([("alice", "wonderland")])
        gateway.write_config(settings(listener={
            "tls": tls_settings(mode="implicit"), "service": "submission",
            "auth": {"users": "users.txt"}}))
        gateway.start()

        def login(user, password):
            with gateway.client(tls="implicit") as client:
                return client.auth_plain(user, password).code

        self.assertEqual(login("alice", "wonderland"), 235)
        self.assertEqual(login("bob", "builder"), 535)
        whole = users.read_text() + password_line("bob", "builder")
        users.write_text(whole)
        self.wait_for_log("reload")
        self.assertEqual(login("bob", "builder"), 235)
        users.write_text(whole + "carol\n")
        problem = self.wait_for_log("reload_problem")[0]
        self.assertIn("users.txt:3: ", json.dumps(problem))
        self.assertEqual(login("alice", "wonderland"), 235)
        gateway.stop()


class StartTest(ReloadTest):
    def check(self):
        return subprocess.run([binary(), "check", str(self.gateway.config_file)], capture_output=True,
                              text=True, timeout=60, check=False)

    def write(self, chain, key):
        self.gateway = Gateway("")
        self.addCleanup(self.gateway.clean_up)
        self.gateway.write_config(settings(listener={"tls": {"mode": "implicit", "certificates": [
            self.first.settings, {"certificate": str(chain), "key": str(key)}]}}))

    def test_a_bad_pair_stops_the_start(self):
        self.write(*certificates.wrong_key(NAME))
        self.assertEqual(self.gateway.run_to_end(), 78)
        done = self.check()
        self.assertEqual(done.returncode, 78)
        for text in (done.stderr, self.gateway.errors()):
            # The second certificate of the list, by its place.
            self.assertRegex(text, r"^\S*postern\.yaml:\d+:\d+: .*elsewhere")
            self.assertEqual(text.count("\n"), 1, text)

    def test_a_bad_users_file_stops_the_start(self):
        self.gateway = Gateway(settings(listener={
            "tls": tls_settings(), "auth": {"users": "users.txt"}}))
        self.addCleanup(self.gateway.clean_up)
        (self.gateway.folder / "users.txt").write_text("alice\nbob nothing\n")
        (self.gateway.folder / "users.txt").chmod(0o600)
        self.assertEqual(self.gateway.run_to_end(), 78)
        done = self.check()
        self.assertEqual(done.returncode, 78)
        for text in (done.stderr, self.gateway.errors()):
            self.assertIn("users.txt:1: ", text)
            self.assertIn("users.txt:2: ", text)

    def test_an_expired_certificate_is_taken_with_a_warning(self):
        pair = certificates.expired(NAME)
        gateway = self.start(pair)
        done = self.check()
        self.assertEqual((done.returncode, "expired" in done.stderr), (0, True), done.stderr)
        self.assertEqual(gateway.log("certificate_out_of_time")[0]["level"], "warn")
        lax = certificates.client_context(is_checked=False)
        self.assertEqual(self.shown(lax), pair.fingerprint)
        ends = self.end_of(NAME)
        self.assertTrue(time.time() - 2 * 86400 < ends < time.time(), ends)
        # One that is no worse than the one in force may take its place.
        self.assertTrue(self.reload()[1]["ok"])
        self.install(self.first.chain, self.first.key)
        self.assertTrue(self.reload()[1]["ok"])
        ends = self.end_of(NAME)
        self.assertGreater(ends, time.time() + 80 * 86400)
        self.install(pair.chain, pair.key)
        self.assert_refused("expired")
        gateway.stop()


class ManyTest(ReloadTest):
    def test_no_handshake_fails_during_reloads(self):
        gateway = self.start()
        known = {self.first.fingerprint: 0, self.second.fingerprint: 0}
        faults, lock, is_over = [], threading.Lock(), threading.Event()
        share = (HANDSHAKES // (5 if is_sanitized() else 1)) // CLIENTS
        done = [0] * CLIENTS

        def run(index):
            context = certificates.client_context()
            while done[index] < share or not is_over.is_set():
                if faults:
                    return
                try:
                    shown = self.shown(context)
                except Exception as error:  # whatever it is, it is what is looked for
                    with lock:
                        faults.append(repr(error))
                    return
                with lock:
                    known[shown] += 1
                done[index] += 1

        threads = [threading.Thread(target=run, args=(index,)) for index in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            for number in range(RELOADS):
                # Reloads are spread over the handshakes.
                while sum(done) < number * share * CLIENTS // RELOADS and not faults:
                    time.sleep(0.01)
                pair = (self.second, self.first)[number % 2]
                self.install(pair.chain, pair.key)
                self.assertTrue(self.reload()[1]["ok"])
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
        self.assertEqual(faults, [])
        self.assertGreaterEqual(sum(known.values()), share * CLIENTS)
        for count in known.values():
            self.assertGreater(count, 0)
        self.assertEqual(gateway.metric("postern_tls_handshakes_total", result="failed"), 0)
        # A client is done before the server has read its last message and counts.
        wait_until(lambda: gateway.metric("postern_tls_handshakes_total") >= sum(known.values()), "the count")
        gateway.stop()
        print(f"{sum(known.values())} handshakes during {RELOADS} reloads, none failed")
