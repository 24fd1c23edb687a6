//! In: artefacts and calls. Out: what the node's programs did about each call: records, signals, return values and
//! counters.
//!
//! Plays the agent's part: creates the maps, fills in relocations, marks programs as active, keeps process bits.

use std::collections::BTreeMap;

use api::artefact::{
    Artefact, Flavour, MapKind as PrivateKind, POLICY_COUNTERS, ProcessSet, RelocKind, SCRATCH_SIZE,
    SCRATCH_SLOTS_PER_CPU, SetOp, SharedMap,
};
use policy_compiler::reference::Process;

use crate::vm::insn::{Insn, decode};
use crate::vm::map::{Map, MapKind};
use crate::vm::memory::Kind;
use crate::vm::{Deeds, Surroundings, Trap, Vm, structure};
use crate::workloads;

const CPUS: u32 = 2;
const CTX: u64 = 0xffff_b000_0000_0000;
/// Bytes of `struct process` and the offsets of its words, as in records.h.
const PROCESS_SIZE: usize = 120;
const OWN: usize = 24;
const PARENT: usize = 56;
const INHERITED: usize = 88;
/// When the current image began; any number but 0.
pub const PROCESS_START: u64 = 0x1111_2222;

/// One loaded program.
pub struct Program {
    pub flavour: Flavour,
    pub artefact: usize,
    insns: Vec<Insn>,
}

/// A node with programs loaded.
pub struct Node {
    pub vm: Vm,
    pub programs: Vec<Program>,
    pub artefacts: Vec<Artefact>,
    policies: Vec<(String, String)>,
    sets: Vec<ProcessSet>,
    shared: BTreeMap<i32, u32>,
    scratch_taken: bool,
}

/// What one program did.
#[derive(Debug, Clone)]
pub struct Deed {
    pub flavour: Flavour,
    pub ret: u64,
    pub instructions: u64,
    pub deeds: Deeds,
}

impl Node {
    /// Loads all artefacts.
    pub fn new(artefacts: &[Artefact], surroundings: Surroundings) -> Result<Self, Trap> {
        let mut node = Self {
            vm: Vm::new(surroundings),
            programs: Vec::new(),
            artefacts: artefacts.to_vec(),
            policies: Vec::new(),
            sets: Vec::new(),
            shared: BTreeMap::new(),
            scratch_taken: false,
        };
        node.create_shared_maps();
        for index in 0..artefacts.len() {
            node.load(index)?;
        }
        Ok(node)
    }

    fn create_shared_maps(&mut self) {
        let counters = POLICY_COUNTERS as usize * 8;
        let slots = (CPUS * SCRATCH_SLOTS_PER_CPU) as usize;
        let maps = [
            (SharedMap::Events, MapKind::RingBuf, (0, 0, 1 << 20)),
            (SharedMap::Processes, MapKind::Hash, (4, PROCESS_SIZE, 1024)),
            (SharedMap::Active, MapKind::Array, (4, 4, 256)),
            (SharedMap::Scratch, MapKind::Array, (4, SCRATCH_SIZE as usize, slots)),
            (SharedMap::PolicyCounters, MapKind::PerCpuArray, (4, counters, 256)),
            (SharedMap::RateLimit, MapKind::LruHash, (8, 8, 1024)),
            (SharedMap::SavedRegisters, MapKind::LruHash, (8, 48, 1024)),
            (SharedMap::Judged, MapKind::LruHash, (8, 8, 1024)),
        ];
        for (shared, kind, sizes) in maps {
            let number = self.vm.maps.len() as u32;
            self.vm.add_map(Map::new(&format!("{shared:?}"), number, kind, sizes, CPUS as usize));
            self.shared.insert(shared as i32, number);
        }
    }

    fn load(&mut self, index: usize) -> Result<(), Trap> {
        let artefact = self.artefacts[index].clone();
        let mut private = Vec::new();
        for spec in &artefact.maps {
            let kind = match spec.kind() {
                PrivateKind::Hash => MapKind::Hash,
                PrivateKind::LpmTrie => MapKind::LpmTrie,
                PrivateKind::Unspecified => panic!("a private map without a kind"),
            };
            let number = self.vm.maps.len() as u32;
            let sizes = (spec.key_size as usize, spec.value_size as usize, spec.max_entries as usize);
            let mut map = Map::new("private", number, kind, sizes, CPUS as usize);
            for entry in &spec.entries {
                assert_eq!((entry.key.len(), entry.value.len()), (sizes.0, sizes.1), "sizes of {spec:?}");
                let result = map.update(&mut self.vm.memory, &entry.key, &entry.value, 0);
                assert_eq!(result, 0, "filling a private map");
            }
            private.push(self.vm.add_map(map));
        }
        let mut insns = decode(&artefact.insns);
        for reloc in &artefact.relocs {
            self.relocate(&mut insns, reloc, index, &artefact, &private);
        }
        structure::check(&insns)?;
        let slot = self.slot(index);
        self.write_shared(SharedMap::Active, slot, &program_id(index).to_le_bytes());
        self.programs.push(Program { flavour: artefact.attach.flavour(), artefact: index, insns });
        Ok(())
    }

    fn slot(&self, artefact: usize) -> u32 {
        artefact as u32 + 3
    }

    fn relocate(
        &mut self,
        insns: &mut [Insn],
        reloc: &api::artefact::Reloc,
        index: usize,
        artefact: &Artefact,
        private: &[u32],
    ) {
        let at = reloc.insn as usize;
        let wide = insns[at].code == crate::vm::insn::LD_IMM64;
        let map = matches!(reloc.kind(), RelocKind::SharedMap | RelocKind::PrivateMap);
        let mask = reloc.kind() == RelocKind::ProcessSetMask;
        assert_eq!(wide, map || mask, "relocation {reloc:?} of {:?}", insns[at]);
        assert_eq!(insns[at].src == 1 && wide, map, "relocation {reloc:?} of {:?}", insns[at]);
        let value = match reloc.kind() {
            RelocKind::SharedMap => u64::from(self.shared[&(reloc.index as i32)]),
            RelocKind::PrivateMap => u64::from(private[reloc.index as usize]),
            RelocKind::ProgramId => u64::from(program_id(index)),
            RelocKind::ActiveSlot => u64::from(self.slot(index)),
            RelocKind::PolicyCounters => {
                let schema = &artefact.hooks[reloc.index as usize];
                self.policy_index(&schema.policy_namespace, &schema.policy_name) as u64
            }
            RelocKind::ProcessSetOffset => {
                let bit = self.set_bit(&artefact.process_sets[reloc.index as usize]);
                bit / 64 * 8
            }
            RelocKind::ProcessSetMask => {
                1 << (self.set_bit(&artefact.process_sets[reloc.index as usize]) % 64)
            }
            RelocKind::Unspecified => panic!("a relocation without a kind"),
        };
        insns[at].imm = value as u32 as i32;
        if mask {
            insns[at + 1].imm = (value >> 32) as i32;
        }
    }

    fn policy_index(&mut self, namespace: &str, name: &str) -> usize {
        let key = (namespace.to_owned(), name.to_owned());
        self.policies.iter().position(|known| *known == key).unwrap_or_else(|| {
            self.policies.push(key);
            self.policies.len() - 1
        })
    }

    /// Bits are spread over the words.
    fn set_bit(&mut self, set: &ProcessSet) -> u64 {
        let index = self.sets.iter().position(|known| known == set).unwrap_or_else(|| {
            self.sets.push(set.clone());
            self.sets.len() - 1
        });
        (index as u64 * 37 + 63) % 256
    }

    fn write_shared(&mut self, map: SharedMap, index: u32, bytes: &[u8]) {
        let number = self.shared[&(map as i32)] as usize;
        let at = self.vm.maps[number].lookup(&mut self.vm.memory, &index.to_le_bytes(), 0);
        self.vm.memory.write(at, bytes).expect("array values exist");
    }

    /// Puts the calling process into the table of processes, with its bits as the exec programs compute them.
    pub fn know(&mut self, process: &Process) {
        let number = self.shared[&(SharedMap::Processes as i32)] as usize;
        let key = process.tgid.to_le_bytes();
        self.vm.maps[number].delete(&mut self.vm.memory, &key);
        if !process.known {
            return;
        }
        let mut value = vec![0; PROCESS_SIZE];
        value[..8].copy_from_slice(&PROCESS_START.to_le_bytes());
        if let Some(parent) = process.ancestors.first() {
            value[8..16].copy_from_slice(&0x3333u64.to_le_bytes());
            value[16..20].copy_from_slice(&parent.tgid.to_le_bytes());
        }
        for set in self.sets.clone() {
            let bit = self.set_bit(&set);
            let mut mark = |words: usize| value[words + bit as usize / 8] |= 1 << (bit % 8);
            let is_there =
                set.workloads.as_ref().is_some_and(|set| workloads::contains(set, &process.workload));
            if is_there || in_set(&set, process.tgid, &process.binary) {
                mark(OWN);
            }
            if process.ancestors.first().is_some_and(|parent| in_set(&set, parent.tgid, &parent.binary)) {
                mark(PARENT);
            }
            let earlier = process.earlier.iter().any(|binary| in_set(&set, 0, binary));
            let above = process.ancestors.iter().any(|ancestor| {
                in_set(&set, ancestor.tgid, &ancestor.binary)
                    || ancestor.earlier.iter().any(|binary| in_set(&set, 0, binary))
            });
            if earlier || above {
                mark(INHERITED);
            }
        }
        let result = self.vm.maps[number].update(&mut self.vm.memory, &key, &value, 0);
        assert_eq!(result, 0, "the table of processes has room");
    }

    /// Runs one program on a context.
    pub fn run(&mut self, program: usize, context: &[u8]) -> Result<Deed, Trap> {
        let Program { flavour, ref insns, .. } = self.programs[program];
        self.vm.around.flavour = flavour;
        self.vm.memory.add(CTX, Kind::Ctx, context.to_vec());
        let insns = insns.clone();
        let outcome = self.vm.run(&insns, CTX);
        self.vm.memory.remove(CTX);
        let deeds = std::mem::take(&mut self.vm.deeds);
        let outcome = outcome?;
        self.check_scratch_is_free()?;
        Ok(Deed { flavour, ret: outcome.ret, instructions: outcome.instructions, deeds })
    }

    fn check_scratch_is_free(&mut self) -> Result<(), Trap> {
        let number = self.shared[&(SharedMap::Scratch as i32)] as usize;
        for key in self.vm.maps[number].keys().cloned().collect::<Vec<_>>() {
            let at = self.vm.maps[number].lookup(&mut self.vm.memory, &key, 0);
            let lock = &self.vm.memory.get(at).expect("array values exist").bytes[..8];
            if lock != u64::from(self.scratch_taken).to_le_bytes() {
                return Err(Trap { pc: 0, what: "ended with a scratch slot in the wrong hands".to_owned() });
            }
        }
        Ok(())
    }

    /// What the hooks' words in `active` say from now on.
    pub fn activate(&mut self, word: u32) {
        for artefact in 0..self.artefacts.len() {
            self.write_shared(SharedMap::Active, self.slot(artefact), &word.to_le_bytes());
        }
    }

    /// The programs that threads have left in `judged`.
    pub fn judged(&self) -> Vec<u64> {
        let map = &self.vm.maps[self.shared[&(SharedMap::Judged as i32)] as usize];
        let values = map.keys().flat_map(|key| map.values(&self.vm.memory, key).unwrap_or_default());
        values.map(|value| u64::from_le_bytes(value.try_into().expect("8 bytes"))).collect()
    }

    /// Lets the threads that are in `judged` have been judged by `program`.
    pub fn judge(&mut self, program: u64) {
        let map = &mut self.vm.maps[self.shared[&(SharedMap::Judged as i32)] as usize];
        for key in map.keys().cloned().collect::<Vec<_>>() {
            assert_eq!(map.update(&mut self.vm.memory, &key, &program.to_le_bytes(), 0), 0);
        }
    }

    /// Takes all scratch slots, or gives them back.
    pub fn occupy_scratch(&mut self, taken: bool) {
        self.scratch_taken = taken;
        for slot in 0..CPUS * SCRATCH_SLOTS_PER_CPU {
            self.write_shared(SharedMap::Scratch, slot, &u64::from(taken).to_le_bytes());
        }
    }

    /// Sum over CPUs of a policy's counters.
    pub fn counters(&self, namespace: &str, name: &str) -> [u64; POLICY_COUNTERS as usize] {
        let mut sums = [0; POLICY_COUNTERS as usize];
        let index = self.policies.iter().position(|(ns, n)| ns == namespace && n == name);
        let number = self.shared[&(SharedMap::PolicyCounters as i32)] as usize;
        let Some(index) = index else { return sums };
        let values = self.vm.maps[number].values(&self.vm.memory, &(index as u32).to_le_bytes());
        for value in values.unwrap_or_default() {
            for (sum, word) in sums.iter_mut().zip(value.chunks_exact(8)) {
                *sum += u64::from_le_bytes(word.try_into().expect("8 bytes"));
            }
        }
        sums
    }
}

/// The id that this node gives a program.
pub fn program_id(artefact: usize) -> u32 {
    0x7000_0000 + artefact as u32
}

fn in_set(set: &ProcessSet, pid: u32, binary: &[u8]) -> bool {
    let head = binary.get(..255).unwrap_or(binary);
    match set.op() {
        SetOp::Equal => set.paths.iter().any(|path| path == head),
        SetOp::Prefix => set.paths.iter().any(|path| head.starts_with(path)),
        SetOp::Postfix => set.paths.iter().any(|path| head.ends_with(path)),
        SetOp::Pid => set.pids.contains(&pid),
        SetOp::Workloads => false,
        SetOp::Unspecified => panic!("a process set without an operation"),
    }
}
