"""Settings by keyword, with their types. What is not given has its default; all times are seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict


class NodeTimers(TypedDict, total=False):
    """Timers of a node's links, for `Node`. A set that contradicts itself is refused."""

    failover_budget: float | None
    """How long the loss of a target may pause a port that has a backup: sets all other timers, which must fit into it."""
    heartbeat: float
    """One heartbeat per link in this time (0.25)."""
    suspect: float
    """Age of an unanswered probe, or of unreceipted data, that makes a path suspect, at least (0.2)."""
    dead: float
    """No contact for this long: dead (1.5)."""
    lease: float
    """How long a target may deliver without hearing an echo (1.2)."""
    tcp_user_timeout: float | None
    """When the kernel gives up a connection whose data is not acknowledged (twice dead)."""
    handshake_timeout: float
    """When a connection is closed that has not finished its handshake (3)."""
    redial_min: float
    """First wait before a failed dial is tried again; doubles, with jitter (0.1)."""
    redial_max: float
    """Longest such wait (10)."""
    rejoin: int
    """A path that was dead carries again after so many good heartbeats (3)."""


class PortSettings(TypedDict, total=False):
    """What `Client.open_port`, `Node.register` (for the target ports) and `Port.reconfigure` take. Those marked "live" can be changed by the last."""

    ack: Literal["sync", "async", "sent"]
    """When a send is complete, unless it says so itself ("sync"; live)."""
    ack_timeout: float
    """No receipt for this long: the connection is down (10; live)."""
    autoswitch: bool
    """Whether the port goes to the next backup by itself (False; live)."""
    backup_selection: Literal["listed", "round_robin", "ask"]
    """Which backup that is; "ask": a "choose_backup" event asks, and Port.choose_backup answers ("listed"; live)."""
    balance: Literal["fastest", "round_robin", "pull"]
    """How the path of a message is chosen ("fastest"; live)."""
    close_timeout: float
    """How long close waits for what is unfinished before it is nacked (30; live)."""
    connect_timeout: float
    """A connect that has not finished by then has failed (5; live)."""
    failover_budget: float | None
    """As of the node, for this port: sets its connect, ack, switch and session timeouts."""
    fence: bool
    """Whether a "fence" event asks, for Port.fenced to answer, when a target that was given up may still deliver (False)."""
    flow_high: int
    """Above this backlog a "flow" event says on, in percent of send_buffer_max (75; live)."""
    flow_low: int
    """Down at this backlog one says off (50; live)."""
    fragment: int
    """Longer messages are cut into pieces of this size (262144; live)."""
    high_window: int
    """The same as window for messages of streams that the other end has set high, which come on top of the others (1048576)."""
    local: Sequence[str]
    """Addresses to connect from, paired with a target's by position (those of the node)."""
    max_message: int
    """Longest message (16777216)."""
    max_pending_events: int
    """Ends of sends that may wait to be told (1048576; live)."""
    max_streams: int
    """Streams that may be open in each direction (4096)."""
    on_user_ack_timeout: Literal["event", "down"]
    """What an overdue message brings about: an event alone, or the end of the connection as well ("event"; live)."""
    role_epoch: int
    """Claim to an exclusive client: grows with each reversal of roles in the cluster; 0: the client is shared (0)."""
    send_buffer_max: int
    """Payload that may be queued or unfinished; past it send waits (67108864; live)."""
    session_timeout: float
    """How long a target keeps a session without contact (10)."""
    switch_grace: float
    """With autoswitch, how long the return of a target that is not heard is waited for (0)."""
    switch_timeout: float
    """When a planned switch has failed (30; live)."""
    user_ack_timeout: float | None
    """A message that has not been acknowledged for this long is the matter of an "overdue" event (30; None: never; live)."""
    window: int
    """What the peer may have outstanding here until recv has taken it; each message costs 256 more (16777216)."""
