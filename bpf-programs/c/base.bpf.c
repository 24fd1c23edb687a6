/* The life cycle of processes: who runs what, in which sets of binaries it is, where it came from.
 *
 * In: the scheduler's tracepoints sched_process_{exec,exit} and sched_wakeup_new, called by the task that executes, exits
 * or forks.
 * Out: the map `processes` for emitted programs, records in `events` for the agent.
 *
 * The programs are BTF-typed raw tracepoints: members of the tracepoint's own arguments are read by plain loads,
 * which cost one instruction each; what is only an address is read by bpf_probe_read_kernel.
 *
 * A tracepoint's program is skipped on a CPU on which it runs already (__bpf_trace_run, kernel/trace/bpf_trace.c). None of
 * these runs in an interrupt, so that happens only where a task can be preempted inside of a program: from Linux 7.0 on.
 * A process that was missed at its birth would be in no set, one missed at its exec in its former image's. Hence:
 *
 * - Births are seen at sched_wakeup_new, which the kernel passes with interrupts off and the run queue locked, as it is
 *   about to let the new task run.
 * - The programs for exec and exit have copies, attached after them on such kernels. A copy does what an earlier one was
 *   not let to, else nothing; so the last one is skipped only if as many tasks as there are copies were preempted on one
 *   CPU, each in another. What it misses is counted (`recursion_misses`).
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "exec.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define BPF_ARGUMENT(type, index) ((type)ctx[index])

_Static_assert(sizeof(struct process) == 120, "struct process");
_Static_assert(sizeof(struct exec_record) == 176, "struct exec_record");
_Static_assert(sizeof(struct exec_data_record) == 32, "struct exec_data_record");
_Static_assert(sizeof(struct fork_record) == 48, "struct fork_record");
_Static_assert(sizeof(struct exit_record) == 32, "struct exit_record");
_Static_assert(sizeof(struct hook_record) == 48, "struct hook_record");
_Static_assert(sizeof(struct scratch) <= 32768, "a per-CPU value has at most 32 KiB");
_Static_assert(__builtin_offsetof(struct scratch, text) ==
		       __builtin_offsetof(struct scratch, record) + sizeof(struct exec_record),
	       "the text follows the record");

/* An image that no fork or exec that we saw started: all that is known is its parent, and what that descends from. */
static __always_inline void describe_missed(struct process *process, struct task_struct *task)
{
	struct task_struct *parent = task->real_parent;
	struct process *known;
	__u32 tgid;

	if (!parent)
		return;
	tgid = parent->tgid;
	process->parent_tgid = tgid;
	known = bpf_map_lookup_elem(&processes, &tgid);
	if (known) {
		process->parent_start = known->start;
		process->flags = known->flags & PROCESS_IN_INIT_TREE;
		for (int i = 0; i < PROCESS_WORDS; i++) {
			process->parent[i] = known->own[i];
			process->inherited[i] = known->inherited[i] | known->own[i];
		}
	}
}

/* What identifies an exec among those of one process, as it is in the flags of its entry. */
static __always_inline __u32 exec_id_bits(struct task_struct *task)
{
	return (__u32)task->self_exec_id << PROCESS_EXEC_SHIFT;
}

/* Takes the new image into the map; says in the record what it replaces. */
static __always_inline void replace_image(struct scratch *s, struct task_struct *task, __u64 now)
{
	struct exec_record *record = &s->record;
	__u32 tgid = task->tgid;
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);

	record->header.flags = 0;
	record->previous_start = 0;
	if (process) {
		record->previous_start = process->start;
		if (!(process->flags & PROCESS_EXECVE))
			record->header.flags |= EXEC_FORKED;
		for (int i = 0; i < PROCESS_WORDS; i++) {
			process->inherited[i] |= process->own[i];
			process->own[i] = s->own.word[i];
		}
		/* In place: the key stays, and no other thread of this process is left to see it half done. */
		process->start = now;
		process->flags = (process->flags & PROCESS_IN_INIT_TREE) | PROCESS_EXECVE | exec_id_bits(task);
		record->parent_tgid = process->parent_tgid;
		record->parent_start = process->parent_start;
		if (process->flags & PROCESS_IN_INIT_TREE)
			record->header.flags |= EXEC_IN_INIT_TREE;
	} else {
		struct process missed = {};

		describe_missed(&missed, task);
		missed.start = now;
		missed.flags |= PROCESS_EXECVE | exec_id_bits(task);
		for (int i = 0; i < PROCESS_WORDS; i++)
			missed.own[i] = s->own.word[i];
		record->header.flags |= EXEC_MISSED;
		record->parent_tgid = missed.parent_tgid;
		record->parent_start = missed.parent_start;
		if (missed.flags & PROCESS_IN_INIT_TREE)
			record->header.flags |= EXEC_IN_INIT_TREE;
		if (bpf_map_update_elem(&processes, &tgid, &missed, BPF_ANY))
			count_loss(LOST_PROCESS);
	}
}

/* Whether an earlier copy of the program has followed this exec. Those after the first leave a process alone that has no
 * entry: there was no room for one. */
static __always_inline int exec_followed(const struct process *process, struct task_struct *task, __u32 copy)
{
	if (!process)
		return copy > 0;
	return (process->flags & PROCESS_EXECVE) &&
	       process->flags >> PROCESS_EXEC_SHIFT == exec_id_bits(task) >> PROCESS_EXEC_SHIFT;
}

/* (struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm) */
static __always_inline int follow_exec(__u64 *ctx, __u32 copy)
{
	struct task_struct *task = BPF_ARGUMENT(struct task_struct *, 0);
	struct linux_binprm *bprm = BPF_ARGUMENT(struct linux_binprm *, 2);
	struct mm_struct *mm = task->mm;
	__u32 tgid = task->tgid;
	struct scratch *s;
	__u64 now;

	if (exec_followed(bpf_map_lookup_elem(&processes, &tgid), task, copy))
		return 0;
	s = bpf_map_lookup_elem(&scratch, &copy);
	if (!s || !mm)
		return 0;
	s->copy = copy;
	now = bpf_ktime_get_boot_ns();
	find_sets(s, task, mm);
	s->record.header.time = now;
	s->record.tgid = tgid;
	s->record.zero = 0;
	replace_image(s, task, now);
	send_exec(s, task, mm, bprm);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int process_exec(__u64 *ctx)
{
	return follow_exec(ctx, 0);
}

SEC("tp_btf/sched_process_exec")
int process_exec_2(__u64 *ctx)
{
	return follow_exec(ctx, 1);
}

SEC("tp_btf/sched_process_exec")
int process_exec_3(__u64 *ctx)
{
	return follow_exec(ctx, 2);
}

/* Process 1 of a pid namespace other than the initial one. */
static __always_inline int is_namespace_init(struct task_struct *task)
{
	struct pid *pid = 0;
	struct upid *number;
	__u32 level = 0;
	int nr = 0;

	read_member(pid, task, thread_pid);
	read_member(level, pid, level);
	if (!level)
		return 0;
	number = (void *)((__u64)pid + bpf_core_field_offset(struct pid, numbers) +
			  level * bpf_core_type_size(struct upid));
	read_member(nr, number, nr);
	return nr == 1;
}

static __always_inline void send_fork(const struct process *child, struct task_struct *task, __u32 origin,
				      __u64 origin_start)
{
	struct fork_record *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);

	if (!record) {
		count_loss(RECORD_FORK);
		return;
	}
	record->header.kind = RECORD_FORK;
	record->header.flags = (child->flags & PROCESS_IN_INIT_TREE ? FORK_IN_INIT_TREE : 0) |
			       (task->flags & PF_KTHREAD ? FORK_KERNEL_THREAD : 0);
	record->header.len = sizeof(*record);
	record->header.time = child->start;
	record->tgid = task->tgid;
	record->parent_tgid = child->parent_tgid;
	record->parent_start = child->parent_start;
	record->origin_tgid = origin;
	record->zero = 0;
	record->origin_start = origin_start;
	bpf_ringbuf_submit(record, wake_up());
}

/* (struct task_struct *p): the new task; the current one is the caller of fork. */
SEC("tp_btf/sched_wakeup_new")
int process_fork(__u64 *ctx)
{
	struct task_struct *task = BPF_ARGUMENT(struct task_struct *, 0);
	struct task_struct *parent = task->real_parent;
	__u32 tgid = task->tgid, origin = bpf_get_current_pid_tgid() >> 32, parent_tgid;
	struct process child = {}, *image, *above;
	__u64 origin_start = 0;

	if (task->pid != task->tgid || !parent)
		return 0;
	parent_tgid = parent->tgid;
	image = bpf_map_lookup_elem(&processes, &origin);
	/* CLONE_PARENT: the child has the caller's image, but the caller's parent. */
	above = image;
	if (parent_tgid != origin)
		above = bpf_map_lookup_elem(&processes, &parent_tgid);
	child.start = bpf_ktime_get_boot_ns();
	child.parent_tgid = parent_tgid;
	if (image) {
		origin_start = image->start;
		child.flags = image->flags & PROCESS_IN_INIT_TREE;
		for (int i = 0; i < PROCESS_WORDS; i++) {
			child.own[i] = image->own[i];
			child.inherited[i] = image->inherited[i] | image->own[i];
		}
	}
	if (above) {
		child.parent_start = above->start;
		for (int i = 0; i < PROCESS_WORDS; i++)
			child.parent[i] = above->own[i];
	}
	if (tables_in_use() & TABLE_PIDS)
		add_pid_sets((struct process_words *)child.own, tgid);
	if (!(child.flags & PROCESS_IN_INIT_TREE) && is_namespace_init(task))
		child.flags |= PROCESS_IN_INIT_TREE;
	if (bpf_map_update_elem(&processes, &tgid, &child, BPF_ANY))
		count_loss(LOST_PROCESS);
	send_fork(&child, task, origin, origin_start);
	return 0;
}

/* As wait(2) sees it: the group's code if one was set for all, else the leader's. */
static __always_inline int wait_status(struct task_struct *task, struct signal_struct *signal)
{
	struct task_struct *leader = task->group_leader;

	if (signal->flags & SIGNAL_GROUP_EXIT)
		return signal->group_exit_code;
	return leader ? leader->exit_code : task->exit_code;
}

/* (struct task_struct *p, ...): called for each thread after it has left `live`. */
static __always_inline int follow_exit(__u64 *ctx)
{
	struct task_struct *task = BPF_ARGUMENT(struct task_struct *, 0);
	struct signal_struct *signal = task->signal;
	__u32 tgid = task->tgid;
	struct process *process;
	struct exit_record *record;
	__u64 start;

	if (!signal || signal->live.counter != 0)
		return 0;
	process = bpf_map_lookup_elem(&processes, &tgid);
	if (!process)
		return 0;
	start = process->start;
	/* Two threads that leave at once both see `live` at 0; only one of them can delete, and only one copy. */
	if (bpf_map_delete_elem(&processes, &tgid))
		return 0;
	record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
	if (!record) {
		count_loss(RECORD_EXIT);
		return 0;
	}
	record->header.kind = RECORD_EXIT;
	record->header.flags = task->flags & PF_KTHREAD ? EXIT_KERNEL_THREAD : 0;
	record->header.len = sizeof(*record);
	record->header.time = bpf_ktime_get_boot_ns();
	record->tgid = tgid;
	record->code = wait_status(task, signal);
	record->start = start;
	bpf_ringbuf_submit(record, wake_up());
	return 0;
}

SEC("tp_btf/sched_process_exit")
int process_exit(__u64 *ctx)
{
	return follow_exit(ctx);
}

SEC("tp_btf/sched_process_exit")
int process_exit_2(__u64 *ctx)
{
	return follow_exit(ctx);
}

/* Run by the agent (BPF_PROG_TEST_RUN), attached to nothing: changes one word of a running process's bits if it
 * still is the image that the agent means. Returns 1 if so.
 *
 * (tgid, start, word, own set, own clear, parent set, parent clear, inherited set, inherited clear) */
SEC("raw_tp/set_process_bits")
int set_process_bits(__u64 *ctx)
{
	__u32 tgid = ctx[0];
	__u64 word = ctx[2];
	struct process *process = bpf_map_lookup_elem(&processes, &tgid);

	if (!process || process->start != ctx[1] || word >= PROCESS_WORDS)
		return 0;
	word &= PROCESS_WORDS - 1;
	process->own[word] = (process->own[word] | ctx[3]) & ~ctx[4];
	process->parent[word] = (process->parent[word] | ctx[5]) & ~ctx[6];
	process->inherited[word] = (process->inherited[word] | ctx[7]) & ~ctx[8];
	/* An exec in between has taken the old `own` into `inherited`, or not; the agent tries again. */
	return process->start == ctx[1];
}
