# What cannot run is refused with words that help, and does not keep other policies from running.
hook() {
	policy "$1" <<YAML
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: $1
spec:
  kprobes:
  - call: $2
    syscall: false
    ignore: {callNotFound: $3}
    args:
    - {index: 0, type: $4}
YAML
}
hook unknown no_such_function false int
expect_status 1 ferra run --policy "$POLICIES/unknown.yaml"
[[ $OUTPUT == *no_such_function* && $OUTPUT == *unknown.yaml* ]] || fail "it said: $OUTPUT"
[[ $OUTPUT != *panicked* ]] || fail "it said: $OUTPUT"

hook tolerant no_such_function true int
echo text >/tmp/watched
# No others: what ferra itself does with files would be told, and that it tells it, too.
file_policy good <<YAML
- matchArgs:
  - {index: 0, operator: Equal, values: [/tmp/watched]}
YAML
ferra_start --policy "$POLICIES"
cat /tmp/watched >/dev/null
expect_text "$SAID" 'unknown.yaml.*no_such_function'
expect_text "$SAID" 'unknown.yaml: not loaded'
expect_event process_kprobe.policy_name=good
refuse_event process_kprobe.policy_name=unknown
ferra_stop

expect_status 1 ferra run --policy /no/such/policy.yaml
[[ $OUTPUT == */no/such/policy.yaml* ]] || fail "it said: $OUTPUT"

# Not root: says what is missing.
chmod 755 "$CASE" "$POLICIES"
expect_status 1 start-stop-daemon -S -c 1000:1000 -x /usr/bin/ferra -- run --policy "$POLICIES/good.yaml"
echo "$OUTPUT"
[[ $OUTPUT == *root* || $OUTPUT == *CAP_BPF* || $OUTPUT == *CAP_SYS_ADMIN* ]] || fail "it said: $OUTPUT"
[[ $OUTPUT != *panicked* ]] || fail "it said: $OUTPUT"
