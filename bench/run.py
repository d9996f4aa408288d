#!/usr/bin/env python3
"""Measures CDPS beside plain C and ZeroMQ: loopback, one sender and one receiver process, rounds interleaved.

Prints a table and writes bench/results/latest.json. Read the ratios, which come from the same rounds; rates alone say more
about the machine and its load. All peers run with the system's congestion control. Standard library only.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
FLAGS = ["-std=gnu11", "-O2", "-g", "-Wall", "-Wextra", "-Werror"]

# What is measured: (case, peer, arguments). Within a round they run in this order.
PLAIN, ZMQ, CDPS = "plain C", "ZeroMQ", "CDPS"
CASES = {
    "64 B": {
        (PLAIN, 1): ["--size", "64"],
        (CDPS, 1): ["--size", "64"],
        (ZMQ, 1): ["--size", "64"],
        (CDPS, 4): ["--size", "64", "--sockets", "4"],
        (PLAIN, 4): ["--size", "64", "--sockets", "4"],
    },
    "64 KiB": {
        (PLAIN, 1): ["--size", "65536"],
        (CDPS, 1): ["--size", "65536"],
        (ZMQ, 1): ["--size", "65536"],
        (CDPS, 4): ["--size", "65536", "--sockets", "4"],
        (PLAIN, 4): ["--size", "65536", "--sockets", "4"],
    },
    "64 B round trip": {
        (PLAIN, 1): ["--size", "64", "--pingpong"],
        (CDPS, 1): ["--size", "64", "--pingpong"],
        (ZMQ, 1): ["--size", "64", "--pingpong"],
    },
}


def build(out: pathlib.Path, lib: pathlib.Path) -> dict[str, pathlib.Path]:
    """Compiles the peers; ZeroMQ is left out where its library is missing."""
    out.mkdir(parents=True, exist_ok=True)
    peers = {}
    include = HERE.parent / "include"
    recipes = {
        PLAIN: ("plain", []),
        ZMQ: ("zmq", ["-lzmq"]),
        CDPS: ("cdps", [f"-I{include}", f"-L{lib}", f"-Wl,-rpath,{lib}", "-lcdps"]),
    }
    for peer, (name, more) in recipes.items():
        program = out / name
        done = subprocess.run(["gcc", *FLAGS, HERE / f"{name}.c", "-o", program, *more], capture_output=True, text=True)
        if done.returncode == 0:
            peers[peer] = program
        elif peer == ZMQ:
            print("bench: without ZeroMQ (libzmq3-dev is not installed)", file=sys.stderr)
        else:
            sys.exit(f"bench: {name}.c does not build:\n{done.stderr}")
    return peers


def once(program: pathlib.Path, arguments: list[str], seconds: float) -> dict:
    command = [program, *arguments, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, command))}: status {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)


def value_of(case: str, result: dict) -> float:
    """Messages per second; for round trips, their median in µs."""
    return result["p50_us"] if "round trip" in case else result["messages"] / result["seconds"]


def measure(peers: dict, rounds: int, seconds: float) -> dict:
    results = {case: {cell: [] for cell in cells if cell[0] in peers} for case, cells in CASES.items()}
    total = rounds * sum(len(cells) for cells in results.values())
    done = 0
    for _ in range(rounds):
        for case, cells in results.items():
            for cell, kept in cells.items():
                kept.append(once(peers[cell[0]], CASES[case][cell], seconds))
                done += 1
                if sys.stderr.isatty():
                    print(f"\r\033[K{done} of {total}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return results


def ratio(mine: list[float], theirs: list[float], lower_is_better: bool) -> dict:
    """Of the same rounds; above 1 is better than the other."""
    each = [b / a if lower_is_better else a / b for a, b in zip(mine, theirs, strict=True)]
    return {"median": statistics.median(each), "min": min(each), "max": max(each)}


def summarise(results: dict) -> list[dict]:
    rows = []
    for case, cells in results.items():
        trip = "round trip" in case
        values = {cell: [value_of(case, r) for r in kept] for cell, kept in cells.items()}
        for (peer, sockets), kept in cells.items():
            mine = values[peer, sockets]
            row = {
                "case": case,
                "peer": peer,
                "sockets": sockets,
                "unit": "us" if trip else "messages/s",
                "median": statistics.median(mine),
                "min": min(mine),
                "max": max(mine),
                "rounds": mine,
                "cpu_ns_per_message": statistics.median(
                    (r["cpu_send"] + r["cpu_recv"]) * 1e9 / max(r["messages"], 1) for r in kept
                ),
            }
            if trip:
                row["p99_us"] = statistics.median(r["p99_us"] for r in kept)
            else:
                row["gigabytes_per_s"] = statistics.median(r["bytes"] / r["seconds"] / 1e9 for r in kept)
            for other, name in ((PLAIN, "to_plain"), (ZMQ, "to_zeromq")):
                # Several paths are compared with as many plain sockets; ZeroMQ has one.
                theirs = values.get((other, sockets if other == PLAIN else 1))
                if theirs and peer != other:
                    row[name] = ratio(mine, theirs, trip)
            rows.append(row)
    return rows


def table(rows: list[dict]) -> str:
    lines = [f"{'case':<16}{'peer':<9}{'paths':>5}  {'median':>14}  {'min - max':>25}  {'GB/s':>5}  {'cpu/msg':>9}  {'x plain':>7}  {'x ZeroMQ':>8}"]
    for row in rows:
        if row["unit"] == "us":
            figures = f"{row['median']:>11.1f} us  {row['min']:>10.1f} - {row['max']:>9.1f} us  {'':>5}"
        else:
            figures = f"{row['median']:>12,.0f}/s  {row['min']:>11,.0f} - {row['max']:>11,.0f}  {row['gigabytes_per_s']:>5.2f}"
        ratios = "".join(f"  {row[k]['median']:>{w}.2f}" if k in row else f"  {'':>{w}}" for k, w in (("to_plain", 7), ("to_zeromq", 8)))
        lines.append(f"{row['case']:<16}{row['peer']:<9}{row['sockets']:>5}  {figures}  {row['cpu_ns_per_message']:>6.0f} ns{ratios}")
    return "\n".join(lines)


def machine() -> dict:
    def read(path: str) -> str:
        try:
            return pathlib.Path(path).read_text().strip()
        except OSError:
            return "unknown"

    model = next((line.split(":", 1)[1].strip() for line in read("/proc/cpuinfo").splitlines() if line.startswith("model name")), "unknown")
    commit = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "congestion_control": read("/proc/sys/net/ipv4/tcp_congestion_control"),
        "load_before": os.getloadavg()[0],
        "commit": commit.stdout.strip() or "unknown",
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the compiled programs")
    parser.add_argument("--lib", type=pathlib.Path, required=True, help="folder with libcdps.so")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each measurement")
    options = parser.parse_args()
    about = machine()
    peers = build(options.out, options.lib.resolve())
    rows = summarise(measure(peers, options.rounds, options.seconds))
    about |= {"rounds": options.rounds, "seconds_each": options.seconds, "load_after": os.getloadavg()[0]}
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "latest.json").write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
    print(table(rows))
    print(
        f"\n{about['processor']}, {about['cores']} cores, Linux {about['kernel']}, {about['congestion_control']}, "
        f"load {about['load_before']:.1f} before and {about['load_after']:.1f} after; medians of {options.rounds} interleaved rounds; "
        "ratios above 1: better than the other, same rounds."
    )


if __name__ == "__main__":
    main()
