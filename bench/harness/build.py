"""What must be there before anything is measured: packages, the release build, a certificate."""
import subprocess
import sys
from pathlib import Path

from .errors import BenchError

BUILD_SECONDS_MAX = 1800
TARGETS = ("postern", "load", "sink", "floor")


def run_logged(arguments, log: Path, cwd: Path, what: str) -> None:
    """Quiet when it works; the end of its output when it does not."""
    with open(log, "ab") as out:
        try:
            done = subprocess.run([str(a) for a in arguments], stdout=out, stderr=out, cwd=cwd,
                                  stdin=subprocess.DEVNULL, timeout=BUILD_SECONDS_MAX, check=False)
        except FileNotFoundError:
            raise BenchError(f"{what}: {arguments[0]} is not here") from None
        except subprocess.TimeoutExpired:
            raise BenchError(f"{what} did not end in {BUILD_SECONDS_MAX} s") from None
    if done.returncode != 0:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise BenchError(f"{what} failed; the end of {log}:\n{end}")


def setup(root: Path) -> None:
    """Packages for building and measuring. Node.js is only for one system, which says so itself."""
    done = subprocess.run([root / "scripts" / "setup", "build", "bench"], check=False)
    if done.returncode != 0:
        raise BenchError("scripts/setup could not install what is needed (see above)")
    node = subprocess.run([root / "scripts" / "setup", "node"], check=False,
                          stderr=subprocess.PIPE, text=True, errors="replace")
    if node.returncode != 0:
        print(f"bench/run: no Node.js, so Haraka may be missing: {node.stderr.strip()[-300:]}",
              file=sys.stderr)


def make(root: Path) -> Path:
    """The release build."""
    folder, log = root / "build" / "release", root / "build" / "bench-build.log"
    log.parent.mkdir(exist_ok=True)
    log.write_text("")
    run_logged(["cmake", "--preset", "release"], log, root, "cmake --preset release")
    run_logged(["cmake", "--build", "--preset", "release", "--target", *TARGETS], log, root,
               "the release build")
    return folder


def check_build(folder: Path) -> None:
    for name in ("postern", "bench/load", "bench/sink", "bench/floor"):
        if not (folder / name).is_file():
            raise BenchError(f"{folder} has no {name}: build it first, or leave --build out")


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) of the tests with TLS: ECDSA P-256, for localhost."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    if certificate.exists() and key.exists():
        return certificate, key
    run_logged(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                "-nodes", "-days", "3650", "-subj", "/CN=localhost",
                "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                "-keyout", key, "-out", certificate], folder / "openssl.log", folder,
               "making a certificate with openssl")
    key.chmod(0o600)
    return certificate, key
