"""Mixed load with faults for an hour, with --long; else for a moment, so that the way there is tried:
see soak.py."""

import os
import random
import unittest

from tests.daemon import soak
from tests.support.gateway import IS_LONG, is_sanitized

SECONDS = float(os.environ.get("POSTERN_SOAK_SECONDS", "3600" if IS_LONG and not is_sanitized() else "10"))


class SoakTest(unittest.TestCase):
    def test_it_stays_flat(self):
        summary = soak.run(SECONDS, random.randrange(1 << 32))
        print(summary)
        self.assertGreater(summary["compare"]["accepted"], 0)
