"""Runs the functions of a test program that are named test_*, each with a folder of its own."""
import tempfile
import time


def run(functions, only):
    """Those of `functions` (a module's globals), or the ones named in `only`; 0, or 1 when one has
    failed or there was none to run."""
    failed = count = 0
    for name, test in list(functions.items()):
        if not name.startswith("test_") or (only and name not in only):
            continue
        count += 1
        with tempfile.TemporaryDirectory(prefix="postern-bench-") as directory:
            start = time.monotonic()
            try:
                test(directory)
                result = "ok"
            except Exception as error:  # the next tests run all the same
                failed += 1
                result = "FAILED %s: %s" % (type(error).__name__, error)
            print(f"{name}: {result} ({time.monotonic() - start:.1f} s)", flush=True)
    return 1 if failed or count == 0 else 0
