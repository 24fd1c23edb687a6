//! In: `policy-compiler/fixtures/kernel.c`. Out: the BTF that its two variants compile to, written beside it, or
//! compared with what is there.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Write the kernel types that compiler tests run against
#[derive(clap::Args)]
pub struct Args {
    /// Write nothing; fail if a committed file differs from what would be written
    #[arg(long)]
    check: bool,
}

/// Layout variants of kernel.c: the macro that selects one, and its file.
const VARIANTS: [(&str, &str); 2] = [("KERNEL_6", "kernel-6.btf"), ("KERNEL_7", "kernel-7.btf")];

/// Runs `cargo xtask fixtures`.
pub fn run(args: &Args) -> Result<ExitCode> {
    let folder = workspace::root().join("policy-compiler/fixtures");
    let mut stale = 0;
    for (variant, file) in VARIANTS {
        let path = folder.join(file);
        let btf = compile(&folder, variant)?;
        if args.check {
            if fs::read(&path).unwrap_or_default() != btf {
                eprintln!("{} is not what kernel.c says; run `cargo xtask fixtures`", path.display());
                stale += 1;
            }
        } else {
            fs::write(&path, btf).with_context(|| format!("writing {}", path.display()))?;
            println!("wrote {}", path.display());
        }
    }
    Ok(if stale == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn compile(folder: &Path, variant: &str) -> Result<Vec<u8>> {
    let scratch = tempfile::tempdir().context("creating a folder for the compiler's output")?;
    let object = scratch.path().join("kernel.o");
    // Relative names only: the BTF's strings name the source file.
    let status = Command::new("clang-14")
        .current_dir(folder)
        .args(["-target", "bpf", "-g", "-O1", "-Wall", "-Wno-unused", "-fdebug-compilation-dir=."])
        .args([&format!("-D{variant}"), "-c", "kernel.c", "-o"])
        .arg(&object)
        .status()
        .context("running clang-14; install the Debian package clang-14")?;
    if !status.success() {
        bail!("clang-14 failed on {}", folder.join("kernel.c").display());
    }
    let bytes = fs::read(&object).with_context(|| format!("reading {}", object.display()))?;
    section(&bytes, ".BTF").map(<[u8]>::to_vec).context("clang-14 wrote an object without a .BTF section")
}

/// Contents of a section of a little-endian 64-bit ELF file.
fn section<'a>(elf: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let number = |at: usize, len: usize| -> Option<usize> {
        let bytes = elf.get(at..at.checked_add(len)?)?;
        bytes.iter().rev().try_fold(0usize, |sum, byte| sum.checked_mul(256)?.checked_add(usize::from(*byte)))
    };
    // e_shoff, e_shentsize, e_shnum, e_shstrndx of the file header.
    let (table, size, count, names) =
        (number(0x28, 8)?, number(0x3a, 2)?, number(0x3c, 2)?, number(0x3e, 2)?);
    // sh_offset and sh_size of a section header.
    let contents = |index: usize| {
        let header = table.checked_add(index.checked_mul(size)?)?;
        let (start, len) = (number(header + 0x18, 8)?, number(header + 0x20, 8)?);
        elf.get(start..start.checked_add(len)?)
    };
    let strings = contents(names)?;
    (0..count).find_map(|index| {
        let at = number(table + index * size, 4)?;
        let found = strings.get(at..)?.split(|byte| *byte == 0).next()?;
        if found == name.as_bytes() { contents(index) } else { None }
    })
}
