//! In: a good profile, and mutations of it. Out: whether decoder, BTF reader and compiler answer each, as they must for
//! what a hostile agent uploads.

use api::profile::KernelProfile;
use policy_compiler::typed::TypedPolicy;
use policy_compiler::{Kernel, compile};

use crate::policies::{Fixture, policy, profile};

/// A small generator of numbers, so that a failure can be repeated by its seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize
    }
}

/// Flips, overwrites, cuts, repeats.
fn mutate(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.next() % 4 {
        let at = numbers.next() % bytes.len();
        match numbers.next() % 5 {
            0 => bytes[at] ^= 1 << (numbers.next() % 8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][numbers.next() % 5],
            2 => {
                let end = (at + 4).min(bytes.len());
                let value = [0u32, 1, u32::MAX, 1 << 31, 0x00ff_ffff][numbers.next() % 5].to_le_bytes();
                let length = end - at;
                bytes[at..end].copy_from_slice(&value[..length]);
            }
            3 if numbers.next().is_multiple_of(8) => bytes.truncate(at.max(1)),
            _ => {
                let piece: Vec<u8> = bytes[at..(at + 16).min(bytes.len())].to_vec();
                let to = numbers.next() % bytes.len();
                bytes.splice(to..to, piece);
            }
        }
    }
}

#[test]
fn hostile_mutated_profiles_are_answered() {
    let good = profile(Fixture::Six);
    let functions = ["tcp_connect", "security_file_permission", "vfs_read"];
    let policies: Vec<TypedPolicy> = functions
        .iter()
        .map(|function| TypedPolicy::clone(policy("one", function).policy.as_ref().expect("a policy")))
        .collect();
    let (mut decoded, mut parsed, mut compiled) = (0, 0, 0);
    for seed in 1..=3000u64 {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut bytes = good.clone();
        mutate(&mut bytes, &mut numbers);
        let Ok(profile) = KernelProfile::decode_bounded(&bytes) else { continue };
        decoded += 1;
        let Ok(kernel) = Kernel::new(profile) else { continue };
        parsed += 1;
        for policy in &policies {
            compiled += compile(std::slice::from_ref(policy), &kernel).artefacts.len();
        }
    }
    // Mutations that nothing gets through would show nothing.
    assert!(decoded > 500 && parsed > 300 && compiled > 300, "{decoded} {parsed} {compiled}");
}
