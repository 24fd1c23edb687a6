//! In: values of `Protocol`, `Family` and `State`. Out: ranges of numbers.

use api::names::{ADDRESS_FAMILIES, NameTable, PROTOCOLS, TCP_STATES};

use super::filter::Request;
use super::integer::{self, Base};
use super::path::FieldPath;
use super::problems::{Problems, quoted, suggest};
use crate::diagnostic::Code;
use crate::typed::{ArgTest, IntType, SockField};

/// What is known of a field's values.
struct Vocabulary {
    names: &'static NameTable,
    /// Common start of the names, which may be left out.
    prefix: &'static str,
    /// Names beside those that are shown.
    aliases: &'static [(&'static str, u32)],
    /// Greatest value: protocols and families are 16 bits wide in the kernel, states 8.
    max: u32,
}

fn vocabulary(field: SockField) -> Vocabulary {
    match field {
        SockField::Protocol => {
            Vocabulary { names: &PROTOCOLS, prefix: "IPPROTO_", aliases: &[], max: u16::MAX as u32 }
        }
        SockField::Family => Vocabulary {
            names: &ADDRESS_FAMILIES,
            prefix: "AF_",
            aliases: &[("AF_LOCAL", 1), ("AF_FILE", 1), ("AF_ROUTE", 16)],
            max: u16::MAX as u32,
        },
        SockField::State => {
            Vocabulary { names: &TCP_STATES, prefix: "TCP_", aliases: &[], max: u8::MAX as u32 }
        }
    }
}

/// Checks a filter on a field of a socket.
pub(super) fn check(field: SockField, request: &Request<'_>, problems: &mut Problems) -> Option<ArgTest> {
    let vocabulary = vocabulary(field);
    let mut ranges = Vec::with_capacity(request.values.len());
    let mut sound = true;
    for (index, value) in request.values.iter().enumerate() {
        match range(&vocabulary, value, &request.path.item(index), problems) {
            Some((low, high)) => ranges.push((u64::from(low), u64::from(high))),
            None => sound = false,
        }
    }
    let merged = integer::merge(IntType::U32, ranges);
    let ranges = merged.into_iter().map(|(low, high)| (low as u32, high as u32)).collect();
    sound.then_some(ArgTest::SockField { field, ranges })
}

fn range(
    vocabulary: &Vocabulary,
    value: &str,
    path: &FieldPath,
    problems: &mut Problems,
) -> Option<(u32, u32)> {
    if let Some((low, high)) = value.split_once(':') {
        let (low, high) = (one(vocabulary, low, path, problems), one(vocabulary, high, path, problems));
        let (low, high) = (low?, high?);
        return Some((low.min(high), low.max(high)));
    }
    one(vocabulary, value, path, problems).map(|number| (number, number))
}

fn one(vocabulary: &Vocabulary, word: &str, path: &FieldPath, problems: &mut Problems) -> Option<u32> {
    let Vocabulary { names, prefix, aliases, max } = vocabulary;
    let full = format!("{prefix}{}", word.trim());
    let same = |name: &str| name.eq_ignore_ascii_case(word.trim()) || name.eq_ignore_ascii_case(&full);
    let known = names.entries().map(|(number, name)| (name, number)).chain(aliases.iter().copied());
    if let Some((_, number)) = known.into_iter().find(|(name, _)| same(name)) {
        return Some(number);
    }
    match integer::number(word, Base::Decimal) {
        Some(number) => {
            let number = number.and_then(|number| u32::try_from(number).ok()).filter(|number| number <= max);
            if number.is_none() {
                let message = format!("{} is not within 0..={max}", quoted(word));
                problems.error(Code::OutOfRange, path, message);
            }
            number
        }
        None => {
            let candidates: Vec<&str> = names.entries().map(|(_, name)| name).collect();
            let message = format!("{} is not known", quoted(word));
            problems.error_help(Code::UnknownValue, path, message, suggest(word, &candidates));
            None
        }
    }
}
