//! In: the argument types of the policy language. Out: `args`, `data` and `returnArg` of hooks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

closed_set! {
    /// How an argument is read, compared and shown.
    #[derive(Default)]
    ArgKind {
        /// The tracepoint field's own type.
        #[default]
        Auto = "auto",
        /// 32-bit signed integer.
        Int = "int",
        /// 8-bit signed integer.
        Sint8 = "sint8",
        /// 8-bit signed integer.
        Int8 = "int8",
        /// 8-bit unsigned integer.
        Uint8 = "uint8",
        /// 16-bit signed integer.
        Sint16 = "sint16",
        /// 16-bit signed integer.
        Int16 = "int16",
        /// 16-bit unsigned integer.
        Uint16 = "uint16",
        /// 32-bit unsigned integer.
        Uint32 = "uint32",
        /// 32-bit signed integer.
        Sint32 = "sint32",
        /// 32-bit signed integer.
        Int32 = "int32",
        /// 64-bit unsigned integer.
        Ulong = "ulong",
        /// 64-bit unsigned integer.
        Uint64 = "uint64",
        /// Unsigned size.
        SizeT = "size_t",
        /// 64-bit signed integer.
        Long = "long",
        /// 64-bit signed integer.
        Sint64 = "sint64",
        /// 64-bit signed integer.
        Int64 = "int64",
        /// Bytes whose length another argument tells.
        CharBuf = "char_buf",
        /// Vector of buffers whose count another argument tells.
        CharIovec = "char_iovec",
        /// Network packet.
        Skb = "skb",
        /// Network socket.
        Sock = "sock",
        /// Internet socket address.
        Sockaddr = "sockaddr",
        /// Socket, as the file layer sees it.
        Socket = "socket",
        /// Unix socket address.
        SockaddrUn = "sockaddr_un",
        /// NUL-terminated string.
        String = "string",
        /// File descriptor of the current process.
        Fd = "fd",
        /// Open file.
        File = "file",
        /// The kernel's copy of a path name.
        Filename = "filename",
        /// Path: mount and directory entry.
        Path = "path",
        /// Nothing is read.
        Nop = "nop",
        /// Attributes of a bpf system call.
        BpfAttr = "bpf_attr",
        /// Performance event.
        PerfEvent = "perf_event",
        /// BPF map.
        BpfMap = "bpf_map",
        /// User namespace.
        UserNamespace = "user_namespace",
        /// Capability number.
        Capability = "capability",
        /// Kernel I/O control block.
        Kiocb = "kiocb",
        /// I/O vector iterator.
        IovIter = "iov_iter",
        /// Credentials.
        Cred = "cred",
        /// Fixed-size array field of a tracepoint.
        ConstBuf = "const_buf",
        /// Kernel module while it is being loaded.
        LoadInfo = "load_info",
        /// Kernel module.
        Module = "module",
        /// System call number with its ABI.
        Syscall64 = "syscall64",
        /// Capability set.
        KernelCapT = "kernel_cap_t",
        /// Capability set, shown as inheritable.
        CapInheritable = "cap_inheritable",
        /// Capability set, shown as permitted.
        CapPermitted = "cap_permitted",
        /// Capability set, shown as effective.
        CapEffective = "cap_effective",
        /// Program that is about to be executed.
        LinuxBinprm = "linux_binprm",
        /// Variable-length string field of a tracepoint.
        DataLoc = "data_loc",
        /// Network device.
        NetDevice = "net_device",
        /// Command of a bpf system call.
        BpfCmd = "bpf_cmd",
        /// Directory entry.
        Dentry = "dentry",
        /// BPF program.
        BpfProg = "bpf_prog",
    }
}

/// One value to read at a hook.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArgSpec {
    /// Position in the function's prototype, counted from 0; for formatted tracepoints the position of the
    /// field in the format.
    #[schemars(range(min = 0))]
    pub index: i32,
    /// How the value is read, compared and shown.
    #[serde(default, rename = "type")]
    pub kind: ArgKind,
    /// Name shown with the value in events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Position, counted from 1, of the argument that holds the length; 0 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub size_arg_index: Option<i32>,
    /// Read the buffer when the function returns; its length is the return value.
    #[serde(default)]
    pub return_copy: bool,
    /// Read up to 327,360 bytes in place of 4,095.
    #[serde(default)]
    pub max_data: bool,
    /// Path of members to follow from the argument, such as `mm.owner.comm`.
    #[serde(default)]
    pub resolve: String,
    /// Structure that the argument is taken for, in place of its own type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub btf_type: Option<String>,
    /// Kernel module whose types hold `btfType`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub btf_type_module: Option<String>,
    /// In `data`: where the value comes from, `current_task` or `pt_regs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}
