//! In: accesses of a running program and of helpers. Out: bytes, or why the access is wrong.

use std::collections::BTreeMap;

/// What a region of memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One frame's 512 bytes.
    Stack,
    /// The program's argument.
    Ctx,
    /// A value of a map.
    MapValue,
    /// A reserved record.
    Ring,
    /// Kernel objects.
    Kernel,
    /// The process's own memory.
    User,
}

/// Adjacent bytes of one kind.
#[derive(Debug, Clone)]
pub struct Region {
    pub kind: Kind,
    pub bytes: Vec<u8>,
    /// Which bytes have been written, where that matters.
    written: Option<Vec<bool>>,
}

/// All regions by address. They never touch.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    regions: BTreeMap<u64, Region>,
}

/// First address of the kernel's half.
pub const KERNEL_START: u64 = 0xffff_8000_0000_0000;
/// Loads from here are a null pointer's members.
pub const NULL_PAGE: u64 = 4096;

impl Memory {
    /// Adds a region. Stack and ring bytes count as unwritten.
    pub fn add(&mut self, base: u64, kind: Kind, bytes: Vec<u8>) {
        let written = matches!(kind, Kind::Stack | Kind::Ring).then(|| vec![false; bytes.len()]);
        let end = base + bytes.len() as u64;
        let clash =
            self.regions.range(..end).next_back().is_some_and(|(b, r)| b + r.bytes.len() as u64 > base);
        assert!(!clash, "regions overlap at {base:#x}");
        self.regions.insert(base, Region { kind, bytes, written });
    }

    pub fn remove(&mut self, base: u64) -> Option<Region> {
        self.regions.remove(&base)
    }

    /// Drops all regions of these kinds.
    pub fn forget(&mut self, kinds: &[Kind]) {
        self.regions.retain(|_, region| !kinds.contains(&region.kind));
    }

    pub fn get(&self, base: u64) -> Option<&Region> {
        self.regions.get(&base)
    }

    pub fn get_mut(&mut self, base: u64) -> Option<&mut Region> {
        self.regions.get_mut(&base)
    }

    /// First run of bytes of a region that nobody wrote.
    pub fn unwritten(&self, base: u64) -> Option<usize> {
        self.regions.get(&base)?.written.as_ref()?.iter().position(|written| !written)
    }

    /// Kind of the region that has all of `addr..addr + len`, the region's base and the offset in it.
    pub fn locate(&self, addr: u64, len: usize) -> Option<(Kind, u64, usize)> {
        let (base, region) = self.regions.range(..=addr).next_back()?;
        let offset = usize::try_from(addr - base).ok()?;
        (offset.checked_add(len)? <= region.bytes.len()).then_some((region.kind, *base, offset))
    }

    /// Bytes at an address, of any kind; `Err` if they are not there or nobody wrote them.
    pub fn read(&self, addr: u64, len: usize) -> Result<&[u8], String> {
        let (kind, base, offset) =
            self.locate(addr, len).ok_or_else(|| format!("no {len} bytes at {addr:#x}"))?;
        let region = &self.regions[&base];
        let unwritten =
            region.written.as_ref().is_some_and(|written| !written[offset..offset + len].iter().all(|w| *w));
        if unwritten {
            return Err(format!("reads {len} bytes at {kind:?}+{offset} that nobody wrote"));
        }
        Ok(&region.bytes[offset..offset + len])
    }

    /// Writes bytes that a program may write.
    pub fn write(&mut self, addr: u64, bytes: &[u8]) -> Result<(), String> {
        let (kind, base, offset) =
            self.locate(addr, bytes.len()).ok_or_else(|| format!("no {} bytes at {addr:#x}", bytes.len()))?;
        if !matches!(kind, Kind::Stack | Kind::MapValue | Kind::Ring) {
            return Err(format!("writes to {kind:?} memory at {addr:#x}"));
        }
        let region = self.regions.get_mut(&base).expect("located");
        region.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        if let Some(written) = &mut region.written {
            written[offset..offset + bytes.len()].fill(true);
        }
        Ok(())
    }

    /// What the kernel can read by itself; user memory and holes give `None`.
    pub fn probe_kernel(&self, addr: u64, len: usize) -> Option<&[u8]> {
        let (kind, base, offset) = self.locate(addr, len)?;
        (kind != Kind::User).then(|| &self.regions[&base].bytes[offset..offset + len])
    }

    /// What can be read from the process's memory.
    pub fn probe_user(&self, addr: u64, len: usize) -> Option<&[u8]> {
        let (kind, base, offset) = self.locate(addr, len)?;
        (kind == Kind::User).then(|| &self.regions[&base].bytes[offset..offset + len])
    }

    /// The rest of the region at `addr`, for strings.
    pub fn tail(&self, addr: u64, user: bool) -> Option<&[u8]> {
        let (kind, base, offset) = self.locate(addr, 1)?;
        ((kind == Kind::User) == user).then(|| &self.regions[&base].bytes[offset..])
    }
}
