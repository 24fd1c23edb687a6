//! In: a parsed [`Btf`]. Out: types by name, prototypes, and members by dotted path.

use std::cmp::Ordering;

use super::parse::read_u32;
use super::{Btf, Kind, TypeId, VOID};

/// Typedef chains and nesting of anonymous members in real kernels stay below 10; hostile BTF may loop.
const MAX_DEPTH: u32 = 32;
/// Members that one search looks at. The largest structures of kernels have some hundred, with those of their unnamed
/// members; hostile ones can have unnamed members of their own type.
const MAX_MEMBERS: u32 = 1 << 13;
/// Bytes of a name, as in the kernel: `KSYM_NAME_LEN`, include/linux/kallsyms.h. Else each of a million names could be
/// the whole string section.
const MAX_NAME: usize = 512;

/// A member found by path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the start of the outermost struct.
    pub offset: u32,
    /// Its type.
    pub ty: TypeId,
}

impl Btf {
    fn at(&self, id: TypeId) -> Option<usize> {
        if id == VOID { None } else { self.types.get(id.0 as usize).map(|at| *at as usize) }
    }

    fn word(&self, id: TypeId, byte: usize) -> u32 {
        self.at(id).and_then(|at| read_u32(&self.bytes, at + byte)).unwrap_or(0)
    }

    fn string(&self, offset: u32) -> &str {
        let (start, len) = self.strings;
        let offset = offset as usize;
        if offset >= len {
            return "";
        }
        let end = start + len.min(offset + MAX_NAME);
        let tail = self.bytes.get(start + offset..end).unwrap_or_default();
        let end = tail.iter().position(|byte| *byte == 0).unwrap_or(tail.len());
        tail.get(..end).and_then(|name| std::str::from_utf8(name).ok()).unwrap_or("")
    }

    /// Number of types, `void` included.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there is no type but `void`.
    pub fn is_empty(&self) -> bool {
        self.types.len() <= 1
    }

    /// Name of a type, empty if it has none.
    pub fn name(&self, id: TypeId) -> &str {
        self.string(self.word(id, 0))
    }

    /// Kind of a type; `Void` for ids that do not exist.
    pub fn kind(&self, id: TypeId) -> Kind {
        if self.at(id).is_none() {
            return Kind::Void;
        }
        Kind::from_bits((self.word(id, 4) >> 24) & 0x1f).unwrap_or(Kind::Void)
    }

    fn vlen(&self, id: TypeId) -> u32 {
        self.word(id, 4) & 0xffff
    }

    /// First type of this kind and name.
    pub fn find(&self, kind: Kind, name: &str) -> Option<TypeId> {
        let at = self.names.partition_point(|id| self.compare(*id, kind, name) == Ordering::Less);
        let id = *self.names.get(at)?;
        (self.compare(id, kind, name) == Ordering::Equal).then_some(id)
    }

    fn compare(&self, id: TypeId, kind: Kind, name: &str) -> Ordering {
        (self.kind(id), self.name(id)).cmp(&(kind, name))
    }

    /// Names of all functions.
    pub fn functions(&self) -> impl Iterator<Item = &str> {
        self.names_of(Kind::Func)
    }

    /// Names of all structs, unions, functions, typedefs or enums.
    pub fn names_of(&self, kind: Kind) -> impl Iterator<Item = &str> {
        let ids = self.names.iter().copied();
        ids.filter(move |id| self.kind(*id) == kind).map(|id| self.name(id))
    }

    /// The type that a pointer, typedef, qualifier, function or array element refers to.
    fn referred(&self, id: TypeId) -> TypeId {
        match self.kind(id) {
            Kind::Array => TypeId(self.word(id, 12)),
            Kind::Ptr
            | Kind::Typedef
            | Kind::Volatile
            | Kind::Const
            | Kind::Restrict
            | Kind::Func
            | Kind::FuncProto
            | Kind::Var
            | Kind::TypeTag => TypeId(self.word(id, 8)),
            _ => VOID,
        }
    }

    /// `id` without typedefs and qualifiers.
    pub fn strip(&self, mut id: TypeId) -> TypeId {
        for _ in 0..MAX_DEPTH {
            match self.kind(id) {
                Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                    id = self.referred(id);
                }
                _ => return id,
            }
        }
        VOID
    }

    /// What a pointer points to, without typedefs and qualifiers; `None` if `id` is not a pointer.
    pub fn pointee(&self, id: TypeId) -> Option<TypeId> {
        let pointer = self.strip(id);
        (self.kind(pointer) == Kind::Ptr).then(|| self.strip(self.referred(pointer)))
    }

    /// Bytes; `None` for types without a size.
    pub fn size(&self, id: TypeId) -> Option<u32> {
        self.size_within(id, MAX_DEPTH)
    }

    fn size_within(&self, id: TypeId, depth: u32) -> Option<u32> {
        let id = self.strip(id);
        match self.kind(id) {
            Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Float => {
                Some(self.word(id, 8))
            }
            Kind::Ptr => Some(8),
            Kind::Array => {
                self.size_within(self.referred(id), depth.checked_sub(1)?)?.checked_mul(self.word(id, 20))
            }
            _ => None,
        }
    }

    /// Whether a plain integer type is signed.
    pub fn is_signed(&self, id: TypeId) -> bool {
        let id = self.strip(id);
        self.kind(id) == Kind::Int && (self.word(id, 12) >> 24) & 1 == 1
    }

    /// Parameter types of a function, in order; a variadic tail is left out.
    pub fn params(&self, func: TypeId) -> Vec<TypeId> {
        let proto = if self.kind(func) == Kind::Func { self.referred(func) } else { func };
        if self.kind(proto) != Kind::FuncProto {
            return Vec::new();
        }
        (0..self.vlen(proto))
            .map(|i| TypeId(self.word(proto, 16 + 8 * i as usize)))
            .filter(|id| *id != VOID)
            .collect()
    }

    /// Return type of a function.
    pub fn return_type(&self, func: TypeId) -> TypeId {
        let proto = if self.kind(func) == Kind::Func { self.referred(func) } else { func };
        self.referred(proto)
    }

    /// C spelling of a type, for messages.
    pub fn spell(&self, id: TypeId) -> String {
        self.spell_depth(id, 0)
    }

    fn spell_depth(&self, id: TypeId, depth: u32) -> String {
        if depth > MAX_DEPTH {
            return "…".to_owned();
        }
        let inner = || self.spell_depth(self.referred(id), depth + 1);
        match self.kind(id) {
            Kind::Void => "void".to_owned(),
            Kind::Ptr => format!("{} *", inner()).replace("* *", "**"),
            Kind::Const => format!("const {}", inner()),
            Kind::Volatile => format!("volatile {}", inner()),
            Kind::Restrict | Kind::TypeTag => inner(),
            Kind::Array => format!("{}[]", inner()),
            Kind::Struct => format!("struct {}", self.name(id)),
            Kind::Union => format!("union {}", self.name(id)),
            Kind::Enum | Kind::Enum64 => format!("enum {}", self.name(id)),
            Kind::FuncProto => "function".to_owned(),
            _ => self.name(id).to_owned(),
        }
    }

    /// A member of the struct or union `id` by dotted path; each step may list alternatives for kernels that
    /// renamed it (`f_path|__f_path.dentry`). Unnamed members are searched through. Bit fields are not found.
    pub fn member(&self, id: TypeId, path: &str) -> Option<Member> {
        let mut found = Member { offset: 0, ty: id };
        let mut budget = MAX_MEMBERS;
        for step in path.split('.') {
            let at = self.strip(found.ty);
            let next = step.split('|').find_map(|name| self.direct_member(at, name, 0, &mut budget))?;
            found = Member { offset: found.offset.checked_add(next.offset)?, ty: next.ty };
        }
        Some(found)
    }

    /// Whether an enum has an enumerator of this name.
    pub fn has_enumerator(&self, name: &str, enumerator: &str) -> bool {
        let Some(id) = self.find(Kind::Enum, name) else { return false };
        (0..self.vlen(id) as usize).any(|i| self.string(self.word(id, 12 + 8 * i)) == enumerator)
    }

    /// `budget`: members that may still be looked at.
    fn direct_member(&self, id: TypeId, name: &str, depth: u32, budget: &mut u32) -> Option<Member> {
        if depth > MAX_DEPTH || !matches!(self.kind(id), Kind::Struct | Kind::Union) {
            return None;
        }
        let bitfields = self.word(id, 4) >> 31 == 1;
        (0..self.vlen(id) as usize).find_map(|i| {
            *budget = budget.checked_sub(1)?;
            let member = |byte| self.word(id, 12 + 12 * i + byte);
            let (ty, raw) = (TypeId(member(4)), member(8));
            let bits = if bitfields { raw & 0x00ff_ffff } else { raw };
            if bits % 8 != 0 || (bitfields && raw >> 24 != 0) {
                return None;
            }
            let offset = bits / 8;
            match self.string(member(0)) {
                "" => {
                    let inner = self.direct_member(self.strip(ty), name, depth + 1, budget)?;
                    Some(Member { offset: offset.checked_add(inner.offset)?, ty: inner.ty })
                }
                found if found == name => Some(Member { offset, ty }),
                _ => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> Btf {
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").expect("this kernel has BTF");
        Btf::parse(bytes).expect("the running kernel's BTF is valid")
    }

    #[test]
    fn finds_members_through_anonymous_and_renamed_steps() {
        let btf = kernel();
        let file = btf.find(Kind::Struct, "file").expect("struct file");
        let dentry = btf.member(file, "f_path|__f_path.dentry").expect("path");
        let pointee = btf.pointee(dentry.ty).expect("a pointer");
        assert_eq!(btf.name(pointee), "dentry");
        assert!(btf.member(file, "no_such_member").is_none());
        let len = btf.member(pointee, "d_name|__d_name.len").expect("d_name.len is in an anonymous struct");
        assert_eq!(btf.size(len.ty), Some(4));
    }

    #[test]
    fn reads_prototypes() {
        let btf = kernel();
        let func = btf.find(Kind::Func, "security_file_permission").expect("function");
        let spelled: Vec<_> = btf.params(func).into_iter().map(|ty| btf.spell(ty)).collect();
        assert_eq!(spelled, ["struct file *", "int"]);
        assert_eq!(btf.spell(btf.return_type(func)), "int");
    }

    /// BTF of these types, as words, with the names "", "f" (1), "s" (3).
    fn made(types: &[u32]) -> Btf {
        let strings = b"\0f\0s\0";
        let len = types.len() as u32 * 4;
        let header = [0x0001_eb9f, 24, 0, len, len, strings.len() as u32];
        let words = header.iter().chain(types).flat_map(|word| word.to_le_bytes());
        Btf::parse(words.chain(strings.iter().copied()).collect()).expect("well-formed")
    }

    #[test]
    fn types_that_contain_themselves_have_no_size() {
        // 1: an array of itself; 2 and 3: arrays of each other.
        let array = |of: u32| [0, 3 << 24, 0, of, 1, 2];
        let btf = made(&[array(1), array(3), array(2)].concat());
        assert_eq!([1, 2, 3].map(|id| btf.size(TypeId(id))), [None; 3]);
        assert_eq!(btf.spell(TypeId(1)).matches("[]").count(), MAX_DEPTH as usize + 1);
    }

    #[test]
    fn structures_that_contain_themselves_are_searched_in_bounded_time() {
        // `struct s` with 100 unnamed members of its own type, and at last one called `f`.
        let mut words = vec![3, 4 << 24 | 101, 8];
        (0..100).for_each(|_| words.extend([0, 1, 0]));
        words.extend([1, 2, 64]);
        words.extend([0, 1 << 24, 4, 32]);
        let btf = made(&words);
        let s = btf.find(Kind::Struct, "s").expect("there");
        let started = std::time::Instant::now();
        assert_eq!(btf.member(s, "absent"), None);
        let _ = btf.member(s, "f.absent");
        assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    }

    #[test]
    fn names_without_end_are_cut_and_equal_ones_are_found_at_once() {
        // 60,000 functions whose names are the rest of one long string, then as many of one name, then a structure.
        let strings: Vec<u8> = [b"\0f\0s\0".to_vec(), vec![b'a'; 4 << 20]].concat();
        let mut types: Vec<u32> = (0..60_000).flat_map(|at| [5 + at, 12 << 24, 0]).collect();
        (0..60_000).for_each(|_| types.extend([3, 12 << 24, 0]));
        types.extend([3, 4 << 24, 8]);
        let len = types.len() as u32 * 4;
        let header = [0x0001_eb9f, 24, 0, len, len, strings.len() as u32];
        let words = header.iter().chain(&types).flat_map(|word| word.to_le_bytes());
        let started = std::time::Instant::now();
        let btf = Btf::parse(words.chain(strings).collect()).expect("well-formed");
        assert_eq!(btf.name(TypeId(1)).len(), MAX_NAME);
        for _ in 0..1000 {
            assert_eq!(btf.find(Kind::Struct, "s"), Some(TypeId(120_001)));
            assert_eq!(btf.find(Kind::Func, "s"), Some(TypeId(60_001)));
        }
        assert!(started.elapsed() < std::time::Duration::from_secs(30), "{:?}", started.elapsed());
    }

    #[test]
    fn cut_bytes_are_refused_or_harmless() {
        let whole = std::fs::read("/sys/kernel/btf/vmlinux").expect("this kernel has BTF");
        for len in [0, 1, 23, 24, 1000, whole.len() / 2] {
            assert!(Btf::parse(whole[..len].to_vec()).is_err(), "{len}");
        }
    }
}
