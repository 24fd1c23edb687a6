# Reads, writes, mappings and truncations below /etc are reported, by whatever path they are reached, and nothing else.
mkdir -p /etc/d /etcetera /mnt /tmp/bound /tmp/root/etc /etc/from-tmp /tmp/elsewhere
cp /usr/bin/true /etc/d/true
mount -t tmpfs none /mnt && mkdir -p /mnt/etc
mount --bind /etc /tmp/bound
mount --bind /tmp/elsewhere /etc/from-tmp
mount -t tmpfs none /etc/d2 2>/dev/null || { mkdir /etc/d2; mount -t tmpfs none /etc/d2; }
cp "$(command -v probe)" /tmp/root/probe

ferra_start --policy /root/examples/policies/file-monitoring.yaml
expect_outcome ok write /etc/d/x text
expect_outcome ok read /etc/d/x
expect_outcome ok truncate /etc/d/x
/etc/d/true
expect_outcome ok write /tmp/x text
expect_outcome ok write /etcetera/x text
expect_outcome ok write /mnt/etc/x text
# Another way to the same file has another path; the path is what the process sees.
expect_outcome ok write /tmp/bound/seen-elsewhere text
expect_outcome ok write /etc/from-tmp/bind text
expect_outcome ok write /etc/d2/other-mount text
expect_outcome ok read /etc/d/../d/x
[[ $(chroot /tmp/root /probe write /etc/in-root text) == ok ]] || fail "chroot"
exec 9>/etc/d/gone
rm /etc/d/gone
echo text >&9
exec 9>&-

p=process_kprobe
expect_event $p.function_name=security_file_permission "$p.args[0].file_arg.path=/etc/d/x" "$p.args[1].int_arg=2" $p.return.int_arg=0 \
	"$p.args[0].file_arg.permission^=-rw-" $p.policy_name=file-monitoring "$p.message*=below /etc" "$p.tags[0]=files.access"
expect_event $p.function_name=security_file_permission "$p.args[0].file_arg.path=/etc/d/x" "$p.args[1].int_arg=4" "$p.process.binary\$=/probe"
expect_event "$p.function_name\$=_truncate" $p.policy_name=file-monitoring
expect_event $p.function_name=security_mmap_file "$p.args[0].file_arg.path=/etc/d/true"
expect_event "$p.args[0].file_arg.path=/etc/from-tmp/bind"
expect_event "$p.args[0].file_arg.path=/etc/d2/other-mount"
expect_event "$p.args[0].file_arg.path=/etc/in-root"
expect_event "$p.args[0].file_arg.path=/etc/d/gone (deleted)"
settle
probe lines "$EVENTS" $p.policy_name=file-monitoring >lines
! grep -Eq '"path":"(/tmp|/mnt|/etcetera|/x|/root)' lines || fail "something else was reported: $(grep -E '"path":"/(tmp|mnt|etcetera)' lines | head -3)"
[[ $(grep -c . lines) == $(grep -c '"path":"/etc/' lines) ]] || fail "an event without a path below /etc"
ferra_stop
expect_text "$SAID" 'policy file-monitoring: [1-9][0-9]* matched.* 0 lost'
