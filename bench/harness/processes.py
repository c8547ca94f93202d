"""Starting processes: in a group, on some CPUs, in a session of their own (so that a Ctrl-C on the
terminal reaches only us, and we end them)."""
import os
import resource
import signal
import subprocess
from pathlib import Path

from .accounting import Accounting, Group
from .errors import BenchError

FILES_MAX = 65536


def raise_file_limit() -> None:
    """10 000 idle connections need more open files than the usual 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_MAX if hard == resource.RLIM_INFINITY else max(hard, FILES_MAX)
    for limit in ((min(wanted, FILES_MAX), wanted), (min(hard, FILES_MAX), hard)):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            return
        except (ValueError, OSError):
            continue


def spawn(argv, group: Group, cpus, **popen) -> subprocess.Popen:
    """Starts argv in the group, bound to the CPUs."""

    def child():
        group.enter()
        os.sched_setaffinity(0, cpus)
        raise_file_limit()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    popen.setdefault("stdin", subprocess.DEVNULL)
    process = subprocess.Popen([str(a) for a in argv], preexec_fn=child, start_new_session=True,
                               **popen)
    group.adopt(process.pid)
    return process


def run(accounting: Accounting, name: str, argv, cpus, seconds: float,
        env=None) -> subprocess.CompletedProcess:
    """Runs argv to its end, and ends all that it left. Raises BenchError when it takes longer."""
    group = accounting.create(name)
    try:
        process = spawn(argv, group, cpus, env=env, stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE, text=True, errors="replace")
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            group.kill()
            process.communicate()
            raise BenchError(f"{Path(argv[0]).name} did not end in {seconds:g} s") from None
        return subprocess.CompletedProcess(argv, process.returncode, out, err)
    except OSError as error:
        raise BenchError(f"{argv[0]} cannot be run: {error.strerror}") from error
    finally:
        accounting.end(group)


def tail(path: Path, lines: int = 3, bytes_max: int = 8192) -> str:
    """The last lines of a log in one line; empty when there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - bytes_max))
            text = file.read().decode(errors="replace")
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        return ""
    kept = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(line[-200:] for line in kept[-lines:])
