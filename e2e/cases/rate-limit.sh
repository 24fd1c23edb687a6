# At most one event in a while, for each thread, for each process, for all; what is held back is counted.

# limited NAME LIMIT FILE: reports reads of the file, so often.
limited() {
	file_policy "$1" <<YAML
- matchArgs:
  - {index: 0, operator: Equal, values: [$3]}
  matchActions:
  - {action: Post, rateLimit: $2}
YAML
}
limited thread 1m /tmp/watched
limited process '1m, rateLimitScope: process' /tmp/watched
limited global '1m, rateLimitScope: global' /tmp/watched
limited short 1s /tmp/short
echo text >/tmp/watched; echo text >/tmp/short
ferra_start --policy "$POLICIES"
[[ $(probe repeat 50 read /tmp/watched) == ok=50 ]]
[[ $(probe repeat 50 read /tmp/watched) == ok=50 ]]
expect_events 2 process_kprobe.policy_name=thread
expect_events 2 process_kprobe.policy_name=process
expect_events 1 process_kprobe.policy_name=global
probe hammer stop read /tmp/short >/dev/null &
hammer=$!
sleep 3.5
touch stop
wait $hammer
settle
count=$(probe count "$EVENTS" process_kprobe.policy_name=short)
((count >= 3 && count <= 5)) || fail "$count events in about four seconds"
ferra_stop
expect_text "$SAID" '^ferra: policy thread: 100 matched, 2 posted, 0 signalled, 0 overridden, 0 monitored, 98 rate-limited, 0 lost$'
expect_text "$SAID" '^ferra: policy global: 100 matched, 1 posted, 0 signalled, 0 overridden, 0 monitored, 99 rate-limited, 0 lost$'
