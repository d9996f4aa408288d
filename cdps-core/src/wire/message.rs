//! Bodies of NODE_MESSAGE: section 5 of docs/protocol.md.
//!
//! A body may be longer than what version 1 knows; the rest is ignored.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::error::DecodeError;
use super::fields::{Fields, Put};
use super::{
    Answer, Connect, MAX_ADDRESSES, MAX_CLIENT_NAME, MAX_MESSAGE, MAX_NODE_MESSAGE, MAX_PATHS, NodeBody,
    feature,
};
use crate::secret::Secret;

/// What follows the text of an ANSWER: its features, and the window of the high class.
const ANSWER_TAIL: usize = 16;

/// Number of the kind of a node message.
pub(super) fn kind_number(body: &NodeBody) -> u8 {
    match body {
        NodeBody::Connect(_) => 1,
        NodeBody::Answer(_) => 2,
        NodeBody::Revoke { .. } => 3,
        NodeBody::Released { .. } => 4,
        NodeBody::Bye { .. } => 5,
    }
}

pub(super) fn put_body(body: &NodeBody, out: &mut Vec<u8>) {
    match body {
        NodeBody::Connect(connect) => put_connect(connect, out),
        NodeBody::Answer(answer) => put_answer(answer, out),
        NodeBody::Revoke { session, generation } | NodeBody::Released { session, generation } => {
            out.put_session(*session);
            out.put_generation(*generation);
        }
        NodeBody::Bye { session, generation, reason, side } => {
            out.put_session(*session);
            out.put_generation(*generation);
            out.put_u16(*reason);
            out.put_side(*side);
        }
    }
}

/// Reads the body of a node message of the kind `kind`.
pub(super) fn read_body(kind: u8, mut body: Fields<'_>) -> Result<NodeBody, DecodeError> {
    match kind {
        1 => read_connect(body).map(NodeBody::Connect),
        2 => read_answer(body).map(NodeBody::Answer),
        3 => Ok(NodeBody::Revoke { session: body.session()?, generation: body.generation()? }),
        4 => Ok(NodeBody::Released { session: body.session()?, generation: body.generation()? }),
        5 => Ok(NodeBody::Bye {
            session: body.session()?,
            generation: body.generation()?,
            reason: body.u16("reason")?,
            side: body.side()?,
        }),
        unknown => Err(body.wrong("kind", unknown.into())),
    }
}

fn put_connect(connect: &Connect, out: &mut Vec<u8>) {
    debug_assert!(connect.client.len() <= MAX_CLIENT_NAME, "client name of {} bytes", connect.client.len());
    out.put_session(connect.session);
    out.put_generation(connect.generation);
    out.put_u16(connect.version);
    out.put_u16(connect.flags);
    out.put_u32(connect.paths);
    out.put_u64(connect.features);
    out.put_u64(connect.window);
    out.put_u64(connect.max_message);
    out.put_u32(connect.max_streams);
    out.put_u32(connect.session_timeout_ms);
    out.put_u64(connect.first.0);
    // Never cut to the limit: that would ask for another client. The peer refuses a name that is too long.
    out.put_string(&connect.client, MAX_NODE_MESSAGE / 2);
    if connect.features & feature::CLASSES != 0 {
        out.put_u64(connect.high_window);
    }
}

fn read_connect(mut body: Fields<'_>) -> Result<Connect, DecodeError> {
    let session = body.session()?;
    let generation = body.generation()?;
    let version = body.u16("version")?;
    let flags = body.u16("flags")?;
    let paths = body.u32("paths")?;
    if paths as usize > MAX_PATHS {
        return Err(body.above("paths", paths.into()));
    }
    let mut connect = Connect {
        session,
        generation,
        version,
        flags,
        paths,
        features: body.u64("features")?,
        window: body.u64("window")?,
        high_window: 0,
        max_message: read_max_message(&mut body)?,
        max_streams: body.u32("max_streams")?,
        session_timeout_ms: body.u32("session timeout")?,
        first: body.sn("first SN")?,
        client: body.string("client name", MAX_CLIENT_NAME)?.to_owned(),
    };
    if connect.features & feature::CLASSES != 0 {
        connect.high_window = body.u64("window of the high class")?;
    }
    Ok(connect)
}

fn put_answer(answer: &Answer, out: &mut Vec<u8>) {
    debug_assert!(answer.addresses.len() <= MAX_ADDRESSES, "{} addresses", answer.addresses.len());
    let start = out.len();
    out.put_session(answer.session);
    out.put_generation(answer.generation);
    out.put_u16(answer.reason);
    out.put_zero::<6>();
    out.put_generation(answer.highest);
    out.put_u64(answer.window);
    out.put_u64(answer.max_message);
    out.put_u32(answer.max_streams);
    out.put_u32(answer.addresses.len() as u32);
    out.bytes(answer.secret.expose());
    for address in &answer.addresses {
        put_address(address, out);
    }
    let used = out.len() - start;
    out.put_string(&answer.text, MAX_NODE_MESSAGE.saturating_sub(used + 2 + ANSWER_TAIL));
    out.put_u64(answer.features);
    if answer.features & feature::CLASSES != 0 {
        out.put_u64(answer.high_window);
    }
}

fn read_answer(mut body: Fields<'_>) -> Result<Answer, DecodeError> {
    let session = body.session()?;
    let generation = body.generation()?;
    let reason = body.u16("reason")?;
    body.zero::<6>("reserved field")?;
    let highest = body.generation()?;
    let window = body.u64("window")?;
    let max_message = read_max_message(&mut body)?;
    let max_streams = body.u32("max_streams")?;
    let count = body.u32("number of addresses")?;
    if count as usize > MAX_ADDRESSES {
        return Err(body.above("number of addresses", count.into()));
    }
    let mut answer = Answer {
        session,
        generation,
        reason,
        highest,
        features: 0,
        window,
        high_window: 0,
        max_message,
        max_streams,
        secret: Secret::new(body.array("session secret")?),
        addresses: (0..count).map(|_| read_address(&mut body)).collect::<Result<_, _>>()?,
        text: body.string("text", MAX_NODE_MESSAGE)?.into(),
    };
    answer.features = body.later_u64("features")?.unwrap_or(0);
    if answer.features & feature::CLASSES != 0 {
        answer.high_window = body.u64("window of the high class")?;
    }
    Ok(answer)
}

fn read_max_message(body: &mut Fields<'_>) -> Result<u64, DecodeError> {
    match body.u64("max_message")? {
        max if max <= u64::from(MAX_MESSAGE) => Ok(max),
        max => Err(body.above("max_message", max)),
    }
}

fn put_address(address: &SocketAddr, out: &mut Vec<u8>) {
    let family = match address {
        SocketAddr::V4(_) => 4,
        SocketAddr::V6(_) => 6,
    };
    out.put_u8(family);
    out.put_u8(0);
    out.put_u16(address.port());
    match address.ip() {
        IpAddr::V4(ip) => out.bytes(&ip.octets()),
        IpAddr::V6(ip) => out.bytes(&ip.octets()),
    }
}

fn read_address(body: &mut Fields<'_>) -> Result<SocketAddr, DecodeError> {
    let family = body.u8("address family")?;
    body.zero::<1>("reserved field of an address")?;
    let port = body.u16("port of an address")?;
    let ip = match family {
        4 => IpAddr::V4(Ipv4Addr::from(body.array::<4>("address")?)),
        6 => IpAddr::V6(Ipv6Addr::from(body.array::<16>("address")?)),
        unknown => return Err(body.wrong("address family", unknown.into())),
    };
    Ok(SocketAddr::new(ip, port))
}
