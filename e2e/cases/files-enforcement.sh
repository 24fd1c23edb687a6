# Override refuses a write with EPERM, Sigkill kills the writer; in monitor mode neither happens, but both are counted.
mkdir -p /etc/protected /etc/killing /etc/refusing
for dir in protected killing refusing; do echo old >/etc/$dir/file; done

action() {
	file_policy "$1" <<YAML
- matchArgs:
  - {index: 0, operator: Prefix, values: [/etc/$1/]}
  - {index: 1, operator: Equal, values: ["2"]}
  matchActions:
  - {$2}
YAML
}
action killing 'action: Sigkill'
action refusing 'action: Override, argError: -13'
cp /root/examples/policies/file-monitoring-enforce.yaml "$POLICIES"

ferra_start --policy "$POLICIES"
expect_status 137 probe write /etc/killing/file new
expect_outcome EACCES write /etc/refusing/file new
[[ $(cat /etc/refusing/file) == old ]] || fail "a refused write was done"
expect_status 137 probe write /etc/protected/file new
expect_status 137 probe truncate /etc/protected/file
[[ $(cat /etc/protected/file) == old ]] || fail "a refused write or truncation was done"
expect_outcome ok read /etc/protected/file
expect_outcome ok write /etc/unprotected text
p=process_kprobe
expect_event $p.policy_name=killing $p.action=KPROBE_ACTION_SIGKILL "$p.args[0].file_arg.path=/etc/killing/file"
expect_event $p.policy_name=refusing $p.action=KPROBE_ACTION_OVERRIDE
expect_event $p.policy_name=file-monitoring-enforce $p.action=KPROBE_ACTION_SIGKILL "$p.args[0].file_arg.path=/etc/protected/file"
expect_event process_exit.signal=SIGKILL 'process_exit.process.arguments=write /etc/protected/file new'
expect_events 0 "$p.args[0].file_arg.path=/etc/unprotected"

# Monitor mode, by an edit while it runs: of all files at once, as far as ferra sees.
kill -STOP "$FERRA"
sed -i 's/^spec:/spec:\n  options:\n  - {name: policy-mode, value: monitor}/' "$POLICIES"/*.yaml
kill -CONT "$FERRA"
eventually 30 grep -q '^ferra: updated: 3 policies' "$SAID" || fail "the edit did not take effect within 30 s"
expect_outcome ok write /etc/killing/file new
expect_outcome ok write /etc/refusing/file new
expect_outcome ok write /etc/protected/file new
grep -q new /etc/refusing/file || fail "a monitored write was not done"
expect_events 2 $p.policy_name=killing $p.action=KPROBE_ACTION_SIGKILL
ferra_stop
expect_text "$SAID" 'policy killing: 2 matched, 2 posted, 1 signalled, 0 overridden, 1 monitored'
expect_text "$SAID" 'policy refusing: 2 matched, 2 posted, 0 signalled, 1 overridden, 1 monitored'

# Nothing is left in force.
expect_outcome ok write /etc/protected/file newer
