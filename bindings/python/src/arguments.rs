//! What Python gives, as the library wants it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use cdps::{AckModel, Address, Member, NodeId, Security, Target};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyMapping, PyMemoryView};

use crate::failure::Failure;

/// A timeout: seconds, or `None` for ever.
pub(crate) fn timeout(seconds: Option<f64>) -> Result<Option<Duration>, Failure> {
    let Some(seconds) = seconds else { return Ok(None) };
    if seconds == f64::INFINITY {
        return Ok(None);
    }
    seconds_of("timeout", seconds).map(Some)
}

/// A time in seconds.
pub(crate) fn seconds_of(name: &str, seconds: f64) -> Result<Duration, Failure> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| Failure::Config(format!("{name} is {seconds}; a number of seconds from 0 is needed")))
}

pub(crate) fn addresses(name: &str, texts: &[String]) -> Result<Vec<SocketAddr>, Failure> {
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            Failure::Config(format!(
                "{name}: {text:?} is no address; \"127.0.0.1:7000\" or \"[::1]:7000\" is"
            ))
        })
    };
    texts.iter().map(parse).collect()
}

/// The address of a target, with the class of its path.
pub(crate) fn address(text: &str) -> Result<Address, Failure> {
    text.parse().map_err(|error| Failure::Config(format!("address: {text:?}: {error}")))
}

pub(crate) fn local_addresses(texts: &[String]) -> Result<Vec<IpAddr>, Failure> {
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            Failure::Config(format!("local: {text:?} is no address; \"127.0.0.1\" or \"::1\" is"))
        })
    };
    texts.iter().map(parse).collect()
}

/// Node ids and where these nodes listen.
pub(crate) fn members(mapping: Option<&Bound<'_, PyMapping>>) -> PyResult<Vec<Member>> {
    let mut members = Vec::new();
    let Some(mapping) = mapping else { return Ok(members) };
    for item in mapping.items()?.iter() {
        let (node, texts): (u32, Vec<String>) = item.extract()?;
        members
            .push(Member { node: NodeId(node), addresses: addresses(&format!("members[{node}]"), &texts)? });
    }
    Ok(members)
}

/// Nodes in order, with the addresses of each if it is a mapping.
pub(crate) fn targets(given: &Bound<'_, PyAny>) -> PyResult<Vec<Target>> {
    let mut targets = Vec::new();
    if let Ok(mapping) = given.cast::<PyMapping>() {
        for item in mapping.items()?.iter() {
            let (node, texts): (u32, Vec<String>) = item.extract()?;
            let addresses = texts.iter().map(|text| address(text)).collect::<Result<_, _>>()?;
            targets.push(Target { node: NodeId(node), addresses });
        }
    } else {
        let nodes: Vec<u32> = given.extract()?;
        targets.extend(nodes.into_iter().map(|node| Target { node: NodeId(node), addresses: Vec::new() }));
    }
    Ok(targets)
}

pub(crate) fn security(name: &str) -> Result<Security, Failure> {
    match name {
        "plain" => Ok(Security::Plain),
        _ => Err(Failure::Config(format!("security is {name:?}; this version has \"plain\" alone"))),
    }
}

pub(crate) fn ack_model(name: &str) -> Result<AckModel, Failure> {
    match name {
        "sync" => Ok(AckModel::Synchronous),
        "async" => Ok(AckModel::Asynchronous),
        "sent" => Ok(AckModel::Sent),
        _ => Err(Failure::Config(format!("ack is {name:?}; \"sync\", \"async\" or \"sent\" is needed"))),
    }
}

/// The bytes of a bytes-like object. Those of `bytes` are used where they are; what may change meanwhile is copied first.
pub(crate) fn payload(data: &Bound<'_, PyAny>) -> PyResult<PyBackedBytes> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Ok(bytes.clone().into());
    }
    let copy = PyMemoryView::from(data)?.call_method0("tobytes")?;
    Ok(copy.cast_into::<PyBytes>()?.into())
}
