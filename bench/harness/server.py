"""One running instance of a system: a state folder, a port, a control group."""
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from . import processes
from .accounting import read
from .errors import BenchError, Unavailable
from .systems import EXIT_UNAVAILABLE, Row, last_line

GREETING_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 10.0
CHECK_SECONDS_MAX = 60.0
IDLE_WINDOW_S = 0.3
IDLE_SHARE = 0.02
FILES_MANY = 500
ATTIC = "attic"  # states that are removed at the end
RETRY_NEVER_S = 86400  # what is deferred while something is measured stays so


class Port:
    """A port that the kernel chose and that stays ours, closed to everybody, until it is given to
    a server: without this, two instances could be given the same one."""

    def __init__(self):
        self.socket = None
        self.number = 0
        self.keep()

    def keep(self):
        """Holds it (again). A bound socket that does not listen refuses connections. What the last
        server left on it may be in the way for a moment; then it is just not held."""
        if self.socket is not None:
            return
        held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind(("127.0.0.1", self.number))
        except OSError:
            held.close()
            if self.number == 0:
                raise
            return
        self.number = held.getsockname()[1]
        self.socket = held

    def give(self) -> int:
        """Frees it for a server that is started now."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        return self.number


class Greeting:
    """What a connection to the port gets."""

    def __init__(self, port: int, seconds: float):
        self.line = ""
        self.error = ""
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
                self.line = read_line(connection, seconds)
                connection.sendall(b"QUIT\r\n")
        except OSError as error:
            self.error = error.strerror or str(error) or "no answer"


def read_line(connection: socket.socket, seconds: float) -> str:
    """A line of at most 512 bytes. Raises OSError when none comes."""
    end = time.monotonic() + seconds
    got = b""
    while b"\n" not in got and len(got) < 512:
        connection.settimeout(max(0.01, end - time.monotonic()))
        more = connection.recv(512)
        if not more:
            break
        got += more
    return got.decode(errors="replace").split("\n")[0].strip()


def check_is_disposable(folder: Path, mounts: str) -> None:
    """Removing a folder with something mounted in it would remove what is mounted."""
    inside = f"{folder.resolve()}/"
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 1 and f"{fields[1]}/".startswith(inside):
            raise BenchError(f"{fields[1]} is mounted; it must be unmounted before {folder} can be "
                             "removed")


def remove_tree(folder: Path) -> None:
    check_is_disposable(folder, read(Path("/proc/self/mounts")))
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        raise BenchError(f"{folder} cannot be removed")


def count_files(folder: Path, most: int) -> int:
    """Files below a folder, counted up to `most`."""
    count = 0
    for _, _, names in os.walk(folder):
        count += len(names)
        if count >= most:
            return most
    return count


def put_away(folder: Path) -> None:
    """Removes a state, at once or, when it is many files, at the end of the run: ext4 without a
    journal avoids the inodes of files that were removed within the last minutes, and looks for
    others at length. What one system left behind must not slow the next one down."""
    if count_files(folder, FILES_MANY) < FILES_MANY:
        remove_tree(folder)
        return
    attic = folder.parent / ATTIC
    attic.mkdir(exist_ok=True)
    check_is_disposable(folder, read(Path("/proc/self/mounts")))
    folder.rename(attic / f"{len(os.listdir(attic)):06}")


class Server:
    """A row's instance. `with` ends its processes and removes its state, whatever happens."""

    def __init__(self, context, row: Row, name: str, bytes_max: int = 1 << 20):
        self.context = context
        self.row = row
        self.state = context.state_folder / name
        self.bytes_max = bytes_max
        self.port = Port()
        self.next_port = Port()
        self.closed_port = Port()
        self.group = None
        self.process = None
        self.output = context.state_folder / f"{name}.output"

    def __enter__(self):
        if self.state.exists():
            put_away(self.state)
        self.state.mkdir(parents=True)
        # Systems that drop their rights must reach their own folders.
        self.state.chmod(0o755)
        return self

    def __exit__(self, *_):
        self.kill()
        for port in (self.port, self.next_port, self.closed_port):
            port.give()
        put_away(self.state)
        self.output.unlink(missing_ok=True)

    def environment(self, mode: str, tls: str, retry_s: int) -> dict[str, str]:
        values = {"STATE": self.state, "ROW": self.row.name, "MODE": mode,
                  "PORT": self.port.number, "NEXT_PORT": self.next_port.number,
                  "CLOSED_PORT": self.closed_port.number, "RETRY_S": retry_s, "TLS": tls,
                  "CPUS": len(self.context.server_cpus), "MESSAGE_BYTES_MAX": self.bytes_max}
        if tls != "none":
            values |= {"CERTIFICATE": self.context.certificate, "KEY": self.context.key}
        return self.context.environment | {f"BENCH_{n}": str(v) for n, v in values.items()}

    def start(self, mode: str, tls: str = "none", retry_s: int = RETRY_NEVER_S,
              poll_s: float = 0.02) -> None:
        """Starts it and waits for its 220. A row that only discards is started as `discard`."""
        mode = mode if mode in self.row.modes else "discard"
        self.group = self.context.accounting.create(self.state.name)
        self.env = self.environment(mode, tls, retry_s)
        self.port.give()
        with open(self.output, "ab") as output:
            try:
                self.process = processes.spawn(
                    [self.row.system.script("start")], self.group, self.context.server_cpus,
                    env=self.env, stdout=output, stderr=output, cwd=self.state)
            except OSError as error:
                raise BenchError(f"its start cannot be run: {error.strerror}") from error
        self._wait_for_greeting(poll_s)

    def _wait_for_greeting(self, poll_s: float):
        end = time.monotonic() + GREETING_SECONDS_MAX
        said = ""
        while time.monotonic() < end:
            if not self.is_alive():
                raise self._ended()
            greeting = Greeting(self.port.number, max(0.1, end - time.monotonic()))
            said = f"it said \"{greeting.line[:80]}\"" if greeting.line else greeting.error
            if greeting.line.startswith("220"):
                return
            if greeting.line and not greeting.line.startswith(("4", "5")):
                raise BenchError(f"its port answers \"{greeting.line[:80]}\", which is no greeting "
                                 "of SMTP")
            time.sleep(poll_s)
        raise BenchError(f"it did not greet with 220 in {GREETING_SECONDS_MAX:g} s "
                         f"({said or 'no answer'}){self.log_text()}")

    def _ended(self) -> BenchError:
        status = self.process.wait()
        if status == EXIT_UNAVAILABLE:
            return Unavailable(last_line(processes.tail(self.output, 1)) or "it cannot run here")
        how = f"of signal {-status}" if status < 0 else f"with status {status}"
        return BenchError(f"it ended {how} before it greeted{self.log_text()}")

    def log_text(self) -> str:
        """The end of what it said, for an error."""
        logs = [self.output, self.state / "log"]
        if logs[1].is_dir():
            logs[1:] = sorted(logs[1].iterdir(), key=lambda path: path.stat().st_mtime)[-1:]
        said = [text for text in (processes.tail(log) for log in logs) if text]
        return f"; its log ends with: {' | '.join(said)}" if said else "; it logged nothing"

    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def cpu_us(self) -> int:
        return self.group.cpu_us()

    def memory_bytes(self) -> int:
        return self.group.memory_bytes()

    def wait_until_idle(self, seconds: float = 30.0) -> bool:
        """Until it uses less than 2 % of a core; False when the time is over before."""
        end = time.monotonic() + seconds
        before, since = self.cpu_us(), time.monotonic()
        while True:
            time.sleep(IDLE_WINDOW_S)
            now, at = self.cpu_us(), time.monotonic()
            if now - before < IDLE_SHARE * (at - since) * 1e6:
                return True
            if at > end:
                return False
            before, since = now, at

    def kill(self) -> None:
        """SIGKILL to all of it at one moment. The state stays."""
        if self.group is not None:
            self.context.accounting.end(self.group)
            self.group = None
        if self.process is not None:
            self.process.wait()
            self.process = None
        self.port.keep()

    def stop(self) -> str:
        """Its own orderly end, and SIGKILL to what is left. Returns what was wrong with that."""
        why = ""
        try:
            done = processes.run(self.context.accounting, f"{self.state.name}-stop",
                                 [self.row.system.script("stop")], self.context.load_cpus,
                                 STOP_SECONDS_MAX, env=self.env)
            if done.returncode != 0:
                why = f"its stop failed: {last_line(done.stderr)}"
            self.process.wait(timeout=STOP_SECONDS_MAX)
        except BenchError as error:
            why = str(error)
        except subprocess.TimeoutExpired:
            why = f"it did not end in {STOP_SECONDS_MAX:g} s after its stop"
        self.kill()
        return why

    def check(self) -> int:
        """Messages that it owns and has not delivered, as it says itself."""
        done = processes.run(self.context.accounting, f"{self.state.name}-check",
                             [self.row.system.script("check")], self.context.load_cpus,
                             CHECK_SECONDS_MAX, env=self.env)
        text = last_line(done.stdout)
        if done.returncode != 0 or not text.isdigit():
            raise BenchError(f"its check failed: {last_line(done.stderr) or text or 'no number'}")
        return int(text)


def base_environment(root: Path, build: Path) -> dict[str, str]:
    """What every script gets. Nothing else of ours: a proxy or a language of the caller would
    change what is measured."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE")
            if name in os.environ}
    kept.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    return kept | {"LC_ALL": "C.UTF-8", "BENCH_ROOT": str(root), "BENCH_BUILD": str(build)}
