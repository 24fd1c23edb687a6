//! In: encoded protobuf. Out: the value at a path of field numbers, read without any of the message types.

/// The first length-delimited value at `path` as text.
pub fn text(bytes: &[u8], path: &str) -> Option<String> {
    match find(bytes, &numbers(path))? {
        Field::Bytes(bytes) => String::from_utf8(bytes.to_vec()).ok(),
        Field::Varint(_) => None,
    }
}

/// The first number at `path`.
pub fn number(bytes: &[u8], path: &str) -> Option<u64> {
    match find(bytes, &numbers(path))? {
        Field::Varint(number) => Some(number),
        Field::Bytes(_) => None,
    }
}

enum Field<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

fn numbers(path: &str) -> Vec<u64> {
    path.split('.').map(|number| number.parse().unwrap()).collect()
}

fn find<'a>(mut bytes: &'a [u8], path: &[u64]) -> Option<Field<'a>> {
    let (wanted, rest) = path.split_first().unwrap();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Varint(varint(&mut bytes)),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (value, behind) = bytes.split_at(length);
                bytes = behind;
                Field::Bytes(value)
            }
            other => panic!("wire type {other}"),
        };
        if key >> 3 != *wanted {
            continue;
        }
        match (field, rest) {
            (field, []) => return Some(field),
            (Field::Bytes(inner), rest) => {
                if let Some(found) = find(inner, rest) {
                    return Some(found);
                }
            }
            (Field::Varint(_), _) => return None,
        }
    }
    None
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for at in 0.. {
        let byte = bytes[at];
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            break;
        }
    }
    value
}
