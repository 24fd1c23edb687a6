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

/* Words of process bits; one bit per distinct matchBinaries/matchPIDs set in force on this node:
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
};                            /* 56 bytes */

/* Each argument: this header, then `len` bytes, padded to 8. */
struct hook_arg {
	__u16 kind;  /* enum arg_kind */
	__u16 flags; /* ARG_* */
	__u32 len;   /* payload bytes, without padding */
};

#define ARG_ERROR 0x1     /* could not be read: payload is empty */
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
