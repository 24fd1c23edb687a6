//! In: `filetests/{resolve,plan,emit}/*.yaml`. Out: what each stage makes of them, compared with the `.expect` beside.
//!
//! `BLESS=1` writes the expectations. The first line of a case may choose its kernel: `# kernel: trampolines` (the
//! default), `probes`, `tracepoints` or `no-bpf-lsm`.

use api::artefact::Flavour;
use api::profile::KernelProfile;
use policy_compiler::check::check_yaml;
use policy_compiler::emit::listing::listing;
use policy_compiler::plan::{Program, plan};
use policy_compiler::resolve::{Point, ResolvedHook, resolve};
use policy_compiler::typed::{IntType, TypedPolicy};
use policy_compiler::{Kernel, compile};
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn kernel(text: &str) -> Kernel {
    use Flavour::*;
    let which = text.lines().next().and_then(|line| line.strip_prefix("# kernel: ")).unwrap_or("trampolines");
    let (flavours, lsms): (&[Flavour], &[&str]) = match which {
        "trampolines" => {
            (&[Fentry, Fexit, FmodRet, Lsm, Kprobe, Kretprobe, TpBtf, RawTp, Tracepoint], &["bpf"])
        }
        "no-bpf-lsm" => (&[Fentry, Fexit, FmodRet, Kprobe, Kretprobe, TpBtf, RawTp, Tracepoint], &["yama"]),
        "probes" => (&[Kprobe, Kretprobe, RawTp, Tracepoint], &[]),
        "tracepoints" => (&[TpBtf, RawTp], &[]),
        other => panic!("unknown kernel {other}"),
    };
    let path = format!("{}/fixtures/kernel-6.btf", env!("CARGO_MANIFEST_DIR"));
    let profile = KernelProfile {
        release: which.to_owned(),
        arch: "x86_64".to_owned(),
        btf: std::fs::read(path).expect("the fixture is there"),
        flavours: flavours.iter().map(|flavour| *flavour as i32).collect(),
        lsms: lsms.iter().map(ToString::to_string).collect(),
        atomic_fetch: true,
        cpus: 2,
        host_namespaces: (1..=10).collect(),
        ..KernelProfile::default()
    };
    Kernel::new(profile).expect("the fixture is BTF")
}

fn policies(text: &str) -> Vec<TypedPolicy> {
    let checked = check_yaml(text).into_iter().map(|checked| {
        let problems = checked.diagnostics;
        checked.policy.unwrap_or_else(|| panic!("the case does not check: {problems:?}"))
    });
    checked.collect()
}

fn cases(stage: &str, show: impl Fn(&[TypedPolicy], &Kernel) -> String) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("filetests").join(stage);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no case in {}", folder.display());
    let wrong: Vec<String> = files.iter().filter_map(|file| differs(file, &show)).collect();
    assert!(wrong.is_empty(), "BLESS=1 writes what is found:\n{}", wrong.join("\n"));
}

fn differs(file: &Path, show: &impl Fn(&[TypedPolicy], &Kernel) -> String) -> Option<String> {
    let text = std::fs::read_to_string(file).expect("readable");
    let found = show(&policies(&text), &kernel(&text));
    let expect = file.with_extension("expect");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&expect, &found).expect("writable");
        return None;
    }
    let expected = std::fs::read_to_string(&expect).unwrap_or_default();
    (expected != found).then(|| format!("{}: expected\n{expected}\nfound\n{found}", file.display()))
}

fn show_point(out: &mut String, when: &str, point: &Option<Point>) {
    let Some(point) = point else { return };
    let number = point.attach.syscall.map_or(String::new(), |number| format!(" number {number}"));
    let _ = writeln!(out, "  {when}: {} {}{number}", point.attach.flavour().describe(), point.attach.target);
    for (name, arg) in
        point.args.iter().map(|arg| ("arg", arg)).chain(point.ret.iter().map(|ret| ("ret", ret)))
    {
        let typed = if arg.typed { ", loads directly" } else { "" };
        let user = if arg.user { ", user memory" } else { "" };
        let narrow = |ty: IntType| match ty.size() {
            8 => String::new(),
            _ => format!(" as {ty:?}"),
        };
        let held = match arg.ty {
            policy_compiler::typed::ArgType::Int(int) if arg.held.size() < int.size() => narrow(arg.held),
            _ => String::new(),
        };
        let size =
            arg.size.map_or(String::new(), |size| format!(", size {:?}{}", size.fetch, narrow(size.ty)));
        let _ = writeln!(out, "    {name} {} from {:?}{held}{typed}{user}{size}", arg.ty.name(), arg.fetch);
    }
}

fn show_resolved(policies: &[TypedPolicy], kernel: &Kernel) -> String {
    let mut out = String::new();
    for policy in policies {
        let mut notes = Vec::new();
        let resolved = resolve(policy, kernel, &mut notes);
        let _ = writeln!(out, "policy {}", policy.key);
        match resolved {
            Ok(hooks) => {
                for hook in hooks {
                    let _ = writeln!(out, " {} shown as {}", hook.hook.path, hook.name);
                    show_point(&mut out, "entry", &hook.entry);
                    show_point(&mut out, "return", &hook.exit);
                    show_point(&mut out, "keeps arguments", &hook.save);
                }
            }
            Err(problems) => notes.extend(problems),
        }
        notes.iter().for_each(|note| {
            let _ = writeln!(out, " {note}");
        });
    }
    out
}

fn show_program(out: &mut String, program: &Program<'_>) {
    let _ = writeln!(out, "program {} {}", program.attach.flavour().describe(), program.attach.target);
    for (at, arg) in program.args.iter().enumerate() {
        let _ = writeln!(out, "  arg {at}: {} from {:?}", arg.ty.name(), arg.fetch);
    }
    for (at, set) in program.sets.iter().enumerate() {
        let paths: Vec<_> = set.paths.iter().map(|path| String::from_utf8_lossy(path)).collect();
        let _ = writeln!(out, "  set {at}: {:?} {paths:?} {:?}", set.op(), set.pids);
        if let Some(workloads) = &set.workloads {
            let _ = writeln!(out, "    {workloads:?}");
        }
    }
    for (at, bank) in program.banks.iter().enumerate() {
        let _ = writeln!(out, "  bank {at}: selectors {:#x}", bank.mask);
        for test in &bank.tests {
            let _ = writeln!(out, "    holds {:#x} fails {:#x}: {:?}", test.holds, test.fails, test.test);
        }
    }
    for entry in &program.entries {
        let bits: Vec<usize> = entry.selectors().iter().map(|(bit, _)| *bit).collect();
        let (policy, hook) = (&entry.hook.policy.key, &entry.hook.hook.path);
        let _ = writeln!(
            out,
            "  {policy} {hook}: {:?}, bank {}, bits {bits:?}, args {:?}",
            entry.role, entry.bank, entry.args
        );
    }
}

fn show_plan(policies: &[TypedPolicy], kernel: &Kernel) -> String {
    let mut out = String::new();
    let resolved: Result<Vec<Vec<ResolvedHook<'_>>>, _> =
        policies.iter().map(|policy| resolve(policy, kernel, &mut Vec::new())).collect();
    let resolved = resolved.unwrap_or_else(|problems| panic!("the case does not resolve: {problems:?}"));
    match plan(resolved.into_iter().flatten().collect(), kernel) {
        Ok(programs) => programs.iter().for_each(|program| show_program(&mut out, program)),
        Err(problems) => problems.iter().for_each(|problem| {
            let _ = writeln!(out, "{problem}");
        }),
    }
    out
}

fn show_listing(policies: &[TypedPolicy], kernel: &Kernel) -> String {
    let compiled = compile(policies, kernel);
    assert_eq!(compiled.accepted.len(), policies.len(), "{:?}", compiled.diagnostics);
    compiled.artefacts.iter().map(listing).collect::<Vec<_>>().join("\n")
}

#[test]
fn resolve_cases() {
    cases("resolve", show_resolved);
}

#[test]
fn plan_cases() {
    cases("plan", show_plan);
}

#[test]
fn emit_cases() {
    cases("emit", show_listing);
}
