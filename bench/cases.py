"""What is measured: lists of cells. A cell is one peer under one case; those of a group run one after the other in each round."""

import os
from dataclasses import dataclass, field

KIB, MIB = 1 << 10, 1 << 20
SIZES = [64, KIB, 4 * KIB, 64 * KIB, MIB]
PLAIN, CRC, SPIN = "plain C", "plain C, CRC-32C", "plain C, spinning"
COPY, BORROW, SYNC = "CDPS, copy", "CDPS, borrow", "CDPS, synchronous"
THREAD, INLINE, DISPATCH = "CDPS", "CDPS, inline", "CDPS, dispatch"
ZMQ, NNG, UCX, QUINN, KNET = "ZeroMQ", "nng", "UCX (TCP, spins)", "quinn", "kronosnet"
PORTS = "CDPS, ports"

PROGRAMS = {PLAIN: "plain", CRC: "plain-crc", SPIN: "plain", ZMQ: "zmq", NNG: "nng", UCX: "ucx", QUINN: "quinn", KNET: "knet", PORTS: "ports"}

# What kronosnet can carry in one datagram.
KNET_LIMIT = 64 * KIB


@dataclass(frozen=True)
class Cell:
    case: str
    peer: str
    size: int
    paths: int = 1
    threads: int = 1
    arguments: tuple[str, ...] = ()
    # What tells cells of one case apart besides; part of no comparison with plain C.
    variant: str = ""
    # Length of its runs relative to those of the others.
    longer: float = 1.0

    @property
    def program(self) -> str:
        return PROGRAMS.get(self.peer, "cdps")

    def command(self, seconds: float) -> list[str]:
        threads = ("--threads", str(self.threads)) if self.threads > 1 else ()
        size = ("--size", str(self.size), "--paths", str(self.paths), "--seconds", f"{seconds * self.longer:g}")
        return [*size, *threads, *self.arguments]


@dataclass(frozen=True)
class Plan:
    """`cells` in order; each round runs all of them once."""

    name: str
    cells: list[Cell]
    rounds: int
    seconds: float
    # Whether system calls are counted, in a run more for each cell.
    calls: bool = False
    programs: set[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "programs", {cell.program for cell in self.cells})


def lent(size: int) -> tuple[str, ...]:
    """Large messages are lent, as everybody does it who can."""
    return ("--borrow",) if size > 2 * KIB else ()


STREAM, TRIP, ONE_CORE, LOADED = "stream", "round trip", "round trip, one core", "round trip under load"


def streaming(size: int) -> list[Cell]:
    large = size >= 64 * KIB
    cells = [
        Cell(STREAM, PLAIN, size),
        Cell(STREAM, COPY, size),
        Cell(STREAM, BORROW, size, arguments=("--borrow",)),
        *([Cell(STREAM, CRC, size)] if large else []),
        Cell(STREAM, ZMQ, size),
        Cell(STREAM, SYNC, size, arguments=("--sync", *lent(size))),
        Cell(STREAM, INLINE, size, arguments=("--callbacks", "inline", *lent(size))),
        Cell(STREAM, DISPATCH, size, arguments=("--callbacks", "dispatch", *lent(size))),
        Cell(STREAM, NNG, size),
        Cell(STREAM, UCX, size),
        Cell(STREAM, QUINN, size),
        *([Cell(STREAM, KNET, size), Cell(STREAM, KNET, size, 4)] if size <= KNET_LIMIT else []),
        Cell(STREAM, PLAIN, size, 4),
        Cell(STREAM, COPY, size, 4),
        Cell(STREAM, BORROW, size, 4, arguments=("--borrow",)),
        Cell(STREAM, SYNC, size, 4, arguments=("--sync", *lent(size))),
    ]
    return cells


# Both ends pinned, the same way for all: latency is where threads are.
TWO_CORES = ("--cpus", "0,1") if (os.cpu_count() or 1) > 1 else ("--cpus", "0,0")


def trips(case: str, size: int, spinning: bool, cpus: tuple[str, ...]) -> list[Cell]:
    mode = ("--mode", "loaded" if case == LOADED else "round-trip", *cpus)
    cells = [
        Cell(case, PLAIN, size, arguments=mode),
        Cell(case, THREAD, size, arguments=(*mode, *lent(size))),
        Cell(case, INLINE, size, arguments=(*mode, *lent(size), "--callbacks", "inline")),
        Cell(case, ZMQ, size, arguments=mode),
        Cell(case, DISPATCH, size, arguments=(*mode, *lent(size), "--callbacks", "dispatch")),
        Cell(case, NNG, size, arguments=mode),
        Cell(case, QUINN, size, arguments=mode),
        *([Cell(case, KNET, size, arguments=mode)] if size <= KNET_LIMIT else []),
    ]
    if spinning:
        cells += [
            *([Cell(case, SPIN, size, arguments=(*mode, "--spin"))] if case == TRIP else []),
            Cell(case, UCX, size, arguments=mode),
        ]
    return cells


def full() -> Plan:
    cells = [cell for size in SIZES for cell in streaming(size)]
    cells += [cell for size in (64, 4 * KIB, 64 * KIB, MIB) for cell in trips(TRIP, size, True, TWO_CORES)]
    cells += trips(ONE_CORE, 64, False, ("--cpus", "0,0"))
    cells += trips(LOADED, 4 * KIB, True, TWO_CORES)
    return Plan("full", cells, rounds=7, seconds=1.0, calls=True)


def quick() -> Plan:
    cells = []
    for size in (64, 4 * KIB, 64 * KIB):
        mine = BORROW if lent(size) else COPY
        cells += [
            Cell(STREAM, PLAIN, size),
            Cell(STREAM, mine, size, arguments=lent(size)),
            Cell(STREAM, ZMQ, size),
            Cell(STREAM, mine, size, 4, arguments=lent(size)),
            Cell(STREAM, PLAIN, size, 4),
        ]
    cells += [cell for cell in trips(TRIP, 64, False, TWO_CORES) if cell.peer in (PLAIN, THREAD, INLINE, ZMQ)]
    return Plan("quick", cells, rounds=7, seconds=0.8)


# Bytes per second of the path behind the relay, and how long it holds each byte, in ms.
PATH_RATE = 20_000_000
DELAYS = (1, 10, 50)
THREADS_CASE, PATHS_CASE, IO_CASE, DELAY_CASE, PORTS_CASE = "sending threads", "paths", "I/O threads", "window against delay", "ports"


def scaling(relay: str) -> Plan:
    cells = []
    for size in (64, 4 * KIB):
        for threads in (1, 2, 4, 8, 16, 32, 64):
            cells.append(Cell(THREADS_CASE, BORROW if lent(size) else COPY, size, threads=threads, arguments=lent(size)))
    for size in (64, KIB, 64 * KIB):
        for paths in (1, 4, 16):
            cells += [Cell(PATHS_CASE, PLAIN, size, paths), Cell(PATHS_CASE, BORROW if lent(size) else COPY, size, paths, arguments=lent(size))]
    for size in (64, 64 * KIB):
        for threads in (1, 2, 4):
            set_io = ("--set", f"threads.io={threads}", *lent(size))
            cells.append(Cell(IO_CASE, BORROW if lent(size) else COPY, size, 4, arguments=set_io, variant=f"{threads} I/O threads"))
    for delay in DELAYS:
        case, through = f"{DELAY_CASE}, {delay} ms each way", ("--relay", f"{relay},{PATH_RATE},{delay}")
        cells.append(Cell(case, PLAIN, 64 * KIB, arguments=through, longer=4))
        for window in (256 * KIB, MIB, 4 * MIB, 16 * MIB):
            arguments = ("--borrow", *through, "--set", f"port.window={window}")
            cells.append(Cell(case, BORROW, 64 * KIB, arguments=arguments, variant=f"window {window // KIB} KiB", longer=4))
    for ports in (1, 100, 1000, 10000):
        for at_once, variant in (("0", f"{ports} ports"), ("1", f"{ports} ports, one at once"))[: 1 + (ports > 1)]:
            # What cannot be connected says so itself, in thousands of lines.
            arguments = ("--ports", str(ports), "--at-once", at_once, "--set", "log.level=none")
            cells.append(Cell(PORTS_CASE, PORTS, 4 * KIB, arguments=arguments, variant=variant, longer=5))
    return Plan("scale", cells, rounds=3, seconds=1.0)
