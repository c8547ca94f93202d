#!/usr/bin/env python3
"""Kills the daemon with SIGKILL at random moments under load, and compares the books afterwards.

    tests/daemon/kill_loop.py --rounds 100

`load` sends to the gateway without a pause and notes the fate of each message; the gateway relays to
`sink`, which notes each copy that came. In every other round the sink refuses for now, so that
messages are killed in the queue as well as in transfer and in delivery. At the end everything is
delivered and `sink --compare` holds one book against the other: a message that was answered 250 and
did not arrive is lost, one that was refused and arrived is unexpected; both must be none. Copies
beyond the first are allowed: at most what was being delivered when the daemon died."""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.gateway import (  # noqa: E402
    ROOT, Gateway, fixed_port, scratch_folder, settings, wait_until)

DRAIN_SECONDS_MAX = 180.0
LOAD_SECONDS_MAX = 6 * 3600  # it is ended long before


def tool(name):
    """`load` or `sink`, of the same build as the daemon."""
    build = Path(os.environ.get("POSTERN_BUILD", ROOT / "build" / "release"))
    path = build / "bench" / name
    if not os.access(path, os.X_OK):
        raise AssertionError(f"no {name} at {path}: build it, or set POSTERN_BUILD")
    return str(path)


class SinkProcess:
    def __init__(self, folder):
        self.record = folder / "received.ledger"
        self.log = open(folder / "sink.log", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [tool("sink"), "--listen", "127.0.0.1:0", "--record", str(self.record), "--latency", "5ms",
             "--json", str(folder / "sink.json")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )
        word, _, self.address = self.process.stdout.readline().strip().partition(" ")
        if word != "ready":
            raise AssertionError("the sink did not start")

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        for stream in (self.process.stdin, self.process.stdout, self.log):
            stream.close()


class LoadProcess:
    def __init__(self, folder, port, sessions):
        self.ledger = folder / "sent.ledger"
        self.log = open(folder / "load.log", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [tool("load"), "--to", f"127.0.0.1:{port}", "--sessions", str(sessions), "--messages", "0",
             "--size-mix", "1KiB:60,4KiB:30,40KiB:9,300KiB:1", "--to-address", "user@sink.test",
             "--rate", "400/s", "--reconnect", "--until-killed-ok", "--timeout", f"{LOAD_SECONDS_MAX}s",
             "--ledger", str(self.ledger), "--sync-ledger", "--json", str(folder / "load.json")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log,
        )

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)
        self.log.close()


def compare(sent, received):
    done = subprocess.run([tool("sink"), "--compare", str(sent), "--allow-doubled", "--json", "-",
                           str(received)], capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


class Kills:
    """How the rounds end: by SIGKILL. power_cut.py has another way."""

    spool = "spool"
    # True: a sync may fail, which is answered with 451, and what it was for may be on the disk all
    # the same: nobody can know. Such a message comes although it was refused, and is no loss.
    has_failed_syncs = False

    def gateway(self, config, folder):
        return Gateway(config, folder=folder)

    def end(self, gateway, _chance):
        gateway.kill()


def run(rounds, seed, sessions=20, say=lambda line: None, way=None, lives_seconds=(0.05, 0.8)):
    """Returns the summary as a dict; raises AssertionError when a message was lost."""
    way = way or Kills()
    chance = random.Random(seed)
    folder = scratch_folder()
    sink = SinkProcess(folder)
    # The same port after each start, so that the load finds it again.
    config = settings(sink_address=sink.address, listener={"address": [f"127.0.0.1:{fixed_port()}"]},
                      spool={"path": way.spool},
                      delivery={"retry": {"first": "500ms", "max": "1s", "factor": 2, "jitter": "10%"}})
    gateway = way.gateway(config, folder)
    load = None
    starts = []
    try:
        gateway.start()
        load = LoadProcess(folder, gateway.port(), sessions)
        for number in range(rounds):
            sink.say("mode refuse451" if number % 2 else "mode ok")
            lives = chance.uniform(*lives_seconds)
            time.sleep(lives)
            if load.process.poll() is not None:
                raise AssertionError(f"the load ended: {(folder / 'load.log').read_text()}")
            gateway.check_is_alive()
            way.end(gateway, chance)
            began = time.monotonic()
            gateway.start()
            starts.append(time.monotonic() - began)
            say(f"round {number + 1}: killed after {lives:.2f} s, accepting again after {starts[-1]:.2f} s")
        time.sleep(0.5)
        sink.say("mode ok")
        load.stop()
        wait_until(lambda: gateway.metric("postern_queue_messages", state="queued") == 0,
                   "the queue to drain", DRAIN_SECONDS_MAX, 0.2)
        corrupt = gateway.metric("postern_queue_messages", state="corrupt")
        failed = gateway.metric("postern_queue_messages", state="failed")
        gateway.stop()
        sink.stop()
        status, report, words = compare(load.ledger, sink.record)
        summary = {
            "rounds": rounds, "seed": seed, "corrupt": int(corrupt), "failed": int(failed),
            "restart_seconds_median": round(statistics.median(starts), 3),
            "restart_seconds_max": round(max(starts), 3), "compare": report,
        }
        if way.has_failed_syncs and report["unexpected"]:
            wrong = ("lost", "altered", "without_id", "recipients_missing", "wrong_digest", "unknown", "bad_lines")
            status = 1 if any(report[name] for name in wrong) else 0
        if status != 0 or corrupt or failed:
            raise AssertionError(f"the books differ: {json.dumps(summary, indent=2)}\n{words}\n"
                                 f"kept: {folder}")
        shutil.rmtree(folder)
        return summary
    finally:
        if load is not None:
            load.stop()
        gateway.clean_up()
        sink.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=None, help="of the moments; random when left out")
    parser.add_argument("--sessions", type=int, default=20)
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        summary = run(arguments.rounds, seed, arguments.sessions, lambda line: print(line, flush=True))
    except AssertionError as failure:
        print(failure, file=sys.stderr)
        print(f"seed {seed}", file=sys.stderr)
        sys.exit(1)
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
