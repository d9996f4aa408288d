#!/usr/bin/env python3
"""Instructions of the engine per message, counted by valgrind: the same on every machine, whatever its load.

Each kind of work runs twice, with few batches and with many; the difference divided by the messages is the figure, so that
starting up does not count. Standard library only.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
BATCH = 64
FEW, MANY = 50, 250

# (name, work, work that it includes and that is taken off, frames)
FIGURES = [
    ("send call", "send", None, "bundled"),
    ("poll_transmit, 64 in a frame", "transmit", "send", "bundled"),
    ("encode, 64 in a frame", "encode", "transmit", "bundled"),
    ("receive, 64 in a frame", "receive", "encode", "bundled"),
    ("receive, 64 frames of one", "receive", "encode", "single"),
    ("receipt and completion", "complete", "receive", "bundled"),
]


def count(program: pathlib.Path, work: str, frames: str, batches: int) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, work, frames, str(batches)]
    done = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        sys.exit(f"icount: {' '.join(map(str, command))}: status {done.returncode}\n{done.stderr}")
    return int(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=pathlib.Path, required=True, help="the cdps-icount program")
    options = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("icount: valgrind is not installed")
    needed = {(work, frames) for _, *works, frames in FIGURES for work in works if work}
    per_message = {
        key: (count(options.program, *key, MANY) - count(options.program, *key, FEW)) / ((MANY - FEW) * BATCH)
        for key in sorted(needed)
    }
    figures = {
        name: round(per_message[work, frames] - (per_message[less, frames] if less else 0), 1)
        for name, work, less, frames in FIGURES
    }
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    (results / "icount.json").write_text(json.dumps(figures, indent=1) + "\n")
    print("instructions per message of 64 B")
    for name, figure in figures.items():
        print(f"  {name:<30}{figure:>8.0f}")


if __name__ == "__main__":
    main()
