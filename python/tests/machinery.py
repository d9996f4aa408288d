"""What the tests use: two nodes with a connected port each, programs in processes of their own, waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Self, Unpack

import cdps

# The longest that anything here may take. A test that waits for it has failed.
DEADLINE = 60.0


class Pair:
    """A source port of node 1, connected over two paths to a target port of node 2. Settings are the source port's; `far` has the target's."""

    def __init__(self, *, far: cdps.PortSettings | None = None, **settings: Unpack[cdps.PortSettings]) -> None:
        self.target_node = cdps.Node(
            id=2, listen=["127.0.0.2:0", "127.0.0.3:0"], members={1: []}, security="plain"
        )
        self.client = self.target_node.register("copy", **(far or {}))
        self.source_node = cdps.Node(
            id=1, members={2: self.target_node.listening}, local=["127.0.0.1"], security="plain"
        )
        self.source = self.source_node.register("writer", backlog=0).open_port("copy", targets=[2], **settings)
        self.connected = self.source.connect(timeout=DEADLINE)
        self.target = self.client.accept(DEADLINE)

    def close(self) -> None:
        self.source_node.close(DEADLINE)
        self.target_node.close(DEADLINE)


class Targets:
    """Nodes 2, 3, ..., each with a client "copy", and node 1, which knows them all. Those of `far` are others: id and addresses."""

    def __init__(
        self, count: int, *, far: Mapping[int, Sequence[str]] | None = None, exclusive: bool = False
    ) -> None:
        others = far or {}
        ids = [node for node in range(2, 2 + count + len(others)) if node not in others]
        self.nodes = {
            node: cdps.Node(id=node, listen=["127.0.0.2:0"], members={1: []}, security="plain") for node in ids
        }
        self.clients = {
            node: target.register("copy", exclusive=exclusive) for node, target in self.nodes.items()
        }
        listening = {node: target.listening for node, target in self.nodes.items()}
        self.members = {**listening, **others}
        self.source_node = cdps.Node(id=1, members=self.members, security="plain")
        self.writer = self.source_node.register("writer", backlog=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.source_node.close(DEADLINE)
        for node in self.nodes.values():
            node.close(DEADLINE)


def wait_for(port: cdps.Port, found: Callable[[cdps.Event], bool]) -> list[cdps.Event]:
    """The events up to the first that fits."""
    events: list[cdps.Event] = []
    while not events or not found(events[-1]):
        events.append(port.next_event(DEADLINE))
    return events


class Program:
    """A Python program in a process of its own, which speaks line by line."""

    def __init__(self, text: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(text), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        # What it says in vain fills a pipe, and a test that goes wrong must not wait for ever.
        self.killer = threading.Timer(DEADLINE, self.process.kill)
        self.killer.start()

    def line(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line, f"the program ended: {self.process.communicate()[1]}"
        return line

    def send(self, sign: signal.Signals) -> None:
        """Returns from a stop when the program stands still."""
        self.process.send_signal(sign)
        if sign == signal.SIGSTOP:
            os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def end(self) -> tuple[int, str]:
        """Its exit status and what it wrote to standard error, once it has ended by itself."""
        _, errors = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, errors

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.killer.cancel()
        self.process.kill()
        self.process.communicate()


def wait_both_paths(port: cdps.Port) -> list[cdps.Event]:
    """The first good event of each of two paths."""
    good: dict[int | None, cdps.Event] = {}
    while len(good) < 2:
        event = port.next_event(DEADLINE)
        if event.kind == "path" and event.health == "good":
            good.setdefault(event.path, event)
    return list(good.values())
