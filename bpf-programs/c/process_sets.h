/* Which sets a new image is in by its executable and its cgroup, from the exec-time tables. */
#ifndef FERRAGON_PROCESS_SETS_H
#define FERRAGON_PROCESS_SETS_H

#include "path.h"

static __always_inline __u32 tables_in_use(void)
{
	__u32 zero = 0;
	struct base_config *current_config = bpf_map_lookup_elem(&config, &zero);

	return current_config ? current_config->tables : 0;
}

static __always_inline void add_words(struct process_words *to, const struct process_words *from)
{
	if (!from)
		return;
	for (int i = 0; i < PROCESS_WORDS; i++)
		to->word[i] |= from->word[i];
}

static __always_inline void add_pid_sets(struct process_words *own, __u32 tgid)
{
	add_words(own, bpf_map_lookup_elem(&pid_sets, &tgid));
}

static __always_inline void add_prefix_sets(struct scratch *s, __u32 len)
{
	/* A path that does not fit is equal to no value, so it is looked up without its NUL. */
	__u32 bytes = len < BINARY_PREFIX_MAX ? len + 1 : BINARY_PREFIX_MAX - 1;
	__u64 copied = at_most(len, BINARY_PREFIX_MAX - 1);

	bpf_probe_read_kernel(s->prefix.path, copied, &s->path[s->pos & (PATH_MAX - 1)]);
	s->prefix.path[copied] = 0;
	s->prefix.bits = bytes * 8;
	add_words(&s->own, bpf_map_lookup_elem(&binary_exact_prefix, &s->prefix));
}

static __noinline int add_postfix_sets(struct scratch *s, __u32 len)
{
	if (len > BINARY_POSTFIX_MAX - 1)
		len = BINARY_POSTFIX_MAX - 1;
	for (__u32 i = 0; i < BINARY_POSTFIX_MAX - 1; i++) {
		if (i >= len)
			break;
		s->postfix.reversed[i] = s->path[PATH_MAX - 1 - i];
	}
	s->postfix.bits = len * 8;
	add_words(&s->own, bpf_map_lookup_elem(&binary_postfix, &s->postfix));
	return 0;
}

static __always_inline void add_binary_sets(struct scratch *s, struct task_struct *task, struct mm_struct *mm,
					    __u32 tables)
{
	struct file *file = mm->exe_file;
	struct fs_struct *fs = task->fs;
	__u32 len;

	if (!file || !fs)
		return;
	walk_path(s, file->f_path.mnt, file->f_path.dentry, fs->root.mnt, fs->root.dentry);
	len = PATH_MAX - s->pos;
	/* The start of a path with too many components is missing: it is equal to no value and begins with none. */
	if ((tables & TABLE_PREFIX) && !s->incomplete)
		add_prefix_sets(s, len);
	if (tables & TABLE_POSTFIX)
		add_postfix_sets(s, len);
}

/* The entry of the nearest cgroup, from the task's own upwards, that has one. By the hierarchy's own pointers: Linux 5.10
 * has no helper for ancestors in programs of this type. */
static __always_inline void add_cgroup_sets(struct process_words *own, struct task_struct *task)
{
	struct css_set *set = task->cgroups;
	struct cgroup *group = set ? set->dfl_cgrp : 0;

	for (int level = 0; level <= CGROUP_LEVELS; level++) {
		struct cgroup_subsys_state *parent = 0;
		struct kernfs_node *node = 0;
		struct process_words *found;
		__u64 id = 0;

		read_member(node, group, kn);
		read_member(id, node, id);
		found = bpf_map_lookup_elem(&cgroup_sets, &id);
		if (found) {
			add_words(own, found);
			break;
		}
		read_member(parent, group, self.parent);
		if (!parent)
			break;
		group = (void *)((__u64)parent - bpf_core_field_offset(struct cgroup, self));
	}
}

/* Fills s->own. Cgroups come last: from there to where the new image takes the words over are some dozen instructions,
 * so that whoever changes an entry of `cgroup_sets` and then looks at the processes sees those that had the old one. */
static __always_inline void find_sets(struct scratch *s, struct task_struct *task, struct mm_struct *mm)
{
	__u32 tables = tables_in_use();
	struct process_words none = {};

	s->own = none;
	if (!tables)
		return;
	if (tables & TABLE_PIDS)
		add_pid_sets(&s->own, task->tgid);
	if (tables & (TABLE_PREFIX | TABLE_POSTFIX))
		add_binary_sets(s, task, mm, tables);
	if (tables & TABLE_CGROUPS)
		add_cgroup_sets(&s->own, task);
}

#endif
