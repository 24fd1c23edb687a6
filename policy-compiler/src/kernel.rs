//! In: an agent's [`KernelProfile`]. Out: [`Kernel`], which `resolve` and `lower` ask for functions and offsets.

use std::sync::LazyLock;

use crate::btf::{Btf, BtfError, Kind, TypeId};
use api::artefact::Flavour;
use api::profile::{KernelProfile, TracepointFormat};

/// One kernel to compile for.
#[derive(Debug)]
pub struct Kernel {
    /// Types and functions.
    pub btf: Btf,
    symbols: LazyLock<Symbols, Source>,
    profile: KernelProfile,
}

type Source = Box<dyn FnOnce() -> Symbols + Send>;

/// Sorted names in one piece: a kernel has some 60,000, and as many allocations would take twice the memory.
#[derive(Debug)]
struct Symbols {
    text: String,
    /// Where each name ends.
    ends: Vec<u32>,
}

impl Symbols {
    fn new(mut names: Vec<String>) -> Symbols {
        names.sort_unstable();
        let text = names.concat();
        let ends = names.iter().scan(0u32, |end, name| {
            *end = end.saturating_add(u32::try_from(name.len()).unwrap_or(u32::MAX));
            Some(*end)
        });
        Symbols { ends: ends.collect(), text }
    }

    fn name(&self, index: usize) -> &str {
        let start = match index.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().unwrap_or(0),
            None => 0,
        };
        let end = self.ends.get(index).copied().unwrap_or(start);
        self.text.get(start as usize..end as usize).unwrap_or("")
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).map(|index| self.name(index))
    }

    fn contains(&self, name: &str) -> bool {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        false
    }
}

impl Kernel {
    /// Parses the profile's BTF; takes its bytes and the symbols out of the profile.
    ///
    /// # Errors
    /// The BTF is malformed.
    pub fn new(mut profile: KernelProfile) -> Result<Kernel, BtfError> {
        let symbols = Symbols::new(std::mem::take(&mut profile.symbols));
        Kernel::with(profile, Box::new(|| symbols))
    }

    /// The same, with symbols that are read when a hook asks for them first: most are found by their types.
    ///
    /// # Errors
    /// The BTF is malformed.
    pub fn with_symbols(
        profile: KernelProfile,
        symbols: impl FnOnce() -> Vec<String> + Send + 'static,
    ) -> Result<Kernel, BtfError> {
        Kernel::with(profile, Box::new(|| Symbols::new(symbols())))
    }

    fn with(mut profile: KernelProfile, symbols: Source) -> Result<Kernel, BtfError> {
        let btf = Btf::parse(std::mem::take(&mut profile.btf))?;
        Ok(Kernel { btf, symbols: LazyLock::new(symbols), profile })
    }

    /// `uname -r`.
    pub fn release(&self) -> &str {
        &self.profile.release
    }

    /// Whether programs of this kind load and attach.
    pub fn has(&self, flavour: Flavour) -> bool {
        self.profile.flavours.contains(&(flavour as i32))
    }

    /// Whether BPF LSM programs are called: with `bpf` absent from the list they load, attach and do nothing
    /// (measured on 6.12 with `lsm=landlock,lockdown,yama`, and the default of Debian's 5.10).
    pub fn lsm_called(&self) -> bool {
        self.has(Flavour::Lsm) && self.profile.lsms.iter().any(|lsm| lsm == "bpf")
    }

    /// fmod_ret works on system call functions.
    pub fn fmod_ret_syscalls(&self) -> bool {
        self.profile.fmod_ret_syscalls && self.has(Flavour::FmodRet)
    }

    /// bpf_override_return works.
    pub fn override_return(&self) -> bool {
        self.profile.override_return && self.has(Flavour::Kprobe)
    }

    /// The helper get_current_task_btf exists (5.11).
    pub fn task_btf(&self) -> bool {
        self.btf.has_enumerator("bpf_func_id", "BPF_FUNC_get_current_task_btf")
    }

    /// Atomic fetch instructions exist (5.12).
    pub fn atomic_fetch(&self) -> bool {
        self.profile.atomic_fetch
    }

    /// Inode number of a namespace of process 1, by position in the profile; `None` if the kernel lacks it.
    pub fn host_namespace(&self, position: usize) -> Option<u32> {
        self.profile.host_namespaces.get(position).copied().filter(|inode| *inode != 0)
    }

    /// Format of a tracepoint, if the profile has it.
    pub fn tracepoint(&self, subsystem: &str, event: &str) -> Option<&TracepointFormat> {
        self.profile.tracepoints.iter().find(|tp| tp.subsystem == subsystem && tp.event == event)
    }

    /// Known tracepoints.
    pub fn tracepoints(&self) -> impl Iterator<Item = &TracepointFormat> {
        self.profile.tracepoints.iter()
    }

    /// Adds formats that a later policy needs.
    pub fn add_tracepoints(&mut self, formats: Vec<TracepointFormat>) {
        for format in formats {
            if self.tracepoint(&format.subsystem, &format.event).is_none() {
                self.profile.tracepoints.push(format);
            }
        }
    }

    /// Whether kprobes can attach here. Without a symbol list, BTF decides.
    pub fn has_symbol(&self, name: &str) -> bool {
        if self.symbols.ends.is_empty() {
            return self.function(name).is_some();
        }
        self.symbols.contains(name)
    }

    /// All names that a hook could mean.
    pub fn symbols(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        if self.symbols.ends.is_empty() {
            return Box::new(self.btf.functions());
        }
        Box::new(self.symbols.iter())
    }

    /// BTF function by name.
    pub fn function(&self, name: &str) -> Option<TypeId> {
        self.btf.find(Kind::Func, name)
    }

    /// Byte offset of a member, see [`Btf::member`].
    pub fn offset(&self, structure: &str, path: &str) -> Option<u32> {
        let id = self.btf.find(Kind::Struct, structure)?;
        self.btf.member(id, path).map(|member| member.offset)
    }

    /// Byte offset and size of a member.
    pub fn field(&self, structure: &str, path: &str) -> Option<(u32, u32)> {
        let id = self.btf.find(Kind::Struct, structure)?;
        let member = self.btf.member(id, path)?;
        Some((member.offset, self.btf.size(member.ty)?))
    }
}

#[cfg(test)]
mod tests {
    use super::{Kernel, KernelProfile, Symbols};

    #[test]
    fn symbols_are_read_when_they_are_asked_for() {
        let btf = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/kernel-6.btf")).unwrap();
        let (sender, asked) = std::sync::mpsc::channel();
        let read = move || {
            sender.send(()).unwrap();
            vec!["only_here".to_owned()]
        };
        let kernel = Kernel::with_symbols(KernelProfile { btf, ..Default::default() }, read).unwrap();
        assert!(kernel.function("security_file_permission").is_some() && asked.try_recv().is_err());
        assert!(kernel.has_symbol("only_here") && !kernel.has_symbol("elsewhere"));
        assert_eq!(asked.iter().count(), 1);
    }

    #[test]
    fn symbols_are_found_and_given_in_order() {
        let names = ["vfs_read", "b", "vfs", "a"].map(str::to_owned).to_vec();
        let symbols = Symbols::new(names);
        assert_eq!(symbols.iter().collect::<Vec<_>>(), ["a", "b", "vfs", "vfs_read"]);
        assert!(["a", "b", "vfs", "vfs_read"].iter().all(|name| symbols.contains(name)));
        assert!(!["", "c", "vfs_", "z"].iter().any(|name| symbols.contains(name)));
        assert!(!Symbols::new(Vec::new()).contains("a"));
    }
}
