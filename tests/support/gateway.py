"""Starts the real daemon for a test, and ends it.

    with Gateway(sink=sink) as gateway:
        client = gateway.client()

Each gateway has a folder of its own with its configuration, spool and Maildirs. Ports are chosen by
the kernel; the daemon tells them on its ready descriptor. A daemon that dies of a signal nobody
sent, ends with another status than 0 or leaves a sanitizer's report fails the test."""

import copy
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support import certificates, smtp_client

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 60.0
WAIT_SECONDS = 30.0
REPORT_BYTES_MAX = 6000
SANITIZER_REPORT = re.compile(
    rb"ERROR: (?:Address|Leak|Thread|Memory)Sanitizer|runtime error:|WARNING: ThreadSanitizer"
)
IS_LONG = os.environ.get("POSTERN_TEST_LONG") == "1"


def binary():
    """The daemon under test."""
    path = os.environ.get("POSTERN_BINARY", str(ROOT / "build" / "release" / "postern"))
    path = os.path.abspath(path)  # the daemon is started in a folder of its own
    if not os.access(path, os.X_OK):
        raise AssertionError(f"no daemon at {path}: build it, or set POSTERN_BINARY")
    return path


def is_sanitized():
    """True for a build that is slower by much."""
    return "asan" in Path(binary()).parent.name or "tsan" in Path(binary()).parent.name


def file_system(path):
    done = subprocess.run(["stat", "-f", "-c", "%T", str(path)], capture_output=True, text=True,
                          check=False)
    return done.stdout.strip()


def scratch_folder():
    """A new folder on a file system that may hold a spool (an overlay may not)."""
    candidates = [os.environ.get("POSTERN_TEST_DIR"), ROOT / "build" / "scratch", tempfile.gettempdir(),
                  "/dev/shm"]
    for candidate in candidates:
        if candidate is None:
            continue
        Path(candidate).mkdir(parents=True, exist_ok=True)
        if file_system(candidate) not in ("overlayfs", "nfs", "smb2", "cifs"):
            return Path(tempfile.mkdtemp(prefix="gateway-", dir=candidate))
    raise AssertionError("no local file system for a spool; set POSTERN_TEST_DIR")


def wait_until(fact, what, seconds=WAIT_SECONDS, step=0.02):
    """Waits for fact() to be true and returns its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(step)


# --- configuration ---


def yaml_text(value, indent=""):
    """Block YAML for what settings hold: dicts, lists, text, numbers and truth values."""
    if isinstance(value, dict) and value:
        lines = []
        for key, entry in value.items():
            lines.append(f"{indent}{key}:{yaml_value(entry, indent + '  ')}")
        return "\n".join(lines)
    if isinstance(value, list) and value:
        lines = []
        for entry in value:
            text = yaml_value(entry, indent + "  ")
            if text.startswith("\n") and isinstance(entry, dict):
                text = " " + text[len("\n" + indent + "  ") :]
            lines.append(f"{indent}-{text}")
        return "\n".join(lines)
    raise ValueError(f"not a collection: {value!r}")


def yaml_value(value, indent):
    if isinstance(value, (dict, list)):
        if not value:
            return " {}" if isinstance(value, dict) else " []"
        return "\n" + yaml_text(value, indent)
    if isinstance(value, bool):
        return " true" if value else " false"
    if isinstance(value, int) or re.fullmatch(r"[A-Za-z0-9./][A-Za-z0-9./%_-]*", str(value)):
        return f" {value}"
    return " " + json.dumps(str(value))


def merged(base, changes):
    """`base` with `changes` over it; lists are replaced whole, None takes a key away."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def settings(sink_address=None, listener=None, **changes):
    """A configuration for tests: sink.test is relayed to `sink_address`, box.test goes to Maildirs,
    void.test is discarded, refused.test is refused. `listener` changes the listener `mx`; or
    listeners=[listener(...), ...] names all of them."""
    routes = []
    if sink_address is not None:
        hosts = [sink_address] if isinstance(sink_address, str) else list(sink_address)
        routes.append({"match": {"domain": ["sink.test"]}, "action": {"smtp": {"hosts": hosts}}})
    routes += [
        {"match": {"domain": ["box.test"]},
         "action": {"maildir": {"path": "mail/{domain}/{local}"}}},
        {"match": {"domain": ["void.test"]}, "action": {"discard": {}}},
        {"match": {"domain": ["refused.test"]},
         "action": {"reject": "550 5.1.1 No such recipient here"}},
    ]
    base = {
        "node": {"hostname": "mx.gateway.test"},
        "spool": {"path": "spool", "min_free": "1%"},
        "listeners": [merged({"name": "mx", "address": ["127.0.0.1:0"], "service": "mx"},
                             listener or {})],
        "routes": routes,
        "delivery": {"retry": {"first": "1s", "factor": 2, "max": "2s", "jitter": "0%"}},
        "admin": {"address": ["127.0.0.1:0"]},
        "log": {"format": "json", "level": "info"},
    }
    return merged(base, changes)


def listener(name="mx", service="mx", **changes):
    """One of several listeners, on a port that the kernel chooses."""
    return merged({"name": name, "address": ["127.0.0.1:0"], "service": service}, changes)


def tls_settings(*pairs, mode="starttls", **changes):
    """The `tls` of a listener: with these certificates (certificates.Pair), or with one for
    mx.gateway.test."""
    pairs = pairs or (certificates.server("mx.gateway.test"),)
    return merged({"mode": mode, "certificates": [pair.settings for pair in pairs]}, changes)


def password_line(user, password, *options):
    """The line of a users file for them, made by `postern passwd`."""
    done = subprocess.run([binary(), "passwd", *options, user], input=password.encode("utf-8") + b"\n",
                          capture_output=True, timeout=60, check=False)
    if done.returncode != 0:
        raise AssertionError(f"postern passwd {user}: status {done.returncode}: {done.stderr!r}")
    return done.stdout.decode("utf-8")


def fixed_port():
    """A free port that stays the same over restarts. It is below those that the kernel gives to
    outgoing connections: a client that tries to reach the dead daemon there could else be given the
    very port it connects to, and talk to itself."""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(100):
        port = random.randrange(10000, low)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port")


# --- what /metrics says ---

SAMPLE = re.compile(r'([a-zA-Z_:][\w:]*)(?:\{((?:[^"}]|"(?:\\.|[^"\\])*")*)\})? (\S+)')
LABEL = re.compile(r'(\w+)="((?:\\.|[^"\\])*)"')


class Metrics:
    def __init__(self, text):
        self.text = text
        self.samples = []
        for line in text.split("\n"):
            if not line or line.startswith("#"):
                continue
            found = SAMPLE.fullmatch(line)
            if found is None:
                raise AssertionError(f"not a line of the text format: {line!r}")
            labels = dict(LABEL.findall(found.group(2) or ""))
            self.samples.append((found.group(1), labels, float(found.group(3))))

    def names(self):
        return {name for name, _, _ in self.samples}

    def value(self, name, **labels):
        """The sum of the samples of that name that carry these labels; 0 when there is none."""
        return sum(
            value
            for sample, has, value in self.samples
            if sample == name and all(has.get(key) == want for key, want in labels.items())
        )


# --- the daemon ---


class Gateway:
    def __init__(self, config=None, sink=None, folder=None, environment=None, prefix=(), **changes):
        """`config`: settings as from settings(), or a text; else they are made of `sink` and
        `changes`. `prefix`: a command that runs the daemon in its own place (exec)."""
        self.owns_folder = folder is None
        self.folder = Path(folder) if folder is not None else scratch_folder()
        if config is None:
            config = settings(sink_address=sink.address if sink is not None else None, **changes)
        self.config_file = self.folder / "postern.yaml"
        self.environment = environment or {}
        self.prefix = list(prefix)
        self.write_config(config)
        self.process = None
        self.ready = None
        self.log_file = self.folder / "stdout.log"
        self.error_file = self.folder / "stderr.log"
        self.expected_signal = None
        self.checked_bytes = {}

    def write_config(self, config):
        """Takes effect at the next start or reload()."""
        self.config = config
        text = config if isinstance(config, str) else yaml_text(config) + "\n"
        self.config_file.write_text(text, encoding="utf-8")

    def write_users(self, users):
        """The file users.txt beside the configuration; `users`: (user, password, option...)."""
        if users:
            lines = [password_line(user, password, *options) for user, password, *options in users]
            path = self.folder / "users.txt"
            path.touch(mode=0o600)  # others must not read it
            path.write_text("".join(lines), encoding="utf-8")

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.clean_up()
            raise
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.stop()
        finally:
            self.clean_up()

    def clean_up(self):
        """Ends what still runs and removes the folder, whatever happened."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            elif self.process.returncode != 0:
                # The test failed for another reason first; this is the one that matters.
                print(f"the daemon ended with status {self.process.returncode}:\n{self.errors()}\n"
                      f"{self.log_tail()}", file=sys.stderr)
        self.process = None
        if self.owns_folder and os.environ.get("POSTERN_TEST_KEEP") != "1":
            shutil.rmtree(self.folder, ignore_errors=True)

    def spawn(self):
        """Starts the process without waiting for it to be ready; returns the ready descriptor."""
        ready_read, ready_write = os.pipe()
        environment = {key: value for key, value in os.environ.items()
                       if not key.startswith("POSTERN__")}
        environment.update(self.environment)
        with open(self.log_file, "ab") as log, open(self.error_file, "ab") as errors:
            self.process = subprocess.Popen(
                [*self.prefix, binary(), "run", "--config", str(self.config_file),
                 "--ready-fd", str(ready_write)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=errors, pass_fds=[ready_write],
                cwd=self.folder, env=environment,
            )
        os.close(ready_write)
        self.expected_signal = None
        return ready_read

    def start(self):
        ready_read = self.spawn()
        line = b""
        deadline = time.monotonic() + START_SECONDS_MAX
        os.set_blocking(ready_read, False)
        try:
            while not line.endswith(b"\n"):
                try:
                    more = os.read(ready_read, 4096)
                    if not more:
                        break
                    line += more
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        break
                    time.sleep(0.005)
        finally:
            os.close(ready_read)
        if not line.endswith(b"\n"):
            self.process.kill()
            status = self.process.wait()
            raise AssertionError(f"the daemon did not get ready (status {status}):\n{self.errors()}"
                                 f"\n{self.log_tail()}")
        self.ready = json.loads(line)
        return self

    def run_to_end(self, seconds=START_SECONDS_MAX):
        """For a start that must fail: the exit status."""
        os.close(self.spawn())
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError("the daemon runs, though it should have refused to") from None
        self.process = None
        self.check_reports()
        return status

    def port(self, listener="mx"):
        return int(self.ready["listeners"][listener][0].rpartition(":")[2])

    def admin_port(self):
        return int(self.ready["admin"][0].rpartition(":")[2])

    def client(self, listener="mx", **options):
        """A client that has said EHLO (tls="starttls" or "implicit": under TLS)."""
        return smtp_client.connected(self.port(listener), **options)

    def raw_client(self, listener="mx", **options):
        """A client that has not even read the banner."""
        return smtp_client.Client(self.port(listener), **options)

    # --- ending ---

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds=STOP_SECONDS_MAX):
        """The exit status; the log is checked for reports."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the daemon did not stop within {seconds} s:\n{self.log_tail()}") from None
        self.check_reports()
        if status < 0 and -status != self.expected_signal:
            raise AssertionError(f"the daemon died of signal {-status}:\n{self.errors()}\n{self.log_tail()}")
        self.process = None
        return status

    def stop(self):
        if self.process is None:
            return
        if self.process.poll() is None:
            self.terminate()
        status = self.wait()
        if status != 0:
            raise AssertionError(f"the daemon ended with status {status}:\n{self.errors()}\n{self.log_tail()}")

    def kill(self):
        """SIGKILL: as a crash of the machine's power, but for the page cache."""
        self.expected_signal = signal.SIGKILL
        self.process.kill()
        self.wait()

    def restart(self):
        self.stop()
        self.start()

    def check_is_alive(self):
        if self.process.poll() is not None:
            self.wait()
            raise AssertionError("the daemon has ended")
        self.check_reports()

    def check_reports(self):
        """Fails on a report of a sanitizer or of an assert. Reads what was not read before: the log of
        a long test is large."""
        for path in (self.error_file, self.log_file):
            if not path.exists():
                continue
            with open(path, "rb") as file:
                # A report may have been half written when it was looked for last.
                file.seek(max(0, self.checked_bytes.get(path, 0) - REPORT_BYTES_MAX))
                data = file.read()
                self.checked_bytes[path] = file.tell()
            found = SANITIZER_REPORT.search(data)
            if found is not None:
                at = max(0, found.start() - 200)
                raise AssertionError(data[at : at + REPORT_BYTES_MAX].decode("utf-8", "replace"))

    # --- seeing ---

    def errors(self):
        return self.error_file.read_text(errors="replace") if self.error_file.exists() else ""

    def log_tail(self, lines=30):
        text = self.log_file.read_text(errors="replace") if self.log_file.exists() else ""
        return "\n".join(text.split("\n")[-lines:])

    def log(self, event=None):
        """The log lines so far, as dicts; of one event when it is given. No raw control bytes."""
        found = []
        for line in self.log_file.read_bytes().split(b"\n"):
            if not line:
                continue
            if re.search(rb"[\x00-\x1f\x7f]", line):
                raise AssertionError(f"a control byte in the log: {line!r}")
            entry = json.loads(line)
            if event is None or entry.get("event") == event:
                found.append(entry)
        return found

    def get(self, path, method="GET", body=None):
        """Asks the admin listener: (status, body as text)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port(), timeout=20)
        try:
            connection.request(method, path, body=body)
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8")
        finally:
            connection.close()

    def metrics(self):
        status, text = self.get("/metrics")
        if status != 200:
            raise AssertionError(f"/metrics: {status} {text}")
        return Metrics(text)

    def metric(self, name, **labels):
        return self.metrics().value(name, **labels)

    def received(self):
        """Messages answered with 250 since the start."""
        return int(self.metric("postern_messages_received_total"))

    def queue(self):
        """Every message of the queue, as the admin API lists it."""
        messages, after = [], ""
        while True:
            status, text = self.get("/api/v1/queue" + after)
            if status != 200:
                raise AssertionError(f"/api/v1/queue: {status} {text}")
            page = json.loads(text)
            messages += page["messages"]
            if not page.get("next"):
                return messages
            after = f"?after={page['next']}"

    def wait_for_empty_queue(self, seconds=WAIT_SECONDS):
        wait_until(lambda: not self.queue(), "an empty queue", seconds)

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def mailbox(self, address):
        """The messages in the Maildir of local@domain, as bytes, in no order."""
        local, _, domain = address.partition("@")
        new = self.folder / "mail" / domain / local / "new"
        return [path.read_bytes() for path in new.iterdir()] if new.is_dir() else []

    def wait_for_mail(self, address, count=1, seconds=WAIT_SECONDS):
        """Waits for so many messages in the Maildir, and returns them."""
        wait_until(lambda: len(self.mailbox(address)) >= count, f"{count} messages for {address}",
                   seconds)
        found = self.mailbox(address)
        if len(found) != count:
            raise AssertionError(f"{address} has {len(found)} messages, not {count}")
        return found


TRACE_FIELD = re.compile(rb"Received: (?:[^\r\n]+\r\n)(?:[ \t][^\r\n]+\r\n)*")
RETURN_PATH = re.compile(rb"Return-Path: <[^\r\n]*>\r\n")


def without_trace(content):
    """The bytes under our own Return-Path (if any) and Received field: what the client sent."""
    found = RETURN_PATH.match(content)
    if found is not None:
        content = content[found.end() :]
    found = TRACE_FIELD.match(content)
    if found is None:
        raise AssertionError(f"no Received field of ours on top: {content[:200]!r}")
    return content[found.end() :]
