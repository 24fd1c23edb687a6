//! In: nothing. Out: the hooks that random policies use, with what their arguments can be.

use policy_compiler::typed::{ArgType, CapSetField, HookPoint, IntType};

/// What a parameter is, in the terms of the fake kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param {
    Int(IntType),
    Fd,
    File,
    Path,
    Dentry,
    Binprm,
    Filename,
    Text {
        user: bool,
    },
    /// Its length is in this parameter.
    Buffer {
        user: bool,
        size: u32,
    },
    Sock,
    Socket,
    Sockaddr {
        user: bool,
    },
    Skb,
    CapSet,
    Cred,
    Capability,
    SyscallNumber,
    /// Nothing to read here.
    Opaque,
}

/// A hook and its parameters.
#[derive(Debug, Clone)]
pub struct Shape {
    pub point: HookPoint,
    pub params: Vec<Param>,
    /// An `Override` has a mechanism wherever the hook has one.
    pub overridable: bool,
    /// Pointers to objects may lead nowhere. Typed programs load through those that the kernel vouches for, so
    /// there only NULL is told apart.
    pub wild: bool,
}

impl Param {
    /// Types that a policy may read this parameter as.
    pub fn types(self) -> Vec<ArgType> {
        match self {
            Param::Int(ty) => vec![ArgType::Int(ty)],
            Param::Fd => vec![ArgType::Fd, ArgType::Int(IntType::S32)],
            Param::File => vec![ArgType::File],
            Param::Path => vec![ArgType::Path],
            Param::Dentry => vec![ArgType::Dentry],
            Param::Binprm => vec![ArgType::LinuxBinprm],
            Param::Filename => vec![ArgType::Filename],
            Param::Text { .. } => vec![ArgType::String],
            Param::Buffer { .. } => vec![ArgType::CharBuf],
            Param::Sock => vec![ArgType::Sock],
            Param::Socket => vec![ArgType::Socket],
            Param::Sockaddr { .. } => vec![ArgType::Sockaddr],
            Param::Skb => vec![ArgType::Skb],
            Param::CapSet => {
                vec![ArgType::CapSet(CapSetField::KernelCap), ArgType::CapSet(CapSetField::Permitted)]
            }
            Param::Cred => vec![ArgType::Cred],
            Param::Capability => vec![ArgType::Capability, ArgType::Int(IntType::S32)],
            Param::SyscallNumber => vec![ArgType::Syscall64],
            Param::Opaque => vec![ArgType::Nop],
        }
    }
}

/// All shapes that every kind of kernel with functions has.
pub fn shapes() -> Vec<Shape> {
    use IntType::{S8, S16, S32, S64, U8, U16, U32, U64};
    use Param::*;
    let kprobe = |function: &str, params: &[Param]| Shape {
        point: HookPoint::Kprobe { function: function.to_owned() },
        params: params.to_vec(),
        overridable: function.starts_with("security_"),
        wild: false,
    };
    let syscall = |name: &str, params: &[Param]| Shape {
        point: HookPoint::Syscall { name: name.to_owned() },
        params: params.to_vec(),
        overridable: false,
        wild: false,
    };
    let lsm = |hook: &str, params: &[Param]| Shape {
        point: HookPoint::Lsm { hook: hook.to_owned() },
        params: params.to_vec(),
        overridable: true,
        wild: false,
    };
    let tracepoint = |subsystem: &str, event: &str, params: &[Param]| Shape {
        point: HookPoint::Tracepoint { subsystem: subsystem.to_owned(), event: event.to_owned() },
        params: params.to_vec(),
        overridable: false,
        wild: false,
    };
    let (text, user_text) = (Text { user: false }, Text { user: true });
    vec![
        kprobe("security_file_permission", &[File, Int(S32)]),
        kprobe("security_path_unlink", &[Path, Dentry]),
        kprobe("security_bprm_check", &[Binprm]),
        kprobe("tcp_connect", &[Sock]),
        kprobe("security_socket_connect", &[Socket, Sockaddr { user: false }, Int(S32)]),
        kprobe("tcp_v4_rcv", &[Skb]),
        kprobe("cap_capable", &[Cred, Opaque, Capability, Int(U32)]),
        kprobe("security_capset", &[Cred, Cred, CapSet, CapSet, CapSet]),
        kprobe("do_filp_open", &[Int(S32), Filename, Opaque]),
        kprobe("kernel_write", &[File, Buffer { user: false, size: 2 }, Int(U64), Opaque]),
        kprobe("vfs_read", &[File, Buffer { user: false, size: 2 }, Int(U64), Opaque]),
        kprobe("security_sb_mount", &[text, Path, text, Int(U64), Opaque]),
        kprobe("fixture_int8", &[Int(S8), Int(U8)]),
        kprobe("fixture_int16", &[Int(S16), Int(U16)]),
        kprobe("fixture_int32", &[Int(S32), Int(U32)]),
        kprobe("fixture_int64", &[Int(S64), Int(U64), Int(S64), Int(U64)]),
        kprobe("fd_install", &[Fd, File]),
        kprobe(
            "fixture_buffers",
            &[Buffer { user: false, size: 1 }, Int(U32), Buffer { user: false, size: 3 }, Int(S16)],
        ),
        lsm("file_open", &[File]),
        lsm("socket_connect", &[Socket, Sockaddr { user: false }, Int(S32)]),
        lsm("bprm_check_security", &[Binprm]),
        syscall("write", &[Fd, Buffer { user: true, size: 2 }, Int(U64)]),
        syscall("openat", &[Int(S32), user_text, Int(S32)]),
        syscall("connect", &[Fd, Sockaddr { user: true }, Int(S32)]),
        syscall("setuid", &[Int(U32)]),
        tracepoint("raw_syscalls", "sys_enter", &[SyscallNumber, Int(U64)]),
        tracepoint("syscalls", "sys_enter_openat", &[Int(S32), Int(S32), user_text, Int(S32)]),
        tracepoint("syscalls", "sys_enter_write", &[Int(S32), Fd, Buffer { user: true, size: 3 }, Int(U64)]),
        tracepoint(
            "fixture",
            "shapes",
            &[Int(S8), Int(U8), Int(S16), Int(U16), Int(S32), Int(U32), Int(S64), Int(U64), text, text],
        ),
    ]
}
