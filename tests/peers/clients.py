"""Senders that are one program or library: each is given messages and a target, sends all of them
and fails when one was not accepted.

A sender says by as_sent() and without_additions() what it makes of the bytes it is given; all else
must arrive as it was."""

import json
import os
import selectors
import shutil
import smtplib
import ssl
import subprocess
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support import peers
from tests.support.smtp_client import encoded, stuffed

HOST = "127.0.0.1"
# Programs that send one message each run so many at a time.
AT_ONCE = 4
DIALOGUE_SECONDS = 60.0


@dataclass
class Target:
    """Where and how: `mode` is "plain", "starttls" or "implicit", `authority` the file that the
    gateway's certificate is checked with, `mechanism` None without AUTH."""

    port: int
    mode: str
    authority: Path
    mechanism: str | None = None
    user: str | None = None
    password: str | None = None

    @property
    def is_tls(self):
        return self.mode != "plain"


class Sender:
    def send(self, target, messages):
        """One after another or some at once, each in a run of its own."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda message: self.send_one(target, message), messages))

    def send_one(self, target, message):
        raise NotImplementedError

    def as_sent(self, content):
        """What goes out when the sender is given `content`."""
        return content

    def without_additions(self, content, _given):
        """`content`, as it arrived, without the fields that the sender adds to what it is given."""
        return content


class Swaks(Sender):
    """It is given the final dot too, or it would take a last line of one dot for that. It cannot send
    nothing, and makes a header where there is none: for an empty message it sends, as they stand in
    the file, an empty line and the dot."""

    def __init__(self):
        self.program = peers.Program("swaks", "usr/bin/swaks")

    def send_one(self, target, message):
        # Its tokens, "\\n" and "%DATE%", are not in these messages.
        data = message.unix_path.with_suffix(".swaks")
        data.write_bytes(message.unix_path.read_bytes() + b".\n" if message.content else b"\r\n.")
        options = ["--server", HOST, "--port", target.port, "--protocol", "ESMTP",
                   "--from", message.sender, "--to", message.recipient, "--helo", "client.test",
                   "--data", f"@{data}", "--silent", "2", "--suppress-data"]
        if not message.content:
            options += ["--no-data-fixup"]
        if target.is_tls:
            options += ["--tls" if target.mode == "starttls" else "--tls-on-connect",
                        "--tls-verify", "--tls-ca-path", target.authority]
        if target.mechanism is not None:
            options += ["--auth", target.mechanism, "--auth-user", target.user,
                        "--auth-password", target.password]
        self.program.run(*map(str, options))
        data.unlink()

    def as_sent(self, content):
        return content or b"\r\n"


class Smtplib(Sender):
    """Python's own. It makes an empty message one empty line."""

    def send(self, target, messages):
        context = ssl.create_default_context(cafile=target.authority)
        if target.mode == "implicit":
            client = smtplib.SMTP_SSL(HOST, target.port, "client.test", timeout=60, context=context)
        else:
            client = smtplib.SMTP(HOST, target.port, "client.test", timeout=60)
        with client:
            if target.mode == "starttls":
                client.starttls(context=context)
            client.ehlo_or_helo_if_needed()
            if target.mechanism is not None:
                client.user, client.password = target.user, target.password
                method = getattr(client, "auth_" + target.mechanism.lower().replace("-", "_"))
                client.auth(target.mechanism, method)
            for message in messages:
                client.sendmail(message.sender, [message.recipient], message.content,
                                ["BODY=8BITMIME"])

    def as_sent(self, content):
        return content or b"\r\n"


class Nodemailer(Sender):
    """It makes an empty message one empty line."""

    def __init__(self):
        self.node = shutil.which("node")
        if self.node is None:
            raise AssertionError("node is not here: run scripts/setup node")
        if (peers.FOLDER / ".nodemailer-unreachable").exists():
            raise unittest.SkipTest("npm's registry could not be reached by scripts/peers")
        self.environment = {**os.environ, "NODEMAILER": str(peers.folder("nodemailer"))}

    def send(self, target, messages):
        transport = {"host": HOST, "port": target.port, "secure": target.mode == "implicit",
                     "requireTLS": target.mode == "starttls", "ignoreTLS": target.mode == "plain",
                     "name": "client.test"}
        if target.mechanism is not None:
            transport["auth"] = {"user": target.user, "pass": target.password}
            transport["authMethod"] = target.mechanism
        work = {"transport": transport, "ca": str(target.authority) if target.is_tls else None,
                "messages": [{"file": str(message.path), "from": message.sender,
                              "to": message.recipient} for message in messages]}
        peers.run([self.node, peers.path_of("tests", "peers", "nodemailer", "send.js")],
                  given=json.dumps(work).encode("utf-8"), env=self.environment)

    def as_sent(self, content):
        return content or b"\r\n"


class Msmtp(Sender):
    """With GnuTLS and GNU SASL."""

    def __init__(self):
        self.program = peers.Program("msmtp", "usr/bin/msmtp")

    def send_one(self, target, message):
        options = ["--file=/dev/null", f"--host={HOST}", f"--port={target.port}",
                   "--domain=client.test", f"--from={message.sender}", "--set-from-header=off",
                   "--set-date-header=off", "--set-msgid-header=off", "--timeout=60"]
        if target.is_tls:
            options += ["--tls=on", f"--tls-trust-file={target.authority}",
                        f"--tls-starttls={'on' if target.mode == 'starttls' else 'off'}"]
        else:
            options += ["--tls=off"]
        if target.mechanism is not None:
            options += [f"--auth={target.mechanism.lower()}", f"--user={target.user}",
                        f"--passwordeval=echo '{target.password}'"]
        self.program.run(*options, "--", message.recipient, given_file=message.unix_path)


class Curl(Sender):

    def __init__(self):
        self.path = shutil.which("curl")
        if self.path is None:
            raise AssertionError("curl is not here: run scripts/setup peers")

    def send_one(self, target, message):
        scheme = "smtps" if target.mode == "implicit" else "smtp"
        command = [self.path, "--silent", "--show-error", "--no-netrc", "--max-time", "120",
                   "--url", f"{scheme}://{HOST}:{target.port}/client.test",
                   "--mail-from", message.sender, "--mail-rcpt", message.recipient,
                   "--upload-file", message.path]
        if target.is_tls:
            command += ["--ssl-reqd", "--cacert", target.authority]
        if target.mechanism is not None:
            command += ["--user", f"{target.user}:{target.password}",
                        "--login-options", f"AUTH={target.mechanism}"]
        peers.run(command)


class SClient(Sender):
    """`openssl s_client`: TLS by it, SMTP by hand through its pipes."""

    def send(self, target, messages):
        command = ["openssl", "s_client", "-quiet", "-connect", f"{HOST}:{target.port}",
                   "-CAfile", str(target.authority), "-verify_return_error", "-verify_ip", HOST]
        if target.mode == "starttls":
            command += ["-starttls", "smtp", "-name", "client.test"]
        with Dialogue(command) as dialogue:
            if target.mode == "implicit":
                dialogue.read(220)
            # With -starttls it leaves out its own EHLO's reply, and 220 is gone with the handshake;
            # some versions print the last line of the former.
            dialogue.say(b"EHLO client.test\r\n", 250)
            if target.mechanism is not None:
                answer = encoded(f"\0{target.user}\0{target.password}")
                dialogue.say(f"AUTH {target.mechanism} {answer}\r\n".encode("ascii"), 235)
            for message in messages:
                dialogue.say(f"MAIL FROM:<{message.sender}> BODY=8BITMIME\r\n".encode(), 250)
                dialogue.say(f"RCPT TO:<{message.recipient}>\r\n".encode(), 250)
                dialogue.say(b"DATA\r\n", 354)
                dialogue.say(stuffed(message.content) + b".\r\n", 250)
            dialogue.say(b"QUIT\r\n", 221)


class Dialogue:
    """SMTP through the pipes of a program."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.pending = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def read(self, code):
        """Reads one reply, which must have this code."""
        deadline = time.monotonic() + DIALOGUE_SECONDS
        lines = []
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while not lines or lines[-1][3:4] != b" ":
                if b"\n" in self.pending:
                    line, self.pending = self.pending.split(b"\n", 1)
                    lines.append(line)
                    continue
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise AssertionError(f"no reply in {DIALOGUE_SECONDS} s; so far {lines}")
                more = os.read(self.process.stdout.fileno(), 65536)
                if not more:
                    said = self.process.stderr.read().decode("utf-8", "replace")
                    raise AssertionError(f"the program has ended; replies {lines}\n{said[-2000:]}")
                self.pending += more
        if any(line[:3] != str(code).encode() for line in lines):
            raise AssertionError(f"{lines}, not {code}")

    def say(self, data, code):
        self.process.stdin.write(data)
        self.process.stdin.flush()
        self.read(code)
