//! Nodes in network namespaces, each on two networks, and what can befall those.
//!
//! A namespace has no name: it lives as long as the processes in it, and each of them ends with the thread that started it, however that
//! ends. So nothing is left behind, two runs never meet, and the machine's own network is not touched. Needs root, util-linux, iproute2
//! and nftables.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use crate::gcc::must;
use crate::process::Program;

/// Networks that each node is on.
pub const LINKS: usize = 2;

/// What a link carries unless a fault says otherwise, in bits a second: so that no processor is the limit.
pub const RATE: u64 = 200_000_000;

/// A network namespace, held by a process that does nothing.
#[derive(Debug)]
pub struct Namespace {
    holder: Program,
}

impl Namespace {
    /// Makes one, with nothing but its loopback.
    ///
    /// # Errors
    /// What starting its process said.
    ///
    /// # Panics
    /// When it may not be made: this needs root.
    pub fn new() -> io::Result<Namespace> {
        let mut holder =
            Program::start(Command::new("setpriv").args(["--pdeathsig", "KILL", "unshare", "--net", "cat"]))?;
        // Its echo says that it has arrived there.
        holder.say("here")?;
        assert_eq!(holder.line(), "here");
        let namespace = Namespace { holder };
        namespace.run("ip link set lo up");
        Ok(namespace)
    }

    /// A program that will run in it, and be killed when the calling thread ends.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]).arg(format!("--net={}", self.file()));
        command.arg("--").arg(program);
        command
    }

    /// Runs a shell script in it, and gives what that printed.
    ///
    /// # Panics
    /// When a command of it fails.
    pub fn run(&self, script: &str) -> String {
        let out = must(self.command("sh").args(["-ec", script])).stdout;
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Process that holds it.
    #[must_use]
    pub fn holder(&self) -> u32 {
        self.holder.id()
    }

    fn file(&self) -> String {
        format!("/proc/{}/ns/net", self.holder.id())
    }
}

/// What can happen to the link of a node. Nodes count from 1, links from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Its device is down: the node knows.
    DeviceDown(usize, usize),
    /// The switch's end of its cable is down.
    CableOut(usize, usize),
    /// Nothing comes in, nothing goes out, and no error says so.
    Silent(usize, usize),
    /// Nothing comes in.
    Deaf(usize, usize),
    /// Nothing goes out.
    Mute(usize, usize),
    /// So many of a hundred packets that come in are lost.
    Lossy(usize, usize, u32),
    /// No more than so many bits a second go out.
    Slow(usize, usize, u64),
    /// The route to another node is a black hole.
    Blackhole(usize, usize, usize),
}

impl Fault {
    /// The link that it concerns.
    #[must_use]
    pub fn link(self) -> usize {
        match self {
            Fault::DeviceDown(_, link)
            | Fault::CableOut(_, link)
            | Fault::Silent(_, link)
            | Fault::Deaf(_, link)
            | Fault::Mute(_, link)
            | Fault::Lossy(_, link, _)
            | Fault::Slow(_, link, _)
            | Fault::Blackhole(_, link, _) => link,
        }
    }
}

/// Nodes 1, 2 and so on, and the switches between them, one for each network.
#[derive(Debug)]
pub struct Network {
    switch: Namespace,
    nodes: Vec<Namespace>,
}

impl Network {
    /// So many nodes, connected, each link limited to [`RATE`].
    ///
    /// # Panics
    /// When the machine does not let us.
    #[must_use]
    pub fn new(nodes: usize) -> Network {
        let namespace = || Namespace::new().expect("a network namespace: is this root?");
        let network = Network { switch: namespace(), nodes: (0..nodes).map(|_| namespace()).collect() };
        let bridges = (0..LINKS).map(|link| format!("ip link add br{link} up type bridge; "));
        network.switch.run(&bridges.collect::<String>());
        for node in 1..=nodes {
            let links = (0..LINKS).map(|link| network.connect(node, link));
            network.node(node).run(&links.collect::<String>());
            let ports = (0..LINKS).map(|link| format!("ip link set n{node}l{link} master br{link} up; "));
            network.switch.run(&ports.collect::<String>());
        }
        network
    }

    /// Where a node is reached over a link.
    #[must_use]
    pub fn address(node: usize, link: usize) -> IpAddr {
        let byte = |number: usize| u8::try_from(number).expect("a small number");
        IpAddr::V4(Ipv4Addr::new(10, 77, byte(link), byte(node)))
    }

    /// A node's namespace.
    #[must_use]
    pub fn node(&self, node: usize) -> &Namespace {
        &self.nodes[node - 1]
    }

    /// A script that gives a node a link.
    fn connect(&self, node: usize, link: usize) -> String {
        let (switch, address) = (self.switch.holder.id(), Self::address(node, link));
        // One chain for each link and direction, so that the end of one fault leaves the others.
        let hooks = ["input", "output"].map(|hook| {
            format!(
                "nft 'table inet fault {{ chain {hook}{link} {{ type filter hook {hook} priority 0; }}; }}'; "
            )
        });
        format!(
            "ip link add l{link} type veth peer name n{node}l{link} netns {switch}; ip addr add {address}/24 dev l{link}; \
             {}; ip link set l{link} up; {}",
            limit(link, RATE),
            hooks.concat()
        )
    }

    fn drop_packets(&self, node: usize, link: usize, hook: &str, which: &str) {
        let name = if hook == "input" { "iifname" } else { "oifname" };
        let rule = format!("inet fault {hook}{link} {name} l{link} {which} drop");
        self.node(node).run(&format!("nft 'add rule {rule}'"));
    }

    fn drop_none(&self, node: usize, link: usize, hook: &str) {
        self.node(node).run(&format!("nft flush chain inet fault {hook}{link}"));
    }

    /// Lets it happen.
    ///
    /// # Panics
    /// When the machine cannot do that.
    pub fn strike(&self, fault: Fault) {
        match fault {
            Fault::DeviceDown(node, link) => drop(self.node(node).run(&format!("ip link set l{link} down"))),
            Fault::CableOut(node, link) => {
                drop(self.switch.run(&format!("ip link set n{node}l{link} down")));
            }
            Fault::Silent(node, link) => {
                self.drop_packets(node, link, "input", "");
                self.drop_packets(node, link, "output", "");
            }
            Fault::Deaf(node, link) => self.drop_packets(node, link, "input", ""),
            Fault::Mute(node, link) => self.drop_packets(node, link, "output", ""),
            Fault::Lossy(node, link, percent) => {
                self.drop_packets(node, link, "input", &format!("numgen random mod 100 < {percent}"));
            }
            Fault::Slow(node, link, rate) => drop(self.node(node).run(&limit(link, rate))),
            Fault::Blackhole(node, link, other) => {
                let to = Self::address(other, link);
                self.node(node).run(&format!("ip route add blackhole {to}/32"));
            }
        }
    }

    /// Ends it.
    ///
    /// # Panics
    /// When it had not been struck.
    pub fn heal(&self, fault: Fault) {
        match fault {
            Fault::DeviceDown(node, link) => drop(self.node(node).run(&format!("ip link set l{link} up"))),
            Fault::CableOut(node, link) => drop(self.switch.run(&format!("ip link set n{node}l{link} up"))),
            Fault::Silent(node, link) => {
                self.drop_none(node, link, "input");
                self.drop_none(node, link, "output");
            }
            Fault::Deaf(node, link) | Fault::Lossy(node, link, _) => self.drop_none(node, link, "input"),
            Fault::Mute(node, link) => self.drop_none(node, link, "output"),
            Fault::Slow(node, link, _) => drop(self.node(node).run(&limit(link, RATE))),
            Fault::Blackhole(node, link, other) => {
                let to = Self::address(other, link);
                self.node(node).run(&format!("ip route del blackhole {to}/32"));
            }
        }
    }
}

/// A script that limits what a link sends.
fn limit(link: usize, rate: u64) -> String {
    // A queue of 50 ms, and of two packets as the kernel hands them down at least (64 KiB).
    let queue = (rate / 8 / 20).max(128 << 10);
    format!("tc qdisc replace dev l{link} root tbf rate {rate}bit burst 32768b limit {queue}b")
}
