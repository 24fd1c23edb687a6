# Addresses and ports, as the kernel passes them: what connect is called with, sockets, packets.
policy network <<'YAML'
apiVersion: cilium.io/v1alpha1
kind: TracingPolicy
metadata:
  name: network
spec:
  kprobes:
  - call: security_socket_connect
    syscall: false
    args:
    - {index: 0, type: socket}
    - {index: 1, type: sockaddr}
    - {index: 2, type: int}
    selectors:
    - matchArgs:
      - {index: 1, operator: SPort, values: ["81:83"]}
      - {index: 1, operator: SAddr, values: [192.0.2.0/24, "2001:db8::/32"]}
      - {index: 0, operator: Protocol, values: [IPPROTO_TCP]}
  - call: ip_output
    syscall: false
    args:
    - {index: 2, type: skb}
    selectors:
    - matchArgs:
      - {index: 2, operator: DPort, values: ["81"]}
      - {index: 2, operator: DAddr, values: [192.0.2.7]}
  - call: tcp_set_state
    syscall: false
    args:
    - {index: 0, type: sock}
    - {index: 1, type: int}
    selectors:
    - matchArgs:
      - {index: 0, operator: State, values: [TCP_SYN_SENT]}
      - {index: 0, operator: NotDAddr, values: [127.0.0.0/8]}
      - {index: 1, operator: Equal, values: ["1"]}
YAML
ip addr add 192.0.2.7/32 dev lo
ip -6 addr add 2001:db8::7/128 dev lo
for address in 192.0.2.7:81 '[2001:db8::7]:82' 127.0.0.1:83; do
	probe listen "$address" >"listening-$address" &
	eventually 5 grep -q ready "listening-$address"
done
ferra_start --policy "$POLICIES"
expect_outcome ok connect 192.0.2.7:81
expect_outcome ok connect '[2001:db8::7]:82'
expect_outcome ok connect 127.0.0.1:83
expect_outcome ECONNREFUSED connect 192.0.2.7:84
CONNECT=process_kprobe.function_name=security_socket_connect
expect_event $CONNECT process_kprobe.args[1].sockaddr_arg.family=AF_INET process_kprobe.args[1].sockaddr_arg.addr=192.0.2.7 process_kprobe.args[1].sockaddr_arg.port=81 process_kprobe.args[2].int_arg=16
expect_event $CONNECT process_kprobe.args[1].sockaddr_arg.family=AF_INET6 process_kprobe.args[1].sockaddr_arg.addr=2001:db8::7 process_kprobe.args[1].sockaddr_arg.port=82 process_kprobe.args[2].int_arg=28
# The socket is not connected yet.
expect_events 2 $CONNECT process_kprobe.args[0].sock_arg.type=SOCK_STREAM process_kprobe.args[0].sock_arg.protocol=IPPROTO_TCP process_kprobe.args[0].sock_arg.dport!=81
expect_events 2 $CONNECT

PACKET=process_kprobe.args[0].skb_arg
expect_event process_kprobe.function_name=ip_output $PACKET.family=AF_INET $PACKET.protocol=IPPROTO_TCP $PACKET.saddr=192.0.2.7 $PACKET.daddr=192.0.2.7 $PACKET.dport=81 $PACKET.proto=6
refuse_event process_kprobe.function_name=ip_output $PACKET.dport!=81
refuse_event process_kprobe.function_name=ip_output $PACKET.daddr!=192.0.2.7

SOCK=process_kprobe.args[0].sock_arg
expect_events 1 process_kprobe.function_name=tcp_set_state $SOCK.daddr=192.0.2.7 $SOCK.dport=81 $SOCK.state=TCP_SYN_SENT process_kprobe.args[1].int_arg=1
expect_events 1 process_kprobe.function_name=tcp_set_state $SOCK.daddr=2001:db8::7 $SOCK.family=AF_INET6
expect_events 2 process_kprobe.function_name=tcp_set_state
ferra_stop
