#!/usr/bin/env python3
"""Measures CDPS beside what a user would take instead: loopback, a sender and a receiver process, rounds interleaved.

Prints tables and bars, and writes bench/results/latest.json (scaling: scale.json). Read the ratios, which come from the same rounds; rates
alone say more about the machine and its load. No peer sets socket buffers or congestion control: all have the kernel's, and
--congestion runs all of them in a network namespace with another one. Standard library only.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

import bars
import cases
import peers
import publish
from rows import Results, aligned, groups

HERE = pathlib.Path(__file__).resolve().parent
# Length of a run in which system calls are counted.
CALLS_SECONDS = 0.3
SYSCTL = pathlib.Path("/proc/sys/net/ipv4")
INSIDE = "CDPS_BENCH_NAMESPACE"


def read(path: pathlib.Path) -> str:
    try:
        return " ".join(path.read_text().split())
    except OSError:
        return "unknown"


def in_namespace(congestion: str) -> None:
    """Runs all of this again where the congestion control is another one, and where nothing else of the machine changes."""
    if congestion == read(SYSCTL / "tcp_congestion_control"):
        return
    if INSIDE not in os.environ:
        # Tracing needs the real root; an ordinary user maps himself.
        user = [] if os.geteuid() == 0 else ["--map-root-user", "--user"]
        command = ["unshare", *user, "--net", sys.executable, *sys.argv]
        sys.exit(subprocess.run(command, env=os.environ | {INSIDE: "1"}).returncode)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    try:
        (SYSCTL / "tcp_congestion_control").write_text(congestion)
    except OSError as error:
        allowed = read(SYSCTL / "tcp_allowed_congestion_control")
        sys.exit(f"bench: {congestion}: {error.strerror}; a namespace has what the machine allows everybody: {allowed} (net.ipv4.tcp_allowed_congestion_control)")


def machine(plan: cases.Plan) -> dict:
    info = read(pathlib.Path("/proc/cpuinfo"))
    model = info.split("model name : ", 1)[-1].split(" stepping", 1)[0] if "model name" in info else "unknown"
    commit = subprocess.run(["git", "-C", HERE, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "congestion_control": read(SYSCTL / "tcp_congestion_control"),
        "tcp_rmem": read(SYSCTL / "tcp_rmem"),
        "tcp_wmem": read(SYSCTL / "tcp_wmem"),
        "load_before": os.getloadavg()[0],
        "commit": commit.stdout.strip() or "unknown",
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "plan": plan.name,
        "rounds": plan.rounds,
        "seconds_each": plan.seconds,
    }


def measure(plan: cases.Plan, cells: list[cases.Cell], programs: dict) -> Results:
    results = Results(cells)
    total, done = plan.rounds * len(cells), 0
    for _ in range(plan.rounds):
        for cell in cells:
            results.runs[cell].append(peers.once(programs[cell.program], cell.command(plan.seconds)))
            done += 1
            if sys.stderr.isatty():
                print(f"\r\033[K{done} of {total}", end="", file=sys.stderr, flush=True)
    for cell in cells if plan.calls else []:
        results.calls[cell] = peers.once(programs[cell.program], [*cell.command(CALLS_SECONDS), "--calls"])
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return results


def show(results: Results, judged: list[dict], about: dict) -> None:
    for title, heads, lines in groups(results):
        print(f"\n{title}\n{aligned(heads, lines)}")
    if judged:
        print("\nbars")
        print(aligned(publish.BAR_HEADS, [publish.bar_line(bar) for bar in judged]))
    print(f"\n{publish.conditions(about)}")


def chosen(options: argparse.Namespace) -> cases.Plan:
    if options.plan == "scale":
        relay = peers.relay(options.lib.parent)
        plan = cases.scaling(str(relay))
        if not relay:
            plan = cases.Plan("scale", [c for c in plan.cells if not c.case.startswith(cases.DELAY_CASE)], plan.rounds, plan.seconds)
    else:
        plan = {"full": cases.full, "quick": cases.quick}[options.plan]()
    rounds, seconds = options.rounds or plan.rounds, options.seconds or plan.seconds
    return cases.Plan(plan.name, plan.cells, rounds, seconds, plan.calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the compiled programs")
    parser.add_argument("--lib", type=pathlib.Path, required=True, help="folder with libcdps.so, in cargo's target folder")
    parser.add_argument("--plan", choices=["quick", "full", "scale"], default="full")
    parser.add_argument("--rounds", type=int, help="how often each is measured")
    parser.add_argument("--seconds", type=float, help="length of each measurement")
    parser.add_argument("--only", default="", help="only cells whose case, size, peer or variant have this in them; their plain C is not added")
    parser.add_argument("--congestion", help="congestion control of all TCP peers, in a network namespace")
    parser.add_argument("--publish", action="store_true", help="write tables and plots into docs/performance.md")
    options = parser.parse_args()
    if options.congestion:
        in_namespace(options.congestion)
    plan = chosen(options)
    about = machine(plan)
    wanted = [c for c in plan.cells if options.only in f"{c.case}, {c.size}, {c.peer}, {c.variant}"]
    programs = peers.build({cell.program for cell in wanted}, options.out, options.lib.resolve())
    results = measure(plan, [cell for cell in wanted if cell.program in programs], programs)
    about["load_after"] = os.getloadavg()[0]
    judged = bars.judged(results)
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    written = {"machine": about, "rows": results.rows(), "bars": judged}
    (folder / ("scale.json" if plan.name == "scale" else "latest.json")).write_text(json.dumps(written, indent=1) + "\n")
    show(results, judged, about)
    if options.publish:
        publish.publish(results, judged, about)


if __name__ == "__main__":
    main()
