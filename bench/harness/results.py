"""The JSON files of a run. RESULTS.md of bench/compare describes them."""
import json
import os
import statistics
from datetime import datetime, timezone
from pathlib import Path

from .errors import BenchError
from .scenarios import BY_NAME


def write_json(path: Path, value) -> None:
    """All of it or nothing: a reader, or an end of the power, never sees half a file."""
    new = path.with_name(f".{path.name}.new")
    with open(new, "w") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)


def read_json(path: Path):
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise BenchError(f"{path} is missing") from None
    except (ValueError, OSError) as error:
        raise BenchError(f"{path} cannot be read: {error}") from error


def dated_folder(parent: Path) -> Path:
    """A new folder named after the time; a second run in the same minute gets a number."""
    name = datetime.now(timezone.utc).strftime("%Y-%m-%d-%H%M")
    for suffix in ("", *(f"-{number}" for number in range(2, 1000))):
        folder = parent / f"{name}{suffix}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise BenchError(f"{parent} has no free name")


class Results:
    """What was measured, on the disk after each step."""

    def __init__(self, folder: Path, machine: dict, systems: list[dict],
                 records: dict[str, list[dict]]):
        self.folder = folder
        self.machine = machine
        self.systems = systems
        self.records = records

    @classmethod
    def resume(cls, folder: Path) -> "Results":
        machine = read_json(folder / "machine.json")
        records = {name: read_json(folder / f"{name}.json") for name in BY_NAME
                   if (folder / f"{name}.json").exists()}
        return cls(folder, machine, read_json(folder / "systems.json"), records)

    def write_machine(self) -> None:
        write_json(self.folder / "machine.json", self.machine)

    def write_systems(self) -> None:
        write_json(self.folder / "systems.json", self.systems)

    def add(self, record: dict) -> None:
        name = record["scenario"]
        self.records.setdefault(name, []).append(record)
        write_json(self.folder / f"{name}.json", self.records[name])

    def has(self, scenario: str, system: str, row: str, run: int) -> bool:
        return any((r["system"], r["row"], r["run"]) == (system, row, run)
                   for r in self.records.get(scenario, []))

    def system(self, system: str, row: str) -> dict | None:
        for entry in self.systems:
            if (entry["system"], entry["row"]) == (system, row):
                return entry
        return None

    def median(self, scenario: str, system: str, row: str, member: str) -> float | None:
        """Over the runs that count."""
        values = [r[member] for r in self.records.get(scenario, []) if r["status"] == "ok"
                  and (r["system"], r["row"]) == (system, row) and r[member] is not None]
        return statistics.median(values) if values else None


def scenario_list(chosen) -> list[dict]:
    return [{"name": s.name, "title": s.title, "group": s.group, "what": s.what} for s in chosen]


def system_entry(row) -> dict:
    """A member of systems.json before the kill test."""
    system = row.system
    return {"system": system.name, "row": row.name, "title": system.title, "row_title": row.title,
            "kind": system.kind, "version": system.version, "available": system.available,
            "why_not": system.why_not, "syncs_on_accept": system.syncs_on_accept,
            "comparable_to_mtas": row.comparable_to_mtas, "sessions_max": system.sessions_max,
            "notes": row.notes, "configuration": row.configuration(),
            "durability": {"verdict": "not run", "answered": 0, "found": 0, "lost": 0,
                           "doubled": 0, "altered": 0, "why": ""}}
