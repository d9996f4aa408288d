//! The example programs, as a user would run them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cdps_tests::gcc::{self, must};
use cdps_tests::{eventually, project};

/// Cargo's, for what tests leave behind.
fn folder_of_tests() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Folder of the built examples.
fn programs() -> PathBuf {
    use std::sync::OnceLock;
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let scratch = folder_of_tests();
        let (library, folder) = (gcc::library(&scratch), scratch.join("examples-c"));
        let mut make = Command::new("make");
        make.arg("-C").arg(project().join("examples-c"));
        make.arg(format!("OUT={}", folder.display())).arg(format!("LIB={}", library.display()));
        must(&mut make);
        folder
    };
    FOLDER.get_or_init(build).clone()
}

/// Killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Running {
    fn end(mut self) -> bool {
        eventually("the end of a program", || self.0.try_wait().expect("a child")).success()
    }
}

/// A folder of the test's own, empty.
fn folder(name: &str) -> PathBuf {
    let path = folder_of_tests().join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("a scratch folder");
    path
}

/// Bytes that no two places share.
fn content(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    (0..len).map(|_| next()).collect()
}

/// Starts a receiver; gives it and its addresses.
fn receiver(folder: &Path, out: Stdio, arguments: &[&str]) -> (Running, String) {
    let events = folder.join("receiver.events");
    let mut command = Command::new(programs().join("cdps-recv"));
    command.args(["--node-id", "2", "--member", "1", "--listen", "127.0.0.1:0", "--listen", "127.0.0.2:0"]);
    command.arg("--events").arg(&events).args(arguments).stdin(Stdio::null()).stdout(out);
    let running = Running(command.spawn().expect("cdps-recv"));
    let line = eventually("the receiver to listen", || {
        fs::read_to_string(&events)
            .ok()?
            .lines()
            .find(|line| line.contains("\"listening\""))
            .map(str::to_owned)
    });
    let (_, list) = line.split_once('[').expect("a list");
    let addresses = list.trim_end_matches("]}").replace(['"', ' '], "");
    (running, addresses)
}

fn sender(addresses: &str, arguments: &[&str], input: Stdio) -> Running {
    let mut command = Command::new(programs().join("cdps-send"));
    command.args(["--node-id", "1", "--target", &format!("2={addresses}")]).args(arguments).stdin(input);
    Running(command.spawn().expect("cdps-send"))
}

/// A file through a pipe at both ends: in order, once, and the receiver ends with the sender. [M1, M2, A2]
#[test]
fn a_stream_from_standard_input_to_standard_output() {
    let folder = folder("example-stream");
    let bytes = content(3_000_001);
    fs::write(folder.join("source"), &bytes).expect("a scratch file");
    let copy = File::create(folder.join("copy")).expect("a scratch file");
    let (receiver, addresses) = receiver(&folder, copy.into(), &["--once", "-"]);
    let source = File::open(folder.join("source")).expect("just written");
    let sender = sender(&addresses, &["--ack", "async", "--message-size", "10007", "-"], source.into());
    assert!(sender.end(), "cdps-send");
    assert!(receiver.end(), "cdps-recv");
    assert_eq!(fs::read(folder.join("copy")).expect("the copy"), bytes);
}

/// The program that the README shows, with the addresses of this machine: it connects, its message arrives and is acknowledged. [L3, A1]
#[test]
fn the_program_of_the_readme() {
    let folder = folder("example-readme");
    let (out, source) = (folder.join("out"), folder.join("readme.c"));
    let file = File::create(&out).expect("a scratch file");
    let (_receiver, addresses) = receiver(&folder, file.into(), &["--client", "copy", "-"]);
    let readme = fs::read_to_string(project().join("README.md")).expect("README.md");
    let program = readme.split("```c\n").nth(1).and_then(|rest| rest.split("```").next());
    let program = program.expect("a block of C").replace("10.0.0.2:7000,10.1.0.2:7000", &addresses);
    assert!(program.contains(&addresses), "{program}");
    // Nobody is there.
    fs::write(&source, program.replace("10.0.0.3:7000,10.1.0.3:7000", "127.0.0.1:1")).expect("written");
    let program = gcc::compiled(&source, &folder.join("readme"), &gcc::library(&folder_of_tests()), &[]);
    let told = must(&mut Command::new(program));
    assert_eq!(String::from_utf8_lossy(&told.stdout), "message 1: 0\n");
    assert_eq!(fs::read(&out).expect("what arrived"), b"hello");
}

/// Several passes over the same offsets, a step after each, and the log says so. [A1, M5]
#[test]
fn passes_over_the_same_offsets() {
    let folder = folder("example-passes");
    let bytes = content(1_000_003);
    let (source, copy) = (folder.join("source"), folder.join("copy"));
    fs::write(&source, &bytes).expect("a scratch file");
    let copy_name = copy.to_str().expect("a name in UTF-8");
    let (_receiver, addresses) = receiver(&folder, Stdio::null(), &["--offsets", copy_name]);
    let events = folder.join("sender.events");
    let arguments =
        ["--offsets", "--passes", "3", "--step", "--message-size", "65536", "--buffers", "5", "--events"];
    let names = [events.to_str().expect("UTF-8"), source.to_str().expect("UTF-8")];
    // Standard input is at its end: no step waits.
    let sender = sender(&addresses, &[&arguments[..], &names[..]].concat(), Stdio::null());
    assert!(sender.end(), "cdps-send");
    assert_eq!(fs::read(&copy).expect("the copy"), bytes);
    let log = fs::read_to_string(&events).expect("the log");
    let count =
        |name: &str| log.lines().filter(|line| line.contains(&format!("\"event\": \"{name}\""))).count();
    assert_eq!((count("connected"), count("pass"), count("done"), count("nack")), (1, 3, 1, 0), "{log}");
    let done = log.lines().find(|line| line.contains("\"done\"")).expect("counted above");
    assert!(done.contains("\"completed\": 3000009"), "{done}");
}

/// [U3] What is wrong is said on standard error, with a status that is not 0.
#[test]
fn mistakes_are_named() {
    for (program, arguments, expected) in [
        ("cdps-send", &["--node-id", "1"][..], "a FILE and a --target are needed"),
        (
            "cdps-send",
            &["--node-id", "0", "--target", "2=127.0.0.1:1", "-"],
            "node.id: \"0\" is no whole number in 1..4294967295",
        ),
        (
            "cdps-send",
            &["--node-id", "1", "--target", "2=here", "-"],
            "node.members: \"here\": invalid socket address",
        ),
        ("cdps-send", &["--node-id", "1", "--set", "port.windw=1", "-"], "is \"port.window\" meant?"),
        (
            "cdps-send",
            &["--node-id", "1", "--target", "2=127.0.0.1:1", "--passes", "2", "-"],
            "--passes needs --offsets",
        ),
        (
            "cdps-send",
            &["--node-id", "1", "--target", "2=127.0.0.1:1", "/nonexistent"],
            "/nonexistent: No such file",
        ),
        ("cdps-recv", &["--node-id", "2", "--listen", "127.0.0.1:0"], "are needed; try --help"),
        (
            "cdps-recv",
            &["--node-id", "2", "--listen", "192.0.2.1:1", "--member", "1", "/dev/null"],
            "cannot listen on 192.0.2.1:1",
        ),
    ] {
        let mut command = Command::new(programs().join(program));
        let out = command.args(arguments).stdin(Stdio::null()).output().expect("it starts");
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(
            !out.status.success() && said.contains(expected),
            "{program} {arguments:?}: {}: {said}",
            out.status
        );
    }
    for program in ["cdps-send", "cdps-recv"] {
        let out = must(Command::new(programs().join(program)).arg("--help"));
        assert!(String::from_utf8_lossy(&out.stdout).contains("--events FILE"));
    }
}
