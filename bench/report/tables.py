"""The table and the plots of one scenario."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

from bench.report import charts
from bench.report import figures as f
from bench.report.document import Block, Cell, Column, Heading, Line, Paragraph, Table
from bench.report.figures import Figure
from bench.report.results import Measurement, Results, Row, Scenario
from bench.report.wording import listed, number, sentence, span, times, whole

COLUMNS = {
    "accept": (f.CPU, f.RATE, f.P50, f.P99, f.MEMORY),
    "relay": (f.CPU, f.RATE, f.P50, f.P99, f.MEMORY),
    "latency": (f.CPU, f.RATE, f.P50, f.P99, f.P999, f.SLOWEST, f.MEMORY),
    "tls": (f.CPU, f.RATE, f.HANDSHAKES, f.P50, f.P99, f.MEMORY),
    "idle": (f.IDLE_BYTES, f.CPU, f.RATE, f.P50, f.P99, f.MEMORY),
    "backlog": (f.CPU, f.RATE, f.P99, f.ACCEPT_KEPT, f.RELAY_KEPT, f.GROWTH, f.RESTART, f.MEMORY),
}
SHORT = {"CPU per message": "CPU", "messages per second": "messages",
         "handshakes per second": "handshakes",
         "memory per idle connection": "idle", "load's CPU": "load",
         "accept rate beside the queue": "accepting",
         "relay rate beside the queue": "relaying",
         "memory that the queue adds": "queue adds", "restart to the first 220": "restart"}
UNITS = {"CPU per message": "µs a message", "memory per idle connection": "KiB a connection",
         "load's CPU": "% of its CPUs", "% of an empty queue's": "% of empty"}


@dataclass(frozen=True)
class _Shape:
    """What a scenario's table has besides its figures."""
    figures: tuple[Figure, ...]
    floor: Row | None   # None where the floor has no figure
    own: Row | None     # Postern's best row, None where none counts


def _shape(results: Results, scenario: Scenario) -> _Shape:
    taken = tuple(figure for figure in (*COLUMNS[scenario.group], f.LOAD_SHARE)
                  if any(figure.of(m) is not None for m in scenario.measurements))
    floor = f.floor_row(results)
    if floor and f.summary(scenario, floor, f.CPU) is None:
        floor = None
    own = f.best(scenario, f.subjects(results), f.CPU)
    return _Shape(taken, floor, own[0] if own else None)


def _columns(shape: _Shape) -> tuple[Column, ...]:
    columns = [Column("", is_number=False)]
    for figure in shape.figures:
        unit = UNITS.get(figure.title) or UNITS.get(figure.unit) or figure.unit
        columns.append(Column(SHORT.get(figure.title, figure.title), unit))
        if figure is f.CPU and shape.floor:
            columns.append(Column("CPU", "× floor"))
        if figure is f.CPU and shape.own:
            columns.append(Column("CPU", "× Postern"))
    return tuple(columns) + (Column("runs"),)


def standing(row: Row) -> str:
    """Why a row is not compared, or what to know when it is; empty when nothing."""
    verdict = row.durability.verdict
    if row.kind == "mark":
        return "a mark: it discards"
    if verdict == "lost":
        return "not compared: it lost mail in the kill test"
    if verdict == "failed":
        return "not compared: its kill test failed"
    if not row.comparable_to_mtas:
        return "compared with the floor only"
    if verdict != "kept":
        return "not compared: it had no kill test"
    return "" if row.syncs_on_accept else "does not sync a message before its 250"


def _errors(measurement: Measurement) -> str:
    said = [f"{code} to {whole(count)}" for code, count in sorted(measurement.errors.items())
            if count]
    return f"answered {listed(said)}" if said else ""


def _why(measurement: Measurement) -> str:
    words = [text for text in (measurement.why.strip().rstrip("."), _errors(measurement)) if text]
    return ": " + "; ".join(words) if words else ""


def _extras(runs: list[Measurement]) -> list[str]:
    """Where less was done than the scenario's name says."""
    said = []
    for wanted, had, what in (("idle_wanted", "idle_held", "idle connections held"),
                              ("wanted", "queued", "messages queued")):
        least = min((m.extra[had] for m in runs if isinstance(m.extra.get(had), int)),
                    default=None)
        goal = next((m.extra[wanted] for m in runs if isinstance(m.extra.get(wanted), int)), None)
        if least is not None and goal is not None and least < goal:
            said.append(f"{whole(least)} of {whole(goal)} {what}")
    said += dict.fromkeys(m.extra["why_fewer"] for m in runs
                          if isinstance(m.extra.get("why_fewer"), str) and m.extra["why_fewer"])
    return said


def _remarks(scenario: Scenario, row: Row) -> str:
    runs = f.complete_runs(scenario, row)
    most = max((m.numbers.get("sessions") or 0 for m in scenario.measurements), default=0)
    said = [standing(row)]
    given = {m.numbers.get("sessions") for m in runs} - {None, 0}
    if given and max(given) < most:
        said.append(f"{whole(max(given))} sessions, for it takes no more")
    if f.load_was_limit(scenario, row):
        said.append("the load was the limit: it could do more")
    said += _extras(runs)
    for m in f.other_runs(scenario, row):
        # A partial run has a line of its own; one without figures has only this.
        if m.status in ("failed", "unsupported"):
            said.append(f"run {m.run} {m.status}{_why(m)}" if m.status == "failed" or m.run > 1
                        or runs else f"unsupported{_why(m)}")
    return ". ".join(_capital(text) for text in said if text)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _ratio_cell(scenario: Scenario, row: Row, under: Row | None, allowed: bool) -> Cell:
    if under is None or not allowed:
        return Cell("")
    if row is under:
        return Cell("1", tone="muted")
    ratio = f.ratio((scenario, row), (scenario, under), f.CPU)
    return Cell(times(ratio.value) if ratio else "")


def _cells(scenario: Scenario, row: Row, shape: _Shape, value: Callable[[Figure], Cell],
           with_ratios: bool) -> list[Cell]:
    cells = []
    for figure in shape.figures:
        cells.append(value(figure))
        if figure is f.CPU and shape.floor:
            allowed = with_ratios and row.may_face_floor
            cells.append(_ratio_cell(scenario, row, shape.floor, allowed))
        if figure is f.CPU and shape.own:
            cells.append(_ratio_cell(scenario, row, shape.own, with_ratios and row.counts))
    return cells


def _median(scenario: Scenario, row: Row) -> Callable[[Figure], Cell]:
    def cell(figure: Figure) -> Cell:
        has = f.summary(scenario, row, figure)
        return Cell(number(has.median) if has else "\N{EN DASH}", span(has),
                    "strong" if figure is f.CPU and has else "")
    return cell


def _lines(scenario: Scenario, row: Row, shape: _Shape) -> list[Line]:
    """The row's medians, then each partial run of it apart, for it is in no median."""
    lines = []
    runs, others = f.complete_runs(scenario, row), f.other_runs(scenario, row)
    partial = [m for m in others if m.status == "partial"]
    if runs or len(others) > len(partial):
        name = Cell(row.name, _remarks(scenario, row))
        cells = _cells(scenario, row, shape, _median(scenario, row), True)
        tone = "own" if row.kind == "subject" else "" if row.counts else "muted"
        lines.append(Line((name, *cells, Cell(whole(len(runs)))), tone))
    for m in partial:
        def value(figure: Figure, m: Measurement = m) -> Cell:
            return Cell(number(figure.of(m)), tone="muted")
        name = Cell(f"{row.name}, run {m.run}", f"Partial, in no median{_why(m)}")
        lines.append(Line((name, *_cells(scenario, row, shape, value, False), Cell("partial")),
                          "muted"))
    return lines


def _footnotes(results: Results, scenario: Scenario, shape: _Shape) -> list[Block]:
    said = []
    if shape.own:
        said.append(f"× Postern: by the CPU of its best row here, {shape.own.name}.")
    if shape.floor is None and scenario.group in ("relay", "tls", "backlog"):
        said.append("The marks cannot do this work.")
    hollow = any(m.key == row.key and m.status == "ok" and not row.counts and row.kind != "mark"
                 for row in results.rows for m in scenario.measurements)
    if hollow:
        said.append("Hollow and * in plots: not compared; the table says why.")
    measured = {m.key for m in scenario.measurements}
    gone = [f"{row.name} ({row.why_not.rstrip('.') or 'not available'})" for row in results.rows
            if not row.available and row.key not in measured]
    if gone:
        said.append(sentence(f"Not here: {listed(gone)}"))
    return [Paragraph(" ".join(said), "note")] if said else []


def blocks(results: Results, scenario: Scenario) -> list[Block]:
    """A scenario's section."""
    made: list[Block] = [Heading(3, _capital(scenario.title), scenario.name),
                         Paragraph(sentence(scenario.what) or scenario.name)]
    lines, shape = [], _shape(results, scenario)
    for row in results.rows:
        lines += _lines(scenario, row, shape)
    if not lines:
        why = "This scenario was not measured in this run."
        return [*made, Paragraph(why, "warning")]
    plots = charts.of_scenario(results, scenario)
    if plots:
        made.append(plots)
    made.append(Table(_columns(shape), tuple(lines), scenario.name))
    return made + _footnotes(results, scenario, shape)
