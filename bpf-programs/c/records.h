/* The binary contract between everything that runs in the kernel (the fixed programs here, and the programs
 * that the policy compiler emits) and the agent that reads it. The Rust mirror is bpf-programs/src/layout.rs.
 *
 * One ring buffer carries all records. All times are CLOCK_BOOTTIME nanoseconds. All integers are in host
 * byte order, structures are naturally aligned, record lengths are multiples of 8.
 */
#ifndef FERRAGON_RECORDS_H
#define FERRAGON_RECORDS_H

enum record_kind {
	RECORD_EXEC = 1,      /* a process image started */
	RECORD_EXEC_DATA = 2, /* a further piece of the arguments of an exec that did not fit RECORD_EXEC */
	RECORD_FORK = 3,      /* a thread group was created */
	RECORD_EXIT = 4,      /* the last thread of a group left */
	RECORD_HOOK = 5,      /* a policy's selector matched; written by emitted programs */
};

struct record_header {
	__u16 kind;  /* enum record_kind */
	__u16 flags; /* per kind */
	__u32 len;   /* whole record, bytes */
	__u64 time;  /* CLOCK_BOOTTIME */
};

/* Words of process bits; one bit per distinct set of binaries, pids or workloads in force on this node:
 * 4 words x 64 = 256 sets. */
#define PROCESS_WORDS 4

/* Value of the map `processes` (hash, key: __u32 tgid in the initial pid namespace, 32768 entries).
 * (tgid, start) is the identity of a process image everywhere: in records, in exec_id. */
struct process {
	__u64 start;                       /*   0: time of the exec (or fork) that made this image */
	__u64 parent_start;                /*   8: `start` of the parent at fork, 0 unknown */
	__u32 parent_tgid;                 /*  16 */
	__u32 flags;                       /*  20: PROCESS_* */
	__u64 own[PROCESS_WORDS];          /*  24: sets that this image's binary is in */
	__u64 parent[PROCESS_WORDS];       /*  56: sets that the parent's binary was in at fork */
	__u64 inherited[PROCESS_WORDS];    /*  88: sets that an ancestor's (or an earlier image's) `own` was in */
};                                         /* 120 bytes */

#define PROCESS_EXECVE 0x1 /* this image came from execve (else only forked) */
#define PROCESS_IN_INIT_TREE 0x2
/* The other bits: with PROCESS_EXECVE, the low bits of the task's `self_exec_id`, which counts execs; 0 if the agent
 * entered the process. */
#define PROCESS_EXEC_SHIFT 8

/* Copies of the program for exec. */
#define EXEC_COPIES 3

/* Value of RECORD_EXEC: the new image's `start` is header.time. Followed by `filename_len`, `cwd_len`,
 * `cgroup_len` and `args_len` bytes of text without NUL at their ends, then padding to 8. */
struct exec_record {
	struct record_header header;   /*   0: flags: EXEC_* */
	__u32 tgid;                    /*  16 */
	__u32 parent_tgid;             /*  20: at fork, or now if the fork was not seen */
	__u64 previous_start;          /*  24: start of the image that this one replaces, 0 unknown */
	__u64 parent_start;            /*  32: 0 unknown */
	__u64 cgroup_id;               /*  40: in the cgroup2 hierarchy */
	__u32 uid, gid, suid, sgid;    /*  48: ids in the initial user namespace */
	__u32 euid, egid, fsuid, fsgid;
	__u64 cap_inheritable;         /*  80 */
	__u64 cap_permitted;
	__u64 cap_effective;
	__u32 securebits;              /* 104 */
	__u32 auid;                    /* 108: 4294967295 unset */
	__u32 namespaces[10];          /* 112: inodes, by enum namespace_kind; 0: kernel has none */
	__u32 ns_tgid;                 /* 152: process id in the process's own pid namespace */
	__u32 args_total;              /* 156: bytes of all arguments, each with its NUL */
	__u32 args_len;                /* 160: bytes of them in this record */
	__u32 args_chunked;            /* 164: bytes of them in the RECORD_EXEC_DATA before this one */
	__u16 filename_len;            /* 168 */
	__u16 cwd_len;                 /* 170: " (deleted)" at its end included */
	__u16 cgroup_len;              /* 172: name of the cgroup, the last component only */
	__u16 zero;                    /* 174 */
};                                     /* 176 bytes */

#define EXEC_FORKED 0x1           /* the replaced image came from a fork, not from an exec */
#define EXEC_IN_INIT_TREE 0x2
#define EXEC_MISSED 0x4           /* the process was not in the map */
#define EXEC_ERROR_FILENAME 0x8   /* filename unreadable */
#define EXEC_ERROR_ARGS 0x10      /* arguments unreadable from some byte on */
#define EXEC_NO_CWD 0x20          /* no working directory */
#define EXEC_CWD_INCOMPLETE 0x40  /* leading components are missing */
#define EXEC_ARGS_LOST 0x80       /* a RECORD_EXEC_DATA did not fit the ring buffer */

enum namespace_kind {
	NAMESPACE_UTS, NAMESPACE_IPC, NAMESPACE_MNT, NAMESPACE_PID, NAMESPACE_PID_FOR_CHILDREN, NAMESPACE_NET,
	NAMESPACE_TIME, NAMESPACE_TIME_FOR_CHILDREN, NAMESPACE_CGROUP, NAMESPACE_USER,
};

/* Arguments that fit an exec_record; the rest comes before it in exec_data_records. */
#define EXEC_INLINE_ARGS 4096
/* Bytes of arguments in one exec_data_record. */
#define EXEC_DATA_SIZE 16384
/* exec_data_records of one exec: 4 KiB + 16 x 16 KiB = 260 KiB of arguments are kept of each exec, so that one
 * exec cannot take more than 1/32 of an 8 MiB ring buffer. The kernel's own limit is RLIMIT_STACK / 4. */
#define EXEC_DATA_RECORDS 16

/* RECORD_EXEC_DATA. `header.time` is the `start` of the image that the exec_record after it announces. The
 * record has always room for EXEC_DATA_SIZE bytes. */
struct exec_data_record {
	struct record_header header;
	__u32 tgid;
	__u32 len;    /* bytes used */
	__u32 offset; /* of the first byte in the arguments */
	__u32 zero;
};                    /* 32 bytes, then EXEC_DATA_SIZE */

/* RECORD_FORK. The child's `start` is header.time. */
struct fork_record {
	struct record_header header; /* flags: FORK_* */
	__u32 tgid;
	__u32 parent_tgid;
	__u64 parent_start;  /* 0 unknown */
	__u32 origin_tgid;   /* whose image it has: the parent, but for CLONE_PARENT */
	__u32 zero;
	__u64 origin_start;  /* 0 unknown */
};                           /* 48 bytes */

#define FORK_IN_INIT_TREE 0x1
#define FORK_KERNEL_THREAD 0x2 /* until it execs, if ever */

/* RECORD_EXIT. */
struct exit_record {
	struct record_header header; /* flags: EXIT_* */
	__u32 tgid;
	__u32 code;  /* as wait(2) gives it: signal in the low 7 bits, 0x80 core dumped, status << 8 */
	__u64 start;
};                                   /* 32 bytes */

#define EXIT_KERNEL_THREAD 0x1

/* Keys of the per-CPU array `lost`. */
enum loss {
	LOST_PROCESS = 0, /* the map `processes` is full: the process is not followed */
	/* 1..5, enum record_kind: the ring buffer was full */
	LOSSES = 8,
};

/* Exec-time tables: which sets a process is in. Values are __u64[PROCESS_WORDS].
 *
 * binary_exact_prefix (LPM trie): the path of the executable. A value equal to the path is entered with its NUL,
 *   a prefix without. Each value has the bits of all shorter entries that are its prefixes. A path with more components
 *   than are followed is not looked up here.
 * binary_postfix (LPM trie): the last bytes of the path in reverse order. Each value has the bits of all shorter
 *   entries that are its prefixes.
 * pid_sets (hash): process id, for sets that name pids.
 * cgroup_sets (hash, key: __u64 id in the cgroup2 hierarchy): sets of workloads. Those of a process are in the entry of
 *   its own cgroup or else of the nearest one above that has an entry; that of the root cgroup is for the host. */
#define BINARY_PREFIX_MAX 256  /* path bytes, with NUL */
#define BINARY_POSTFIX_MAX 128 /* path bytes; sets use up to 127 */

struct binary_prefix_key {
	__u32 bits; /* 8 x bytes used */
	__u8 path[BINARY_PREFIX_MAX];
};

struct binary_postfix_key {
	__u32 bits;
	__u8 reversed[BINARY_POSTFIX_MAX];
};

/* Value of the one-element array `config`. */
struct base_config {
	__u32 tables; /* TABLE_*: which exec-time tables are in use */
	__u32 zero;
};

#define TABLE_PREFIX 0x1
#define TABLE_POSTFIX 0x2
#define TABLE_PIDS 0x4
#define TABLE_CGROUPS 0x8

/* Levels above a process's cgroup that are searched for an entry: a container's is 3 to 8 levels below the root, which
 * always has one, and what runs in it may make some levels more. */
#define CGROUP_LEVELS 16
/* Entries of `cgroup_sets`: a node has at most some hundred pods, with a few containers each. */
#define CGROUPS 4096

/* Value of RECORD_HOOK records, followed by the arguments. header.flags: KPROBE_ACTION_* value of the last
 * action of matchReturnActions that was processed, 0 if none. */
struct hook_record {
	struct record_header header;
	__u32 tgid, tid;      /* initial pid namespace */
	__u64 process_start;  /* 0: process not in the map */
	__u32 program;        /* id that the agent gave to the emitted program */
	__u16 hook;           /* index into the artefact's hook schemas */
	__u16 selector;       /* index in that hook; 0xffff: hook without selectors */
	__u32 action;         /* KPROBE_ACTION_* value of the last action processed */
	__u32 nargs;          /* arguments that follow */
};                            /* 48 bytes */

/* Each argument: this header, then `len` bytes, padded to 8. */
struct hook_arg {
	__u16 kind;  /* enum arg_kind */
	__u16 flags; /* ARG_* */
	__u32 len;   /* payload bytes, without padding */
};

#define ARG_ERROR 0x1     /* could not be read: the payload means nothing */
#define ARG_TRUNCATED 0x2 /* text: cut; path: components unresolved */

enum arg_kind {
	ARG_INT = 1,      /* __u64, sign- or zero-extended from its type */
	ARG_TEXT = 2,     /* bytes, no NUL */
	ARG_PATH = 3,     /* __u32 i_mode, __u32 zero, then bytes, no NUL */
	ARG_BYTES = 4,    /* __u64 size asked for, then bytes */
	ARG_SOCK = 5,     /* struct sock_arg */
	ARG_SOCKADDR = 6, /* struct sockaddr_arg */
	ARG_SKB = 7,      /* struct skb_arg */
	ARG_CRED = 8,     /* struct cred_arg */
	ARG_NONE = 9,     /* nop: no payload */
};

struct sock_arg {
	__u16 family, type, protocol, state;
	__u32 mark, priority;
	__u16 sport, dport; /* host order */
	__u32 zero;
	__u8 saddr[16], daddr[16]; /* IPv4 in the first 4 bytes */
	__u64 cookie;
}; /* 64 bytes */

struct sockaddr_arg {
	__u16 family, port; /* port in host order */
	__u32 zero;
	__u8 addr[16];
}; /* 24 bytes */

struct skb_arg {
	__u32 hash, len, priority, mark;
	__u16 family, protocol; /* protocol: IPPROTO_* */
	__u16 sport, dport;     /* host order */
	__u8 saddr[16], daddr[16];
	__u32 sec_path_len, sec_path_olen;
}; /* 64 bytes */

struct cred_arg {
	__u32 uid, gid, euid, egid, suid, sgid, fsuid, fsgid;
	__u64 permitted, effective, inheritable;
	__u32 securebits;
	__s32 user_ns_level;
	__u32 user_ns_owner, user_ns_group;
	__u32 user_ns_inum, zero;
}; /* 80 bytes */

#endif
