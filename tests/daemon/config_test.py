"""`postern check`: every mistake at once, each with its place."""

import re
import shutil
import subprocess
import unittest

from tests.support import certificates
from tests.support.gateway import (binary, password_line, scratch_folder, settings, tls_settings,
                                   yaml_text)

SIX_MISTAKES = """\
node:
  hostnam: mx1.example.test
spool:
  path: var/spool
  min_free: 5 apples
listeners:
  - name: mx
    address: ["127.0.0.1:99999"]
    service: mx
    limits: { recipients: many }
routes:
  - match: { domain: [bench.test] }
    action: { teleport: {} }
log: { format: auto, level: loud }
"""


class CheckTest(unittest.TestCase):
    def setUp(self):
        self.folder = scratch_folder()
        self.addCleanup(shutil.rmtree, self.folder)
        self.file = self.folder / "postern.yaml"

    def check(self, text, *options):
        self.file.write_text(text, encoding="utf-8")
        return subprocess.run([binary(), "check", *options, str(self.file)], capture_output=True,
                              text=True, timeout=60, check=False, cwd=self.folder)

    def test_a_good_file(self):
        done = self.check(yaml_text(settings("127.0.0.1:2599")) + "\n")
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        self.assertFalse((self.folder / "spool").exists(), "check is to start nothing")

    def test_six_mistakes_are_six_lines(self):
        done = self.check(SIX_MISTAKES)
        self.assertEqual(done.returncode, 78)
        lines = [line for line in (done.stdout + done.stderr).split("\n") if "postern.yaml:" in line]
        places = [tuple(map(int, re.search(r"postern\.yaml:(\d+):(\d+): ", line).groups()))
                  for line in lines]
        self.assertEqual([line for line, _ in places], [2, 5, 8, 10, 13, 14], "\n".join(lines))
        self.assertIn("hostname", lines[0])  # a suggestion

    def test_show(self):
        done = self.check(yaml_text(settings("127.0.0.1:2599")) + "\n", "--show")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"(?m)^node\.hostname: mx\.gateway\.test +# .*postern\.yaml:2:")
        self.assertRegex(done.stdout, r"(?m)^listeners\[mx\]\.limits\.recipients: 1000 +# default")

    def test_a_file_that_is_not_there(self):
        done = subprocess.run([binary(), "check", "/nowhere/x.yaml"], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 78)
        self.assertIn("/nowhere/x.yaml", done.stdout + done.stderr)

    def test_files_that_are_not_there(self):
        config = settings(listener={
            "tls": {"mode": "starttls", "certificates": [{"certificate": "no.pem", "key": "no.key"}]},
            "auth": {"users": "no.txt"}})
        done = self.check(yaml_text(config) + "\n")
        self.assertEqual(done.returncode, 78)
        lines = done.stderr.strip().split("\n")
        self.assertEqual(len(lines), 3, lines)
        for line, name in zip(lines, ("no.pem", "no.key", "no.txt")):
            self.assertRegex(line, rf"postern\.yaml:\d+:\d+: '\w+': cannot read '\S*{name}': No such")

    def test_certificates_and_users_that_are_bad(self):
        chain, key = certificates.wrong_key("mx.gateway.test")
        (self.folder / "users.txt").write_text("alice\n")
        (self.folder / "users.txt").chmod(0o600)
        config = settings(listener={
            "tls": {"mode": "starttls", "certificates": [
                {"certificate": str(chain), "key": str(key)},
                {"certificate": "postern.yaml"}]},
            "auth": {"users": "users.txt"}})
        done = self.check(yaml_text(config) + "\n")
        self.assertEqual(done.returncode, 78)
        lines = done.stderr.strip().split("\n")
        self.assertEqual(len(lines), 3, lines)
        self.assertRegex(lines[0], rf"postern\.yaml:\d+:\d+: .*{key}")
        self.assertRegex(lines[1], r"postern\.yaml:\d+:\d+: .*postern\.yaml.*PEM")
        self.assertRegex(lines[2], r"users\.txt:1: ")
        self.assertFalse((self.folder / "spool").exists(), "check is to start nothing")

    def test_good_certificates_and_users(self):
        (self.folder / "users.txt").write_text(password_line("alice", "wonderland"))
        (self.folder / "users.txt").chmod(0o600)
        config = settings(listener={"service": "submission", "tls": tls_settings(),
                                    "auth": {"users": "users.txt"}})
        done = self.check(yaml_text(config) + "\n", "--show")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"(?m)^listeners\[mx\]\.tls\.certificates\[1\]\.key: \S+ +# \S*:\d+:\d+$")


class UsageTest(unittest.TestCase):
    def postern(self, *arguments):
        return subprocess.run([binary(), *arguments], capture_output=True, text=True, timeout=60,
                              check=False, stdin=subprocess.DEVNULL)

    def test_usage(self):
        for arguments in ((), ("frobnicate",), ("run", "--no-such-option")):
            with self.subTest(arguments=arguments):
                self.assertEqual(self.postern(*arguments).returncode, 64)

    def test_a_typo_gets_a_suggestion(self):
        done = self.postern("chekc")
        self.assertEqual(done.returncode, 64)
        self.assertIn("check", done.stderr)

    def test_version_and_help(self):
        done = self.postern("version")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"\d+\.\d+\.\d+")
        done = self.postern("--help")
        self.assertEqual(done.returncode, 0)
        self.assertIn("postern run", done.stdout)

    def test_nobody_is_there(self):
        done = self.postern("health", "--admin", "127.0.0.1:1")
        self.assertEqual(done.returncode, 69, done.stdout + done.stderr)
