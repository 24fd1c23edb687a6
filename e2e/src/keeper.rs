//! Input: programs to start.
//! Output: they run until the keeper is dropped, this process ends, however it does, or they end by themselves.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, bail};

use crate::parts::Part;

/// Lines of a log that an error shows.
const TAIL: usize = 15;

/// What the keeper's thread is asked.
enum Order {
    Start(Part, Sender<Result<()>>),
    Check(Sender<Result<()>>),
}

/// Keeps child processes. They are told to die with the thread that started them, so it is one of its own: tests'
/// threads end before the process does.
pub struct Keeper {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Logs go to `folder`.
    pub fn new(folder: &Path) -> Self {
        let (orders, received) = channel();
        let folder = folder.to_owned();
        let thread = thread::spawn(move || serve(&received, &folder));
        Keeper { orders: Some(orders), thread: Some(thread) }
    }

    /// Starts a program; its output goes to NAME.log.
    pub fn start(&self, part: Part) -> Result<()> {
        self.ask(|reply| Order::Start(part, reply))
    }

    /// Fails if one of the programs has ended, with the end of its log.
    pub fn check(&self) -> Result<()> {
        self.ask(Order::Check)
    }

    fn ask(&self, order: impl FnOnce(Sender<Result<()>>) -> Order) -> Result<()> {
        let (reply, answer) = channel();
        let gone = || anyhow!("the thread that keeps the control plane's processes is gone");
        self.orders.as_ref().ok_or_else(gone)?.send(order(reply)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, and then the children have been told to die.
            let _ = thread.join();
        }
    }
}

fn serve(orders: &Receiver<Order>, folder: &Path) {
    let mut children: Vec<(Child, PathBuf)> = Vec::new();
    while let Ok(order) = orders.recv() {
        // Nobody waits for the answer if the asking thread has panicked.
        let _ = match order {
            Order::Start(part, reply) => reply.send(start(&part, folder).map(|child| children.push(child))),
            Order::Check(reply) => reply.send(check(&mut children)),
        };
    }
    // The last that was started needs the others.
    for (child, _) in children.iter_mut().rev() {
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn start(part: &Part, folder: &Path) -> Result<(Child, PathBuf)> {
    let path = folder.join(format!("{}.log", part.program.name()));
    let tell = || format!("creating {}", path.display());
    let log = File::create(&path).with_context(tell)?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(&part.path).args(&part.arguments);
    command.stdin(Stdio::null()).stdout(log.try_clone().with_context(tell)?).stderr(log);
    let child =
        command.spawn().with_context(|| format!("starting {} through setpriv", part.path.display()))?;
    Ok((child, path))
}

fn check(children: &mut [(Child, PathBuf)]) -> Result<()> {
    for (child, log) in children {
        if let Some(status) = child.try_wait().context("looking after the control plane")? {
            bail!("ended ({status}); the end of {}:\n{}", log.display(), tail(log));
        }
    }
    Ok(())
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(TAIL)).map(|line| format!("  {line}\n")).collect()
}
