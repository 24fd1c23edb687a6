//! In: the running kernel. Out: what the probe says of it, checked against other sources. Needs root.

use agent::kernel::Linux;
use agent::probe::{Places, probe, symbols};
use api::artefact::Flavour;

#[test]
fn the_running_kernel_is_described() {
    let linux = Linux::new().unwrap();
    let probed = probe(&linux, &Places::host(), &[]).expect("the probe loads programs: run it as root");
    let profile = probed.profile;
    let flavours: Vec<Flavour> =
        profile.flavours.iter().map(|raw| Flavour::try_from(*raw).unwrap()).collect();
    println!("{} {} {flavours:?}", profile.release, profile.arch);
    println!(
        "fmod_ret_syscalls {} override_return {} atomic_fetch {} lsms {:?} namespaces {:?}",
        profile.fmod_ret_syscalls,
        profile.override_return,
        profile.atomic_fetch,
        profile.lsms,
        profile.host_namespaces,
    );
    probed.notes.iter().for_each(|note| println!("note: {note}"));
    // Every kernel from 5.10 on runs these.
    assert!(flavours.contains(&Flavour::TpBtf) && flavours.contains(&Flavour::RawTp), "{flavours:?}");
    // A kernel offers kprobes to perf_event_open exactly if it has this event source.
    let kprobes = std::fs::exists("/sys/bus/event_source/devices/kprobe/type").unwrap();
    assert_eq!(flavours.contains(&Flavour::Kprobe), kprobes);
    assert_eq!(flavours.contains(&Flavour::Kretprobe), kprobes);
    assert_eq!(flavours.contains(&Flavour::Fentry), flavours.contains(&Flavour::Fexit));
    assert_eq!(profile.cpus, linux.possible_cpus());
    let symbols = symbols(&Places::host());
    println!("{} symbols", symbols.len());
    assert!(symbols.is_sorted() && symbols.binary_search(&"vfs_read".to_owned()).is_ok());
    assert_eq!(profile.host_namespaces.len(), 10);
    assert_ne!(profile.host_namespaces[2], 0, "every kernel has mount namespaces");
    assert!(profile.btf.len() > 1_000_000);
}
