//! In: a test written for a tracepoint field of type `auto`, and the type that the kernel's format gives the field.
//! Out: whether the test can be meant for that type.

use super::integer::Domain;
use crate::typed::{ArgTest, ArgType, IntTest, IntType};

/// Says why a test of an `auto` argument does not fit a field of type `ty`, if it does not.
///
/// A test that fits needs no conversion: numbers within a type's range have the same 64 bits in each type.
///
/// # Errors
///
/// What is wrong, in words that name the values.
pub fn fits_field(test: &ArgTest, ty: ArgType) -> Result<(), String> {
    match (test, ty) {
        (ArgTest::Int { test, .. }, ArgType::Int(int)) => fits_integer(test, int),
        (ArgTest::Int { test, .. }, ArgType::Syscall64) => fits_integer(test, IntType::U64),
        (ArgTest::Int { .. }, _) => Err("the field is text, the filter compares numbers".to_owned()),
        (ArgTest::Text { .. }, ArgType::Int(_) | ArgType::Syscall64) => {
            Err("the field is a number, the filter compares text".to_owned())
        }
        _ => Ok(()),
    }
}

fn fits_integer(test: &IntTest, ty: IntType) -> Result<(), String> {
    match test {
        IntTest::In(ranges) => ranges.iter().try_for_each(|(low, high)| fits_range(*low, *high, ty)),
        IntTest::Greater(bound) | IntTest::Less(bound) => fits_range(*bound, *bound, ty),
        // Bits beyond the field's width are copies of its sign, or zero: they never match by themselves.
        IntTest::Mask(_) => Ok(()),
    }
}

fn fits_range(low: u64, high: u64, ty: IntType) -> Result<(), String> {
    let value = |bits: u64| if ty.signed() { i128::from(bits as i64) } else { i128::from(bits) };
    let (low, high) = (value(low), value(high));
    let Domain { min, max, .. } = Domain::of(ty);
    if low > high {
        return Err(format!("the field's values are {min}..={max}, which does not contain the whole range"));
    }
    match [low, high].into_iter().find(|value| !(min..=max).contains(value)) {
        Some(value) => Err(format!("the field's values are {min}..={max}, {value} is not among them")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(ranges: &[(i64, i64)]) -> ArgTest {
        let ranges = ranges.iter().map(|(low, high)| (*low as u64, *high as u64)).collect();
        ArgTest::Int { not: false, test: IntTest::In(ranges) }
    }

    #[test]
    fn numbers_must_be_within_the_field() {
        assert!(fits_field(&numbers(&[(0, 0), (5, 7)]), ArgType::Int(IntType::U8)).is_ok());
        assert!(fits_field(&numbers(&[(-1, -1)]), ArgType::Int(IntType::S8)).is_ok());
        assert!(fits_field(&numbers(&[(-5, 5)]), ArgType::Int(IntType::S64)).is_ok());
        assert!(fits_field(&numbers(&[(-5, 5)]), ArgType::Int(IntType::U64)).is_err());
        assert!(fits_field(&numbers(&[(256, 256)]), ArgType::Int(IntType::U8)).is_err());
        assert!(fits_field(&numbers(&[(-1, -1)]), ArgType::Int(IntType::U32)).is_err());
        assert!(fits_field(&numbers(&[(-1, -1)]), ArgType::String).is_err());
        let text =
            ArgTest::Text { not: false, op: crate::typed::TextOp::Prefix, values: vec![b"a".to_vec()] };
        assert!(fits_field(&text, ArgType::String).is_ok());
        assert!(fits_field(&text, ArgType::CharBuf).is_ok());
        assert!(fits_field(&text, ArgType::Int(IntType::S32)).is_err());
    }
}
