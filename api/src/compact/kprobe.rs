//! In: kprobe events. Out: their lines; functions that people watch often say what was done in words.

use std::fmt::Display;

use super::line::{Line, Paint};
use crate::event::{Argument, HookEvent, Socket, Value};

/// Writes the whole line.
pub(super) fn write(event: &HookEvent, line: &mut Line) {
    let args = Args(&event.args);
    match syscall_name(&event.hook.name) {
        "sys_write" => transfer("📝 ", "write", args, line),
        "sys_read" => transfer("📚 ", "read", args, line),
        "fd_install" => texts("📬 ", "open", &[args.path(1)], line),
        "sys_openat" => texts("📬️ ", "openat", &[args.string(1)], line),
        "sys_open" => texts("📬️ ", "open", &[args.string(1)], line),
        "sys_close" => texts("📪 ", "close", &[args.path(0)], line),
        "sys_mount" => texts("💾 ", "mount", &[args.string(0), args.string(1)], line),
        "sys_pivot_root" => texts("💾 ", "pivot_root", &[args.string(0), args.string(1)], line),
        "sys_setuid" => numbered("🔑 ", "setuid", args.number(0), line),
        "sys_setns" => set_namespace(args, line),
        "sys_clock_settime" => line.head("⏰ ", "clock_settime"),
        "proc_exec_connector" => line.head("🔧 ", "proc_exec_connector"),
        "tcp_connect" => connection("🔌 ", "connect", args, line),
        "tcp_close" => connection("🧹 ", "close", args, line),
        "tcp_sendmsg" => {
            connection("📤 ", "sendmsg", args, line);
            match args.number(1) {
                Some(bytes) => line.plain(Paint::Detail, format_args!("bytes {bytes}")),
                None => line.text(Paint::Detail, ""),
            }
        }
        "bpf_check" => texts("🐝 ", "bpf_load", &[], line),
        "security_perf_event_alloc" => texts("🐝 ", "perf_event_alloc", &[], line),
        "security_bpf_map_alloc" | "security_bpf_map_create" => texts("🗺 ", "bpf_map_create", &[], line),
        "security_file_permission" => file_permission(args, line),
        "security_mmap_file" => mmap(args, line),
        "security_path_truncate" | "security_file_truncate" => {
            texts("📝 ", "truncate", &[args.path(0)], line);
        }
        _ => texts("❓ ", "syscall", &[&event.hook.name], line),
    }
}

/// The function without the prefix by which an architecture marks system calls.
fn syscall_name(function: &str) -> &str {
    ["__x64_", "__ia32_", "__arm64_"]
        .iter()
        .find_map(|prefix| function.strip_prefix(prefix))
        .unwrap_or(function)
}

fn texts(symbol: &str, name: &str, details: &[&str], line: &mut Line) {
    line.head(symbol, name);
    for detail in details {
        line.text(Paint::Detail, detail);
    }
}

fn numbered(symbol: &str, name: &str, number: Option<impl Display>, line: &mut Line) {
    line.head(symbol, name);
    match number {
        Some(number) => line.plain(Paint::Detail, format_args!("{number}")),
        None => line.text(Paint::Detail, ""),
    }
}

fn transfer(symbol: &str, name: &str, args: Args, line: &mut Line) {
    texts(symbol, name, &[args.path(0)], line);
    match args.number(2) {
        Some(bytes) => line.plain(Paint::Detail, format_args!("{bytes} bytes")),
        None => line.text(Paint::Detail, ""),
    }
}

fn set_namespace(args: Args, line: &mut Line) {
    // Bits of clone(2); 0 asks for whatever kind the descriptor has.
    let name = args.number(1).map(|kind| match kind {
        0 => "any".to_owned(),
        0x80 => "time".to_owned(),
        0x0002_0000 => "mnt".to_owned(),
        0x0200_0000 => "cgroup".to_owned(),
        0x0400_0000 => "uts".to_owned(),
        0x0800_0000 => "ipc".to_owned(),
        0x1000_0000 => "user".to_owned(),
        0x2000_0000 => "pid".to_owned(),
        0x4000_0000 => "net".to_owned(),
        several => format!("{several:#x}"),
    });
    numbered("🔧 ", "setns", name, line);
}

fn connection(symbol: &str, name: &str, args: Args, line: &mut Line) {
    line.head(symbol, name);
    let Some(socket) = args.socket(0) else { return line.text(Paint::Detail, "") };
    let (sport, dport) = (socket.sport, socket.dport);
    match (socket.saddr, socket.daddr) {
        (Some(source), Some(destination)) => {
            line.plain(Paint::Detail, format_args!("tcp {source}:{sport} -> {destination}:{dport}"));
        }
        _ => line.plain(Paint::Detail, format_args!("tcp :{sport} -> :{dport}")),
    }
}

fn file_permission(args: Args, line: &mut Line) {
    // MAY_WRITE and MAY_READ of the kernel.
    let (symbol, name) = match args.number(1) {
        Some(2) => ("📝 ", "write"),
        Some(4) => ("📚 ", "read"),
        _ => ("❓ ", "security_file_permission"),
    };
    texts(symbol, name, &[args.path(0)], line);
}

fn mmap(args: Args, line: &mut Line) {
    let protection = args.number(1).unwrap_or(0);
    let letters = [(1, 'r'), (2, 'w'), (4, 'x')].into_iter().filter(|(bit, _)| protection & bit != 0);
    let mut name = "mmap-".to_owned();
    name.extend(letters.map(|(_, letter)| letter));
    texts("📝 ", &name, &[args.path(0)], line);
}

/// Arguments by position, as far as they are of the kind asked for.
#[derive(Clone, Copy)]
struct Args<'a>(&'a [Argument]);

impl<'a> Args<'a> {
    fn value(self, at: usize) -> Option<&'a Value> {
        self.0.get(at).map(|arg| &arg.value)
    }

    fn path(self, at: usize) -> &'a str {
        match self.value(at) {
            Some(Value::File(file) | Value::Path(file) | Value::LinuxBinprm(file)) => &file.path,
            _ => "",
        }
    }

    fn string(self, at: usize) -> &'a str {
        match self.value(at) {
            Some(Value::String(text)) => text,
            _ => self.path(at),
        }
    }

    fn number(self, at: usize) -> Option<i128> {
        match *self.value(at)? {
            Value::Int(value) => Some(value.into()),
            Value::Uint(value) => Some(value.into()),
            Value::Long(value) => Some(value.into()),
            Value::Size(value) => Some(value.into()),
            _ => None,
        }
    }

    fn socket(self, at: usize) -> Option<&'a Socket> {
        match self.value(at)? {
            Value::Sock(socket) => Some(socket),
            _ => None,
        }
    }
}
