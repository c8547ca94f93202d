"""A queue of many deferred messages: what it does to the rate, to memory and to a restart."""
import time

from .errors import BenchError
from .measure import (Job, check_can, fill_load, fill_used, for_seconds, load_arguments,
                      measure_load, measure_relay, ratio, set_status, unsettled, warm_up)
from .server import Server
from .tools import RELAYED_RECIPIENT, Sink, run_load

FILL_SESSIONS = 400
GREETING_POLL_S = 0.002


def fill(context, server: Server, count: int, seconds: float) -> tuple[int, float]:
    """Puts up to `count` messages into the queue; returns how many got 250, and the time."""
    if count <= 0:
        return 0, 0.0
    most = server.row.system.sessions_max or FILL_SESSIONS
    report = run_load(context, server.port.number, [
        "--sessions", str(min(FILL_SESSIONS, most)), "--size", "4KiB", "--pipelining", "off",
        "--messages", str(count), "--duration", f"{int(seconds * 1000)}ms"], seconds)
    return report["messages"], report["seconds"]


def why_fewer(server: Server, queued: int, wanted: int, seconds: float) -> str:
    if queued >= wanted:
        return ""
    if not server.is_alive():
        return f"it ended while its queue was filled{server.log_text()}"
    return f"{queued} were taken in the {seconds:g} s that the filling may take"


def relay_rate(context, server: Server, arguments, seconds: float) -> float | None:
    """Of mail for another domain, beside the queue; None for systems that cannot do both."""
    if not server.row.system.relays_beside_queue or "queue" not in server.row.modes:
        return None
    with Sink(context, server.next_port.give(), "--count-only") as sink:
        got = measure_relay(context, server, sink, arguments, seconds, RELAYED_RECIPIENT)
    server.next_port.keep()
    return got["arrived"] / got["seconds"]


def restart_ms(server: Server) -> float:
    """From the kill to the first 220."""
    begun = time.monotonic()
    server.kill()
    server.start("queue", poll_s=GREETING_POLL_S)
    return (time.monotonic() - begun) * 1000


def queue_length(server: Server) -> int | None:
    """As the system counts it, where it can in time."""
    try:
        return server.check()
    except BenchError:
        return None


def measure(job: Job, context, record: dict) -> None:
    check_can(job)
    arguments = load_arguments(job)
    wanted, fill_seconds = job.extent.backlog, job.extent.backlog_seconds
    timed = [*arguments, *for_seconds(job.seconds)]
    with Server(context, job.row, "server") as server:
        server.start("queue")
        in_queue = warm_up(context, server, arguments)["messages"]
        relay_empty = relay_rate(context, server, arguments, job.seconds)
        empty, used_empty = measure_load(context, server, timed, job.seconds)
        in_queue += empty["messages"]
        queued, took = fill(context, server, wanted - in_queue, fill_seconds)
        in_queue += queued
        extra = {"wanted": wanted, "queued": in_queue, "fill_seconds": took,
                 "why_fewer": why_fewer(server, in_queue, wanted, fill_seconds)}
        record["extra"] = extra
        server.wait_until_idle()
        extra["memory_growth_bytes"] = server.memory_bytes() - used_empty["memory_before_bytes"]
        report, used = measure_load(context, server, timed, job.seconds)
        fill_load(record, report, context)
        fill_used(record, used, report["messages"])
        set_status(record, report, server, unsettled(used))
        extra["accept_ratio"] = ratio(rate_of(report), rate_of(empty))
        relay_full = relay_rate(context, server, arguments, job.seconds)
        extra["relay_ratio"] = ratio(relay_full, relay_empty) if relay_empty else None
        extra["counted_by_system"] = queue_length(server)
        extra["restart_ms"] = None
        try:
            extra["restart_ms"] = restart_ms(server)
        except BenchError as error:  # the figures before it stand
            record["status"] = "partial" if record["status"] == "ok" else record["status"]
            record["why"] = "; ".join(filter(None, (record["why"], f"after the kill, {error}")))


def rate_of(report: dict) -> float:
    return report["messages"] / report["seconds"] if report["seconds"] else 0.0
