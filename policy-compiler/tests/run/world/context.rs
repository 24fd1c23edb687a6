//! In: registers of a call and the flavour that reaches it. Out: the context that a program of that flavour gets.

use api::artefact::Flavour;

use super::World;

/// Registers of a call, by position in the prototype.
#[derive(Debug, Clone)]
pub enum CallShape {
    /// A kernel function.
    Function { args: Vec<u64>, ret: u64 },
    /// A system call by number.
    Syscall { number: u64, args: Vec<u64>, ret: u64 },
    /// A raw tracepoint: the words of its prototype.
    RawTracepoint { args: Vec<u64> },
    /// A formatted tracepoint: its record.
    Record(Vec<u8>),
}

const FUNCTION_REGISTERS: [&str; 6] = ["di", "si", "dx", "cx", "r8", "r9"];
const SYSCALL_REGISTERS: [&str; 6] = ["di", "si", "dx", "r10", "r8", "r9"];

impl World<'_> {
    /// Bytes of the context.
    pub fn context(&mut self, shape: &CallShape, flavour: Flavour) -> Vec<u8> {
        match (shape, flavour) {
            (CallShape::Record(record), Flavour::Tracepoint) => record.clone(),
            (CallShape::RawTracepoint { args }, Flavour::TpBtf | Flavour::RawTp) => words(args),
            (CallShape::Function { args, ret }, flavour) => match flavour {
                Flavour::Kprobe => self.registers(&FUNCTION_REGISTERS, args, 0, 0),
                Flavour::Kretprobe => self.registers(&FUNCTION_REGISTERS, &[], *ret, 0),
                Flavour::Fexit => words(&[args, &[*ret][..]].concat()),
                Flavour::Fentry | Flavour::FmodRet | Flavour::Lsm => words(&[args, &[0][..]].concat()),
                other => panic!("{other:?} does not reach a function"),
            },
            (CallShape::Syscall { number, args, ret }, flavour) => {
                let inner = self.registers(&SYSCALL_REGISTERS, args, 0, *number);
                let inner = self.place(&inner).0;
                match flavour {
                    Flavour::TpBtf | Flavour::RawTp => words(&[inner, *number]),
                    flavour => {
                        let outer = CallShape::Function { args: vec![inner], ret: *ret };
                        self.context(&outer, flavour)
                    }
                }
            }
            (shape, flavour) => panic!("{flavour:?} does not reach {shape:?}"),
        }
    }

    /// Bytes of a `pt_regs`.
    fn registers(&self, names: &[&str], args: &[u64], ax: u64, orig_ax: u64) -> Vec<u8> {
        let pairs = names.iter().copied().zip(args.iter().copied());
        let mut bytes = vec![0; self.size_of("pt_regs")];
        for (name, value) in pairs.chain([("ax", ax), ("orig_ax", orig_ax), ("cs", 0x33)]) {
            let (offset, size) = self.field("pt_regs", name);
            let at = offset as usize;
            bytes[at..at + size].copy_from_slice(&value.to_le_bytes()[..size]);
        }
        bytes
    }
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
