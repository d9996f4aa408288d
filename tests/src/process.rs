//! Child processes that do not outlive a test.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::{DEADLINE, eventually};

/// A running program. Its standard input is ours, its standard output is read line by line; it is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    name: String,
    lines: Receiver<String>,
}

impl Program {
    /// Starts `command`, with pipes for its standard input and output.
    ///
    /// # Errors
    /// What starting it said.
    pub fn start(command: &mut Command) -> io::Result<Program> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let (send, lines) = channel();
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    if send.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Program { child, input, name, lines })
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// It has ended.
    pub fn say(&mut self, line: &str) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        input.write_all(format!("{line}\n").as_bytes())
    }

    /// The next line that it has printed already, if there is one.
    pub fn printed(&mut self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// The next line that it prints.
    ///
    /// # Panics
    /// When it ends without one, or [`DEADLINE`] passes.
    pub fn line(&mut self) -> String {
        match self.lines.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("{} printed nothing for {DEADLINE:?}", self.name),
            Err(RecvTimeoutError::Disconnected) => panic!("{} ended: {:?}", self.name, self.child.wait()),
        }
    }

    /// The first line to come that `wanted` accepts.
    ///
    /// # Panics
    /// As [`Program::line`].
    pub fn line_that(&mut self, mut wanted: impl FnMut(&str) -> bool) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            let line = self.line();
            if wanted(&line) {
                return line;
            }
            assert!(Instant::now() < end, "{}: the line that was waited for did not come", self.name);
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When [`DEADLINE`] passes.
    pub fn exit(&mut self) -> ExitStatus {
        let name = self.name.clone();
        eventually(&format!("the end of {name}"), || self.child.try_wait().ok().flatten())
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Freezes it (SIGSTOP). Returns when all its threads stand still.
    ///
    /// # Errors
    /// What the system said.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        let stopped = waitid(WaitId::Pid(Pid::from_child(&self.child)), WaitIdOptions::STOPPED)?;
        stopped.map(drop).ok_or_else(|| io::Error::other(format!("{} has ended", self.name)))
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// What the system said.
    pub fn wake(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it (SIGKILL) and waits for its end.
    ///
    /// # Errors
    /// What the system said.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
