#!/usr/bin/env python3
"""Sends a file through a data port while paths are cut and the target is killed, and checks the copy.

A source (node 1) and two targets (nodes 2 and 3, which write the same output file, as two nodes that share a disk) run as
processes of their own; every path goes through a relay process of its own. While the file is sent over and over, paced:

    15 % of the bytes   one relay is frozen           55 %   the frozen one wakes
    35 %                another is killed             75 %   the primary target is killed

Exits with 0 only if every check holds. Standard library only.
"""

import argparse
import contextlib
import ctypes
import hashlib
import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

MESSAGE_SIZE = (256 << 10) - 8
"""With its offset, a message is as long as a fragment."""

RATE = 300_000_000
SECONDS = 15
SHORTEST_PASS = 16 << 20
LIMIT = 110.0
"""The whole must be over by then (seconds)."""

SUSPECT, DEAD = 0.2, 1.5
"""The liveness timers that the programs use (their defaults)."""


class Failed(Exception):
    """Something that makes the demo pointless to go on with."""


def now() -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC)


# --- processes ---------------------------------------------------------------------------------------------------------


def die_with_parent() -> None:
    """Runs in each child: should this script be killed, nothing of it stays behind."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)


class Processes:
    """Everything that was started; all of it ends with the `with` block."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.running: dict[str, subprocess.Popen] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            if process.poll() is None:
                process.kill()
        for process in self.running.values():
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def start(self, name: str, *command, **more) -> subprocess.Popen:
        log = open(self.folder / f"{name}.log", "wb")
        with log:
            # A session of its own: Ctrl-C reaches this script alone, which then ends the rest in order.
            process = subprocess.Popen(
                [str(part) for part in command],
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
                **({"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL} | more),
            )
        self.running[name] = process
        return process

    def must_live(self, *names: str) -> None:
        for name in names:
            status = self.running[name].poll()
            if status is not None:
                raise Failed(f"{name} ended with status {status}:\n{self.log(name)}")

    def log(self, name: str) -> str:
        text = (self.folder / f"{name}.log").read_text(errors="replace").strip()
        return "\n".join(text.splitlines()[-20:]) or "(it said nothing)"


class Events:
    """Reads the JSON lines that a program appends to a file."""

    def __init__(self, path: pathlib.Path):
        self.path = path
        self.at = 0
        self.all: list[dict] = []

    def new(self) -> list[dict]:
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            file.seek(self.at)
            data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self.at += len(whole)
            found = [json.loads(line) for line in whole.splitlines() if line.strip()]
            for event in found:
                event["t"] = event["t"] / 1e9
            self.all += found
            return found
        return []

    def last(self, name: str, since: float = 0.0) -> dict:
        return next((e for e in reversed(self.all) if e["event"] == name and e["t"] >= since), {})

    def named(self, name: str, since: float = 0.0) -> list[dict]:
        return [e for e in self.all if e["event"] == name and e["t"] >= since]


def wait_for(what: str, condition, seconds: float = 20.0):
    end = now() + seconds
    while now() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise Failed(f"waited {seconds:.0f} s in vain for {what}")


# --- the file ----------------------------------------------------------------------------------------------------------


def default_file() -> pathlib.Path:
    """The largest shared library of the Rust toolchain."""
    root = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip()
    found = [p for p in pathlib.Path(root, "lib").rglob("*.so*") if p.is_file() and not p.is_symlink()]
    if not found:
        raise Failed(f"no shared library below {root}/lib: give FILE=path")
    return max(found, key=lambda p: p.stat().st_size)


def long_enough(source: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """A short file is sent as a row of copies: a pass should be longer than what lies between two passes."""
    size = source.stat().st_size
    if size == 0:
        raise Failed(f"{source} is empty")
    if size >= SHORTEST_PASS:
        return source
    row = folder / "source"
    with open(row, "wb") as file:
        data = source.read_bytes()
        for _ in range(math.ceil(SHORTEST_PASS / size)):
            file.write(data)
    return row


def sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --- what is shown -----------------------------------------------------------------------------------------------------


class Screen:
    def __init__(self):
        self.live = sys.stdout.isatty()
        self.start = now()
        self.shown = 0.0

    def event(self, text: str, at: float | None = None) -> None:
        if self.live:
            print("\r\033[K", end="")
        print(f"{(at or now()) - self.start:7.2f} s  {text}", flush=True)

    def progress(self, done: int, total: int, rate: float, note: str) -> None:
        pause = 0.1 if self.live else 2.0
        if now() - self.shown < pause:
            return
        self.shown = now()
        text = f"{now() - self.start:7.2f} s  {done / total:4.0%}  {rate / 1e6:5.0f} MB/s  {note}"
        print(f"\r\033[K{text}" if self.live else text, end="" if self.live else "\n", flush=True)

    def close(self) -> None:
        if self.live:
            print("\r\033[K", end="", flush=True)


# --- the cluster -------------------------------------------------------------------------------------------------------


class Cluster:
    """Two targets behind relays; sources are started one after the other."""

    def __init__(self, options, processes: Processes, source: pathlib.Path, copy: pathlib.Path):
        self.options, self.processes, self.source, self.copy = options, processes, source, copy
        self.folder = processes.folder
        self.targets = {node: self.start_target(node) for node in (2, 3)}
        self.relays = {node: self.start_relays(node) for node in (2, 3)}

    def start_target(self, node: int) -> Events:
        events = Events(self.folder / f"target-{node}.events")
        listen = [part for i in range(self.options.paths) for part in ("--listen", f"127.10.{node}.{i + 1}:0")]
        self.processes.start(
            f"target-{node}", self.options.bin / "cdps-recv", "--node-id", node, *listen, "--member", 1,
            "--client", "demo", "--offsets", "--events", events.path, self.copy,
        )  # fmt: skip
        return events

    def start_relays(self, node: int) -> list[str]:
        def listening():
            self.processes.must_live(f"target-{node}")
            self.targets[node].new()
            return self.targets[node].last("listening")

        addresses = wait_for(f"target {node} to listen", listening)["addresses"]
        relays = []
        for i, to in enumerate(addresses):
            relay = self.processes.start(
                f"relay-{node}-{i}", self.options.relay, "--listen", f"127.20.{node}.{i + 1}:0", "--to", to,
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            relays.append(relay.stdout.readline().strip())
            if not relays[-1]:
                raise Failed(f"relay-{node}-{i} did not start:\n{self.processes.log(f'relay-{node}-{i}')}")
        return relays

    def start_source(self, name: str, passes: int, rate: int) -> "Source":
        events = Events(self.folder / f"{name}.events")
        targets = [part for node, relays in self.relays.items() for part in ("--target", f"{node}={','.join(relays)}")]
        paced = ["--rate", rate] if rate else []
        process = self.processes.start(
            name, self.options.bin / "cdps-send", "--node-id", 1, *targets, "--client", "demo", "--ack", "sync",
            "--autoswitch", "--message-size", MESSAGE_SIZE, "--passes", passes, "--step", "--offsets", *paced,
            "--events", events.path, self.source, stdin=subprocess.PIPE,
        )  # fmt: skip
        return Source(self, name, process, events)


class Source:
    """One run of cdps-send. After each pass it waits until the copy has been compared, and cleared."""

    def __init__(self, cluster: Cluster, name: str, process: subprocess.Popen, events: Events):
        self.cluster, self.name, self.process, self.events = cluster, name, process, events
        self.passes: list[tuple[float, float]] = []
        """When each pass was complete, and when the next one was let go."""
        self.wrong: list[int] = []

    def poll(self, digest: str, last: int) -> list[dict]:
        """New events. A pass that is complete is checked here."""
        found = self.events.new()
        for event in found:
            if event["event"] != "pass":
                continue
            number = len(self.passes) + 1
            if sha256(self.cluster.copy) != digest:
                self.wrong.append(number)
            if number < last:
                # So that the next pass proves something: what it does not write is not there.
                os.truncate(self.cluster.copy, 0)
            self.passes.append((event["t"], now()))
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
        return found


# --- the faults --------------------------------------------------------------------------------------------------------


class Relays:
    """The relays of the primary target, by how much they carry: a fault on an idle path would show nothing."""

    def __init__(self, processes: Processes, paths: int):
        self.processes = processes
        self.names = [f"relay-2-{i}" for i in range(paths)]
        self.looks: list[tuple[float, dict[str, float]]] = []

    def look(self) -> None:
        """Notes how much processor time each has used; to be called often."""
        used = {name: cpu_seconds(self.processes.running[name].pid) for name in self.names}
        self.looks = [look for look in self.looks if look[0] > now() - 1.0] + [(now(), used)]

    def busiest(self, besides: set[str]) -> str:
        first, last = self.looks[0][1], self.looks[-1][1]
        return max((name for name in self.names if name not in besides), key=lambda name: last[name] - first[name])


def cpu_seconds(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


class Fault:
    """Something that happens to a process at a share of the bytes."""

    def __init__(self, percent: int, text: str, what: signal.Signals, limit: float, victim=None):
        self.percent, self.text, self.signal, self.limit, self.victim = percent, text, what, limit, victim
        self.at: float | None = None

    def strike(self, processes: Processes, victim: str) -> None:
        self.at, self.victim = now(), victim
        processes.running[victim].send_signal(self.signal)


def faults(paths: int) -> list[Fault]:
    frozen = Fault(15, "busiest relay frozen", signal.SIGSTOP, SUSPECT + 0.5)
    killed = Fault(35, "next busiest relay killed", signal.SIGKILL, 0.2)
    wakes = Fault(55, "frozen relay wakes", signal.SIGCONT, SUSPECT + 0.5)
    target = Fault(75, "primary target killed", signal.SIGKILL, DEAD + 0.5, victim="target-2")
    # With two paths one must stay, or the target would be lost before its time.
    return [frozen, killed, wakes, target] if paths > 2 else [frozen, wakes, target]


def victim_of(fault: Fault, done: list[Fault], relays: Relays) -> str:
    if fault.victim:
        return fault.victim
    if fault.signal == signal.SIGCONT:
        return next(f.victim for f in done if f.signal == signal.SIGSTOP)
    return relays.busiest({f.victim for f in done})


def pause_after(fault: Fault, until: float, source: Source, targets: dict[int, Events]) -> float:
    """The longest time without a delivery that began at or after the fault; the time at a step does not count."""
    if fault.victim == "target-2":
        # What node 2 delivered last was before the kill; the first delivery of node 3 ends the pause.
        first = targets[3].named("first", fault.at)
        return first[0]["t"] - fault.at - held(fault.at, first[0]["t"], source) if first else math.inf
    longest = 0.0
    for events in targets.values():
        for pause in events.named("pause", fault.at):
            start, end = pause["from"] / 1e9, pause["to"] / 1e9
            if end > fault.at and start < until:
                longest = max(longest, end - start - held(start, end, source))
    return longest


def held(start: float, end: float, source: Source) -> float:
    """How much of this time the source waited at a step, by order of this script."""
    return sum(max(0.0, min(end, go) - max(start, complete)) for complete, go in source.passes)


# --- the runs ----------------------------------------------------------------------------------------------------------


def show(event: dict, screen: Screen) -> None:
    """Prints what the source says, besides its progress."""
    name = event["event"]
    if name in ("start", "progress", "pass", "done"):
        return
    details = ", ".join(f"{key} {value}" for key, value in event.items() if key not in ("t", "event"))
    screen.event(f"source: {name}{': ' if details else ''}{details}", event["t"])


def unpaced(cluster: Cluster, screen: Screen, digest: str) -> tuple[Source, float]:
    """One pass as fast as it goes, nothing disturbed."""
    source = cluster.start_source("source-unpaced", 1, 0)
    end = now() + 60
    while source.process.poll() is None:
        source.poll(digest, 1)
        if now() > end:
            raise Failed("the unpaced pass did not end within 60 s")
        time.sleep(0.01)
    source.poll(digest, 1)
    done = source.events.last("done")
    if source.process.returncode != 0 or not done:
        raise Failed(f"the unpaced pass ended with status {source.process.returncode}:\n{cluster.processes.log(source.name)}")
    rate = done["completed"] / max(done["seconds"], 1e-9)
    screen.event(f"unpaced: {done['completed']:,} bytes at {rate / 1e6:.0f} MB/s")
    return source, rate


def paced(cluster: Cluster, screen: Screen, digest: str, passes: int, todo: list[Fault], end: float) -> Source:
    size = cluster.source.stat().st_size
    total = size * passes
    source = cluster.start_source("source", passes, RATE)
    waiting, struck = list(todo), []
    relays = Relays(cluster.processes, cluster.options.paths)
    rates = [(now(), 0)]
    while source.process.poll() is None:
        for event in source.poll(digest, passes):
            show(event, screen)
        for events in cluster.targets.values():
            events.new()
        relays.look()
        done = source.events.last("progress").get("completed", 0)
        while waiting and done >= total * waiting[0].percent / 100:
            fault = waiting.pop(0)
            fault.strike(cluster.processes, victim_of(fault, struck, relays))
            struck.append(fault)
            screen.event(f"FAULT at {fault.percent} %: {fault.text} ({fault.victim})", fault.at)
        rates = [r for r in rates if r[0] > now() - 1.0 or r is rates[-1]] + [(now(), done)]
        rate = (done - rates[0][1]) / max(now() - rates[0][0], 1e-3)
        screen.progress(done, total, rate, f"pass {len(source.passes) + 1} of {passes}")
        if now() > end:
            raise Failed(f"not done in time: {done:,} of {total:,} bytes\n{cluster.processes.log('source')}")
        time.sleep(0.01)
    for event in source.poll(digest, passes):
        show(event, screen)
    # The targets write their last counts within a tenth of a second.
    wait_until = now() + 0.3
    while now() < wait_until:
        for events in cluster.targets.values():
            events.new()
        time.sleep(0.05)
    return source


# --- the verdict -------------------------------------------------------------------------------------------------------


class Verdict:
    def __init__(self):
        self.rows: list[tuple[str, str, bool | None]] = []

    def add(self, name: str, value: str, good: bool | None = None) -> None:
        self.rows.append((name, value, good))

    def show(self) -> bool:
        width = max(len(name) for name, _, _ in self.rows)
        print()
        for name, value, good in self.rows:
            mark = {None: "", True: "ok", False: "WRONG"}[good]
            print(f"  {name:<{width}}  {value:<34} {mark}")
        good = all(good is not False for _, _, good in self.rows)
        print(f"\n  {'The copy is complete, in order, once.' if good else 'FAILED'}\n", flush=True)
        return good


def judge(cluster: Cluster, source: Source, before: tuple[Source, float], todo: list[Fault], passes: int) -> Verdict:
    verdict = Verdict()
    size = cluster.source.stat().st_size
    done = source.events.last("done") or source.events.last("progress")
    start = source.events.all[0]["t"] if source.events.all else 0.0
    status = source.process.returncode
    verdict.add("cdps-send ended", f"status {status}", status == 0)
    verdict.add("bytes", f"{done.get('completed', 0):,} of {size * passes:,}", done.get("completed") == size * passes)
    waited = sum(go - complete for complete, go in source.passes)
    seconds = source.passes[-1][0] - start - (waited - (source.passes[-1][1] - source.passes[-1][0])) if source.passes else 0
    verdict.add("throughput, paced", f"{size * passes / seconds / 1e6:.0f} MB/s for {seconds:.1f} s" if seconds else "none", seconds >= SECONDS * 0.98)
    verdict.add("throughput, one pass unpaced", f"{before[1] / 1e6:.0f} MB/s")
    for i, fault in enumerate(todo):
        if fault.at is None:
            verdict.add(f"pause: {fault.text}", "it never came to it", False)
            continue
        until = todo[i + 1].at if i + 1 < len(todo) and todo[i + 1].at else math.inf
        pause = pause_after(fault, until, source, cluster.targets)
        text = f"{pause * 1e3:.0f} ms" if pause else "below 20 ms"
        verdict.add(f"longest pause: {fault.text}", f"{text} (limit {fault.limit * 1e3:.0f} ms)", pause < fault.limit)
    verdict.add("sent again", f"{done.get('resent', 0):,} messages")
    duplicates = sum(e.last("progress", start).get("duplicates", 0) for e in cluster.targets.values())
    verdict.add("duplicates dropped", f"{duplicates:,}")
    rewritten = cluster.targets[3].last("progress", start).get("redelivered", 0)
    verdict.add("rewritten after the switch", f"{rewritten:,} messages")
    verdict.add("nacks", f"{done.get('nacks', 0)}", done.get("nacks", 1) == 0)
    switched = [event.get("node") for event in source.events.named("switched")]
    verdict.add("switched to", ", ".join(f"node {node}" for node in switched) or "no node", switched == [3])
    good = len(source.passes) - len(source.wrong)
    verdict.add("SHA-256 equal after", f"{good} of {passes} passes, and unpaced", good == passes and not before[0].wrong and len(before[0].passes) == 1)
    return verdict


def run(options) -> bool:
    given = options.file or default_file()
    screen = Screen()
    end = now() + LIMIT
    with contextlib.ExitStack() as stack:
        if options.keep:
            folder = options.keep
            folder.mkdir(parents=True)
        else:
            folder = pathlib.Path(tempfile.mkdtemp(prefix="cdps-demo-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        processes = stack.enter_context(Processes(folder))
        stack.callback(screen.close)
        copy = folder / "copy"
        source = long_enough(given, folder)
        size = source.stat().st_size
        screen.event(f"{given} ({size:,} bytes), {options.paths} paths")
        digest = sha256(source)
        cluster = Cluster(options, processes, source, copy)
        before = unpaced(cluster, screen, digest)
        os.truncate(copy, 0)
        passes = max(1, math.ceil(SECONDS * RATE / size))
        todo = faults(options.paths)
        sent = paced(cluster, screen, digest, passes, todo, end)
        screen.close()
        good = judge(cluster, sent, before, todo, passes).show()
        if not good:
            for name in processes.running:
                if not name.startswith("relay") and (text := processes.log(name)) != "(it said nothing)":
                    print(f"--- {name} said:\n{text}", file=sys.stderr)
        return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, required=True, help="folder with cdps-send and cdps-recv")
    parser.add_argument("--relay", type=pathlib.Path, required=True, help="the cdps-relay program")
    parser.add_argument("--paths", type=int, default=4, help="paths to each target, 2 to 16 (default 4)")
    parser.add_argument("--file", type=pathlib.Path, help="what to send (default: the largest library of the Rust toolchain)")
    parser.add_argument("--keep", type=pathlib.Path, help="a new folder in which copy, events and logs stay")
    options = parser.parse_args()
    if not 2 <= options.paths <= 16:
        parser.error("--paths must be 2 to 16: with one, a frozen relay is the end of the connection")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(143))
    try:
        return 0 if run(options) else 1
    except (Failed, OSError) as why:
        print(f"\ndemo: {why}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
