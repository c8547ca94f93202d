"""Compares SMTP servers on this machine. See bench/run --help, and bench/README.md."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.dont_write_bytecode = True

from bench.harness import session  # noqa: E402 (the path comes first)

sys.exit(session.main(sys.argv[1:]))
