"""From runs to rows, and rows as a table. A row is one metric of one cell: median, least and most of all rounds, and the ratio to plain C,
which is the median of the ratios round by round, not the ratio of the medians."""

import statistics

from cases import PLAIN, Cell

UNITS = {
    "throughput": "messages/s",
    "bandwidth": "GB/s",
    "p50": "us",
    "p99": "us",
    "p99.9": "us",
    "delivered": "share",
    "cpu send": "ns/message",
    "cpu receive": "ns/message",
    "calls send": "1/message",
    "calls receive": "1/message",
    "memory send": "KiB",
    "memory receive": "KiB",
    "connect": "s",
    "connect cpu send": "s",
    "connect cpu receive": "s",
    "tries": "1/port",
    "memory each send": "bytes",
    "memory each receive": "bytes",
    "idle cpu send": "% of a core",
    "idle cpu receive": "% of a core",
    "idle wake-ups send": "1/s",
    "idle wake-ups receive": "1/s",
    "open files send": "",
    "open files receive": "",
    "went down": "ports",
}


class Results:
    """What the rounds gave: for each cell a result, or none where its run failed, by round."""

    def __init__(self, cells: list[Cell]) -> None:
        self.runs: dict[Cell, list[dict | None]] = {cell: [] for cell in cells}
        self.calls: dict[Cell, dict | None] = {}

    def values(self, cell: Cell, metric: str) -> list[float | None]:
        if metric.startswith("calls"):
            counted = self.calls.get(cell)
            return [counted.get(metric) if counted else None]
        return [run.get(metric) if run else None for run in self.runs[cell]]

    def ratio(self, mine: Cell, theirs: Cell, metric: str) -> float | None:
        """Median of mine/theirs of the same round."""
        pairs = zip(self.values(mine, metric), self.values(theirs, metric), strict=False)
        each = [a / b for a, b in pairs if a is not None and b]
        return statistics.median(each) if each else None

    def find(self, case: str, peer: str, size: int, paths: int = 1, threads: int = 1, variant: str = "") -> Cell | None:
        wanted = (case, peer, size, paths, threads, variant)
        cells = [c for c in self.runs if (c.case, c.peer, c.size, c.paths, c.threads, c.variant) == wanted]
        return cells[0] if cells and any(self.runs[cells[0]]) else None

    def rows(self) -> list[dict]:
        return [row for cell in self.runs for metric in UNITS if (row := self.row(cell, metric))]

    def row(self, cell: Cell, metric: str) -> dict | None:
        values = [value for value in self.values(cell, metric) if value is not None]
        if not values:
            return None
        row = {"case": cell.case, "peer": cell.peer, "size": cell.size, "paths": cell.paths, "threads": cell.threads}
        row |= {"variant": cell.variant} if cell.variant else {}
        row |= {"metric": metric, "unit": UNITS[metric]}
        row |= {"median": statistics.median(values), "min": min(values), "max": max(values), "runs": len(values)}
        plain = self.find(cell.case, PLAIN, cell.size, cell.paths)
        row["ratio to plain C"] = self.ratio(cell, plain, metric) if plain and plain != cell else None
        return row


def size_of(size: int) -> str:
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}"
    return f"{size} B"


def short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


HEADS = ["peer", "paths", "median", "unit", "spread", "GB/s", "p99", "p99.9", "ns send", "ns recv", "calls s/r", "MiB s/r", "x plain C"]


def both(result: "Results", cell: Cell, metric: str, scale: float = 1.0) -> str:
    ends = [result.row(cell, f"{metric} {end}") for end in ("send", "receive")]
    return " / ".join(short(end["median"] * scale) for end in ends) if all(ends) else ""


def line(results: Results, cell: Cell) -> list[str] | None:
    trip = results.row(cell, "p50")
    main = trip or results.row(cell, "throughput")
    if not main:
        return None
    of = {m: results.row(cell, m) for m in ("bandwidth", "p99", "p99.9", "cpu send", "cpu receive", "delivered")}
    shown = {m: short(row["median"]) if row else "" for m, row in of.items()}
    name = f"{cell.peer}, {cell.variant}" if cell.variant else cell.peer
    if cell.threads > 1:
        name += f", {cell.threads} threads"
    if of["delivered"] and of["delivered"]["median"] < 0.9995:
        name += f" ({of['delivered']['median']:.0%} delivered)"
    ratio = main["ratio to plain C"]
    return [
        name,
        str(cell.paths),
        short(main["median"]),
        main["unit"],
        f"{(main['max'] - main['min']) / main['median']:.0%}",
        "" if trip else shown["bandwidth"],
        shown["p99"],
        shown["p99.9"],
        shown["cpu send"],
        shown["cpu receive"],
        both(results, cell, "calls"),
        both(results, cell, "memory", 1 / 1024),
        f"{ratio:.2f}" if ratio and ratio >= 0.1 else short(ratio) if ratio else "",
    ]


PORT_HEADS = ["ports", "connect s", "tries each", "cpu s s/r", "bytes each s/r", "idle % s/r", "wake-ups/s s/r", "busy one, messages/s", "went down"]


def port_line(results: Results, cell: Cell) -> list[str] | None:
    def one(metric: str) -> str:
        row = results.row(cell, metric)
        return short(row["median"]) if row else ""

    if not results.row(cell, "connect"):
        return [cell.variant, "did not connect", *[""] * 7]
    pairs = [both(results, cell, metric) for metric in ("connect cpu", "memory each", "idle cpu", "idle wake-ups")]
    return [cell.variant, one("connect"), one("tries"), *pairs, one("throughput"), one("went down")]


def aligned(heads: list[str], lines: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [heads, *lines]) for i in range(len(heads))]
    used = [i for i in range(len(heads)) if any(row[i] for row in lines)]
    show = lambda row: "  ".join(row[i].ljust(widths[i]) if i == 0 else row[i].rjust(widths[i]) for i in used)
    return "\n".join(show(row) for row in [heads, *lines])


def groups(results: Results) -> list[tuple[str, list[str], list[list[str]]]]:
    """(title, heads, lines), in the order of the plan."""
    found: dict[str, tuple[list[str], list[list[str]]]] = {}
    for cell in results.runs:
        ports = cell.program == "ports"
        title = cell.case if ports else f"{cell.case}, {size_of(cell.size)}"
        made = port_line(results, cell) if ports else line(results, cell)
        if made:
            found.setdefault(title, (PORT_HEADS if ports else HEADS, []))[1].append(made)
    return [(title, heads, lines) for title, (heads, lines) in found.items()]
