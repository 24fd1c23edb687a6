//! Input: a file of JSON events, one per line, that may still be written to.
//! Output: the lines that meet all conditions.

use std::fs;

use crate::condition::Condition;

/// Lines that meet all conditions. A last line without its end is not looked at yet; a complete line that is no JSON
/// is an error, since whoever wrote it promised JSON.
pub fn matching(file: &str, conditions: &[&str]) -> Result<Vec<String>, String> {
    let conditions: Vec<_> =
        conditions.iter().map(|text| Condition::parse(text)).collect::<Result<_, _>>()?;
    let bytes = fs::read(file).map_err(|error| format!("reading {file}: {error}"))?;
    let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let text =
        std::str::from_utf8(&bytes[..complete]).map_err(|error| format!("{file} is not UTF-8: {error}"))?;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let event =
            serde_json::from_str(line).map_err(|error| format!("{file}:{}: {error}: {line}", index + 1))?;
        if conditions.iter().all(|condition| condition.meets(&event)) {
            found.push(line.to_owned());
        }
    }
    Ok(found)
}
