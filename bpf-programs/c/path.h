/* Text of a path as its process sees it: from a (mount, dentry) up to the process's root, across mounts. */
#ifndef FERRAGON_PATH_H
#define FERRAGON_PATH_H

#include "kernel_types.h"
#include "maps.h"

/* Steps of one walk, a component or a mount point each. A path of PATH_MAX has up to 2048 components; deeper
 * than this is flagged incomplete. */
#define WALK_STEPS 160

#define read_member(dst, pointer, member) \
	bpf_probe_read_kernel(&(dst), sizeof(dst), &(pointer)->member)

/* `value`, or `max` if that is less. In assembler, so that the register which is compared is the one that is used:
 * verifiers before 5.13 know a bound of no other. */
static __always_inline __u64 at_most(__u64 value, const __u64 max)
{
	asm volatile("if %[value] <= %[max] goto +1\n"
		     "%[value] = %[max]"
		     : [value] "+r"(value)
		     : [max] "i"(max));
	return value;
}

/* `value` within `mask`, likewise. */
static __always_inline __u64 masked(__u64 value, const __u64 mask)
{
	asm volatile("%[value] &= %[mask]" : [value] "+r"(value) : [mask] "i"(mask));
	return value;
}

static __always_inline void prepend(struct scratch *s, const void *bytes, __u32 len)
{
	__u32 pos = s->pos;

	/* The kernel has no longer names; 6.12's verifier forgets the bound at the comparison, so it is set after. */
	if (pos <= len) {
		s->incomplete = 1;
		return;
	}
	pos -= len;
	s->pos = pos;
	bpf_probe_read_kernel(&s->path[masked(pos, PATH_MAX - 1)], masked(len, NAME_MAX), bytes);
}

static __always_inline void prepend_slash(struct scratch *s)
{
	__u32 pos = s->pos;

	if (pos == 0) {
		s->incomplete = 1;
		return;
	}
	pos -= 1;
	s->pos = pos;
	s->path[masked(pos, PATH_MAX - 1)] = '/';
}

static __always_inline void prepend_name(struct scratch *s, struct dentry *dentry)
{
	const unsigned char *name = 0;
	__u32 len = 0;

	read_member(len, dentry, d_name.len);
	read_member(name, dentry, d_name.name);
	prepend(s, name, len);
	prepend_slash(s);
}

static __always_inline void enter_mount(struct scratch *s, struct vfsmount *mnt)
{
	struct dentry *root = 0;

	read_member(root, mnt, mnt_root);
	s->mnt = (__u64)mnt;
	s->mnt_root = (__u64)root;
}

/* One component or one mount point up. Returns 0 at the end.
 *
 * Not static, so that the verifier looks at it once and not at each of its calls: that is 20 times faster to
 * load. Hence it finds the scratch space by itself: such a function
 * may not take it as argument before 5.12. */
__noinline int walk_step(__u32 copy)
{
	struct dentry *dentry, *parent = 0;
	struct scratch *s = bpf_map_lookup_elem(&scratch, &copy);

	if (!s)
		return 0;
	dentry = (struct dentry *)s->dentry;
	if (s->dentry == s->root_dentry && s->mnt == s->root_mnt)
		return 0;
	if (s->dentry == s->mnt_root) {
		struct mount *mount = (void *)(s->mnt - bpf_core_field_offset(struct mount, mnt));
		struct mount *above = 0;
		struct dentry *mountpoint = 0;

		read_member(above, mount, mnt_parent);
		if (!above || above == mount)
			return 0; /* the root of the mount namespace, or a mount that is taken down */
		read_member(mountpoint, mount, mnt_mountpoint);
		s->dentry = (__u64)mountpoint;
		enter_mount(s, (struct vfsmount *)((__u64)above + bpf_core_field_offset(struct mount, mnt)));
		return 1;
	}
	read_member(parent, dentry, d_parent);
	prepend_name(s, dentry);
	s->dentry = (__u64)parent;
	/* A dentry that is its own parent, yet not its mount's root: a file without a directory (memfd). */
	return parent && parent != dentry && !s->incomplete;
}

static __always_inline void prepend_deleted(struct scratch *s, struct dentry *dentry)
{
	const char deleted[] = " (deleted)";
	struct hlist_bl_node **pprev = 0;

	read_member(pprev, dentry, d_hash.pprev);
	if (pprev || s->dentry == s->mnt_root)
		return;
	s->pos -= sizeof(deleted) - 1;
	__builtin_memcpy(&s->path[PATH_MAX - (sizeof(deleted) - 1)], deleted, sizeof(deleted) - 1);
}

/* Fills path[pos..PATH_MAX] with the path of `dentry` on `mnt`, for a process whose root is `root`. */
static __noinline int walk_path(struct scratch *s, struct vfsmount *mnt, struct dentry *dentry,
				struct vfsmount *root_mnt, struct dentry *root_dentry)
{
	int more = 1;

	s->dentry = (__u64)dentry;
	s->root_mnt = (__u64)root_mnt;
	s->root_dentry = (__u64)root_dentry;
	s->pos = PATH_MAX;
	s->incomplete = 0;
	enter_mount(s, mnt);
	prepend_deleted(s, dentry);
	for (int i = 0; i < WALK_STEPS; i++) {
		more = walk_step(s->copy);
		if (!more)
			break;
	}
	if (more)
		s->incomplete = 1;
	if (s->pos == PATH_MAX)
		prepend_slash(s);
	return 0;
}

#endif
