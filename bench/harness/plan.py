"""What is measured, and in which order."""
import random
from dataclasses import dataclass
from fnmatch import fnmatchcase

from . import scenarios
from .errors import BenchError
from .systems import Row, System

DURABILITY = "durability"


@dataclass
class Selection:
    """What --only left."""
    scenarios: list[scenarios.Scenario]
    rows: list[Row]
    is_part: bool  # not everything that the mode has


def matches_row(pattern: str, row: Row) -> bool:
    return any(fnmatchcase(name, pattern) for name in (row.system.name, row.key, row.name))


def select(only: tuple[str, ...], extent: scenarios.Extent, systems: list[System]) -> Selection:
    """A pattern that names a scenario narrows the scenarios, another the rows. A scenario that is
    named is measured in --quick too. Raises BenchError for a pattern that fits nothing."""
    rows = [row for system in systems for row in system.rows]
    by_scenario, by_row, has_durability = [], [], False
    for pattern in only:
        found = [name for name in scenarios.BY_NAME if fnmatchcase(name, pattern)]
        if found:
            by_scenario += found
        elif fnmatchcase(DURABILITY, pattern):
            has_durability = True
        elif any(matches_row(pattern, row) for row in rows):
            by_row.append(pattern)
        else:
            raise BenchError(f"--only {pattern}: there is no such system, row or scenario; "
                             "bench/run --list names them")
    names = list(extent.scenarios)
    if by_scenario or has_durability:
        names = [name for name in scenarios.BY_NAME if name in by_scenario]
    if by_row:
        rows = [row for row in rows if any(matches_row(pattern, row) for pattern in by_row)]
    return Selection([scenarios.BY_NAME[name] for name in names], rows, bool(only))


def takes_part(scenario: scenarios.Scenario, row: Row, extent: scenarios.Extent,
               is_named: bool) -> bool:
    """Whether a row has a measurement in a scenario. Marks only where discarding is allowed; rows
    "default" of the others only where the extent says so (they tell what tuning brings, which three
    scenarios show as well as seventeen), or when they were named."""
    if not row.system.available:
        return False
    if row.discards:
        return scenario.with_marks
    if row.name == "default" and len(row.system.rows) > 1 and row.system.kind != "mark":
        return is_named or scenario.name in extent.rows_default
    return True


def runs_of(scenario: scenarios.Scenario, extent: scenarios.Extent) -> int:
    """Filling a queue, or a system with connections, takes minutes: once must do."""
    return 1 if scenario.group in ("backlog", "idle") else extent.runs


def order(selection: Selection, extent: scenarios.Extent, seed: int,
          named: tuple[str, ...] = ()) -> list[tuple[scenarios.Scenario, int, Row]]:
    """Every measurement. Rows are shuffled anew for each scenario and run, so that nothing that
    drifts (heat, the disk's state, neighbours) favours one; runs come one round after another."""
    shuffler = random.Random(seed)
    steps = []
    for run in range(1, extent.runs + 1):
        for scenario in selection.scenarios:
            if run > runs_of(scenario, extent):
                continue
            rows = [row for row in selection.rows if takes_part(
                scenario, row, extent, is_named_row(row, named))]
            shuffler.shuffle(rows)
            steps += [(scenario, run, row) for row in rows]
    return steps


def is_named_row(row: Row, only: tuple[str, ...]) -> bool:
    """Whether a pattern asks for this very row, not just for its system."""
    return any(fnmatchcase(row.key, pattern) or fnmatchcase(row.name, pattern)
               for pattern in only)


def has_kill_test(row: Row, extent: scenarios.Extent, named: tuple[str, ...]) -> bool:
    """Every row that keeps mail; in --quick rows "default" only when they are the only one."""
    if not row.system.available or row.discards:
        return False
    return (extent.name == "full" or row.name != "default" or len(row.system.rows) == 1
            or is_named_row(row, named))
