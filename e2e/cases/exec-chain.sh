# A shell that runs a command: one line for each exec and exit, as JSON and as text, with who started what.
mkdir -p work; cd work
HERE=$PWD
compact=$CASE/compact.txt
ferra run -o compact >"$compact" 2>"$CASE/compact.err" &
FERRA_COMPACT=$!
eventually 25 grep -q '^ferra: ready' "$CASE/compact.err" || fail "ferra -o compact was not ready: $(cat "$CASE/compact.err")"
ferra_start
expect_status 3 /usr/bin/bash -c '/usr/bin/echo "two words" one; exit 3'
expect_status 0 /usr/bin/bash -c 'exec /usr/bin/true replaced-itself'
expect_status 137 /usr/bin/bash -c 'kill -KILL $$'
(exec -a none ./nothing) 2>/dev/null || true
settle

# Two images of the one chain, and how they hang together.
child=$(probe lines "$EVENTS" process_exec.process.binary=/usr/bin/echo "process_exec.process.arguments= \"two words\" one" process_exec.process.cwd="$HERE" process_exec.parent.binary=/usr/bin/bash)
[[ -n $child ]] || fail "no exec of echo: $(probe lines "$EVENTS" process_exec.process.binary=/usr/bin/echo)"
[[ $child =~ \"parent_exec_id\":\ ?\"([^\"]*)\" ]]
parent=${BASH_REMATCH[1]}
expect_events 1 "process_exec.process.exec_id=$parent" process_exec.process.binary=/usr/bin/bash 'process_exec.process.arguments=-c "/usr/bin/echo "two words" one; exit 3"' "process_exec.process.cwd=$HERE"
expect_events 1 "process_exec.process.exec_id=$parent" process_exec.process.uid=0 "process_exec.process.flags=execve clone" process_exec.process.auid=4294967295
expect_events 1 "process_exit.process.exec_id=$parent" process_exit.status=3 process_exit.process.binary=/usr/bin/bash
expect_events 1 process_exit.process.binary=/usr/bin/echo "process_exit.parent.exec_id=$parent" process_exit.status!=1 process_exit.signal!=SIGKILL

# An exec without a fork: the parent is the image before, and the flag clone is not there.
line=$(probe lines "$EVENTS" process_exec.process.binary=/usr/bin/true process_exec.process.arguments=replaced-itself process_exec.process.flags=execve)
[[ $line =~ \"parent_exec_id\":\ ?\"([^\"]*)\" ]] || fail "no exec of true without clone"
expect_events 1 "process_exec.process.exec_id=${BASH_REMATCH[1]}" 'process_exec.process.arguments=-c "exec /usr/bin/true replaced-itself"'
expect_events 1 process_exit.signal=SIGKILL process_exit.process.binary=/usr/bin/bash

# What ran before has an event of its own.
expect_event process_exec.process.pid=1 "process_exec.process.flags*=procFS"

expect_text "$compact" '^🚀 process vm /usr/bin/bash "-c \\"/usr/bin/echo \\"two words\\" one; exit 3\\""$'
expect_text "$compact" '^🚀 process vm /usr/bin/echo " \\"two words\\" one"$'
expect_text "$compact" '^💥 exit    vm /usr/bin/echo " \\"two words\\" one" 0$'
expect_text "$compact" '^💥 exit    vm /usr/bin/bash "-c \\"/usr/bin/echo .* exit 3\\"" 3$'
expect_text "$compact" '^💥 exit    vm /usr/bin/bash "-c \\"kill -KILL \$\$\\"" SIGKILL$'
kill -TERM $FERRA_COMPACT
wait $FERRA_COMPACT || fail "ferra -o compact ended with $?"
ferra_stop
