"""G3 and G4 when the power of the disk is cut: see power_cut.py."""

import os
import random
import subprocess
import unittest
from pathlib import Path

from tests.daemon import power_cut
from tests.support.gateway import IS_LONG, ROOT, is_sanitized, scratch_folder

CUTS = int(os.environ.get("POSTERN_POWER_CUTS", "1000" if IS_LONG and not is_sanitized() else "20"))
CUTS_UNTIL_CAUGHT = 20
PROBE = """
import os, sys
sys.path.insert(0, sys.argv[2])
from tests.daemon.power_cut import shut_down
for name, is_synced in (("synced", True), ("not-synced", False)):
    handle = os.open(os.path.join(sys.argv[1], name), os.O_WRONLY | os.O_CREAT)
    os.write(handle, b"x" * 100_000)
    if is_synced:
        os.fsync(handle)
shut_down(sys.argv[1])
"""
LOOK = 'cat "$DISK_FOLDER"/synced | wc -c; if [ -e "$DISK_FOLDER"/not-synced ]; then cat "$DISK_FOLDER"/not-synced | wc -c; else echo 0; fi'


def no_sync_library():
    build = Path(os.environ.get("POSTERN_BUILD", ROOT / "build" / "release"))
    return str((build / "tests" / "daemon" / "no_sync.so").resolve())


class PowerCutTest(unittest.TestCase):
    def need(self, kind):
        reason = power_cut.why_not(kind)
        if reason is not None:
            self.skipTest(reason)

    def cut(self, kind):
        self.need(kind)
        summary = power_cut.run(CUTS, random.randrange(1 << 32), kind)
        print(kind, summary)
        self.assertGreater(summary["compare"]["accepted"], 0)

    def test_ext4(self):
        self.cut("ext4")

    def test_xfs(self):
        self.cut("xfs")

    def test_a_cut_takes_what_was_not_synced(self):
        self.need("ext4")
        folder = scratch_folder()
        power_cut.make_image(folder, "ext4")

        def inside(*command):
            return subprocess.run(
                ["unshare", "-m", "sh", "-c", power_cut.SCRIPT, "sh", *command], check=True,
                env=power_cut.environment(folder), capture_output=True, text=True).stdout

        inside("python3", "-B", "-c", PROBE, str(folder / "disk"), str(ROOT))
        power_cut.wait_until(lambda: not power_cut.is_attached(folder), "the disk to be let go of")
        self.assertEqual(inside("sh", "-c", LOOK).split(), ["100000", "0"])

    @unittest.skipIf(is_sanitized(), "a sanitizer wants to be loaded first")
    def test_without_syncs_it_is_found_out(self):
        self.need("ext4")
        with self.assertRaises(AssertionError) as caught:
            power_cut.run(CUTS_UNTIL_CAUGHT, random.randrange(1 << 32), "ext4", preload=no_sync_library())
        words = str(caught.exception)
        self.assertTrue("the books differ" in words or "did not get ready" in words, words)
