# 4,000 reads in a tight loop are all reported. With a small buffer that nobody empties, events are lost and counted,
# and what is forbidden stays forbidden.
file_policy reads <<'YAML'
- matchArgs:
  - {index: 0, operator: Equal, values: [/tmp/watched]}
YAML
file_policy guard <<'YAML'
- matchArgs:
  - {index: 0, operator: Equal, values: [/tmp/forbidden]}
  matchActions:
  - {action: Override, argError: -1}
- matchArgs:
  - {index: 0, operator: Equal, values: [/tmp/deadly]}
  matchActions:
  - {action: Sigkill}
YAML
echo text >/tmp/watched; echo text >/tmp/forbidden; echo text >/tmp/deadly
ferra_start --policy "$POLICIES"
[[ $(probe repeat 4000 read /tmp/watched) == ok=4000 ]] || fail "the reads failed"
expect_events 4000 process_kprobe.policy_name=reads
ferra_stop
expect_text "$SAID" '^ferra: policy reads: 4000 matched, 4000 posted, .* 0 lost$'

ferra_start --policy "$POLICIES" --buffer 1
kill -STOP "$FERRA"
[[ $(probe repeat 20000 read /tmp/watched) == ok=20000 ]] || fail "the reads failed"
[[ $(probe repeat 100 read /tmp/forbidden) == EPERM=100 ]] || fail "a forbidden read succeeded"
expect_status 137 probe read /tmp/deadly
kill -CONT "$FERRA"
# What is told of the first processes after that may be lost, too.
has_room() { /usr/bin/true room && seen 1 process_exec.process.arguments=room; }
eventually 20 has_room || fail "no process is reported any more"
settle
reported=$(probe count "$EVENTS" process_kprobe.policy_name=reads)
ferra_stop
expect_text "$SAID" '^ferra: policy guard: 101 matched, .* 1 signalled, 100 overridden, '
[[ $(grep '^ferra: policy reads: ' "$SAID") =~ ^'ferra: policy reads: 20000 matched, '([0-9]+)' posted, '.*', '([0-9]+)' lost'$ ]] ||
	fail "no counters: $(cat "$SAID")"
posted=${BASH_REMATCH[1]} lost=${BASH_REMATCH[2]}
echo "$reported reported, $posted posted, $lost lost"
((lost > 0 && reported > 0 && reported + lost == 20000)) || fail "$reported reported, $posted posted, $lost lost"
