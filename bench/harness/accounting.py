"""Control groups: what the processes of a system cost together, and how they end together.

Version 2 is taken where it can be written, else version 1 (cpuacct, and the freezer so that a kill
hits all at one moment), else the process tree is followed in /proc. A tree is less: a process that
was started and ended between two looks and was waited for by nobody is not counted."""
import ctypes
import os
import signal
import time
from pathlib import Path

from .errors import BenchError

KILL_SECONDS_MAX = 20.0
PREFIX = "postern-bench-"
PR_SET_CHILD_SUBREAPER = 36
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def read(path: Path) -> str:
    """The text of a kernel's file; empty when it, or its process, is gone meanwhile."""
    try:
        return path.read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError, OSError):
        return ""


# --- memory of processes ---

def parse_rollup(text: str) -> int:
    """Bytes of a process that are its own, from smaps_rollup: the proportional share of anonymous
    and shared memory. Pages of files are left out: they are page cache, and given back on need."""
    total = 0
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name in ("Pss_Anon", "Pss_Shmem", "SwapPss"):
            total += int(value.split()[0]) * 1024
    return total


def memory_of(pids: list[int], proc: Path = Path("/proc")) -> int:
    """Bytes of all of these processes together, each page counted once."""
    return sum(parse_rollup(read(proc / str(pid) / "smaps_rollup")) for pid in pids)


# --- groups ---

class Group:
    """Processes that are counted, and killed, together."""

    def __init__(self, name: str):
        self.name = name

    def enter(self) -> None:
        """Called in the child, before exec."""

    def adopt(self, pid: int) -> None:
        """Called in the parent, after the start."""

    def pids(self) -> list[int]:
        """The processes that live."""
        raise NotImplementedError

    def cpu_us(self) -> int:
        """Processor time of all that ever were in the group."""
        raise NotImplementedError

    def kill_once(self) -> None:
        """SIGKILL to all, as much at one moment as can be."""
        raise NotImplementedError

    def remove(self) -> None:
        """Gives the group back; it must be empty."""

    def memory_bytes(self) -> int:
        return memory_of(self.pids())

    def kill(self) -> None:
        """Returns when no process is left: what lives then is a fault of ours, and said."""
        end = time.monotonic() + KILL_SECONDS_MAX
        self.kill_once()
        while self.pids():
            if time.monotonic() > end:
                raise BenchError(f"processes of {self.name} do not end: {self.pids()}")
            time.sleep(0.005)
            self.kill_once()


def parse_pids(text: str) -> list[int]:
    return [int(line) for line in text.split()]


def parse_usage(text: str) -> int:
    """usage_usec of a version 2 cpu.stat."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "usage_usec":
            return int(value)
    raise BenchError("cpu.stat has no usage_usec")


def remove_folder(path: Path) -> None:
    """A group's folder; the kernel may need a moment after the last process ended."""
    for _ in range(100):
        try:
            path.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)


class UnifiedGroup(Group):
    """Version 2."""

    def __init__(self, name: str, path: Path):
        super().__init__(name)
        self.path = path
        path.mkdir()

    def enter(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def pids(self):
        return parse_pids(read(self.path / "cgroup.procs"))

    def cpu_us(self):
        return parse_usage(read(self.path / "cpu.stat"))

    def kill_once(self):
        (self.path / "cgroup.kill").write_text("1")

    def remove(self):
        remove_folder(self.path)


class LegacyGroup(Group):
    """Version 1: cpuacct counts, the freezer holds all still while they are killed."""

    def __init__(self, name: str, cpuacct: Path, freezer: Path | None):
        super().__init__(name)
        self.cpuacct = cpuacct
        self.freezer = freezer
        cpuacct.mkdir()
        if freezer is not None:
            freezer.mkdir()

    def enter(self):
        for path in (self.cpuacct, self.freezer):
            if path is not None:
                (path / "cgroup.procs").write_text(str(os.getpid()))

    def pids(self):
        return parse_pids(read(self.cpuacct / "cgroup.procs"))

    def cpu_us(self):
        return int(read(self.cpuacct / "cpuacct.usage")) // 1000

    def kill_once(self):
        self._freeze("FROZEN")
        try:
            for pid in self.pids():
                send_kill(pid)
        finally:
            self._freeze("THAWED")

    def _freeze(self, state: str):
        if self.freezer is None:
            return
        (self.freezer / "freezer.state").write_text(state)
        for _ in range(200):
            if read(self.freezer / "freezer.state").strip() == state:
                return
            time.sleep(0.001)

    def remove(self):
        for path in (self.cpuacct, self.freezer):
            if path is not None:
                remove_folder(path)


def send_kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


# --- the process tree ---

class Process:
    """One look at /proc/PID/stat."""

    def __init__(self, text: str):
        """Raises ValueError when the process is gone, or is one that only waits to be reaped."""
        # The name is in brackets and may have blanks and brackets itself.
        head, _, tail = text.rpartition(")")
        fields = tail.split()
        if not head or len(fields) < 20 or fields[0] in ("Z", "X"):
            raise ValueError("no living process")
        self.pid = int(head.split(" ", 1)[0])
        self.parent = int(fields[1])
        self.own_ticks = int(fields[11]) + int(fields[12])
        self.waited_ticks = int(fields[13]) + int(fields[14])
        self.started = int(fields[19])


def look(proc: Path = Path("/proc")) -> dict[int, Process]:
    """Every process of the machine that we may see."""
    found = {}
    for entry in proc.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            process = Process(read(entry / "stat"))
        except ValueError:
            continue
        found[process.pid] = process
    return found


class TreeGroup(Group):
    """Where no control group can be made. An orphan comes to us, since we are a subreaper; it is
    known to be of this group when it was seen as a descendant before."""

    def __init__(self, name: str, proc: Path = Path("/proc")):
        super().__init__(name)
        self.proc = proc
        self.known: dict[tuple[int, int], int] = {}  # (pid, start time) -> ticks last seen
        self.roots: set[int] = set()

    def adopt(self, pid: int):
        self.roots.add(pid)
        self._update()

    def _update(self) -> list[Process]:
        all_now = look(self.proc)
        members = {pid for pid in self.roots if pid in all_now}
        members |= {pid for pid, started in self.known
                    if pid in all_now and all_now[pid].started == started}
        grows = True
        while grows:
            more = {p.pid for p in all_now.values() if p.parent in members} - members
            members |= more
            grows = bool(more)
        living = [all_now[pid] for pid in members]
        for process in living:
            self.known[process.pid, process.started] = process.own_ticks + process.waited_ticks
        self.roots &= set(all_now)
        return living

    def pids(self):
        return [process.pid for process in self._update()]

    def cpu_us(self):
        """Of those that live, with the children they waited for. Times of the dead are in these."""
        living = self._update()
        ticks = sum(process.own_ticks + process.waited_ticks for process in living)
        return ticks * 1_000_000 // TICKS_PER_S

    def kill_once(self):
        pids = self.pids()
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
        reap_orphans(set(pids))


def reap_orphans(pids: set[int]) -> None:
    """Orphans that came to us would stay as zombies."""
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except (ChildProcessError, ProcessLookupError):
            pass


# --- which of them ---

def mounts(text: str) -> list[tuple[str, Path, set[str]]]:
    """(type, place, options) of each line of /proc/mounts."""
    rows = [line.split() for line in text.splitlines()]
    return [(row[2], Path(row[1]), set(row[3].split(","))) for row in rows if len(row) >= 4]


def own_path(text: str, controller: str) -> str:
    """Our place in a hierarchy, from /proc/self/cgroup; controller "" is version 2."""
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path.lstrip("/")
    return ""


def hierarchy(controller: str) -> Path | None:
    """Our folder in the hierarchy of a controller, when groups can be made in it."""
    for kind, place, options in mounts(read(Path("/proc/mounts"))):
        is_it = kind == "cgroup2" if controller == "" else (
            kind == "cgroup" and controller in options)
        if not is_it:
            continue
        own = place / own_path(read(Path("/proc/self/cgroup")), controller)
        # In a container the path may be the host's, and the mount already ours.
        return own if own.is_dir() else place
    return None


class Accounting:
    """Makes groups of one kind, and ends all that are left."""

    def __init__(self, wish: str = "auto"):
        """`wish`: auto, v2, v1 or tree."""
        self.groups: list[Group] = []
        self.name = f"{PREFIX}{os.getpid()}"
        self.unified = self.cpuacct = self.freezer = None
        self.text = ""
        if wish in ("auto", "v2"):
            self._try_unified()
        if not self.text and wish in ("auto", "v1"):
            self._try_legacy()
        if not self.text:
            if wish in ("v1", "v2"):
                raise BenchError(f"no control group of {wish} can be made here (not root?)")
            self._use_tree()

    def _try_unified(self):
        base = hierarchy("")
        if base is None or not make_base(base, self.name):
            return
        own = base / self.name
        if (own / "cgroup.kill").exists() and "usage_usec" in read(own / "cpu.stat") and (
                may_enter(own)):
            self.unified = own
            self.text = "cgroup v2"
        else:
            remove_folder(own)

    def _try_legacy(self):
        base = hierarchy("cpuacct")
        if base is None or not make_base(base, self.name):
            return
        self.cpuacct = base / self.name
        freezer = hierarchy("freezer")
        if freezer is not None and make_base(freezer, self.name):
            self.freezer = freezer / self.name
        self.text = "cgroup v1" if self.freezer else "cgroup v1, without a freezer"

    def _use_tree(self):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.text = "process tree"

    def create(self, name: str) -> Group:
        if self.unified is not None:
            group: Group = UnifiedGroup(name, self.unified / name)
        elif self.cpuacct is not None:
            freezer = self.freezer / name if self.freezer is not None else None
            group = LegacyGroup(name, self.cpuacct / name, freezer)
        else:
            group = TreeGroup(name)
        self.groups.append(group)
        return group

    def end(self, group: Group) -> None:
        """Kills what is in it and gives it back."""
        group.kill()
        group.remove()
        if group in self.groups:
            self.groups.remove(group)

    def close(self) -> None:
        """Ends everything. Errors are told after all was tried."""
        errors = []
        for group in list(self.groups):
            try:
                self.end(group)
            except BenchError as error:
                errors.append(str(error))
        for base in (self.unified, self.cpuacct, self.freezer):
            if base is not None:
                remove_folder(base)
        if errors:
            raise BenchError("; ".join(errors))


def may_enter(group: Path) -> bool:
    """Whether a process can be moved into it: a folder that we may make is not yet one that we may
    fill. A child tries, so that we stay where we are."""
    child = os.fork()
    if child == 0:
        try:
            (group / "cgroup.procs").write_text(str(os.getpid()))
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def make_base(parent: Path, name: str) -> bool:
    """Makes our folder, after ending what a run left that was killed with SIGKILL."""
    sweep(parent)
    try:
        (parent / name).mkdir(exist_ok=True)
        return True
    except OSError:
        return False


def sweep(parent: Path) -> None:
    """Ends groups whose bench/run does not live any more."""
    for old in parent.glob(f"{PREFIX}*"):
        owner = old.name.removeprefix(PREFIX)
        if not owner.isdigit() or Path("/proc", owner).exists():
            continue
        for inner in (*old.glob("*/"), old):
            for pid in parse_pids(read(inner / "cgroup.procs")):
                send_kill(pid)
            remove_folder(inner)
