#!/bin/sh
# Input: the name of a service of the node.
# Output: it runs in this process; what it says goes to the second serial port.
export PATH=/usr/sbin:/usr/bin HOME=/root
exec </dev/null >/dev/ttyS1 2>&1
. /etc/node/env

containerd_listens() {
	until [ -S /run/containerd/containerd.sock ]; do
		sleep 0.2
	done
}

case $1 in
ssh)
	# -R: makes host keys as they are asked for. -s: nobody has a password.
	mkdir -p /etc/dropbear
	exec dropbear -F -E -R -s
	;;
containerd)
	exec containerd --config /etc/node/containerd.toml --log-level warn
	;;
images)
	containerd_listens
	until ctr -n k8s.io images import /etc/node/images.tar; do
		sleep 1
	done
	;;
kubelet)
	containerd_listens
	exec kubelet --config /etc/node/kubelet.yaml --kubeconfig /etc/node/kubelet.kubeconfig \
		--hostname-override "$NAME" --node-ip "$ADDRESS"
	;;
proxy)
	# Told its address, it need not wait until the node is registered.
	sed "s/ADDRESS/$ADDRESS/" /etc/node/proxy.yaml >/run/proxy.yaml
	exec kube-proxy --config /run/proxy.yaml --hostname-override "$NAME"
	;;
esac
