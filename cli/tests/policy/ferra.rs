//! In: arguments and input. Out: what the binary printed and how it ended.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// No input may take longer, even in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A finished run.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// All of `parts` are on standard output.
    pub fn says(&self, parts: &[&str]) -> &Run {
        for part in parts {
            assert!(self.out.contains(part), "no {part:?} in {self:#?}");
        }
        self
    }

    /// All of `parts` are on standard error.
    pub fn warns(&self, parts: &[&str]) -> &Run {
        for part in parts {
            assert!(self.err.contains(part), "no {part:?} in {self:#?}");
        }
        self
    }

    pub fn ends(&self, code: i32) -> &Run {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub fn types() -> String {
    repository().join("policy-compiler/fixtures/kernel-7.btf").display().to_string()
}

pub fn examples() -> String {
    repository().join("examples/policies").display().to_string()
}

/// Runs the binary.
pub fn ferra(arguments: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferra"));
    command.args(arguments);
    run(command, "")
}

/// `ferra policy check - --btf …` with `policy` on standard input.
pub fn check(policy: &str) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferra"));
    command.args(["policy", "check", "-", "--btf", &types()]);
    run(command, policy)
}

/// Runs a command to its end. Panics of the program are failures of the test, whatever its exit code.
pub fn run(mut command: Command, input: &str) -> Run {
    let started = Instant::now();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // A program that refuses its input early does not read all of it.
        let _ = pipe.write_all(input.as_bytes());
    });
    let Output { status, stdout, stderr } = child.wait_with_output().expect("the program ends");
    writer.join().expect("the input is written");
    let run = Run {
        code: status.code().unwrap_or(-1),
        out: String::from_utf8(stdout).expect("UTF-8"),
        err: String::from_utf8(stderr).expect("UTF-8"),
    };
    assert!(!run.err.contains("panicked"), "{run:#?}");
    assert!((0..=2).contains(&run.code), "{run:#?}");
    assert!(started.elapsed() < PATIENCE, "took {:?}", started.elapsed());
    run
}

/// A directory that is gone afterwards.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("ferra-test-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Scratch(path)
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("a file");
        path.display().to_string()
    }

    pub fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A policy with one kprobe hook on `call`, whose further lines are `rest`.
pub fn kprobe(name: &str, call: &str, rest: &str) -> String {
    let rest: String = rest.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: cilium.io/v1alpha1\nkind: TracingPolicy\nmetadata:\n  name: {name}\nspec:\n  kprobes:\n  \
         - call: {call}\n    syscall: false\n{rest}"
    )
}
