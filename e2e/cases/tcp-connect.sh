# Connections to other hosts are reported with addresses and ports, v4 and v6; those to the host itself are not.
ip addr add 192.0.2.7/32 dev lo
ip -6 addr add 2001:db8::7/128 dev lo
for address in 192.0.2.7:80 127.0.0.1:80 '[2001:db8::7]:80' '[::1]:80'; do
	probe listen "$address" >"listening$RANDOM" &
	sleep 0.2
done
ferra_start --policy /root/examples/policies/tcp-connect.yaml
SOCK=process_kprobe.args[0].sock_arg
expect_outcome ok connect 192.0.2.7:80
expect_outcome ok connect '[2001:db8::7]:80'
expect_outcome ok connect 127.0.0.1:80
expect_outcome ok connect '[::1]:80'
expect_outcome ok connect '[::ffff:127.0.0.1]:80'
expect_event $SOCK.family=AF_INET $SOCK.daddr=192.0.2.7 $SOCK.dport=80 $SOCK.saddr=192.0.2.7 $SOCK.protocol=IPPROTO_TCP $SOCK.type=SOCK_STREAM
expect_event $SOCK.family=AF_INET6 $SOCK.daddr=2001:db8::7 $SOCK.dport=80 $SOCK.sport!=0 $SOCK.state=TCP_SYN_SENT
expect_events 2 process_kprobe.policy_name=tcp-connect
ferra_stop
