use api::event::ProcessFlags;
use bpf_programs::layout::{EXEC_FORKED, EXEC_MISSED, ExecRecord, bytes_of};

use super::super::exec::tests::record;
use super::*;

fn header(kind: RecordKind, time: u64) -> RecordHeader {
    RecordHeader { kind: kind as u16, flags: 0, len: 48, time }
}

fn exec(cache: &mut ProcessCache, change: impl FnOnce(&mut ExecRecord), path: &str) -> ProcessExec {
    let bytes = record(change, [path.as_bytes(), b"/", b"", b"x\0"]);
    match cache.handle_record(&bytes).unwrap().body {
        Body::Exec(exec) => exec,
        other => panic!("{other:?}"),
    }
}

fn fork(cache: &mut ProcessCache, parent: (u32, u64), child: (u32, u64)) {
    let record = ForkRecord {
        header: header(RecordKind::Fork, child.1),
        tgid: child.0,
        parent_tgid: parent.0,
        parent_start: parent.1,
        origin_tgid: parent.0,
        zero: 0,
        origin_start: parent.1,
    };
    assert!(cache.handle_record(bytes_of(&record)).is_none());
}

fn exit(cache: &mut ProcessCache, key: (u32, u64), code: u32, time: u64) -> ProcessExit {
    let record = ExitRecord { header: header(RecordKind::Exit, time), tgid: key.0, code, start: key.1 };
    match cache.handle_record(bytes_of(&record)).unwrap().body {
        Body::Exit(exit) => exit,
        other => panic!("{other:?}"),
    }
}

/// A shell (process 10, image of time 100) whose own parent is unknown.
fn with_shell() -> (ProcessCache, ProcessExec) {
    let mut cache = ProcessCache::new("n");
    let shell = exec(
        &mut cache,
        |record| {
            record.header.time = 100;
            record.header.flags = EXEC_MISSED;
            record.tgid = 10;
        },
        "/bin/sh",
    );
    (cache, shell)
}

fn exec_of_fork(record: &mut ExecRecord) {
    record.header.time = 300;
    record.header.flags = EXEC_FORKED;
    record.tgid = 11;
    record.previous_start = 200;
    record.parent_tgid = 10;
    record.parent_start = 100;
}

#[test]
fn an_unknown_parent_is_process_0() {
    let (_, shell) = with_shell();
    assert_eq!(shell.process.process.parent_exec_id, ExecId::new("n", 1, 0));
    assert_eq!(shell.parent.unwrap().binary, "<kernel>");
    assert_eq!(shell.process.process.exec_id, ExecId::new("n", 100, 10));
    assert!(shell.process.process.flags.contains(ProcessFlags::EXECVE | ProcessFlags::MISS));
}

#[test]
fn exec_after_fork_has_the_forking_image_as_parent() {
    let (mut cache, shell) = with_shell();
    fork(&mut cache, (10, 100), (11, 200));
    let cat = exec(&mut cache, exec_of_fork, "/bin/cat");
    assert_eq!(cat.process.process.parent_exec_id, shell.process.process.exec_id);
    assert_eq!(cat.parent.unwrap().binary, "/bin/sh");
    assert_eq!(cat.process.process.flags.words().collect::<Vec<_>>(), ["execve", "rootcwd", "clone"]);
}

#[test]
fn exec_after_fork_is_right_even_if_the_fork_was_lost() {
    let (mut cache, shell) = with_shell();
    let cat = exec(&mut cache, exec_of_fork, "/bin/cat");
    assert_eq!(cat.process.process.parent_exec_id, shell.process.process.exec_id);
}

#[test]
fn exec_without_fork_has_the_image_before_as_parent() {
    let (mut cache, shell) = with_shell();
    let next = exec(
        &mut cache,
        |record| {
            record.header.time = 150;
            record.tgid = 10;
            record.previous_start = 100;
        },
        "/bin/dash",
    );
    assert_eq!(next.process.process.parent_exec_id, shell.process.process.exec_id);
    assert_eq!(next.parent.unwrap().binary, "/bin/sh");
}

#[test]
fn a_fork_without_exec_has_its_own_identity() {
    let (mut cache, shell) = with_shell();
    fork(&mut cache, (10, 100), (11, 200));
    let known = cache.find(ImageKey { tgid: 11, start: 200 });
    assert_eq!((known.process.pid, known.process.binary.as_str()), (11, "/bin/sh"));
    assert_eq!(known.process.parent_exec_id, shell.process.process.exec_id);
    assert_eq!((known.parent.unwrap().pid, known.refcnt), (10, 1));
}

#[test]
fn a_fork_during_the_scan_is_its_parents() {
    let (mut cache, shell) = with_shell();
    cache.scanned.insert(10, 100);
    fork(&mut cache, (10, 0), (11, 200));
    let known = cache.find(ImageKey { tgid: 11, start: 200 });
    assert_eq!(known.process.parent_exec_id, shell.process.process.exec_id);
    assert_eq!(known.process.binary, "/bin/sh");
    exit(&mut cache, (10, 100), 0, 300);
    fork(&mut cache, (10, 0), (12, 400));
    assert!(cache.find(ImageKey { tgid: 12, start: 400 }).parent.is_none(), "another process 10");
}

#[test]
fn exit_tells_signal_or_status() {
    let (mut cache, _) = with_shell();
    let killed = exit(&mut cache, (10, 100), 0x80 | 11, 500);
    assert_eq!((killed.signal, killed.status), (11, 0));
    assert_eq!(killed.process.process.binary, "/bin/sh");
    let exited = exit(&mut cache, (10, 100), 7 << 8, 600);
    assert_eq!((exited.signal, exited.status), (0, 7));
    exit(&mut cache, (10, 100), 0, 31_000_000_000);
    let gone = cache.find(ImageKey { tgid: 10, start: 100 });
    assert_eq!((gone.process.flags, gone.refcnt), (ProcessFlags::UNKNOWN, 0));
}

/// It closes its files after its exit was told, and is in the kernel's map no more.
#[test]
fn what_a_process_does_on_its_way_out_is_its_own() {
    let (mut cache, shell) = with_shell();
    let unknown = ImageKey { tgid: 10, start: 0 };
    assert_eq!(cache.find_at(unknown, 150).process, shell.process.process, "it runs");
    exit(&mut cache, (10, 100), 0, 200);
    assert_eq!(cache.find_at(unknown, 300).process, shell.process.process);
    let later = cache.find_at(unknown, 2_000_000_000).process;
    assert!(later.flags.contains(ProcessFlags::UNKNOWN), "another process may have its id by now");
}

#[test]
fn the_end_of_a_kernel_thread_is_no_event() {
    let (mut cache, _) = with_shell();
    let mut record = ExitRecord { header: header(RecordKind::Exit, 900), tgid: 10, code: 0, start: 100 };
    record.header.flags = EXIT_KERNEL_THREAD;
    assert!(cache.handle_record(bytes_of(&record)).is_none());
    record.header.time = 31_000_000_000;
    assert!(cache.handle_record(bytes_of(&record)).is_none());
    assert!(cache.is_empty());
}

#[test]
fn images_without_end_are_not_kept_by_a_chain_of_execs() {
    let (mut cache, _) = with_shell();
    let second = 1_000_000_000;
    let mut previous = 100;
    for step in 1..1000 {
        let time = step * second;
        exec(
            &mut cache,
            |record| {
                record.header.time = time;
                record.tgid = 10;
                record.previous_start = previous;
            },
            "/bin/x",
        );
        previous = time;
    }
    assert!(cache.len() < 40, "{}", cache.len());
}

#[test]
fn long_arguments_wait_for_their_exec() {
    let mut cache = ProcessCache::new("n");
    let mut data = vec![0; size_of::<ExecDataRecord>()];
    let piece =
        ExecDataRecord { header: header(RecordKind::ExecData, 100), tgid: 10, len: 3, offset: 4096, zero: 0 };
    data.copy_from_slice(bytes_of(&piece));
    data.extend_from_slice(b"b\0c-unused");
    assert!(cache.handle_record(&data).is_none());
    let mut argv = b"x\0".to_vec();
    argv.resize(4096, b'a');
    let bytes = record(
        |record| {
            record.header.time = 100;
            record.tgid = 10;
            record.args_total = 4099;
        },
        [b"/x", b"/", b"", &argv],
    );
    let Some(Event { body: Body::Exec(exec), .. }) = cache.handle_record(&bytes) else { panic!() };
    assert_eq!(exec.process.process.arguments, format!("{}b c", "a".repeat(4094)));
    assert!(!exec.process.process.flags.contains(ProcessFlags::TRUNC_ARGS));
}

/// As a process that executes something with the longest arguments again and again, and forks each time.
#[test]
fn long_arguments_do_not_fill_the_memory() {
    const LONG: usize = 256 * 1024;
    let mut cache = ProcessCache::new("n");
    let argv = [b"x\0".as_slice(), &[b'a'; LONG]].concat();
    let mut whole = true;
    for tgid in 1..=1000 {
        let bytes = record(
            |record| {
                record.header.time = 100;
                record.tgid = tgid;
            },
            [b"/x", b"/", b"", &argv],
        );
        let Some(Event { body: Body::Exec(exec), .. }) = cache.handle_record(&bytes) else { panic!() };
        whole &= exec.process.process.arguments.len() == LONG;
        fork(&mut cache, (tgid, 100), (10_000 + tgid, 200));
    }
    assert!(whole, "the events of the execs have all");
    let mut held = std::collections::BTreeMap::new();
    for tgid in 1..=1000 {
        for key in [ImageKey { tgid, start: 100 }, ImageKey { tgid: 10_000 + tgid, start: 200 }] {
            let known = cache.find(key).process;
            held.insert(known.arguments.as_ptr() as usize, known.arguments.len());
        }
    }
    let held: usize = held.values().sum();
    assert!(held <= 33 << 20, "{held} bytes");
    assert!(cache.counters().cut > 800 && cache.counters().evicted == 0);
}

#[test]
fn garbage_is_counted_and_ignored() {
    let mut cache = ProcessCache::new("n");
    for bytes in [&b""[..], &[1; 15], &[0xff; 200], bytes_of(&header(RecordKind::Exec, 1))] {
        assert!(cache.handle_record(bytes).is_none());
    }
    let short =
        ExecDataRecord { header: header(RecordKind::ExecData, 1), tgid: 1, len: 9, offset: 0, zero: 0 };
    assert!(cache.handle_record(bytes_of(&short)).is_none());
    assert_eq!(cache.counters().malformed, 5);
}

proptest::proptest! {
    #[test]
    fn no_bytes_do_harm(kind in 0u16..7, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let mut cache = ProcessCache::new("n");
        let mut record = bytes;
        if let Some(start) = record.get_mut(..2) {
            start.copy_from_slice(&kind.to_le_bytes());
        }
        for _ in 0..2 {
            cache.handle_record(&record);
        }
        assert!(cache.len() <= 2);
    }

    #[test]
    fn no_lengths_do_harm(lens in proptest::array::uniform3(0u16..300), args in 0u32..300, total in 0u32..600) {
        let mut cache = ProcessCache::new("n");
        let bytes = record(
            |record| {
                [record.filename_len, record.cwd_len, record.cgroup_len] = lens;
                record.args_len = args;
                record.args_total = total;
            },
            [b"/bin/x", b"/", b"c", &[b'x'; 100]],
        );
        cache.handle_record(&bytes);
    }
}
