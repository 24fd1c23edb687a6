/* The maps that the fixed programs share with each other and with the agent. */
#ifndef FERRAGON_MAPS_H
#define FERRAGON_MAPS_H

#include "records.h"

/* Sizes given here are defaults: the agent sets `events` and may set `processes` when it loads the object. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} events SEC(".maps");

/* Preallocated: programs that run in any context may not allocate on kernels before 6.1. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct process);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSSES);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct base_config);
} config SEC(".maps");

struct process_words {
	__u64 word[PROCESS_WORDS];
};

/* 256 sets of at most a few dozen paths each; a trie allocates what it holds, so this is a bound, not a cost. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct binary_prefix_key);
	__type(value, struct process_words);
} binary_exact_prefix SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct binary_postfix_key);
	__type(value, struct process_words);
} binary_postfix SEC(".maps");

/* 1024 x (4 + 32 + 48 bytes of the kernel's) = 84 KiB. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct process_words);
} pid_sets SEC(".maps");

/* Directories of pods, and their containers: 4,096 x (8 + 32 + 48 bytes of the kernel's) = 352 KiB. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CGROUPS);
	__type(key, __u64);
	__type(value, struct process_words);
} cgroup_sets SEC(".maps");

#define PATH_MAX 4096
#define NAME_MAX 255

/* file name + working directory + cgroup name + arguments is at most 3 x 4096 + 256 bytes; the mask is what the
 * verifier sees of an offset, and each read of up to 4096 bytes may start at any such offset. */
#define TEXT_MASK 0x3fff
#define TEXT_SIZE (TEXT_MASK + 1 + PATH_MAX)

/* Where an exec's record is built, one for each copy of the program. 26 KiB: below the 32 KiB that a per-CPU value may
 * have. The agent makes room for EXEC_COPIES where all are attached. */
struct scratch {
	__u64 copy; /* its own index */
	/* A path walk: where it is, ... */
	__u64 mnt, dentry, mnt_root;
	/* ... where it ends, ... */
	__u64 root_mnt, root_dentry;
	/* ... and what it made: path[pos..PATH_MAX]. */
	__u32 pos;
	__u32 incomplete;
	__u8 path[PATH_MAX + NAME_MAX + 1];
	struct process_words own;
	struct binary_prefix_key prefix;
	struct binary_postfix_key postfix;
	__u32 padding;
	struct exec_record record;
	__u8 text[TEXT_SIZE];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* For bpf_ringbuf_submit and _output. A wake-up from inside of a program invites its preemption, so the agent looks every
 * few ten milliseconds by itself; it is called before the buffer can fill up meanwhile. */
static __always_inline __u64 wake_up(void)
{
	__u64 size = bpf_ringbuf_query(&events, BPF_RB_RING_SIZE);

	return bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > size / 8 ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

static __always_inline void count_loss(__u32 kind)
{
	__u64 *count = bpf_map_lookup_elem(&lost, &kind);

	if (count)
		*count += 1;
}

#endif
