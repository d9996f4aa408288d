//! Streams with a contract (M11), over real sockets.

pub(crate) mod cluster;

use std::io::IoSlice;
use std::time::Duration;

use cdps::{
    AckModel, ContractError, Port, PortConfig, PortError, Priority, SendOptions, Sn, StreamContract, StreamId,
};
use cluster::*;

const BULK: StreamId = StreamId(1);
const CONTROL: StreamId = StreamId(9);
const HIGH: StreamContract = StreamContract { ack: None, priority: Priority::High };

fn on(port: &Port, stream: StreamId, data: &[u8], context: u64) -> Sn {
    let options = SendOptions { stream: Some(stream), context, ..SendOptions::default() };
    port.send(&[IoSlice::new(data)], &options).expect("is accepted")
}

fn narrow(config: &mut PortConfig) {
    (config.ack, config.window, config.high_window) = (AckModel::Asynchronous, 64 << 10, 64 << 10);
}

/// [M11] [M3] [M7] The other end's user keeps all that it gets of the bulk, until there is no credit for more. Control arrives all the same, small
/// and in fragments, whichever end sends; and the bulk when it is let go.
#[test]
fn control_is_not_stuck_behind_bulk() {
    for from_source in [true, false] {
        let pair = Pair::with(2, narrow, narrow, User::keeping(), User::keeping);
        let (far, host) = pair.far();
        let (sender, user, other) = match from_source {
            true => (&pair.port, &pair.user, &host),
            false => (&far, &host, &pair.user),
        };
        sender.set_stream(Some(CONTROL), HIGH).expect("both ends know priorities");
        for context in 0..40 {
            on(sender, BULK, &[1; 3000], context);
        }
        // 20 of them cost what the window is.
        other.wait_received(20);
        on(sender, CONTROL, b"small", 100);
        on(sender, CONTROL, &[2; 5000], 101);
        let got = other.wait_received(22);
        let control: Vec<_> = got.iter().filter(|g| g.stream == CONTROL).map(|g| g.data.len()).collect();
        assert_eq!((got.len(), control), (22, vec![5, 5000]), "from the source: {from_source}");
        let late = sender.set_stream(Some(CONTROL), StreamContract::default());
        assert!(
            matches!(late, Err(PortError::Contract(ContractError::InUse { stream: CONTROL }))),
            "{late:?}"
        );
        let mut ended = 22;
        while ended < 42 {
            other.let_go();
            ended = user.wait_ends(ended + 1).len();
        }
        check_order(other.wait_received(42).iter());
        pair.end();
    }
}

/// [M11] [M2] [A1] A thread makes a contract for its own stream. When it is gone the stream goes on with a thread that makes the same one, and
/// with no other.
#[test]
fn threads_make_contracts_for_their_own_streams() {
    let pair = Pair::with(1, |c| c.ack = AckModel::Asynchronous, |_| (), User::new(), User::acking);
    let answered = StreamContract { ack: Some(AckModel::Synchronous), priority: Priority::High };
    let threads = [Some(answered), None, Some(answered), Some(HIGH), None];
    for (context, contract) in (0_u64..).zip(threads) {
        let port = pair.port.clone();
        let work = move || {
            if let Some(contract) = contract {
                port.set_stream(None, contract).expect("nothing was sent on it");
            }
            send(&port, b"own", context).expect("is accepted");
        };
        std::thread::spawn(work).join().expect("sends");
        // So that a stream without a contract retires.
        pair.user.wait_ends(context as usize + 1);
    }
    let ends = pair.user.wait_ends(5);
    assert_eq!(ends, [(0, 3), (1, 0), (2, 3), (3, 0), (4, 0)], "whose user answers with the length");
    let streams: Vec<_> = pair.far().1.wait_received(5).iter().map(|g| g.stream).collect();
    assert_eq!((streams[0], streams[1]), (streams[2], streams[4]));
    assert!(streams[0] != streams[1] && !streams[..3].contains(&streams[3]), "{streams:?}");
    let taken = pair.port.set_stream(Some(StreamId::FIRST_AUTOMATIC), HIGH);
    assert!(matches!(taken, Err(PortError::StreamRange { .. })), "{taken:?}");
    pair.end();
}

/// [M10] [M11] A tombstone is the first of its frame, and the bytes of what comes after it lie right behind those of the frame before.
#[test]
fn a_frame_may_begin_with_a_tombstone() {
    let pair = Pair::with(1, |c| c.ack = AckModel::Asynchronous, |_| (), User::new(), User::new);
    pair.port.set_stream(Some(CONTROL), HIGH).expect("both ends know priorities");
    pair.port.suspend().expect("is connected");
    on(&pair.port, CONTROL, b"first", 0);
    on(&pair.port, BULK, b"", 1);
    let deadline = Some(Duration::from_millis(1));
    let late = SendOptions { stream: Some(CONTROL), context: 2, deadline, ..SendOptions::default() };
    pair.port.send(&[IoSlice::new(b"")], &late).expect("is accepted");
    on(&pair.port, CONTROL, b"second", 3);
    pair.user.wait("a nack", |seen| (nacked(seen).len() == 1).then_some(()));
    pair.port.resume().expect("is connected");
    let got: Vec<_> = pair.far().1.wait_received(3).into_iter().map(|g| g.data).collect();
    assert_eq!(got, [&b"first"[..], b"second", b""]);
    pair.user.wait_ends(4);
    pair.end();
}
