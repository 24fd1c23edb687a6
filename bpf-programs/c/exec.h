/* The record of an exec. */
#ifndef FERRAGON_EXEC_H
#define FERRAGON_EXEC_H

#include "process_sets.h"

#define inode_of(pointer)                                   \
	({                                                  \
		typeof(pointer) _namespace = (pointer);     \
		_namespace ? _namespace->ns.inum : 0;       \
	})

static __always_inline void fill_namespaces(struct exec_record *record, struct task_struct *task)
{
	struct nsproxy *proxy = task->nsproxy;

	if (!proxy)
		return;
	record->namespaces[NAMESPACE_UTS] = inode_of(proxy->uts_ns);
	record->namespaces[NAMESPACE_IPC] = inode_of(proxy->ipc_ns);
	record->namespaces[NAMESPACE_MNT] = inode_of(proxy->mnt_ns);
	record->namespaces[NAMESPACE_PID_FOR_CHILDREN] = inode_of(proxy->pid_ns_for_children);
	record->namespaces[NAMESPACE_NET] = inode_of(proxy->net_ns);
	record->namespaces[NAMESPACE_TIME] = 0;
	record->namespaces[NAMESPACE_TIME_FOR_CHILDREN] = 0;
	if (bpf_core_field_exists(struct time_namespace, ns)) {
		record->namespaces[NAMESPACE_TIME] = inode_of(proxy->time_ns);
		record->namespaces[NAMESPACE_TIME_FOR_CHILDREN] = inode_of(proxy->time_ns_for_children);
	}
	record->namespaces[NAMESPACE_CGROUP] = 0;
	if (bpf_core_field_exists(struct cgroup_namespace, ns))
		record->namespaces[NAMESPACE_CGROUP] = inode_of(proxy->cgroup_ns);
}

/* The id in the process's own pid namespace, and that namespace. */
static __always_inline void fill_own_pid(struct exec_record *record, struct task_struct *task)
{
	struct pid *pid = 0;
	struct pid_namespace *namespace = 0;
	__u32 level = 0, inode = 0;
	struct upid *number;
	int nr = 0;

	read_member(pid, task, thread_pid);
	read_member(level, pid, level);
	number = (void *)((__u64)pid + bpf_core_field_offset(struct pid, numbers) +
			  level * bpf_core_type_size(struct upid));
	read_member(nr, number, nr);
	read_member(namespace, number, ns);
	read_member(inode, namespace, ns.inum);
	record->ns_tgid = nr;
	record->namespaces[NAMESPACE_PID] = inode;
}

static __always_inline void fill_credentials(struct exec_record *record, struct task_struct *task)
{
	const struct cred *cred = task->cred;

	record->auid = 4294967295;
	if (bpf_core_field_exists(struct task_struct, loginuid))
		record->auid = task->loginuid.val;
	if (!cred)
		return;
	record->uid = cred->uid.val;
	record->gid = cred->gid.val;
	record->suid = cred->suid.val;
	record->sgid = cred->sgid.val;
	record->euid = cred->euid.val;
	record->egid = cred->egid.val;
	record->fsuid = cred->fsuid.val;
	record->fsgid = cred->fsgid.val;
	record->securebits = cred->securebits;
	read_member(record->cap_inheritable, cred, cap_inheritable);
	read_member(record->cap_permitted, cred, cap_permitted);
	read_member(record->cap_effective, cred, cap_effective);
	record->namespaces[NAMESPACE_USER] = inode_of(cred->user_ns);
}

/* The parts of the text follow each other; each returns where the next one starts. */

static __always_inline __u32 append_filename(struct scratch *s, struct linux_binprm *bprm)
{
	long len = bpf_probe_read_kernel_str(s->text, PATH_MAX, bprm->filename);

	if (len <= 0) {
		s->record.header.flags |= EXEC_ERROR_FILENAME;
		len = 1;
	}
	s->record.filename_len = len - 1;
	return len - 1;
}

static __always_inline __u32 append_cwd(struct scratch *s, struct task_struct *task, __u32 end)
{
	struct fs_struct *fs = task->fs;
	__u32 pos;
	__u64 len;

	if (!fs || !fs->pwd.dentry) {
		s->record.header.flags |= EXEC_NO_CWD;
		s->record.cwd_len = 0;
		return end;
	}
	walk_path(s, fs->pwd.mnt, fs->pwd.dentry, fs->root.mnt, fs->root.dentry);
	if (s->incomplete)
		s->record.header.flags |= EXEC_CWD_INCOMPLETE;
	pos = s->pos;
	len = at_most(PATH_MAX - pos, PATH_MAX);
	bpf_probe_read_kernel(&s->text[masked(end, TEXT_MASK)], len, &s->path[pos & (PATH_MAX - 1)]);
	s->record.cwd_len = len;
	return end + len;
}

static __always_inline __u32 append_cgroup(struct scratch *s, struct task_struct *task, __u32 end)
{
	struct css_set *set = task->cgroups;
	struct cgroup *group = set ? set->dfl_cgrp : 0;
	struct kernfs_node *node = group ? group->kn : 0;
	long len;

	s->record.cgroup_len = 0;
	s->record.cgroup_id = 0;
	if (!node)
		return end;
	s->record.cgroup_id = node->id;
	len = bpf_probe_read_kernel_str(&s->text[masked(end, TEXT_MASK)], NAME_MAX + 1, node->name);
	if (len <= 0)
		return end;
	s->record.cgroup_len = len - 1;
	return end + len - 1;
}

/* Sends up to EXEC_DATA_SIZE bytes of the arguments, `left` there are from byte `offset` on. Written straight into
 * the ring buffer: a record has a fixed size there, so the last one is mostly empty; that is cheaper than a copy.
 * Returns how many bytes, 0 if it failed. Not static for the reason that walk_step is not. */
__noinline int send_args_piece(__u32 copy, __u64 address, __u32 offset, __u32 left)
{
	struct scratch *s = bpf_map_lookup_elem(&scratch, &copy);
	struct exec_data_record *data;
	__u64 size;

	if (!s)
		return 0;
	data = bpf_ringbuf_reserve(&events, sizeof(*data) + EXEC_DATA_SIZE, 0);
	if (!data) {
		s->record.header.flags |= EXEC_ARGS_LOST;
		count_loss(RECORD_EXEC_DATA);
		return 0;
	}
	size = at_most(left, EXEC_DATA_SIZE);
	data->header.kind = RECORD_EXEC_DATA;
	data->header.flags = 0;
	data->header.len = sizeof(*data) + EXEC_DATA_SIZE;
	data->header.time = s->record.header.time;
	data->tgid = s->record.tgid;
	data->len = size;
	data->offset = offset;
	data->zero = 0;
	if (bpf_probe_read_user(data + 1, size, (void *)address)) {
		bpf_ringbuf_discard(data, 0);
		s->record.header.flags |= EXEC_ERROR_ARGS;
		return 0;
	}
	bpf_ringbuf_submit(data, wake_up());
	return size;
}

/* Sends what of the arguments does not fit the record itself. */
static __always_inline void send_long_args(struct scratch *s, __u64 start, __u32 total)
{
	__u32 sent = EXEC_INLINE_ARGS;

	for (int i = 0; i < EXEC_DATA_RECORDS; i++) {
		int size;

		if (sent >= total)
			break;
		size = send_args_piece(s->copy, start + sent, sent, total - sent);
		if (!size)
			break;
		sent += size;
	}
	s->record.args_chunked = sent - EXEC_INLINE_ARGS;
}

static __always_inline __u32 append_args(struct scratch *s, struct mm_struct *mm, __u32 end)
{
	__u64 start = mm->arg_start, total = mm->arg_end - start, len;

	if (total > 0x7fffffff)
		total = 0;
	s->record.args_total = total;
	s->record.args_chunked = 0;
	len = at_most(total, EXEC_INLINE_ARGS);
	if (bpf_probe_read_user(&s->text[masked(end, TEXT_MASK)], len, (void *)start)) {
		s->record.header.flags |= EXEC_ERROR_ARGS;
		s->record.args_len = 0;
		return end;
	}
	s->record.args_len = len;
	if (total > EXEC_INLINE_ARGS)
		send_long_args(s, start, total);
	return end + len;
}

static __always_inline void send_exec(struct scratch *s, struct task_struct *task, struct mm_struct *mm,
				      struct linux_binprm *bprm)
{
	__u32 len;
	__u64 size;

	fill_namespaces(&s->record, task);
	fill_own_pid(&s->record, task);
	fill_credentials(&s->record, task);
	len = append_filename(s, bprm);
	len = append_cwd(s, task, len);
	len = append_cgroup(s, task, len);
	len = append_args(s, mm, len);
	size = at_most((sizeof(s->record) + len + 7) & ~7, sizeof(s->record) + TEXT_SIZE);
	s->record.header.kind = RECORD_EXEC;
	s->record.header.len = size;
	if (bpf_ringbuf_output(&events, &s->record, size, wake_up()))
		count_loss(RECORD_EXEC);
}

#endif
