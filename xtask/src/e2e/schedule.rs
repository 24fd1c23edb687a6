//! Input: cases and kernels.
//! Output: as few boots as possible, each run to the end of all its cases, whatever happens to the VM.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

use super::case::{Boot, Case};
use super::programs::Programs;
use super::report::{Follower, Report};
use crate::vm::{Ending, Kernel, Machine, Rootfs};
use crate::workspace;

/// For booting, beside the cases' own limits.
const BOOT_LIMIT: Duration = Duration::from_secs(60);
const MEMORY_MIB: u32 = 768;
/// At most: a boot takes as long as one case, and VMs that run side by side should end at about the same time.
const CASES_PER_VM: usize = 16;

/// How often a VM is booted that ends before its runner has started. A busy host makes an emulated machine late, and
/// kernels give up on hardware that is late; no case has run then, so nothing is tried twice that could have failed.
const BOOTS: u32 = 3;

/// Cases that share a kernel and how it is booted.
pub struct Batch {
    kernel: Kernel,
    boot: Boot,
    cases: Vec<Case>,
}

/// The batches, those with most cases first, so that the last one to end is a short one.
pub fn batches(cases: &[Case], kernels: &[Kernel]) -> Vec<Batch> {
    let mut groups: BTreeMap<(Kernel, Boot), Vec<Case>> = BTreeMap::new();
    for kernel in kernels {
        for case in cases.iter().filter(|case| case.kernels.contains(kernel)) {
            groups.entry((*kernel, case.boot.clone())).or_default().push(case.clone());
        }
    }
    let mut batches = Vec::new();
    for ((kernel, boot), cases) in groups {
        // Parts of even length.
        let length = cases.len().div_ceil(cases.len().div_ceil(CASES_PER_VM));
        let parts = cases.chunks(length);
        batches.extend(parts.map(|cases| Batch { kernel, boot: boot.clone(), cases: cases.to_vec() }));
    }
    batches.sort_by_key(|batch| std::cmp::Reverse(batch.cases.len()));
    batches
}

/// How many results there will be.
pub fn count(batches: &Mutex<VecDeque<Batch>>) -> usize {
    batches.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|batch| batch.cases.len()).sum()
}

impl Batch {
    /// Runs all cases. When the VM ends during a case, that one has failed, and the others get a new VM.
    pub fn run(self, programs: &Programs, report: &Report) -> Result<()> {
        let mut left = self.cases.clone();
        let mut boots = 0;
        while !left.is_empty() {
            let mut follower = Follower::new(report, self.kernel);
            let (started, trouble) = self.boot(&left, programs, &mut follower)?;
            boots = if started { 0 } else { boots + 1 };
            if let (1..BOOTS, Some(trouble)) = (boots, &trouble) {
                report.booted_again(self.kernel, trouble);
                continue;
            }
            let cut_short = trouble.as_ref().is_some_and(|trouble| follower.vm_ended(trouble));
            left.retain(|case| !follower.done.contains(&case.name));
            let Some(trouble) = trouble.filter(|_| !cut_short) else { continue };
            if left.is_empty() {
                follower.not_run("(the kernel, after all cases)", &trouble);
            }
            // Not the fault of one case: it would happen again.
            left.drain(..).for_each(|case| follower.not_run(&case.name, &trouble));
        }
        Ok(())
    }

    /// One VM. Gives whether its runner started, and what was wrong with it, if anything.
    fn boot(
        &self,
        cases: &[Case],
        programs: &Programs,
        follower: &mut Follower<'_>,
    ) -> Result<(bool, Option<String>)> {
        let mut rootfs = Rootfs::with_bash()?;
        programs.add(cases, &mut rootfs)?;
        for folder in ["e2e/guest", "e2e/cases", "e2e/data", "examples"] {
            let host = workspace::root().join(folder);
            if host.is_dir() {
                rootfs.add(&host, &format!("/root/{folder}"))?;
            }
        }
        let files = cases.iter().map(|case| format!("/root/e2e/cases/{}.sh", case.name));
        let words = ["/usr/bin/bash", "/root/e2e/guest/run.sh"].map(str::to_owned);
        rootfs.set_command(&words.into_iter().chain(files).collect::<Vec<_>>())?;
        let machine = Machine {
            image: self.kernel.image()?,
            cpus: self.boot.cpus,
            memory_mib: MEMORY_MIB,
            icount: false,
            append: self.boot.append.clone(),
            log: false,
            timeout: BOOT_LIMIT + cases.iter().map(|case| case.limit).sum(),
        };
        let mut stderr = Vec::new();
        let outcome = machine.run(&rootfs, follower, &mut stderr)?;
        let complete = outcome.ending == Ending::Exited(0) && follower.done.len() == cases.len();
        let mut trouble = String::from_utf8_lossy(&stderr).into_owned();
        trouble.push_str(&outcome.trouble().unwrap_or_default());
        if !complete && trouble.is_empty() {
            trouble = format!("the guest's runner ended early: {:?}", outcome.ending);
        }
        let started = !matches!(
            outcome.ending,
            Ending::TimedOut { started: false } | Ending::Died { started: false, .. }
        );
        Ok((started, (!trouble.is_empty()).then_some(trouble)))
    }
}

#[cfg(test)]
mod tests {
    use super::{CASES_PER_VM, Kernel, batches};
    use crate::e2e::case::parse;

    #[test]
    fn every_case_runs_once_on_each_of_its_kernels() {
        let mut cases: Vec<_> =
            (0..CASES_PER_VM + 1).map(|number| parse(&format!("c{number}"), "").unwrap()).collect();
        cases.push(parse("old", "# kernels: 5.10\n").unwrap());
        cases.push(parse("other", "# kernels: 5.10\n# boot: lsm=yama\n").unwrap());
        let batches = batches(&cases, &[Kernel::V5_10, Kernel::V7]);
        let mut lengths: Vec<_> = batches.iter().map(|batch| (batch.kernel, batch.cases.len())).collect();
        lengths.sort();
        assert_eq!(
            lengths,
            [(Kernel::V5_10, 1), (Kernel::V5_10, 9), (Kernel::V5_10, 9), (Kernel::V7, 8), (Kernel::V7, 9)]
        );
        let mut names: Vec<_> = batches
            .iter()
            .flat_map(|batch| batch.cases.iter().map(|case| (batch.kernel, &case.name)))
            .collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 2 * (CASES_PER_VM + 1) + 2);
    }
}
