//! In: what is left in the candidate mask. Out: per hook entry, the actions of its lowest candidate, and its event.
//!
//! Actions and counters of a selector that matched never depend on room in the ring buffer or in scratch memory. (A
//! text test that finds no scratch slot free does not match, and is counted as lost.)

use super::frame::{Helper, slot};
use super::{Lower, Lowered};
use crate::emit::{Cond, FP, Label, R0, R1, R2, R6, R9, Size};
use crate::plan::{Entry, Role};
use crate::typed::{Action, Mode, RateLimit, Selector};
use api::artefact::{Flavour, PolicyCounter, RelocKind, SharedMap};

/// `KPROBE_ACTION_*` of the event API.
fn action_code(action: Action) -> u32 {
    match action {
        Action::Post { .. } => 1,
        Action::Signal { sigkill: true, .. } => 3,
        Action::Override { .. } => 5,
        Action::NoPost => 9,
        Action::Signal { sigkill: false, .. } => 10,
    }
}

const POST: [Action; 1] = [Action::Post { rate_limit: None }];

/// What an event says of the selector that gave it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matched {
    /// Index of the hook entry in the program.
    pub entry: usize,
    /// Index of the selector in the hook; `u16::MAX` if it has none.
    pub selector: u16,
    /// Last action of the list.
    pub action: u32,
    /// Last action of the list at return; 0 if there is none.
    pub return_action: u32,
    /// Limit of the event.
    pub rate_limit: Option<RateLimit>,
}

impl Lower<'_> {
    /// Runs the lowest candidate of one hook entry.
    pub(super) fn entry(&mut self, entry: &Entry<'_>) -> Lowered<()> {
        let index = self.program.entries.iter().position(|known| std::ptr::eq(known, entry)).unwrap_or(0);
        let end = self.asm.label();
        self.asm.source(format!("{}: {}", entry.hook.policy.key, entry.hook.hook.path));
        self.skip_unless_asked(entry.mask(), end);
        let selectors = entry.selectors();
        let labels: Vec<Label> = selectors.iter().map(|_| self.asm.label()).collect();
        if let [only] = labels.as_slice() {
            self.asm.jump(*only);
        } else {
            for ((bit, _), label) in selectors.iter().zip(&labels) {
                self.asm.mov_imm(R1, 1 << bit);
                self.asm.jump_if_reg(Cond::Set, R9, R1, *label);
            }
            self.asm.jump(end);
        }
        for ((number, (_, selector)), label) in selectors.iter().enumerate().zip(&labels) {
            self.asm.bind(*label);
            if let Some(selector) = selector {
                self.asm.source(format!("{}: {}", entry.hook.policy.key, selector.path));
            }
            self.selector(entry, index, number, *selector)?;
            self.asm.jump(end);
        }
        self.asm.bind(end);
        Ok(())
    }

    fn selector(
        &mut self,
        entry: &Entry<'_>,
        index: usize,
        number: usize,
        selector: Option<&Selector>,
    ) -> Lowered<()> {
        let actions: &[Action] = selector.map_or(&POST, |selector| &selector.actions);
        let at_return: &[Action] = match selector {
            Some(selector) if entry.ret.is_some() => &selector.return_actions,
            _ => &[],
        };
        let enforce = entry.hook.policy.mode == Mode::Enforce;
        if entry.role != Role::PostOnly {
            self.count(index, &[PolicyCounter::Match]);
            for action in actions {
                self.enforce(index, *action, enforce);
            }
        }
        for action in at_return {
            self.enforce(index, *action, enforce);
        }
        if entry.role == Role::EnforceOnly {
            return Ok(());
        }
        if actions.iter().chain(at_return).any(|action| matches!(action, Action::NoPost)) {
            self.count(index, &[PolicyCounter::NoPost]);
            return Ok(());
        }
        // The lists give one event together; the first limit in them is the event's.
        let rate_limit = actions.iter().chain(at_return).find_map(|action| match action {
            Action::Post { rate_limit } => *rate_limit,
            _ => None,
        });
        let matched = Matched {
            entry: index,
            selector: if selector.is_some() { number as u16 } else { u16::MAX },
            action: actions.last().map_or(1, |action| action_code(*action)),
            return_action: at_return.last().map_or(0, |action| action_code(*action)),
            rate_limit,
        };
        self.event(entry, matched)
    }

    fn enforce(&mut self, index: usize, action: Action, enforce: bool) {
        match (action, enforce) {
            (Action::Signal { signal, .. }, true) => self.signal(index, signal),
            (Action::Signal { .. }, false) => self.count(index, &[PolicyCounter::MonitorSignal]),
            (Action::Override { error }, true) => self.override_return(index, error),
            (Action::Override { .. }, false) => self.count(index, &[PolicyCounter::MonitorOverride]),
            (Action::Post { .. } | Action::NoPost, _) => {}
        }
    }

    fn signal(&mut self, index: usize, signal: u32) {
        let [failed, end] = std::array::from_fn(|_| self.asm.label());
        self.asm.mov_imm(R1, u64::from(signal));
        self.asm.call(Helper::SendSignal);
        self.asm.jump_if(Cond::Ne, R0, 0, failed);
        self.count(index, &[PolicyCounter::Signal]);
        self.asm.jump(end);
        self.asm.bind(failed);
        self.count(index, &[PolicyCounter::SignalFailed]);
        self.asm.bind(end);
    }

    /// The first override of an event wins; later ones count as done, since the call does not run either way.
    fn override_return(&mut self, index: usize, error: i32) {
        let taken = self.asm.label();
        self.asm.load(Size::D, R1, FP, slot::RETURN);
        self.asm.jump_if(Cond::Ne, R1, 0, taken);
        if self.program.attach.flavour() == Flavour::Kprobe {
            self.asm.store_imm(Size::D, FP, slot::RETURN, 1);
            self.asm.mov(R1, R6);
            self.asm.mov_imm(R2, i64::from(error) as u64);
            self.asm.call(Helper::OverrideReturn);
        } else {
            self.asm.store_imm(Size::D, FP, slot::RETURN, error);
        }
        self.asm.bind(taken);
        self.count(index, &[PolicyCounter::Override]);
    }

    /// Adds one to counters of a hook entry's policy.
    pub(super) fn count(&mut self, entry: usize, counters: &[PolicyCounter]) {
        let none = self.asm.label();
        self.asm.store_reloc(FP, slot::KEY, RelocKind::PolicyCounters, entry as u32);
        self.lookup(SharedMap::PolicyCounters);
        self.asm.jump_if(Cond::Eq, R0, 0, none);
        self.asm.mov_imm(R1, 1);
        for counter in counters {
            self.asm.atomic_add(R0, *counter as i16 * 8, R1);
        }
        self.asm.bind(none);
    }
}
