"""Ports beyond sending and receiving: roles, switches, resets, questions, settings, figures."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest
from machinery import DEADLINE, Pair, Program, Targets, wait_both_paths, wait_for

import cdps

# A target in a process of its own, which can be frozen and killed.
TARGET = """
    import sys, cdps
    node = cdps.Node(id=2, listen=["127.0.0.2:0"], members={1: []}, security="plain")
    client = node.register("copy")
    print(*node.listening, flush=True)
    port = client.accept()
    port.recv().ack(7)
    for _ in range(2):
        port.recv()
    print("has three", flush=True)
    port.recv()
"""


def test_an_exclusive_client_serves_the_highest_role() -> None:
    """[L4] A higher role takes the session's place, a lower one is refused, and one without a role is told so."""
    with cdps.Node(id=2, listen=["127.0.0.2:0"], members={1: [], 3: []}, security="plain") as target:
        client = target.register("disk", exclusive=True)
        members = {2: target.listening}
        with (
            cdps.Node(id=1, members=members, security="plain") as one,
            cdps.Node(id=3, members=members, security="plain") as three,
        ):
            first = one.register("a").open_port("disk", targets=[2], role_epoch=1)
            assert first.connect(timeout=DEADLINE).generation == (1, 1)
            served = client.accept(DEADLINE)
            second = three.register("b").open_port("disk", targets=[2], role_epoch=2)
            assert second.connect(timeout=DEADLINE).generation == second.generation
            assert second.generation[0] == 2
            ended = wait_for(served, lambda event: event.kind == "closed")[-1]
            assert ended.reason == "SUPERSEDED"
            assert wait_for(first, lambda event: event.kind == "down")[-1].reason == "SUPERSEDED"
            assert client.accept(DEADLINE).peer == 3
            for epoch, reason in ((1, "ROLE_TAKEN"), (2, "ROLE_TAKEN"), (0, "ROLE_MISMATCH")):
                late = one.register(f"late {epoch}").open_port("disk", targets=[2], role_epoch=epoch)
                with pytest.raises(cdps.LinkError) as refused:
                    late.connect(timeout=DEADLINE)
                assert refused.value.reason == reason


def test_roles_are_remembered_across_restarts(tmp_path: Path) -> None:
    """[L4] [F7] With a state_dir a node that is opened anew still refuses a role that is over."""

    def connect(epoch: int, folder: Path | None) -> tuple[int, int]:
        with (
            cdps.Node(
                id=2, listen=["127.0.0.2:0"], members={1: []}, security="plain", state_dir=folder
            ) as target,
            cdps.Node(id=1, members={2: target.listening}, security="plain") as source,
        ):
            client = target.register("disk", exclusive=True)
            port = source.register("writer").open_port("disk", targets=[2], role_epoch=epoch)
            port.connect(timeout=DEADLINE)
            return client.accept(DEADLINE).generation

    assert connect(5, tmp_path)[0] == 5
    with pytest.raises(cdps.LinkError) as refused:
        connect(4, tmp_path)
    assert refused.value.reason == "ROLE_TAKEN"
    assert connect(4, None)[0] == 4
    assert connect(6, tmp_path)[0] == 6


def test_a_planned_switch_waits_for_the_user_of_the_old_target() -> None:
    """[F6] Nothing is nacked or comes twice; until the commit a failure leaves the port where it is."""
    with Targets(2) as cluster:
        port = cluster.writer.open_port("copy", targets=[2, 3], switch_timeout=0.3)
        with pytest.raises(cdps.StateError, match="switch"):
            port.switch(3)
        port.connect(timeout=DEADLINE)
        with pytest.raises(cdps.ConfigError, match="node 9"):
            port.switch(9)
        with pytest.raises(cdps.ConfigError, match="node 2 already"):
            port.switch(2)
        held = port.send(b"held")
        old = cluster.clients[2].accept(DEADLINE)
        message = old.recv(DEADLINE)
        with pytest.raises(cdps.LinkError, match="the switch has failed") as late:
            port.switch(3, timeout=DEADLINE)
        assert (late.value.node, late.value.reason, port.peer) == (3, "TIMEOUT", 2)

        port.reconfigure(switch_timeout=DEADLINE)
        with pytest.raises(cdps.DeadlineExceeded):
            port.switch(3, timeout=0.1)
        after = port.send(b"after")
        with pytest.raises(cdps.StateError, match="on its way to node 3"):
            port.switch(3)
        message.ack(1)
        switched = wait_for(port, lambda event: event.kind == "switched")[-1]
        assert (switched.node, switched.only_receipted, port.peer) == (3, 0, 3)
        assert switched.decision is not None
        assert (switched.decision["trigger"], switched.decision["lease"]) == ("asked", "released")
        new = cluster.clients[3].accept(DEADLINE)
        message = new.recv(DEADLINE)
        assert (message.data, message.redelivered) == (b"after", False)
        message.ack(2)
        assert (held.result(DEADLINE), after.result(DEADLINE)) == (1, 2)
        assert port.stats()["switches"] == 1 and port.stats()["nacked"] == 0

        back = port.switch(2, timeout=DEADLINE)
        assert (back.kind, back.node, port.peer) == ("switched", 2, 2)
        assert back.generation is not None and back.generation > (switched.generation or (0, 0))


def test_a_stopped_port_is_reset(pair: Pair) -> None:
    """[L5] [F3] Stop nacks what was not sent and waits for the rest; after a reset the session goes on under a new generation."""
    with pytest.raises(cdps.StateError, match="reset"):
        pair.source.reset()
    sent = pair.source.send(b"sent")
    message = pair.target.recv(DEADLINE)
    pair.source.suspend()
    unsent = pair.source.send(b"unsent")
    with pytest.raises(cdps.DeadlineExceeded):
        pair.source.stop(timeout=0.1)
    assert pair.source.state == "STOPPED"
    with pytest.raises(cdps.Nacked) as stopped:
        unsent.result(DEADLINE)
    assert stopped.value.reason == "STOPPED"
    message.ack(4)
    assert sent.result(DEADLINE) == 4
    wait_for(pair.source, lambda event: event.kind == "drained")

    before = pair.source.generation
    recovered = pair.source.reset(timeout=DEADLINE)
    assert (recovered.kind, recovered.node, recovered.kept) == ("recovered", 2, True)
    assert pair.source.state == "CONNECTED" and pair.source.generation > before
    assert wait_for(pair.target, lambda event: event.kind == "reset")[-1].generation == pair.source.generation
    again = pair.source.send(b"again")
    pair.target.recv(DEADLINE).ack(5)
    assert again.result(DEADLINE) == 5
    pair.source.stop(timeout=DEADLINE)
    assert pair.source.connect(timeout=DEADLINE).kind == "connected"


def test_what_was_unknown_is_resolved() -> None:
    """[F2] [F3] [F11] A target that was frozen: down with its record, unknown sends, and their verdicts when it is back."""
    with Program(TARGET) as target:
        members = {2: target.line().split()}
        with cdps.Node(id=1, members=members, security="plain") as node:
            port = node.register("writer").open_port("copy", targets=[2])
            port.connect(timeout=DEADLINE)
            handles = [port.send(b"%d" % i) for i in range(3)]
            assert handles[0].result(DEADLINE) == 7
            assert target.line() == "has three"
            target.send(signal.SIGSTOP)
            down = wait_for(port, lambda event: event.kind == "down")[-1]
            assert down.decision is not None
            assert down.decision["trigger"] in {"no_contact", "no_path"}
            assert (down.decision["timer"], down.decision["timer_value"]) == ("dead", 1.5)
            assert down.decision["measured"] >= 1.5 and down.decision["paths"][0][0] == 0
            assert down.decision["text"].startswith("node 2 generation 0/1 given up")
            for handle in handles[1:]:
                with pytest.raises(cdps.DeliveryUnknown):
                    handle.result(DEADLINE)
            target.send(signal.SIGCONT)
            events = wait_for(port, lambda event: event.kind == "recovered")
            resolved = [(event.sn, event.verdict, event.rc) for event in events if event.kind == "resolved"]
            assert resolved == [(handle.sn, "delivered", None) for handle in handles[1:]]
            assert events[-1].kept is True
            assert port.stats()["downs"] == 1 and port.stats()["resets"] == 1


def test_python_chooses_the_backup() -> None:
    """[L2] [F5] The question has the candidates; the answer is where the port goes; without one listed order decides."""
    with Program(TARGET) as lost:
        with Targets(2, far={2: lost.line().split()}) as cluster:
            port = cluster.writer.open_port(
                "copy", targets=[2, 3, 4], autoswitch=True, backup_selection="ask", connect_timeout=DEADLINE
            )
            port.connect(timeout=DEADLINE)
            with pytest.raises(cdps.StateError, match="nobody asks"):
                port.choose_backup(3)
            lost.send(signal.SIGKILL)
            handle = port.send(b"anywhere")
            asked = wait_for(port, lambda event: event.kind == "choose_backup")[-1]
            assert (asked.node, asked.candidates) == (2, [3, 4])
            with pytest.raises(cdps.StateError, match="nobody asks"):
                port.fenced(True)
            port.choose_backup(4)
            switched = wait_for(port, lambda event: event.kind == "switched")[-1]
            assert switched.node == port.peer == 4
            message = cluster.clients[4].accept(DEADLINE).recv(DEADLINE)
            message.ack(9)
            assert handle.result(DEADLINE) == 9


@pytest.mark.parametrize("answer", ["none", "close"])
def test_a_question_ends_without_a_backup(answer: str) -> None:
    """[L2] [L6] None: the connection is down. A port that is closed waits for no answer."""
    with Program(TARGET) as lost:
        with Targets(1, far={2: lost.line().split()}) as cluster:
            port = cluster.writer.open_port(
                "copy", targets=[2, 3], autoswitch=True, backup_selection="ask", connect_timeout=3600.0
            )
            port.connect(timeout=DEADLINE)
            lost.send(signal.SIGKILL)
            wait_for(port, lambda event: event.kind == "choose_backup")
            if answer == "none":
                port.choose_backup(None)
                wait_for(port, lambda event: event.kind == "down")
            port.close(immediate=True, timeout=DEADLINE)
            assert port.state == "DESTROYED"


def test_python_fences_a_target() -> None:
    """[F8] A frozen target is given up before its lease is over: with a yes the backup takes over at once."""
    patient = TARGET.replace('security="plain"', 'security="plain", dead=3600, lease=3000, suspect=1')
    with Program(patient.replace('"copy"', '"copy", session_timeout=7200')) as lost:
        with cdps.Node(id=3, listen=["127.0.0.2:0"], members={1: []}, security="plain") as backup:
            client = backup.register("copy")
            members = {2: lost.line().split(), 3: backup.listening}
            # Its lease would be waited for beyond any patience.
            timers: cdps.NodeTimers = {"dead": 3600, "lease": 3000, "suspect": 1}
            with cdps.Node(id=1, members=members, security="plain", **timers) as node:
                port = node.register("writer").open_port(
                    "copy",
                    targets=[2, 3],
                    autoswitch=True,
                    fence=True,
                    ack_timeout=1.5,
                    session_timeout=7200,
                    connect_timeout=DEADLINE,
                )
                port.connect(timeout=DEADLINE)
                # What was delivered was delivered under the lease.
                assert port.send(b"before").result(DEADLINE) == 7
                lost.send(signal.SIGSTOP)
                handle = port.send(b"fenced off", ack="async")
                asked = wait_for(port, lambda event: event.kind == "fence")[-1]
                assert (asked.node, asked.generation) == (2, (0, 1))
                assert asked.lease_left is not None and asked.lease_left > 2000
                port.fenced(True)
                switched = wait_for(port, lambda event: event.kind == "switched")[-1]
                assert switched.node == 3 and switched.decision is not None
                assert (switched.decision["trigger"], switched.decision["lease"]) == ("no_receipt", "fenced")
                assert client.accept(DEADLINE).recv(DEADLINE).redelivered
                assert handle.result(DEADLINE) == 0


def test_flow_control_is_told() -> None:
    """[M7] On once when the backlog passes the high mark, off once when it is down at the low one, each with its reason."""
    pair = Pair(ack="async", send_buffer_max=1 << 20, flow_high=80, flow_low=20, far={"window": 1 << 16})
    handles = [pair.source.send(bytes(1 << 15)) for _ in range(20)]
    deadline = time.monotonic() + DEADLINE
    while pair.target.stats()["messages_received"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    # The path has taken what the window allows.
    handles += [pair.source.send(bytes(1 << 15)) for _ in range(10)]
    on = wait_for(pair.source, lambda event: event.kind == "flow")[-1]
    assert (on.flow, on.cause) == ("on", "window")
    assert on.bytes is not None and (on.bytes * 100) >> 20 >= 80 and (on.messages or 0) >= 25
    for _ in handles:
        pair.target.recv(DEADLINE)
    off = wait_for(pair.source, lambda event: event.kind == "flow")[-1]
    assert off.flow == "off" and off.bytes is not None and (off.bytes * 100) >> 20 <= 20
    assert [handle.result(DEADLINE) for handle in handles] == [0] * 30
    pair.close()


def test_settings_of_a_live_port(pair: Pair) -> None:
    """[L8] What is set anew holds for what follows; what cannot be, or contradicts what stays, is refused as a whole."""
    before = pair.source.timers()
    pair.source.reconfigure(ack="async", ack_timeout=2.5, user_ack_timeout=None)
    handle = pair.source.send(b"no answer needed")
    assert handle.result(DEADLINE) == 0
    assert not pair.target.recv(DEADLINE).wants_ack
    asked = pair.source.send(b"answer me", ack="sync")
    pair.target.recv(DEADLINE).ack(6)
    assert asked.result(DEADLINE) == 6
    assert pair.source.timers() == {**before, "ack_timeout": 2.5, "user_ack_timeout": None}
    for settings, text in (
        ({"window": 1 << 20}, "window cannot be changed on a live port"),
        ({"high_window": 1 << 19}, "high_window cannot be changed on a live port"),
        ({"ack": "sync", "ack_timeout": 0.1}, "suspect .* must be below ack_timeout"),
        ({"balance": "slowest"}, 'balance is "slowest"; allowed are "fastest", "round_robin", "pull"'),
        ({"ack_timeout": -1.0}, "ack_timeout is -1"),
        ({"fragment": -1}, "fragment: "),
    ):
        with pytest.raises(cdps.ConfigError, match=text):
            pair.source.reconfigure(**settings)
    for settings, text in (({"patience": 1}, 'no setting "patience"'), ({"autoswitch": "yes"}, "autoswitch: ")):
        with pytest.raises(TypeError, match=text):
            pair.source.reconfigure(**settings)
    assert pair.source.timers()["ack_timeout"] == 2.5
    # Either end.
    pair.target.reconfigure(ack="sent")
    assert pair.target.send(b"gone").result(DEADLINE) == 0


def test_every_setting_is_known() -> None:
    """The types that are written down are the settings that there are."""
    given: dict[str, object] = {
        "ack": "sent",
        "autoswitch": True,
        "backup_selection": "round_robin",
        "balance": "pull",
        "failover_budget": 5.0,
        "fence": True,
        "flow_high": 60,
        "flow_low": 40,
        "fragment": 4096,
        "high_window": 100_000,
        "local": ["127.0.0.1"],
        "max_message": 100,
        "max_pending_events": 1000,
        "max_streams": 10,
        "on_user_ack_timeout": "down",
        "role_epoch": 3,
        "send_buffer_max": 100_000,
        "session_timeout": 20.0,
        "switch_grace": 0.5,
        "window": 1 << 20,
        "ack_timeout": 1.0,
        "close_timeout": 1.5,
        "connect_timeout": 1.25,
        "switch_timeout": 1.75,
        "user_ack_timeout": None,
    }
    assert given.keys() == cdps.PortSettings.__annotations__.keys()
    with cdps.Node(id=1, members={2: []}, security="plain") as node:
        port = node.register("writer").open_port("copy", targets=[2], **given)  # type: ignore[arg-type]
        timers = port.timers()
        for name in given.keys() & timers.keys():
            assert timers[name] == given[name], name
        with pytest.raises(cdps.ConfigError, match="failover_budget"):
            node.register("late").open_port("copy", targets=[2], failover_budget=2, connect_timeout=1.5)
        with pytest.raises(cdps.ConfigError, match="window is 1"):
            node.register("small", window=1)
        with pytest.raises(cdps.ConfigError, match="no class of paths"):
            node.register("spare").open_port("copy", targets={2: ["127.0.0.1:1/spare"]})
    given = {
        "failover_budget": 6.0,
        "heartbeat": 0.55,
        "suspect": 0.3,
        "dead": 2.5,
        "lease": 2.0,
        "tcp_user_timeout": 5.5,
        "handshake_timeout": 4.0,
        "redial_min": 0.3,
        "redial_max": 20.0,
        "rejoin": 4,
    }
    assert given.keys() == cdps.NodeTimers.__annotations__.keys()
    with cdps.Node(id=1, members={2: []}, security="plain", **given) as node:  # type: ignore[arg-type]
        timers = node.register("writer").open_port("copy", targets=[2]).timers()
        for name in given.keys() & timers.keys():
            assert timers[name] == given[name], name
    with pytest.raises(cdps.ConfigError, match=r"lease \(1\.2s\) must be below dead \(1s\)"):
        cdps.Node(id=1, security="plain", dead=1.0)


def test_figures_count_what_happened(pair: Pair) -> None:
    """[U1] Figures of both ends agree, on the port, its paths and its node."""
    handles = [pair.source.send(bytes(1000)) for _ in range(10)]
    for _ in handles:
        pair.target.recv(DEADLINE).ack()
    for handle in handles:
        handle.result(DEADLINE)
    ours, theirs = pair.source.stats(), pair.target.stats()
    assert (ours["messages_sent"], ours["bytes_sent"], ours["completed"]) == (10, 10_000, 10)
    assert (theirs["messages_received"], theirs["bytes_received"]) == (10, 10_000)
    assert (ours["paths"], ours["unfinished_bytes"], ours["longest_switch"]) == (2, 0, 0.0)
    paths = pair.source.path_stats()
    assert [path["path"] for path in paths] == [0, 1]
    assert sum(path["payload_sent"] for path in paths) >= 10_000
    assert sum(path["bytes_sent"] for path in paths) > 10_000
    assert {path["cause"] for path in paths if path["health"] == "good"} <= {"NONE"}
    node = pair.source_node.stats()
    assert (node["ports"], node["clients"], node["messages_sent"]) == (1, 1, 10)
    assert pair.source.session == pair.target.session
    assert pair.source.session[:2] == (1, pair.source_node.incarnation)


def test_clients_hear_of_the_cluster() -> None:
    """[N3] [N4] The own registration, then nodes and paths that come and go; a client that is closed says so to who waits."""
    with cdps.Node(id=2, listen=["127.0.0.2:0"], members={1: []}, security="plain") as watcher:
        client = watcher.register("watch")
        assert client.next_event(DEADLINE).kind == "effective"
        with cdps.Node(id=1, members={2: watcher.listening}, security="plain") as other:
            while (event := client.next_event(DEADLINE)).kind != "up" or event.incarnation is None:
                pass
            assert (event.node, event.incarnation) == (1, other.incarnation)
            while (event := client.next_event(DEADLINE)).kind != "path" or event.health != "good":
                pass
            assert (event.node, event.remote) == (1, None) and event.link is not None
        while (event := client.next_event(DEADLINE)).kind != "unreachable":
            pass
        assert event.node == 1
        raised: list[cdps.CdpsError] = []

        def wait() -> None:
            try:
                while True:
                    client.next_event()
            except cdps.CdpsError as failure:
                raised.append(failure)

        waiting = threading.Thread(target=wait)
        waiting.start()
        client.close(DEADLINE)
        waiting.join()
        assert [type(failure) for failure in raised] == [cdps.ClosedError]


def test_a_standby_path_carries_when_no_other_does() -> None:
    """[T8] [L2] Targets with addresses of their own, one of them a spare."""
    with cdps.Node(
        id=2, listen=["127.0.0.2:0", "127.0.0.3:0"], members={1: []}, security="plain"
    ) as target:
        client = target.register("copy")
        first, spare = target.listening
        with cdps.Node(id=1, members={2: [first]}, security="plain") as node:
            port = node.register("writer").open_port("copy", targets={2: [first, f"{spare}/standby"]})
            assert port.connect(timeout=DEADLINE).paths == 2
            wait_both_paths(port)
            assert [path["standby"] for path in port.path_stats()] == [False, True]
            far = client.accept(DEADLINE)
            for way in range(2):
                handle = port.send(bytes(1000))
                far.recv(DEADLINE).ack()
                assert handle.result(DEADLINE) == 0
                assert [bool(path["payload_sent"]) for path in port.path_stats()] == [[True, False], [True]][way]
                if way == 0:
                    port.remove_address(2, first)
