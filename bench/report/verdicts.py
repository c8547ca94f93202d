"""The sections that judge: where we lose, targets, durability."""
from __future__ import annotations

from bench.report import figures as f
from bench.report import losses, targets
from bench.report.document import (Block, Cell, Code, Column, Heading, Line, Paragraph, Span,
                                   Strong, Table)
from bench.report.losses import COMPARED, Loss
from bench.report.results import Results, Row
from bench.report.targets import Target
from bench.report.wording import listed, number, plural, span, times, whole

UNMEASURED = ("Not measured by this benchmark: TLS against what openssl s_time and openssl speed "
              "reach, the memory of an idle connection under TLS, 100 messages of 50 MiB at once, "
              "and how the rate grows with cores.")


def _words(*columns: str) -> tuple[Column, ...]:
    return tuple(Column(title, is_number=False) for title in columns)


def _compared(results: Results) -> str:
    groups = {scenario.group for scenario in results.scenarios if scenario.measurements}
    names = dict.fromkeys(figure.title for group in COMPARED if group in groups
                          for figure in COMPARED[group])
    return listed(list(names))


def _loss_line(loss: Loss, is_first: bool) -> Line:
    theirs = Cell(loss.peer.name, "does not sync a message before its 250"
                  if not loss.peer.syncs_on_accept else "")
    ours = Cell("no complete run", tone="bad") if loss.ours is None else \
        Cell(number(loss.ours.median), span(loss.ours))
    factor = Cell(times(loss.factor) if loss.factor is not None else "\N{EN DASH}",
                  "runs overlap" if loss.overlaps else "", "bad")
    return Line((Cell(loss.scenario.title if is_first else ""),
                 Cell(loss.figure.title, loss.figure.unit), theirs,
                 Cell(number(loss.theirs.median), span(loss.theirs)),
                 Cell(loss.own.name if loss.own else "Postern"), ours, factor))


def _pairs(results: Results) -> list[Block]:
    count = losses.comparisons(results)
    found = losses.find(results)
    if not f.subjects(results):
        text: tuple[Span, ...] = ("None of Postern's rows counts in this run: none has kept all "
                                  "mail in the kill test. Nothing can be said for it.",)
    elif count == 0:
        text = ("Nothing could be compared: no peer has a figure that counts beside one of "
                "Postern's in this run.",)
    elif not found:
        text = (Strong("In no figure of this run."), f" {plural(count, 'pair')} of figures were "
                f"compared, in every scenario: {_compared(results)}. Postern's is the better one "
                "in each.")
    else:
        text = (Strong(f"In {whole(len(found))} of {plural(count, 'pair')} of figures."),
                f" Compared were, in every scenario: {_compared(results)}.")
    rule = (" Each peer's row that counts stands against Postern's best row for that figure; the "
            "list is made from the data alone.")
    return [Paragraph((*text, rule))]


def where_we_lose(results: Results) -> list[Block]:
    made: list[Block] = [Heading(2, "Where we lose", "losses"), *_pairs(results)]
    found = losses.find(results)
    if not found:
        return made
    lines, before = [], None
    for loss in found:
        lines.append(_loss_line(loss, loss.scenario is not before))
        before = loss.scenario
    columns = (*_words("Scenario", "Figure", "Peer"), Column("Its figure"),
               *_words("Postern's row"), Column("Our figure"), Column("Peer is better"))
    made.append(Table(columns, tuple(lines), "losses"))
    return made


def _target_lines(target: Target) -> list[Line]:
    tone = {targets.REACHED: "good", targets.MISSED: "bad"}.get(target.verdict, "muted")
    verdict = Cell(target.verdict, tone=tone)
    if not target.readings:
        return [Line((Cell(target.work), Cell(target.wanted), Cell("\N{EN DASH}", target.why_not),
                      Cell(""), verdict))]
    lines = []
    for index, reading in enumerate(target.readings):
        first = index == 0
        lines.append(Line((
            Cell(target.work if first else ""), Cell(target.wanted if first else ""),
            Cell(reading.row.name, tone="" if first else "muted"),
            Cell(reading.figure, reading.spread, "strong" if first else "muted"),
            verdict if first else Cell("beside it", tone="muted"))))
    return lines


def count_targets(found: list[Target]) -> str:
    """ "9 reached, 3 not reached, 1 not measured" """
    order = (targets.REACHED, targets.MISSED, targets.UNKNOWN)
    counts = {verdict: sum(1 for target in found if target.verdict == verdict)
              for verdict in order}
    return ", ".join(f"{whole(count)} {verdict}" for verdict, count in counts.items() if count)


def our_targets(results: Results) -> list[Block]:
    found = targets.find(results)
    columns = (*_words("Work", "Target", "Row"), Column("Figure"), *_words("Verdict"))
    lines = tuple(line for target in found for line in _target_lines(target))
    return [
        Heading(2, "Our targets", "targets"),
        Paragraph(f"Of {whole(len(found))}: {count_targets(found)}."),
        Paragraph(("Against the floor and smtp-sink Postern's row ", Code(targets.FOR_FLOOR),
                   " is judged, which takes a message durably and then drops it; against an MTA, "
                   "the best row that does an MTA's work. Other rows stand beside it.")),
        Table(columns, lines, "targets"),
        Paragraph(UNMEASURED, "note"),
    ]


def _durability_cell(row: Row) -> Cell:
    d = row.durability
    if not row.available:
        return Cell("not available", row.why_not, "muted")
    words = {"kept": "kept all", "lost": "lost mail", "failed": "test failed",
             "none": "keeps nothing", "not run": "not tested"}
    tone = {"kept": "good", "lost": "bad", "failed": "bad"}.get(d.verdict, "muted")
    return Cell(words[d.verdict], d.why, tone)


def _synced(row: Row) -> Cell:
    if row.kind == "mark":
        return Cell("\N{EN DASH}", tone="muted")
    return Cell("yes") if row.syncs_on_accept else Cell("no", tone="bad")


def durability(results: Results) -> list[Block]:
    columns = (*_words("Row", "Kill test"), Column("answered 250"), Column("found"), Column("lost"),
               Column("doubled"), Column("altered"), *_words("Syncs before 250"))
    lines = []
    for row in results.rows:
        d = row.durability
        is_tested = d.verdict in ("kept", "lost")
        counts = [Cell(whole(value if is_tested else None), tone="bad" if is_bad and value else "")
                  for value, is_bad in ((d.answered, False), (d.found, False), (d.lost, True),
                                        (d.doubled, False), (d.altered, True))]
        tone = "own" if row.kind == "subject" else "" if row.counts else "muted"
        lines.append(Line((Cell(row.name), _durability_cell(row), *counts, _synced(row)), tone))
    return [
        Heading(2, "Durability", "durability"),
        Paragraph("Before a row is compared, all its processes are killed (SIGKILL) under load; it "
                  "is started again over the same queue and delivers. What it had answered with "
                  "250 is compared with what arrives. A copy too many is allowed, a message too "
                  "few is not."),
        Paragraph("A kill shows what a system had not yet given to the kernel. It cannot show what "
                  "the kernel had not yet given to the disk: a power failure could lose that. The "
                  "last column says, by the system's source, whether it waits for the disk before "
                  "it answers.", "note"),
        Table(columns, tuple(lines), "durability"),
    ]
