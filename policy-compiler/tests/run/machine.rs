//! In: hand-assembled programs. Out: confidence in the machine itself: it computes as the kernel does and stops at
//! what the kernel would refuse.

use api::artefact::Flavour;

use crate::vm::insn::Insn;
use crate::vm::map::{Map, MapKind};
use crate::vm::memory::Kind;
use crate::vm::{Surroundings, Trap, Vm, structure};

const CTX: u64 = 0xffff_b000_0000_0000;
const OBJECT: u64 = 0xffff_8880_0000_0000;

fn op(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Insn {
    Insn { code, dst, src, off, imm }
}

fn mov(dst: u8, imm: i32) -> Insn {
    op(0xb7, dst, 0, 0, imm)
}

fn copy(dst: u8, src: u8) -> Insn {
    op(0xbf, dst, src, 0, 0)
}

fn add(dst: u8, imm: i32) -> Insn {
    op(0x07, dst, 0, 0, imm)
}

fn call(helper: i32) -> Insn {
    op(0x85, 0, 0, 0, helper)
}

fn map(dst: u8, number: u32) -> [Insn; 2] {
    [op(0x18, dst, 1, 0, number as i32), op(0, 0, 0, 0, 0)]
}

const LOAD64: u8 = 0x79;
const STORE64: u8 = 0x7b;
const STORE_IMM64: u8 = 0x7a;
const STORE_IMM32: u8 = 0x62;
const ATOMIC64: u8 = 0xdb;
const EXIT: Insn = Insn { code: 0x95, dst: 0, src: 0, off: 0, imm: 0 };

fn vm() -> Vm {
    let mut vm = Vm::new(Surroundings {
        flavour: Flavour::Fentry,
        cpu: 1,
        tgid: 100,
        tid: 101,
        uid: 1,
        gid: 2,
        task: OBJECT,
        time: 5_000,
        ret: 77,
        signal_result: 0,
        ring_space: 4096,
        paths: Default::default(),
        atomic_fetch: true,
    });
    vm.memory.add(CTX, Kind::Ctx, vec![0x11; 48]);
    vm.memory.add(OBJECT, Kind::Kernel, b"0123456789abcde\0".to_vec());
    vm
}

fn run(vm: &mut Vm, program: &[Insn]) -> Result<u64, Trap> {
    structure::check(program)?;
    vm.run(program, CTX).map(|outcome| outcome.ret)
}

fn ret(program: impl IntoIterator<Item = Insn>) -> Result<u64, String> {
    let program: Vec<_> = program.into_iter().chain([EXIT]).collect();
    run(&mut vm(), &program).map_err(|trap| trap.what)
}

#[test]
fn arithmetic_wraps_and_32_bits_zero_extend() {
    let two = |code, a: i32, b: i32| ret([mov(0, a), mov(1, b), op(code, 0, 1, 0, 0)]).expect("runs");
    assert_eq!(two(0x0f, -1, 2), 1);
    assert_eq!(two(0x0c, -1, 2), 1);
    assert_eq!(two(0x1c, 1, 2), 0xffff_ffff);
    assert_eq!(two(0x2f, -3, 4), -12i64 as u64);
    assert_eq!(two(0x3f, 7, 0), 0, "division by zero gives zero");
    assert_eq!(two(0x9f, 7, 0), 7, "remainder by zero changes nothing");
    assert_eq!(two(0x6f, 1, 65), 2, "shifts are modulo the width");
    assert_eq!(two(0xcf, -8, 1), -4i64 as u64);
    assert_eq!(two(0xcc, -8, 1), 0xffff_fffc);
    assert_eq!(two(0x7c, -8, 1), 0x7fff_fffc);
    assert_eq!(ret([mov(0, 5), op(0x87, 0, 0, 0, 0)]), Ok(-5i64 as u64));
    assert_eq!(ret([mov(0, 0x1234), op(0xdc, 0, 0, 0, 16)]), Ok(0x3412));
    assert_eq!(ret([mov(0, -1), op(0xd4, 0, 0, 0, 32)]), Ok(0xffff_ffff));
}

#[test]
fn jumps_compare_by_sign_and_width() {
    let taken = |code, a: i32, b: i32| {
        ret([mov(1, a), mov(0, 1), op(code, 1, 0, 1, b), mov(0, 0)]).expect("runs") == 1
    };
    assert!(taken(0x25, -1, 1), "unsigned greater");
    assert!(!taken(0x65, -1, 1), "signed greater");
    assert!(taken(0xc5, -1, 1), "signed less");
    assert!(taken(0x45, 6, 4), "common bits");
    assert!(taken(0x16, -1, -1), "32-bit equal");
    let wide = [op(0x18, 1, 0, 0, 7), op(0, 0, 0, 0, 1)];
    let equal = |code| ret(wide.into_iter().chain([mov(0, 1), op(code, 1, 0, 1, 7), mov(0, 0)]));
    assert_eq!(equal(0x16), Ok(1), "the low half is equal");
    assert_eq!(equal(0x15), Ok(0), "the whole is not");
}

#[test]
fn atomics_fetch_and_exchange() {
    let with = |imm, r0: i32, r1: i32| {
        let program = [
            op(STORE_IMM64, 10, 0, -8, 5),
            mov(0, r0),
            mov(1, r1),
            op(ATOMIC64, 10, 1, -8, imm),
            op(LOAD64, 2, 10, -8, 0),
            op(0x67, 2, 0, 0, 8),
            op(0x0f, 0, 2, 0, 0),
            op(0x67, 0, 0, 0, 8),
            op(0x0f, 0, 1, 0, 0),
        ];
        // r0 after, the memory, r1 after.
        ret(program).map(|packed| (packed >> 8 & 0xff, packed >> 16, packed & 0xff))
    };
    assert_eq!(with(0x00, 1, 2), Ok((1, 7, 2)));
    assert_eq!(with(0x01, 1, 2), Ok((1, 7, 5)));
    assert_eq!(with(0x41, 1, 2), Ok((1, 7, 5)));
    assert_eq!(with(0xe1, 1, 2), Ok((1, 2, 5)));
    assert_eq!(with(0xf1, 5, 9), Ok((5, 9, 9)), "equal: exchanged");
    assert_eq!(with(0xf1, 4, 9), Ok((5, 5, 9)), "not equal: r0 is what was there");
    let mut old = vm();
    old.around.atomic_fetch = false;
    let program = [op(STORE_IMM64, 10, 0, -8, 5), mov(0, 1), op(ATOMIC64, 10, 0, -8, 1), EXIT];
    assert!(run(&mut old, &program).is_err());
}

#[test]
fn calls_within_a_program_keep_r6_to_r9_and_have_their_own_frame() {
    let program = [
        mov(6, 3),
        mov(1, 4),
        op(0x85, 0, 1, 0, 2),
        op(0x0f, 0, 6, 0, 0),
        EXIT,
        op(STORE64, 10, 1, -8, 0),
        mov(6, 100),
        op(LOAD64, 0, 10, -8, 0),
        EXIT,
    ];
    assert_eq!(run(&mut vm(), &program), Ok(7));
    let deep = [
        op(STORE_IMM64, 10, 0, -264, 0),
        op(0x85, 0, 1, 0, 1),
        EXIT,
        op(STORE_IMM64, 10, 0, -264, 0),
        mov(0, 0),
        EXIT,
    ];
    assert!(run(&mut vm(), &deep).expect_err("two frames of 288 bytes").what.contains("576"));
}

#[test]
fn wrong_accesses_are_traps() {
    let trap = |program: &[Insn]| ret(program.iter().copied()).expect_err("a trap");
    assert!(trap(&[copy(0, 3)]).contains("r3"), "unwritten register");
    assert!(trap(&[op(LOAD64, 0, 10, -8, 0)]).contains("nobody wrote"), "unwritten stack");
    assert!(trap(&[op(STORE_IMM32, 10, 0, -6, 0), mov(0, 0)]).contains("not aligned"));
    assert!(trap(&[op(STORE_IMM64, 10, 0, -520, 0), mov(0, 0)]).contains("no 8 bytes"), "stack overflow");
    assert!(trap(&[op(STORE_IMM64, 1, 0, 0, 0), mov(0, 0)]).contains("Ctx"), "the context is read-only");
    assert!(trap(&[op(0x61, 0, 1, 4, 0)]).contains("context"), "half a word of it");
    assert!(trap(&[call(35), op(STORE_IMM64, 0, 0, 0, 0)]).contains("Kernel"), "kernel memory is read-only");
    assert!(trap(&[mov(2, 0), call(8), copy(0, 2)]).contains("r2"), "helpers clobber");
    assert!(trap(&[call(9999)]).contains("9999"));
    assert!(trap(&[mov(0, 0), op(0x05, 0, 0, 1, 0), mov(0, 1)]).contains("reached"));
}

#[test]
fn loads_of_kernel_memory_depend_on_the_flavour() {
    let program = [call(35), op(0x71, 0, 0, 1, 0), EXIT];
    assert_eq!(run(&mut vm(), &program), Ok(u64::from(b'1')));
    let mut kprobe = vm();
    kprobe.around.flavour = Flavour::Kprobe;
    assert!(run(&mut kprobe, &program).is_err());
    let hole = [call(35), op(LOAD64, 0, 0, 0x4000, 0), EXIT];
    assert_eq!(run(&mut vm(), &hole), Ok(0), "a typed load of nothing gives 0");
}

#[test]
fn probe_reads_report_faults_and_strings_end() {
    let probe = |helper, len: i32, skip: i32| {
        let program = [
            op(STORE_IMM64, 10, 0, -16, -1),
            op(STORE_IMM64, 10, 0, -8, -1),
            call(35),
            copy(3, 0),
            add(3, skip),
            copy(1, 10),
            add(1, -16),
            mov(2, len),
            call(helper),
            op(LOAD64, 1, 10, -16, 0),
            op(0x67, 0, 0, 0, 48),
            op(0x67, 1, 0, 0, 16),
            op(0x77, 1, 0, 0, 16),
            op(0x4f, 0, 1, 0, 0),
        ];
        // Result in the high 16 bits, six bytes of what was read below.
        ret(program).map(|packed| ((packed as i64) >> 48, packed.to_le_bytes()[..6].to_vec()))
    };
    assert_eq!(probe(113, 4, 10), Ok((0, b"abcd\xff\xff".to_vec())));
    assert_eq!(probe(113, 8, 10), Ok((-14, vec![0; 6])), "past the object");
    assert_eq!(probe(115, 8, 12), Ok((4, b"cde\0\xa5\xa5".to_vec())));
    assert_eq!(probe(115, 4, 0), Ok((4, b"012\0\xff\xff".to_vec())), "cut strings end in NUL");
    assert_eq!(probe(115, 8, 0x4000), Ok((-14, vec![0; 6])));
    assert_eq!(probe(112, 4, 0), Ok((-14, [&[0; 4][..], &[0xff; 2]].concat())), "not user memory");
}

#[test]
fn maps_follow_their_kind() {
    let mut vm = vm();
    let memory = &mut vm.memory;
    let mut hash = Map::new("hash", 0, MapKind::Hash, (4, 8, 1), 2);
    assert_eq!(hash.update(memory, &[1; 4], &[9; 8], 0), 0);
    assert_eq!(hash.update(memory, &[2; 4], &[9; 8], 0), -7, "full");
    assert_eq!(hash.update(memory, &[1; 4], &[8; 8], 1), -17, "exists");
    assert_eq!(hash.delete(memory, &[1; 4]), 0);
    assert_eq!(hash.lookup(memory, &[1; 4], 0), 0);
    let mut lru = Map::new("lru", 1, MapKind::LruHash, (4, 8, 2), 2);
    for key in [1, 2, 1, 3] {
        if lru.lookup(memory, &[key; 4], 0) == 0 {
            assert_eq!(lru.update(memory, &[key; 4], &[key; 8], 0), 0);
        }
    }
    assert_eq!(lru.keys().count(), 2);
    assert_ne!(lru.lookup(memory, &[1; 4], 0), 0, "recently used");
    let mut per_cpu = Map::new("per cpu", 2, MapKind::PerCpuArray, (4, 8, 1), 2);
    let (zero, one) = (per_cpu.lookup(memory, &[0; 4], 0), per_cpu.lookup(memory, &[0; 4], 1));
    assert_ne!(zero, one);
    assert_eq!(per_cpu.lookup(memory, &[1, 0, 0, 0], 0), 0, "out of range");
}

#[test]
fn tries_give_the_longest_prefix_of_at_most_the_keys_length() {
    let mut vm = vm();
    let memory = &mut vm.memory;
    let mut trie = Map::new("trie", 0, MapKind::LpmTrie, (8, 1, 8), 1);
    let key = |bits: u8, text: &[u8; 4]| [&[bits, 0, 0, 0], &text[..]].concat();
    for (bits, text, value) in
        [(0, b"\0\0\0\0", 0), (8, b"/\0\0\0", 1), (24, b"/et\0", 2), (17, b"/v\x80\0", 3)]
    {
        assert_eq!(trie.update(memory, &key(bits, text), &[value], 0), 0);
    }
    assert_eq!(trie.update(memory, &key(33, b"/etc"), &[9], 0), -22);
    let mut find = |bits, text| {
        let at = trie.lookup(memory, &key(bits, text), 0);
        memory.get(at).map(|region| region.bytes[0])
    };
    assert_eq!(find(32, b"/etc"), Some(2));
    assert_eq!(find(16, b"/etc"), Some(1), "no longer than the key");
    assert_eq!(find(32, b"/v\xff\0"), Some(3));
    assert_eq!(find(32, b"/v\x7f\0"), Some(1));
    assert_eq!(find(32, b"home"), Some(0));
}

#[test]
fn records_must_be_complete_and_finished() {
    let reserve = |tail: &[Insn]| {
        let mut vm = vm();
        vm.add_map(Map::new("ring", 0, MapKind::RingBuf, (0, 0, 4096), 1));
        let mut program = map(1, 0).to_vec();
        program.extend([mov(2, 16), mov(3, 0), call(131), op(0x55, 0, 0, 1, 0), EXIT, copy(6, 0)]);
        program.extend(tail);
        program.extend([mov(0, 0), EXIT]);
        run(&mut vm, &program).map(|_| vm.deeds.records).map_err(|trap| trap.what)
    };
    let (first, second) = (op(STORE_IMM64, 6, 0, 0, 1), op(STORE_IMM64, 6, 0, 8, 2));
    let submit = [copy(1, 6), mov(2, 0), call(132)];
    let whole = reserve(&[&[first, second][..], &submit].concat()).expect("a record");
    assert_eq!(whole, [[1u64.to_le_bytes(), 2u64.to_le_bytes()].concat()]);
    assert!(reserve(&[&[first][..], &submit].concat()).expect_err("a hole").contains("byte 8"));
    assert!(reserve(&[first, second]).expect_err("left open").contains("reserved"));
    let after = [&submit[..], &[first]].concat();
    assert!(reserve(&[&[first, second][..], &after].concat()).is_err(), "written after it is gone");
}
