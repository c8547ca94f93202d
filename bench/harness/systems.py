"""The folders of bench/compare: read, and held to the contract of its README.md."""
import os
import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .errors import BenchError

SCRIPTS = ("install", "start", "stop", "check")
KINDS = ("subject", "mta", "mark")
MODES = ("queue", "relay", "discard")
EXIT_UNAVAILABLE = 69
INSTALL_SECONDS_MAX = 900

# Runs a script with a time limit (BenchError when it is over) and returns what it said.
Runner = Callable[[Path, float], subprocess.CompletedProcess]

# name of a member: (its type, whether it must be there)
SYSTEM_MEMBERS = {"title": (str, True), "kind": (str, True), "modes": (list, True),
                  "tls": (list, True), "needs_root": (bool, True), "pipelining": (bool, True),
                  "sessions_max": (int, True), "syncs_on_accept": (bool, True),
                  "notes": (list, False), "rows": (dict, True),
                  "comparable_to_mtas": (bool, False), "relays_beside_queue": (bool, False)}
ROW_MEMBERS = {"file": (str, False), "title": (str, True), "modes": (list, False),
               "comparable_to_mtas": (bool, False), "notes": (list, False)}


@dataclass
class Row:
    """One configuration of a system: what is measured."""
    name: str
    title: str
    file: Path | None
    modes: list[str]
    comparable_to_mtas: bool
    notes: list[str]
    system: "System" = field(repr=False, default=None)

    @property
    def key(self) -> str:
        return f"{self.system.name}/{self.name}"

    @property
    def discards(self) -> bool:
        """It keeps nothing that a kill test could look for."""
        return "queue" not in self.modes

    def configuration(self) -> str:
        return self.file.read_text(errors="replace") if self.file is not None else ""


@dataclass
class System:
    """One folder."""
    name: str
    folder: Path
    title: str
    kind: str
    tls: list[str]
    needs_root: bool
    pipelining: bool
    sessions_max: int
    syncs_on_accept: bool
    relays_beside_queue: bool
    rows: list[Row]
    version: str = ""
    why_not: str = "it was not installed"
    is_broken: bool = False  # its folder breaks the contract; nothing of it is run

    @property
    def available(self) -> bool:
        return self.why_not == ""

    def script(self, name: str) -> Path:
        return self.folder / name


def check_members(place: str, table: dict, members: dict) -> list[str]:
    """What is wrong with a table of system.toml, a sentence each."""
    wrong = [f"{place}: \"{name}\" is not known" for name in table if name not in members]
    for name, (kind, is_needed) in members.items():
        if name not in table:
            if is_needed:
                wrong.append(f"{place}: \"{name}\" is missing")
        elif not isinstance(table[name], kind) or (kind is int and isinstance(table[name], bool)):
            wrong.append(f"{place}: \"{name}\" must be of type {kind.__name__}")
    return wrong


def check_values(place: str, table: dict) -> list[str]:
    """Members that have only some values."""
    wrong = []
    if table.get("kind", KINDS[0]) not in KINDS:
        wrong.append(f"{place}: kind must be one of {', '.join(KINDS)}")
    for name, known in (("modes", MODES), ("tls", ("starttls", "implicit"))):
        for value in table.get(name, []):
            if value not in known:
                wrong.append(f"{place}: {name} has \"{value}\"; there are {', '.join(known)}")
    if "modes" in table and not table["modes"]:
        wrong.append(f"{place}: modes is empty")
    return wrong


def check_folder(folder: Path) -> tuple[dict, list[str]]:
    """The table of a folder, and everything that is wrong with the folder."""
    place = f"{folder.name}/system.toml"
    try:
        table = tomllib.loads((folder / "system.toml").read_text())
    except FileNotFoundError:
        return {}, [f"{place} is missing"]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return {}, [f"{place}: {error}"]
    wrong = check_members(place, table, SYSTEM_MEMBERS)
    if not wrong:
        wrong = check_values(place, table)
    if not wrong and not table["rows"]:
        wrong = [f"{place}: there is no row"]
    for name, row in table.get("rows", {}).items() if not wrong else ():
        inner = f"{place}, row {name}"
        wrong += check_members(inner, row, ROW_MEMBERS) or check_values(inner, row)
        if isinstance(row.get("file"), str) and not (folder / row["file"]).is_file():
            wrong.append(f"{inner}: there is no file {row['file']}")
    for script in SCRIPTS:
        path = folder / script
        if not path.is_file():
            wrong.append(f"{folder.name}/{script} is missing")
        elif not os.access(path, os.X_OK):
            wrong.append(f"{folder.name}/{script} is not executable")
    return table, wrong


def read_row(name: str, row: dict, table: dict, folder: Path) -> Row:
    comparable = table.get("comparable_to_mtas", table["kind"] != "mark")
    return Row(name=name, title=row["title"],
               file=folder / row["file"] if "file" in row else None,
               modes=row.get("modes", table["modes"]),
               comparable_to_mtas=row.get("comparable_to_mtas", comparable),
               notes=table.get("notes", []) + row.get("notes", []))


def read_system(folder: Path) -> System:
    table, wrong = check_folder(folder)
    if wrong:
        raise BenchError("; ".join(wrong))
    rows = [read_row(name, row, table, folder) for name, row in table["rows"].items()]
    system = System(folder.name, folder, table["title"], table["kind"], table["tls"],
                    table["needs_root"], table["pipelining"], table["sessions_max"],
                    table["syncs_on_accept"], table.get("relays_beside_queue", False), rows)
    for row in rows:
        row.system = system
    return system


def broken_system(folder: Path, why: str) -> System:
    """Stands for a folder that breaks the contract: a row that says so, not a run that ends."""
    system = System(folder.name, folder, folder.name, "mta", [], False, False, 0, False, False, [],
                    why_not=why, is_broken=True)
    system.rows = [Row("default", "", None, ["queue"], False, [], system)]
    return system


ORDER = ("subject", "mta", "mark")


def read_all(compare: Path) -> list[System]:
    """All systems: Postern, then the others, then the marks."""
    systems = []
    for folder in sorted(compare.iterdir()):
        if not folder.is_dir():
            continue
        try:
            systems.append(read_system(folder))
        except BenchError as error:
            systems.append(broken_system(folder, str(error)))
    return sorted(systems, key=lambda system: (ORDER.index(system.kind), system.name))


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def install(system: System, runner: Runner) -> None:
    """Runs its `install`; afterwards it is available, or says why it is not."""
    if system.is_broken:
        return
    if system.needs_root and os.geteuid() != 0:
        system.why_not = "it can only run as root"
        return
    try:
        done = runner(system.script("install"), INSTALL_SECONDS_MAX)
    except BenchError as error:
        system.why_not = str(error)
        return
    why = last_line(done.stderr)
    if done.returncode == EXIT_UNAVAILABLE:
        system.why_not = why or "its install says that it cannot be had here, and not why"
    elif done.returncode != 0:
        system.why_not = f"its install failed with status {done.returncode}: {why or 'no reason'}"
    elif not last_line(done.stdout):
        system.why_not = "its install printed no version"
    else:
        system.version = last_line(done.stdout)
        system.why_not = ""
