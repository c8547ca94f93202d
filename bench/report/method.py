"""What was measured, on what, how to repeat it, and with which configurations."""
from __future__ import annotations

from datetime import datetime
from typing import Any

from bench.report import figures as f
from bench.report.document import (Block, Bullets, Cell, Code, Column, Details, Heading, Line,
                                   Listing, Paragraph, Table)
from bench.report.results import Results, Row
from bench.report.wording import listed, number, plural, sentence, whole

GIB, MIB = 1 << 30, 1 << 20


def day(machine: dict[str, Any]) -> str:
    """ "23 November 2026", or the date as it is written when it is none."""
    try:
        at = datetime.fromisoformat(machine["date"].replace("Z", "+00:00"))
    except ValueError:
        return machine["date"]
    return f"{at.day} {at:%B %Y}"


def command(machine: dict[str, Any]) -> str:
    """What measures the same again. Another number of runs than usual has to be asked for."""
    usual = {"quick": 1, "full": 5}
    words = ["bench/run"]
    if machine["mode"] in usual:
        words.append(f"--{machine['mode']}")
    if machine["runs"] != usual.get(machine["mode"], machine["runs"]):
        words.append(f"--runs {machine['runs']}")
    return " ".join(words)


def _bytes(value: Any) -> str:
    if not isinstance(value, (int, float)):
        return ""
    return f"{number(value / GIB)} GiB" if value >= GIB else f"{number(value / MIB)} MiB"


def _cpus(value: Any) -> str:
    return listed([str(one) for one in value]) if isinstance(value, list) else ""


def flush(machine: dict[str, Any]) -> str:
    sync = machine.get("sync_us")
    if not isinstance(sync, dict) or not isinstance(sync.get("median"), (int, float)):
        return ""
    text = f"{number(sync['median'])} µs"
    if all(isinstance(sync.get(name), (int, float)) for name in ("min", "max")):
        text += f" ({number(sync['min'])} to {number(sync['max'])})"
    return text


def _facts(machine: dict[str, Any]) -> list[tuple[str, str]]:
    get = machine.get
    where = " on ".join(str(get(name)) for name in ("file_system", "device") if get(name))
    facts = [
        ("Date", str(get("date"))), ("Postern", str(get("postern"))), ("CPU", str(get("cpu"))),
        ("CPUs", f"{whole(get('cpus'))}: the server has {_cpus(get('server_cpus'))}, the load "
                 f"{_cpus(get('load_cpus'))}" if isinstance(get("cpus"), int) else ""),
        ("Memory", _bytes(get("memory_bytes"))), ("System", str(get("os") or "")),
        ("Kernel", str(get("kernel"))), ("Queue's file system", where),
        ("4 KiB written and flushed", flush(machine)),
        ("CPU is counted by", str(get("accounting") or "")),
        ("Congestion control", str(get("congestion_control") or "")),
        ("Mode", f"{get('mode')}, {plural(get('runs'), 'run')}"),
        ("It took", f"{whole(get('seconds'))} s" if isinstance(get("seconds"), (int, float))
         else ""),
    ]
    return [(name, text) for name, text in facts if text]


def _rules(machine: dict[str, Any]) -> Bullets:
    plan = machine.get("plan")
    seed = plan.get("seed") if isinstance(plan, dict) else machine.get("seed")
    items = [
        "CPU per message is that of all processes of a system, from the first connection until its "
        "work for these messages is done, by the messages that it answered with 250; when "
        "relaying, by those that the next hop received.",
        "Server and load are on CPUs of their own. Where the load used 90 % of its CPUs or more, "
        "it was the limit, and the rate is only a lower bound.",
        "The order of the rows was shuffled for each scenario and each run." +
        (f" The seed is {seed}." if isinstance(seed, int) else ""),
        "Figures are medians over complete runs, with the least and the greatest below them. "
        "Runs in which the work was not all done are shown apart, and are in no median.",
        "Latency in the groups of accepting and relaying is that of a closed loop: a slow server "
        "slows the load, so it says how long a reply took and not how long users would wait. The "
        "group of latency is an open loop and counts from the time at which a message was meant "
        "to be sent.",
        "Memory is that of the system's processes at the end of the load, without the page cache.",
        "A row is compared with others only when it does the same work and kept all mail in the "
        "kill test. Ratios are of medians; the spread of a ratio is that of run 1 by run 1, run 2 "
        "by run 2, and so on.",
    ]
    return Bullets(tuple(items))


def method(results: Results) -> list[Block]:
    machine = results.machine
    lines = tuple(Line((Cell(name, tone="muted"), Cell(text))) for name, text in _facts(machine))
    return [
        Heading(2, "How it was measured", "method"),
        Paragraph(("To repeat it, in a clone of the project on Debian 12, as root: ",
                   Code(command(machine)), ". It unpacks the other systems below build/, and the "
                   "machine's own mail system stays as it is. The reports are made again from the "
                   "JSON alone with ", Code("bench/run --report DIR"), ".")),
        Table((Column("", is_number=False), Column("", is_number=False)), lines, "machine"),
        _rules(machine),
    ]


def _row_line(row: Row) -> Line:
    notes = [sentence(note) for note in row.notes]
    if not row.available:
        notes.insert(0, sentence(f"Not available: {row.why_not or 'no reason is given'}"))
    tone = "own" if row.kind == "subject" else "" if row.available else "muted"
    return Line((Cell(row.name), Cell(row.version or "\N{EN DASH}"),
                 Cell(row.row_title or "\N{EN DASH}", " ".join(notes))), tone)


def systems(results: Results) -> list[Block]:
    columns = tuple(Column(title, is_number=False) for title in ("Row", "Version", "Configuration"))
    made: list[Block] = [
        Heading(2, "Systems and their configurations", "systems"),
        Paragraph(("Rows ", Code("default"), " are as a fresh installation is; rows ",
                   Code("tuned"), " are what somebody who knows the system would do for "
                   "throughput, never at the price of durability. Marks discard what they get: "
                   "they are limits, not mail systems.")),
        Table(columns, tuple(_row_line(row) for row in results.rows), "systems"),
    ]
    for row in results.rows:
        if row.configuration.strip():
            title = f"{row.name}: {row.row_title}" if row.row_title else row.name
            made.append(Details(title, (Listing(row.configuration.strip("\n")),)))
    return made


def limits_of_load(results: Results) -> str:
    """One sentence: whether the generator bounded any figure."""
    bound = [f"{row.name} in {scenario.name}" for scenario in results.scenarios
             for row in results.rows if f.load_was_limit(scenario, row)]
    if not bound:
        return "The load was the limit of no figure."
    return (f"The load was the limit of {plural(len(bound), 'rate')} ({listed(bound)}); "
            "those are lower bounds.")
