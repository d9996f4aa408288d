"""What a run says in words, and how it comes into docs/performance.md: a block of tables between two marks, and plots as SVG."""

import html
import math
import pathlib

import cases
from rows import Results, groups, size_of

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
PAGE, PLOTS = DOCS / "performance.md", DOCS / "performance"
COLOURS = ["#444444", "#0b6bcb", "#5aa7f0", "#d2691e", "#2e8b57", "#8a2be2", "#b8860b", "#c71585"]


def conditions(about: dict) -> str:
    return (
        f"{about['processor']}, {about['cores']} cores, Linux {about['kernel']}, congestion control {about['congestion_control']}, "
        f"tcp_rmem {about['tcp_rmem']}, tcp_wmem {about['tcp_wmem']} (no peer sets either; quinn and kronosnet are UDP, quinn with its own cubic), "
        f"load {about['load_before']:.1f} before and {about['load_after']:.1f} after; medians of {about['rounds']} interleaved rounds of "
        f"{about['seconds_each']:g} s; commit {about['commit']}, {about['when']}."
    )


BAR_HEADS = ["what", "measured", "bar", "goal", ""]


def bar_line(bar: dict) -> list[str]:
    measured, limit = bar["measured"], bar["goal"] if bar["bar"] is None else bar["bar"]
    number = lambda value: "" if value is None else f"{value:g}"
    if measured is None:
        return [bar["what"], "", number(bar["bar"]), number(bar["goal"]), bar["why"]]
    if bar["goal reached"]:
        verdict = "goal reached"
    elif bar["bar reached"]:
        verdict = "reached"
    else:
        verdict = f"{'goal ' * (bar['bar'] is None)}missed by {abs(measured / limit - 1):.0%}"
    return [bar["what"], f"{measured:.2f}" if measured < 100 else f"{measured:,.0f}", number(bar["bar"]), number(bar["goal"]), verdict]


def markdown(heads: list[str], lines: list[list[str]]) -> str:
    used = [i for i in range(len(heads)) if any(line[i] for line in lines)]
    row = lambda cells: "| " + " | ".join(cells[i] for i in used) + " |"
    return "\n".join([row(heads), "| --- |" + " ---: |" * (len(used) - 1), *map(row, lines)])


def chart(title: str, unit: str, names: list[str], series: list[tuple[str, list[float | None]]]) -> str:
    """Groups of bars on a logarithmic scale, as SVG."""
    values = [v for _, row in series for v in row if v]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    high = max(high, low + 1)
    left, top, height, bar, gap = 90, 40, 240, 11, 24
    group = bar * len(series) + gap
    width, bottom = left + group * len(names) + 170, top + height
    at = lambda value: bottom - height * (math.log10(value) - low) / (high - low)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 40}" font-family="sans-serif" font-size="11">',
        f'<rect width="100%" height="100%" fill="#ffffff"/><text x="{left}" y="20" font-size="14">{html.escape(title)} ({html.escape(unit)})</text>',
    ]
    for power in range(low, high + 1):
        y = at(10.0**power)
        parts.append(f'<path d="M{left} {y:.1f}H{width - 165}" stroke="#dddddd"/><text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:,.0f}</text>')
    for i, name in enumerate(names):
        x = left + gap / 2 + i * group
        parts.append(f'<text x="{x + group / 2 - gap / 2:.1f}" y="{bottom + 16}" text-anchor="middle">{html.escape(name)}</text>')
        for j, (_, row) in enumerate(series):
            if row[i]:
                y = at(row[i])
                parts.append(f'<rect x="{x + j * bar:.1f}" y="{y:.1f}" width="{bar - 1}" height="{bottom - y:.1f}" fill="{COLOURS[j % len(COLOURS)]}"/>')
    for j, (name, _) in enumerate(series):
        y = top + 16 * j
        parts.append(f'<rect x="{width - 155}" y="{y}" width="10" height="10" fill="{COLOURS[j % len(COLOURS)]}"/><text x="{width - 140}" y="{y + 9}">{html.escape(name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def series_of(results: Results, case: str, peers: list[str], sizes: list[int], metric: str) -> list[tuple[str, list[float | None]]]:
    found = []
    for peer in peers:
        cells = [results.find(case, peer, size) for size in sizes]
        rows = [results.row(cell, metric) if cell else None for cell in cells]
        if any(rows):
            found.append((peer, [row["median"] if row else None for row in rows]))
    return found


def plots(results: Results) -> dict[str, str]:
    """File name to SVG, of what this run has."""
    made = {}
    sizes = [s for s in cases.SIZES if any(c.size == s and c.case == cases.STREAM for c in results.runs)]
    peers = [cases.PLAIN, cases.COPY, cases.BORROW, cases.ZMQ, cases.NNG, cases.UCX, cases.QUINN, cases.KNET]
    if streams := series_of(results, cases.STREAM, peers, sizes, "throughput"):
        made["streaming.svg"] = chart("Streaming, one path", "messages per second", [size_of(s) for s in sizes], streams)
    sizes = [s for s in cases.SIZES if any(c.size == s and c.case == cases.TRIP for c in results.runs)]
    peers = [cases.PLAIN, cases.INLINE, cases.THREAD, cases.ZMQ, cases.NNG, cases.QUINN, cases.KNET, cases.UCX]
    for metric in ("p50", "p99"):
        if trips := series_of(results, cases.TRIP, peers, sizes, metric):
            made[f"round-trip-{metric}.svg"] = chart(f"Idle round trip, {metric}", "µs", [size_of(s) for s in sizes], trips)
    return made


def block(results: Results, judged: list[dict], about: dict, files: list[str]) -> str:
    parts = [conditions(about)]
    if judged:
        parts.append("### Bars\n\n" + markdown(BAR_HEADS, [bar_line(bar) for bar in judged]))
    parts += [f"![{name.removesuffix('.svg')}](performance/{name})" for name in files]
    parts += [f"### {title[0].upper()}{title[1:]}\n\n{markdown(heads, lines)}" for title, heads, lines in groups(results)]
    return "\n\n".join(parts)


def publish(results: Results, judged: list[dict], about: dict) -> None:
    name = "scale" if about["plan"] == "scale" else "full"
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    made = plots(results) if name == "full" else {}
    PLOTS.mkdir(exist_ok=True)
    for file, svg in made.items():
        (PLOTS / file).write_text(svg)
    page = PAGE.read_text()
    before, rest = page.split(begin, 1)
    _, after = rest.split(end, 1)
    PAGE.write_text(f"{before}{begin}\n{block(results, judged, about, list(made))}\n{end}{after}")
