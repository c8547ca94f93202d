"""What is drawn, as gnuplot scripts. Pure: nothing is run here.

A system has the same colour and place in every plot: Postern the accent, marks grey. Colours
are never the only difference: rows have labels, lines have labels and shapes. Lengths are drawn
only on axes that begin at zero; where values span more than a decade the axis is logarithmic
and each value is a point.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

from bench.report import figures as f
from bench.report.document import Block, Details, Document, Opening, Plots
from bench.report.figures import Figure, Summary
from bench.report.gnuplot import Palette, Panel, quoted, tic
from bench.report.results import Results, Row, Scenario
from bench.report.wording import mark, number

WIDTH = 460
LINE = 23           # pixels a row takes
LINE_ALONE = 31     # in a plot that stands beside a text
POINT = 11          # pixels across a point
LETTER = 7.3        # about the width of a letter at 12 px
LEFT_MAX = 178
HOLLOW_MARK = " *"  # behind the label of a row that is drawn but not compared
NAMED = (("50 %", 0.5), ("90 %", 0.9), ("99 %", 0.99), ("99.9 %", 0.999), ("99.99 %", 0.9999))
STEPS = 16          # points a decade of a latency curve
COLOURS_MTA, COLOURS_MARK = 6, 2


@dataclass(frozen=True)
class Entry:
    """A row of a plot."""
    label: str
    colour: str
    value: Summary
    is_hollow: bool


def colour(results: Results, row: Row) -> str:
    """The CSS variable of a system."""
    if row.kind == "subject":
        return "own"
    same = list(dict.fromkeys(r.system for r in results.rows if r.kind == row.kind))
    count = COLOURS_MTA if row.kind == "mta" else COLOURS_MARK
    return f"{row.kind}-{same.index(row.system) % count + 1}"


def short(text: str, width_px: float = LEFT_MAX) -> str:
    most = int(width_px / LETTER)
    return text if len(text) <= most else text[:most - 1].rstrip() + "…"


def entries(results: Results, scenario: Scenario, figure: Figure,
            rows: list[Row] | None = None) -> list[Entry]:
    """Rows with complete runs, in the order of all tables. `rows`: only these, one a system."""
    by_system = rows is not None
    rows = list(results.rows) if rows is None else rows
    with_value = [(row, value) for row in rows
                  if (value := f.summary(scenario, row, figure)) is not None]
    single = {row.system: sum(1 for other, _ in with_value if other.system == row.system) == 1
              for row, _ in with_value}
    made = []
    for row, value in with_value:
        is_hollow = not row.counts and row.kind != "mark"
        is_alone = by_system or (single[row.system] and row.kind != "subject")
        label = row.title if is_alone else row.name
        made.append(Entry(short(label) + (HOLLOW_MARK if is_hollow else ""),
                          colour(results, row), value, is_hollow))
    return made


def _numbers(lines: list[str]) -> str:
    return "\n".join(lines) + "\nEND\n"


def nice_step(top: float, parts: int) -> float:
    """1, 2 or 5 times a power of ten, so that at most `parts` of it reach `top`."""
    rough = top / parts
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)


def _axis_linear(top: float) -> str:
    step = nice_step(top, 5)
    tics = ", ".join(f"{tic(mark(i * step))} {i * step:.9g}"
                     for i in range(int(top / step + 1.001) + 1) if i * step <= top * 1.06)
    return f"set xrange [0:{top * 1.06:.9g}]\nset xtics ({tics})\n"


def log_tics(low: float, high: float, room_px: float) -> list[float]:
    """Decades with their twos and fives, or decades alone, or some of these: as many as have
    room beside each other. `room_px` is the length of the axis."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    span = math.log10(high / low)

    def fits(places: list[float]) -> bool:
        return all((math.log10(b / a) / span) * room_px
                   >= (len(mark(a)) + len(mark(b))) / 2 * LETTER + 5
                   for a, b in zip(places, places[1:]))

    def within(parts: tuple[int, ...], step: int) -> list[float]:
        every = [part * 10.0 ** power for power in range(first, last + 1, step) for part in parts]
        return [place for place in every if low <= place <= high]

    choices = [within((1, 2, 5), 1), within((1, 3), 1), within((1,), 1), within((1,), 2)]
    return next((places for places in choices if len(places) > 1 and fits(places)), choices[0][:1])


def _axis_log(low: float, high: float, room_px: float, axis: str = "x") -> str:
    low, high = low / 1.35, high * 1.35
    tics = ", ".join(f"{tic(mark(place))} {place:.9g}" for place in log_tics(low, high, room_px))
    return (f"set logscale {axis}\nset {axis}range [{low:.9g}:{high:.9g}]\n"
            f"set {axis}tics ({tics})\n")


def spans_decade(made: list[Entry]) -> bool:
    medians = [entry.value.median for entry in made]
    lows = [entry.value.low for entry in made]
    return min(lows) > 0 and max(medians) > 10 * min(medians)


def _frame(palette: Palette, left: float, right: float, top: float, bottom: float,
           width: int, height: int) -> str:
    return (f"set lmargin at screen {left / width:.6g}\nset rmargin at screen "
            f"{1 - right / width:.6g}\nset tmargin at screen {1 - top / height:.6g}\n"
            f"set bmargin at screen {bottom / height:.6g}\n"
            f"unset key\nset border 0\n"
            f"set tics scale 0 nomirror textcolor {palette.colour('muted')}\n"
            f"set grid xtics lt 1 lw 1 lc {palette.colour('grid')}\nset errorbars 0.6\n")


def _under(palette: Palette, text: str, left: float, right: float, width: int, height: int) -> str:
    """The title of the axis below. gnuplot leaves out its own where it thinks it has no room."""
    return (f"set label {quoted(text)} at screen {(left + width - right) / 2 / width:.5f}, "
            f"screen {9 / height:.5f} center textcolor {palette.colour('muted')}\n")


def _rows_of(made: list[Entry], wanted: tuple[str, bool]) -> list[tuple[int, Entry]]:
    """Places count from below, as gnuplot's axis does; the first row is on top."""
    count = len(made)
    return [(count - i, entry) for i, entry in enumerate(made)
            if (entry.colour, entry.is_hollow) == wanted]


def _has_whiskers(entry: Entry, made: list[Entry], log: bool) -> bool:
    """Not where they would be no longer than the point that they go through."""
    value = entry.value
    if value.count < 2 or value.high <= value.low:
        return False
    if not log:
        return True
    whole_range = max(e.value.high for e in made) / min(e.value.low for e in made)
    return math.log(value.high / value.low) / math.log(whole_range) * WIDTH / 2 > POINT


def _marks(palette: Palette, made: list[Entry], log: bool) -> tuple[list[str], str]:
    """The plot's elements and the data blocks they use: bars, or points on a logarithmic axis."""
    parts, blocks = [], ""
    for index, kind in enumerate(dict.fromkeys((e.colour, e.is_hollow) for e in made)):
        ink, is_hollow = palette.colour(kind[0]), kind[1]
        name = f"$rows{index}"
        blocks += f"{name} << END\n" + _numbers(
            [f"{e.value.median:.9g} {place}" for place, e in _rows_of(made, kind)])
        if log:
            shape = 6 if is_hollow else 7
            parts.append(f"{name} using 1:2 with points pt {shape} ps 1.05 lw 1.6 lc {ink}")
        else:
            fill = f"fs empty border lc {ink}" if is_hollow else "fs solid 1 noborder"
            parts.append(f"{name} using (0):2:(0):1:($2-0.31):($2+0.31) with boxxyerror {fill} "
                         f"lc {ink}")
    ranged = [(len(made) - i, e) for i, e in enumerate(made) if _has_whiskers(e, made, log)]
    if ranged:
        blocks += "$ranges << END\n" + _numbers(
            [f"{e.value.median:.9g} {place} {e.value.low:.9g} {e.value.high:.9g}"
             for place, e in ranged])
        # Below the points and above the bars, which would hide it.
        whiskers = f"$ranges using 1:2:3:4 with xerrorbars pt -1 lw 1.2 lc {palette.colour('ink')}"
        parts.insert(0 if log else len(parts), whiskers)
    return parts, blocks


def bars(figure: Figure, made: list[Entry], title: str, is_alone: bool = False) -> Panel:
    """A horizontal bar (or point) for each row, whiskers over its runs, its value at the right.
    One that stands alone is taller, and always begins at zero."""
    palette = Palette()
    log = not is_alone and spans_decade(made)
    left = max(60.0, max(len(entry.label) for entry in made) * LETTER + 12)
    right, top, bottom = 62.0, 6.0, 48.0
    height = int(top + bottom + (LINE_ALONE if is_alone else LINE) * len(made))
    values = [edge for e in made for edge in (e.value.low, e.value.high)]
    script = _frame(palette, left, right, top, bottom, WIDTH, height)
    script += _axis_log(min(values), max(values), WIDTH - left - right) if log else \
        _axis_linear(max(values) or 1)
    scale = ", logarithmic" if log else ""
    script += _under(palette, figure.unit + scale, left, right, WIDTH, height)
    script += f"set yrange [0.4:{len(made) + 0.6}]\n"
    script += f"set ytics () textcolor {palette.colour('ink')}\n"
    for i, entry in enumerate(made):
        place = len(made) - i
        script += f"set ytics add ({tic(entry.label)} {place})\n"
        script += (f"set label {quoted(number(entry.value.median))} at screen "
                   f"{1 - 4 / WIDTH:.5f}, first {place} right textcolor {palette.colour('ink')}\n")
        if log:
            script += (f"set arrow from graph 0, first {place} to graph 1, first {place} nohead "
                       f"back lw 1 dt (1,3) lc {palette.colour('grid')}\n")
    parts, blocks = _marks(palette, made, log)
    better = "less is better" if figure.less_is_better else "more is better"
    spoken = ", ".join(f"{e.label} {number(e.value.median)}" for e in made)
    return Panel(title=title, note=better, width=WIDTH, height=height,
                 script=f"{blocks}{script}plot {', '.join(parts)}", colours=tuple(palette.names),
                 description=f"{title}, {figure.unit}: {spoken}")


@dataclass(frozen=True)
class Curve:
    """Latency by percentile of one row; points are (1 / (1 - share), milliseconds)."""
    label: str
    colour: str
    points: tuple[tuple[float, float], ...]
    named: tuple[tuple[float, float], ...]


def curve(label: str, colour_name: str, buckets: list[tuple[int, int]]) -> Curve:
    """Only as far into the tail as there are messages: the last point stands for one of them."""
    count = sum(number for _, number in buckets)
    last = min(4.0, math.log10(max(count, 2)))
    first = math.log10(2)
    steps = max(2, int((last - first) * STEPS))
    powers = [first + (last - first) * i / steps for i in range(steps + 1)]
    points = tuple((10 ** p, f.percentile_ns(buckets, 1 - 10 ** -p) / 1e6) for p in powers)
    named = tuple((1 / (1 - share), f.percentile_ns(buckets, share) / 1e6)
                  for _, share in NAMED if 1 / (1 - share) <= count * 1.0001)
    return Curve(label, colour_name, points, named)


def spread_labels(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Moves places apart until none is nearer than `gap` to the next; keeps their order."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    gap = min(gap, (high - low) / max(1, len(wanted) - 1)) if len(wanted) > 1 else gap
    places = [min(max(wanted[i], low), high) for i in order]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    if places and places[-1] > high:
        places[-1] = high
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - gap)
    out = [0.0] * len(wanted)
    for place, i in zip(places, order):
        out[i] = place
    return out


SHAPES = (7, 5, 9, 11, 13, 4, 8, 10)  # filled circle, square, triangles, diamond; then open ones


def _curve_labels(palette: Palette, curves: list[Curve], low: float, high: float,
                  plot_height: float) -> str:
    """Each at the end of its line where there is room, so that no legend is needed."""
    span = math.log10(high / low)
    ends = [math.log10(curve.points[-1][1] / low) / span for curve in curves]
    places = spread_labels(ends, 14.5 / plot_height, 0.02, 0.98)
    text = ""
    for one, place in zip(curves, places):
        text += (f"set label {quoted(one.label)} at graph 1.035, graph {place:.5f} left "
                 f"textcolor {palette.colour(one.colour)}\n")
    return text


def percentiles(curves: list[Curve], title: str, note: str) -> Panel:
    """The distribution of latency: both axes logarithmic, the tail is what matters."""
    palette = Palette()
    left, top, bottom, height = 52.0, 10.0, 50.0, 310
    right = max(len(one.label) for one in curves) * LETTER + 20
    values = [max(value, 1e-3) for one in curves for _, value in one.points]
    low, high = min(values) / 1.35, max(values) * 1.35
    ends = max(one.points[-1][0] for one in curves)
    tics = [(name, 1 / (1 - share)) for name, share in NAMED if 1 / (1 - share) <= ends * 1.01]
    script = _frame(palette, left, right, top, bottom, WIDTH, height)
    # Labels on this axis are above each other: a line's height counts, not their widths.
    script += _axis_log(min(values), max(values), (height - top - bottom) * 2.5, "y")
    script += "set logscale x\n" + f"set xrange [1.9:{ends * 1.02:.9g}]\nset xtics ("
    script += ", ".join(f"{tic(name)} {place:.9g}" for name, place in tics) + ")\n"
    script += f"set grid ytics lt 1 lw 1 lc {palette.colour('grid')}\n"
    script += f"set ylabel 'ms, logarithmic' offset 1.4,0 textcolor {palette.colour('muted')}\n"
    script += _under(palette, "share of messages answered within", left, right, WIDTH, height)
    script += _curve_labels(palette, curves, low, high, height - top - bottom)
    parts, blocks = [], ""
    # Postern's line is drawn last, so that no other hides it; its shape stays that of its place.
    for i, one in sorted(enumerate(curves), key=lambda each: each[1].colour == "own"):
        ink = palette.colour(one.colour)
        for name, points in (("line", one.points), ("named", one.named)):
            blocks += f"${name}{i} << END\n" + _numbers(
                [f"{x:.9g} {max(y, 1e-3):.9g}" for x, y in points])
        width = 2.4 if one.colour == "own" else 1.5
        parts.append(f"$line{i} using 1:2 with lines lw {width} lc {ink}")
        parts.append(f"$named{i} using 1:2 with points pt {SHAPES[i % len(SHAPES)]} ps 0.85 "
                     f"lc {ink}")
    spoken = "; ".join(f"{one.label}: " + ", ".join(
        f"{name} {number(value)} ms" for (name, _), (_, value) in zip(NAMED, one.named))
        for one in curves)
    return Panel(title=title, note=note, width=WIDTH, height=height,
                 script=f"{blocks}{script}plot {', '.join(parts)}", colours=tuple(palette.names),
                 description=f"{title}. {spoken}")


def latency_panel(results: Results, scenario: Scenario) -> Panel | None:
    """One line a system: the row with the best p99, for more would not be readable."""
    curves = []
    for system in dict.fromkeys(row.system for row in results.rows):
        rows = [row for row in results.rows if row.system == system]
        has = f.best(scenario, [row for row in rows if row.counts] or rows, f.P99)
        buckets = f.merged_buckets(f.complete_runs(scenario, has[0])) if has else []
        if has and buckets:
            label = short(has[0].title, 110)
            if not has[0].counts and has[0].kind != "mark":
                label += HOLLOW_MARK
            curves.append(curve(label, colour(results, has[0]), buckets))
    if not curves:
        return None
    return percentiles(curves, "Latency by percentile", "less is better")


def figure_panel(results: Results, scenario: Scenario, figure: Figure) -> Panel | None:
    made = entries(results, scenario, figure)
    title = figure.title[0].upper() + figure.title[1:]
    return bars(figure, made, title) if made else None


DRAWN = {
    "accept": (f.CPU, f.RATE), "relay": (f.CPU, f.RATE), "latency": (f.CPU,),
    "tls": (f.CPU, f.HANDSHAKES), "idle": (f.IDLE_BYTES, f.CPU),
    "backlog": (f.RESTART, f.ACCEPT_KEPT),
}


def of_scenario(results: Results, scenario: Scenario) -> Plots | None:
    panels = [figure_panel(results, scenario, figure) for figure in DRAWN[scenario.group]]
    if scenario.group == "latency":
        panels.insert(0, latency_panel(results, scenario))
    if scenario.group == "tls" and panels[1] is None:
        panels[1] = figure_panel(results, scenario, f.RATE)
    drawn = tuple(panel for panel in panels if panel is not None)
    return Plots(drawn) if drawn else None


def panels(document: Document) -> list[Panel]:
    """All that a document has."""
    return list(dict.fromkeys(_panels(document.blocks)))


def _panels(blocks: tuple[Block, ...]) -> list[Panel]:
    found: list[Panel] = []
    for block in blocks:
        if isinstance(block, Plots):
            found += block.panels
        elif isinstance(block, Opening) and block.plots:
            found += block.plots.panels
        elif isinstance(block, Details):
            found += _panels(block.blocks)
    return found
