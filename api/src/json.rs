//! In: events. Out: one JSON object per line at the end of a buffer that the caller reuses.
//!
//! The rules are those of protobuf's JSON mapping: fields in protocol order under their protocol names, zero
//! values left out, 64-bit numbers as strings, bytes in base64. It is written by hand because an exported event
//! has a budget of 15,000 instructions, from the ring buffer to the file.

mod argument;
mod object;
mod process;

use std::sync::Arc;

use crate::event::{Action, Argument, Body, Event, HookEvent, Process, ProcessExec, ProcessExit, Subject};
use object::Object;

/// Appends `event` and a newline.
pub fn write_line(event: &Event, out: &mut String) {
    let mut line = Object::open(out);
    match &event.body {
        Body::Exec(exec) => write_exec(exec, line.object("process_exec")),
        Body::Exit(exit) => write_exit(exit, line.object("process_exit")),
        Body::Kprobe(hook) => write_kprobe(hook, line.object("process_kprobe")),
        Body::Tracepoint(hook) => write_tracepoint(hook, line.object("process_tracepoint")),
        Body::Lsm(hook) => write_lsm(hook, line.object("process_lsm")),
    }
    line.string("node_name", &event.node_name);
    line.time("time", event.time);
    line.close();
    out.push('\n');
}

fn write_exec(exec: &ProcessExec, mut to: Object) {
    write_processes(&exec.process, exec.parent.as_ref(), &mut to);
    write_ancestors(&exec.ancestors, &mut to);
    to.close();
}

fn write_exit(exit: &ProcessExit, mut to: Object) {
    write_processes(&exit.process, exit.parent.as_ref(), &mut to);
    if exit.signal != 0 {
        to.string("signal", &crate::names::signal(exit.signal));
    }
    to.number("status", exit.status);
    to.time("time", exit.time);
    write_ancestors(&exit.ancestors, &mut to);
    to.close();
}

fn write_kprobe(event: &HookEvent, mut to: Object) {
    let hook = &event.hook;
    write_processes(&event.process, event.parent.as_ref(), &mut to);
    to.string("function_name", &hook.name);
    write_args("args", &event.args, &mut to);
    if let Some(ret) = &event.ret {
        argument::write(ret, to.object("return"));
    }
    write_action("action", event.action, &mut to);
    to.string("policy_name", &hook.policy_name);
    write_action("return_action", event.return_action, &mut to);
    to.string("message", &hook.message);
    to.strings("tags", hook.tags.iter().map(String::as_str));
    write_ancestors(&event.ancestors, &mut to);
    to.close();
}

fn write_tracepoint(event: &HookEvent, mut to: Object) {
    let hook = &event.hook;
    write_processes(&event.process, event.parent.as_ref(), &mut to);
    to.string("subsys", &hook.subsystem);
    to.string("event", &hook.name);
    write_args("args", &event.args, &mut to);
    to.string("policy_name", &hook.policy_name);
    write_action("action", event.action, &mut to);
    to.string("message", &hook.message);
    to.strings("tags", hook.tags.iter().map(String::as_str));
    write_ancestors(&event.ancestors, &mut to);
    to.close();
}

fn write_lsm(event: &HookEvent, mut to: Object) {
    let hook = &event.hook;
    write_processes(&event.process, event.parent.as_ref(), &mut to);
    to.string("function_name", &hook.name);
    to.string("policy_name", &hook.policy_name);
    to.string("message", &hook.message);
    write_args("args", &event.args, &mut to);
    write_action("action", event.action, &mut to);
    to.strings("tags", hook.tags.iter().map(String::as_str));
    write_ancestors(&event.ancestors, &mut to);
    to.close();
}

fn write_processes(process: &Subject, parent: Option<&Arc<Process>>, to: &mut Object) {
    to.key("process");
    process::write(&process.process, process.refcnt, process.tid, to.buffer());
    if let Some(parent) = parent {
        to.key("parent");
        process::write(parent, 0, parent.pid, to.buffer());
    }
}

fn write_ancestors(ancestors: &[Arc<Process>], to: &mut Object) {
    if ancestors.is_empty() {
        return;
    }
    let mut list = to.array("ancestors");
    for ancestor in ancestors {
        process::write(ancestor, 0, ancestor.pid, list.element());
    }
    list.close();
}

fn write_args(key: &'static str, args: &[Argument], to: &mut Object) {
    if args.is_empty() {
        return;
    }
    let mut list = to.array(key);
    for arg in args {
        argument::write(arg, Object::open(list.element()));
    }
    list.close();
}

fn write_action(key: &'static str, action: Action, to: &mut Object) {
    if action != Action::Unknown {
        to.plain_string(key, action.name());
    }
}
