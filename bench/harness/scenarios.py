"""What is measured. The names are fixed: results of different days are compared by them."""
from dataclasses import dataclass, field

FIXED_RATE = 200  # messages a second: every system here keeps this


@dataclass(frozen=True)
class Scenario:
    """One kind of load."""
    name: str
    title: str
    group: str              # accept, relay, latency, tls, idle, backlog
    what: str               # a sentence for the report
    size: str = "4KiB"      # of a message, or several by weight when it has a colon
    sessions: int = 50
    options: tuple[str, ...] = ()   # further ones of load
    tls: str = "none"
    rate: str = ""          # "", "fixed" or "half"
    bytes_max: int = 1 << 20

    @property
    def mode(self) -> str:
        """How the systems are started."""
        return "relay" if self.group == "relay" else "queue"

    @property
    def with_marks(self) -> bool:
        """Whether what only discards can take part."""
        return self.group in ("accept", "latency", "idle")


ONE = ("--messages-per-connection", "1")
MIX = "1KiB:50,4KiB:30,50KiB:15,1MiB:4,5MiB:1"

ALL = (
    Scenario("accept-4k-s50", "4 KiB, 50 sessions, connections reused", "accept",
             "Each session sends its next message when the last was answered, one command at a "
             "time."),
    Scenario("accept-4k-s400", "4 KiB, 400 sessions, connections reused", "accept",
             "As with 50 sessions: how a system shares its work among many.", sessions=400),
    Scenario("accept-4k-pipelined", "4 KiB, 50 sessions, pipelined", "accept",
             "MAIL, RCPT and DATA come in one packet, where the system offers PIPELINING.",
             options=("--pipelining", "on")),
    Scenario("accept-4k-oneconn", "4 KiB, 50 sessions, one connection a message", "accept",
             "Each message has a connection of its own, as most mail of the Internet has.",
             options=ONE),
    Scenario("accept-50k-s50", "50 KiB, 50 sessions, connections reused", "accept",
             "Larger messages: the cost of bytes beside the cost of messages.", size="50KiB"),
    Scenario("accept-1m-s20", "1 MiB, 20 sessions, connections reused", "accept",
             "Messages with an attachment: nearly all cost is that of bytes.", size="1MiB",
             sessions=20),
    Scenario("accept-mix-s50", "a mix of sizes up to 5 MiB, 50 sessions", "accept",
             "1 KiB (50 %), 4 KiB (30 %), 50 KiB (15 %), 1 MiB (4 %), 5 MiB (1 %).", size=MIX,
             bytes_max=5 << 20),
    Scenario("relay-4k-s50", "4 KiB, 50 sessions, accepted and relayed", "relay",
             "Each message is accepted, owned durably, and delivered to a sink on the load's CPU."),
    Scenario("relay-50k-s50", "50 KiB, 50 sessions, accepted and relayed", "relay",
             "As with 4 KiB.", size="50KiB"),
    Scenario("relay-4k-oneconn", "4 KiB, one connection a message, relayed", "relay",
             "Messages come on a connection each; the system may reuse its own to the sink.",
             options=ONE),
    Scenario("latency-fixed", f"4 KiB, {FIXED_RATE} messages/s", "latency",
             f"An open loop: {FIXED_RATE} messages a second at random (Poisson) times, the same "
             "for all. Latency counts from the time at which a message was meant to be sent.",
             rate="fixed"),
    Scenario("latency-half", "4 KiB, at half of the system's own rate", "latency",
             "An open loop as above, at half of what each system reached in accept-4k-s50.",
             rate="half"),
    Scenario("tls-full", "4 KiB, STARTTLS, a full handshake a message", "tls",
             "One message a connection, and no session is resumed.", sessions=20,
             options=(*ONE, "--tls", "starttls", "--handshake", "full"), tls="starttls"),
    Scenario("tls-resumed", "4 KiB, STARTTLS, resumed handshakes", "tls",
             "One message a connection; sessions are resumed where the system lets them be.",
             sessions=20, options=(*ONE, "--tls", "starttls", "--handshake", "resumed"),
             tls="starttls"),
    Scenario("tls-bulk-50k", "50 KiB, STARTTLS, 50 sessions, connections reused", "tls",
             "The cost of encrypted bytes.", size="50KiB",
             options=("--tls", "starttls", "--handshake", "full"), tls="starttls"),
    Scenario("idle-10000", "10 000 idle connections beside 4 KiB, 50 sessions", "idle",
             "10 000 connections said EHLO and are silent; 50 sessions send beside them."),
    Scenario("backlog-1000000", "a queue of deferred messages beside 4 KiB, 50 sessions", "backlog",
             "The queue is filled with messages that are not to be delivered yet, as many as the "
             "system takes in the time given; then it is loaded, killed and started again."),
)
BY_NAME = {scenario.name: scenario for scenario in ALL}
IDLE_WANTED = 10000


@dataclass(frozen=True)
class Extent:
    """How much is measured."""
    name: str
    scenarios: tuple[str, ...]
    seconds: float          # of load, for each figure
    runs: int
    idle_seconds: float     # how long idle connections may take to come up
    backlog: int
    backlog_seconds: float
    rows_default: tuple[str, ...] = field(default=())  # scenarios in which rows "default" are
    seconds_max: float = 0.0  # of all measurements; what does not fit is left out; 0: no limit


QUICK = Extent("quick", ("accept-4k-s50", "accept-4k-s400", "accept-50k-s50", "accept-4k-oneconn",
                         "relay-4k-s50", "latency-fixed", "tls-full", "idle-10000"),
               seconds=2.0, runs=1, idle_seconds=5.0, backlog=20000, backlog_seconds=5.0,
               rows_default=("accept-4k-s50",), seconds_max=335.0)
FULL = Extent("full", tuple(BY_NAME), seconds=4.0, runs=5, idle_seconds=20.0, backlog=1_000_000,
              backlog_seconds=180.0, rows_default=("accept-4k-s50", "relay-4k-s50", "latency-fixed"))
