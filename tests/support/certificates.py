"""Certificates for tests, made with the openssl command.

    pair = certificates.server("mx.gateway.test")               # ECDSA P-256
    pair = certificates.server("mx.gateway.test", kind="rsa")   # RSA-2048
    pair.chain, pair.key                                        # paths of PEM files
    context = certificates.client_context()                     # trusts the tests' own authority

Everything is made once and kept below the build folder, whatever process asks first; so the files
are never changed. A test that replaces a certificate copies them first (Pair.copy_to)."""

import datetime
import hashlib
import ipaddress
import os
import shutil
import ssl
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEYS = {
    "ecdsa": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
}
LIFE_DAYS = 90
# The authority is made anew when it is older: no certificate of it ends during a run.
KEEP_SECONDS = 30 * 86400
CONFIG = """
[ca]
default_ca = tests
[tests]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
copy_extensions = none
[any]
commonName = supplied
[req]
distinguished_name = name
prompt = no
[name]
commonName = unused
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class Pair:
    """A certificate and its key, as paths of PEM files."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.chain = self.folder / "chain.pem"
        self.key = self.folder / "key.pem"

    @property
    def settings(self):
        """As a listener's tls.certificates has it."""
        return {"certificate": str(self.chain), "key": str(self.key)}

    def copy_to(self, folder, name="server"):
        """Copies that may be changed: NAME.pem and NAME.key in `folder`, as paths."""
        chain, key = Path(folder) / f"{name}.pem", Path(folder) / f"{name}.key"
        shutil.copyfile(self.chain, chain)
        shutil.copyfile(self.key, key)
        return chain, key

    @property
    def fingerprint(self):
        """SHA-256 of the certificate, as of ssl's getpeercert(binary_form=True)."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.chain.read_text())).hexdigest()


def openssl(*arguments, folder):
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise AssertionError(f"openssl {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def store():
    """The folder that keeps everything."""
    build = os.environ.get("POSTERN_BUILD")
    base = Path(build).resolve() if build else ROOT / "build"
    return base / "certificates"


def made_once(path, make):
    """Runs make(folder) for a new folder that then is `path`. Processes that do so at the same time
    all end up with the one that was first."""
    if path.is_dir():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".new-", dir=path.parent))
    try:
        make(work)
        try:
            work.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return path


def authority():
    """The folder of the tests' certificate authority: ca.pem, ca.key."""
    base = store()
    # One name for each KEEP_SECONDS: an old authority is never in the way of a new one.
    path = base / f"authority-{int(time.time() // KEEP_SECONDS)}"

    def make(folder):
        (folder / "openssl.cnf").write_text(CONFIG)
        openssl("genpkey", *KEYS["ecdsa"], "-out", "ca.key", folder=folder)
        openssl("req", "-config", "openssl.cnf", "-new", "-x509", "-key", "ca.key", "-sha256",
                "-subj", "/CN=Postern test authority", "-extensions", "authority",
                "-days", str(2 * LIFE_DAYS), "-out", "ca.pem", folder=folder)

    return made_once(path, make)


def authority_file():
    """The PEM file that a client trusts."""
    return authority() / "ca.pem"


def alternative(name):
    try:
        return f"IP:{ipaddress.ip_address(name)}"
    except ValueError:
        return f"DNS:{name}"


def issued(names, kind, usage, begins, ends):
    """`begins` and `ends` are days from now."""
    root = authority()
    what = "\0".join([kind, usage, str(begins), str(ends), *names])
    path = root / f"{names[0]}-{kind}-{hashlib.sha256(what.encode()).hexdigest()[:12]}"

    def make(folder):
        alternatives = ",".join(alternative(name) for name in names)
        config = CONFIG + f"extendedKeyUsage = {usage}\nsubjectAltName = {alternatives}\n"
        (folder / "openssl.cnf").write_text(config)
        (folder / "index").write_text("")
        now = datetime.datetime.now(datetime.timezone.utc)
        start, end = (f"{now + datetime.timedelta(days=days, minutes=-1):%Y%m%d%H%M%SZ}"
                      for days in (begins, ends))
        openssl("genpkey", *KEYS[kind], "-out", "key.pem", folder=folder)
        openssl("req", "-config", "openssl.cnf", "-new", "-key", "key.pem", "-subj",
                f"/CN={names[0]}", "-out", "request", folder=folder)
        openssl("ca", "-batch", "-notext", "-config", "openssl.cnf", "-extensions", "leaf",
                "-cert", str(root / "ca.pem"), "-keyfile", str(root / "ca.key"),
                "-startdate", start, "-enddate", end, "-in", "request", "-out", "chain.pem",
                folder=folder)
        for other in folder.iterdir():
            if other.name not in ("chain.pem", "key.pem"):
                other.unlink()

    return Pair(made_once(path, make))


def server(*names, kind="ecdsa", serial=0):
    """A server's certificate for all of these names (or IP addresses). Another `serial` gives another certificate (and
    key) for the same names, as a renewal does."""
    return issued(names, kind, "serverAuth", 0, LIFE_DAYS + serial)


def expired(*names, kind="ecdsa"):
    """It was valid until yesterday."""
    return issued(names, kind, "serverAuth", -30, -1)


def mismatched(kind="ecdsa"):
    """Good, for a name that nobody here has."""
    return server("elsewhere.example.test", kind=kind)


def wrong_key(*names, kind="ecdsa"):
    """(certificate, key) that do not belong together, as paths."""
    return server(*names, kind=kind).chain, server("elsewhere.example.test", kind=kind).key


def client(name="client.example.test", kind="ecdsa", is_expired=False):
    """A client's certificate."""
    begins, ends = (-30, -1) if is_expired else (0, LIFE_DAYS)
    return issued((name,), kind, "clientAuth", begins, ends)


def client_context(minimum=None, maximum=None, certificate=None, is_checked=True, alpn=None,
                   ciphers=None):
    """A context for a client. `minimum` and `maximum`: ssl.TLSVersion; `certificate`: a Pair that the
    client shows; is_checked=False takes any certificate of the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if is_checked:
        context.load_verify_locations(authority_file())
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if minimum is not None:
        context.minimum_version = minimum
    if maximum is not None:
        context.maximum_version = maximum
    if certificate is not None:
        context.load_cert_chain(certificate.chain, certificate.key)
    if alpn is not None:
        context.set_alpn_protocols(alpn)
    if ciphers is not None:
        context.set_ciphers(ciphers)
    return context
