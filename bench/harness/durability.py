"""The kill test: SIGKILL under load, start again, and look for everything that got 250.

A process that is killed loses what it had not given to the kernel, so this finds systems that
answer before they write. It does not find those that write without a sync: for that, the power
would have to fail. What a system's source says about syncs is in its system.toml."""
import time
from pathlib import Path

from .errors import BenchError
from .server import Server
from .systems import Row
from .tools import Load, Sink, compare_ledgers

SESSIONS = 20
KILL_SECONDS = 1.5       # of load, for systems that are fast
LOOK_SECONDS = 0.5       # after so long it is known which are not
SLOW_RATE = 3000         # messages a second; slower ones deliver slowly too, so fewer must do
SLOW_ANSWERS = 400
LOAD_SECONDS_MAX = 20.0  # a system that answers nothing for so long has failed the test
QUIET_SECONDS = 10.0         # without anything new, while some is missing
QUIET_SECONDS_AT_END = 2.0   # when as many came as were answered
DELIVERY_SECONDS_MAX = 60.0
RETRY_S = 1              # what was deferred before the kill is due soon after it
COPIES = ("doubled", "altered")


def new_result(verdict: str, why: str = "") -> dict:
    return {"verdict": verdict, "answered": 0, "found": 0, "lost": 0, "doubled": 0, "altered": 0,
            "why": why}


def count_fates(ledger: Path) -> tuple[int, int]:
    """(answered with 250, not answered at all) in a load's ledger. Its last line may be cut."""
    answered = unsure = 0
    try:
        with open(ledger, "rb") as file:
            for line in file:
                fate = fate_of(line)
                answered += fate == b"250"
                unsure += fate == b"lost"
    except FileNotFoundError:
        pass
    return answered, unsure


def count_answered(ledger: Path) -> int:
    return count_fates(ledger)[0]


def fate_of(line: bytes) -> bytes:
    """The status of a whole line; empty for a cut one."""
    fields = line.split()
    return fields[3] if len(fields) == 5 and line.endswith(b"\n") else b""


def is_time_to_kill(elapsed: float, answered: int) -> bool:
    if elapsed < LOOK_SECONDS or answered == 0:
        return False
    is_slow = answered / elapsed < SLOW_RATE
    return answered >= SLOW_ANSWERS if is_slow else elapsed >= KILL_SECONDS


def kill_under_load(context, server: Server, ledger: Path) -> None:
    """Returns after the kill, when the load has ended and its ledger is whole."""
    sessions = min(SESSIONS, server.row.system.sessions_max or SESSIONS)
    arguments = ["--sessions", str(sessions), "--size", "4KiB", "--messages", "0", "--reconnect",
                 "--until-killed-ok", "--ledger", str(ledger), "--sync-ledger"]
    with Load(context, server.port.number, arguments, LOAD_SECONDS_MAX) as load:
        begun = time.monotonic()
        while not is_time_to_kill(time.monotonic() - begun, count_answered(ledger)):
            if not server.is_alive():
                raise BenchError(f"it ended before it was killed{server.log_text()}")
            if not load.is_running():
                raise BenchError(f"the load ended before the kill: {load.said()}")
            if time.monotonic() - begun > LOAD_SECONDS_MAX:
                if count_answered(ledger) == 0:
                    raise BenchError(f"it answered no message in {LOAD_SECONDS_MAX:g} s"
                                     f"{server.log_text()}")
                break
            time.sleep(0.02)
        server.kill()
        time.sleep(0.1)  # answers that were on their way reach the ledger
        load.terminate(10.0)


def deliver(context, server: Server, received: Path, answered: int, unsure: int) -> bool:
    """Starts it over the same state and takes what it delivers; False when the time was too short.

    What the load got no answer for (`unsure`) may arrive or not, so the count alone does not say
    that all is in: unless everything came, it must have been quiet for a moment."""
    with Sink(context, server.next_port.give(), "--record", str(received)) as sink:
        server.start("relay", retry_s=RETRY_S)
        begun = changed = time.monotonic()
        last, is_quiet = 0, False
        while not is_quiet and time.monotonic() - begun < DELIVERY_SECONDS_MAX:
            distinct = sink.counts()["distinct"]
            if distinct != last:
                last, changed = distinct, time.monotonic()
            needed = QUIET_SECONDS_AT_END if distinct >= answered else QUIET_SECONDS
            is_quiet = distinct >= answered + unsure or time.monotonic() - changed > needed
            time.sleep(0.05)
        sink.terminate(10.0)
    return is_quiet


def verdict_of(answered: int, comparison: dict, is_quiet: bool) -> dict:
    """What the two ledgers say."""
    lost = comparison.get("lost", 0)
    result = new_result("kept") | {"answered": answered, "lost": lost, "found": answered - lost}
    for name in COPIES:
        result[name] = comparison.get(name, 0)
    wrong = [f"{comparison[name]} {text}" for name, text in (
        ("altered", "came altered"), ("wrong_digest", "came with another body"),
        ("recipients_missing", "came for too few recipients"),
        ("unexpected", "came although they were refused"),
        ("without_id", "came without their mark")) if comparison.get(name)]
    if lost and not is_quiet:
        return result | {"verdict": "failed", "why": (
            f"it still delivered {DELIVERY_SECONDS_MAX:g} s after the restart: {lost} were not in")}
    if lost or wrong:
        texts = ([f"{lost} of {answered} were not there after the kill"] if lost else []) + wrong
        return result | {"verdict": "lost", "why": "; ".join(texts)}
    return result


def run(context, row: Row) -> dict:
    """The test of one row."""
    if row.discards:
        return new_result("none", "it discards what it takes")
    try:
        return test(context, row)
    except BenchError as error:
        return new_result("failed", str(error))


def test(context, row: Row) -> dict:
    sent, received = context.state_folder / "sent.ledger", context.state_folder / "received.ledger"
    for ledger in (sent, received):
        ledger.unlink(missing_ok=True)
    try:
        with Server(context, row, "server") as server:
            server.start("queue", retry_s=RETRY_S)
            kill_under_load(context, server, sent)
            answered, unsure = count_fates(sent)
            is_quiet = deliver(context, server, received, answered, unsure)
            stop_text = server.stop()
            result = verdict_of(answered, compare_ledgers(context, sent, received), is_quiet)
            if stop_text and result["verdict"] == "kept":
                result["why"] = f"beside the test: {stop_text}"
            return result
    finally:
        for ledger in (sent, received):
            ledger.unlink(missing_ok=True)
