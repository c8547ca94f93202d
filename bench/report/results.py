"""Reads the JSON files of one run (bench/compare/RESULTS.md) and checks them.

A file that is wrong is an error that names the file and the member, never a figure left out
silently: a report with holes that nobody sees would be worse than none.
"""
from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.report.errors import ReportError

KINDS = ("subject", "mta", "mark")
VERDICTS = ("kept", "lost", "failed", "none", "not run")
STATUSES = ("ok", "partial", "failed", "unsupported")
GROUPS = ("accept", "relay", "latency", "tls", "idle", "backlog")
PERCENTILES = ("p50", "p90", "p99", "p999", "max")
FLOOR = "floor"

_NUMBERS = ("messages", "seconds", "messages_per_s", "mib_per_s", "cpu_us_per_message",
            "load_cpu_us_per_message", "load_cpu_share", "memory_bytes", "memory_before_bytes",
            "sessions", "rate_wanted")
_MISSING = object()


@dataclass(frozen=True)
class Durability:
    """What the kill test found for one row."""
    verdict: str
    answered: int | None = None
    found: int | None = None
    lost: int | None = None
    doubled: int | None = None
    altered: int | None = None
    why: str = ""


@dataclass(frozen=True)
class Row:
    """One configuration of one system: the thing that is measured."""
    system: str
    row: str
    title: str
    row_title: str
    kind: str
    version: str
    available: bool
    why_not: str
    syncs_on_accept: bool
    notes: tuple[str, ...]
    configuration: str
    durability: Durability
    comparable_to_mtas: bool = True

    @property
    def key(self) -> tuple[str, str]:
        return self.system, self.row

    @property
    def name(self) -> str:
        """As in "Postfix tuned". A mark's one row needs no name."""
        return self.title if self.kind == "mark" else f"{self.title} {self.row}"

    @property
    def counts(self) -> bool:
        """Whether it does an MTA's work and proved that it keeps mail: only such rows are
        compared with each other. A row that nobody tested has proved nothing."""
        return (self.available and self.kind != "mark" and self.comparable_to_mtas
                and self.durability.verdict == "kept")

    @property
    def may_face_floor(self) -> bool:
        """Marks and rows made for the floor have nothing to prove; losing mail disqualifies."""
        return self.durability.verdict not in ("lost", "failed")


@dataclass(frozen=True)
class Measurement:
    """One run of one row in one scenario. A figure that was not taken is None."""
    system: str
    row: str
    run: int
    status: str
    why: str
    numbers: dict[str, float | None]
    latency_us: dict[str, float | None]
    buckets: tuple[tuple[int, int], ...]
    errors: dict[str, int]
    extra: dict[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        return self.system, self.row


@dataclass(frozen=True)
class Scenario:
    """What was done, and every measurement of it. `measured` is false when its file is not
    there, which only an incomplete run may have."""
    name: str
    title: str
    group: str
    what: str
    measured: bool
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True)
class Results:
    """One run of the benchmark."""
    machine: dict[str, Any]
    rows: tuple[Row, ...]
    scenarios: tuple[Scenario, ...]
    by_key: dict[tuple[str, str], Row] = field(default_factory=dict)

    def scenario(self, name: str) -> Scenario | None:
        return next((s for s in self.scenarios if s.name == name), None)

    def group(self, group: str) -> list[Scenario]:
        return [s for s in self.scenarios if s.group == group]


class _Members:
    """Takes typed members out of one JSON object; a wrong one is an error that says where."""

    def __init__(self, value: Any, where: str):
        if not isinstance(value, dict):
            raise ReportError(f"{where} is not a JSON object")
        self.value, self.where = value, where

    def take(self, name: str, kind: type | tuple[type, ...], default: Any = _MISSING) -> Any:
        value = self.value.get(name, _MISSING)
        if value is _MISSING:
            if default is _MISSING:
                raise ReportError(f"{self.where} has no member \"{name}\"")
            return default
        wrong = isinstance(value, bool) and kind is not bool
        if wrong or not isinstance(value, kind):
            raise ReportError(f"{self.where}: \"{name}\" is {json.dumps(value)[:60]}, "
                              f"which is none of what RESULTS.md allows")
        return _clean(value) if isinstance(value, str) else value

    def text(self, name: str, default: Any = _MISSING) -> str:
        return self.take(name, str, default)

    def number(self, name: str, default: Any = _MISSING) -> float | None:
        """null means that there is no figure, as a missing optional member does."""
        if name in self.value and self.value[name] is None:
            return None
        return self.take(name, (int, float), default)

    def one_of(self, name: str, allowed: tuple[str, ...]) -> str:
        value = self.text(name)
        if value not in allowed:
            raise ReportError(f"{self.where}: \"{name}\" is \"{value}\"; "
                              f"allowed: {', '.join(allowed)}")
        return value

    def inner(self, name: str) -> "_Members":
        return _Members(self.take(name, dict), f"{self.where}: \"{name}\"")


def _clean(text: str) -> str:
    """A file may hold what no document can: half characters and control characters."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c in "\n\t" or (c >= " " and c != "\x7f") else "\N{REPLACEMENT CHARACTER}"
                   for c in whole.replace("\r\n", "\n"))


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no figure")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no figure")
    return value


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ReportError(f"{path} is missing; is {path.parent} a folder that bench/run wrote?"
                          ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path} cannot be read: {error}") from error
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{path} is not valid JSON: {error}") from error


def _list(value: Any, where: str) -> list:
    if not isinstance(value, list):
        raise ReportError(f"{where} is not a JSON list")
    return value


def _durability(members: _Members) -> Durability:
    counts = {name: members.number(name, None)
              for name in ("answered", "found", "lost", "doubled", "altered")}
    return Durability(verdict=members.one_of("verdict", VERDICTS), why=members.text("why", ""),
                      **counts)


def _row(value: Any, where: str) -> Row:
    m = _Members(value, where)
    notes = _list(m.take("notes", list, []), f"{where}: \"notes\"")
    return Row(system=m.text("system"), row=m.text("row"), title=m.text("title"),
               row_title=m.text("row_title"), kind=m.one_of("kind", KINDS),
               version=m.text("version"), available=m.take("available", bool),
               why_not=m.text("why_not", ""), syncs_on_accept=m.take("syncs_on_accept", bool),
               notes=tuple(_clean(str(note)) for note in notes),
               configuration=m.text("configuration", ""),
               durability=_durability(m.inner("durability")),
               comparable_to_mtas=m.take("comparable_to_mtas", bool, True))


def _buckets(value: Any, where: str) -> tuple[tuple[int, int], ...]:
    buckets = []
    for pair in _list(value if value is not None else [], where):
        if not (isinstance(pair, list) and len(pair) == 2
                and all(type(number) is int and number >= 0 for number in pair)):
            raise ReportError(f"{where} has {json.dumps(pair)[:60]}, which is no "
                              f"[least nanoseconds, count]")
        buckets.append((pair[0], pair[1]))
    return tuple(buckets)


def _measurement(value: Any, where: str) -> Measurement:
    m = _Members(value, where)
    latency = m.value.get("latency_us")
    latency = _Members(latency if latency is not None else {}, f"{where}: \"latency_us\"")
    errors = _Members(m.value.get("errors") or {}, f"{where}: \"errors\"")
    extra = m.value.get("extra")
    run = m.take("run", int)
    if run < 1:
        raise ReportError(f"{where}: \"run\" is {run}; runs are counted from 1")
    return Measurement(
        system=m.text("system"), row=m.text("row"), run=run,
        status=m.one_of("status", STATUSES), why=m.text("why", ""),
        numbers={name: m.number(name, None) for name in _NUMBERS},
        latency_us={name: latency.number(name, None) for name in PERCENTILES},
        buckets=_buckets(m.value.get("buckets"), f"{where}: \"buckets\""),
        errors={_clean(code): errors.take(code, int) for code in errors.value},
        extra=_Members(extra if extra is not None else {}, f"{where}: \"extra\"").value)


def _measurements(path: Path, name: str, by_key: dict) -> tuple[Measurement, ...]:
    measurements, seen = [], set()
    for index, value in enumerate(_list(_read(path), str(path))):
        where = f"{path}: measurement {index + 1}"
        one = _measurement(value, where)
        if _Members(value, where).text("scenario", name) != name:
            raise ReportError(f"{where} is of another scenario")
        if one.key not in by_key:
            raise ReportError(f"{where} is of {one.system}/{one.row}, "
                              f"which systems.json does not have")
        if (one.key, one.run) in seen:
            raise ReportError(f"{where} is a second one of {one.system}/{one.row}, run {one.run}")
        seen.add((one.key, one.run))
        measurements.append(one)
    return tuple(measurements)


def _scenario(folder: Path, value: Any, where: str, complete: bool, by_key: dict) -> Scenario:
    m = _Members(value, where)
    name = m.text("name")
    if not name or not all(c.isascii() and (c.isalnum() or c in "-_.") for c in name) \
            or name.startswith("."):
        raise ReportError(f"{where}: \"name\" is \"{name}\", which is no name of a file")
    path = folder / f"{name}.json"
    measured = complete or path.exists()
    return Scenario(name=name, title=m.text("title"), group=m.one_of("group", GROUPS),
                    what=m.text("what", ""), measured=measured,
                    measurements=_measurements(path, name, by_key) if measured else ())


def _machine(path: Path) -> dict[str, Any]:
    """Its members are shown as they are; only those that steer the report are checked."""
    m = _Members(_read(path), str(path))
    for name in ("date", "mode", "kernel", "cpu", "postern"):
        m.text(name)
    m.take("runs", int)
    m.take("complete", bool)
    m.take("scenarios", list)
    return {name: _clean(value) if isinstance(value, str) else value
            for name, value in m.value.items()}


def _rows(path: Path) -> tuple[Row, ...]:
    rows = [_row(value, f"{path}: member {index + 1}")
            for index, value in enumerate(_list(_read(path), str(path)))]
    if len({row.key for row in rows}) != len(rows):
        raise ReportError(f"{path} has a row of a system twice")
    # Postern first, then the peers, then the marks: every table and plot has this order.
    return tuple(sorted(rows, key=lambda row: KINDS.index(row.kind)))


def load(folder: Path) -> Results:
    """Reads a folder of results. Raises ReportError."""
    if not folder.is_dir():
        raise ReportError(f"{folder} is no folder; bench/run writes one below bench/results/")
    machine = _machine(folder / "machine.json")
    rows = _rows(folder / "systems.json")
    by_key = {row.key: row for row in rows}
    scenarios = tuple(
        _scenario(folder, value, f"{folder / 'machine.json'}: scenario {index + 1}",
                  machine["complete"], by_key)
        for index, value in enumerate(machine["scenarios"]))
    return Results(machine, rows, scenarios, by_key)
