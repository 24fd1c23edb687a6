//! In: one argument as a test describes it. Out: the register that the function gets, and the value that the
//! evaluator is told.

use policy_compiler::reference::{PathValue, SkbValue, SockValue, SockaddrValue, Value};
use policy_compiler::typed::IntType;

use super::files::Place;
use super::{Address, BAD_KERNEL, BAD_USER, World};

/// An argument of a hooked function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArgSpec {
    Int(u64),
    /// A register of which the kernel's type takes these bits only.
    Narrow {
        register: u64,
        ty: IntType,
    },
    /// `struct file *`.
    File(Place),
    /// An open descriptor.
    Fd(Place),
    /// A descriptor that is not open.
    ClosedFd(u64),
    /// `struct path *`.
    Path(Place),
    /// `struct dentry *`.
    Dentry(Place),
    /// `struct linux_binprm *`.
    Binprm(Place),
    /// `struct filename *`.
    Filename(Vec<u8>),
    /// `char *` in the kernel's or the process's memory.
    Text {
        text: Vec<u8>,
        user: bool,
    },
    /// Bytes without an end mark.
    Buffer {
        bytes: Vec<u8>,
        user: bool,
    },
    /// A NULL string.
    NullText,
    Sock(SockValue),
    Socket(SockValue),
    Sockaddr {
        value: SockaddrValue,
        user: bool,
    },
    Skb(SkbValue),
    CapSet(u64),
    Cred,
    /// A NULL pointer where the function wants an object.
    Null,
    /// A pointer that leads nowhere.
    Bad {
        user: bool,
    },
}

/// Type of the sockets here: SOCK_STREAM.
const STREAM: u16 = 1;
/// Descriptors below this one are not open.
pub const FIRST_FD: u64 = 3;

impl World<'_> {
    /// Places what an argument points to. Files that are open under a descriptor are appended to `open`.
    pub fn argument(&mut self, spec: &ArgSpec, root: Place, open: &mut Vec<Option<Address>>) -> (u64, Value) {
        match spec {
            ArgSpec::Int(value) => (*value, Value::Int(*value)),
            ArgSpec::Narrow { register, ty } => (*register, Value::Int(ty.canonical(*register))),
            ArgSpec::File(place) => (self.file_object(*place, root).0, self.path_value(*place, root)),
            ArgSpec::Fd(place) => {
                open.resize(open.len().max(FIRST_FD as usize), None);
                let number = open.len() as u64;
                let file = self.file_object(*place, root);
                open.push(Some(file));
                let Value::Path(path) = self.path_value(*place, root) else { unreachable!("a path value") };
                (number, Value::Fd { number, file: Some(path) })
            }
            ArgSpec::ClosedFd(number) => (*number, Value::Fd { number: *number, file: None }),
            ArgSpec::Path(place) => (self.path_object(*place, root).0, self.path_value(*place, root)),
            ArgSpec::Dentry(place) => {
                let (text, complete) = self.files.followed(*place, None);
                let value = Value::Path(PathValue { text, mode: self.files.mode(*place), complete });
                (self.dentry_address(*place).0, value)
            }
            ArgSpec::Binprm(place) => {
                let file = self.file_object(*place, root);
                let binprm = self.object("linux_binprm");
                self.set(binprm, "linux_binprm", "file", file.0);
                (binprm.0, self.path_value(*place, root))
            }
            ArgSpec::Filename(text) => {
                let name = self.place(&[text, &b"\0"[..]].concat());
                let filename = self.object("filename");
                self.set(filename, "filename", "name", name.0);
                (filename.0, Value::Text(text.clone()))
            }
            ArgSpec::Text { text, user } => {
                let bytes = [text, &b"\0"[..]].concat();
                (self.exact(&bytes, *user).0, Value::Text(text.clone()))
            }
            ArgSpec::Buffer { bytes, user } => (self.exact(bytes, *user).0, Value::Bytes(bytes.clone())),
            ArgSpec::Null => (0, Value::Unreadable),
            ArgSpec::NullText => (0, Value::Text(Vec::new())),
            ArgSpec::Bad { user } => (if *user { BAD_USER } else { BAD_KERNEL }, Value::Unreadable),
            other => self.kernel_object(other),
        }
    }

    fn kernel_object(&mut self, spec: &ArgSpec) -> (u64, Value) {
        match spec {
            ArgSpec::Sock(value) => (self.sock_object(value, STREAM).0, Value::Sock(*value)),
            ArgSpec::Socket(value) => {
                let sock = self.sock_object(value, STREAM);
                (self.socket_object(sock, STREAM).0, Value::Sock(*value))
            }
            ArgSpec::Sockaddr { value, user } => {
                let bytes = World::sockaddr_bytes(value);
                (self.exact(&bytes, *user).0, Value::Sockaddr(*value))
            }
            ArgSpec::Skb(value) => (self.skb_object(value).0, Value::Skb(*value)),
            ArgSpec::CapSet(set) => (self.place(&set.to_le_bytes()).0, Value::CapSet(*set)),
            ArgSpec::Cred => {
                let user_ns = self.object("user_namespace");
                self.set(user_ns, "user_namespace", "level", 1);
                let sets = policy_compiler::reference::Capabilities {
                    effective: 0x11,
                    inheritable: 0x22,
                    permitted: 0x1_0000_0033,
                };
                (self.cred_object(&sets, user_ns).0, Value::Cred)
            }
            other => unreachable!("{other:?} has been handled"),
        }
    }

    fn path_value(&self, place: Place, root: Place) -> Value {
        let (text, complete) = self.files.followed(place, Some(root));
        Value::Path(PathValue { text, mode: self.files.mode(place), complete })
    }
}
