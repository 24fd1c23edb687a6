//! In: events. Out: one line per event for people, at the end of a buffer that the caller reuses.

mod kprobe;
mod line;
mod quote;

use crate::event::{Body, Event, HookEvent, SyscallAbi, Value};
use crate::syscalls;
use line::{Line, Paint};

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// Colour by terminal escapes.
    pub color: bool,
    /// Start each line with the event's time.
    pub timestamps: bool,
}

/// Appends `event` and a newline.
pub fn write_line(event: &Event, style: Style, out: &mut String) {
    if style.timestamps {
        event.time.write_fixed(out);
        out.push(' ');
    }
    let mut line = Line::new(event, style.color, out);
    match &event.body {
        Body::Exec(exec) => {
            line.head("🚀 ", "process");
            line.text(Paint::Detail, &exec.process.process.arguments);
        }
        Body::Exit(exit) => {
            line.head("💥 ", "exit");
            line.text(Paint::Detail, &exit.process.process.arguments);
            if exit.signal != 0 {
                line.plain(Paint::Outcome, format_args!("{}", crate::names::signal(exit.signal)));
            } else {
                line.plain(Paint::Outcome, format_args!("{}", exit.status));
            }
        }
        Body::Kprobe(event) => kprobe::write(event, &mut line),
        Body::Tracepoint(event) => write_tracepoint(event, &mut line),
        Body::Lsm(event) => {
            line.head("🔒 ", "LSM");
            line.text(Paint::Detail, &event.hook.name);
        }
    }
    line.end();
}

fn write_tracepoint(event: &HookEvent, line: &mut Line) {
    let hook = &event.hook;
    if (hook.subsystem.as_str(), hook.name.as_str()) == ("raw_syscalls", "sys_enter") {
        line.head("☎  ", "syscall");
        write_syscall(event, line);
    } else {
        line.head("⁉️ ", "tracepoint");
        line.text(Paint::Detail, &hook.subsystem);
        line.text(Paint::Detail, &hook.name);
    }
}

/// The system call that the first argument names, by number if nothing better is known.
fn write_syscall(event: &HookEvent, line: &mut Line) {
    let (abi, id) = match event.args.first().map(|arg| &arg.value) {
        Some(Value::SyscallId { id, abi }) => (*abi, Some(*id)),
        Some(Value::Long(id)) => (SyscallAbi::X64, u32::try_from(*id).ok()),
        Some(Value::Size(id)) => (SyscallAbi::X64, u32::try_from(*id).ok()),
        _ => (SyscallAbi::X64, None),
    };
    // Policies spell calls of the 32-bit table with this prefix.
    let prefix = if abi == SyscallAbi::I386 { "i386/" } else { "" };
    match (id, id.and_then(|id| syscalls::name(abi, id))) {
        (_, Some(name)) => line.plain(Paint::Detail, format_args!("{prefix}{name}")),
        (Some(id), None) => line.plain(Paint::Detail, format_args!("{prefix}{id}")),
        (None, None) => line.plain(Paint::Detail, format_args!("?")),
    }
}
