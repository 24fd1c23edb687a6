//! In: the bytes of one RECORD_HOOK. Out: its fields and arguments, read by nothing but records.h.

/// A decoded record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Last return action.
    pub return_action: u16,
    pub time: u64,
    pub tgid: u32,
    pub tid: u32,
    pub process_start: u64,
    pub program: u32,
    pub hook: usize,
    /// `None` for a hook without selectors.
    pub selector: Option<usize>,
    pub action: u32,
    pub args: Vec<RecordArg>,
}

/// One argument of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordArg {
    pub kind: u16,
    pub error: bool,
    pub truncated: bool,
    pub payload: Vec<u8>,
}

const RECORD_HOOK: u16 = 5;
const HEADER: usize = 48;

fn number(bytes: &[u8], at: usize, len: usize) -> Result<u64, String> {
    let slice =
        bytes.get(at..at + len).ok_or_else(|| format!("record of {} bytes is cut at {at}", bytes.len()))?;
    Ok(slice.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// Decodes a record; anything that records.h does not allow is an error.
pub fn decode(bytes: &[u8]) -> Result<Record, String> {
    if !bytes.len().is_multiple_of(8) || number(bytes, 4, 4)? != bytes.len() as u64 {
        return Err(format!("a record of {} bytes says {}", bytes.len(), number(bytes, 4, 4)?));
    }
    if number(bytes, 0, 2)? != u64::from(RECORD_HOOK) {
        return Err(format!("record of kind {}", number(bytes, 0, 2)?));
    }
    let selector = number(bytes, 38, 2)? as usize;
    let mut record = Record {
        return_action: number(bytes, 2, 2)? as u16,
        time: number(bytes, 8, 8)?,
        tgid: number(bytes, 16, 4)? as u32,
        tid: number(bytes, 20, 4)? as u32,
        process_start: number(bytes, 24, 8)?,
        program: number(bytes, 32, 4)? as u32,
        hook: number(bytes, 36, 2)? as usize,
        selector: (selector != 0xffff).then_some(selector),
        action: number(bytes, 40, 4)? as u32,
        args: Vec::new(),
    };
    let count = number(bytes, 44, 4)?;
    let mut at = HEADER;
    for _ in 0..count {
        let (kind, flags, len) =
            (number(bytes, at, 2)?, number(bytes, at + 2, 2)?, number(bytes, at + 4, 4)?);
        let payload = bytes.get(at + 8..at + 8 + len as usize).ok_or("an argument is cut")?;
        record.args.push(RecordArg {
            kind: kind as u16,
            error: flags & 1 != 0,
            truncated: flags & 2 != 0,
            payload: payload.to_vec(),
        });
        at += 8 + (len as usize).next_multiple_of(8);
    }
    if at != bytes.len() {
        return Err(format!("{} bytes behind the last argument", bytes.len() - at));
    }
    Ok(record)
}
