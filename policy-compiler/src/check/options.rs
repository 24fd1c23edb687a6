//! In: `spec.options`. Out: the policy's mode; the other options are only checked.

use crds::list::OptionSpec;

use super::path::FieldPath;
use super::problems::{Problems, quoted, suggest};
use crate::diagnostic::Code;
use crate::typed::Mode;

/// The options of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PolicyOption {
    /// One kprobe per function. How a hook is attached is found by probing here, so there is nothing to do.
    DisableKprobeMulti,
    /// The same for user functions.
    DisableUprobeMulti,
    /// Which mechanism overrides. Found by probing as well; the results are the same.
    OverrideMethod,
    /// Whether enforcement actions act.
    PolicyMode,
    /// Size of a buffer that this implementation does not need.
    SleepablePreloadSize,
}

impl PolicyOption {
    const ALL: [(&'static str, Self); 5] = [
        ("disable-kprobe-multi", Self::DisableKprobeMulti),
        ("disable-uprobe-multi", Self::DisableUprobeMulti),
        ("override-method", Self::OverrideMethod),
        ("policy-mode", Self::PolicyMode),
        ("sleepable-preload-size", Self::SleepablePreloadSize),
    ];
}

/// Checks all options and returns the mode.
pub(super) fn check(options: &[OptionSpec], path: &FieldPath, problems: &mut Problems) -> Mode {
    let mut mode = Mode::Enforce;
    for (index, option) in options.iter().enumerate() {
        let path = path.item(index);
        let known = PolicyOption::ALL.iter().find(|(name, _)| *name == option.name);
        let Some((_, known)) = known else {
            // The language ignores options that it does not know.
            let names = PolicyOption::ALL.map(|(name, _)| name);
            let message = format!("there is no option {}; it has no effect", quoted(&option.name));
            problems.warn(&path.key("name"), message, suggest(&option.name, &names));
            continue;
        };
        let value = option.value.as_str();
        if let Some(help) = wrong_value(*known, value) {
            let message = format!("{} is not a value of `{}`", quoted(value), option.name);
            problems.error_help(Code::UnknownValue, &path.key("value"), message, help);
        } else if *known == PolicyOption::PolicyMode {
            mode = if value == "monitor" { Mode::Monitor } else { Mode::Enforce };
        }
    }
    mode
}

/// What the values are, if `value` is none of them.
fn wrong_value(option: PolicyOption, value: &str) -> Option<String> {
    const TRUTHS: [&str; 12] =
        ["true", "false", "1", "0", "t", "f", "T", "F", "TRUE", "FALSE", "True", "False"];
    let one_of = |members: &[&str]| (!members.contains(&value)).then(|| suggest(value, members));
    match option {
        PolicyOption::DisableKprobeMulti | PolicyOption::DisableUprobeMulti => {
            (!TRUTHS.contains(&value)).then(|| "one of: true, false".to_owned())
        }
        PolicyOption::OverrideMethod => one_of(&["fmod-ret", "override-return"]),
        PolicyOption::PolicyMode => one_of(&["enforce", "monitor"]),
        PolicyOption::SleepablePreloadSize => match value.parse::<u32>() {
            Ok(1..) => None,
            _ => Some("a whole number greater than 0".to_owned()),
        },
    }
}
