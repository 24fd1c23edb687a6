//! In: names and numbers of capabilities, in `matchCapabilities` and in filters on capability sets. Out: masks
//! and tests of 64-bit sets.

use api::names::CAPABILITIES;
use crds::operator::SetOperator;
use crds::selector::{CapabilityFilter, CapabilitySetKind};

use super::filter::Request;
use super::integer::{self, Base};
use super::operator::{Comparison, Family, family};
use super::path::FieldPath;
use super::problems::{Problems, nearest, quoted};
use crate::diagnostic::Code;
use crate::typed::{ArgTest, CapabilitySet, CapabilityTest, Filter, FilterTest, IntTest, IntType};

/// Checks `matchCapabilities`. Every element counts, ANDed like all filters: to leave out those after the first
/// would be weaker than what is written.
pub(super) fn check_filters(
    filters: &[CapabilityFilter],
    path: &FieldPath,
    problems: &mut Problems,
) -> Vec<Filter> {
    let mut tests = Vec::with_capacity(filters.len());
    for (index, filter) in filters.iter().enumerate() {
        let path = path.item(index);
        let values = path.key("values");
        if filter.values.is_empty() {
            problems.error(Code::MissingField, &values, "at least one capability is needed");
        }
        let mut mask = 0;
        for (index, value) in filter.values.iter().enumerate() {
            mask |= names(value, &values.item(index), problems).unwrap_or(0);
        }
        let test = CapabilityTest {
            not: filter.operator == SetOperator::NotIn,
            set: match filter.set {
                CapabilitySetKind::Effective => CapabilitySet::Effective,
                CapabilitySetKind::Inheritable => CapabilitySet::Inheritable,
                CapabilitySetKind::Permitted => CapabilitySet::Permitted,
            },
            namespace_only: filter.is_namespace_capability,
            mask,
        };
        tests.push(Filter { path: path.to_string(), test: FilterTest::Capabilities(test) });
    }
    tests
}

/// Capabilities joined by commas, as a mask. A number is a capability's number here.
fn names(value: &str, path: &FieldPath, problems: &mut Problems) -> Option<u64> {
    let mut mask = Some(0_u64);
    for word in value.split(',') {
        let bit = match integer::number(word, Base::Decimal) {
            Some(Some(number)) if (0..64).contains(&number) => Some(1_u64 << number),
            Some(_) => {
                let message = format!("{} is not within 0..=63", quoted(word));
                problems.error(Code::OutOfRange, path, message);
                None
            }
            None => name(word, path, problems),
        };
        mask = mask.zip(bit).map(|(mask, bit)| mask | bit);
    }
    mask
}

/// The bit of one capability, by name with or without `CAP_`, letter case ignored.
fn name(word: &str, path: &FieldPath, problems: &mut Problems) -> Option<u64> {
    let bare = |name: &str| -> String {
        let upper = name.trim().to_ascii_uppercase();
        upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned()
    };
    let wanted = bare(word);
    let found = CAPABILITIES.entries().find(|(_, name)| bare(name) == wanted);
    if found.is_none() {
        let candidates: Vec<String> = CAPABILITIES.entries().map(|(_, name)| bare(name)).collect();
        let candidates: Vec<&str> = candidates.iter().map(String::as_str).collect();
        let help = match nearest(&wanted, &candidates) {
            Some(name) => format!("did you mean `CAP_{name}`?"),
            None => "write names such as `CAP_SYS_ADMIN`".to_owned(),
        };
        let message = format!("{} is not a capability", quoted(word));
        problems.error_help(Code::UnknownValue, path, message, help);
    }
    found.map(|(number, _)| 1_u64.checked_shl(number).unwrap_or(0))
}

/// Checks a comparison of a capability set: values are sets, as numbers or as names joined by commas.
pub(super) fn check_set(request: &Request<'_>, problems: &mut Problems) -> Option<ArgTest> {
    integer::check_count(request, problems);
    let mut sets = Vec::with_capacity(request.values.len());
    for (index, value) in request.values.iter().enumerate() {
        sets.push(set(value, &request.path.item(index), problems));
    }
    let sets = sets.into_iter().collect::<Option<Vec<u64>>>()?;
    let points = |sets: Vec<u64>| {
        let points = sets.into_iter().map(|set| (set, set)).collect();
        IntTest::In(integer::merge(IntType::U64, points))
    };
    let (not, test) = match family(request.operator)? {
        Family::Compare(Comparison::Equal { not }) => (not, points(sets)),
        Family::Compare(Comparison::Greater) => (false, IntTest::Greater(sets.into_iter().min()?)),
        Family::Compare(Comparison::Less) => (false, IntTest::Less(sets.into_iter().max()?)),
        Family::Compare(Comparison::Mask) => {
            (false, IntTest::Mask(sets.into_iter().fold(0, |mask, set| mask | set)))
        }
        _ => return None,
    };
    Some(ArgTest::Int { not, test })
}

fn set(value: &str, path: &FieldPath, problems: &mut Problems) -> Option<u64> {
    match integer::number(value, Base::Auto) {
        Some(number) => {
            let set = number.and_then(|number| u64::try_from(number).ok());
            if set.is_none() {
                let message = format!("{} is not within 0..={}", quoted(value), u64::MAX);
                problems.error(Code::OutOfRange, path, message);
            }
            set
        }
        None => {
            let mut set = Some(0);
            for word in value.split(',') {
                let bit = name(word, path, problems);
                set = set.zip(bit).map(|(set, bit)| set | bit);
            }
            set
        }
    }
}
