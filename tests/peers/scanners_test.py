"""testssl.sh and sslscan look at the gateway's TLS, by STARTTLS and implicit: nothing below TLS 1.2,
no weak cipher, no finding above LOW.

A scanner that could not look would find nothing either, so a scan counts only when it was whole and
says itself what must be there; and both scanners must condemn a bad server (JudgementTest)."""

import json
import re
import shutil
import socket
import subprocess
import unittest
import xml.etree.ElementTree

from tests.support import certificates, peers
from tests.support.gateway import (Gateway, listener, scratch_folder, settings, tls_settings,
                                   wait_until)

SCAN_SECONDS_MAX = 400.0
# Protocols, cipher categories, forward secrecy, the server's defaults and picks, vulnerabilities,
# all ciphers of each protocol, and tolerance of what clients may send. What is left out is HTTP's,
# and the simulation of browsers, which has no verdict.
SECTIONS = ("-p", "-s", "-f", "-S", "-P", "-U", "-E", "-g")
FINDINGS_MIN = 90
HARMLESS = ("OK", "INFO", "LOW", "DEBUG")
PROTOCOLS = {"SSLv2": "not offered", "SSLv3": "not offered", "TLS1": "not offered",
             "TLS1_1": "not offered", "TLS1_2": "offered", "TLS1_3": "offered with final"}
# Findings that say nothing about the server: patterns of "ID: FINDING", and why.
EXCLUDED = {
    r"engine_problem: .*": "the machine's openssl has no engine for GOST's ciphers",
    r"cert_revocation.*": "the tests' authority has no address to ask for revocations at",
    r"sessionresumption_ticket: check failed because of connect problem":
        "it takes the ticket from a connection that it ends at once, often before the ticket is "
        "there; test_sessions_are_resumed waits for it",
    r"GREASE: Server fails if .* application_layer_protocol_negotiation extension\.":
        "without STARTTLS it offers the web's protocols by ALPN, which the gateway refuses on "
        "purpose (RFC 7301 3.2): a browser that is led here must not get to speak",
}
CIPHER_STRENGTHS = ("strong", "acceptable")


def run_testssl(port, is_starttls, sections=SECTIONS, name="127.0.0.1"):
    """All findings: [{"id", "severity", "finding"}]."""
    package = "testssl.sh"
    tree = peers.folder(package)
    folder = scratch_folder()
    environment = peers.environment(package, TESTSSL_INSTALL_DIR=tree / "etc" / "testssl")
    # It wants one of the programs that ask DNS to be there, even when told not to ask.
    environment["PATH"] += f":{tree / 'usr' / 'bin'}"
    found = folder / "findings.json"
    try:
        # The status is the number of findings.
        peers.run([tree / "usr" / "bin" / "testssl", "--quiet", "--warnings", "batch", "--color", "0",
                   "--nodns", "none", "--add-ca", certificates.authority_file(), "--jsonfile", found,
                   *(["-t", "smtp"] if is_starttls else []), *sections, f"{name}:{port}"],
                  env=environment, cwd=folder, seconds=SCAN_SECONDS_MAX, statuses=range(256))
        return json.loads(found.read_text())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def condemned(findings):
    """What is wrong: above LOW, or about the protocols; and each that the scan does not speak of."""
    wrong = [f"{entry['severity']} {entry['id']}: {entry['finding']}" for entry in findings
             if entry["severity"] not in HARMLESS
             and not any(re.fullmatch(pattern, f"{entry['id']}: {entry['finding']}")
                         for pattern in EXCLUDED)]
    said = {entry["id"]: entry["finding"] for entry in findings}
    wrong += [f"{name}: {said.get(name)}" for name, finding in PROTOCOLS.items()
              if said.get(name) != finding]
    return wrong


def run_sslscan(port, is_starttls):
    """The <ssltest> element of its report."""
    program = peers.Program("sslscan", "usr/bin/sslscan")
    said = program.run("--no-colour", "--xml=-", "--show-certificate",
                       *(["--starttls-smtp"] if is_starttls else []), f"127.0.0.1:{port}",
                       seconds=SCAN_SECONDS_MAX)
    at = said.index("<?xml")
    test = xml.etree.ElementTree.fromstring(said[at : said.rindex(">") + 1]).find("ssltest")
    if test is None:
        raise AssertionError(f"sslscan could not look:\n{said[-2000:]}")
    return test


def weaknesses(test):
    """What is wrong in a report of sslscan."""
    found = []
    for protocol in test.iter("protocol"):
        name = f"{protocol.get('type')}v{protocol.get('version')}".upper()
        is_good = name in ("TLSV1.2", "TLSV1.3")
        if (protocol.get("enabled") == "1") != is_good:
            found.append(f"{name} enabled={protocol.get('enabled')}")
    for cipher in test.iter("cipher"):
        if cipher.get("sslversion") not in ("TLSv1.2", "TLSv1.3") or \
                cipher.get("strength") not in CIPHER_STRENGTHS:
            found.append(f"{cipher.get('sslversion')} {cipher.get('cipher')}: {cipher.get('strength')}")
    for element, bad in (("renegotiation", {"supported": "1", "secure": "0"}),
                         ("compression", {"supported": "1"}), ("fallback", {"supported": "0"}),
                         ("heartbleed", {"vulnerable": "1"})):
        found += [f"{element} {entry.attrib}" for entry in test.iter(element)
                  if bad.items() <= entry.attrib.items()]
    return found


class Scans:
    """Of a gateway with an ECDSA and an RSA certificate side by side."""

    mode = None

    @classmethod
    def setUpClass(cls):
        pairs = [certificates.server("mx.gateway.test", "127.0.0.1", kind=kind)
                 for kind in ("ecdsa", "rsa")]
        cls.gateway = Gateway(settings(listeners=[
            listener("mx", tls=tls_settings(*pairs, mode=cls.mode))]))
        cls.addClassCleanup(cls.gateway.clean_up)
        cls.gateway.start()

    @classmethod
    def tearDownClass(cls):
        cls.gateway.stop()

    def tearDown(self):
        self.gateway.check_is_alive()

    def test_testssl(self):
        findings = run_testssl(self.gateway.port(), self.mode == "starttls")
        self.assertGreaterEqual(len(findings), FINDINGS_MIN, findings)
        self.assertEqual(condemned(findings), [])

    def test_sslscan(self):
        test = run_sslscan(self.gateway.port(), self.mode == "starttls")
        self.assertEqual({cipher.get("sslversion") for cipher in test.iter("cipher")},
                         {"TLSv1.2", "TLSv1.3"})
        self.assertEqual(weaknesses(test), [])

    def test_sessions_are_resumed(self):
        with self.gateway.client(tls=self.mode) as first:
            session = first.tls.session
        with self.gateway.client(tls=self.mode, context=first.context, session=session) as second:
            self.assertTrue(second.tls.session_reused)


class StarttlsTest(Scans, unittest.TestCase):
    mode = "starttls"


class ImplicitTest(Scans, unittest.TestCase):
    mode = "implicit"


class JudgementTest(unittest.TestCase):
    """Both scanners condemn a server that speaks TLS 1.0, and fail where there is none."""

    @classmethod
    def setUpClass(cls):
        pair = certificates.server("mx.gateway.test", "127.0.0.1", kind="rsa")
        cls.folder = scratch_folder()
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        said = cls.folder / "said"
        with open(said, "wb") as output:
            cls.process = subprocess.Popen(
                ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", pair.chain, "-key", pair.key,
                 "-min_protocol", "TLSv1", "-cipher", "ALL:@SECLEVEL=0"],
                stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT)
        cls.addClassCleanup(cls.end)
        found = wait_until(lambda: re.search(r"^ACCEPT .*:(\d+)$", said.read_text(errors="replace"),
                                             re.MULTILINE), "a bad server")
        cls.port = int(found.group(1))

    @classmethod
    def end(cls):
        cls.process.kill()
        cls.process.communicate()

    def test_testssl(self):
        wrong = condemned(run_testssl(self.port, False, ["-p", "-s"]))
        self.assertIn("TLS1: offered (deprecated)", wrong)
        self.assertTrue(any(line.startswith("CRITICAL cipherlist_aNULL: ") for line in wrong), wrong)

    def test_sslscan(self):
        wrong = weaknesses(run_sslscan(self.port, False))
        self.assertIn("TLSV1.0 enabled=1", wrong)
        self.assertTrue(any("anonymous" in line for line in wrong), wrong)

    def test_nobody_there(self):
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
            self.assertNotEqual(condemned(run_testssl(port, False, ["-p"])), [])
            with self.assertRaises(AssertionError):
                run_sslscan(port, False)
