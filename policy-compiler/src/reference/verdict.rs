//! In: checked policies and a call. Out: per hook entry, the selector that wins and what it does.
//!
//! Selectors are ORed, the first that matches wins; filters of a selector are ANDed. A hook with `return: true`
//! runs the actions of the first selector that matches at entry, where buffers that the function fills cannot be read yet;
//! its event is that of the first selector that matches at return with its return filters as well.

use std::collections::HashMap;

use crate::typed::{
    Action, ArgType, Filter, FilterTest, Mode, RateLimit, RateScope, Selector, TypedHook, TypedPolicy,
};

use super::argument::{argument_matches, integer, text};
use super::call::{Call, Value};
use super::process::{binary_passes, capabilities_pass, namespace_passes, parent_binary_passes, pid_passes};
use super::workload::workload_passes;

/// Bytes of each text that tell rate-limited events apart.
const RATE_KEY_BYTES: usize = 40;

/// What one policy's hook entry does about a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// Index of the policy.
    pub policy: usize,
    /// Index of the hook entry in the policy.
    pub hook: usize,
    /// The selector that won, at return if there was a winner; `None` for a hook without selectors.
    pub selector: Option<usize>,
    /// Enforcement in the order of the actions, at entry then at return.
    pub effects: Vec<Effect>,
    /// What becomes of the event.
    pub event: EventFate,
}

/// One enforcement action; withheld ones are those of policies in monitor mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// This signal goes to the calling process.
    Signal(u32),
    /// The function's body does not run; it returns this.
    Override(i32),
    /// A signal that monitor mode withholds.
    WithheldSignal(u32),
    /// An override that monitor mode withholds.
    WithheldOverride(i32),
}

/// What becomes of a matching call's event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventFate {
    /// Emitted.
    Posted,
    /// Suppressed by `NoPost`.
    NoPost,
    /// Suppressed by a rate limit.
    RateLimited,
    /// The return value does not pass the return filters, or has not been seen.
    NotReturned,
}

/// Policy, hook entry, selector, scope, values.
type RateKey = (usize, usize, Option<String>, u64, Vec<Vec<u8>>);

/// The evaluator; it remembers when rate-limited events were last let through.
#[derive(Debug, Default)]
pub struct Evaluator {
    passed: HashMap<RateKey, u64>,
}

struct Site<'a> {
    policy: usize,
    mode: Mode,
    index: usize,
    hook: &'a TypedHook,
}

impl Evaluator {
    /// Matches of all hook entries for which `fires` is true, in order of policies and hooks.
    pub fn call(
        &mut self,
        policies: &[TypedPolicy],
        fires: impl Fn(&TypedHook) -> bool,
        call: &Call,
    ) -> Vec<Match> {
        let mut matches = Vec::new();
        for (policy, owner) in policies.iter().enumerate() {
            if !owner.workloads.as_ref().is_none_or(|test| workload_passes(test, &call.process)) {
                continue;
            }
            for (index, hook) in owner.hooks.iter().enumerate().filter(|(_, hook)| fires(hook)) {
                matches.extend(self.hook(&Site { policy, mode: owner.mode, index, hook }, call));
            }
        }
        matches
    }

    fn hook(&mut self, site: &Site<'_>, call: &Call) -> Option<Match> {
        let Site { policy, index: hook, .. } = *site;
        if site.hook.ret.is_none() {
            let (selector, found) = winner(site.hook, |s| selector_matches(s, site.hook, call))?;
            let effects = effects(found.map_or(&[], |s| &s.actions), site.mode);
            let event = self.event(site, found, call);
            return Some(Match { policy, hook, selector, effects, event });
        }
        let before = Call { ret: None, ..call.clone() };
        let at_entry = winner(site.hook, |s| selector_matches(s, site.hook, &before));
        let both = |s: &Selector| selector_matches(s, site.hook, call) && return_matches(s, site.hook, call);
        let at_return = call.ret.as_ref().and_then(|_| winner(site.hook, both));
        let (selector, _) = at_return.or(at_entry)?;
        let mut effects = effects(at_entry.and_then(|(_, s)| s).map_or(&[], |s| &s.actions), site.mode);
        let mut event = EventFate::NotReturned;
        if let Some((_, found)) = at_return {
            effects.extend(self::effects(found.map_or(&[], |s| &s.return_actions), site.mode));
            event = self.event(site, found, call);
        }
        Some(Match { policy, hook, selector, effects, event })
    }

    fn event(&mut self, site: &Site<'_>, selector: Option<&Selector>, call: &Call) -> EventFate {
        let actions = selector.map_or(&[][..], |s| &s.actions).iter();
        let all: Vec<Action> =
            actions.chain(selector.map_or(&[][..], |s| &s.return_actions)).copied().collect();
        if all.contains(&Action::NoPost) {
            return EventFate::NoPost;
        }
        // A list gives one event; the first limit in it is the event's.
        let limit = all.iter().find_map(|action| match action {
            Action::Post { rate_limit } => *rate_limit,
            _ => None,
        });
        if let Some(limit) = limit
            && !self.rate_passes(site, selector, limit, call)
        {
            return EventFate::RateLimited;
        }
        EventFate::Posted
    }

    /// At most one event per interval for each (hook, selector, scope, start of each value of the event).
    fn rate_passes(
        &mut self,
        site: &Site<'_>,
        selector: Option<&Selector>,
        limit: RateLimit,
        call: &Call,
    ) -> bool {
        let scope = match limit.scope {
            RateScope::Thread => u64::from(call.process.tid),
            RateScope::Process => u64::from(call.process.tgid),
            RateScope::Global => 0,
        };
        let args = site.hook.args.iter().map(|arg| (arg, call.args.get(&arg.index)));
        let ret = site.hook.ret.iter().map(|arg| (arg, call.ret.as_ref()));
        let values = args.chain(ret).map(|(arg, value)| {
            let value = value.unwrap_or(&Value::Unreadable);
            match arg.ty {
                ArgType::String
                | ArgType::Filename
                | ArgType::CharBuf
                | ArgType::File
                | ArgType::Fd
                | ArgType::Path
                | ArgType::Dentry
                | ArgType::LinuxBinprm => {
                    let text = text(arg, value, call).map(|text| text.bytes).unwrap_or_default();
                    text.into_iter().take(RATE_KEY_BYTES).collect()
                }
                ArgType::Nop => Vec::new(),
                // Other values are shorter than that in the kernel.
                _ => integer(arg.ty, value)
                    .map_or_else(|| format!("{value:?}").into_bytes(), |(int, _)| int.to_le_bytes().to_vec()),
            }
        });
        let selector = selector.map(|selector| selector.path.clone());
        let key = (site.policy, site.index, selector, scope, values.collect());
        let interval = u64::from(limit.interval_ms) * 1_000_000;
        match self.passed.get(&key) {
            Some(last) if call.time.saturating_sub(*last) < interval => false,
            _ => {
                self.passed.insert(key, call.time);
                true
            }
        }
    }
}

fn effects(actions: &[Action], mode: Mode) -> Vec<Effect> {
    let effect = |action: &Action| match (action, mode) {
        (Action::Post { .. } | Action::NoPost, _) => None,
        (Action::Signal { signal, .. }, Mode::Enforce) => Some(Effect::Signal(*signal)),
        (Action::Signal { signal, .. }, Mode::Monitor) => Some(Effect::WithheldSignal(*signal)),
        (Action::Override { error }, Mode::Enforce) => Some(Effect::Override(*error)),
        (Action::Override { error }, Mode::Monitor) => Some(Effect::WithheldOverride(*error)),
    };
    actions.iter().filter_map(effect).collect()
}

/// The first selector for which `matches` is true; a hook without selectors always has a nameless one.
fn winner(
    hook: &TypedHook,
    matches: impl Fn(&Selector) -> bool,
) -> Option<(Option<usize>, Option<&Selector>)> {
    if hook.selectors.is_empty() {
        return Some((None, None));
    }
    let found = hook.selectors.iter().enumerate().find(|(_, selector)| matches(selector))?;
    Some((Some(found.0), Some(found.1)))
}

fn selector_matches(selector: &Selector, hook: &TypedHook, call: &Call) -> bool {
    selector.filters.iter().all(|filter| filter_matches(filter, hook, call))
}

fn filter_matches(filter: &Filter, hook: &TypedHook, call: &Call) -> bool {
    let value = |position: usize| {
        let arg = hook.args.get(position)?;
        Some((arg, call.args.get(&arg.index)?))
    };
    match &filter.test {
        FilterTest::Arg { arg, test } => {
            value(*arg).is_some_and(|(arg, value)| argument_matches(test, arg, value, call))
        }
        FilterTest::CapabilitiesGained { old, new } => match (value(*old), value(*new)) {
            (Some((_, Value::CapSet(old))), Some((_, Value::CapSet(new)))) => (old ^ new) & new != 0,
            _ => false,
        },
        FilterTest::Pids(test) => pid_passes(test, &call.process),
        FilterTest::Binary(test) => binary_passes(test, &call.process),
        FilterTest::ParentBinary(test) => parent_binary_passes(test, &call.process),
        FilterTest::Namespace(test) => namespace_passes(test, &call.process, &call.host),
        FilterTest::Capabilities(test) => capabilities_pass(test, &call.process, &call.host),
        FilterTest::Workloads(test) => workload_passes(test, &call.process),
    }
}

fn return_matches(selector: &Selector, hook: &TypedHook, call: &Call) -> bool {
    let (Some(arg), Some(value)) = (&hook.ret, &call.ret) else { return false };
    selector.return_filters.iter().all(|filter| match &filter.test {
        FilterTest::Arg { test, .. } => argument_matches(test, arg, value, call),
        _ => false,
    })
}
