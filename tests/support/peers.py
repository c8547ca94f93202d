"""Other people's programs: where scripts/peers has unpacked them, and how they run from there.

    peers.Program("msmtp", "usr/bin/msmtp").run("--version")

Nothing is looked for elsewhere on the machine: the version that runs is the one of Debian 12."""

import os
import subprocess
import unittest
from pathlib import Path

from tests.support.gateway import ROOT

FOLDER = ROOT / "build" / "peers"
TRIPLET = f"{os.uname().machine}-linux-gnu"
RUN_SECONDS_MAX = 180.0


def folder(package):
    path = FOLDER / package
    if not path.is_dir():
        raise AssertionError(f"{package} is not below {FOLDER}: run scripts/peers --tests")
    return path


def skip(why):
    """Skips the test for what this machine does not allow; where nothing may be skipped, it fails."""
    if os.environ.get("POSTERN_TEST_COMPLETE") == "1":
        raise AssertionError(f"{why}; and POSTERN_TEST_COMPLETE=1 allows no test to be skipped")
    raise unittest.SkipTest(why)


def environment(*packages, **changes):
    """The machine's, with the libraries that were unpacked beside these packages."""
    result = {**os.environ, "LC_ALL": "C"}
    if packages:
        result["LD_LIBRARY_PATH"] = ":".join(
            f"{folder(package)}/{where}/{TRIPLET}" for package in packages
            for where in ("usr/lib", "lib"))
    result.update({key: str(value) for key, value in changes.items()})
    return result


class Program:
    """One that is given all it needs as arguments and standard input."""

    def __init__(self, package, path, **environment_changes):
        self.path = folder(package) / path
        self.environment = environment(package, **environment_changes)
        if not os.access(self.path, os.X_OK):
            raise AssertionError(f"{self.path} cannot be run: remove {FOLDER / package} and run "
                                 "scripts/peers --tests")

    def run(self, *arguments, **options):
        return run([str(self.path), *arguments], env=self.environment, **options)


def run(command, given=None, given_file=None, seconds=RUN_SECONDS_MAX, statuses=(0,), **options):
    """Runs it to its end, which must be one of `statuses`, and returns what it printed. Its standard
    input is `given` (bytes), the file, or nothing."""
    command = [str(part) for part in command]
    source = {"stdin": subprocess.DEVNULL}
    opened = None
    if given is not None:
        source = {"input": given}
    elif given_file is not None:
        opened = open(given_file, "rb")  # closed below; subprocess.run() has its own copy
        source = {"stdin": opened}
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=seconds, check=False, **source, **options)
    except subprocess.TimeoutExpired as timeout:
        said = (timeout.stdout or b"").decode("utf-8", "replace")[-3000:]
        raise AssertionError(f"not done in {seconds} s: {' '.join(command)}\n{said}") from None
    finally:
        if opened is not None:
            opened.close()
    said = done.stdout.decode("utf-8", "replace")
    if done.returncode not in statuses:
        raise AssertionError(f"status {done.returncode}: {' '.join(command)}\n{said[-3000:]}")
    return said


def path_of(*parts):
    """A file of this project, for programs that want a path."""
    return Path(ROOT, *parts)
