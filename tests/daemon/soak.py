#!/usr/bin/env python3
"""An hour of mixed load with faults: memory, descriptors and latency stay flat, nothing is lost.

    tests/daemon/soak.py --seconds 3600

`load` sends messages of all sizes without a pause, over sessions that it opens anew after every few
messages; other clients hang up in the middle of a message, idle, or only connect. The next hop takes
turns: well, deferring, dropping the connection after the dot, slow. The figures of the last third are
held against those of the first; a run of less than ten minutes only tells them."""

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.daemon.kill_loop import LoadProcess, SinkProcess, compare  # noqa: E402
from tests.support.gateway import Gateway, scratch_folder, settings, wait_until  # noqa: E402

MODES = ("ok", "refuse451", "ok", "drop-after-dot")
MODE_SECONDS = 5.0
SAMPLE_SECONDS = 1.0
DRAIN_SECONDS_MAX = 300.0
MEMORY_GROWTH_MAX = 1.25
MEMORY_SPARE_BYTES = 16 << 20
DESCRIPTORS_SPARE = 64
LATENCY_GROWTH_MAX = 2.0
LATENCY_SPARE_SECONDS = 0.05
JUDGED_SECONDS_MIN = 600  # before that the pools and caches are still filling up


def resident_bytes(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


class Nuisance:
    """Clients that cost and bring nothing; a bounded number of them."""

    CONNECTIONS = 30

    def __init__(self, port, chance):
        self.port = port
        self.chance = chance
        self.open = []

    def step(self):
        while len(self.open) >= self.CONNECTIONS:
            self.open.pop(self.chance.randrange(len(self.open))).close()
        try:
            connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
            connection.sendall(self.chance.choice([
                b"", b"EHLO idle.test\r\n", b"NOOP\r\n" * 3, bytes(range(128, 256)),
                b"EHLO cut.test\r\n"]))
            self.open.append(connection)
        except OSError:
            pass  # refused for the limit of one client: as it should be

    def close(self):
        for connection in self.open:
            connection.close()


def latency(gateway):
    """Seconds for the answer to a message of a client that has nothing else to do."""
    with gateway.client(timeout=60) as client:
        began = time.monotonic()
        reply = client.mail("probe@client.test", ["probe@void.test"], b"Subject: probe\r\n\r\nx\r\n")
        if reply.code != 250:
            raise AssertionError(f"a probe was refused: {reply}")
        return time.monotonic() - began


def compare_thirds(samples, is_judged):
    third = max(1, len(samples) // 3)
    def median(part, name):
        return statistics.median(sample[name] for sample in part)
    report = {}
    limits = {"memory": (MEMORY_GROWTH_MAX, MEMORY_SPARE_BYTES), "descriptors": (1, DESCRIPTORS_SPARE),
              "latency": (LATENCY_GROWTH_MAX, LATENCY_SPARE_SECONDS)}
    for name, (growth, spare) in limits.items():
        first, last = median(samples[:third], name), median(samples[-third:], name)
        report[name] = {"first_third": first, "last_third": last}
        if is_judged and last > first * growth + spare:
            raise AssertionError(f"{name} grows: {json.dumps(report)}")
    return report


def run(seconds, seed, say=lambda line: None):
    chance = random.Random(seed)
    folder = scratch_folder()
    sink = SinkProcess(folder)
    gateway = Gateway(settings(
        sink_address=sink.address, listener={"limits": {"connections_per_client": 200}},
        delivery={"retry": {"first": "500ms", "max": "2s", "factor": 2, "jitter": "10%"}}), folder=folder)
    load = None
    samples = []
    try:
        gateway.start()
        nuisance = Nuisance(gateway.port(), chance)
        load = LoadProcess(folder, gateway.port(), 20)
        began = time.monotonic()
        while (now := time.monotonic() - began) < seconds:
            sink.say("mode " + MODES[int(now / MODE_SECONDS) % len(MODES)])
            nuisance.step()
            time.sleep(SAMPLE_SECONDS)
            gateway.check_is_alive()
            if load.process.poll() is not None:
                raise AssertionError("the load has ended")
            pid = gateway.process.pid
            samples.append({"memory": resident_bytes(pid), "latency": latency(gateway),
                            "descriptors": len(os.listdir(f"/proc/{pid}/fd"))})
            if len(samples) % 60 == 0:
                say(f"{now:.0f} s: {samples[-1]}")
        nuisance.close()
        sink.say("mode ok")
        load.stop()
        wait_until(lambda: gateway.metric("postern_queue_messages", state="queued") == 0,
                   "the queue to drain", DRAIN_SECONDS_MAX, 0.2)
        gateway.stop()
        sink.stop()
        status, report, words = compare(load.ledger, sink.record)
        if status != 0:
            raise AssertionError(f"the books differ: {json.dumps(report)}\n{words}\nkept: {folder}")
        summary = {"seconds": seconds, "seed": seed, "flat": compare_thirds(samples, seconds >= JUDGED_SECONDS_MIN),
                   "compare": report}
        shutil.rmtree(folder)
        return summary
    finally:
        if load is not None:
            load.stop()
        gateway.clean_up()
        sink.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    try:
        summary = run(arguments.seconds, arguments.seed, lambda line: print(line, flush=True))
    except AssertionError as failure:
        print(failure, file=sys.stderr)
        print(f"seed {arguments.seed}", file=sys.stderr)
        sys.exit(1)
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
