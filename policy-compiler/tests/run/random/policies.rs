//! In: a shape. Out: policies with hooks on it.

use policy_compiler::typed::{
    Action, ArgType, HookPoint, IntType, Mode, PolicyKey, RateLimit, RateScope, Selector, TypedArg,
    TypedHook, TypedPolicy,
};

use super::filters::{argument_test, filter};
use super::shapes::{Param, Shape};
use super::workloads::workload_test;
use crate::choices::Choices;
use crate::scenario::FIRST_FIELD;

/// What a generated policy may use.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    pub overrides: bool,
    pub returns: bool,
    pub enforcement: bool,
}

/// One to three policies on one hook.
pub fn policies(choices: &mut Choices<'_>, shape: &Shape, allowed: Allowed) -> Vec<TypedPolicy> {
    let count = 1 + choices.below(3);
    (0..count).map(|index| policy(choices, shape, allowed, index)).collect()
}

fn policy(choices: &mut Choices<'_>, shape: &Shape, allowed: Allowed, index: usize) -> TypedPolicy {
    let namespace = choices.rarely(4).then(|| "team".to_owned());
    let mode = if choices.rarely(4) { Mode::Monitor } else { Mode::Enforce };
    let count = if choices.rarely(5) { 2 } else { 1 };
    let hooks = (0..count).map(|hook| self::hook(choices, shape, allowed, hook)).collect();
    let key = PolicyKey { namespace, name: format!("policy-{index}") };
    let workloads = choices.rarely(3).then(|| workload_test(choices));
    TypedPolicy { key, mode, workloads, nodes: Vec::new(), hooks }
}

fn hook(choices: &mut Choices<'_>, shape: &Shape, allowed: Allowed, index: usize) -> TypedHook {
    let path = format!("spec.kprobes[{index}]");
    let first = if matches!(shape.point, HookPoint::Tracepoint { .. }) { FIRST_FIELD } else { 0 };
    let mut args = Vec::new();
    for (position, param) in shape.params.iter().enumerate() {
        if args.len() < 5 && (shape.params.len() == 1 || !choices.rarely(4)) {
            args.push(arg(choices, *param, first, position as u32, &format!("{path}.args[{position}]")));
        }
    }
    let returns = allowed.returns && choices.rarely(4);
    let ret = returns.then(|| TypedArg {
        path: format!("{path}.returnArg"),
        index: 0,
        ty: ArgType::Int(IntType::S32),
        label: None,
        size_arg: None,
        return_copy: false,
    });
    if ret.is_some() && choices.flip() {
        // What a function fills is not there at entry, where enforcement happens.
        args.iter_mut().filter(|arg| arg.ty == ArgType::CharBuf).for_each(|arg| arg.return_copy = true);
    }
    let count = choices.below(4);
    let selectors = (0..count)
        .map(|s| selector(choices, &args, ret.as_ref(), allowed, format!("{path}.selectors[{s}]")))
        .collect();
    TypedHook {
        path,
        point: shape.point.clone(),
        args,
        ret,
        message: None,
        tags: Vec::new(),
        selectors,
        ignore_call_not_found: false,
    }
}

/// `first`: index of the first parameter.
fn arg(choices: &mut Choices<'_>, param: Param, first: u32, position: u32, path: &str) -> TypedArg {
    let index = first + position;
    let size_arg = match param {
        Param::Buffer { size, .. } => Some(first + size),
        _ => None,
    };
    let ty = choices.of(&param.types());
    TypedArg { path: path.to_owned(), index, ty, label: None, size_arg, return_copy: false }
}

fn selector(
    choices: &mut Choices<'_>,
    args: &[TypedArg],
    ret: Option<&TypedArg>,
    allowed: Allowed,
    path: String,
) -> Selector {
    let count = choices.below(4);
    let filters =
        (0..count).map(|f| filter(choices, args, format!("{path}.matchArgs[{f}]"))).collect::<Vec<_>>();
    let mut return_filters = Vec::new();
    if let Some(ret) = ret.filter(|_| choices.flip())
        && let Some(test) = argument_test(choices, ret.ty)
    {
        let test = policy_compiler::typed::FilterTest::Arg { arg: 0, test };
        return_filters
            .push(policy_compiler::typed::Filter { path: format!("{path}.matchReturnArgs[0]"), test });
    }
    let mut actions = choices.list(0, 3, |c| action(c, allowed));
    if actions.is_empty() {
        actions.push(Action::Post { rate_limit: None });
    }
    let overrides = actions.iter().filter(|a| matches!(a, Action::Override { .. })).count();
    if overrides > 1 {
        actions.retain(|a| !matches!(a, Action::Override { .. }));
        actions.push(Action::Override { error: -13 });
    }
    let return_actions = match ret {
        Some(_) if choices.rarely(3) => choices.list(1, 2, |c| {
            let signal = Action::Signal { signal: 12, sigkill: false };
            let limited = limited(c);
            c.of(&[Action::Post { rate_limit: None }, signal, Action::NoPost, limited])
        }),
        _ => Vec::new(),
    };
    Selector { path, label: None, filters, actions, return_filters, return_actions }
}

fn action(choices: &mut Choices<'_>, allowed: Allowed) -> Action {
    match choices.below(8) {
        3 => Action::NoPost,
        4 if allowed.enforcement => Action::Signal { signal: 9, sigkill: true },
        5 if allowed.enforcement => Action::Signal { signal: choices.of(&[10, 64, 9]), sigkill: false },
        6 if allowed.overrides => Action::Override { error: choices.of(&[-1, -13, -4095]) },
        7 => limited(choices),
        _ => Action::Post { rate_limit: None },
    }
}

fn limited(choices: &mut Choices<'_>) -> Action {
    let scope = choices.of(&[RateScope::Thread, RateScope::Process, RateScope::Global]);
    Action::Post { rate_limit: Some(RateLimit { interval_ms: 5_000, scope }) }
}
