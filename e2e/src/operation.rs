//! Input: an operation's words.
//! Output: the system calls it stands for.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::str::FromStr;

/// What a policy may watch.
pub enum Operation {
    /// open and one read.
    Read(String),
    /// open for appending (no truncation, file is made if absent) and one write.
    Write(String, String),
    /// One write to stdout (1), stderr (2), or /dev/null opened at that descriptor.
    WriteFd(i32, String),
    /// open and ftruncate to 0.
    Truncate(String),
    Connect(SocketAddr),
    /// The raw system call, for this thread only.
    Setuid(u32),
    Getpid,
    /// init_module with nothing in it: fails with ENOEXEC.
    LoadModule,
    Exec(Vec<String>),
    /// exec of /usr/bin/true with one argument of that many bytes.
    LongExec(usize),
}

impl Operation {
    /// From words as on the command line.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let text = |text: &str| text.to_owned();
        Ok(match words {
            ["read", file] => Operation::Read(text(file)),
            ["write", file, content] => Operation::Write(text(file), text(content)),
            ["write-fd", fd, content] => Operation::WriteFd(number(fd)?, text(content)),
            ["truncate", file] => Operation::Truncate(text(file)),
            ["connect", address] => Operation::Connect(number(address)?),
            ["setuid", uid] => Operation::Setuid(number(uid)?),
            ["getpid"] => Operation::Getpid,
            ["load-module"] => Operation::LoadModule,
            ["exec", program @ ..] if !program.is_empty() => {
                Operation::Exec(program.iter().map(|word| text(word)).collect())
            }
            ["long-exec", bytes] => Operation::LongExec(number(bytes)?),
            _ => return Err(format!("no such operation: {}", words.join(" "))),
        })
    }

    /// Does it once.
    pub fn run(&self) -> io::Result<()> {
        match self {
            Operation::Read(file) => File::open(file)?.read(&mut [0; 64]).map(drop),
            Operation::Write(file, content) => {
                File::options().append(true).create(true).open(file)?.write(content.as_bytes()).map(drop)
            }
            Operation::WriteFd(fd, content) => write_to(*fd, content.as_bytes()),
            Operation::Truncate(file) => File::options().write(true).open(file)?.set_len(0),
            Operation::Connect(address) => TcpStream::connect(address).map(drop),
            Operation::Setuid(uid) => Ok(rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(*uid))?),
            Operation::Getpid => {
                let _pid = rustix::process::getpid();
                Ok(())
            }
            Operation::LoadModule => Ok(rustix::system::init_module(&[], c"")?),
            Operation::Exec(words) => match words.as_slice() {
                [program, arguments @ ..] => Err(Command::new(program).args(arguments).exec()),
                [] => Err(io::ErrorKind::InvalidInput.into()),
            },
            Operation::LongExec(bytes) => Err(Command::new("/usr/bin/true").arg("x".repeat(*bytes)).exec()),
        }
    }
}

/// Accepts connections for ever; `ready` on stdout when it does.
pub fn listen(address: &str) -> Result<ExitCode, String> {
    let listener = TcpListener::bind(address).map_err(|error| format!("listening on {address}: {error}"))?;
    println!("ready");
    loop {
        // Closed at once: what tests watch is the connect.
        drop(listener.accept());
    }
}

fn write_to(fd: i32, content: &[u8]) -> io::Result<()> {
    match fd {
        1 => rustix::io::write(io::stdout(), content).map(drop)?,
        2 => rustix::io::write(io::stderr(), content).map(drop)?,
        fd => {
            // The lowest free number is given each time.
            let mut opened = Vec::new();
            loop {
                let mut file = File::options().write(true).open("/dev/null")?;
                if file.as_raw_fd() == fd {
                    return file.write(content).map(drop);
                }
                if file.as_raw_fd() > fd {
                    return Err(io::ErrorKind::AddrInUse.into());
                }
                opened.push(file);
            }
        }
    }
    Ok(())
}

fn number<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("{word}: not a {}", std::any::type_name::<T>()))
}
