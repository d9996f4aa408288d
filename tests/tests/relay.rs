//! The relay does what the other tests believe of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use cdps_tests::process::Program;
use cdps_tests::relay::{Direction, Options, Relay};
use cdps_tests::{DEADLINE, address};

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((address::own_ip(), 0)).expect("a free port");
    let at = listener.local_addr().expect("its address");
    (listener, at)
}

/// Both ends of a connection through a relay to `listener`.
fn through(relay: SocketAddr, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let near = TcpStream::connect(relay).expect("the relay accepts");
    let (far, _) = listener.accept().expect("the relay connects");
    for end in [&near, &far] {
        end.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        end.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    }
    (near, far)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn bytes_arrive_unchanged_and_the_end_of_stream_is_passed_on() {
    let (listener, at) = listen();
    let relay = Relay::start(Options::new((address::own_ip(), 0).into(), at)).expect("starts");
    let (mut near, mut far) = through(relay.address(), &listener);
    let sent = pattern(5_000_003);
    let copy = sent.clone();
    let writer = std::thread::spawn(move || {
        near.write_all(&copy).expect("written");
        near.shutdown(Shutdown::Write).expect("shut down");
        near
    });
    let mut got = Vec::new();
    far.read_to_end(&mut got).expect("read");
    assert!(got == sent, "{} bytes of {} arrived, or other ones", got.len(), sent.len());
    // The other direction still works after the first has ended.
    far.write_all(b"answer").expect("written");
    drop(far);
    let mut near = writer.join().expect("the writer ends");
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).expect("read");
    assert_eq!(answer, b"answer");
}

#[test]
fn a_reset_is_passed_on() {
    let (listener, at) = listen();
    let relay = Relay::start(Options::new((address::own_ip(), 0).into(), at)).expect("starts");
    let (mut near, far) = through(relay.address(), &listener);
    socket2::SockRef::from(&far).set_linger(Some(Duration::ZERO)).expect("linger");
    drop(far);
    assert_eq!(near.read(&mut [0; 1]).expect_err("a reset").kind(), ErrorKind::ConnectionReset);

    let (mut near, mut far) = through(relay.address(), &listener);
    relay.reset();
    for end in [&mut near, &mut far] {
        assert_eq!(end.read(&mut [0; 1]).expect_err("a reset").kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn silence_in_one_direction_loses_nothing_and_strands_at_most_the_buffer() {
    let (listener, at) = listen();
    let buffer = 64 << 10;
    let relay =
        Relay::start(Options { buffer, ..Options::new((address::own_ip(), 0).into(), at) }).expect("starts");
    let (mut near, mut far) = through(relay.address(), &listener);
    // The sender's own buffer is not the relay's; it is made small so that what is left is the relay's.
    socket2::SockRef::from(&near).set_send_buffer_size(4096).expect("a small buffer");
    let own = socket2::SockRef::from(&near).send_buffer_size().expect("its size");
    relay.silence(Direction::Forth, true);
    far.write_all(b"back").expect("written");
    let mut back = [0; 4];
    near.read_exact(&mut back).expect("the other direction flows");

    near.set_nonblocking(true).expect("non-blocking");
    let data = pattern(4 << 20);
    let mut stranded = 0;
    let mut last = Instant::now();
    while last.elapsed() < Duration::from_millis(300) {
        match near.write(&data[stranded..]) {
            Ok(n) => {
                stranded += n;
                last = Instant::now();
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                std::thread::park_timeout(Duration::from_millis(5))
            }
            Err(e) => panic!("{e}"),
        }
    }
    assert!(stranded <= buffer + own, "{stranded} bytes are stranded; {buffer} + {own} is the bound");

    relay.silence(Direction::Forth, false);
    let mut got = vec![0; stranded];
    far.read_exact(&mut got).expect("what was stranded arrives");
    assert!(got == data[..stranded]);
}

#[test]
fn rate_and_delay_are_kept() {
    let (listener, at) = listen();
    let options = Options { rate: 1_000_000, ..Options::new((address::own_ip(), 0).into(), at) };
    let relay = Relay::start(options).expect("starts");
    let (mut near, mut far) = through(relay.address(), &listener);
    let start = Instant::now();
    let writer = std::thread::spawn(move || near.write_all(&pattern(600_000)).map(|()| near));
    far.read_exact(&mut vec![0; 600_000]).expect("read");
    // The last read of up to 128 KiB may be ahead of its time.
    assert!(start.elapsed() >= Duration::from_millis(450), "{:?}", start.elapsed());
    writer.join().expect("the writer ends").expect("written");

    let options =
        Options { delay: Duration::from_millis(40), ..Options::new((address::own_ip(), 0).into(), at) };
    let relay = Relay::start(options).expect("starts");
    let (mut near, mut far) = through(relay.address(), &listener);
    let start = Instant::now();
    near.write_all(b"far away").expect("written");
    far.read_exact(&mut [0; 8]).expect("read");
    assert!(start.elapsed() >= Duration::from_millis(40), "{:?}", start.elapsed());
}

#[test]
fn the_program_prints_its_address_and_freezes() {
    let (listener, at) = listen();
    let mut relay = Program::start(Command::new(env!("CARGO_BIN_EXE_cdps-relay")).args([
        "--listen",
        &format!("{}:0", address::own_ip()),
        "--to",
        &at.to_string(),
    ]))
    .expect("starts");
    let relayed: SocketAddr = relay.line().parse().expect("an address");
    let (mut near, mut far) = through(relayed, &listener);
    near.write_all(b"before").expect("written");
    far.read_exact(&mut [0; 6]).expect("read");

    relay.freeze().expect("frozen");
    near.write_all(b"during").expect("written");
    far.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
    assert!(far.read(&mut [0; 6]).is_err(), "a frozen relay carries nothing");
    relay.wake().expect("woken");
    far.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    far.read_exact(&mut [0; 6]).expect("read");

    relay.kill().expect("killed");
    assert_eq!(near.read(&mut [0; 1]).map_err(|e| e.kind()).unwrap_or(0), 0);
}

#[test]
fn the_program_obeys_orders() {
    let (listener, at) = listen();
    let listen = format!("{}:0", address::own_ip());
    let mut command = Command::new(env!("CARGO_BIN_EXE_cdps-relay"));
    let mut relay =
        Program::start(command.args(["--listen", &listen, "--to", &at.to_string()])).expect("starts");
    let relayed: SocketAddr = relay.line().parse().expect("an address");
    let (mut near, mut far) = through(relayed, &listener);
    for way in ["forth", "back"] {
        let (from, to) = if way == "forth" { (&mut near, &mut far) } else { (&mut far, &mut near) };
        from.write_all(b"before").expect("written");
        to.read_exact(&mut [0; 6]).expect("read");
        relay.say(&format!("silence {way}")).expect("it lives");
        // Orders and bytes are not in step: what was written before it obeys still comes.
        to.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
        let mut sent = 0;
        let mut got = 0;
        cdps_tests::eventually("silence", || {
            from.write_all(b"x").expect("written");
            sent += 1;
            to.read_exact(&mut [0; 1]).map_or(Some(()), |()| {
                got += 1;
                None
            })
        });
        to.write_all(b"answer").expect("written");
        from.read_exact(&mut [0; 6]).expect("the other direction flows");
        relay.say(&format!("flow {way}")).expect("it lives");
        to.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        to.read_exact(&mut vec![0; sent - got]).expect("nothing is lost");
    }
    relay.say("reset").expect("it lives");
    assert_eq!(near.read(&mut [0; 1]).expect_err("a reset").kind(), ErrorKind::ConnectionReset);

    relay.say("dance").expect("it lives");
    assert!(!relay.exit().success(), "an order that there is not");
}

#[test]
fn when_the_other_side_refuses_the_connection_is_reset() {
    let (listener, at) = listen();
    drop(listener);
    let relay = Relay::start(Options::new((address::own_ip(), 0).into(), at)).expect("starts");
    let mut near = TcpStream::connect(relay.address()).expect("the relay accepts");
    near.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    assert_eq!(near.read(&mut [0; 1]).expect_err("a reset").kind(), ErrorKind::ConnectionReset);
}
