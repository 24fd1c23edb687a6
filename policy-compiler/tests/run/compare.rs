//! In: what programs did about a call, and what the evaluator says they should. Out: the first difference, in words.

use std::collections::BTreeMap;

use api::artefact::{Flavour, HookSchema, POLICY_COUNTERS, PolicyCounter};
use policy_compiler::reference::{Call, Effect, EventFate, Match, Value};
use policy_compiler::typed::{Action, ArgType, Mode, TypedArg, TypedHook, TypedPolicy};

use crate::node::{Deed, Node, PROCESS_START, program_id};
use crate::record::{Record, RecordArg, decode};

/// `KPROBE_ACTION_*` of the event API.
fn code(action: &Action) -> u32 {
    match action {
        Action::Post { .. } => 1,
        Action::Signal { sigkill: true, .. } => 3,
        Action::Override { .. } => 5,
        Action::NoPost => 9,
        Action::Signal { .. } => 10,
    }
}

type Counters = [u64; POLICY_COUNTERS as usize];

/// Sums of counters by policy, to see what one call adds.
pub fn all_counters(node: &Node, policies: &[TypedPolicy]) -> Vec<Counters> {
    policies
        .iter()
        .map(|policy| node.counters(policy.key.namespace.as_deref().unwrap_or(""), &policy.key.name))
        .collect()
}

/// Everything about one call.
pub struct Comparison<'a> {
    pub policies: &'a [TypedPolicy],
    pub node: &'a Node,
    pub call: &'a Call,
    pub deeds: &'a [Deed],
    pub expected: &'a [Match],
    /// Counters before the call.
    pub before: &'a [Counters],
}

impl Comparison<'_> {
    /// `Err` says what differs.
    pub fn check(&self) -> Result<(), String> {
        let counted = self.counters();
        let seen = self.records().and_then(|()| self.signals()).and_then(|()| self.return_value());
        match (seen, counted) {
            (Err(what), Err(counted)) => Err(format!("{what}; {counted}")),
            (seen, counted) => seen.and(counted),
        }
    }

    fn records(&self) -> Result<(), String> {
        let mut found = Vec::new();
        for deed in self.deeds {
            for bytes in &deed.deeds.records {
                let record = decode(bytes)?;
                let (policy, hook, schema) = self.owner(&record)?;
                self.header(&record)?;
                self.arguments(&record, &self.policies[policy].hooks[hook], schema)?;
                self.action(&record, &self.policies[policy].hooks[hook])?;
                found.push((policy, hook, record.selector));
            }
        }
        let mut expected: Vec<_> = self
            .expected
            .iter()
            .filter(|m| m.event == EventFate::Posted)
            .map(|m| (m.policy, m.hook, m.selector))
            .collect();
        expected.sort_unstable();
        found.sort_unstable();
        same("events (policy, hook, selector)", &found, &expected)
    }

    /// The policy and hook that a record's hook index names.
    fn owner(&self, record: &Record) -> Result<(usize, usize, &HookSchema), String> {
        let mut artefacts = self.node.artefacts.iter().enumerate();
        let (_, artefact) = artefacts
            .find(|(index, _)| program_id(*index) == record.program)
            .ok_or_else(|| format!("record of an unknown program {:#x}", record.program))?;
        let schema = artefact.hooks.get(record.hook).ok_or_else(|| format!("no hook {}", record.hook))?;
        let policy = self.policies.iter().position(|policy| {
            policy.key.name == schema.policy_name
                && policy.key.namespace.as_deref().unwrap_or("") == schema.policy_namespace
        });
        let policy = policy.ok_or_else(|| format!("record of an unknown policy {}", schema.policy_name))?;
        let hook = self.policies[policy].hooks.iter().position(|hook| hook.path == schema.path);
        Ok((policy, hook.ok_or_else(|| format!("record of an unknown hook {}", schema.path))?, schema))
    }

    fn header(&self, record: &Record) -> Result<(), String> {
        let process = &self.call.process;
        same("record's tgid and tid", &(record.tgid, record.tid), &(process.tgid, process.tid))?;
        let start = if process.known { PROCESS_START } else { 0 };
        same("record's process start", &record.process_start, &start)?;
        same("record's time", &record.time, &self.call.time)
    }

    fn action(&self, record: &Record, hook: &TypedHook) -> Result<(), String> {
        let selector = record.selector.and_then(|index| hook.selectors.get(index));
        let last = selector.and_then(|selector| selector.actions.last());
        same("record's action", &record.action, &last.map_or(1, code))?;
        let last =
            selector.filter(|_| hook.ret.is_some()).and_then(|selector| selector.return_actions.last());
        same("record's return action", &u32::from(record.return_action), &last.map_or(0, code))
    }

    /// The schema says which argument is where in the record.
    fn arguments(&self, record: &Record, hook: &TypedHook, schema: &HookSchema) -> Result<(), String> {
        let mut expected: Vec<_> =
            hook.args.iter().map(|arg| (arg, self.call.args.get(&arg.index))).collect();
        expected.extend(hook.ret.as_ref().map(|ret| (ret, self.call.ret.as_ref())));
        same("number of arguments", &record.args.len(), &expected.len())?;
        let mut positions: Vec<u32> = schema.args.iter().map(|arg| arg.position).collect();
        for (found, position) in record.args.iter().zip(&positions) {
            let (arg, value) =
                *expected.get(*position as usize).ok_or_else(|| format!("no argument {position}"))?;
            argument(found, arg, value.unwrap_or(&Value::Unreadable), self.call)
                .map_err(|what| format!("argument {} ({:?}): {what}", arg.index, arg.ty))?;
        }
        positions.sort_unstable();
        same("positions of the schema", &positions, &(0..expected.len() as u32).collect())
    }

    fn signals(&self) -> Result<(), String> {
        let mut found: Vec<u32> = self.deeds.iter().flat_map(|deed| deed.deeds.signals.clone()).collect();
        let mut expected: Vec<u32> = self.effects(|effect| match effect {
            Effect::Signal(signal) => Some(signal),
            _ => None,
        });
        found.sort_unstable();
        expected.sort_unstable();
        same("signals", &found, &expected)
    }

    fn effects<T>(&self, pick: impl Fn(Effect) -> Option<T>) -> Vec<T> {
        self.expected.iter().flat_map(|m| m.effects.iter().copied().filter_map(&pick)).collect()
    }

    /// Several policies may ask for different values; one of them is taken.
    fn return_value(&self) -> Result<(), String> {
        let wanted: Vec<i64> = self.effects(|effect| match effect {
            Effect::Override(error) => Some(i64::from(error)),
            _ => None,
        });
        let mut found = Vec::new();
        for deed in self.deeds {
            // The last bpf_override_return of a program is the one that counts.
            found.extend(deed.deeds.overrides.last());
            // The kernel takes the low half as an int.
            let ret = i64::from(deed.ret as i32);
            match deed.flavour {
                Flavour::FmodRet | Flavour::Lsm if ret != 0 => found.push(ret),
                Flavour::FmodRet | Flavour::Lsm => {}
                _ if ret != 0 => return Err(format!("a {:?} program returns {ret}", deed.flavour)),
                _ => {}
            }
        }
        found.dedup();
        match (found.as_slice(), wanted.is_empty()) {
            ([], true) => Ok(()),
            ([value], false) if wanted.contains(value) => Ok(()),
            _ => Err(format!("return value: is {found:?}, should be one of {wanted:?}")),
        }
    }

    fn counters(&self) -> Result<(), String> {
        let after = all_counters(self.node, self.policies);
        let cut = self.call.args.values().any(is_cut);
        for (index, policy) in self.policies.iter().enumerate() {
            // With a return probe, whether a match is counted at entry or at return is not the language's matter.
            let returns = policy.hooks.iter().any(|hook| hook.ret.is_some());
            let expected = expected_counters(self.expected.iter().filter(|m| m.policy == index));
            let mut found = BTreeMap::new();
            for counter in COUNTERS {
                let delta = after[index][counter as usize] - self.before[index][counter as usize];
                // Tests on a text that is too long are counted: how often, is not the language's matter.
                let undecided = cut && counter == PolicyCounter::LostScratch;
                if delta != 0 && !(returns && counter == PolicyCounter::Match) && !undecided {
                    found.insert(counter, delta);
                }
            }
            let keep = |counter: &PolicyCounter| !(returns && *counter == PolicyCounter::Match);
            let expected: BTreeMap<_, _> = expected.into_iter().filter(|(c, _)| keep(c)).collect();
            same(&format!("counters of policy {}", policy.key.name), &found, &expected)?;
        }
        Ok(())
    }
}

/// Whether a value is a text of which a part is missing.
fn is_cut(value: &Value) -> bool {
    match value {
        Value::Path(path) | Value::Fd { file: Some(path), .. } => !path.complete,
        Value::Text(text) => text.len() > 4095,
        // One more may be asked for than there are.
        Value::Bytes(bytes) => bytes.len() >= 4095,
        _ => false,
    }
}

const COUNTERS: [PolicyCounter; POLICY_COUNTERS as usize] = [
    PolicyCounter::Match,
    PolicyCounter::Post,
    PolicyCounter::NoPost,
    PolicyCounter::RateLimited,
    PolicyCounter::Signal,
    PolicyCounter::Override,
    PolicyCounter::MonitorSignal,
    PolicyCounter::MonitorOverride,
    PolicyCounter::LostRing,
    PolicyCounter::LostScratch,
    PolicyCounter::SignalFailed,
];

fn expected_counters<'a>(matches: impl Iterator<Item = &'a Match>) -> BTreeMap<PolicyCounter, u64> {
    let mut counters = BTreeMap::new();
    let mut count = |counter| *counters.entry(counter).or_insert(0) += 1;
    for found in matches {
        count(PolicyCounter::Match);
        match found.event {
            EventFate::Posted => count(PolicyCounter::Post),
            EventFate::NoPost => count(PolicyCounter::NoPost),
            EventFate::RateLimited => count(PolicyCounter::RateLimited),
            EventFate::NotReturned => {}
        }
        for effect in &found.effects {
            count(match effect {
                Effect::Signal(_) => PolicyCounter::Signal,
                Effect::Override(_) => PolicyCounter::Override,
                Effect::WithheldSignal(_) => PolicyCounter::MonitorSignal,
                Effect::WithheldOverride(_) => PolicyCounter::MonitorOverride,
            });
        }
    }
    counters
}

/// Modes do not change what is compared; they are part of the expected effects.
pub fn describe(policies: &[TypedPolicy]) -> String {
    let mut text = String::new();
    for policy in policies {
        let mode = if policy.mode == Mode::Monitor { "monitor" } else { "enforce" };
        text.push_str(&format!("policy {} ({mode})\n", policy.key.name));
        for hook in &policy.hooks {
            text.push_str(&format!("  {:?}\n", hook.point));
            let ret = hook.ret.iter();
            for arg in hook.args.iter().chain(ret) {
                text.push_str(&format!("    arg {} {:?} size {:?}\n", arg.index, arg.ty, arg.size_arg));
            }
            for selector in &hook.selectors {
                text.push_str("    selector\n");
                for filter in &selector.filters {
                    text.push_str(&format!("      {:?}\n", filter.test));
                }
                for filter in &selector.return_filters {
                    text.push_str(&format!("      return {:?}\n", filter.test));
                }
                text.push_str(&format!("      {:?} {:?}\n", selector.actions, selector.return_actions));
            }
        }
    }
    text
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: is {found:?}, should be {expected:?}")) }
}

/// Bytes of text that an event always has room for; longer ones may be cut and flagged.
const TEXT_KEPT: usize = 4096;

fn argument(found: &RecordArg, arg: &TypedArg, value: &Value, call: &Call) -> Result<(), String> {
    let (kind, payload) = match expected_payload(arg, value, call) {
        Some(expected) => expected,
        // Arguments of a fixed size keep their place; it must not show what was there before.
        None if found.error && found.payload.iter().all(|byte| *byte == 0) => return Ok(()),
        // The size that was asked for is known all the same.
        None if found.error && arg.ty == ArgType::CharBuf && found.payload.len() == 8 => return Ok(()),
        None => return Err(format!("is {found:?}, should be an error")),
    };
    same("kind", &found.kind, &kind)?;
    if found.error {
        return Err(format!("is an error, should be {payload:?}"));
    }
    let Some(payload) = payload else { return Ok(()) };
    let cut = found.truncated && payload.len() > TEXT_KEPT / 2;
    let known = if cut { &payload[..found.payload.len().min(payload.len())] } else { payload.as_slice() };
    if found.payload != known {
        return Err(format!(
            "is {:?}, should be {:?}",
            String::from_utf8_lossy(&found.payload),
            String::from_utf8_lossy(known)
        ));
    }
    Ok(())
}

/// Kind and payload of a readable argument. The payload is `None` where only the kind is compared.
fn expected_payload(arg: &TypedArg, value: &Value, call: &Call) -> Option<(u16, Option<Vec<u8>>)> {
    let int = |value: u64| Some((1, Some(value.to_le_bytes().to_vec())));
    match (arg.ty, value) {
        (ArgType::Nop, _) => Some((9, Some(Vec::new()))),
        (ArgType::Int(ty), Value::Int(raw) | Value::Fd { number: raw, .. }) => int(ty.canonical(*raw)),
        (ArgType::Capability, Value::Int(raw)) => int(*raw as i32 as i64 as u64),
        (ArgType::Syscall64, Value::Int(raw)) | (ArgType::CapSet(_), Value::CapSet(raw)) => int(*raw),
        (ArgType::String | ArgType::Filename, Value::Text(text)) => Some((2, Some(text.clone()))),
        (
            ArgType::File | ArgType::Fd | ArgType::Path | ArgType::Dentry | ArgType::LinuxBinprm,
            Value::Path(path) | Value::Fd { file: Some(path), .. },
        ) => {
            let mut payload = u64::from(path.mode).to_le_bytes().to_vec();
            payload.extend(&path.text);
            Some((3, Some(payload)))
        }
        (ArgType::CharBuf, _) => {
            let (asked, bytes) = policy_compiler::reference::buffer_bytes(arg, value, call)?;
            let mut payload = asked.to_le_bytes().to_vec();
            payload.extend(bytes);
            Some((4, Some(payload)))
        }
        (ArgType::Sock | ArgType::Socket, Value::Sock(_)) => Some((5, None)),
        (ArgType::Sockaddr, Value::Sockaddr(_)) => Some((6, None)),
        (ArgType::Skb, Value::Skb(_)) => Some((7, None)),
        (ArgType::Cred, Value::Cred) => Some((8, None)),
        (ArgType::Auto, Value::Int(raw)) => int(*raw),
        (ArgType::Auto, Value::Text(text)) => Some((2, Some(text.clone()))),
        _ => None,
    }
}
