#!/usr/bin/bash
# Input: case files, named on the command line. Output: each one run in a shell of its own, between two marker lines
# that `cargo xtask e2e` reads on stdout; what the case prints stands between them.
export E2E=/root/e2e
# Cases write to stdout; what this shell itself would say ("Killed …") is none of theirs.
exec 2>/dev/null
for file; do
	name=${file##*/}
	name=${name%.sh}
	limit=$(sed -n 's/^# limit: *//p' "$file")
	dir=/tmp/$name
	mkdir -p "$dir"
	printf '@case start %s\n' "$name"
	( cd "$dir" && CASE=$dir timeout -k 5 "${limit:-90}" bash "$E2E/guest/case.sh" "$file" ) 2>&1
	status=$?
	[ $status != 143 ] && [ $status != 137 ] || echo "the case did not end within ${limit:-90} s (# limit: SECONDS changes that)"
	killall -q -KILL ferra probe
	printf '\n@case end %s %s\n' "$name" $status
done
