"""Where a peer is better than Postern: every scenario, every figure, from the data alone.

Postern enters with its best row for each figure, a peer with every row that counts; so a loss
that is listed here is one that no configuration of ours in this run avoids.
"""
from __future__ import annotations

from dataclasses import dataclass

from bench.report import figures as f
from bench.report.figures import Figure, Summary
from bench.report.results import Results, Row, Scenario

# In an open loop the load sets the rate, so a rate says nothing there.
COMPARED = {
    "accept": (f.CPU, f.RATE, f.P99, f.MEMORY),
    "relay": (f.CPU, f.RATE, f.P99, f.MEMORY),
    "latency": (f.CPU, f.P99, f.MEMORY),
    "tls": (f.CPU, f.RATE, f.HANDSHAKES, f.P99, f.MEMORY),
    "idle": (f.CPU, f.RATE, f.P99, f.MEMORY, f.IDLE_BYTES),
    "backlog": (f.CPU, f.RATE, f.P99, f.MEMORY, f.ACCEPT_KEPT, f.RELAY_KEPT, f.GROWTH, f.RESTART),
}


@dataclass(frozen=True)
class Loss:
    """A figure in which `peer` is better. Postern's side is None when it has no such figure."""
    scenario: Scenario
    figure: Figure
    peer: Row
    theirs: Summary
    own: Row | None
    ours: Summary | None

    @property
    def overlaps(self) -> bool:
        """Whether the runs of both mix, so that the difference may be noise."""
        return (self.ours is not None and min(self.theirs.count, self.ours.count) > 1
                and self.theirs.low <= self.ours.high and self.ours.low <= self.theirs.high)

    @property
    def factor(self) -> float | None:
        """How many times better the peer is. None when there is nothing to divide."""
        if self.ours is None:
            return None
        over, under = self.ours.median, self.theirs.median
        if not self.figure.less_is_better:
            over, under = under, over
        return over / under if under > 0 and over >= 0 else None


def in_figure(results: Results, scenario: Scenario, figure: Figure) -> list[Loss]:
    own = f.best(scenario, f.subjects(results), figure)
    found = []
    for peer in f.peers(results):
        theirs = f.summary(scenario, peer, figure)
        if theirs is None:
            continue
        if own is None or f.is_better(figure, theirs.median, own[1].median):
            found.append(Loss(scenario, figure, peer, theirs, *(own or (None, None))))
    return found


def find(results: Results) -> list[Loss]:
    return [loss for scenario in results.scenarios for figure in COMPARED[scenario.group]
            for loss in in_figure(results, scenario, figure)]


def comparisons(results: Results) -> int:
    """How many pairs were compared: what "none lost" stands for."""
    return sum(1 for scenario in results.scenarios for figure in COMPARED[scenario.group]
               if f.best(scenario, f.subjects(results), figure)
               for peer in f.peers(results) if f.summary(scenario, peer, figure))
