#!/bin/sh
# Input: /etc/node/env, with NAME, ADDRESS, GATEWAY and PODS.
# Output: file systems, kernel modules and network as kubelet and containerd want them.
export PATH=/usr/sbin:/usr/bin
. /etc/node/env

mkdir -p /dev/pts /dev/shm
mount -t sysfs sysfs /sys
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
mount -t bpf -o mode=700 bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
mount --make-rshared /
ln -sf /proc/self/fd /dev/fd

modprobe -a virtio_net overlay veth bridge br_netfilter nf_conntrack
hostname "$NAME"
echo "127.0.0.1 localhost $NAME" >/etc/hosts
echo "nameserver $GATEWAY" >/etc/resolv.conf
# Every node has an id of its own, whose image they share.
echo "$NAME" | md5sum | cut -c1-32 >/etc/machine-id

ip link set lo up
tries=0
until ip link set eth0 up 2>/dev/null || [ $tries -ge 50 ]; do
	tries=$((tries + 1))
	sleep 0.1
done
ip address add "$ADDRESS/24" dev eth0
ip route add default via "$GATEWAY"

cd /proc/sys || exit
echo 1 >net/ipv4/ip_forward
echo 1 >net/bridge/bridge-nf-call-iptables
echo 1 >vm/overcommit_memory
# A panic is for the log: the VM ends.
echo 10 >kernel/panic

mkdir -p /etc/cni/net.d /root/.ssh
sed "s|PODS|$PODS|" /etc/node/cni.conflist >/etc/cni/net.d/pods.conflist
cp /etc/node/authorized_keys /root/.ssh/
chmod 700 /root /root/.ssh
