//! In: instructions, maps and a fake kernel's memory. Out: what a program did: its return value, records,
//! signals, map contents and the number of instructions it took.
//!
//! An interpreter that trusts nothing. Each access must lie in one known region of the right kind, each register
//! and stack byte must have been written before it is read, and a record may not leave with bytes that nobody
//! wrote: what the kernel's verifier would refuse, or what would go wrong silently, is a [`Trap`].

pub mod execute;
pub mod helper;
pub mod insn;
pub mod map;
pub mod memory;
pub mod structure;

use std::collections::BTreeMap;
use std::fmt;

use api::artefact::Flavour;

use map::Map;
use memory::Memory;

/// A program did something that no correct program does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trap {
    /// Index of the instruction.
    pub pc: usize,
    /// What it did.
    pub what: String,
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instruction {}: {}", self.pc, self.what)
    }
}

/// What helpers tell a program about its surroundings.
#[derive(Debug, Clone)]
pub struct Surroundings {
    pub flavour: Flavour,
    pub cpu: u32,
    pub tgid: u32,
    pub tid: u32,
    pub uid: u32,
    pub gid: u32,
    /// Address of the current task_struct.
    pub task: u64,
    /// CLOCK_BOOTTIME and CLOCK_MONOTONIC.
    pub time: u64,
    /// What bpf_get_func_ret gives.
    pub ret: u64,
    /// What bpf_send_signal returns.
    pub signal_result: i64,
    /// Bytes that still fit the ring buffer.
    pub ring_space: usize,
    /// What bpf_d_path gives, by address of the struct path.
    pub paths: BTreeMap<u64, Vec<u8>>,
    /// The kernel has atomic instructions that fetch.
    pub atomic_fetch: bool,
}

/// What a program did to the world outside its maps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Records, in order of submission.
    pub records: Vec<Vec<u8>>,
    /// Signals to the current process.
    pub signals: Vec<u32>,
    /// Values of bpf_override_return.
    pub overrides: Vec<i64>,
}

/// The result of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// r0 at the end.
    pub ret: u64,
    /// Instructions executed.
    pub instructions: u64,
}

/// Memory, maps and surroundings; they outlive a run.
pub struct Vm {
    pub memory: Memory,
    pub maps: Vec<Map>,
    pub around: Surroundings,
    pub deeds: Deeds,
}

impl Vm {
    pub fn new(around: Surroundings) -> Self {
        Self { memory: Memory::default(), maps: Vec::new(), around, deeds: Deeds::default() }
    }

    /// Adds a map; the number stands for its file descriptor.
    pub fn add_map(&mut self, map: Map) -> u32 {
        self.maps.push(map);
        (self.maps.len() - 1) as u32
    }

    /// Whether programs of this flavour may follow kernel pointers by loads.
    pub fn typed(&self) -> bool {
        matches!(
            self.around.flavour,
            Flavour::Fentry | Flavour::Fexit | Flavour::FmodRet | Flavour::Lsm | Flavour::TpBtf
        )
    }
}
