//! In: a fake kernel. Out: on it, what the fixed programs bring, and a loader: for tests without root.

use std::path::Path;

use api::artefact::Flavour;

use super::sets::{Cgroup, Running, RunningProcesses, SetObjects};
use super::{BaseObjects, Loader};
use crate::kernel::fake::{FakeKernel, FakeObject};
use crate::kernel::{Errno, Kernel, MapShape, MapType, ProgramSpec};

/// Nobody runs.
#[derive(Debug)]
pub struct NoProcesses;

impl RunningProcesses for NoProcesses {
    fn running(&self, _: &mut dyn FnMut(u32)) -> std::io::Result<Vec<Running>> {
        Ok(Vec::new())
    }

    fn cgroup(&self, _: &Path) -> std::io::Result<Cgroup> {
        Ok(Cgroup::default())
    }
}

/// A loader with nothing loaded.
///
/// # Errors
/// The kernel was told to fail.
pub fn loader(kernel: &FakeKernel) -> Result<Loader<FakeKernel, NoProcesses>, Errno> {
    let map = |name, kind, key_size, value_size| -> Result<FakeObject, Errno> {
        kernel.map_create(&MapShape { kind, key_size, value_size, max_entries: 1024, name })
    };
    let spec = ProgramSpec { flavour: Flavour::RawTp, btf_id: 0, insns: &[], name: "set_bits" };
    let set_bits = kernel.program_load(&spec).map_err(|rejection| rejection.errno)?;
    let sets = SetObjects {
        prefix: map("binary_prefix", MapType::LpmTrie, 260, 32)?,
        postfix: map("binary_postfix", MapType::LpmTrie, 132, 32)?,
        pids: map("pid_sets", MapType::Hash, 4, 32)?,
        cgroups: map("cgroup_sets", MapType::Hash, 8, 32)?,
        config: map("config", MapType::Array, 4, 8)?,
        processes: map("processes", MapType::Hash, 4, 120)?,
        set_bits,
    };
    let events = map("events", MapType::Hash, 4, 4)?;
    let processes = map("procs", MapType::Hash, 4, 4)?;
    let base = BaseObjects { possible_cpus: 1, events, processes, sets };
    Ok(Loader::new(kernel.clone(), base, NoProcesses))
}
