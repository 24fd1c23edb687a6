//! In: profiles. Out: encoded mutations of them, decided by a seed alone: some that are no profiles, most that are, with
//! types that no compiler has written.

use api::profile::{KernelProfile, TracepointFormat};
use prost::Message;

use super::types;
use crate::random::Random;

/// Bytes of an input at most; larger ones are slow, and find nothing that these do not.
pub const INPUT_LIMIT: usize = 256 << 10;

/// Numbers at which readers change their mind.
pub const NUMBERS: [u32; 14] =
    [0, 1, 2, 3, 7, 8, 0x7f, 0x80, 0xffff, 0x1_0000, 0x00ff_ffff, 0x7fff_ffff, 0x8000_0000, u32::MAX];

/// A source of mutations.
pub struct Mutator {
    random: Random,
}

impl Mutator {
    /// A source that `seed` decides.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed) }
    }

    /// A mutation of some profile.
    pub fn mutate(&mut self, corpus: &[KernelProfile]) -> Vec<u8> {
        let mut profile = self.random.pick(corpus).cloned().unwrap_or_default();
        for _ in 0..=self.random.below(4) {
            match self.random.below(8) {
                0..=4 => types::edit(&mut profile.btf, &mut self.random),
                5 => damage(&mut profile.btf, &mut self.random),
                _ => self.field(&mut profile),
            }
        }
        let mut bytes = profile.encode_to_vec();
        if self.random.below(8) == 0 {
            damage(&mut bytes, &mut self.random);
        }
        bytes.truncate(INPUT_LIMIT);
        bytes
    }

    /// Changes something other than the types.
    fn field(&mut self, profile: &mut KernelProfile) {
        let number = self.random.pick(&NUMBERS).copied().unwrap_or(0);
        let text = self.text();
        match self.random.below(10) {
            0 => profile.arch = text,
            1 => profile.lsms.push(text),
            2 => profile.cpus = number,
            3 => {
                let at = self.random.below(profile.host_namespaces.len() + 1);
                profile.host_namespaces.truncate(at);
                profile.host_namespaces.push(number);
            }
            4 => {
                let at = self.random.below(profile.flavours.len());
                if at < profile.flavours.len() {
                    profile.flavours.remove(at);
                }
            }
            5 => profile.flavours.push(self.random.below(16) as i32),
            6 => profile.symbols.extend([
                "tcp_connect".to_owned(),
                text,
                "security_file_permission".to_owned(),
            ]),
            7 => {
                let switches =
                    [&mut profile.fmod_ret_syscalls, &mut profile.override_return, &mut profile.atomic_fetch];
                for switch in switches {
                    *switch = self.random.below(2) == 0;
                }
            }
            _ => self.tracepoint(&mut profile.tracepoints, number),
        }
    }

    fn tracepoint(&mut self, formats: &mut [TracepointFormat], number: u32) {
        let at = self.random.below(formats.len());
        let Some(format) = formats.get_mut(at) else { return };
        let at = self.random.below(format.fields.len());
        let Some(field) = format.fields.get_mut(at) else { return };
        match self.random.below(6) {
            0 => field.offset = number,
            1 => field.size = number,
            2 => field.array = number,
            3 => field.signed = !field.signed,
            4 => field.ctype = self.text(),
            _ => {
                let twice = field.clone();
                format.fields.push(twice);
            }
        }
    }

    fn text(&mut self) -> String {
        const TEXTS: [&str; 9] = [
            "",
            "x86_64",
            "arm64",
            "bpf",
            "__data_loc char[]",
            "unsigned long[",
            "char *",
            "\u{1f980}",
            "__rel_loc u8[]",
        ];
        let text = self.random.pick(&TEXTS).copied().unwrap_or_default();
        if self.random.below(8) == 0 { text.repeat(300) } else { text.to_owned() }
    }
}

/// Flips, overwrites, cuts and repeats bytes.
fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(8) {
            0..=1 => {
                let bit = random.below(8);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            }
            2..=5 => {
                let number = random.pick(&NUMBERS).copied().unwrap_or(0).to_le_bytes();
                bytes.iter_mut().skip(at).zip(number).for_each(|(byte, new)| *byte = new);
            }
            6 => bytes.truncate(at),
            _ => {
                let piece: Vec<u8> = bytes.iter().skip(at).take(1 + random.below(64)).copied().collect();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
}
