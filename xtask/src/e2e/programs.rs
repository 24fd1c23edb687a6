//! Input: what the cases run.
//! Output: it built, as static binaries in the target folder, and put into a guest.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::case::Case;
use crate::vm::Rootfs;
use crate::{build, workspace};

/// What the agent's tests do that a shell cannot; they find it through `FERRAGON_TEST_HELPER`.
const HELPER: &str = "helper";
const HELPER_SOURCE: &str = "agent/tests/base_support/helper.c";
const GUEST_TESTS: &str = "/root/e2e/tests";

/// What is put into the guest.
pub struct Programs {
    ferra: PathBuf,
    ferragon: PathBuf,
    probe: PathBuf,
    /// Holds the agent's tests, under their names, and their helper.
    tests: PathBuf,
}

impl Programs {
    /// Builds them, or takes what was built last of that profile.
    pub fn build(cases: &[Case], fresh: bool, debug: bool) -> Result<Self> {
        let ferra = build::ferra_of(debug);
        let tests = workspace::target_dir().join("e2e-tests");
        let beside = |name| ferra.with_file_name(name);
        let programs = Programs { probe: beside("probe"), ferragon: beside("ferragon"), ferra, tests };
        let wanted: BTreeSet<&str> =
            cases.iter().flat_map(|case| case.tests.iter().map(String::as_str)).collect();
        if fresh {
            eprintln!("e2e: building ferra, ferragon and probe …");
            build::products(debug)?;
            build::build("e2e", Some("bin=probe"), debug)?;
            if !wanted.is_empty() {
                eprintln!("e2e: building the agent's tests …");
                programs.build_tests(&wanted)?;
            }
        }
        let tests = wanted.iter().map(|name| programs.tests.join(name));
        let programs_of_all = [&programs.ferra, &programs.ferragon, &programs.probe].map(PathBuf::clone);
        for program in programs_of_all.into_iter().chain(tests) {
            program.metadata().with_context(|| format!("{} (leave out --no-build)", program.display()))?;
        }
        Ok(programs)
    }

    fn build_tests(&self, wanted: &BTreeSet<&str>) -> Result<()> {
        let shown = self.tests.display();
        fs::create_dir_all(&self.tests).with_context(|| format!("creating {shown}"))?;
        for (name, made) in build::tests("agent", wanted)? {
            let to = self.tests.join(name);
            fs::copy(&made, &to)
                .with_context(|| format!("copying {} to {}", made.display(), to.display()))?;
        }
        let source = workspace::root().join(HELPER_SOURCE);
        let mut cc = Command::new("cc");
        cc.args(["-static", "-O1", "-pthread", "-o"]).arg(self.tests.join(HELPER)).arg(&source);
        let status = cc.status().context("starting cc; is gcc installed (make setup)?")?;
        if !status.success() {
            bail!("compiling {} into {shown} failed ({status})", source.display());
        }
        Ok(())
    }

    /// Puts into the guest what these cases run.
    pub fn add(&self, cases: &[Case], rootfs: &mut Rootfs) -> Result<()> {
        rootfs.add(&self.ferra, "/usr/bin/ferra")?;
        rootfs.add(&self.ferragon, "/usr/bin/ferragon")?;
        rootfs.add(&self.probe, "/usr/bin/probe")?;
        let tests: Vec<&str> = cases.iter().flat_map(|case| case.tests.iter().map(String::as_str)).collect();
        let helper = (!tests.is_empty()).then_some(HELPER);
        for name in tests.into_iter().chain(helper) {
            rootfs.add(&self.tests.join(name), &format!("{GUEST_TESTS}/{name}"))?;
        }
        Ok(())
    }
}
