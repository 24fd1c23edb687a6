//! The Rust mirror of `records.h` against what the C compiler makes of it: sizes, offsets and constants.

use std::fmt::Write as _;
use std::io::Write as _;
use std::mem::{offset_of, size_of};
use std::process::{Command, Stdio};

use bpf_programs::layout::*;

/// Adds C assertions that a structure and its members are where Rust has them.
macro_rules! same {
    ($out:ident, $($rust:ident = $c:literal { $($member:ident),* })*) => {$(
        writeln!($out, "_Static_assert(sizeof(struct {}) == {}, \"size\");", $c, size_of::<$rust>()).unwrap();
        $(assert_offset(&mut $out, $c, stringify!($member), offset_of!($rust, $member));)*
    )*};
}

fn assert_offset(out: &mut String, structure: &str, member: &str, offset: usize) {
    // A keyword of Rust.
    let member = if (structure, member) == ("sock_arg", "kind") { "type" } else { member };
    writeln!(out, "_Static_assert(__builtin_offsetof(struct {structure}, {member}) == {offset}, \"{structure}.{member}\");")
        .unwrap();
}

/// Adds C assertions that constants have the same values.
macro_rules! equal {
    ($out:ident, $($name:ident)*) => {$(
        writeln!($out, "_Static_assert({0} == {1}, \"{0}\");", stringify!($name), $name).unwrap();
    )*};
}

fn compile(text: &str) -> Result<(), String> {
    let clang = std::env::var("FERRAGON_CLANG").unwrap_or_else(|_| "clang-14".into());
    let mut child = Command::new(&clang)
        .args(["-target", "bpf", "-fsyntax-only", "-include", "linux/types.h", "-I", "c", "-idirafter"])
        .arg(format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH))
        .args(["-x", "c", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {clang}: {error}"));
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn structures_and_constants_are_the_same_in_c() {
    let mut out = String::from("#include \"records.h\"\n");
    same! { out,
        RecordHeader = "record_header" { kind, flags, len, time }
        ProcessEntry = "process" { start, parent_start, parent_tgid, flags, own, parent, inherited }
        ExecRecord = "exec_record" { header, tgid, parent_tgid, previous_start, parent_start, cgroup_id, uid, gid, suid, sgid, euid, egid, fsuid, fsgid, cap_inheritable, cap_permitted, cap_effective, securebits, auid, namespaces, ns_tgid, args_total, args_len, args_chunked, filename_len, cwd_len, cgroup_len, zero }
        ExecDataRecord = "exec_data_record" { header, tgid, len, offset, zero }
        ForkRecord = "fork_record" { header, tgid, parent_tgid, parent_start, origin_tgid, zero, origin_start }
        ExitRecord = "exit_record" { header, tgid, code, start }
        BinaryPrefixKey = "binary_prefix_key" { bits, path }
        BinaryPostfixKey = "binary_postfix_key" { bits, reversed }
        BaseConfig = "base_config" { tables, zero }
        HookRecord = "hook_record" { header, tgid, tid, process_start, program, hook, selector, action, nargs }
        HookArg = "hook_arg" { kind, flags, len }
        SockArg = "sock_arg" { family, kind, protocol, state, mark, priority, sport, dport, zero, saddr, daddr, cookie }
        SockaddrArg = "sockaddr_arg" { family, port, zero, addr }
        SkbArg = "skb_arg" { hash, len, priority, mark, family, protocol, sport, dport, saddr, daddr, sec_path_len, sec_path_olen }
        CredArg = "cred_arg" { uid, gid, euid, egid, suid, sgid, fsuid, fsgid, permitted, effective, inheritable, securebits, user_ns_level, user_ns_owner, user_ns_group, user_ns_inum, zero }
    }
    equal! { out,
        PROCESS_WORDS
        PROCESS_EXECVE
        PROCESS_IN_INIT_TREE
        PROCESS_EXEC_SHIFT
        EXEC_COPIES
        EXEC_FORKED
        EXEC_IN_INIT_TREE
        EXEC_MISSED
        EXEC_ERROR_FILENAME
        EXEC_ERROR_ARGS
        EXEC_NO_CWD
        EXEC_CWD_INCOMPLETE
        EXEC_ARGS_LOST
        EXEC_INLINE_ARGS
        EXEC_DATA_SIZE
        EXEC_DATA_RECORDS
        FORK_IN_INIT_TREE
        FORK_KERNEL_THREAD
        EXIT_KERNEL_THREAD
        BINARY_PREFIX_MAX
        BINARY_POSTFIX_MAX
        TABLE_PREFIX
        TABLE_POSTFIX
        TABLE_PIDS
        TABLE_CGROUPS
        CGROUP_LEVELS
        CGROUPS
        ARG_ERROR
        ARG_TRUNCATED
    }
    for (name, number) in [
        ("RECORD_EXEC", RecordKind::Exec as usize),
        ("RECORD_EXEC_DATA", RecordKind::ExecData as usize),
        ("RECORD_FORK", RecordKind::Fork as usize),
        ("RECORD_EXIT", RecordKind::Exit as usize),
        ("RECORD_HOOK", RecordKind::Hook as usize),
        ("ARG_INT", ArgKind::Int as usize),
        ("ARG_TEXT", ArgKind::Text as usize),
        ("ARG_PATH", ArgKind::Path as usize),
        ("ARG_BYTES", ArgKind::Bytes as usize),
        ("ARG_SOCK", ArgKind::Sock as usize),
        ("ARG_SOCKADDR", ArgKind::Sockaddr as usize),
        ("ARG_SKB", ArgKind::Skb as usize),
        ("ARG_CRED", ArgKind::Cred as usize),
        ("ARG_NONE", ArgKind::None as usize),
        ("NAMESPACE_UTS", NamespaceKind::Uts as usize),
        ("NAMESPACE_IPC", NamespaceKind::Ipc as usize),
        ("NAMESPACE_MNT", NamespaceKind::Mnt as usize),
        ("NAMESPACE_PID", NamespaceKind::Pid as usize),
        ("NAMESPACE_PID_FOR_CHILDREN", NamespaceKind::PidForChildren as usize),
        ("NAMESPACE_NET", NamespaceKind::Net as usize),
        ("NAMESPACE_TIME", NamespaceKind::Time as usize),
        ("NAMESPACE_TIME_FOR_CHILDREN", NamespaceKind::TimeForChildren as usize),
        ("NAMESPACE_CGROUP", NamespaceKind::Cgroup as usize),
        ("NAMESPACE_USER", NamespaceKind::User as usize),
        ("LOST_PROCESS", Loss::Process as usize),
    ] {
        writeln!(out, "_Static_assert({name} == {number}, \"{name}\");").unwrap();
    }
    compile(&out).unwrap();
}

#[test]
fn a_difference_is_found() {
    let mut out = String::from("#include \"records.h\"\n");
    assert_offset(&mut out, "exec_record", "euid", 65);
    assert!(compile(&out).unwrap_err().contains("exec_record.euid"));
}
