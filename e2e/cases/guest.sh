# The guest has what the other cases rely on.
for mounted in /proc /sys /dev /dev/pts /tmp /run /sys/kernel/tracing /sys/kernel/security /sys/fs/bpf /sys/fs/cgroup; do
	grep -q " $mounted " /proc/mounts || fail "$mounted is not mounted"
done
[[ -r /sys/kernel/btf/vmlinux ]] || fail "no BTF"
[[ $(id -u) == 0 && $(hostname) == vm && $PWD == "$CASE" ]] || fail "not root on vm in the case's folder"

# A program that is called is executed: its process is what its path says.
[[ $(/usr/bin/readlink /proc/self/exe) == /usr/bin/readlink ]] || fail "applets are not programs of their own"

expect_outcome ok write /etc/x text
expect_outcome ok read /etc/x
expect_outcome ok truncate /etc/x
expect_outcome ENOENT read /no/such/file
expect_outcome ok write-fd 7 text
expect_outcome ok setuid 1000
expect_outcome E2BIG long-exec 140000
expect_outcome ECONNREFUSED connect 127.0.0.1:1
[[ $(probe repeat 3 read /no/such/file) == ENOENT=3 ]] || fail "outcomes are not counted"

ip addr add 192.0.2.1/32 dev lo
probe listen 192.0.2.1:80 > listening &
eventually 5 grep -q ready listening
expect_outcome ok connect 192.0.2.1:80
expect_status 137 bash -c 'kill -KILL $$'

kernel_at_least 5.10 || fail "5.10 is the oldest kernel there is here"
! kernel_at_least 99 || fail "there is no such kernel yet"
