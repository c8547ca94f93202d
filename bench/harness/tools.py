"""load and sink: started, waited for, and read."""
import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

from . import processes
from .errors import BenchError

GRACE_SECONDS = 30.0  # beyond its own end, before a load is killed
SINK_ANSWER_SECONDS_MAX = 10.0
SENDER = "load@load.test"
RECIPIENT = "user@bench.test"
RELAYED_RECIPIENT = "user@relay.test"  # for systems that relay beside their queue


class LineReader:
    """Lines of a pipe, with a time limit."""

    def __init__(self, pipe):
        self.pipe = pipe
        self.kept = b""

    def line(self, seconds: float) -> str | None:
        """None when none came in time; "" at the end of the pipe."""
        end = time.monotonic() + seconds
        while b"\n" not in self.kept:
            ready, _, _ = select.select([self.pipe], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return None
            more = os.read(self.pipe.fileno(), 65536)
            if not more:
                return ""
            self.kept += more
        line, _, self.kept = self.kept.partition(b"\n")
        return line.decode(errors="replace") + "\n"


def read_json(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


class Tool:
    """A tool in a control group of its own, so that it ends with us."""

    def __init__(self, context, name: str, tool: str, arguments):
        self.context = context
        self.group = context.accounting.create(name)
        self.folder = context.state_folder
        self.errors = self.folder / f"{name}.errors"
        with open(self.errors, "wb") as errors:
            self.process = processes.spawn(
                [context.tool(tool), *arguments], self.group, context.load_cpus,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        self.lines = LineReader(self.process.stdout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.group is not None:
            self.context.accounting.end(self.group)
            self.group = None
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.errors.unlink(missing_ok=True)

    def is_running(self) -> bool:
        return self.process.poll() is None

    def terminate(self, seconds: float) -> None:
        """Asks it to end, and kills it when it does not."""
        if self.is_running():
            self.process.send_signal(signal.SIGTERM)
        self.wait(seconds)

    def wait(self, seconds: float) -> bool:
        """True when it ended by itself."""
        try:
            self.process.wait(timeout=seconds)
            return True
        except subprocess.TimeoutExpired:
            self.group.kill()
            self.process.wait()
            return False

    def said(self) -> str:
        return processes.tail(self.errors, 2)


class Load(Tool):
    """A load on a port. `seconds` is how long it is meant to run, for the time limits."""

    def __init__(self, context, port: int, arguments, seconds: float, name: str = "load",
                 recipient: str = RECIPIENT):
        self.json = context.state_folder / f"{name}.json"
        self.json.unlink(missing_ok=True)
        self.seconds = seconds
        limit = seconds + GRACE_SECONDS
        super().__init__(context, name, "load", [
            "--to", f"127.0.0.1:{port}", "--to-address", recipient, "--from", SENDER,
            "--timeout", f"{int(limit * 1000)}ms", "--json", str(self.json), *arguments])

    def __exit__(self, *details):
        super().__exit__(*details)
        self.json.unlink(missing_ok=True)

    def report(self) -> dict:
        """Of the ended load. Raises BenchError when it left none."""
        found = read_json(self.json)
        if found is None:
            raise BenchError(f"load ended with status {self.process.returncode} and no report: "
                             f"{self.said() or 'it said nothing'}")
        found["why"] = found.get("why") or ("" if self.process.returncode == 0 else self.said())
        return found

    def finish(self) -> dict:
        """Waits for its end."""
        if not self.wait(self.seconds + 2 * GRACE_SECONDS):
            raise BenchError("load did not end in time and was killed")
        return self.report()


def run_load(context, port: int, arguments, seconds: float, recipient: str = RECIPIENT) -> dict:
    with Load(context, port, arguments, seconds, recipient=recipient) as load:
        return load.finish()


class Sink(Tool):
    """The next hop."""

    def __init__(self, context, port: int, *arguments):
        super().__init__(context, "sink", "sink", [
            "--listen", f"127.0.0.1:{port}", *arguments])
        line = self.lines.line(SINK_ANSWER_SECONDS_MAX)
        if line is None or not line.startswith("ready "):
            why = self.said() or "it said nothing"
            self.__exit__()
            raise BenchError(f"sink does not listen: {why}")

    def counts(self) -> dict:
        """What it got so far."""
        try:
            self.process.stdin.write(b"report\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise BenchError(f"sink ended: {self.said()}") from None
        line = self.lines.line(SINK_ANSWER_SECONDS_MAX)
        try:
            return json.loads(line or "")
        except ValueError:
            raise BenchError(f"sink does not tell its counts: {self.said()}") from None

    def wait_for(self, count: int, quiet_seconds: float, seconds: float, member="messages",
                 poll_s: float = 0.02) -> tuple[dict, float]:
        """Waits until it has `count`, or nothing new came for `quiet_seconds`, or `seconds` are
        over. Returns its counts and when the last of them was seen to be new."""
        begun = time.monotonic()
        changed, last = begun, -1
        while True:
            counts = self.counts()
            now = time.monotonic()
            if counts[member] != last:
                changed, last = now, counts[member]
            if last >= count or now - changed > quiet_seconds or now - begun > seconds:
                return counts, changed
            time.sleep(poll_s)


def compare_ledgers(context, sent: Path, received: Path) -> dict:
    """What the load was answered against what the sink got."""
    if not received.exists():
        received.touch()
    done = processes.run(context.accounting, "compare",
                         [context.tool("sink"), "--allow-doubled", "--json", "-", "--compare", sent,
                          received], context.load_cpus, 120)
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise BenchError(f"the ledgers cannot be compared: {done.stderr.strip()[-300:]}") from None
