"""The targets that the project has set itself, and whether this run reaches them.

A target against a mark (the floor, smtp-sink) is judged by Postern's row `discard` where there
is one: it takes a message durably and then drops it, which is the mark's work plus durability.
A target against an MTA is judged by the best row that does an MTA's work. The other rows are
named beside it.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

from bench.report import figures as f
from bench.report.figures import Figure, Ratio, Summary
from bench.report.results import Results, Row, Scenario
from bench.report.wording import number, plural, span, times, whole

REACHED, MISSED, UNKNOWN = "reached", "not reached", "not measured"
FOR_FLOOR = "discard"  # Postern's row that is measured against marks only


@dataclass(frozen=True)
class Reading:
    """One row's figure for a target. The one that is judged comes first."""
    row: Row
    figure: str
    spread: str
    reached: bool


@dataclass(frozen=True)
class Target:
    work: str
    wanted: str
    readings: tuple[Reading, ...]
    why_not: str = ""

    @property
    def verdict(self) -> str:
        if not self.readings:
            return UNKNOWN
        return REACHED if self.readings[0].reached else MISSED


def _own_rows(results: Results) -> list[Row]:
    return [row for row in results.rows if row.kind == "subject" and row.available
            and row.may_face_floor]


def _judged_first(rows: list[Row], scenario: Scenario, against_mark: bool) -> list[Row]:
    """The row that is judged, then the others in their order."""
    chosen = [row for row in rows if against_mark and row.row == FOR_FLOOR]
    if not chosen:
        counted = f.best(scenario, [row for row in rows if row.counts], f.CPU)
        chosen = [counted[0]] if counted else rows[:1]
    return chosen + [row for row in rows if row not in chosen]


def _reading(row: Row, ratio: Ratio, reached: bool, text: str) -> Reading:
    spread = ""
    if ratio.runs and ratio.runs.count > 1:
        spread = (f"{times(ratio.runs.low)} to {times(ratio.runs.high)} "
                  f"in {plural(ratio.runs.count, 'run')}")
    return Reading(row, text, spread, reached)


def _missing(results: Results, name: str) -> str:
    scenario = results.scenario(name)
    return "" if scenario and scenario.measured else f"{name} was not measured"


def at_most_floor(results: Results, work: str, name: str, limit: float,
                  floor_name: str | None = None) -> Target:
    """CPU per message at most `limit` times the floor's."""
    of = "floor" if floor_name is None else "accepting floor"
    floor_name = floor_name or name
    wanted = f"CPU ≤ {limit} × the {of}"
    why = _missing(results, name) or _missing(results, floor_name)
    if why:
        return Target(work, wanted, (), why)
    scenario, base = results.scenario(name), results.scenario(floor_name)
    floor = f.floor_row(results)
    rows = [row for row in _own_rows(results) if f.summary(scenario, row, f.CPU)]
    if floor is None or f.summary(base, floor, f.CPU) is None:
        return Target(work, wanted, (), f"the floor has no figure in {floor_name}")
    if not rows:
        return Target(work, wanted, (), f"Postern has no figure in {name}")
    readings = []
    for row in _judged_first(rows, scenario, against_mark=True):
        ratio = f.ratio((scenario, row), (base, floor), f.CPU)
        if ratio:
            readings.append(_reading(row, ratio, ratio.value <= limit, times(ratio.value)))
    return Target(work, wanted, tuple(readings))


def times_less(results: Results, work: str, name: str, system: str, limit: float) -> Target:
    """`system` takes at least `limit` times the CPU per message; 1 stands for "less than"."""
    title = next((row.title for row in results.rows if row.system == system), system)
    wanted = f"CPU ≥ {limit:g} × less than {title}" if limit > 1 else f"CPU less than {title}"
    why = _missing(results, name)
    if why:
        return Target(work, wanted, (), why)
    scenario = results.scenario(name)
    marks = [row for row in results.rows if row.system == system and row.kind == "mark"]
    others = marks or [row for row in f.peers(results) if row.system == system]
    own = _own_rows(results) if marks else f.subjects(results)
    other = f.best(scenario, others, f.CPU)
    rows = [row for row in own if f.summary(scenario, row, f.CPU)]
    if other is None:
        return Target(work, wanted, (), f"{title} has no figure that counts in {name}")
    if not rows:
        return Target(work, wanted, (), f"Postern has no figure that counts in {name}")
    readings = []
    for row in _judged_first(rows, scenario, against_mark=bool(marks)):
        ratio = f.ratio((scenario, other[0]), (scenario, row), f.CPU)
        if ratio:
            reached = ratio.value > 1 if limit == 1 else ratio.value >= limit
            readings.append(_reading(row, ratio, reached, f"{times(ratio.value)} less"))
    return Target(work, wanted, tuple(readings))


def bounded(results: Results, work: str, wanted: str, scenario: Scenario | None, figure: Figure,
            reached: Callable[[float], bool], unit: str) -> Target:
    """A figure of Postern's own against a fixed limit."""
    if scenario is None or not scenario.measured:
        return Target(work, wanted, (), "its scenario was not measured")
    readings = []
    for row in f.subjects(results):
        has: Summary | None = f.summary(scenario, row, figure)
        if has:
            spread = f"{span(has)} in {plural(has.count, 'run')}" if has.count > 1 else ""
            readings.append(Reading(row, f"{number(has.median)} {unit}", spread,
                                    reached(has.median)))
    # The verdict is the worst row's: a limit holds for every configuration that we name.
    readings.sort(key=lambda reading: reading.reached)
    why = "" if readings else f"Postern has no figure that counts in {scenario.name}"
    return Target(work, wanted, tuple(readings), why)


def _backlog(results: Results) -> list[Target]:
    scenario = next(iter(results.group("backlog")), None)
    work = "a long queue"
    queued = f.summarize(m.extra.get("queued") for row in f.subjects(results) if scenario
                         for m in f.complete_runs(scenario, row))
    if queued:
        work = f"{whole(queued.low)} messages queued"
    return [
        bounded(results, work, "accept rate ≥ 85 % of an empty queue's", scenario, f.ACCEPT_KEPT,
                lambda value: value >= 85, "%"),
        bounded(results, work, "relay rate ≥ 85 % of an empty queue's", scenario, f.RELAY_KEPT,
                lambda value: value >= 85, "%"),
        bounded(results, work, "memory + ≤ 64 MiB", scenario, f.GROWTH,
                lambda value: value <= 64, "MiB"),
        bounded(results, work, "restart to accepting ≤ 2 s", scenario, f.RESTART,
                lambda value: value <= 2000, "ms"),
    ]


def find(results: Results) -> list[Target]:
    """Every target that this benchmark measures, in the order of the architecture's table."""
    s400, s50 = "4 KiB, connections reused, 400 sessions", "4 KiB, connections reused, 50 sessions"
    fifty, one = "50 KiB, 50 sessions", "4 KiB, one connection per message"
    relay = "4 KiB, accept and relay, 50 sessions"
    idle = next(iter(results.group("idle")), None)
    return [
        at_most_floor(results, s400, "accept-4k-s400", 1.3),
        times_less(results, s400, "accept-4k-s400", "postfix", 30),
        times_less(results, s400, "accept-4k-s400", "smtp-sink", 1),
        at_most_floor(results, s50, "accept-4k-s50", 1.7),
        times_less(results, s50, "accept-4k-s50", "postfix", 30),
        times_less(results, s50, "accept-4k-s50", "smtp-sink", 1),
        at_most_floor(results, fifty, "accept-50k-s50", 1.6),
        times_less(results, fifty, "accept-50k-s50", "postfix", 25),
        at_most_floor(results, one, "accept-4k-oneconn", 1.5),
        at_most_floor(results, relay, "relay-4k-s50", 2.5, "accept-4k-s50"),
        times_less(results, relay, "relay-4k-s50", "postfix", 25),
        bounded(results, "an idle connection, plain text", "memory ≤ 2 KiB", idle, f.IDLE_BYTES,
                lambda value: value <= 2, "KiB"),
        *_backlog(results),
    ]
