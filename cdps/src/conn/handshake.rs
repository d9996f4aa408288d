//! The first frames of a connection (docs/protocol.md, section 3).

use std::io;

use cdps_core::id::{ConnId, Generation, PathId, SessionId};
use cdps_core::reason::Reason;
use cdps_core::secret::Secret;
use cdps_core::wire::{self, Decoder, Frame, Hello, Refuse, Step, Welcome, encode_frame, reason_of};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::CHECKED;

/// No handshake frame is longer.
const LONGEST: usize = wire::FRAME_HEADER + wire::MAX_HEAD + wire::MAX_REFUSE_TEXT;

/// Why a handshake came to nothing.
#[derive(Debug, Error)]
pub(crate) enum Failed {
    /// The connection could not be made, or broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The peer sent bytes that are no frame of this protocol.
    #[error("{0}")]
    Decode(#[from] wire::DecodeError),
    /// The peer refused.
    #[error("refused by the peer: {}{}", reason_of(.0.reason), Comment(.0))]
    Refused(Refuse),
    /// This end refuses.
    #[error("refused: {0}")]
    Refuse(Reason),
    /// Another frame was due.
    #[error("another frame was expected than {0}")]
    Unexpected(&'static str),
    /// It took too long.
    #[error("the handshake took too long")]
    Late,
}

/// The text of a refusal, if it has one. It comes from a stranger: printed with escapes.
struct Comment<'a>(&'a Refuse);

impl std::fmt::Display for Comment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.text.is_empty() { Ok(()) } else { write!(f, " ({:?})", self.0.text) }
    }
}

impl Failed {
    /// What the engine is told.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Failed::Io(_) => Reason::DialFailed,
            Failed::Decode(error) => error.reason(),
            Failed::Refused(refuse) => reason_of(refuse.reason),
            Failed::Refuse(reason) => *reason,
            Failed::Unexpected(_) => Reason::ProtocolError,
            Failed::Late => Reason::Timeout,
        }
    }
}

/// A connection during its handshake.
pub(crate) struct Greeting {
    pub(crate) stream: TcpStream,
    decoder: Decoder,
    /// Read and not consumed; at most a handshake frame and what one read brought.
    bytes: Vec<u8>,
}

impl Greeting {
    pub(crate) fn new(stream: TcpStream) -> Greeting {
        Greeting { stream, decoder: Decoder::new(CHECKED), bytes: Vec::new() }
    }

    /// The next frame.
    pub(crate) async fn read(&mut self) -> Result<Frame, Failed> {
        loop {
            match self.decoder.step(&self.bytes)? {
                Step::Need(need) if need > LONGEST => return Err(Failed::Unexpected("a long frame")),
                Step::Need(_) => {}
                Step::Frame { frame, consumed } => {
                    self.bytes.drain(..consumed);
                    return Ok(frame);
                }
                Step::Bundle { .. } | Step::Fragment { .. } => return Err(Failed::Unexpected("a message")),
            }
            self.bytes.reserve(LONGEST);
            if self.stream.read_buf(&mut self.bytes).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    pub(crate) async fn write(&mut self, frame: &Frame) -> Result<(), Failed> {
        let mut bytes = Vec::new();
        encode_frame(frame, CHECKED, &mut bytes);
        Ok(self.stream.write_all(&bytes).await?)
    }

    /// Says why not, as far as the socket takes it.
    pub(crate) fn refuse(&self, reason: Reason) {
        let refuse = Refuse {
            reason: reason as u16,
            version_min: wire::VERSION,
            version_max: wire::VERSION,
            text: String::new(),
        };
        let mut bytes = Vec::new();
        encode_frame(&Frame::Refuse(refuse), CHECKED, &mut bytes);
        // The connection is given up in any case.
        let _ = self.stream.try_write(&bytes);
    }

    /// The connection, and what has come behind the handshake.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.bytes)
    }
}

/// What a frame is, for a message about it.
pub(crate) fn name(frame: &Frame) -> &'static str {
    match frame {
        Frame::Hello(_) => "HELLO",
        Frame::Welcome(_) => "WELCOME",
        Frame::Proof { .. } => "PROOF",
        Frame::Ready => "READY",
        Frame::Refuse(_) => "REFUSE",
        Frame::Heartbeat(_) => "HEARTBEAT",
        Frame::NodeMessage(_) => "NODE_MESSAGE",
        Frame::Skip(_) => "SKIP",
        Frame::Receipt(_) => "RECEIPT",
        Frame::Completions(_) => "COMPLETIONS",
        Frame::Probe => "PROBE",
        Frame::PathStatus(_) => "PATH_STATUS",
        Frame::Close { .. } => "CLOSE",
        Frame::ResetAck(_) => "RESET_ACK",
    }
}

/// Checks an acceptor's answer to a HELLO, as far as both purposes have it in common.
pub(crate) fn check_welcome(hello: &Hello, welcome: &Welcome) -> Result<(), Failed> {
    if welcome.node != hello.peer {
        return Err(Failed::Refuse(Reason::WrongNode));
    }
    if welcome.version != wire::VERSION {
        return Err(Failed::Refuse(Reason::UnsupportedVersion));
    }
    if welcome.features & !hello.features != 0 || welcome.incarnation.0 == 0 {
        return Err(Failed::Refuse(Reason::ProtocolError));
    }
    Ok(())
}

/// What a proof is about.
pub(crate) struct Claim<'a> {
    pub(crate) secret: &'a Secret,
    pub(crate) dialler_nonce: &'a [u8; 32],
    pub(crate) acceptor_nonce: &'a [u8; 32],
    pub(crate) session: SessionId,
    pub(crate) path: PathId,
    pub(crate) conn: ConnId,
    pub(crate) generation: Generation,
}

/// Who proves.
#[derive(Clone, Copy)]
pub(crate) enum Prover {
    /// In WELCOME.
    Target,
    /// In PROOF.
    Source,
}

impl Claim<'_> {
    /// The proof.
    pub(crate) fn prove(&self, prover: Prover) -> [u8; 32] {
        self.mac(prover).finalize().into_bytes().into()
    }

    /// Whether a proof is right, in constant time.
    pub(crate) fn holds(&self, prover: Prover, proof: &[u8; 32]) -> bool {
        self.mac(prover).verify_slice(proof).is_ok()
    }

    fn mac(&self, prover: Prover) -> Hmac<Sha256> {
        let label: &[u8; 16] = match prover {
            Prover::Target => b"cdps data target",
            Prover::Source => b"cdps data source",
        };
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.secret.expose()).expect("HMAC takes keys of any length");
        mac.update(label);
        mac.update(self.dialler_nonce);
        mac.update(self.acceptor_nonce);
        mac.update(&self.session.node.0.to_le_bytes());
        mac.update(&self.session.incarnation.0.to_le_bytes());
        mac.update(&self.session.port.to_le_bytes());
        mac.update(&self.path.0.to_le_bytes());
        mac.update(&self.conn.0.to_le_bytes());
        mac.update(&self.generation.role_epoch.to_le_bytes());
        mac.update(&self.generation.counter.to_le_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use cdps_core::id::{Incarnation, NodeId};

    use super::*;

    /// [L3] A proof holds for exactly what it was made for: every input counts, and the two ends' proofs differ.
    #[test]
    fn proofs_bind_everything() {
        let session = SessionId { node: NodeId(1), incarnation: Incarnation(2), port: 3 };
        let generation = Generation { role_epoch: 4, counter: 5 };
        let (secret, other, a, b) = (Secret::new([6; 32]), Secret::new([7; 32]), [7; 32], [8; 32]);
        let claim = |change: usize| {
            let mut session = session;
            let mut generation = generation;
            session.node.0 += u32::from(change == 1);
            session.incarnation.0 += u64::from(change == 2);
            session.port += u32::from(change == 3);
            generation.role_epoch += u64::from(change == 4);
            generation.counter += u64::from(change == 5);
            let path = PathId(9 + u16::from(change == 6));
            let conn = ConnId(10 + u32::from(change == 7));
            let nonces = if change == 8 { (&b, &a) } else { (&a, &b) };
            let secret = if change == 9 { &other } else { &secret };
            let claim = Claim {
                secret,
                dialler_nonce: nonces.0,
                acceptor_nonce: nonces.1,
                session,
                path,
                conn,
                generation,
            };
            (
                claim.prove(Prover::Source),
                claim.holds(Prover::Source, &Claim { ..claim }.prove(Prover::Source)),
            )
        };
        let (proof, holds) = claim(0);
        assert!(holds);
        for change in 1..=9 {
            assert_ne!(claim(change).0, proof, "input {change} does not count");
        }
        let claim = Claim {
            secret: &secret,
            dialler_nonce: &a,
            acceptor_nonce: &b,
            session,
            path: PathId(9),
            conn: ConnId(10),
            generation,
        };
        assert!(claim.holds(Prover::Source, &proof) && !claim.holds(Prover::Target, &proof));
    }

    /// [M8] The checksum is the one of the protocol, and continues across pieces.
    #[test]
    fn checksum_is_crc32c() {
        assert_eq!(super::super::crc32c(0, b"123456789"), 0xE306_9283);
        for cut in 0..=9 {
            let (head, tail) = b"123456789".split_at(cut);
            assert_eq!(super::super::crc32c(super::super::crc32c(0, head), tail), 0xE306_9283);
        }
    }
}
