//! In: events. Out: their protobuf messages; what is set here is what the JSON encoder shows.

mod argument;
mod process;

use std::sync::Arc;

use super::event::{
    EventBody, GetEventsResponse, ProcessExec, ProcessExit, ProcessKprobe, ProcessLsm, ProcessTracepoint,
    RateLimitInfo,
};
use super::process::{Process, Timestamp};
use crate::event::{self, Argument, Body, Event, HookEvent};

/// The message of an event.
pub fn encode(event: &Event) -> GetEventsResponse {
    let body = match &event.body {
        Body::Exec(exec) => EventBody::ProcessExec(ProcessExec {
            process: Some(process::subject(&exec.process)),
            parent: parent(exec.parent.as_ref()),
            ancestors: ancestors(&exec.ancestors),
        }),
        Body::Exit(exit) => EventBody::ProcessExit(ProcessExit {
            process: Some(process::subject(&exit.process)),
            parent: parent(exit.parent.as_ref()),
            signal: match exit.signal {
                0 => String::new(),
                number => crate::names::signal(number).into_owned(),
            },
            status: exit.status,
            time: Some(timestamp(exit.time)),
            ancestors: ancestors(&exit.ancestors),
        }),
        Body::Kprobe(event) => EventBody::ProcessKprobe(kprobe(event)),
        Body::Tracepoint(event) => EventBody::ProcessTracepoint(tracepoint(event)),
        Body::Lsm(event) => EventBody::ProcessLsm(lsm(event)),
    };
    GetEventsResponse {
        event: Some(body),
        node_name: event.node_name.to_string(),
        time: Some(timestamp(event.time)),
    }
}

/// The message that says that `lost` events are missing before `time`.
pub fn loss(lost: u64, node_name: &str, time: event::Timestamp) -> GetEventsResponse {
    GetEventsResponse {
        event: Some(EventBody::RateLimitInfo(RateLimitInfo { number_of_dropped_process_events: lost })),
        node_name: node_name.to_owned(),
        time: Some(timestamp(time)),
    }
}

fn kprobe(event: &HookEvent) -> ProcessKprobe {
    let hook = &event.hook;
    ProcessKprobe {
        process: Some(process::subject(&event.process)),
        parent: parent(event.parent.as_ref()),
        function_name: hook.name.clone(),
        args: arguments(&event.args),
        r#return: event.ret.as_ref().map(argument::argument),
        action: event.action as u32,
        policy_name: hook.policy_name.clone(),
        return_action: event.return_action as u32,
        message: hook.message.clone(),
        tags: hook.tags.clone(),
        ancestors: ancestors(&event.ancestors),
    }
}

fn tracepoint(event: &HookEvent) -> ProcessTracepoint {
    let hook = &event.hook;
    ProcessTracepoint {
        process: Some(process::subject(&event.process)),
        parent: parent(event.parent.as_ref()),
        subsys: hook.subsystem.clone(),
        event: hook.name.clone(),
        args: arguments(&event.args),
        policy_name: hook.policy_name.clone(),
        action: event.action as u32,
        message: hook.message.clone(),
        tags: hook.tags.clone(),
        ancestors: ancestors(&event.ancestors),
    }
}

fn lsm(event: &HookEvent) -> ProcessLsm {
    let hook = &event.hook;
    ProcessLsm {
        process: Some(process::subject(&event.process)),
        parent: parent(event.parent.as_ref()),
        function_name: hook.name.clone(),
        policy_name: hook.policy_name.clone(),
        message: hook.message.clone(),
        args: arguments(&event.args),
        action: event.action as u32,
        tags: hook.tags.clone(),
        ancestors: ancestors(&event.ancestors),
    }
}

fn parent(parent: Option<&Arc<event::Process>>) -> Option<Process> {
    parent.map(|parent| process::process(parent, 0, parent.pid))
}

fn ancestors(ancestors: &[Arc<event::Process>]) -> Vec<Process> {
    ancestors.iter().map(|ancestor| process::process(ancestor, 0, ancestor.pid)).collect()
}

fn arguments(arguments: &[Argument]) -> Vec<super::KprobeArgument> {
    arguments.iter().map(argument::argument).collect()
}

fn timestamp(time: event::Timestamp) -> Timestamp {
    const NANOS: u64 = 1_000_000_000;
    // Both fit: u64::MAX nanoseconds are 18 thousand million seconds.
    Timestamp { seconds: (time.0 / NANOS) as i64, nanos: (time.0 % NANOS) as i32 }
}
