# Ten policies: ferra takes at most 30 MB, and each policy at most 64 KiB of kernel memory.

# kprobe NAME CALL SYSCALL TYPE OPERATOR VALUE
kprobe() {
	policy "$1" <<YAML
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: $1
spec:
  kprobes:
  - call: $2
    syscall: $3
    args:
    - index: 0
      type: $4
    selectors:
    - matchArgs:
      - index: 0
        operator: $5
        values: ["$6"]
YAML
}

# kernel_memory: KiB, of the last line that tells.
kernel_memory() {
	grep -E '^ferra: (ready|updated): ' "$SAID" | tail -n 1 | sed 's/.*, \([0-9]*\) KiB of kernel memory$/\1/'
}

kprobe first security_file_permission false file Prefix /data/first/
ferra_start --policy "$POLICIES"
before=$(kernel_memory)
((before > 0)) || fail "no kernel memory is told: $(cat "$SAID")"
count=1
# more NAME CALL…: adds a policy, and compares what it takes.
more() {
	local now
	kprobe "$@"
	count=$((count + 1))
	eventually 20 grep -Eq "^ferra: updated: $count policies on" "$SAID" || fail "$1 was not loaded: $(cat "$SAID")"
	now=$(kernel_memory)
	((now - before <= 64)) || fail "policy $1 takes $((now - before)) KiB of kernel memory"
	echo "$1: $((now - before)) KiB"
	before=$now
}
more second security_file_permission false file Prefix /data/second/
more third security_file_permission false file Postfix .secret
more mapped security_mmap_file false file Prefix /data/
more connect tcp_connect false sock NotDAddr 127.0.0.0/8
more setuid sys_setuid true int Equal 0
more setgid sys_setgid true int Equal 0
more write sys_write true int Equal 7
more opened security_file_open false file Equal /etc/shadow
more listen sys_listen true int GT 5

# What was needed only to compile and load has been given back.
rss=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB$/\1/p' "/proc/$FERRA/status")
echo "VmRSS: $rss kB"
((rss <= 30 * 1000)) || fail "ferra takes $rss kB: $(grep -E 'Rss|HWM' "/proc/$FERRA/status" | tr '\n\t' '; ')"
ferra_stop
