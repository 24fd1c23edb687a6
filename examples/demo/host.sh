#!/bin/bash
# Input: a disposable VM with ferra and these examples. Output: the walk-through, told and shown as it happens; it fails
# if what it tells does not happen. Run by `make demo`.
set -euo pipefail
HERE=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
EXAMPLES=$HERE/../policies
SHOWN=/tmp/shown # all that ferra has printed
mkdir -p /tmp/demo/policies /tmp/demo/edited /etc/protected
cd /tmp/demo
cp "$EXAMPLES"/*.yaml .
sed '/action: Sigkill/d' file-monitoring-enforce.yaml >edited/file-monitoring-enforce.yaml
sed 's/DAddr/DAdr/; s/type: sock/type: sok/' tcp-connect.yaml >edited/tcp-connect.yaml
echo 'worth protecting' >/etc/protected/ledger
ip link set lo up
ip addr add 192.0.2.7/32 dev lo # an address for documentation, which stands for another host
httpd -p 80 -h /etc
# shellcheck source=examples/demo/stage.sh
source "$HERE/stage.sh"

title "1. Start with an empty directory of policies, on Linux $(uname -r)"
prompt ferra run --policy policies/ -o compact
ferra run --policy policies/ -o compact --color always > >(tee "$SHOWN") 2>&1 &
FERRA=$!
pause 0.5
see 'ferra: ready*'
tell 'Those processes ran before. From now on every exec and exit is seen, without any policy.'

title '2. A shell starts another program: two execs, two exits'
try bash -c 'sleep 0.1; exit 3'
see '*process*bash*' '*process*sleep 0.1' '*exit*sleep 0.1 0' '*exit*bash* 3'

title '3. Who reads and writes files below /etc?'
try mv file-monitoring.yaml policies/
see 'ferra: updated: 1 policies*'
try cat /etc/hostname
see '*read* /etc/hostname' '*exit*cat*'
try bash -c 'echo x >>/etc/motd'
see '*write* /etc/motd' '*exit*'
try bash -c 'echo x >>/tmp/elsewhere'
see '*exit*elsewhere*'
tell 'Nothing is reported of the file that is not below /etc.'
try rm policies/file-monitoring.yaml
see 'ferra: updated: 0 policies*'

title '4. Nobody writes below /etc/protected'
try mv file-monitoring-enforce.yaml policies/
see 'ferra: updated: 1 policies*'
try bash -c 'echo intruder >>/etc/protected/ledger'
see '*write* /etc/protected/ledger' '*exit*SIGKILL'
try cat /etc/protected/ledger
see '*exit*cat*'
tell 'The writer was killed before it wrote. Now an edit, while it runs: the write fails, and the writer lives.'
try mv edited/file-monitoring-enforce.yaml policies/
see 'ferra: updated: 1 policies*'
try bash -c 'echo intruder >>/etc/protected/ledger'
see '*write* /etc/protected/ledger' '*exit*bash* 1'
try cat /etc/protected/ledger
see '*exit*cat*'
[[ $(</etc/protected/ledger) == 'worth protecting' ]]

title '5. Who connects to other hosts?'
try mv tcp-connect.yaml policies/
see 'ferra: updated: 2 policies*'
try wget -q -O /dev/null http://192.0.2.7/hostname
see '*connect* -> 192.0.2.7:80' '*exit*wget*'
try wget -q -O /dev/null http://127.0.0.1/hostname
see '*exit*wget*'
tell 'Nothing is reported of the connection to the host itself.'

title '6. A policy with mistakes is refused, and changes nothing'
try ferra policy check edited/tcp-connect.yaml
see '*exit*ferra* 1'
try mv edited/tcp-connect.yaml policies/
see '*last good version stays in force'
try wget -q -O /dev/null http://192.0.2.7/hostname
see '*connect* -> 192.0.2.7:80' '*exit*wget*'

title '7. Stop it (Ctrl-C): its programs leave the kernel, and it prints its counters'
kill -INT "$FERRA"
wait "$FERRA"
see 'ferra: policy file-monitoring-enforce: 2 matched*' 'ferra: policy tcp-connect: 2 matched*' 'ferra: *events*'
