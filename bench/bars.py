"""What must hold: each bar with what was measured in this run, and whether it is reached. Medians of ratios, pair by pair."""

from dataclasses import dataclass

from cases import (
    BORROW, COPY, CRC, INLINE, KIB, KNET, MIB, NNG, PLAIN, PORTS, PORTS_CASE, QUINN, STREAM,
    THREAD, THREADS_CASE, TRIP, UCX, ZMQ,
)  # fmt: skip
from rows import Results, size_of

OTHERS = (ZMQ, NNG, UCX, QUINN, KNET)


@dataclass(frozen=True)
class Bar:
    what: str
    # The ratio or figure, and what it is held against; a bar that is a ceiling is reached from below.
    measured: float | None
    bar: float | None
    goal: float | None = None
    ceiling: bool = False
    # Why there is no figure.
    why: str = ""

    def reached(self, what: float | None) -> bool | None:
        if what is None or self.measured is None:
            return None
        return self.measured <= what if self.ceiling else self.measured >= what

    def row(self) -> dict:
        row = {"what": self.what, "measured": self.measured, "bar": self.bar, "goal": self.goal, "why": self.why}
        return row | {"bar reached": self.reached(self.bar), "goal reached": self.reached(self.goal)}


class Judge:
    """Collects the bars for which this run has both sides."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.bars: list[Bar] = []

    def ratio(self, what: str, mine: tuple, theirs: tuple, bar: float | None, goal: float | None = None, metric: str = "throughput", ceiling: bool = False) -> None:
        cells = [self.results.find(*which) for which in (mine, theirs)]
        if all(cells) and (value := self.results.ratio(*cells, metric)) is not None:
            self.bars.append(Bar(what, value, bar, goal, ceiling))

    def figure(self, what: str, which: tuple, metric: str, bar: float, goal: float | None = None) -> None:
        cell = self.results.find(*which)
        row = self.results.row(cell, metric) if cell else None
        if row:
            self.bars.append(Bar(what, row["median"], bar, goal, ceiling=True))


    def absent(self, what: str, bar: float, goal: float, why: str) -> None:
        self.bars.append(Bar(what, None, bar, goal, why=why))


def streams(judge: Judge) -> None:
    small = [(64, COPY, 2, 3, 0.3), (KIB, COPY, 3, None, 0.65), (4 * KIB, BORROW, 4, None, 0.8)]
    for size, mine, zmq, zmq_goal, plain in small:
        for paths in (1, 4) if size == 64 else (1,):
            name = f"{size_of(size)}, {paths} path{'s' * (paths > 1)}"
            judge.ratio(f"{name}: x ZeroMQ", (STREAM, mine, size, paths), (STREAM, ZMQ, size), zmq, zmq_goal)
            judge.ratio(f"{name}: x plain C", (STREAM, mine, size, paths), (STREAM, PLAIN, size, paths), None, plain)
    # CDPS has no setting to go without its checksum: what plain C loses by one is the second row.
    for size, bar, goal in ((64 * KIB, 0.85, 0.95), (MIB, 0.90, 1.0)):
        mine = (STREAM, BORROW, size)
        judge.ratio(f"{size_of(size)}, borrow: x plain C", mine, (STREAM, PLAIN, size), bar, goal)
        judge.ratio(f"{size_of(size)}, borrow: x plain C with CRC-32C", mine, (STREAM, CRC, size), None, goal)
        for other in OTHERS:
            judge.ratio(f"{size_of(size)}, borrow: x {other}", mine, (STREAM, other, size), 1.0)
    for size, mine in ((KIB, COPY), (64 * KIB, BORROW)):
        name = f"{size_of(size)}, 4 paths"
        judge.ratio(f"{name}: x plain C over 4 sockets", (STREAM, mine, size, 4), (STREAM, PLAIN, size, 4), 1.2)
        judge.ratio(f"{name}: x one path", (STREAM, mine, size, 4), (STREAM, mine, size), None, 0.85)


def trips(judge: Judge) -> None:
    inline, epoll = (TRIP, INLINE, 64), (TRIP, PLAIN, 64)
    judge.ratio("round trip 64 B, inline: x plain C with epoll, p50", inline, epoll, 1.2, 1.1, "p50", ceiling=True)
    judge.ratio("round trip 64 B, inline: x plain C with epoll, p99", inline, epoll, 1.4, None, "p99", ceiling=True)
    judge.ratio("round trip 64 B, callback thread: x ZeroMQ, p50", (TRIP, THREAD, 64), (TRIP, ZMQ, 64), 1.0, 0.9, "p50", ceiling=True)
    if judge.results.find(*epoll):
        judge.absent("round trip 64 B, spinning: x spinning C, p50", 1.4, 1.2, "CDPS has no spin mode")


def scaling(judge: Judge) -> None:
    if any(cell.case == PORTS_CASE for cell in judge.results.runs):
        judge.absent("unequal paths (10:1 in rate): x their sum", 0.95, 0.98, "see make test-net, unequal_paths_add_up")
    one, eight = ((THREADS_CASE, BORROW, 4 * KIB, 1, n) for n in (1, 8))
    judge.ratio("8 threads on one port, 4 KiB: x 1 thread", eight, one, 1.0, 1.3)
    for variant in ("10000 ports", "10000 ports, one at once"):
        which = (PORTS_CASE, PORTS, 4 * KIB, 1, 1, variant)
        for end in ("send", "receive"):
            judge.figure(f"{variant}, {end}: bytes of user memory each", which, f"memory each {end}", 16 * KIB, 4 * KIB)
            judge.figure(f"{variant}, {end}: % of a core, idle", which, f"idle cpu {end}", 2)


def judged(results: Results) -> list[dict]:
    judge = Judge(results)
    streams(judge)
    trips(judge)
    scaling(judge)
    return [bar.row() for bar in judge.bars]
