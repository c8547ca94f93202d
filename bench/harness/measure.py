"""One figure of one row: accept, relay, latency and TLS.

The steps are the same everywhere: start on a fresh state, warm up, wait until nothing moves, read
the processor time, load, wait until the work is done, read it again."""
import time
import traceback
from dataclasses import dataclass
from datetime import datetime, timezone

from .errors import BenchError, Unsupported
from .scenarios import FIXED_RATE, Scenario
from .server import Server
from .systems import Row
from .tools import Load, RECIPIENT, Sink, run_load

WARM_UP_SECONDS = 0.5
SETTLE_SECONDS_MAX = 30.0
RELAY_QUIET_SECONDS = 10.0
RELAY_SECONDS_MAX = 60.0
CALIBRATION_FIRST = 200
CALIBRATION_MAX = 20000
CALIBRATION_SECONDS = 0.25


@dataclass
class Job:
    """One measurement to take."""
    scenario: Scenario
    row: Row
    run: int
    seconds: float
    extent: object = None
    half_rate: float = 0.0  # of its own accept-4k-s50; 0: not measured before


def utc_now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_record(job: Job) -> dict:
    """A measurement that has no figure yet."""
    record = {"scenario": job.scenario.name, "system": job.row.system.name, "row": job.row.name,
              "run": job.run, "status": "failed", "why": "", "at": utc_now()}
    for name in ("messages", "seconds", "messages_per_s", "mib_per_s", "cpu_us_per_message",
                 "load_cpu_us_per_message", "load_cpu_share", "memory_bytes",
                 "memory_before_bytes", "latency_us", "buckets"):
        record[name] = None
    return record | {"errors": {}, "sessions": sessions_of(job), "rate_wanted": 0, "extra": {}}


def sessions_of(job: Job) -> int:
    most = job.row.system.sessions_max
    return min(job.scenario.sessions, most) if most > 0 else job.scenario.sessions


def check_can(job: Job) -> None:
    """Raises Unsupported when the row cannot take part."""
    scenario, row = job.scenario, job.row
    if scenario.tls != "none" and scenario.tls not in row.system.tls:
        raise Unsupported(f"{row.system.title} does not speak {scenario.tls.upper()} here")
    if scenario.mode not in row.modes and not (row.discards and scenario.with_marks):
        raise Unsupported(f"{row.system.title}, {row.title}: it has no mode \"{scenario.mode}\"")


def load_arguments(job: Job) -> list[str]:
    """Those of every load of the scenario, its end excepted."""
    scenario = job.scenario
    kind = "--size-mix" if ":" in scenario.size else "--size"
    arguments = ["--sessions", str(sessions_of(job)), kind, scenario.size]
    if "--pipelining" not in scenario.options:
        arguments += ["--pipelining", "off"]
    return arguments + list(scenario.options)


def for_seconds(seconds: float) -> list[str]:
    return ["--messages", "0", "--duration", f"{int(seconds * 1000)}ms"]


def cpu_seconds_of(report: dict) -> float:
    cpu = report.get("cpu", {})
    return cpu.get("user_s", 0.0) + cpu.get("system_s", 0.0)


def latency_of(report: dict) -> dict | None:
    latency = report.get("message_latency") or {}
    if not latency.get("count"):
        return None
    return {to: latency.get(of) for to, of in (("p50", "p50_us"), ("p90", "p90_us"),
                                               ("p99", "p99_us"), ("p999", "p999_us"),
                                               ("max", "max_us"))}


def ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def why_partial(report: dict) -> str:
    """Why the figures of a load do not count as its whole; empty when they do."""
    reasons = []
    if report.get("partial"):
        reasons.append(report.get("why") or f"the load ended early: {report.get('end')}")
    for name, text in (("refused", "were refused"), ("lost", "were not answered")):
        if report.get(name):
            codes = ", ".join(f"{code}: {count}" for code, count in report["errors"].items())
            reasons.append(f"{report[name]} messages {text}" + (f" ({codes})" if codes else ""))
    if report.get("bad_replies"):
        reasons.append(f"{report['bad_replies']} replies were not of SMTP")
    return "; ".join(reasons)


def fill_load(record: dict, report: dict, context) -> None:
    """What the load saw."""
    seconds = report["seconds"]
    spent = cpu_seconds_of(report)
    record["messages"] = report["messages"]
    record["seconds"] = seconds
    record["messages_per_s"] = ratio(report["messages"], seconds)
    record["mib_per_s"] = ratio(report.get("bytes", 0) / (1 << 20), seconds)
    record["load_cpu_us_per_message"] = ratio(spent * 1e6, report["messages"])
    record["load_cpu_share"] = ratio(spent, seconds * len(context.load_cpus))
    record["latency_us"] = latency_of(report)
    record["errors"] = report.get("errors", {})


def set_status(record: dict, report: dict, server: Server, more: str = "") -> None:
    """ok, partial or failed, and why."""
    reasons = [why_partial(report), more]
    if not server.is_alive():
        reasons.insert(0, f"it ended while it was loaded{server.log_text()}")
    record["why"] = "; ".join(reason for reason in reasons if reason)
    if not record["messages"]:
        record["status"] = "failed"
        record["why"] = record["why"] or "no message was answered with 250"
    else:
        record["status"] = "partial" if record["why"] else "ok"


def watch_memory(server: Server, load: Load, seconds: float) -> int:
    """The most memory of two looks while the load runs; each costs the load's CPU a moment."""
    most = 0
    for wait in (0.4 * seconds, 0.4 * seconds):
        end = time.monotonic() + wait
        while load.is_running() and time.monotonic() < end:
            time.sleep(0.02)
        if load.is_running():
            most = max(most, server.memory_bytes())
    return most


def loaded(context, server: Server, arguments, seconds: float,
           recipient: str = RECIPIENT) -> tuple[dict, int]:
    """Runs a load; returns its report and the server's memory meanwhile."""
    with Load(context, server.port.number, arguments, seconds, recipient=recipient) as load:
        memory = watch_memory(server, load, seconds)
        return load.finish(), memory


def warm_up(context, server: Server, arguments) -> dict:
    """Makes processes, connections and files exist before anything counts."""
    report = run_load(context, server.port.number, [*arguments, *for_seconds(WARM_UP_SECONDS)],
                      WARM_UP_SECONDS)
    if not server.is_alive():
        raise BenchError(f"it ended while it was warmed up{server.log_text()}")
    if not report["messages"]:
        raise BenchError(f"it took no message: {why_partial(report) or report.get('end')}"
                         f"{server.log_text()}")
    server.wait_until_idle(SETTLE_SECONDS_MAX)
    return report


def measure_load(context, server: Server, arguments, seconds: float,
                 recipient: str = RECIPIENT) -> tuple[dict, dict]:
    """Loads a warm server. Returns the load's report and what the server used."""
    used = {"memory_before_bytes": server.memory_bytes()}
    before = server.cpu_us()
    report, memory = loaded(context, server, arguments, seconds, recipient)
    used["settled"] = server.wait_until_idle(SETTLE_SECONDS_MAX)
    used["cpu_us"] = server.cpu_us() - before
    used["memory_bytes"] = max(memory, used["memory_before_bytes"])
    return report, used


def fill_used(record: dict, used: dict, messages: int) -> None:
    record["cpu_us_per_message"] = ratio(used["cpu_us"], messages)
    record["memory_bytes"] = used["memory_bytes"]
    record["memory_before_bytes"] = used["memory_before_bytes"]


def unsettled(used: dict) -> str:
    return "" if used["settled"] else (
        f"it still worked {SETTLE_SECONDS_MAX:g} s after the last message")


def open_loop(job: Job, context, server: Server, arguments) -> tuple[list[str], float]:
    """The arguments of an open loop, and its rate."""
    rate = float(FIXED_RATE)
    if job.scenario.rate == "half":
        own = job.half_rate
        if not own:  # accept-4k-s50 was not measured for this row
            probe = run_load(context, server.port.number, [*arguments, *for_seconds(1.0)], 1.0)
            own = probe["messages"] / probe["seconds"] if probe["seconds"] else 0.0
            server.wait_until_idle(SETTLE_SECONDS_MAX)
        rate = max(1.0, round(own / 2))
    return ["--rate", f"{rate:g}/s", "--poisson", "--buckets"], rate


def accept(job: Job, context, record: dict) -> None:
    """Accept, latency and TLS: the load's own report has all of it."""
    arguments = load_arguments(job)
    with Server(context, job.row, "server", job.scenario.bytes_max) as server:
        server.start(job.scenario.mode, job.scenario.tls)
        warm_up(context, server, arguments)
        if job.scenario.rate:
            more, record["rate_wanted"] = open_loop(job, context, server, arguments)
            arguments += more
        report, used = measure_load(context, server, [*arguments, *for_seconds(job.seconds)],
                                    job.seconds)
        fill_load(record, report, context)
        fill_used(record, used, report["messages"])
        if job.scenario.group == "latency":
            record["buckets"] = (report.get("message_latency") or {}).get("buckets")
        if job.scenario.group == "tls":
            record["extra"] = tls_extra(report, job)
        set_status(record, report, server, unsettled(used))


def tls_extra(report: dict, job: Job) -> dict:
    tls = report.get("tls") or {}
    kind = "resumed" if "resumed" in job.scenario.options else "full"
    return {"handshakes_per_s": ratio(tls.get("handshakes", 0), report["seconds"]),
            "handshakes": tls.get("handshakes"), "resumed": tls.get("resumed"),
            "handshake": kind}


# --- relay ---

def relayed(context, server: Server, sink: Sink, arguments, count: int,
            recipient: str = RECIPIENT) -> tuple[dict, int, float]:
    """Sends `count` messages and waits until the sink has them. Returns the load's report, how
    many arrived, and the seconds from the first connection to the last arrival."""
    before = sink.counts()["messages"]
    with Load(context, server.port.number, [*arguments, "--messages", str(count)],
              RELAY_SECONDS_MAX, recipient=recipient) as load:
        report = load.finish()
        # The load's last answer came about now; its first connection so many seconds before.
        began = time.monotonic() - report["seconds"]
    counts, seen = sink.wait_for(before + report["messages"], RELAY_QUIET_SECONDS,
                                 RELAY_SECONDS_MAX)
    return report, counts["messages"] - before, max(seen - began, report["seconds"])


def calibrate(context, server: Server, sink: Sink, arguments, seconds: float,
              recipient: str = RECIPIENT) -> int:
    """How many messages the system relays in about `seconds`: it may accept many more, and nobody
    wants to wait for those. This is the warm-up too."""
    count = CALIBRATION_FIRST
    while True:
        report, arrived, took = relayed(context, server, sink, arguments, count, recipient)
        if not server.is_alive():
            raise BenchError(f"it ended while it was warmed up{server.log_text()}")
        if not arrived:
            raise BenchError("nothing arrived at the next hop: "
                             f"{why_partial(report) or 'accepted, but not delivered'}"
                             f"{server.log_text()}")
        if took >= CALIBRATION_SECONDS or arrived < count or count >= CALIBRATION_MAX:
            return max(CALIBRATION_FIRST, int(arrived / took * seconds))
        count = min(CALIBRATION_MAX, count * 4)


def sink_share(before: dict, after: dict) -> float:
    return cpu_seconds_of(after) - cpu_seconds_of(before)


def measure_relay(context, server: Server, sink: Sink, arguments, seconds: float,
                  recipient: str = RECIPIENT) -> dict:
    """Rate and cost of relaying, of a server that runs with its sink."""
    count = calibrate(context, server, sink, arguments, seconds, recipient)
    server.wait_until_idle(SETTLE_SECONDS_MAX)
    used = {"memory_before_bytes": server.memory_bytes()}
    sink_before, before = sink.counts(), server.cpu_us()
    report, arrived, took = relayed(context, server, sink, arguments, count, recipient)
    used["memory_bytes"] = max(server.memory_bytes(), used["memory_before_bytes"])
    used["settled"] = server.wait_until_idle(SETTLE_SECONDS_MAX)
    used["cpu_us"] = server.cpu_us() - before
    return {"report": report, "arrived": arrived, "seconds": took, "used": used,
            "sink_cpu_s": sink_share(sink_before, sink.counts())}


def relay(job: Job, context, record: dict) -> None:
    arguments = load_arguments(job)
    with Server(context, job.row, "server", job.scenario.bytes_max) as server:
        with Sink(context, server.next_port.give(), "--count-only") as sink:
            server.start("relay")
            got = measure_relay(context, server, sink, arguments, job.seconds)
        report, arrived, took = got["report"], got["arrived"], got["seconds"]
        fill_load(record, report, context)
        fill_used(record, got["used"], arrived)
        record["messages"], record["seconds"] = arrived, took
        record["messages_per_s"] = arrived / took
        bytes_each = ratio(report.get("bytes", 0), report["messages"]) or 0
        record["mib_per_s"] = arrived * bytes_each / (1 << 20) / took
        spent = cpu_seconds_of(report) + got["sink_cpu_s"]
        record["load_cpu_share"] = spent / (took * len(context.load_cpus))
        missing = report["messages"] - arrived
        why = f"{missing} messages did not arrive in time" if missing > 0 else ""
        set_status(record, report, server, why or unsettled(got["used"]))


def take(job: Job, context, how) -> dict:
    """Takes a measurement by `how`; whatever goes wrong is its status, and the next goes on."""
    record = new_record(job)
    try:
        check_can(job)
        how(job, context, record)
    except Unsupported as error:
        record["status"], record["why"] = "unsupported", str(error)
    except BenchError as error:
        record["status"], record["why"] = "failed", str(error)
    except Exception as error:  # a fault of ours must not cost the figures of the others
        traceback.print_exc()
        record["status"] = "failed"
        record["why"] = f"bench/run itself failed: {type(error).__name__}: {error}"
    return record
