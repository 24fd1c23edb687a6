//! In: numbers. Out: their text at the end of a buffer, without the cost of the general formatter.

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends a number in decimal.
pub(crate) fn push_decimal(out: &mut String, value: u64) {
    // u64::MAX has 20 digits.
    let mut buffer = [0; 20];
    let mut digits = 0;
    let mut rest = value;
    for slot in buffer.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
        digits += 1;
        if rest == 0 {
            break;
        }
    }
    push_ascii(out, buffer.get(20 - digits..).unwrap_or_default());
}

/// Appends a signed number in decimal.
pub(crate) fn push_signed(out: &mut String, value: i64) {
    if value < 0 {
        out.push('-');
    }
    push_decimal(out, value.unsigned_abs());
}

/// Appends the last `N` hexadecimal digits of a number, zeros in front.
pub(crate) fn push_hex<const N: usize>(out: &mut String, value: u64) {
    let mut buffer = [0; N];
    let mut rest = value;
    for slot in buffer.iter_mut().rev() {
        // A remainder of 16 is always a place in the table.
        *slot = HEX[(rest % 16) as usize];
        rest /= 16;
    }
    push_ascii(out, &buffer);
}

fn push_ascii(out: &mut String, bytes: &[u8]) {
    // Digits are always valid text.
    out.push_str(std::str::from_utf8(bytes).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        push(&mut out);
        out
    }

    #[test]
    fn decimal_is_what_display_says() {
        for value in [0, 9, 10, 99, 100, 4_294_967_295, u64::MAX] {
            assert_eq!(text(|out| push_decimal(out, value)), value.to_string());
        }
        for value in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(text(|out| push_signed(out, value)), value.to_string());
        }
    }

    #[test]
    fn hexadecimal_keeps_its_width() {
        assert_eq!(text(|out| push_hex::<16>(out, 0x1ff_ffff_ffff)), "000001ffffffffff");
        assert_eq!(text(|out| push_hex::<2>(out, 0x1b)), "1b");
    }
}
