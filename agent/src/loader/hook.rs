//! In: an artefact's attach point. Out: the key by which the loader knows a hook.

use api::artefact::{Artefact, Flavour};

/// A place in the kernel that has one program at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HookKey {
    /// Mechanism.
    pub flavour: Flavour,
    /// Symbol, `subsystem/event`, tracepoint name or LSM hook.
    pub target: String,
    /// System call number, of programs that share an attach point and tell system calls apart themselves.
    pub syscall: Option<u32>,
}

impl HookKey {
    /// Of an artefact. An unknown mechanism is [`Flavour::Unspecified`], which no kernel loads.
    pub fn of(artefact: &Artefact) -> HookKey {
        let flavour = Flavour::try_from(artefact.attach.flavour).unwrap_or(Flavour::Unspecified);
        HookKey { flavour, target: artefact.attach.target.clone(), syscall: artefact.attach.syscall }
    }

    /// Whether its program runs when a function returns. The kernel binds a call to such programs when it begins, so a
    /// call that is inside the function while the program is replaced is seen by neither.
    pub fn is_at_return(&self) -> bool {
        matches!(self.flavour, Flavour::Fexit | Flavour::Kretprobe)
    }
}

impl std::fmt::Display for HookKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let flavour = match self.flavour {
            Flavour::Unspecified => "unknown",
            Flavour::Fentry => "fentry",
            Flavour::Fexit => "fexit",
            Flavour::FmodRet => "fmod_ret",
            Flavour::Lsm => "lsm",
            Flavour::Kprobe => "kprobe",
            Flavour::Kretprobe => "kretprobe",
            Flavour::TpBtf => "tp_btf",
            Flavour::RawTp => "raw_tp",
            Flavour::Tracepoint => "tracepoint",
        };
        write!(f, "{flavour}:{}", self.target)?;
        self.syscall.map_or(Ok(()), |number| write!(f, " (system call {number})"))
    }
}
