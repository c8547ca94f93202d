#!/usr/bin/env python3
"""Runs each part of tls once, short: the figures are there and within reason.

tls_test.py BIN_DIR
"""
import os
import subprocess
import sys

sys.dont_write_bytecode = True  # nothing is left in the source tree

import runner

TOOL = os.path.join(sys.argv[1], "tls")
CPUS = sorted(os.sched_getaffinity(0))


def tls(*options, want_exit=0):
    """Runs the tool; its lines as pairs of the words without "=" and a dictionary of the others."""
    done = subprocess.run([TOOL, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=200, check=False)
    assert done.returncode == want_exit, (done.returncode, done.stderr)
    lines = []
    for line in done.stdout.splitlines():
        words = line.split()
        lines.append((" ".join(word for word in words if "=" not in word),
                      dict(word.split("=", 1) for word in words if "=" in word)))
    return lines


def measure(part, *options):
    return tls("--only", part, "--seconds", "1", "--server-cpu", str(CPUS[0]),
               "--client-cpu", str(CPUS[-1]), *options)


def files_left():
    return {name for name in os.listdir("/tmp") if name.startswith("postern-bench-tls-")}


def test_what_it_is_told(_directory):
    before = files_left()
    tls("--help")
    tls("--only", "nothing", want_exit=64)
    tls("--seconds", "0", want_exit=64)
    tls("beside", want_exit=64)
    tls("--client-cpu", "1023", want_exit=64)
    assert files_left() <= before


def test_handshakes(_directory):
    before = files_left()
    lines = measure("handshakes")
    ratios = [values for name, values in lines if name.startswith("ratio")]
    assert len(ratios) == 7, lines
    assert all(0.05 < float(values["ours_to_s_server"]) < 50 for values in ratios), ratios
    counted = [values for name, values in lines if name.startswith("handshakes")]
    assert len(counted) == 14, lines
    assert all(int(values["count"]) > 0 and float(values["server_cpu_us"]) > 1
               for values in counted), counted
    assert files_left() <= before


def test_bulk(_directory):
    lines = measure("bulk")
    bulk = [values for name, values in lines if name.startswith("bulk")]
    assert len(bulk) == 4, lines
    assert all(float(values["bytes_per_second"]) > 1e6 for values in bulk), bulk


def test_memory(_directory):
    found = {name: values for name, values in measure("memory", "--idle", "500")}
    assert found["memory tls"]["connections"] == "500", found
    assert found["memory plain"]["connections"] == "500", found
    # A sanitizer keeps what was freed, and counts as memory.
    most = 50000 if "asan" not in sys.argv[1] else float("inf")
    assert 5000 < float(found["memory tls"]["bytes_per_connection"]) < most, found


def test_flood(_directory):
    lines = measure("flood")
    assert len(lines) == 6, lines
    assert all(int(values["answers"]) > 0 for _, values in lines), lines
    assert float(lines[-1][1]["hellos_per_second"]) > 0, lines


if __name__ == "__main__":
    sys.exit(runner.run(globals(), sys.argv[2:]))
