"""Cluster data port services: many TCP paths and several backup targets, presented as one pipe.

A process opens a `Node`, registers a `Client` on it, and uses `Port`s. A source port connects to a client on
another node; there, `Client.accept` gives the target port of the session. Either end may then send.

    with cdps.Node(id=2, listen=["127.0.0.1:7002"], members={1: []}, security="plain") as node:
        port = node.register("copy").accept()
        message = port.recv()
        message.ack(0)

    with cdps.Node(id=1, members={2: ["127.0.0.1:7002"]}, security="plain") as node:
        with node.register("writer").open_port("copy", targets=[2]) as port:
            port.connect()
            assert port.send(b"hello").result() == 0

Every call that waits lets other Python threads run, and can be interrupted by Ctrl-C. The library's own threads
never run Python code.
"""

import atexit

from . import _cdps
from ._cdps import Client, ClusterEvent, Event, Message, Node, Port, SendHandle, __version__
from ._errors import (
    CdpsError,
    ClosedError,
    ConfigError,
    DeadlineExceeded,
    DeliveryError,
    DeliveryUnknown,
    ForkedError,
    InternalError,
    LinkError,
    MessageTooLarge,
    Nacked,
    StateError,
    SystemCallError,
    WouldBlock,
)
from ._settings import NodeTimers, PortSettings

__all__ = [
    "CdpsError",
    "Client",
    "ClosedError",
    "ClusterEvent",
    "ConfigError",
    "DeadlineExceeded",
    "DeliveryError",
    "DeliveryUnknown",
    "Event",
    "ForkedError",
    "InternalError",
    "LinkError",
    "Message",
    "MessageTooLarge",
    "Nacked",
    "Node",
    "NodeTimers",
    "Port",
    "PortSettings",
    "SendHandle",
    "StateError",
    "SystemCallError",
    "WouldBlock",
    "__version__",
]

# The longest that nodes which are still open hold up the exit of the interpreter, in seconds.
_EXIT_WAIT = 1.0

atexit.register(_cdps._close_all, _EXIT_WAIT)
