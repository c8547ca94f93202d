"""Medians, ranges and ratios, and which rows they may be taken of. Pure."""
from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Callable, Iterable

from bench.report.results import FLOOR, Measurement, Results, Row, Scenario

LOAD_LIMIT = 0.9  # from here on the load, not the server, bounds the rate


@dataclass(frozen=True)
class Figure:
    """Something that is measured. `scale` turns what the JSON has into what is shown."""
    name: str
    title: str
    unit: str
    less_is_better: bool
    read: Callable[[Measurement], float | None]
    scale: float = 1.0

    def of(self, measurement: Measurement) -> float | None:
        value = self.read(measurement)
        return None if value is None else value * self.scale


def _number(name: str) -> Callable[[Measurement], float | None]:
    return lambda m: m.numbers.get(name)


def _latency(name: str) -> Callable[[Measurement], float | None]:
    return lambda m: m.latency_us.get(name)


def _extra(name: str) -> Callable[[Measurement], float | None]:
    def read(m: Measurement) -> float | None:
        value = m.extra.get(name)
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    return read


MIB = 1 / (1 << 20)
CPU = Figure("cpu", "CPU per message", "µs", True, _number("cpu_us_per_message"))
RATE = Figure("rate", "messages per second", "1/s", False, _number("messages_per_s"))
P50 = Figure("p50", "p50", "ms", True, _latency("p50"), 1e-3)
P90 = Figure("p90", "p90", "ms", True, _latency("p90"), 1e-3)
P99 = Figure("p99", "p99", "ms", True, _latency("p99"), 1e-3)
P999 = Figure("p999", "p99.9", "ms", True, _latency("p999"), 1e-3)
SLOWEST = Figure("max", "max", "ms", True, _latency("max"), 1e-3)
MEMORY = Figure("memory", "memory", "MiB", True, _number("memory_bytes"), MIB)
LOAD_SHARE = Figure("load", "load's CPU", "%", True, _number("load_cpu_share"), 100)
HANDSHAKES = Figure("handshakes", "handshakes per second", "1/s", False, _extra("handshakes_per_s"))
IDLE_BYTES = Figure("idle", "memory per idle connection", "KiB", True,
                    _extra("bytes_per_connection"), 1 / 1024)
ACCEPT_KEPT = Figure("accept_kept", "accept rate beside the queue", "% of an empty queue's", False,
                     _extra("accept_ratio"), 100)
RELAY_KEPT = Figure("relay_kept", "relay rate beside the queue", "% of an empty queue's", False,
                    _extra("relay_ratio"), 100)
GROWTH = Figure("growth", "memory that the queue adds", "MiB", True, _extra("memory_growth_bytes"),
                MIB)
RESTART = Figure("restart", "restart to the first 220", "ms", True, _extra("restart_ms"))


@dataclass(frozen=True)
class Summary:
    """A figure over the runs that were complete."""
    count: int
    median: float
    low: float
    high: float


def summarize(values: Iterable[float | None]) -> Summary | None:
    taken = [value for value in values if value is not None]
    if not taken:
        return None
    return Summary(len(taken), statistics.median(taken), min(taken), max(taken))


def complete_runs(scenario: Scenario, row: Row) -> list[Measurement]:
    return [m for m in scenario.measurements if m.key == row.key and m.status == "ok"]


def other_runs(scenario: Scenario, row: Row) -> list[Measurement]:
    return [m for m in scenario.measurements if m.key == row.key and m.status != "ok"]


def summary(scenario: Scenario, row: Row, figure: Figure) -> Summary | None:
    """Over complete runs only: a partial one did other work than was asked."""
    return summarize(figure.of(m) for m in complete_runs(scenario, row))


def is_better(figure: Figure, a: float, b: float) -> bool:
    return a < b if figure.less_is_better else a > b


def best(scenario: Scenario, rows: Iterable[Row], figure: Figure) -> tuple[Row, Summary] | None:
    """The row with the best median; None when none of them has the figure."""
    found = None
    for row in rows:
        has = summary(scenario, row, figure)
        if has and (found is None or is_better(figure, has.median, found[1].median)):
            found = row, has
    return found


def subjects(results: Results) -> list[Row]:
    """Postern's rows that may be compared with other MTAs."""
    return [row for row in results.rows if row.kind == "subject" and row.counts]


def peers(results: Results) -> list[Row]:
    return [row for row in results.rows if row.kind == "mta" and row.counts]


def floor_row(results: Results) -> Row | None:
    return next((row for row in results.rows if row.system == FLOOR and row.available), None)


@dataclass(frozen=True)
class Ratio:
    """One row's figure by another's: of the medians, and of each run that both have."""
    value: float
    runs: Summary | None


def ratio(over: tuple[Scenario, Row], under: tuple[Scenario, Row], figure: Figure) -> Ratio | None:
    """Run i by run i, for those were taken in the same round. None without both medians."""
    above, below = summary(*over, figure), summary(*under, figure)
    if above is None or below is None or below.median == 0:
        return None
    by_run = {m.run: figure.of(m) for m in complete_runs(*under)}
    each = [figure.of(m) / by_run[m.run] for m in complete_runs(*over)
            if figure.of(m) is not None and by_run.get(m.run)]
    return Ratio(above.median / below.median, summarize(each))


def load_was_limit(scenario: Scenario, row: Row) -> bool:
    return any((m.numbers.get("load_cpu_share") or 0) >= LOAD_LIMIT
               for m in complete_runs(scenario, row))


def merged_buckets(measurements: Iterable[Measurement]) -> list[tuple[int, int]]:
    """The runs' histograms added up: their bounds are the same in every run."""
    counts: dict[int, int] = {}
    for measurement in measurements:
        for least, count in measurement.buckets:
            counts[least] = counts.get(least, 0) + count
    return sorted((least, count) for least, count in counts.items() if count > 0)


def percentile_ns(buckets: list[tuple[int, int]], share: float) -> int:
    """The least nanoseconds of the bucket that holds this share. `buckets` is not empty."""
    wanted = max(1, -(-round(share * 1e9) * sum(count for _, count in buckets) // 10**9))
    passed = 0
    for least, count in buckets:
        passed += count
        if passed >= wanted:
            return least
    return buckets[-1][0]
