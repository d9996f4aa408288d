//! The settings: one table, from which everything else about them follows (checks, defaults, help, documentation).

use std::ffi::CStr;

/// What a value looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// Any text.
    Text,
    /// A whole number in the key's range.
    Number,
    /// `true` or `false`.
    Bool,
    /// One of the words of the key's range.
    Choice,
    /// IP addresses, separated by commas.
    Ips,
    /// Socket addresses, separated by commas.
    Sockets,
    /// Nodes and their socket addresses: `1; 2=ADDR,ADDR`.
    Nodes,
    /// As `Nodes`, an address with the class of its path if it is not a normal one.
    Targets,
}

/// One setting.
pub(crate) struct Key {
    pub(crate) name: &'static CStr,
    pub(crate) shape: Shape,
    /// What holds if it is not set; `None`: it must be set where it is needed.
    pub(crate) default: Option<&'static CStr>,
    /// `LOW..HIGH` for numbers, `word|word` for choices, a description else.
    pub(crate) range: &'static CStr,
    /// Words that a later version will have.
    pub(crate) later: &'static [&'static str],
    pub(crate) unit: &'static CStr,
    pub(crate) help: &'static CStr,
}

const SOCKETS: &CStr = c"IP:PORT, separated by commas; [IP]:PORT for IPv6";
const IPS: &CStr = c"IP, separated by commas";
const NODES: &CStr = c"ID=IP:PORT,IP:PORT..., separated by semicolons; the addresses may be left out";
const COUNT: &CStr = c"";

const fn key(
    name: &'static CStr,
    shape: Shape,
    default: Option<&'static CStr>,
    range: &'static CStr,
    unit: &'static CStr,
    help: &'static CStr,
) -> Key {
    Key { name, shape, default, range, later: &[], unit, help }
}

const fn ms(name: &'static CStr, default: &'static CStr, help: &'static CStr) -> Key {
    key(name, Shape::Number, Some(default), c"1..86400000", c"ms", help)
}

/// Every key.
pub(crate) static KEYS: &[Key] = &[
    key(c"node.id", Shape::Number, None, c"1..4294967295", COUNT, c"Id of this node in the cluster"),
    key(c"node.name", Shape::Text, Some(c""), c"text", COUNT, c"Name of this node for the log; empty: node and its id"),
    key(c"node.listen", Shape::Sockets, Some(c""), SOCKETS, COUNT, c"Addresses to listen on; port 0 takes a free one; empty: this node only dials"),
    key(c"node.local", Shape::Ips, Some(c""), IPS, COUNT, c"Addresses to dial from, paired with a peer's by position; empty: the routing table decides"),
    key(c"node.members", Shape::Nodes, Some(c""), NODES, COUNT, c"The other members; nodes that are not listed are refused; one without addresses is waited for"),
    Key {
        later: &["corosync"],
        ..key(c"cluster.engine", Shape::Choice, Some(c"static"), c"static", COUNT, c"Who says which nodes are members")
    },
    Key {
        later: &["tls", "key"],
        ..key(c"security.mode", Shape::Choice, None, c"plain", COUNT, c"Protection of connections; plain: none but checksums. Must be chosen")
    },
    key(
        c"callbacks.mode",
        Shape::Choice,
        Some(c"thread"),
        c"thread|inline|dispatch",
        COUNT,
        c"Where callbacks run; thread: on threads of the library for that; inline: on its I/O threads, which they hold up; dispatch: in cdps_node_dispatch()",
    ),
    key(c"node.state_dir", Shape::Text, Some(c""), c"path", COUNT, c"Folder that keeps generations across restarts, made if it is not there; empty: after a restart they begin anew, and fence nobody"),
    key(c"threads.io", Shape::Number, Some(c"1"), c"1..64", COUNT, c"I/O threads of the node"),
    key(c"threads.callback", Shape::Number, Some(c"1"), c"1..64", COUNT, c"Callback threads of the node, with callbacks.mode thread; a port keeps to one"),
    key(c"log.level", Shape::Choice, Some(c"warn"), c"none|error|warn|info|debug|trace", COUNT, c"Lightest log line that is handed out"),
    key(c"liveness.preset", Shape::Choice, Some(c"lan"), c"lan|wan", COUNT, c"Start values of the other liveness keys; wan: heartbeat 1000, suspect 1000, dead 6000, lease 5000"),
    key(
        c"liveness.failover_budget_ms",
        Shape::Number,
        Some(c"0"),
        c"0..600000",
        c"ms",
        c"How long the loss of a target may pause a port that has a backup, without what users take; sets the other timers (heartbeat 1/12 of it, suspect 1/15, dead 1/2, lease 2/5), which must fit into it; 0: no such promise",
    ),
    ms(c"liveness.heartbeat_ms", c"250", c"One heartbeat per link in this time"),
    ms(c"liveness.suspect_ms", c"200", c"Age of an unanswered probe or of unreceipted data that makes a path suspect, at least"),
    ms(c"liveness.dead_ms", c"1500", c"No contact for this long: dead; above three heartbeats, suspect and lease"),
    ms(c"liveness.lease_ms", c"1200", c"How long a target may deliver without hearing an echo; above two heartbeats"),
    key(
        c"liveness.tcp_user_timeout_ms",
        Shape::Number,
        Some(c"0"),
        c"0..86400000",
        c"ms",
        c"When the kernel gives up a connection whose data is not acknowledged; above dead; 0: twice dead",
    ),
    ms(c"liveness.handshake_timeout_ms", c"3000", c"A connection that has not finished its handshake by then is closed"),
    ms(c"liveness.redial_min_ms", c"100", c"First wait before a failed dial is tried again; doubles, with jitter"),
    ms(c"liveness.redial_max_ms", c"10000", c"Longest wait before a failed dial is tried again"),
    key(
        c"liveness.rejoin",
        Shape::Number,
        Some(c"3"),
        c"0..100",
        c"heartbeats",
        c"A path that was dead carries again after so many good heartbeats, and later if it flaps; 0: at once, always",
    ),
    key(c"port.client", Shape::Text, Some(c""), c"at most 255 bytes", COUNT, c"Name of the client to connect to on the target"),
    key(
        c"port.role_epoch",
        Shape::Number,
        Some(c"0"),
        c"0..18446744073709551615",
        COUNT,
        c"Claim to an exclusive client: grows with each reversal of roles in the cluster, and the highest is served; 0: the client is shared",
    ),
    key(
        c"port.targets",
        Shape::Targets,
        Some(c""),
        c"ID=IP:PORT,IP:PORT/standby..., separated by semicolons; the addresses may be left out",
        COUNT,
        c"Primary target, then the backups in order; one path per address, a standby one carries only while no normal one is good; without addresses: those of node.members",
    ),
    key(c"port.local", Shape::Ips, Some(c""), IPS, COUNT, c"Addresses to dial from, paired with a target's by position; empty: node.local"),
    key(c"port.ack", Shape::Choice, Some(c"sync"), c"sync|async|sent", COUNT, c"Acknowledgment model of sends that name none; live"),
    key(c"port.autoswitch", Shape::Bool, Some(c"false"), c"true|false", COUNT, c"Whether the port goes to the next backup by itself, or reports and waits; live"),
    key(
        c"port.backup_selection",
        Shape::Choice,
        Some(c"listed"),
        c"listed|round_robin|callback",
        COUNT,
        c"Which backup a port goes to: the next listed after the target that was lost, the next listed after the backup chosen last, or what on_backup says; live",
    ),
    key(
        c"port.balance",
        Shape::Choice,
        Some(c"fastest"),
        c"fastest|round_robin|pull",
        COUNT,
        c"How the path of a message is chosen: the one that delivers first, in rotation, or the one that has nothing to do; live",
    ),
    key(c"port.window", Shape::Number, Some(c"16777216"), c"65536..1099511627776", c"bytes", c"What the peer may have outstanding here, until the user has released it; each message costs 256 more"),
    key(c"port.high_window", Shape::Number, Some(c"1048576"), c"65536..1099511627776", c"bytes", c"The same for messages of streams of high priority, which come on top of the others"),
    key(c"port.send_buffer_max", Shape::Number, Some(c"67108864"), c"1..1099511627776", c"bytes", c"Payload that may be queued or unfinished here; past it a send waits, or fails with CDPS_E_AGAIN; live"),
    key(
        c"port.flow_high_percent",
        Shape::Number,
        Some(c"75"),
        c"1..100",
        c"percent of port.send_buffer_max",
        c"Above this backlog on_flow says CDPS_FLOW_ON; live",
    ),
    key(
        c"port.flow_low_percent",
        Shape::Number,
        Some(c"50"),
        c"0..99",
        c"percent of port.send_buffer_max",
        c"Down at this backlog on_flow says CDPS_FLOW_OFF; below port.flow_high_percent; live",
    ),
    key(c"port.max_pending_events", Shape::Number, Some(c"1048576"), c"1..1073741824", c"events", c"Completions that may wait for their callback; past it a send fails with CDPS_E_AGAIN; live"),
    key(c"port.max_message", Shape::Number, Some(c"16777216"), c"0..1073741824", c"bytes", c"Longest message"),
    key(c"port.max_streams", Shape::Number, Some(c"4096"), c"1..1048576", c"streams", c"Streams that may be open in each direction"),
    key(c"port.fragment", Shape::Number, Some(c"262144"), c"2048..1048576", c"bytes", c"Longer messages are cut into pieces of this size; live"),
    key(
        c"port.failover_budget_ms",
        Shape::Number,
        Some(c"0"),
        c"0..600000",
        c"ms",
        c"As liveness.failover_budget_ms, for this port: sets its connect, ack, switch and session timeouts by what the node's timers leave; 0: the node's",
    ),
    ms(c"port.ack_timeout_ms", c"10000", c"No receipt for this long after the last byte was handed over: the connection is down; live"),
    key(
        c"port.user_ack_timeout_ms",
        Shape::Number,
        Some(c"30000"),
        c"0..86400000",
        c"ms",
        c"A synchronous message that the target's user has had for so long, unacknowledged, is overdue: on_overdue says so; 0: never; live",
    ),
    key(
        c"port.on_user_ack_timeout",
        Shape::Choice,
        Some(c"event"),
        c"event|down",
        COUNT,
        c"What an overdue message brings about; event: on_overdue alone; down: the connection is down then, at a source; live",
    ),
    ms(c"port.connect_timeout_ms", c"5000", c"A connect that has not finished by then has failed; live"),
    key(
        c"port.switch_grace_ms",
        Shape::Number,
        Some(c"0"),
        c"0..86400000",
        c"ms",
        c"With port.autoswitch, how long the return of a target that is not heard is waited for before the switch",
    ),
    ms(c"port.switch_timeout_ms", c"30000", c"A planned switch that is not committed by then has failed; above heartbeat; live"),
    ms(c"port.close_timeout_ms", c"30000", c"How long close waits for what is unfinished; live"),
    ms(c"port.session_timeout_ms", c"10000", c"How long a target keeps a session without contact; above dead"),
];

impl Key {
    pub(crate) fn name(&self) -> &'static str {
        ascii(self.name)
    }

    pub(crate) fn range(&self) -> &'static str {
        ascii(self.range)
    }

    pub(crate) fn default(&self) -> Option<&'static str> {
        self.default.map(ascii)
    }
}

/// The place of a key in the table.
pub(crate) fn find(name: &str) -> Option<usize> {
    KEYS.iter().position(|key| key.name() == name)
}

/// The name that was probably meant.
pub(crate) fn nearest(name: &str) -> &'static str {
    KEYS.iter()
        .map(Key::name)
        .min_by_key(|known| {
            // Forgetting the first word is the most common slip.
            let last = known.rsplit('.').next().unwrap_or(known);
            strsim::osa_distance(name, known).min(strsim::osa_distance(name, last))
        })
        .unwrap_or("node.id")
}

fn ascii(text: &'static CStr) -> &'static str {
    text.to_str().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_what_was_meant() {
        for (wrong, meant) in [
            ("node.ids", "node.id"),
            ("port.tagets", "port.targets"),
            ("window", "port.window"),
            ("secrity.mode", "security.mode"),
            ("liveness.hartbeat_ms", "liveness.heartbeat_ms"),
        ] {
            assert_eq!(nearest(wrong), meant);
        }
    }

    #[test]
    fn names_are_unique_and_texts_are_clean() {
        for (index, key) in KEYS.iter().enumerate() {
            assert_eq!(find(key.name()), Some(index));
            for text in [key.name, key.range, key.unit, key.help] {
                assert!(text.to_bytes().is_ascii(), "{text:?}");
            }
            assert!(!key.help.is_empty() && !key.help.to_bytes().ends_with(b"."), "{:?}", key.help);
        }
    }
}
