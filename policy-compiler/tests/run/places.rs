//! In: the fake kernel. Out: confidence in it: its own texts for paths, and structures that lead where they say.

use policy_compiler::btf::Btf;
use policy_compiler::reference::{SockValue, Value};

use crate::vm::{Surroundings, Vm};
use crate::world::World;
use crate::world::argument::ArgSpec;
use crate::world::context::CallShape;
use crate::world::files::ROOT;
use api::artefact::Flavour;

const REGULAR: u16 = 0o100_644;

pub fn fixture(name: &str) -> Btf {
    let path = format!("{}/fixtures/{name}.btf", env!("CARGO_MANIFEST_DIR"));
    Btf::parse(std::fs::read(path).expect("the fixture is there")).expect("the fixture is BTF")
}

pub fn surroundings(flavour: Flavour) -> Surroundings {
    Surroundings {
        flavour,
        cpu: 0,
        tgid: 100,
        tid: 100,
        uid: 0,
        gid: 0,
        task: 0,
        time: 1_000_000_000,
        ret: 0,
        signal_result: 0,
        ring_space: 1 << 20,
        paths: Default::default(),
        atomic_fetch: true,
    }
}

#[test]
fn paths_cross_mounts_and_stop_at_the_processes_root() {
    for kernel in ["kernel-6", "kernel-7"] {
        let btf = fixture(kernel);
        let mut world = World::new(&btf);
        world.mount("/proc");
        world.mount("/proc/sys/fs/deep");
        world.bind("/srv/data", "/mnt/again");
        let mut text = |path: &str, root: &str| {
            let root = world.open(root, 0o040_755);
            let place = world.open(path, REGULAR);
            String::from_utf8(world.files.text(place, root)).expect("text")
        };
        assert_eq!(text("/etc/passwd", "/"), "/etc/passwd");
        assert_eq!(text("/", "/"), "/");
        assert_eq!(text("/proc/sys/fs/deep/a/b", "/"), "/proc/sys/fs/deep/a/b");
        assert_eq!(text("/proc", "/"), "/proc");
        assert_eq!(text("/mnt/again/x", "/"), "/mnt/again/x");
        assert_eq!(text("/proc/sys/kernel", "/proc/sys"), "/kernel");
        assert_eq!(text("/proc", "/proc"), "/");
        assert_eq!(text("/srv/data/x", "/mnt"), "/srv/data/x", "outside the root");
        let inside = world.open("/mnt/again/x", REGULAR);
        assert_eq!(world.files.dentry_text(inside), b"/srv/data/x");
        world.unlink(inside);
        assert_eq!(world.files.text(inside, ROOT), b"/mnt/again/x (deleted)");
    }
}

#[test]
fn structures_lead_to_their_members() {
    let btf = fixture("kernel-7");
    let mut world = World::new(&btf);
    let place = world.open("/etc/passwd", REGULAR);
    let mut open = Vec::new();
    let (fd, value) = world.argument(&ArgSpec::Fd(place), ROOT, &mut open);
    assert_eq!((fd, open.len()), (3, 4));
    assert!(matches!(value, Value::Fd { number: 3, file: Some(path) } if path.text == b"/etc/passwd"));
    let sock = SockValue { family: 2, ports: (443, 8080), ..SockValue::default() };
    let (sock, _) = world.argument(&ArgSpec::Sock(sock), ROOT, &mut open);
    let dport = world.field("sock", "__sk_common.skc_dport").0;
    let name =
        (world.field("dentry", "d_name|__d_name.name").0, world.field("file", "f_path|__f_path.dentry").0);
    let mut vm = Vm::new(surroundings(Flavour::Fentry));
    world.settle(&mut vm);
    assert_eq!(vm.memory.probe_kernel(sock + dport, 2), Some(&8080u16.to_be_bytes()[..]));
    let follow =
        |at: u64| u64::from_le_bytes(vm.memory.probe_kernel(at, 8).expect("mapped").try_into().expect("8"));
    let dentry = follow(open[3].expect("open").0 + name.1);
    assert_eq!(vm.memory.tail(follow(dentry + name.0), false).map(|tail| &tail[..7]), Some(&b"passwd\0"[..]));
}

#[test]
fn contexts_hold_registers_where_the_flavour_has_them() {
    let btf = fixture("kernel-6");
    let mut world = World::new(&btf);
    let function = CallShape::Function { args: vec![7, 8], ret: 9 };
    let word =
        |bytes: &[u8], at: u64| u64::from_le_bytes(bytes[at as usize..][..8].try_into().expect("8 bytes"));
    assert_eq!(word(&world.context(&function, Flavour::Fexit), 16), 9);
    let si = world.field("pt_regs", "si").0;
    assert_eq!(word(&world.context(&function, Flavour::Kprobe), si), 8);
    let syscall = CallShape::Syscall { number: 1, args: vec![3, 4, 5, 6], ret: 0 };
    assert_eq!(word(&world.context(&syscall, Flavour::TpBtf), 8), 1);
    let outer = world.context(&syscall, Flavour::Kprobe);
    let inner = word(&outer, world.field("pt_regs", "di").0);
    let r10 = world.field("pt_regs", "r10").0;
    let mut vm = Vm::new(surroundings(Flavour::Kprobe));
    world.settle(&mut vm);
    assert_eq!(vm.memory.probe_kernel(inner + r10, 8), Some(&6u64.to_le_bytes()[..]));
}
