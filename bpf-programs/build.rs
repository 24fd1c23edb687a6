//! In: `c/*.bpf.c`. Out: one eBPF object each in OUT_DIR, for `include_bytes!`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// The clang that the programs are verified with on all supported kernels; another one may generate code that an
/// old verifier refuses.
const CLANG: &str = "clang-14";

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed=c");
    println!("cargo:rerun-if-env-changed=FERRAGON_CLANG");
    match compile("base") {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn compile(name: &str) -> Result<(), String> {
    let clang = std::env::var("FERRAGON_CLANG").unwrap_or_else(|_| CLANG.into());
    let out =
        std::env::var("OUT_DIR").map_err(|_| "OUT_DIR is not set: run this through cargo".to_string())?;
    let source = Path::new("c").join(format!("{name}.bpf.c"));
    let object = PathBuf::from(out).join(format!("{name}.bpf.o"));
    let output = Command::new(&clang)
        .args(["-target", "bpf", "-g", "-O2", "-mcpu=v2", "-Wall", "-Wextra", "-Werror"])
        .args(["-idirafter", &format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH)])
        // Paths in the debug information would make the object differ from checkout to checkout.
        .args(["-fdebug-compilation-dir=.", "-c"])
        .arg(&source)
        .arg("-o")
        .arg(&object)
        .output()
        .map_err(|error| {
            format!(
                "cannot run {clang} to compile {}: {error}; install it with `apt-get install clang-14 \
                 libbpf-dev`, or set FERRAGON_CLANG to another clang that has the bpf target",
                source.display()
            )
        })?;
    if output.status.success() {
        return Ok(());
    }
    let messages = String::from_utf8_lossy(&output.stderr);
    let help = if messages.contains("bpf/bpf_helpers.h") {
        "\nthe headers of libbpf are missing: `apt-get install libbpf-dev`"
    } else {
        ""
    };
    Err(format!("{clang} could not compile {}:\n{messages}{help}", source.display()))
}
