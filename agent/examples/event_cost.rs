//! In: a number of events. Out: what their JSON costs in user space, to be counted from outside:
//!
//! ```text
//! cargo build --release -p agent --example event_cost
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/event_cost 0
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/event_cost 10000
//! ```
//!
//! The difference of the two counts, divided by 10000, is the instructions of one event. Each goes the whole way
//! of an exported one: hook record → decoded → process looked up → filtered → JSON line. All have the same
//! process, as when a program reads a file in a loop; with `fresh` as second argument each has a process of its
//! own, which is made from nothing and whose encoded form is not there yet.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use agent::decode::decode_hook;
use api::artefact::{ArgField, ArgSchema, EventKind, HookSchema};
use api::event::{
    Body, Event, ExecId, Hook, HookEvent, Process, ProcessFlags, ProcessInfo, Subject, Timestamp,
};
use api::filter::Filter;
use bpf_programs::layout::{ArgKind, HookArg, HookRecord, RecordHeader, bytes_of};

fn hook() -> Result<Arc<Hook>, api::event::HookError> {
    let schema = HookSchema {
        policy_name: "file-monitoring-filtered".into(),
        event: EventKind::Kprobe as i32,
        name: "security_file_permission".into(),
        args: [(ArgField::Int, 1), (ArgField::Int, 2), (ArgField::File, 0)]
            .map(|(field, position)| ArgSchema { field: field as i32, label: String::new(), position })
            .into(),
        has_return: true,
        ..HookSchema::default()
    };
    Hook::from_schema(&schema).map(Arc::new)
}

fn argument(record: &mut Vec<u8>, kind: ArgKind, payload: &[u8]) {
    let head = HookArg { kind: kind as u16, flags: 0, len: payload.len() as u32 };
    record.extend_from_slice(bytes_of(&head));
    record.extend_from_slice(payload);
    record.resize(record.len().next_multiple_of(8), 0);
}

fn record() -> Vec<u8> {
    let mut args = Vec::new();
    argument(&mut args, ArgKind::Int, bytes_of(&4u64));
    argument(&mut args, ArgKind::Int, bytes_of(&0u64));
    argument(&mut args, ArgKind::Path, &[bytes_of(&[0o100644u32, 0]), b"/etc/shadow"].concat());
    let head = HookRecord {
        header: RecordHeader {
            kind: 5,
            flags: 0,
            len: (size_of::<HookRecord>() + args.len()) as u32,
            time: 1_000_000_007,
        },
        tgid: 731,
        tid: 731,
        process_start: 5,
        program: 1,
        hook: 0,
        selector: 0,
        action: 1,
        nargs: 3,
    };
    [bytes_of(&head), &args].concat()
}

fn info(pid: u32) -> ProcessInfo {
    ProcessInfo {
        exec_id: ExecId::new("peer", 21_637_206_646, pid),
        pid,
        uid: Some(0),
        cwd: "/job".into(),
        binary: "/usr/bin/cat".into(),
        arguments: "-c \"/usr/bin/cat /etc/shadow; echo x >> /etc/peer.x; : > /etc/peer.x\"".into(),
        flags: ProcessFlags::EXECVE | ProcessFlags::CLONE,
        start_time: Some(Timestamp(1_795_469_099_986_606_559)),
        auid: Some(u32::MAX),
        parent_exec_id: ExecId::new("peer", 21_632_878_313, 730),
        in_init_tree: Some(false),
        ..ProcessInfo::default()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let count: u64 = words.next().unwrap_or_else(|| "1".to_owned()).parse()?;
    let fresh = words.next().is_some_and(|word| word == "fresh");
    let hook = hook()?;
    let record = record();
    let parent = Arc::new(Process::new(info(730)));
    let mut processes: HashMap<(u32, u64), Arc<Process>> = HashMap::new();
    processes.insert((731, 5), Arc::new(Process::new(info(731))));
    let node: Arc<str> = "peer".into();
    let filter = Filter::parse(&[], std::slice::from_ref(&hook.policy_name), &[])?;
    let mut line = String::new();
    let mut sink = std::io::sink();
    let mut bytes = 0;
    for _ in 0..count {
        let decoded = decode_hook(&record, |_, _| Some(&hook))?;
        let start = decoded.process_start.unwrap_or_default();
        let process = match fresh {
            true => Arc::new(Process::new(info(731))),
            false => processes.get(&(decoded.tgid, start)).cloned().ok_or("no process")?,
        };
        let event = Event {
            body: Body::Kprobe(HookEvent {
                process: Subject { process, tid: decoded.tid, refcnt: 1 },
                parent: Some(Arc::clone(&parent)),
                ancestors: vec![],
                hook: decoded.hook,
                args: decoded.args,
                ret: decoded.ret,
                action: decoded.action,
                return_action: decoded.return_action,
            }),
            node_name: Arc::clone(&node),
            time: Timestamp(1_795_469_098_988_461_030 + decoded.time),
        };
        if filter.accepts(&event) {
            line.clear();
            api::json::write_line(&event, &mut line);
            sink.write_all(line.as_bytes())?;
            bytes += line.len();
        }
    }
    println!("{count} events, {bytes} bytes");
    Ok(())
}
