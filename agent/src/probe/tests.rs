//! In: a fake kernel and fake pseudo files. Out: what the probe makes of them.

use std::path::Path;

use super::*;
use crate::kernel::btf::fixture;
use crate::kernel::fake::{Call, FakeKernel};
use crate::kernel::insn::{call, cmpxchg64};

/// Pseudo files of a host, in a directory of their own.
struct Host {
    root: PathBuf,
}

impl Host {
    fn new(name: &str) -> Host {
        let root = std::env::temp_dir().join(format!("probe-{name}-{}", std::process::id()));
        let host = Host { root };
        let functions =
            ["security_syslog", "__x64_sys_sethostname", "__arm64_sys_sethostname", "bpf_lsm_bpf"];
        host.write("sys/kernel/btf/vmlinux", &fixture::btf(&functions, &["btf_trace_sched_process_exit"]));
        host.write("sys/kernel/security/lsm", b"lockdown,yama,bpf");
        host.write("sys/kernel/security/lockdown", b"none [integrity] confidentiality\n");
        host.write("sys/devices/system/cpu/possible", b"0-3\n");
        host.write("proc/sys/kernel/osrelease", b"6.12.1\n");
        host.write("proc/kallsyms", b"0 t b_local\n0 D data\n0 T a_global\t[mod]\n");
        host.write("proc/1/ns/mnt", b"");
        let format =
            b"name: sched_process_exit\nformat:\n\tfield:pid_t pid;\toffset:24;\tsize:4;\tsigned:1;\n";
        host.write("tracing/events/sched/sched_process_exit/format", format);
        host
    }

    fn write(&self, path: &str, contents: &[u8]) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, contents).unwrap();
    }

    fn remove(&self, path: &str) {
        std::fs::remove_file(self.root.join(path)).unwrap();
    }

    fn places(&self) -> Places {
        let at = |name| Path::new(&self.root).join(name);
        Places { proc: at("proc"), sys: at("sys"), tracefs: Some(at("tracing")) }
    }

    fn probe(&self, kernel: &FakeKernel) -> Result<Probed, ProbeError> {
        let probed = probe(kernel, &self.places(), &[("sched".into(), "sched_process_exit".into())]);
        assert_eq!((kernel.live(), kernel.attached()), (0, Vec::new()), "the probe leaves nothing");
        probed
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

#[test]
fn a_kernel_that_can_do_all_is_described_in_full() {
    let host = Host::new("all");
    let probed = host.probe(&FakeKernel::new()).unwrap();
    let profile = probed.profile;
    assert_eq!((profile.release.as_str(), profile.cpus), ("6.12.1", 4));
    assert_eq!(symbols(&host.places()), ["a_global", "b_local"]);
    assert_eq!(profile.lsms, ["lockdown", "yama", "bpf"]);
    assert_eq!(profile.flavours, (1..=9).collect::<Vec<i32>>());
    assert!(profile.fmod_ret_syscalls && profile.override_return && profile.atomic_fetch);
    assert_eq!(profile.tracepoints[0].fields[0].name, "pid");
    assert_eq!(profile.host_namespaces.len(), 10);
    assert!(profile.host_namespaces[2] != 0 && profile.host_namespaces[0] == 0);
    assert_eq!(probed.notes, []);
}

#[test]
fn what_does_not_load_or_attach_is_left_out() {
    let kernel = FakeKernel::new();
    for flavour in [Flavour::Fentry, Flavour::Fexit, Flavour::FmodRet, Flavour::Lsm] {
        kernel.refuse_to_load(flavour);
    }
    for flavour in [Flavour::Kprobe, Flavour::Kretprobe] {
        kernel.refuse_to_attach(flavour);
    }
    kernel.reject_insn(call(58));
    kernel.reject_insn(cmpxchg64(10, -8, 1));
    let profile = Host::new("little").probe(&kernel).unwrap().profile;
    let expected = [Flavour::TpBtf, Flavour::RawTp, Flavour::Tracepoint];
    assert_eq!(profile.flavours, expected.map(|flavour| flavour as i32));
    assert!(!profile.fmod_ret_syscalls && !profile.override_return && !profile.atomic_fetch);
}

#[test]
fn an_lsm_that_is_never_called_is_no_flavour() {
    let kernel = FakeKernel::new();
    kernel.never_call_lsm();
    let probed = Host::new("silent-lsm").probe(&kernel).unwrap();
    assert!(!probed.profile.flavours.contains(&(Flavour::Lsm as i32)));
    let lsms = vec!["lockdown".to_owned(), "yama".to_owned(), "bpf".to_owned()];
    assert_eq!(probed.notes, [ProbeNote::LsmNeverCalled(lsms)]);
}

#[test]
fn no_right_to_use_bpf_is_said_so() {
    let kernel = FakeKernel::new();
    kernel.fail(Call::MapCreate, 1, Errno::EPERM);
    let error = Host::new("no-right").probe(&kernel).unwrap_err();
    assert_eq!(error, ProbeError::NotPermitted(Errno::EPERM));
    assert!(error.to_string().contains("run as root"), "{error}");
}

#[test]
fn a_kernel_without_types_is_said_so() {
    let host = Host::new("no-btf");
    host.write("sys/kernel/btf/vmlinux", b"what?");
    assert!(matches!(host.probe(&FakeKernel::new()), Err(ProbeError::BadBtf { .. })));
    host.remove("sys/kernel/btf/vmlinux");
    let error = host.probe(&FakeKernel::new()).unwrap_err();
    assert!(error.to_string().contains("CONFIG_DEBUG_INFO_BTF=y"), "{error}");
}

#[test]
fn confidentiality_is_said_so_with_and_without_securityfs() {
    let host = Host::new("confidential");
    host.write("sys/kernel/security/lockdown", b"none integrity [confidentiality]\n");
    assert_eq!(host.probe(&FakeKernel::new()), Err(ProbeError::LockedDown));
    host.remove("sys/kernel/security/lockdown");
    let kernel = FakeKernel::new();
    kernel.reject_insn(call(113));
    assert_eq!(host.probe(&kernel), Err(ProbeError::LockedDown));
}

#[test]
fn what_is_missing_is_noted_with_a_remedy() {
    let host = Host::new("bare");
    host.remove("sys/kernel/security/lsm");
    host.remove("proc/kallsyms");
    let probed = probe(&FakeKernel::new(), &Places { tracefs: None, ..host.places() }, &[]).unwrap();
    let lsm_list = host.root.join("sys/kernel/security/lsm");
    let expected =
        [ProbeNote::NoLsmList(lsm_list), ProbeNote::NoSymbols(Errno::ENOENT), ProbeNote::NoTracefs];
    assert_eq!(probed.notes, expected);
    assert!(!probed.profile.flavours.contains(&(Flavour::Tracepoint as i32)));
}

/// What each host of a kernel has of its own: modules, probes that somebody made, CPUs.
#[test]
fn hosts_with_one_kernel_have_one_profile() {
    let (one, other) = (Host::new("fleet-one"), Host::new("fleet-other"));
    other.write(
        "proc/kallsyms",
        b"0 t b_local\n0 D data\n0 T c_other\t[nf_tables]\n0 t bpf_prog_6deef7\t[bpf]\n",
    );
    other.write("sys/devices/system/cpu/possible", b"0-63\n");
    let format = b"name: x\nformat:\n\tfield:int a;\toffset:8;\tsize:4;\tsigned:1;\n";
    other.write("tracing/events/kprobes/somebodys/format", format);
    other.write("tracing/events/xfs/xfs_read/format", format);
    other.write("tracing/events/enable", b"0");
    for host in [&one, &other] {
        // Inode numbers of the first namespaces are the same on all hosts that boot the same kernel; of files, not.
        host.remove("proc/1/ns/mnt");
        host.write("tracing/events/syscalls/sys_enter_read/format", format);
    }
    let profile = |host: &Host| FleetProfile::probe(&FakeKernel::new(), &host.places(), &[]).unwrap().0;
    assert_eq!(profile(&one).digest(), profile(&other).digest());
    let read = profile(&other).encode().unwrap();
    assert_eq!(read.digest, profile(&one).digest(), "read again, it is the same");
    let read = <KernelProfile as prost::Message>::decode(&*read.bytes).unwrap();
    assert_eq!(read.symbols, ["b_local"]);
    let events: Vec<_> = read.tracepoints.iter().map(|format| format.event.as_str()).collect();
    assert_eq!(events, ["sched_process_exit", "sys_enter_read"]);
}

#[test]
fn a_mechanism_that_is_not_to_be_used_is_another_kernel() {
    let host = Host::new("fleet-without");
    let profile =
        |without: &[Flavour]| FleetProfile::probe(&FakeKernel::new(), &host.places(), without).unwrap().0;
    let (all, fewer) = (profile(&[]), profile(&[Flavour::Fentry]));
    assert_ne!(all.digest(), fewer.digest());
    assert_eq!(fewer.encode().unwrap().digest, fewer.digest());
}
