"""Nodes, ports, messages: two nodes over loopback addresses, in one process and in several."""

from __future__ import annotations

import ast
import inspect
import os
import pickle
import signal
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machinery import DEADLINE, Pair, Program, wait_both_paths, wait_for

import cdps
from cdps import _cdps


def test_metrics_are_text_for_prometheus(pair: Pair) -> None:
    """[U1] What was sent and received is in the text, under the port's client, and both nodes agree."""
    for handle in [pair.source.send(b"four") for _ in range(3)]:
        pair.target.recv(DEADLINE).ack()
        handle.result(DEADLINE)
    ours, theirs = pair.source_node.metrics(), pair.target_node.metrics()
    assert '\ncdps_node_messages_sent_total{node="1"} 3\n' in ours
    assert '\ncdps_node_received_bytes_total{node="2"} 12\n' in theirs
    assert any(
        line.startswith("cdps_port_completed_total{") and 'client="writer"' in line and line.endswith(" 3")
        for line in ours.splitlines()
    )


def test_paths_come_and_go(pair: Pair) -> None:
    """[L8] A path is removed and added again while the port is in use; what cannot be done is said."""
    wait_both_paths(pair.source)
    first, second = pair.target_node.listening
    pair.source.remove_address(2, second)
    with pytest.raises(cdps.ConfigError, match="last address"):
        pair.source.remove_address(2, first)
    with pytest.raises(cdps.ConfigError, match="no class of paths"):
        pair.source.add_address(2, f"{second}/spare")
    pair.source.add_address(2, f"{second}/standby")
    back = wait_for(pair.source, lambda event: event.kind == "path" and event.path == 2)[-1]
    assert back.health == "good"
    handle = pair.source.send(b"still here")
    pair.target.recv(DEADLINE).ack()
    assert handle.result(DEADLINE) == 0


def test_messages_are_acknowledged_with_return_codes(pair: Pair) -> None:
    """[N1] [L3] [M1] [M2] [A1] Every size arrives once, in order; every return code comes back to its own send."""
    assert pair.connected.kind == "connected"
    assert (pair.connected.node, pair.connected.paths) == (2, 2)
    assert (pair.source.state, pair.target.state) == ("CONNECTED", "CONNECTEDTO")
    assert (pair.source.peer, pair.target.peer) == (2, 1)
    assert pair.source.generation == pair.target.generation == pair.connected.generation
    up = {event.path for event in wait_both_paths(pair.source)}
    assert up == {0, 1}

    sizes = [0, 1, 64, 2048, 100_000, 3_000_000]
    sent = [os.urandom(sizes[i % len(sizes)]) for i in range(60)]
    handles = [pair.source.send(data, timeout=DEADLINE) for data in sent]
    received = [pair.target.recv(DEADLINE) for _ in sent]
    assert not any(handle.done for handle in handles), "no send is complete before it is acknowledged"
    assert [message.data for message in received] == sent
    assert [message.sn for message in received] == [handle.sn for handle in handles]
    assert [message.ssn for message in received] == list(range(1, len(sent) + 1))
    assert {message.stream for message in received} == {received[0].stream}
    assert all(message.wants_ack and not message.redelivered for message in received)
    assert {message.generation for message in received} == {pair.source.generation}

    # In any order, and not twice.
    for message in reversed(received):
        message.ack(message.sn * 7 - 100)
    with pytest.raises(cdps.StateError, match="does not wait for an acknowledgment"):
        received[0].ack()
    assert [handle.result(DEADLINE) for handle in handles] == [handle.sn * 7 - 100 for handle in handles]
    assert all(handle.done for handle in handles)


def test_bytes_like_objects_are_copied(pair: Pair) -> None:
    """[M5] What a buffer holds at the time of the call is what arrives."""
    buffer = bytearray(b"before")
    pair.source.send(buffer)
    buffer[:] = b"after!"
    pair.source.send(memoryview(b"0123456789")[::3])
    assert pair.target.recv(DEADLINE).data == b"before"
    assert pair.target.recv(DEADLINE).data == b"0369"
    with pytest.raises(TypeError):
        pair.source.send("text")  # type: ignore[arg-type]


def test_both_ends_send_from_several_threads(pair: Pair) -> None:
    """[M2] [M3] [M4] Threads have streams of their own, each in order; both directions at once; named streams are kept apart."""
    threads, count = 4, 200
    failures: list[Exception] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as failure:  # noqa: BLE001
            failures.append(failure)

    def send(port: cdps.Port, name: int) -> None:
        handles = [port.send(b"%d %d" % (name, i), timeout=DEADLINE) for i in range(count)]
        assert [handle.result(DEADLINE) for handle in handles] == list(range(count))

    def receive(port: cdps.Port) -> None:
        seen: dict[int, list[int]] = {}
        # A thread that starts when another has finished may go on with its stream.
        last: dict[int, int] = {}
        for _ in range(threads * count):
            message = port.recv(DEADLINE)
            name, i = map(int, message.data.split())
            seen.setdefault(name, []).append(i)
            assert message.ssn == last.get(message.stream, 0) + 1
            last[message.stream] = message.ssn
            message.ack(i)
        assert seen == {name: list(range(count)) for name in range(threads)}

    def workers(port: cdps.Port) -> Iterator[threading.Thread]:
        yield threading.Thread(target=run, args=(lambda: receive(port),))
        for name in range(threads):
            yield threading.Thread(target=run, args=(lambda name=name: send(port, name),))

    running = [*workers(pair.source), *workers(pair.target)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not failures

    pair.source.send(b"", stream=7)
    assert pair.target.recv(DEADLINE).stream == 7
    with pytest.raises(cdps.ConfigError, match="stream 2147483648"):
        pair.source.send(b"", stream=1 << 31)


def test_a_slow_receiver_stops_the_sender() -> None:
    """[M6] [M7] Messages that are not taken fill the window, then the send buffer; the sender is told, and goes on when they are."""
    pair = Pair(ack="async")
    data = bytes(1 << 20)
    handles: list[cdps.SendHandle] = []

    def fill() -> None:
        with pytest.raises(cdps.WouldBlock):
            while len(handles) < 1000:
                handles.append(pair.source.send(data, timeout=0))

    # What fits into the window of 16 MiB, at its length and a little, goes over; then the send buffer of 64 MiB fills.
    fill()
    assert [handle.result(DEADLINE) for handle in handles[:15]] == [0] * 15
    fill()
    with pytest.raises(cdps.DeadlineExceeded):
        pair.source.send(data, timeout=0.3)
    assert len(handles) == 15 + 64
    assert not any(handle.done for handle in handles[15:])
    # A send that waits, while another thread of Python makes room.
    waiting = threading.Thread(target=lambda: handles.append(pair.source.send(data, timeout=DEADLINE)))
    waiting.start()
    accepted = len(handles)
    for _ in range(accepted + 1):
        assert pair.target.recv(DEADLINE).data == data
    waiting.join()
    assert len(handles) == accepted + 1
    assert [handle.result(DEADLINE) for handle in handles] == [0] * len(handles)
    pair.close()


def test_a_message_that_nobody_acknowledges_is_overdue() -> None:
    """[A6] The event names it, and the send still waits."""
    pair = Pair(user_ack_timeout=0.2)
    handle = pair.source.send(b"slow", stream=7)
    event = wait_for(pair.source, lambda event: event.kind == "overdue")[-1]
    assert (event.sn, event.stream) == (handle.sn, 7)
    assert event.waited is not None and event.waited >= 0.2
    assert not handle.done
    pair.target.recv(DEADLINE).ack(3)
    assert handle.result(DEADLINE) == 3
    pair.close()


def test_a_suspended_port_holds_its_sends(pair: Pair) -> None:
    """[L7] They are taken, and arrive after it was resumed; receiving goes on. Without a connection there is nothing to suspend."""
    pair.source.suspend()
    handle = pair.source.send(b"held")
    # Its acknowledgment comes over the same paths after the send, and says that the send has not begun.
    back = pair.target.send(b"back")
    pair.source.recv(DEADLINE).ack(0)
    assert back.result(DEADLINE) == 0
    with pytest.raises(cdps.DeadlineExceeded):
        pair.target.recv(0.1)
    pair.source.resume()
    pair.target.recv(DEADLINE).ack(5)
    assert handle.result(DEADLINE) == 5
    unconnected = pair.source_node.register("other", backlog=0).open_port("copy", targets=[2])
    with pytest.raises(cdps.StateError, match="suspend"):
        unconnected.suspend()


def test_a_stream_has_a_contract_of_its_own(pair: Pair) -> None:
    """[M11] It comes before the first message: what is high overtakes what waits, and a model of its own does not wait for an answer."""
    pair.source.set_stream(9, ack="async", high=True)
    pair.source.suspend()
    pair.source.send(b"bulk", stream=1)
    urgent = pair.source.send(b"urgent", stream=9)
    pair.source.resume()
    assert urgent.result(DEADLINE) == 0
    first, second = pair.target.recv(DEADLINE), pair.target.recv(DEADLINE)
    assert (bytes(first.data), first.wants_ack) == (b"urgent", False)
    assert (bytes(second.data), second.wants_ack) == (b"bulk", True)
    with pytest.raises(cdps.StateError, match="stream 9"):
        pair.source.set_stream(9)
    with pytest.raises(cdps.ConfigError, match="2147483648"):
        pair.source.set_stream(1 << 31, high=True)
    pair.source.set_stream(ack="async")
    assert pair.source.send(b"own").result(DEADLINE) == 0


def test_nothing_passes_a_barrier() -> None:
    """[M9] Streams of their own, sizes of all kinds: each message comes on its side of every barrier."""
    pair = Pair(ack="async")
    for i in range(90):
        size = 0 if i % 9 == 8 else (1 + i % 3) ** 11
        pair.source.send(bytes(size), stream=i, barrier=i % 9 == 8)
    came = [pair.target.recv(DEADLINE).sn - 1 for _ in range(90)]
    assert [sn // 9 for sn in came] == [i // 9 for i in range(90)]
    assert came[8::9] == list(range(8, 90, 9))
    pair.close()


def test_what_is_late_is_not_sent() -> None:
    """[M10] A message that finds no room in the window by its deadline is nacked, and never comes."""
    pair = Pair(ack="async")
    data = bytes(1 << 20)
    first = [pair.source.send(data) for _ in range(16)]
    assert [handle.result(DEADLINE) for handle in first[:15]] == [0] * 15
    late = pair.source.send(b"late", stream=3, deadline=0.05)
    with pytest.raises(cdps.Nacked) as failed:
        late.result(DEADLINE)
    assert "no answer in time" in str(failed.value)
    kept = pair.source.send(b"kept", stream=3, deadline=3600)
    came = [pair.target.recv(DEADLINE).data for _ in range(17)]
    # Streams do not wait for each other: it may come before the last of the long ones is whole.
    assert came.count(b"kept") == 1 and b"late" not in came
    assert kept.result(DEADLINE) == 0
    pair.close()


def test_close_drains_and_both_ends_hear_of_it() -> None:
    """[L5] close waits for the acknowledgment; what came before it can still be taken; then the session is over."""
    pair = Pair()
    handle = pair.source.send(b"last")
    with pytest.raises(cdps.DeadlineExceeded):
        pair.source.close(timeout=0.2)
    with pytest.raises(cdps.StateError):
        pair.source.send(b"too late")
    closing = threading.Thread(target=lambda: pair.source.close(timeout=DEADLINE))
    closing.start()
    message = pair.target.recv(DEADLINE)
    message.ack(3)
    closing.join()
    assert handle.result(DEADLINE) == 3
    assert pair.source.state == "DESTROYED"
    with pytest.raises(cdps.ClosedError, match="closed by the peer"):
        pair.target.recv(DEADLINE)
    with pytest.raises(cdps.ClosedError):
        pair.source.send(b"no")
    with pytest.raises(cdps.ClosedError):
        pair.source.recv(0)
    pair.source.close()
    wait_for(pair.target, lambda event: event.kind == "closed")
    pair.close()


def test_closing_a_node_ends_everything() -> None:
    """[A4] [L6] Unfinished sends are nacked, and calls that wait in other threads end."""
    pair = Pair()
    handle = pair.source.send(b"never acknowledged")
    raised: list[cdps.CdpsError] = []
    started = threading.Barrier(3)

    def wait(call: Callable[[], object]) -> None:
        started.wait()
        try:
            call()
        except cdps.CdpsError as failure:
            raised.append(failure)

    threads = [
        threading.Thread(target=wait, args=(pair.source.recv,)),
        threading.Thread(target=wait, args=(handle.result,)),
    ]
    for thread in threads:
        thread.start()
    started.wait()
    pair.source_node.close(DEADLINE)
    for thread in threads:
        thread.join()
    assert {type(failure) for failure in raised} == {cdps.ClosedError, cdps.DeliveryUnknown}
    pair.source_node.close()
    with pytest.raises(cdps.ClosedError):
        pair.source_node.register("late")
    with pytest.raises(cdps.ClosedError):
        pair.source.connect()
    pair.client.close(DEADLINE)
    with pytest.raises(cdps.ClosedError):
        pair.client.accept()
    pair.close()


TARGET = """
    import sys, cdps
    node = cdps.Node(id=2, listen=["127.0.0.2:0", "127.0.0.3:0"], members={1: []}, security="plain")
    client = node.register("copy")
    print(*node.listening, flush=True)
    port = client.accept()
    for rc in range(3):
        port.recv().ack(rc)
    for _ in range(2):
        port.recv()
    print("has five", flush=True)
    port.recv()
"""


def test_a_killed_target_nacks_what_it_did_not_acknowledge() -> None:
    """[A4] [F1] [F2] Autoswitch off: down, then a nack for each unfinished send, then drained; sends fail from there on."""
    with Program(TARGET) as target:
        members = {2: target.line().split()}
        with cdps.Node(id=1, members=members, security="plain") as node:
            port = node.register("writer").open_port("copy", targets=[2])
            port.connect(timeout=DEADLINE)
            handles = [port.send(b"%d" % i) for i in range(5)]
            assert [handle.result(DEADLINE) for handle in handles[:3]] == [0, 1, 2]
            assert target.line() == "has five"
            target.send(signal.SIGKILL)
            for handle in handles[3:]:
                with pytest.raises(cdps.DeliveryUnknown) as unknown:
                    handle.result(DEADLINE)
                assert unknown.value.sn == handle.sn
                assert unknown.value.reason == "UNREACHABLE"
            events = wait_for(port, lambda event: event.kind == "drained")
            kinds = [event.kind for event in events if event.kind != "path"]
            assert kinds == ["connected", "down", "drained"]
            assert events[-1].reason is None and port.link == "down and drained"
            down = next(event for event in events if event.kind == "down")
            assert (down.node, down.reason) == (2, "UNREACHABLE")
            with pytest.raises(cdps.LinkError) as refused:
                port.send(b"no")
            assert (refused.value.node, refused.value.reason) == (2, "UNREACHABLE")
            # Closing needs no target.
            port.close(timeout=DEADLINE)


SOURCE = """
    import sys, cdps
    node = cdps.Node(id=1, members={2: sys.argv[1:]}, security="plain")
    port = node.register("writer").open_port("copy", targets=[2], ack="async")
    port.connect()
    handles = [port.send(b"%d" % i) for i in range(10)]
    for handle in handles:
        handle.result()
    print("received", flush=True)
    sys.stdin.readline()
    port.close()
"""


def test_messages_in_the_queue_need_the_lease() -> None:
    """[F8] What waits for recv is not given out while the source is not heard: a backup might have it by then."""
    with cdps.Node(id=2, listen=["127.0.0.2:0"], members={1: []}, security="plain") as node:
        client = node.register("copy")
        with Program(SOURCE, *node.listening) as source:
            port = client.accept(DEADLINE)
            assert source.line() == "received"
            assert port.recv(DEADLINE).data == b"0"
            source.send(signal.SIGSTOP)
            wait_for(port, lambda event: event.kind == "path" and event.health == "dead")
            with pytest.raises(cdps.DeadlineExceeded):
                port.recv(0.1)
            source.send(signal.SIGCONT)
            assert [port.recv(DEADLINE).data for _ in range(9)] == [b"%d" % i for i in range(1, 10)]
            assert source.process.stdin is not None
            source.process.stdin.write("\n")
            source.process.stdin.flush()
            with pytest.raises(cdps.ClosedError):
                port.recv(DEADLINE)
            assert source.end() == (0, "")


def test_connecting_says_why_it_failed(pair: Pair) -> None:
    """[L3] [U3] A target that says no, one that is silent, and a call that does not wait so long."""
    client = pair.source_node.register("other", backlog=0)
    nobody = client.open_port("nobody", targets=[2])
    with pytest.raises(cdps.LinkError, match="no client of this name") as refused:
        nobody.connect()
    assert (refused.value.node, refused.value.reason) == (2, "NO_SUCH_CLIENT")
    assert nobody.state == "INITIALIZED"

    pair.target_node.register("full", backlog=0)
    full = client.open_port("full", targets=[2])
    with pytest.raises(cdps.LinkError) as refused:
        full.connect()
    assert refused.value.reason == "REFUSED"

    with pytest.raises(cdps.ConfigError, match="node 3 is not among the targets"):
        full.connect(3)
    with pytest.raises(cdps.StateError, match="is connected"):
        pair.source.connect()
    with pytest.raises(cdps.StateError):
        pair.target.connect()

    with cdps.Node(id=1, members={2: []}, security="plain") as lonely:
        client = lonely.register("writer")
        silent = client.open_port("copy", targets=[2], connect_timeout=0.2)
        with pytest.raises(cdps.LinkError) as late:
            silent.connect()
        assert late.value.reason in {"TIMEOUT", "UNREACHABLE"}
        patient = client.open_port("copy", targets=[2], connect_timeout=DEADLINE)
        # The end of one attempt is never taken for that of the next.
        for _ in range(30):
            with pytest.raises(cdps.DeadlineExceeded):
                patient.connect(timeout=0.001)
            assert patient.state == "INITIALIZED"


def test_bad_values_are_named() -> None:
    """[U3] [S1] Every refusal says which value was wrong, and what is allowed."""

    def refuse(text: str, **arguments: object) -> None:
        with pytest.raises(cdps.ConfigError, match=text) as refused:
            cdps.Node(**{"id": 1, "security": "plain", **arguments})  # type: ignore[arg-type]
        assert isinstance(refused.value, ValueError)

    refuse("node id 0", id=0)
    refuse('security is "tls"', security="tls")
    refuse('listen: "localhost:1" is no address', listen=["localhost:1"])
    refuse(r'members\[2\]: "127.0.0.1" is no address', members={2: ["127.0.0.1"]})
    refuse('local: "127.0.0.1:0" is no address', local=["127.0.0.1:0"])
    with pytest.raises(TypeError, match="security"):
        cdps.Node(id=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        cdps.Node(id=1, security="plain", listen="127.0.0.1:0")

    with cdps.Node(id=1, listen=["127.0.0.1:0"], members={2: []}, security="plain") as node:
        with pytest.raises(cdps.SystemCallError, match="cannot listen on 127.0.0.1") as taken:
            cdps.Node(id=2, listen=node.listening, security="plain")
        assert isinstance(taken.value, OSError) and taken.value.errno
        client = node.register("copy")
        with pytest.raises(cdps.ConfigError, match='"copy" is already registered'):
            node.register("copy")
        with pytest.raises(cdps.ConfigError, match="has 256 bytes"):
            node.register("x" * 256)
        with pytest.raises(cdps.ConfigError, match='ack is "both"'):
            client.open_port("copy", targets=[2], ack="both")  # type: ignore[arg-type]
        with pytest.raises(cdps.ConfigError, match=r"dead \+ switch_grace \(10s\) must be below session_timeout"):
            client.open_port("copy", targets=[2], autoswitch=True, switch_grace=8.5)
        with pytest.raises(cdps.ConfigError, match="node 2 is listed twice"):
            client.open_port("copy", targets=[2, 2])
        with pytest.raises(cdps.ConfigError, match="timeout is -1"):
            client.accept(-1)
        with pytest.raises(cdps.ConfigError, match="the port has no target"):
            client.open_port("copy", targets=[]).connect()


def test_a_message_that_is_too_long_is_refused(pair: Pair) -> None:
    """[M1] [U3] Longer than max_message, 16 MiB."""
    with pytest.raises(cdps.MessageTooLarge) as refused:
        pair.source.send(bytes((16 << 20) + 1))
    assert (refused.value.size, refused.value.limit) == ((16 << 20) + 1, 16 << 20)


def test_panics_and_pickled_errors() -> None:
    """[U3] A panic is an Exception like any other; every error survives a journey to another process."""
    with pytest.raises(cdps.InternalError, match="by intent"):
        _cdps._panic("by intent")
    errors: list[cdps.CdpsError] = [
        cdps.ConfigError("text"),
        cdps.SystemCallError("text", 98),
        cdps.MessageTooLarge("text", 2, 1),
        cdps.LinkError("text", 2, "REFUSED"),
        cdps.DeliveryUnknown("text", 7, "TIMEOUT"),
        cdps.WouldBlock("text"),
    ]
    for error in errors:
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error) == "text"
        assert vars(copy) == vars(error)


OPEN_AT_EXIT = """
    import sys, threading, cdps
    target = cdps.Node(id=2, listen=["127.0.0.2:0"], members={1: []}, security="plain")
    client = target.register("copy")
    source = cdps.Node(id=1, members={2: target.listening}, security="plain")
    port = source.register("writer").open_port("copy", targets=[2])
    port.connect()
    far = client.accept()
    handles = [port.send(bytes(100_000)) for _ in range(100)]
    far.recv()
    for call in (port.recv, handles[-1].result, client.accept):
        threading.Thread(target=call, daemon=True).start()
    print("ready", flush=True)
"""


@pytest.mark.parametrize(("last", "status"), [("", 0), ("sys.exit(3)", 3), ("raise SystemError('loud')", 1)])
def test_the_interpreter_exits_with_everything_open(last: str, status: int) -> None:
    """[L6] Open nodes, unfinished sends, messages in the queue, daemon threads in calls: no hang, no crash, no noise."""
    with Program(textwrap.dedent(OPEN_AT_EXIT) + last) as program:
        assert program.line() == "ready"
        returned, errors = program.end()
        assert returned == status
        assert "loud" in errors if status == 1 else not noise(errors)


def noise(errors: str) -> str:
    """Standard error without the ends of daemon threads, whose calls are told that the node is closed."""
    return "" if "Fatal" not in errors and "panicked" not in errors else errors


def test_ctrl_c_interrupts_a_call_that_waits() -> None:
    """Any call that waits notices a signal within a second."""
    # Who runs these tests in the background may have had the signal ignored, which is inherited.
    text = """
        import signal
        import cdps
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with cdps.Node(id=1, listen=["127.0.0.2:0"], security="plain") as node:
            client = node.register("copy")
            try:
                print("ready", flush=True)
                client.accept()
            except KeyboardInterrupt:
                print("interrupted", flush=True)
    """
    with Program(text) as program:
        assert program.line() == "ready"
        program.send(signal.SIGINT)
        assert program.line() == "interrupted"
        assert program.end() == (0, "")


def test_a_forked_child_is_told_so_and_exits() -> None:
    """[U5] Use in a child made by fork is refused with an error; the child ends without a hang, and the parent is not disturbed."""
    text = """
        import os, warnings, cdps
        warnings.simplefilter("ignore", DeprecationWarning)
        node = cdps.Node(id=1, listen=["127.0.0.2:0"], members={2: []}, security="plain")
        client = node.register("copy")
        port = client.open_port("copy", targets=[2])
        child = os.fork()
        if child == 0:
            refused = 0
            for call in (node.close, client.accept, port.recv, lambda: port.send(b""), lambda: node.listening):
                try:
                    call()
                except cdps.ForkedError:
                    refused += 1
            print(refused, flush=True)
        else:
            assert os.waitpid(child, 0)[1] == 0
            node.close()
            print("parent", flush=True)
    """
    with Program(text) as program:
        assert program.line() == "5"
        assert program.line() == "parent"
        assert program.end() == (0, "")


def test_the_stub_lists_what_there_is() -> None:
    """Every public class and attribute of the native module is in _cdps.pyi, with the parameters that it has, and nothing else is."""
    stub = ast.parse(Path(str(_cdps.__file__)).with_name("_cdps.pyi").read_text())
    written = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    found = {name: thing for name, thing in vars(_cdps).items() if inspect.isclass(thing)}
    assert written.keys() == found.keys()
    for name, node in written.items():
        members = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
        public = {member for member in dir(found[name]) if not member.startswith("_")}
        assert {member for member in members if not member.startswith("_")} == public, name
        for member in public:
            thing = getattr(found[name], member)
            assert thing.__doc__, f"{name}.{member} has no text"
            if not callable(thing):
                continue
            arguments = members[member].args
            stated = [(a.arg, False) for a in arguments.args] + [(a.arg, True) for a in arguments.kwonlyargs]
            stated += [(arguments.kwarg.arg, False)] if arguments.kwarg else []
            parameters = inspect.signature(thing).parameters.values()
            assert stated == [(p.name, p.kind == p.KEYWORD_ONLY) for p in parameters], f"{name}.{member}"
