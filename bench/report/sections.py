"""Puts a report together: the first screen, the judgements, the figures, the method."""
from __future__ import annotations

from dataclasses import dataclass

from bench.report import charts, losses, method, tables, targets, verdicts
from bench.report import figures as f
from bench.report.document import (Block, Cell, Code, Column, Document, Heading, Line, Link,
                                   Opening, Paragraph, Plots, Span, Table, Text)
from bench.report.figures import Figure
from bench.report.results import Results, Row, Scenario
from bench.report.wording import listed, number, plural, sentence, span, times, whole

GROUPS = (("accept", "Accepting"), ("relay", "Accepting and relaying"), ("latency", "Latency"),
          ("tls", "TLS"), ("idle", "Idle connections"), ("backlog", "A long queue"))


@dataclass(frozen=True)
class _Key:
    """A column of the first screen's table."""
    scenario: Scenario
    figure: Figure
    title: str


def _wanted() -> tuple[tuple[str, Figure, str], ...]:
    return (("accept-4k-s50", f.CPU, "accept 4 KiB"), ("accept-50k-s50", f.CPU, "accept 50 KiB"),
            ("relay-4k-s50", f.CPU, "accept and relay 4 KiB"),
            ("latency-fixed", f.P99, "p99 at a fixed rate"))


def _keys(results: Results) -> list[_Key]:
    """The few figures that matter, as far as they were measured; else the first there is."""
    keys = []
    for name, figure, title in _wanted():
        scenario = results.scenario(name)
        if scenario and any(m.status == "ok" for m in scenario.measurements):
            keys.append(_Key(scenario, figure, title))
    if not keys:
        keys = [_Key(s, f.CPU, s.title) for s in results.scenarios
                if any(m.status == "ok" for m in s.measurements)][:1]
    return keys


def _system_rows(results: Results, system: str) -> list[Row]:
    """Those that count; where none does, all that there are, to be shown without a ratio."""
    rows = [row for row in results.rows if row.system == system]
    return [row for row in rows if row.counts] or [row for row in rows if row.comparable_to_mtas]


def _key_cell(results: Results, key: _Key, rows: list[Row], is_own: bool) -> Cell:
    has = f.best(key.scenario, rows, key.figure)
    if has is None:
        return Cell("\N{EN DASH}", tone="muted")
    value = f"{number(has[1].median)} {key.figure.unit}"
    own = f.best(key.scenario, f.subjects(results), key.figure)
    if is_own or own is None or not has[0].counts or own[1].median == 0:
        return Cell(value, span(has[1]), "strong" if is_own else "muted")
    is_lost = f.is_better(key.figure, has[1].median, own[1].median)
    return Cell(times(has[1].median / own[1].median), value, "bad" if is_lost else "")


def _kept(rows: list[Row]) -> Cell:
    gone = next((row for row in rows if not row.available), None)
    if gone:
        return Cell("not available", gone.why_not, "muted")
    shown = next((row for row in rows if row.durability.verdict == "kept"), rows[0])
    d = shown.durability
    if d.verdict == "kept":
        detail = "" if shown.syncs_on_accept else "but does not sync before its 250"
        return Cell(f"{whole(d.found)} of {whole(d.answered)}", detail,
                    "good" if shown.syncs_on_accept else "")
    words = {"lost": f"lost {whole(d.lost)} of {whole(d.answered)}", "failed": "test failed",
             "none": "keeps nothing", "not run": "not tested"}
    return Cell(words[d.verdict], "not compared", "bad" if d.verdict != "not run" else "muted")


def _key_table(results: Results, keys: list[_Key]) -> Table:
    columns = [Column("", is_number=False)]
    columns += [Column(key.title, "CPU per message" if key.figure is f.CPU else key.figure.unit)
                for key in keys]
    columns.append(Column("kept after kill -9", is_number=False))
    lines = []
    for system in dict.fromkeys(row.system for row in results.rows if row.kind != "mark"):
        rows = _system_rows(results, system)
        if not rows:
            continue
        is_own = rows[0].kind == "subject"
        cells = [_key_cell(results, key, rows, is_own) for key in keys]
        tone = "own" if is_own else "" if any(row.counts for row in rows) else "muted"
        lines.append(Line((Cell(rows[0].title), *cells, _kept(rows)), tone))
    return Table(tuple(columns), tuple(lines), "key")


def _against(results: Results, key: _Key) -> str:
    """ "Postfix takes 38× as much, Exim 14×." """
    own = f.best(key.scenario, f.subjects(results), key.figure)
    said = []
    for system in dict.fromkeys(row.system for row in f.peers(results)):
        rows = [row for row in f.peers(results) if row.system == system]
        has = f.best(key.scenario, rows, key.figure)
        if own and has and own[1].median > 0:
            verb = " takes" if not said else ""
            much = " as much" if not said else ""
            said.append(f"{has[0].title}{verb} {times(has[1].median / own[1].median)}{much}")
    return sentence(listed(said))


def _lead(results: Results, key: _Key | None) -> tuple[str, Text]:
    own = f.best(key.scenario, f.subjects(results), key.figure) if key else None
    if own is None:
        return ("No figure of Postern's counts in this run",
                "None of its rows has both a complete run and a kill test in which it kept all "
                "mail. What was measured is below.")
    unit = "of CPU per message" if key.figure is f.CPU else key.figure.title
    title = f"{number(own[1].median)} {key.figure.unit} {unit}"
    synced = ", each message on disk before its 250" if own[0].syncs_on_accept else ""
    text = f"That is what Postern takes to accept mail ({key.scenario.title}){synced}."
    return title, f"{text} {_against(results, key)}".strip()


def _facts(results: Results) -> tuple[Text, ...]:
    machine = results.machine
    lost = losses.find(results)
    flush = method.flush(machine)
    return (
        (Link("Where we lose", "losses"), f": {whole(len(lost))} of "
         f"{plural(losses.comparisons(results), 'pair')} of figures"),
        (Link("Our targets", "targets"), f": {verdicts.count_targets(targets.find(results))}"),
        (Link("Measured", "method"), f" on {machine['cpu']}, kernel {machine['kernel']}"
         f"{', a flush of ' + flush.split(' (')[0] if flush else ''}; repeat it with ",
         Code(method.command(machine))),
    )


def _hero(results: Results, key: _Key) -> Plots | None:
    """One bar a system, from zero: the length is the cost."""
    rows = []
    for system in dict.fromkeys(row.system for row in results.rows):
        mine = [row for row in results.rows if row.system == system]
        counted = [row for row in mine if row.counts]
        has = f.best(key.scenario, counted, key.figure)
        if has:
            rows.append(has[0])
        elif mine[0].kind == "mark":
            rows.append(mine[0])
    made = charts.entries(results, key.scenario, key.figure, rows)
    if not made:
        return None
    title = f"{key.figure.title}, {key.scenario.title}"
    return Plots((charts.bars(key.figure, made, title, is_alone=True),))


def _runs(results: Results) -> str:
    runs = results.machine["runs"]
    return "one run of each" if runs == 1 else f"medians of {runs} runs"


def opening(results: Results) -> list[Block]:
    keys = _keys(results)
    machine = results.machine
    title, lead = _lead(results, keys[0] if keys else None)
    eyebrow = (f"Postern {machine['postern']} · {method.day(machine)} · {machine['mode']} "
               f"benchmark, {_runs(results)}")
    made: list[Block] = [Opening(eyebrow, title, lead, _facts(results),
                                 _hero(results, keys[0]) if keys else None)]
    if not machine["complete"]:
        why = machine.get("why_incomplete") or "it does not say why"
        made.insert(0, Paragraph(f"This run is not complete: {sentence(why)}", "warning"))
    if keys:
        made += [_key_table(results, keys), Paragraph(_key_note(results), "note")]
    return made


def _key_note(results: Results) -> tuple[Span, ...]:
    text = ("Peers: how many times Postern's figure theirs is, and the figure below it; each "
            "system with its best row that kept all mail in the kill test. ")
    if results.machine["runs"] == 1:
        text += "With one run there is no spread: differences of some percent say nothing. "
    return (text, method.limits_of_load(results))


def document(results: Results) -> Document:
    """The whole report."""
    blocks = [*opening(results), *verdicts.where_we_lose(results), *verdicts.our_targets(results),
              *verdicts.durability(results)]
    for group, title in GROUPS:
        scenarios = results.group(group)
        if scenarios:
            blocks.append(Heading(2, title, f"group-{group}"))
            for scenario in scenarios:
                blocks += tables.blocks(results, scenario)
    blocks += [*method.method(results), *method.systems(results)]
    return Document(f"Postern benchmark, {method.day(results.machine)}", tuple(blocks))
