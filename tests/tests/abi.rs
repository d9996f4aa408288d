//! The C interface as it ships: the header, the symbols of libcdps.so, and C programs that use them.
//!
//! The library is the one that `cargo xtask lib` links; the programs are compiled by gcc. Tests that need valgrind say so and do nothing
//! where it is missing; `make test` names them at its end.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use cdps_tests::gcc::{self, STRICT, must};
use cdps_tests::project;
use rustix::process::{Pid, Signal, kill_process_group};

/// Longest run of a C program: their own deadline ends them long before.
const LIMIT: Duration = Duration::from_secs(400);

/// Folder of the shipped library, built once.
fn library() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| gcc::library(&scratch()))
}

/// Where the programs go: a folder of cargo's for tests, below its target folder.
fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

fn printed(command: &mut Command) -> String {
    String::from_utf8(must(command).stdout).expect("text")
}

/// Compiles tests/c/NAME.c against the shipped library.
fn program(name: &str, variant: &str, flags: &[&str]) -> PathBuf {
    gcc::program(&scratch(), library(), name, variant, flags)
}

/// Runs a program to its end; kills it at [`LIMIT`].
fn run(command: &mut Command) {
    use std::process::Stdio;
    let mut child = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("gcc made it");
    let mut complaints = child.stderr.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = std::io::Read::read_to_string(&mut complaints, &mut text);
        text
    });
    let end = Instant::now() + LIMIT;
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break Some(status),
            None if Instant::now() > end => {
                child.kill().expect("a child");
                child.wait().expect("a child");
                break None;
            }
            None => std::thread::park_timeout(Duration::from_millis(10)),
        }
    };
    // What a program that failed has started may be stopped, and would keep the reader waiting.
    if let Some(group) = Pid::from_raw(child.id() as i32) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let complaints = reader.join().expect("the reader");
    match status {
        Some(status) => assert!(status.success(), "{command:?}: {status}\n{complaints}"),
        None => panic!("{command:?} did not end within {LIMIT:?}\n{complaints}"),
    }
}

/// `None`, and a line that says so, where valgrind is not installed.
fn valgrind() -> Option<Command> {
    let mut command = Command::new("valgrind");
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("valgrind is not installed: nothing tested");
        return None;
    }
    command.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
    command.arg("--show-leak-kinds=definite");
    // One thread runs at a time under valgrind: without this a busy one can keep the others waiting for seconds.
    command.arg("--fair-sched=yes");
    Some(command)
}

fn header() -> String {
    std::fs::read_to_string(project().join("include/cdps/cdps.h")).expect("the header")
}

/// Every function that the header declares.
fn declared() -> BTreeSet<String> {
    let text = header();
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with([' ', '/', '#'])) {
        if let Some((before, _)) = line.split_once('(')
            && let Some(name) = before.split([' ', '*']).next_back()
            && name.starts_with("cdps_")
            && !line.starts_with("typedef")
            && !line.starts_with("static inline")
        {
            found.insert(name.to_owned());
        }
    }
    found
}

fn listed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(project().join("bindings/symbols-in-versions.txt")).expect("the list");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split(' ').next().unwrap_or("").to_owned()).collect()
}

#[test]
fn the_header_is_up_to_date() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    must(Command::new(cargo).args(["xtask", "header", "--check"]).current_dir(project()));
}

#[test]
fn the_header_compiles_alone() {
    for (compiler, language, standard) in [
        ("gcc", "c", "c99"),
        ("gcc", "c", "c11"),
        ("gcc", "c", "c17"),
        ("g++", "c++", "c++17"),
        ("g++", "c++", "c++20"),
    ] {
        let source = scratch().join(format!("alone-{standard}.c"));
        // The initial values count their fields by hand.
        let text = "#include <cdps/cdps.h>\n\
             extern int used;\nint used;\n\
             void user(void);\nvoid user(void)\n{\n\
             cdps_error_t a = CDPS_ERROR_INIT;\ncdps_send_opts_t b = CDPS_SEND_OPTS_INIT;\n\
             cdps_port_callbacks_t c = CDPS_PORT_CALLBACKS_INIT;\ncdps_client_callbacks_t d = CDPS_CLIENT_CALLBACKS_INIT;\n\
             cdps_node_callbacks_t e = CDPS_NODE_CALLBACKS_INIT;\ncdps_node_stats_t f = CDPS_NODE_STATS_INIT;\n\
             cdps_port_stats_t g = CDPS_PORT_STATS_INIT;\ncdps_path_stats_t h = CDPS_PATH_STATS_INIT;\n\
             cdps_port_info_t i = CDPS_PORT_INFO_INIT;\ncdps_config_key_t j = CDPS_CONFIG_KEY_INIT;\ncdps_timers_t k = CDPS_TIMERS_INIT;\n\
             cdps_stream_contract_t l = CDPS_STREAM_CONTRACT_INIT;\n\
             used = (int)(a.struct_size + b.struct_size + c.struct_size + d.struct_size + e.struct_size + f.struct_size\n\
             + g.struct_size + h.struct_size + i.struct_size + j.struct_size + k.struct_size + l.struct_size);\n}\n";
        std::fs::write(&source, text).expect("a scratch file");
        let mut gcc = Command::new(compiler);
        gcc.args(["-x", language, &format!("-std={standard}")]).args(STRICT);
        gcc.arg("-I").arg(project().join("include")).arg("-c").arg(&source).args(["-o", "/dev/null"]);
        must(&mut gcc);
    }
}

/// Sizes, places and numbers that programs have compiled in.
#[test]
fn the_abi_stays() {
    for (compiler, language, standard) in [("gcc", "c", "c11"), ("g++", "c++", "c++17")] {
        let mut gcc = Command::new(compiler);
        gcc.args(["-x", language, &format!("-std={standard}")]).args(STRICT);
        gcc.arg("-I").arg(project().join("include")).arg("-c");
        gcc.arg(project().join("tests/c/layout.c")).args(["-o", "/dev/null"]);
        must(&mut gcc);
    }
    let golden = std::fs::read_to_string(project().join("tests/c/layout.c")).expect("layout.c");
    for line in header().lines().filter(|line| line.starts_with("#define CDPS_")) {
        let mut words = line.split(' ').skip(1);
        let (name, value) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        if value.parse::<i64>().is_ok() && !name.starts_with("CDPS_VERSION_") {
            assert!(golden.contains(&format!("VALUE({name}, ")), "{name} is not in layout.c");
        }
    }
}

#[test]
fn exported_declared_and_listed_are_the_same() {
    let shared = library().join("libcdps.so");
    let nm =
        printed(Command::new("nm").args(["-D", "--defined-only", "--with-symbol-versions"]).arg(&shared));
    let mut exported = BTreeSet::new();
    for line in nm.lines() {
        let mut fields = line.split_whitespace().skip(1);
        let (kind, symbol) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        // The version nodes themselves.
        if kind == "A" {
            assert!(symbol.starts_with("CDPS_0."), "{line}");
            continue;
        }
        let (name, version) = symbol.split_once("@@").unwrap_or_else(|| panic!("{line}: without a version"));
        assert!(name.starts_with("cdps_") && version.starts_with("CDPS_0.") && kind == "T", "{line}");
        exported.insert(name.to_owned());
    }
    assert_eq!(exported, declared(), "exported, and declared in the header");
    assert_eq!(exported, listed(), "exported, and listed in bindings/symbols-in-versions.txt");
}

#[test]
fn the_library_is_linked_as_promised() {
    let shared = library().join("libcdps.so");
    let dynamic = printed(Command::new("readelf").args(["-d", "-W"]).arg(&shared));
    assert!(dynamic.contains("soname: [libcdps.so.0]"), "{dynamic}");
    assert!(dynamic.contains("NODELETE"), "{dynamic}");
    for needed in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
        let known =
            ["libc.so", "libm.so", "libgcc_s.so", "ld-linux", "libpthread.so", "libdl.so", "librt.so"];
        assert!(known.iter().any(|name| needed.contains(name)), "{needed}");
    }
    assert_eq!(std::fs::read_link(&shared).expect("a link"), Path::new("libcdps.so.0"));
    assert!(library().join("libcdps.a").is_file());
}

/// A tree laid out by `cargo xtask dist`, moved elsewhere, is all that a program needs: shared and static.
#[test]
fn an_installation_can_be_moved_and_used() {
    let _ = library();
    let (staged, moved) = (scratch().join("staged"), scratch().join("moved"));
    for folder in [&staged, &moved] {
        let _ = std::fs::remove_dir_all(folder);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut dist = Command::new(cargo);
    dist.args(["xtask", "dist", "--prefix", "/opt/cdps", "--libdir", "lib/here", "--destdir"]).arg(&staged);
    must(dist.current_dir(project()));
    std::fs::rename(staged.join("opt/cdps"), &moved).expect("moved");
    let pc = std::fs::read_to_string(moved.join("lib/here/pkgconfig/cdps.pc")).expect("cdps.pc");
    let version = env!("CARGO_PKG_VERSION");
    for line in [
        "prefix=${pcfiledir}/../../..",
        "libdir=${prefix}/lib/here",
        "Libs: -L${libdir} -lcdps",
        &format!("Version: {version}"),
    ] {
        assert!(pc.lines().any(|found| found == line), "{line} in\n{pc}");
    }
    let private = pc.lines().find_map(|line| line.strip_prefix("Libs.private: ")).expect("static libraries");
    let source = project().join("tests/c/version.c");
    let define = format!("-DEXPECTED=\"{version}\"");
    for linked in ["shared", "static"] {
        let built = scratch().join(format!("version-{linked}"));
        let mut gcc = Command::new("gcc");
        gcc.args(["-std=c11", &define]).args(STRICT).arg(&source).arg("-o").arg(&built);
        gcc.arg("-I").arg(moved.join("include"));
        if linked == "shared" {
            gcc.arg("-L").arg(moved.join("lib/here")).arg("-lcdps");
        } else {
            gcc.arg(moved.join("lib/here/libcdps.a")).args(private.split(' '));
        }
        must(&mut gcc);
        run(Command::new(&built).env("LD_LIBRARY_PATH", moved.join("lib/here")));
    }
}

/// [U3, L1, L6] Every function is called wrongly; each gives a code and a text.
#[test]
fn misuse_gives_a_code_and_a_text() {
    let source = std::fs::read_to_string(project().join("tests/c/misuse.c")).expect("misuse.c");
    for name in listed() {
        assert!(source.contains(&name), "misuse.c does not call {name}");
    }
    run(&mut Command::new(program("misuse", "", &[])));
}

/// [U3] The same under valgrind: no byte is read or written that should not be.
#[test]
fn misuse_touches_nothing_else() {
    if let Some(mut valgrind) = valgrind() {
        run(valgrind.arg(program("misuse", "-valgrind", &[])));
    }
}

/// [N1, M3, M5, A1, A4, A6, L6] Two nodes in one process, both directions, every callback; destroying inside callbacks.
#[test]
fn two_nodes_in_one_process() {
    run(Command::new(program("two_nodes", "", &[])).arg("2000"));
}

/// [M5, L6] The same with little data and long timers under valgrind: nothing is used after it was given back, nothing is lost.
#[test]
fn two_nodes_under_valgrind() {
    if let Some(mut valgrind) = valgrind() {
        run(valgrind.arg(program("two_nodes", "-valgrind", &[])).args(["40", "patient"]));
    }
}

/// [M5, L6] The same with gcc's address sanitizer, which watches the C side.
#[test]
fn two_nodes_with_address_sanitizer() {
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    run(Command::new(program("two_nodes", "-asan", &flags)).arg("500"));
    run(&mut Command::new(program("misuse", "-asan", &flags)));
}

/// [U5] A forked child is refused, and the parent goes on.
#[test]
fn a_forked_child_is_refused() {
    run(&mut Command::new(program("forked", "", &[])));
}

/// [U4] [M6] [L6] A program of one thread, with an epoll loop of its own: messages both ways, the end of both nodes.
#[test]
fn callbacks_in_a_loop_of_the_program() {
    run(&mut Command::new(program("dispatch", "", &[])));
}

/// [U4] [L6] Callbacks on the I/O threads: there and back from callback to callback, among threads that send.
#[test]
fn callbacks_inline() {
    run(&mut Command::new(program("inline", "", &[])));
}

/// [U2] Warnings go to the callback, or to standard error where there is none, and nothing goes to standard output.
#[test]
fn logs_go_where_they_should() {
    let program = program("logs", "", &[]);
    for (kind, lines) in [("callback", 0), ("standard", 1), ("quiet", 0)] {
        let out = must(Command::new(&program).arg(kind));
        let said = String::from_utf8(out.stderr).expect("text");
        assert_eq!((out.stdout, said.lines().count()), (Vec::new(), lines), "{kind}: {said}");
        assert!(said.lines().all(|line| line.starts_with("cdps: Warn: node 1: accept: ")), "{kind}: {said}");
    }
}

/// [M9] [M10] What a message may be given besides its bytes, from C.
#[test]
fn send_options() {
    run(&mut Command::new(program("send_opts", "", &[])));
}

/// [M11] Contracts of streams from C: a target whose user keeps all the bulk that it gets, and control goes through.
#[test]
fn stream_contracts() {
    run(&mut Command::new(program("priority", "", &[])));
}

/// [M8] [M5] A program that changes buffers which it has lent hears of it, and nobody else suffers: on real paths, some of which are lost meanwhile.
#[test]
fn changed_buffers() {
    run(Command::new(program("changed", "", &[])).arg(env!("CARGO_BIN_EXE_cdps-relay")));
}

/// [L1] [L3] [L5] Fig. 6: the calls and callbacks of both sides from registering to closing, in order.
#[test]
fn figure_6() {
    run(&mut Command::new(program("fig06", "", &[])));
}

/// [L1] Fig. 7: every call in every state and on every link that C can see, against the table of the engine.
#[test]
fn figure_7() {
    let table = scratch().join("fig07.dot");
    std::fs::write(&table, cdps_core::port::graph()).expect("a scratch file");
    run(Command::new(program("fig07", "", &[])).arg(table).arg(env!("CARGO_BIN_EXE_cdps-relay")));
}

/// [T2] [F5] [L1] Fig. 8: a lost path is hidden; a target that is killed is replaced, and gets what the former one had not finished.
#[test]
fn figure_8() {
    run(Command::new(program("fig08", "", &[])).arg(env!("CARGO_BIN_EXE_cdps-relay")));
}

/// [F4] [F2] [L1] Fig. 11: a target is killed; the user connects the port to a backup, also inside the callback, and sends again.
#[test]
fn figure_11() {
    for place in ["outside", "inside"] {
        run(Command::new(program("fig11", place, &[])).args([place, env!("CARGO_BIN_EXE_cdps-relay")]));
    }
}

/// [F6] [F11] [L1] A planned switch between real targets under load; one that is refused, and one that takes too long.
#[test]
fn a_planned_switch() {
    run(&mut Command::new(program("switch", "", &[])));
}

/// [F2] [F3] Fig. 10: messages that time out, the reset of the target when it is reachable again, and sending again.
#[test]
fn figure_10() {
    run(Command::new(program("fig10", "", &[])).arg(env!("CARGO_BIN_EXE_cdps-relay")));
}

/// [L4] Roles are reversed: the copy serves who has the higher role epoch, and nobody else.
#[test]
fn roles_are_reversed() {
    run(Command::new(program("role", "", &[])).arg(scratch()));
}

/// [A1] [A2] [A3] [M5] Fig. 9: a message and its acknowledgment, in each model, in order.
#[test]
fn figure_9() {
    for model in ["sync", "async", "sent"] {
        run(Command::new(program("fig09", model, &[])).arg(model));
    }
}

/// [L2] [F5] Targets in processes of their own are killed; the port goes where its user says, and is asked once for each.
#[test]
fn the_user_chooses_a_backup() {
    run(Command::new(program("targets", "-choose", &[])).arg("choose"));
}

/// [F8] A target that is stopped, and still holds its lease, is fenced by the user: the backup takes over without waiting for the lease.
#[test]
fn the_user_fences_a_target() {
    run(Command::new(program("targets", "-fence", &[])).arg("fence"));
}

/// [F5] A target that is stopped is waited for, and goes on with its session when it returns within the grace.
#[test]
fn a_stopped_target_has_its_grace() {
    run(Command::new(program("targets", "-grace", &[])).arg("grace"));
}

/// [F12] The timers follow from one budget, a set that does not fit is refused, and a target that is killed is replaced within it.
#[test]
fn a_budget_is_kept() {
    run(Command::new(program("targets", "-budget", &[])).arg("budget"));
}
