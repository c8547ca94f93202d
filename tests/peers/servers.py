"""Senders that are mail servers: Postfix, Exim and OpenSMTPD, each as it leaves a host by a smarthost.

One server sends all ways: the domain of the recipient (WAY.sink.test) says by which of its transports
a message goes to the gateway. Messages are given to its own sendmail command, and wait in its queue
until they are sent; a message that the gateway does not take stays there, and the test fails on the
time it waits at the sink."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.peers.clients import HOST, Sender
from tests.support import peers
from tests.support.gateway import scratch_folder

START_SECONDS = 30.0
STOP_SECONDS = 20.0
UNAVAILABLE = 69  # EX_UNAVAILABLE: the machine does not allow it (root, a mount namespace)
FIELD = re.compile(rb"([!-9;-~]+):(?:[^\r\n]*\r\n)(?:[ \t][^\r\n]*\r\n)*")


class Server(Sender):
    name = ""
    added_fields = ()  # lower case; what it puts into the header besides Received

    def __init__(self, targets):
        """`targets`: {way: Target}. Starts it; the caller ends it with stop()."""
        self.folder = Path(scratch_folder())
        self.targets = targets
        self.log = self.folder / "output"
        self.process = None
        self.folder.chmod(0o755)
        try:
            self.write_configuration()
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [peers.path_of("tests", "peers", "mta", "start"), self.name],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=peers.environment(PEER_STATE=self.folder))
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            if self.process.poll() == UNAVAILABLE:
                peers.skip(self.log_tail().strip())
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.name} did not start:\n{self.log_tail()}")
            time.sleep(0.05)

    def stop(self):
        """Ends the server and removes all it had."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.signal(signal.SIGKILL)
                self.process.kill()
                self.process.wait()
        self.process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def signal(self, number):
        """To the server's first process."""
        self.process.send_signal(number)

    def inside(self, *command):
        """The command line that runs `command` where the server's own files are."""
        return ["nsenter", "--target", self.process.pid, "--mount", *command]

    def log_tail(self):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text[-4000:]

    def without_additions(self, content, given):
        """Takes away the Received field on top, which every server adds, and from a message that was
        given without a header all of added_fields."""
        added_fields = () if given else self.added_fields
        end = content.find(b"\r\n\r\n")
        head, body = (content[: end + 2], content[end + 2 :]) if end >= 0 else (content, b"")
        kept, at, count = b"", 0, 0
        while at < len(head):
            field = FIELD.match(head, at)
            if field is None:
                return content  # no header: nothing was added to it
            name = field.group(1).lower().decode("ascii")
            is_added = name in added_fields or (name == "received" and count == 0)
            count += 1
            kept += b"" if is_added else field.group(0)
            at = field.end()
        # Only a header that they made needs the empty line under it.
        return kept + body if kept else body.removeprefix(b"\r\n")

    def write_configuration(self):
        raise NotImplementedError

    def is_ready(self):
        raise NotImplementedError


class Postfix(Server):
    name = "postfix"
    added_fields = ("message-id", "date", "from", "to")
    main = """compatibility_level = 3.6
myhostname = postfix.sender.test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = loopback-only
inet_protocols = ipv4
alias_maps =
alias_database =
message_size_limit = 52428800
mailbox_size_limit = 0
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
maillog_file = /dev/stdout
import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C LD_LIBRARY_PATH
export_environment = MAIL_CONFIG TZ LANG LD_LIBRARY_PATH
smtp_tls_CAfile = {authority}
smtp_tls_secure_cert_match = mx.gateway.test
smtp_sasl_security_options = noanonymous
transport_maps = inline:{{ {transports} }}
smtp_sasl_password_maps = inline:{{ {passwords} }}
config_directory = {config}
queue_directory = /var/spool/postfix
data_directory = /var/lib/postfix
command_directory = {tree}/usr/sbin
daemon_directory = {tree}/usr/lib/postfix/sbin
shlib_directory = {tree}/usr/lib/postfix
meta_directory = {config}
sendmail_path = {tree}/usr/sbin/sendmail
"""
    master = """pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

    def write_configuration(self):
        self.tree = peers.folder("postfix")
        self.config = self.folder / "config"
        self.config.mkdir()
        transports, passwords, services = [], [], []
        for way, target in self.targets.items():
            hop = f"[{HOST}]:{target.port}"
            transports.append(f"{{ {way}.sink.test = {way}:{hop} }}")
            level = "secure" if target.is_tls else "none"
            options = [f"smtp_tls_security_level={level}",
                       f"smtp_tls_wrappermode={'yes' if target.mode == 'implicit' else 'no'}"]
            if target.mechanism is not None:
                passwords.append(f"{{ {hop} = {target.user}:{target.password} }}")
                options += ["smtp_sasl_auth_enable=yes",
                            f"smtp_sasl_mechanism_filter={target.mechanism.lower()}"]
            services.append(f"{way} unix - - n - - smtp" +
                            "".join(f" -o {option}" for option in options) + "\n")
        authority = next(target.authority for target in self.targets.values())
        (self.config / "main.cf").write_text(self.main.format(
            authority=authority, config=self.config, tree=self.tree,
            transports=", ".join(transports), passwords=", ".join(sorted(set(passwords)))))
        (self.config / "master.cf").write_text(self.master + "".join(services))

    def signal(self, number):
        # What was started is a script that waits for this one.
        try:
            pid = int((self.folder / "spool" / "postfix" / "pid" / "master.pid").read_text())
            os.kill(pid, number)
        except (FileNotFoundError, ProcessLookupError):
            super().signal(number)

    def is_ready(self):
        # postdrop tells pickup through this.
        return (self.folder / "spool" / "postfix" / "public" / "pickup").exists()

    def send_one(self, target, message):
        peers.run(self.inside(f"{self.tree}/usr/sbin/sendmail", "-C", self.config, "-i",
                              "-f", message.sender, message.recipient),
                  given_file=message.unix_path,
                  env=peers.environment(
                      LD_LIBRARY_PATH=f"{self.tree}/usr/lib/postfix:{self.tree}/usr/lib/"
                                      f"{peers.TRIPLET}:{self.tree}/lib/{peers.TRIPLET}"))


def named(way):
    """As Exim may call something."""
    return way.replace("-", "_")


class Exim(Server):
    """With GnuTLS. It sends in chunks (BDAT) where that is offered."""

    name = "exim"
    added_fields = ("message-id", "date", "from")
    main = """primary_hostname = exim.sender.test
qualify_domain = exim.sender.test
local_interfaces =
daemon_smtp_ports =
exim_path = /mnt/peer/usr/sbin/exim4
spool_directory = /mnt/spool
log_file_path = /mnt/log/%slog
pid_file_path = /mnt/exim.pid
notifier_socket =
message_size_limit = 50M
keep_environment =
untrusted_set_sender = *
local_from_check = false
local_sender_retain = true
"""
    transport = """{name}:
  driver = smtp
  port = {port}
  allow_localhost
  protocol = {protocol}
  {tls}
  {auth}
"""
    tls = """hosts_require_tls = *
  tls_verify_certificates = /mnt/authority.pem
  tls_verify_hosts = *
  tls_verify_cert_hostnames = *"""
    router = """{name}:
  driver = manualroute
  domains = {way}.sink.test
  transport = {name}
  route_list = * mx.gateway.test byname
  self = send
  no_more
"""
    authenticator = """{name}:
  driver = {driver}
  public_name = {mechanism}
  client_condition = ${{if eq{{$transport_name}}{{{name}}}}}
  {secret}
"""

    def write_configuration(self):
        parts = {"routers": "", "transports": "", "authenticators": ""}
        for way, target in self.targets.items():
            parts["routers"] += self.router.format(way=way, name=named(way))
            parts["transports"] += self.transport.format(
                name=named(way), port=target.port,
                protocol="smtps" if target.mode == "implicit" else "smtp",
                tls=self.tls if target.is_tls else "hosts_avoid_tls = *",
                auth="hosts_require_auth = *" if target.mechanism else "hosts_try_auth =")
            if target.mechanism is not None:
                secret = {
                    "PLAIN": f"client_send = ^{target.user}^{target.password}",
                    "LOGIN": f"client_send = : {target.user} : {target.password}",
                    "CRAM-MD5": f"client_name = {target.user}\n  client_secret = {target.password}",
                }[target.mechanism]
                parts["authenticators"] += self.authenticator.format(
                    name=named(way), mechanism=target.mechanism, secret=secret,
                    driver="cram_md5" if target.mechanism == "CRAM-MD5" else "plaintext")
        text = self.main + "".join(f"begin {name}\n{part}" for name, part in parts.items())
        text += "begin retry\n* * F,1h,1s\n"
        (self.folder / "exim.conf").write_text(text)
        authority = next(target.authority for target in self.targets.values())
        shutil.copyfile(authority, self.folder / "authority.pem")
        for name in ("exim.conf", "authority.pem"):
            (self.folder / name).chmod(0o644)

    def is_ready(self):
        return (self.folder / "exim.pid").exists()

    def send_one(self, target, message):
        # In the foreground: what goes wrong is in the log when this returns.
        peers.run(self.inside("/mnt/peer/usr/sbin/exim4", "-C", "/mnt/exim.conf", "-odf", "-i",
                              "-f", message.sender, message.recipient),
                  given_file=message.unix_path, env={"PATH": "/usr/bin:/bin"})

    def log_tail(self):
        path = self.folder / "log" / "mainlog"
        return super().log_tail() + (path.read_text(errors="replace")[-4000:]
                                     if path.exists() else "")


class Opensmtpd(Server):
    name = "opensmtpd"
    added_fields = ("message-id", "date", "from", "to")

    def write_configuration(self):
        self.tree = peers.folder("opensmtpd")
        config = self.folder / "config"
        config.mkdir()
        actions, matches = [], []
        secrets = {}
        for way, target in self.targets.items():
            scheme = {"plain": "smtp+notls", "starttls": "smtp+tls", "implicit": "smtps"}[target.mode]
            label = ""
            if target.mechanism is not None:
                secrets[way] = f"{target.user}:{target.password}"
                label = f"{way}@"
            options = " tls no-verify" if target.is_tls else ""
            if label:
                options += " auth <secrets>"
            actions.append(f'action "{way}" relay host {scheme}://{label}{HOST}:{target.port}{options}')
            matches.append(f'match from any for domain "{way}.sink.test" action "{way}"')
        (config / "secrets").write_text("".join(f"{way} {secret}\n"
                                                for way, secret in secrets.items()) or "none a:b\n")
        (config / "secrets").chmod(0o600)
        (config / "smtpd.conf").write_text("\n".join([
            f'table secrets file:{config}/secrets', "listen on socket", "bounce warn-interval 1h",
            'smtp max-message-size "50M"', *actions, *matches, ""]))

    def is_ready(self):
        return (self.folder / "run" / "smtpd.sock").exists()

    def send_one(self, target, message):
        # As installed it is set-group-id: the queue of its own is the group's.
        peers.run(self.inside("setpriv", "--regid", "opensmtpq", "--clear-groups",
                              f"{self.tree}/usr/sbin/sendmail", "-i", "-f", message.sender,
                              message.recipient),
                  given_file=message.unix_path, env=peers.environment("opensmtpd"))
