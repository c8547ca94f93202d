"""The short table on the terminal, at the end of a run."""
from .results import Results


def figure(value, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def cells_of(results: Results, scenario: str, system: str, row: str) -> tuple[str, ...]:
    """(status, rate, cost) of a row in a scenario, or nothing."""
    records = [r for r in results.records.get(scenario, [])
               if (r["system"], r["row"]) == (system, row)]
    if not records:
        return ()
    rate = results.median(scenario, system, row, "messages_per_s")
    cost = results.median(scenario, system, row, "cpu_us_per_message")
    if rate is None:
        return (records[-1]["status"], "-", "-")
    return ("", figure(rate), figure(cost, 1))


def lines(results: Results) -> list[str]:
    """Every scenario with its rows."""
    out = []
    for scenario in results.machine["scenarios"]:
        name = scenario["name"]
        if name not in results.records:
            continue
        out.append(f"{name}: {scenario['title']}")
        for entry in results.systems:
            cells = cells_of(results, name, entry["system"], entry["row"])
            if not cells:
                continue
            status, rate, cost = cells
            key = f"{entry['system']}/{entry['row']}"
            verdict = entry["durability"]["verdict"]
            out.append(f"  {key:24} {rate:>10} msg/s {cost:>10} us CPU a message  {verdict:8} "
                       f"{status}".rstrip())
    missing = [e for e in results.systems if not e["available"]]
    out += [f"not here: {e['system']}/{e['row']}: {e['why_not']}" for e in missing]
    return out
