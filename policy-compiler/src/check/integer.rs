//! In: values of filters on integers, as text. Out: canonical numbers, ranges and masks.

use crds::operator::ArgOperator;

use super::filter::Request;
use super::operator::{Comparison, Family, accepted, family};
use super::path::FieldPath;
use super::problems::{Problems, quoted};
use crate::diagnostic::Code;
use crate::typed::{ArgTest, IntTest, IntType};

/// Most values of a comparison other than `InMap` and `NotInMap`.
pub(super) const VALUES_LIMIT: usize = 4;

/// How a number may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// `0x`, `0o` and `0b` tell the base, a leading `0` means octal, else decimal.
    Auto,
    /// Decimal even with leading zeros, as the language reads sets; `0x` is accepted too.
    Decimal,
}

/// Values that an argument can have, in the terms of the document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Domain {
    /// Type whose order and width count.
    pub(super) ty: IntType,
    /// Least value.
    pub(super) min: i128,
    /// Greatest value.
    pub(super) max: i128,
}

impl Domain {
    /// All values of a type.
    pub(super) fn of(ty: IntType) -> Self {
        let bits = u32::from(ty.size()) * 8;
        let (min, max) = if ty.signed() {
            (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1)
        } else {
            (0, (1_i128 << bits) - 1)
        };
        Self { ty, min, max }
    }

    /// Values of a mask: bit patterns may be written signed or unsigned.
    fn of_mask(ty: IntType) -> Self {
        let own = Self::of(ty);
        let bits = u32::from(ty.size()) * 8;
        Self { ty, min: own.min, max: (1_i128 << bits) - 1 }
    }

    fn canonical(&self, number: i128) -> u64 {
        // Truncation is meant: the low bits are the value, the type's extension follows.
        self.ty.canonical(number as u64)
    }
}

/// Checks a filter on an argument of type `ty`.
pub(super) fn check(ty: IntType, request: &Request<'_>, problems: &mut Problems) -> Option<ArgTest> {
    let Some(Family::Compare(comparison)) = family(request.operator) else { return None };
    check_in(Domain::of(ty), comparison, request, problems)
}

/// Checks a filter on a tracepoint field whose type only the kernel knows: any 64-bit number, ordered as signed
/// if any value is negative. `resolve` knows the width.
pub(super) fn check_auto(request: &Request<'_>, problems: &mut Problems) -> Option<ArgTest> {
    let negative = request.values.iter().any(|value| value.contains('-'));
    check(if negative { IntType::S64 } else { IntType::U64 }, request, problems)
}

fn check_in(
    domain: Domain,
    comparison: Comparison,
    request: &Request<'_>,
    problems: &mut Problems,
) -> Option<ArgTest> {
    let limited = !matches!(comparison, Comparison::Map { .. });
    if limited {
        check_count(request, problems);
    }
    let numbers = |domain: Domain, problems: &mut Problems| -> Option<Vec<u64>> {
        let mut numbers = Vec::with_capacity(request.values.len());
        for (index, value) in request.values.iter().enumerate() {
            numbers.push(parse_one(value, domain, &request.path.item(index), problems));
        }
        numbers.into_iter().map(|number| number.map(|number| domain.canonical(number))).collect()
    };
    let order =
        |number: &u64| domain.ty.signed().then_some(*number as i64).map_or(i128::from(*number), i128::from);
    let (not, test) = match comparison {
        Comparison::Equal { not } => {
            let points = numbers(domain, problems)?.into_iter().map(|number| (number, number)).collect();
            (not, IntTest::In(merge(domain.ty, points)))
        }
        Comparison::Greater => {
            (false, IntTest::Greater(numbers(domain, problems)?.into_iter().min_by_key(order)?))
        }
        Comparison::Less => (false, IntTest::Less(numbers(domain, problems)?.into_iter().max_by_key(order)?)),
        Comparison::Mask => {
            let mask =
                numbers(Domain::of_mask(domain.ty), problems)?.into_iter().fold(0, |mask, bits| mask | bits);
            if mask == 0 {
                problems.warn(&request.path, "a mask without any bit never matches", "set at least one bit");
            }
            (false, IntTest::Mask(mask))
        }
        Comparison::Range { not } => {
            (not, IntTest::In(ranges(domain, Base::Auto, false, request, problems)?))
        }
        Comparison::Map { not } => {
            (not, IntTest::In(ranges(domain, Base::Decimal, true, request, problems)?))
        }
    };
    Some(ArgTest::Int { not, test })
}

/// Complains about more values than the language allows.
pub(super) fn check_count(request: &Request<'_>, problems: &mut Problems) {
    let count = request.values.len();
    if count > VALUES_LIMIT {
        let message = format!("{count} values, at most {VALUES_LIMIT} are possible here");
        if accepted(request.ty).contains(&ArgOperator::InMap) {
            let help = "`InMap` and `NotInMap` take any number";
            problems.error_help(Code::OutOfRange, &request.path, message, help);
        } else {
            problems.error(Code::OutOfRange, &request.path, message);
        }
    }
}

/// Values that are numbers or `min:max`. A set takes single numbers and bounds in either order.
fn ranges(
    domain: Domain,
    base: Base,
    set: bool,
    request: &Request<'_>,
    problems: &mut Problems,
) -> Option<Vec<(u64, u64)>> {
    let mut ranges = Vec::with_capacity(request.values.len());
    let mut sound = true;
    for (index, value) in request.values.iter().enumerate() {
        let path = request.path.item(index);
        match range(value, domain, base, set, &path, problems) {
            Some((low, high)) => ranges.push((domain.canonical(low), domain.canonical(high))),
            None => sound = false,
        }
    }
    sound.then(|| merge(domain.ty, ranges))
}

fn range(
    value: &str,
    domain: Domain,
    base: Base,
    set: bool,
    path: &FieldPath,
    problems: &mut Problems,
) -> Option<(i128, i128)> {
    if value.starts_with("list:") {
        problems.unsupported(path, "a `list:` of values");
        return None;
    }
    let Some((low, high)) = value.split_once(':') else {
        if set {
            return parse(value, base, domain, path, problems).map(|number| (number, number));
        }
        let message = format!("{} is not a range", quoted(value));
        problems.error_help(Code::WrongType, path, message, "write `min:max`");
        return None;
    };
    let (low, high) = (parse(low, base, domain, path, problems), parse(high, base, domain, path, problems));
    let (low, high) = (low?, high?);
    if low > high && !set {
        let message = format!("the range {} is empty", quoted(value));
        problems.error_help(Code::OutOfRange, path, message, format!("write `{high}:{low}`"));
        return None;
    }
    Some((low.min(high), low.max(high)))
}

fn parse_one(value: &str, domain: Domain, path: &FieldPath, problems: &mut Problems) -> Option<i128> {
    if value.contains(':') {
        let message = format!("{} is a range, not a number", quoted(value));
        problems.error_help(Code::WrongType, path, message, "use `InRange`, `NotInRange` or `InMap`");
        return None;
    }
    parse(value, Base::Auto, domain, path, problems)
}

/// A number of the domain, or a complaint.
pub(super) fn parse(
    value: &str,
    base: Base,
    domain: Domain,
    path: &FieldPath,
    problems: &mut Problems,
) -> Option<i128> {
    let Domain { ty, min, max } = domain;
    let Some(number) = number(value, base) else {
        let message = format!("{} is not a number", quoted(value));
        let help = match base {
            Base::Auto => "decimal, or hexadecimal with `0x`, or octal with `0`",
            Base::Decimal => "decimal, or hexadecimal with `0x`",
        };
        problems.error_help(Code::WrongType, path, message, help);
        return None;
    };
    let number = number.filter(|number| (min..=max).contains(number));
    if number.is_none() {
        let message = format!("{} is not within {min}..={max}", quoted(value));
        if value.trim_start().starts_with('-') && !ty.signed() {
            let help = "it is unsigned; write the bits of a negative number as a positive one";
            problems.error_help(Code::OutOfRange, path, message, help);
        } else {
            problems.error(Code::OutOfRange, path, message);
        }
    }
    number
}

/// A number as written: `None` if it is none, `Some(None)` if it is beyond any type.
pub(super) fn number(value: &str, base: Base) -> Option<Option<i128>> {
    let text = value.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let prefixed = [("0x", 16), ("0o", 8), ("0b", 2)];
    let prefixed = prefixed.iter().find_map(|(prefix, radix)| Some((*radix, lower.strip_prefix(prefix)?)));
    let (radix, digits) = match prefixed {
        Some(found) => found,
        None if base == Base::Auto && lower.len() > 1 && lower.starts_with('0') => (8, lower.as_str()),
        None => (10, lower.as_str()),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let magnitude = i128::from_str_radix(digits, radix).ok();
    Some(magnitude.map(|magnitude| if negative { -magnitude } else { magnitude }))
}

/// Ranges in the type's order, overlapping and touching ones merged.
pub(crate) fn merge(ty: IntType, mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    // Adding the sign bit maps signed order onto unsigned order, and back.
    let flip = if ty.signed() { 1 << 63 } else { 0 };
    for (low, high) in &mut ranges {
        (*low, *high) = (*low ^ flip, *high ^ flip);
    }
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match merged.last_mut() {
            Some((_, end)) if low <= end.saturating_add(1) => *end = high.max(*end),
            _ => merged.push((low, high)),
        }
    }
    merged.into_iter().map(|(low, high)| (low ^ flip, high ^ flip)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_the_language_reads_them() {
        for (text, base, expected) in [
            ("10", Base::Auto, Some(Some(10))),
            ("0x1F", Base::Auto, Some(Some(31))),
            ("-0x10", Base::Auto, Some(Some(-16))),
            ("0644", Base::Auto, Some(Some(0o644))),
            ("0644", Base::Decimal, Some(Some(644))),
            ("0b101", Base::Auto, Some(Some(5))),
            ("089", Base::Auto, None),
            ("", Base::Auto, None),
            ("-", Base::Auto, None),
            ("0x", Base::Auto, None),
            ("1e3", Base::Auto, None),
            ("--1", Base::Auto, None),
            ("9999999999999999999999999999999999999999999", Base::Auto, Some(None)),
        ] {
            assert_eq!(number(text, base), expected, "{text}");
        }
    }

    #[test]
    fn ranges_merge_in_the_order_of_the_type() {
        let signed = |number: i64| number as u64;
        let ranges = vec![(1, 3), (signed(-5), signed(-1)), (0, 0), (10, 12), (11, 20)];
        assert_eq!(merge(IntType::S64, ranges), [(signed(-5), 3), (10, 20)]);
        let ranges = vec![(u64::MAX, u64::MAX), (0, 0), (u64::MAX - 1, u64::MAX - 1)];
        assert_eq!(merge(IntType::U64, ranges), [(0, 0), (u64::MAX - 1, u64::MAX)]);
        assert_eq!(
            merge(IntType::S64, vec![(signed(i64::MAX), signed(i64::MAX)), (signed(i64::MIN), 0)]).len(),
            2
        );
    }

    #[test]
    fn domains_are_those_of_the_types() {
        let domain = Domain::of(IntType::S8);
        assert_eq!((domain.min, domain.max), (-128, 127));
        let domain = Domain::of(IntType::U64);
        assert_eq!((domain.min, domain.max), (0, i128::from(u64::MAX)));
    }
}
