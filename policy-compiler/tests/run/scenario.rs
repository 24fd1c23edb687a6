//! In: what a test says happened: which hook, with which arguments, by whom. Out: the same told to the machine and to
//! the evaluator, and both answers.

use std::collections::BTreeMap;

use api::artefact::{Artefact, Flavour};
use policy_compiler::kernel::Kernel;
use policy_compiler::reference::{Call, Namespaces, Process, Value};
use policy_compiler::typed::HookPoint;

use crate::node::{Deed, Node};
use crate::profile::{HOST_NAMESPACES, formats};
use crate::vm::Trap;
use crate::vm::memory::Kind;
use crate::world::World;
use crate::world::argument::ArgSpec;
use crate::world::context::CallShape;
use crate::world::files::Place;
use crate::world::process::TaskSpec;

/// One call of a hooked function, system call or tracepoint.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub point: HookPoint,
    /// By position in the prototype; of tracepoints: the fields after the common ones.
    pub args: Vec<ArgSpec>,
    /// What the function returns if it runs.
    pub ret: u64,
    pub process: Process,
    pub time: u64,
}

/// What both sides are told.
pub struct Told {
    pub call: Call,
    pub deeds: Vec<Deed>,
}

/// Positions of a tracepoint's own fields start here.
pub const FIRST_FIELD: u32 = 4;

impl Scenario {
    /// Runs the node's programs on this call. `world` holds the files that the arguments name.
    pub fn run(
        &self,
        node: &mut Node,
        kernel: &Kernel,
        mut world: World<'_>,
        root: Place,
    ) -> Result<Told, Trap> {
        let mut open = Vec::new();
        let mut registers = Vec::new();
        let mut values = BTreeMap::new();
        let first = if matches!(self.point, HookPoint::Tracepoint { .. }) { FIRST_FIELD } else { 0 };
        for (index, spec) in (first..).zip(&self.args) {
            let (register, value) = world.argument(spec, root, &mut open);
            registers.push(register);
            values.insert(index, value);
        }
        let call = Call {
            args: values,
            ret: Some(Value::Int(self.ret)),
            process: self.process.clone(),
            host: Namespaces(HOST_NAMESPACES),
            time: self.time,
        };
        let task = world.task(&TaskSpec { process: self.process.clone(), root, files: open });
        let around = &mut node.vm.around;
        (around.tgid, around.tid, around.task) = (self.process.tgid, self.process.tid, task.0);
        (around.time, around.ret) = (self.time, self.ret);
        around.atomic_fetch = kernel.atomic_fetch();
        node.know(&self.process);
        let mut contexts = Vec::new();
        for (index, program) in node.programs.iter().enumerate() {
            let artefact = &node.artefacts[program.artefact];
            if let Some(shape) = self.shape(artefact, &registers) {
                let context = world.context(&shape, program.flavour);
                contexts.push((index, context));
            }
        }
        // Entry programs run before return programs.
        contexts.sort_by_key(|(index, _)| at_return(node.programs[*index].flavour));
        node.vm.memory.forget(&[Kind::Kernel, Kind::User]);
        world.settle(&mut node.vm);
        let deeds = contexts.into_iter().map(|(index, context)| node.run(index, &context));
        Ok(Told { call, deeds: deeds.collect::<Result<_, _>>()? })
    }

    /// What a program attached like this one sees of the call; `None` if it is attached elsewhere.
    fn shape(&self, artefact: &Artefact, registers: &[u64]) -> Option<CallShape> {
        let target = artefact.attach.target.as_str();
        let flavour = artefact.attach.flavour();
        let args = registers.to_vec();
        match &self.point {
            HookPoint::Kprobe { function } | HookPoint::Fentry { function, syscall: false } => {
                // A security function calls the LSM hook of its name, or of nearly its name.
                let hook = function.strip_prefix("security_").map(|hook| match hook {
                    "bprm_check" => "bpf_lsm_bprm_check_security".to_owned(),
                    hook => format!("bpf_lsm_{hook}"),
                });
                (target == function || hook.is_some_and(|hook| hook == target))
                    .then_some(CallShape::Function { args, ret: self.ret })
            }
            HookPoint::Lsm { hook } => {
                let known = target == hook || target == format!("bpf_lsm_{hook}");
                (known || target == format!("security_{hook}"))
                    .then_some(CallShape::Function { args, ret: self.ret })
            }
            HookPoint::Syscall { name } => self.syscall(name, target, args),
            HookPoint::Fentry { function, .. } => {
                self.syscall(function.trim_start_matches("__x64_sys_"), target, args)
            }
            HookPoint::RawTracepoint { event, .. } => {
                (target == event).then_some(CallShape::RawTracepoint { args })
            }
            HookPoint::Tracepoint { subsystem, event } => {
                if flavour == Flavour::TpBtf && target == event {
                    // sys_enter: the number, then the first argument.
                    let number = *registers.first()?;
                    return Some(CallShape::Syscall { number, args: args[1..].to_vec(), ret: self.ret });
                }
                (target == format!("{subsystem}/{event}"))
                    .then(|| CallShape::Record(self.record(subsystem, event, registers)))
            }
        }
    }

    fn syscall(&self, name: &str, target: &str, args: Vec<u64>) -> Option<CallShape> {
        let number = u64::from(api::syscalls::number_x64(name)?);
        let known = target == format!("__x64_sys_{name}") || target == "sys_enter";
        known.then_some(CallShape::Syscall { number, args, ret: self.ret })
    }

    /// A tracepoint's record: fields in their places, `__data_loc` texts behind.
    fn record(&self, subsystem: &str, event: &str, registers: &[u64]) -> Vec<u8> {
        let formats = formats();
        let format = formats.iter().find(|f| f.subsystem == subsystem && f.event == event).expect("known");
        let end = format.fields.iter().map(|field| field.offset + field.size).max().unwrap_or(8);
        let mut record = vec![0; end.next_multiple_of(8) as usize];
        let own = format.fields.iter().skip(FIRST_FIELD as usize);
        for ((field, spec), register) in own.zip(&self.args).zip(registers) {
            let (at, size) = (field.offset as usize, field.size as usize);
            match spec {
                ArgSpec::Text { text, .. } if field.ctype.starts_with("__data_loc") => {
                    let place = record.len() as u32;
                    let bytes = [text, &b"\0"[..]].concat();
                    let word = place | (bytes.len() as u32) << 16;
                    record.extend(&bytes);
                    record.resize(record.len().next_multiple_of(8), 0);
                    record[at..at + 4].copy_from_slice(&word.to_le_bytes());
                }
                ArgSpec::Text { text, .. } | ArgSpec::Buffer { bytes: text, .. } if field.array > 0 => {
                    record[at..at + text.len()].copy_from_slice(text);
                }
                _ => record[at..at + size.min(8)].copy_from_slice(&register.to_le_bytes()[..size.min(8)]),
            }
        }
        record
    }
}

/// Whether a flavour sees the function return.
pub fn at_return(flavour: Flavour) -> bool {
    matches!(flavour, Flavour::Fexit | Flavour::Kretprobe)
}
