# limit: 150
# Stopped or killed, ferra leaves nothing in the kernel: no program, trampoline, pin or probe, and no policy acts.
guard() {
	file_policy guard <<YAML
- matchArgs:
  - {index: 0, operator: Equal, values: [/tmp/forbidden]}
  matchActions:
  - {action: $1}
YAML
}
policy setuid <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: setuid
spec:
  kprobes:
  - call: sys_setuid
    syscall: true
    args:
    - {index: 0, type: int}
    selectors:
    - matchArgs:
      - {index: 0, operator: Equal, values: ["1000"]}
YAML
guard 'Override, argError: -1'
echo text >/tmp/forbidden

# What is in the kernel: symbols of programs and of the trampolines that call them, which are there until the last
# reference is gone. They come last in the list.
loaded() { tail -n 400 /proc/kallsyms | grep -c 'bpf_prog_\|bpf_trampoline_' || true; }
# Frees are delayed until no CPU can still be running the program.
as_before() { (($(loaded) <= before)); }
# What an earlier case loaded is freed by then.
sleep 2
before=$(loaded)

for signal in TERM INT; do
	echo "$SECONDS s: SIG$signal"
	ferra_start --policy "$POLICIES"
	(($(loaded) > before + 3)) || fail "ferra's programs are not seen while it runs: this test tells nothing"
	expect_outcome EPERM read /tmp/forbidden
	ferra_stop "$signal"
	expect_outcome ok read /tmp/forbidden
	eventually 10 as_before || fail "$(loaded) programs after SIG$signal, $before before ferra was started"
done

ferra_start --policy "$POLICIES"
expect_outcome EPERM read /tmp/forbidden
kill -KILL "$FERRA"
wait "$FERRA" 2>/dev/null || true
FERRA=
expect_outcome ok read /tmp/forbidden
eventually 10 as_before || fail "$(loaded) programs after SIGKILL, $before before ferra was started"

# On kprobes, too.
guard Sigkill
ferra_start --policy "$POLICIES" --without fentry,fexit,fmod-ret
expect_status 137 probe read /tmp/forbidden
ferra_stop TERM
expect_outcome ok read /tmp/forbidden
eventually 10 as_before || fail "$(loaded) programs of kprobes, $before before ferra was started"
[[ -z $(ls -A /sys/fs/bpf) ]] || fail "pinned: $(ls -A /sys/fs/bpf)"
[[ ! -s /sys/kernel/tracing/kprobe_events ]] || fail "left: $(cat /sys/kernel/tracing/kprobe_events)"
