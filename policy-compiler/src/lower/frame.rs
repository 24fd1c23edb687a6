//! In: nothing. Out: the fixed places that all lowering uses: stack slots, scratch slot layout, helper numbers.

/// eBPF helper functions by number, kernel `include/uapi/linux/bpf.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Helper {
    /// `map_lookup_elem`.
    MapLookup = 1,
    /// `map_update_elem`.
    MapUpdate = 2,
    /// `map_delete_elem`.
    MapDelete = 3,
    /// `get_smp_processor_id`.
    CpuId = 8,
    /// `get_current_pid_tgid`.
    PidTgid = 14,
    /// `get_current_task`.
    CurrentTask = 35,
    /// `override_return`.
    OverrideReturn = 58,
    /// `send_signal` (5.3).
    SendSignal = 109,
    /// `probe_read_user` (5.5).
    ReadUser = 112,
    /// `probe_read_kernel` (5.5).
    ReadKernel = 113,
    /// `probe_read_user_str` (5.5).
    ReadUserStr = 114,
    /// `probe_read_kernel_str` (5.5).
    ReadKernelStr = 115,
    /// `ktime_get_boot_ns` (5.8).
    BootTime = 125,
    /// `ringbuf_output` (5.8).
    RingOutput = 130,
    /// `get_current_task_btf` (5.11).
    CurrentTaskBtf = 158,
}

/// Stack slots of the main program, bytes below the frame pointer. Together with the path function's frame they
/// stay below the kernel's 512.
pub mod slot {
    /// Map keys and values of at most 8 bytes.
    pub const KEY: i16 = -8;
    /// `struct process *` of the current process, or 0.
    pub const PROCESS: i16 = -16;
    /// What the program returns.
    pub const RETURN: i16 = -24;
    /// First scratch index of this CPU.
    pub const SCRATCH_BASE: i16 = -32;
    /// Object pointer kept over calls.
    pub const OBJECT: i16 = -40;
    /// A second one.
    pub const OBJECT2: i16 = -48;
    /// Result bits of a text look-up, or a running hash.
    pub const BITS: i16 = -56;
    /// Target of probe reads of at most 8 bytes.
    pub const VALUE: i16 = -64;
    /// pid and tgid of the current task; the verifier knows nothing of the value.
    pub const PID_TGID: i16 = -72;
    /// Per text argument: start in its region (u16), mode (u16), then length (u32) with [`super::text_flag`] bits.
    /// Written as one word, so that the verifier remembers that it is ready.
    pub const TEXTS: i16 = -104;
    /// `struct sock_arg` of the socket under test.
    pub const TUPLE: i16 = -168;
    /// Bytes to hash for a rate limit; 40.
    pub const SAMPLE: i16 = -208;

    /// Programs at return: not 0 if the registers of the entry were found.
    pub const SAVED_FOUND: i16 = -216;
    /// Key of the registers.
    pub const SAVED_KEY: i16 = -224;
    /// The registers; 48 bytes.
    pub const SAVED: i16 = -272;

    /// Slot of the `n`th text argument.
    pub fn text(n: usize) -> i16 {
        TEXTS + 8 * n as i16
    }
}

/// Flags beside a text's length.
pub mod text_flag {
    /// The text is in its region.
    pub const READY: i32 = 1 << 16;
    /// It could not be read.
    pub const ERROR: i32 = 1 << 17;
    /// It is cut.
    pub const TRUNCATED: i32 = 1 << 18;
    /// Bits of the length.
    pub const LENGTH: i32 = 0x1fff;
}

/// Layout of a scratch slot (`api::artefact::SCRATCH_SIZE` bytes).
pub mod scratch {
    /// Lock word: 0 free, 1 taken.
    pub const LOCK: i16 = 0;
    /// First text region. Bytes before it may be read by postfix tests (at most 4096) and hold a trie key's length.
    pub const REGIONS: i32 = 4096 + 256;
    /// Text of one region.
    pub const TEXT_MAX: i32 = 4096;
    /// Distance between regions: text, then zeros up to the longest trie key (256 bytes) and slack for a name.
    pub const REGION: i32 = TEXT_MAX + 512;
    /// Text arguments of one program: a hook has at most 5, several hooks share most of them.
    pub const REGION_COUNT: usize = 4;
    /// The event under construction: at most [`EVENT_MAX`] bytes.
    pub const EVENT: i32 = REGIONS + REGION * REGION_COUNT as i32;
    /// 56 bytes of header, 5 arguments of at most 96 bytes besides text, and 8 KiB of text.
    pub const EVENT_MAX: i32 = 9216;
    /// Text bytes of one event, shared by its text arguments.
    pub const EVENT_TEXT: i32 = 8192;

    const _: () = assert!(EVENT + EVENT_MAX <= api::artefact::SCRATCH_SIZE as i32);

    /// Start of the `n`th region.
    pub fn region(n: usize) -> i32 {
        REGIONS + REGION * n as i32
    }
}
