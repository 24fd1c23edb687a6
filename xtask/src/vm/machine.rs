//! Input: a kernel image, an initramfs, limits.
//! Output: one QEMU run: the guest's stdout and stderr copied as they come, its exit status, the kernel's log.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::Rootfs;

const QEMU: &str = "qemu-system-x86_64";

/// Always given: log on the first serial port; a panic or oops ends the run at once. The watchdogs and the check at
/// boot that the timer ticks are off because a busy host makes an emulated CPU stall, which is no fault of the guest
/// (5.10 panicked: "IO-APIC + timer doesn't work").
pub const KERNEL_ARGS: &str =
    "console=ttyS0 panic=-1 oops=panic nowatchdog rcupdate.rcu_cpu_stall_suppress=1 no_timer_check";

/// Kernel log levels shown: all but debugging, or warnings and worse. Writing the log costs boot time.
const LOG_ALL: &str = "loglevel=7";
const LOG_WARNINGS: &str = "loglevel=5";

/// How often QEMU and the time limit are looked at.
const POLL: Duration = Duration::from_millis(10);

/// What to boot, and within which limits.
pub struct Machine {
    /// bzImage.
    pub image: PathBuf,
    pub cpus: u8,
    pub memory_mib: u32,
    /// Virtual time counts instructions.
    pub icount: bool,
    /// More kernel arguments, separated by spaces.
    pub append: String,
    /// All of the kernel's log, not only warnings.
    pub log: bool,
    /// For boot and command together.
    pub timeout: Duration,
}

/// How a run ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// The command's exit status.
    Exited(u8),
    /// Stopped at the time limit; `started`: the command had been started.
    TimedOut { started: bool },
    /// QEMU ended and the guest had given no exit status.
    Died { started: bool, qemu: ExitStatus },
}

/// What a run left.
pub struct Outcome {
    pub ending: Ending,
    /// The kernel's log, as far as it was asked for.
    pub log: String,
    /// Wall time.
    pub elapsed: Duration,
}

impl Machine {
    /// Runs the guest to its end. Errors are of the host: no QEMU, no disk space, or nobody reads the output any more.
    pub fn run(
        &self,
        rootfs: &Rootfs,
        stdout: &mut (dyn Write + Send),
        stderr: &mut (dyn Write + Send),
    ) -> Result<Outcome> {
        let dir = tempfile::Builder::new()
            .prefix("ferragon-vm-")
            .tempdir()
            .context("creating a temporary folder")?;
        let initramfs = dir.path().join("initramfs");
        rootfs.write(&initramfs)?;
        let ports = Ports::create(dir)?;
        let started = Instant::now();
        let mut qemu = self.spawn(&initramfs, ports.dir())?;
        let (out, err) = (qemu.stdout.take(), qemu.stderr.take());
        let stop = AtomicBool::new(false);
        let (ended, ports) = thread::scope(|scope| {
            let copies = [scope.spawn(|| copy(out, stdout, &stop)), scope.spawn(|| copy(err, stderr, &stop))];
            let ended = self.wait(&mut qemu, ports, &stop);
            for copy in copies {
                if let Ok(Err(error)) = copy.join() {
                    return Err(error).context("passing on the guest's output; the VM was stopped");
                }
            }
            ended
        })?;
        let log = ports.log()?;
        let ending = match (ports.status()?, ended) {
            (Status::Exited(status), _) => Ending::Exited(status),
            (status, None) => Ending::TimedOut { started: status == Status::Started },
            (status, Some(qemu)) => Ending::Died { started: status == Status::Started, qemu },
        };
        Ok(Outcome { ending, log, elapsed: started.elapsed() })
    }

    fn spawn(&self, initramfs: &Path, dir: &Path) -> Result<Child> {
        // setpriv: QEMU dies with us, however we die.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", QEMU]);
        command.args([
            "-nodefaults",
            "-display",
            "none",
            "-vga",
            "none",
            "-no-reboot",
            "-M",
            "pc",
            "-cpu",
            "max",
        ]);
        // Also for several CPUs: QEMU before 8.1 reads code before it protects the page, so that of code which another CPU
        // is patching (attaching does) it can keep a translation of half of it: the kernel panics at a left-over int3.
        command.args(["-accel", "tcg,thread=single"]);
        command.args(["-smp", &self.cpus.to_string(), "-m", &self.memory_mib.to_string()]);
        let log = if self.log { LOG_ALL } else { LOG_WARNINGS };
        let mut append = format!("{KERNEL_ARGS} {log} {}", self.append);
        if self.icount {
            if self.cpus > 1 {
                bail!("--icount needs --cpus 1: only one virtual CPU can be counted");
            }
            command.args(["-icount", "shift=0,align=off,sleep=off"]);
            // The same start each time: date, random numbers (RDRAND) and addresses.
            command.args(["-seed", "1", "-rtc", "base=2026-01-01,clock=vm"]);
            append.push_str(" nokaslr");
        }
        command.arg("-kernel").arg(&self.image).arg("-initrd").arg(initramfs).args(["-append", &append]);
        // Four serial ports, each with an interrupt of its own: kernel log, stdout, stderr, status.
        let file = |name: &str| dir.join(name).to_string_lossy().replace(',', ",,");
        let paths = [file(LOG), "/dev/stdout".into(), "/dev/stderr".into(), file(STATUS)];
        for ((index, path), irq) in paths.iter().enumerate().zip([4, 3, 6, 7]) {
            command.args(["-chardev", &format!("file,id=port{index},path={path}")]);
            command.args(["-device", &format!("isa-serial,chardev=port{index},index={index},irq={irq}")]);
        }
        if !in_path(QEMU) {
            bail!("{QEMU} is not installed: apt-get install qemu-system-x86 seabios (or: make setup)");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().context("starting QEMU through setpriv (of util-linux)")
    }

    /// Waits for QEMU: its status, or None when the time limit passed.
    fn wait(
        &self,
        qemu: &mut Child,
        mut ports: Ports,
        stop: &AtomicBool,
    ) -> Result<(Option<ExitStatus>, Ports)> {
        let deadline = Instant::now() + self.timeout;
        loop {
            if let Some(status) = qemu.try_wait().context("waiting for QEMU")? {
                return Ok((Some(status), ports));
            }
            if Instant::now() >= deadline || stop.load(Ordering::Relaxed) {
                qemu.kill().context("stopping QEMU")?;
                qemu.wait().context("waiting for QEMU")?;
                return Ok((None, ports));
            }
            ports.release_names()?;
            thread::sleep(POLL);
        }
    }
}

impl Outcome {
    /// What a person should be told beyond the command's own output, if anything.
    pub fn trouble(&self) -> Option<String> {
        let phase =
            |started| if started { "while the command ran" } else { "before the command was started" };
        let seconds = self.elapsed.as_secs_f32();
        let panicked = self.log.contains("Kernel panic");
        let what = match &self.ending {
            Ending::Exited(_) if !warned(&self.log) => return None,
            Ending::Exited(_) => "the kernel warned about itself during this run".to_owned(),
            Ending::TimedOut { started } => {
                format!("the time limit passed {} ({seconds:.0} s): see --timeout", phase(*started))
            }
            Ending::Died { started, .. } if panicked => format!("the kernel panicked {}", phase(*started)),
            Ending::Died { started, qemu } => {
                format!("the VM ended {} and gave no exit status (QEMU: {qemu})", phase(*started))
            }
        };
        let mut text = format!("vm: {what}");
        let lines: Vec<&str> = self.log.lines().collect();
        if lines.is_empty() {
            text.push_str("; the kernel logged nothing");
        } else {
            text.push_str("; the end of the kernel's log:");
        }
        for line in lines.iter().skip(lines.len().saturating_sub(TAIL)) {
            text.push_str("\n  ");
            text.push_str(line.trim_end());
        }
        Some(text)
    }
}

/// Log lines shown: an oops with its registers and stack takes about 50.
const TAIL: usize = 60;

/// Whether the kernel found itself at fault.
fn warned(log: &str) -> bool {
    ["[ cut here ]", "BUG: ", "Oops", "possible circular locking"].iter().any(|mark| log.contains(mark))
}

const LOG: &str = "log";
const STATUS: &str = "status";

/// The guest's serial ports that are files.
struct Ports {
    /// None once the names have been removed: nothing is left over, even if we are killed.
    dir: Option<TempDir>,
    log: File,
    status: File,
}

/// What the guest's init said so far.
#[derive(PartialEq, Eq)]
enum Status {
    Booting,
    Started,
    Exited(u8),
}

impl Ports {
    fn create(dir: TempDir) -> Result<Self> {
        let open = |name| {
            let path = dir.path().join(name);
            File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
                .context("creating a temporary file")
        };
        Ok(Ports { log: open(LOG)?, status: open(STATUS)?, dir: Some(dir) })
    }

    fn dir(&self) -> &Path {
        self.dir.as_ref().map_or(Path::new(""), |dir| dir.path())
    }

    /// Once the guest talks, QEMU has opened and read all files, so that their names are not needed any more.
    fn release_names(&mut self) -> Result<()> {
        if self.dir.is_some() && self.status()? != Status::Booting {
            self.dir = None;
        }
        Ok(())
    }

    fn status(&self) -> Result<Status> {
        let text = whole(&self.status)?;
        let mut lines = text.lines();
        if lines.next() != Some("start") {
            return Ok(Status::Booting);
        }
        Ok(lines.next().and_then(|line| line.parse().ok()).map_or(Status::Started, Status::Exited))
    }

    fn log(&self) -> Result<String> {
        Ok(whole(&self.log)?.replace('\r', ""))
    }
}

/// All of a file from its start.
fn whole(file: &File) -> Result<String> {
    let length = file.metadata().context("reading from the guest")?.len();
    let mut bytes = vec![0; usize::try_from(length)?];
    let read = file.read_at(&mut bytes, 0).context("reading from the guest")?;
    bytes.truncate(read);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Passes bytes on as they come. Sets `stop` when nobody takes them.
fn copy(from: Option<impl Read>, to: &mut (dyn Write + Send), stop: &AtomicBool) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if let Err(error) = to.write_all(&buffer[..count]).and_then(|()| to.flush()) {
            stop.store(true, Ordering::Relaxed);
            return Err(error);
        }
    }
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| fs::metadata(dir.join(program)).is_ok_and(|meta| meta.is_file()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Ending, Outcome, TAIL};

    fn trouble(ending: Ending, log: &str) -> Option<String> {
        Outcome { ending, log: log.to_owned(), elapsed: Duration::from_secs(7) }.trouble()
    }

    #[test]
    fn a_quiet_kernel_and_any_exit_status_are_no_trouble() {
        assert_eq!(trouble(Ending::Exited(3), "[ 0.1] ACPI: IRQ 6 override\n"), None);
    }

    #[test]
    fn a_kernel_that_warned_is_told_even_if_the_command_succeeded() {
        let told =
            trouble(Ending::Exited(0), "------------[ cut here ]------------\nWARNING: x.c:1\n").unwrap();
        assert!(told.contains("warned") && told.ends_with("WARNING: x.c:1"), "{told}");
    }

    #[test]
    fn only_the_end_of_a_long_log_is_told() {
        let log: String = (0..500).map(|line| format!("line {line}\n")).collect();
        let told = trouble(Ending::TimedOut { started: false }, &log).unwrap();
        assert!(
            told.contains("before the command was started (7 s)") && told.ends_with("line 499"),
            "{told}"
        );
        assert_eq!(told.lines().count(), TAIL + 1);
    }
}
