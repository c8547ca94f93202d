"""10 000 idle connections beside load: what each costs in memory, and what all cost the others."""
from .errors import BenchError
from .measure import (Job, check_can, fill_load, fill_used, for_seconds, load_arguments,
                      measure_load, set_status, unsettled, warm_up)
from .scenarios import IDLE_WANTED
from .server import Server
from .tools import Load

END_SECONDS_MAX = 30.0


def held_of(line: str | None) -> int | None:
    """N of "holding N of M"; None when it is something else."""
    words = (line or "").split()
    return int(words[1]) if len(words) == 4 and words[0] == "holding" and words[1].isdigit() else (
        None)


class IdleConnections:
    """A load that only holds connections open, until the end of the block."""

    def __init__(self, context, port: int, seconds: float, wanted: int = IDLE_WANTED):
        self.wanted = wanted
        self.seconds = seconds
        self.load = Load(context, port, ["--sessions", "0", "--idle", str(wanted),
                                         "--messages", "0", "--until-killed-ok"],
                         seconds + 600, name="idle")

    def __enter__(self):
        return self

    def __exit__(self, *details):
        self.load.__exit__(*details)

    def wait(self) -> tuple[int, bool]:
        """How many are held, and whether that is settled: False when the time was over before all
        had been answered or refused. Then the load has ended, and what it held counts as a hint."""
        held = held_of(self.load.lines.line(self.seconds))
        if held is not None:
            return held, True
        return int(self.end().get("held") or 0), False

    def end(self) -> dict:
        self.load.terminate(END_SECONDS_MAX)
        return self.load.report().get("idle") or {}


def hold(context, server: Server, seconds: float,
         wanted: int) -> tuple[IdleConnections | None, int]:
    """Opens as many as are wanted. Returns them with how many are held, or nothing and how many
    were answered before the time was over."""
    idle = IdleConnections(context, server.port.number, seconds, wanted)
    try:
        held, is_settled = idle.wait()
    except BaseException:
        idle.__exit__(None, None, None)
        raise
    if is_settled:
        return idle, held
    idle.__exit__(None, None, None)
    return None, held


def hold_what_it_takes(context, server: Server, seconds: float) -> tuple[IdleConnections, int]:
    """A system that answers only some of the 10 000 in time is asked again for as many as those,
    so that there is a figure at all."""
    idle, held = hold(context, server, seconds, IDLE_WANTED)
    if idle is None and held > 0:
        server.wait_until_idle()
        idle, held = hold(context, server, seconds, max(1, held * 4 // 5))
    if idle is None:
        raise BenchError(f"only {held} of {IDLE_WANTED} connections were answered in "
                         f"{seconds:g} s{server.log_text()}")
    return idle, held


def measure(job: Job, context, record: dict) -> None:
    check_can(job)
    arguments = load_arguments(job)
    with Server(context, job.row, "server") as server:
        server.start("queue")
        warm_up(context, server, arguments)
        before = server.memory_bytes()
        connections, held = hold_what_it_takes(context, server,
                                               job.extent.idle_seconds)
        with connections as idle:
            server.wait_until_idle()
            extra = {"idle_wanted": IDLE_WANTED, "idle_held": held, "bytes_per_connection": None}
            record["extra"] = extra
            if held > 0:
                extra["bytes_per_connection"] = (server.memory_bytes() - before) / held
            report, used = measure_load(context, server, [*arguments, *for_seconds(job.seconds)],
                                        job.seconds)
            lost = idle.end().get("lost", 0)
        fill_load(record, report, context)
        fill_used(record, used, report["messages"])
        reasons = [unsettled(used)]
        if held < IDLE_WANTED:
            reasons.append(f"only {held} of {IDLE_WANTED} connections were taken")
        if lost:
            reasons.append(f"{lost} idle connections were lost under load")
        set_status(record, report, server, "; ".join(reason for reason in reasons if reason))
