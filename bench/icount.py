#!/usr/bin/env python3
"""Instructions and allocations of the engine per message, counted by valgrind: the same on every machine, whatever its load.

Each kind of work runs twice, with few batches and with many; the difference divided by the messages is the figure, so that
starting up does not count. Held against bench/icount.json: more than 5 % above it is a failure; --accept writes it anew. Standard library only.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
COMMITTED = HERE / "icount.json"
BATCH = 64
FEW, MANY = 50, 250
# More than this above what was committed fails; so much below asks for it to be committed.
TOLERANCE = 0.05
# Allocations per message that are no figure but noise: one in a thousand messages, as a queue grows.
FEW_ALLOCATIONS = 0.001

# (name, work, work that it includes and that is taken off, frames)
FIGURES = [
    ("send call", "send", None, "bundled"),
    ("poll_transmit, 64 in a frame", "transmit", "send", "bundled"),
    ("encode, 64 in a frame", "encode", "transmit", "bundled"),
    ("receive, 64 in a frame", "receive", "encode", "bundled"),
    ("receive, 64 frames of one", "receive", "encode", "single"),
    ("receipt and completion", "complete", "receive", "bundled"),
]
COUNTERS = {
    "instructions": (["--tool=callgrind", "--callgrind-out-file=/dev/null"], r"Collected : (\d+)"),
    "allocations": (["--tool=memcheck", "--undef-value-errors=no"], r"total heap usage: ([\d,]+) allocs"),
}


def count(counter: str, program: pathlib.Path, work: str, frames: str, batches: int) -> int:
    tool, pattern = COUNTERS[counter]
    command = ["valgrind", *tool, program, work, frames, str(batches)]
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(pattern, done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"icount: {' '.join(map(str, command))}: status {done.returncode}\n{done.stderr}")
    return int(found[1].replace(",", ""))


def measure(counter: str, program: pathlib.Path) -> dict[str, float]:
    needed = {(work, frames) for _, *works, frames in FIGURES for work in works if work}
    each = {
        key: (count(counter, program, *key, MANY) - count(counter, program, *key, FEW)) / ((MANY - FEW) * BATCH)
        for key in sorted(needed)
    }
    return {name: round(each[work, frames] - (each[less, frames] if less else 0), 4) for name, work, less, frames in FIGURES}


def worse(counter: str, figures: dict[str, float], held: dict[str, float]) -> list[str]:
    """What is above its committed figure by more than may be; says what is below."""
    found = []
    for name, figure in figures.items():
        before = held.get(name)
        slack = TOLERANCE * before + (FEW_ALLOCATIONS if counter == "allocations" else 0) if before is not None else 0
        if before is None or figure > before + slack:
            found.append(f"{name}: {figure:g} {counter} per message; {before:g} committed" if before is not None else f"{name}: nothing committed")
        elif figure < before - slack:
            print(f"  {name}: fewer {counter} than committed ({before:g}): --accept")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, required=True, help="the cdps-icount program")
    parser.add_argument("--accept", action="store_true", help="write what is counted into bench/icount.json")
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("icount: valgrind is not installed")
    figures = {counter: measure(counter, options.program) for counter in COUNTERS}
    print(f"per message of 64 B{'':<13}{'instructions':>14}{'allocations':>13}")
    for name, *_ in FIGURES:
        print(f"  {name:<30}{figures['instructions'][name]:>14.1f}{figures['allocations'][name]:>13.4f}")
    if options.accept:
        COMMITTED.write_text(json.dumps(figures, indent=1) + "\n")
        return
    held = json.loads(COMMITTED.read_text())
    found = [line for counter in COUNTERS for line in worse(counter, figures[counter], held.get(counter, {}))]
    if found:
        sys.exit(f"icount: more than {TOLERANCE:.0%} above bench/icount.json (--accept, if it has to be):\n  " + "\n  ".join(found))


if __name__ == "__main__":
    main()
