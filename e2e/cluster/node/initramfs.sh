#!/usr/bin/busybox sh
# Input: the kernel, right after it unpacked the initramfs: drivers in /modules, this node's files in /node.
# Output: the root file system of the node's disk, with those files in /etc/node, and its init.
export PATH=/usr/sbin:/usr/bin
mkdir -p /proc /dev /mnt
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
	insmod "$module"
done
tries=0
until [ -b /dev/vda ] && [ -b /dev/vdb ]; do
	tries=$((tries + 1))
	[ $tries -lt 100 ] || { echo "node: no disks after 10 s" >/dev/console; poweroff -f; }
	sleep 0.1
done
mount -t ext4 -o noatime /dev/vda /mnt || poweroff -f
mount -t ext4 -o ro /dev/vdb /mnt/usr/lib/modules
umount /proc
umount /dev
mount -t devtmpfs dev /mnt/dev
mount -t proc proc /mnt/proc
mkdir -p /mnt/etc/node
cp -a /node/. /mnt/etc/node/
cp /node/inittab /mnt/etc/inittab
exec switch_root -c /dev/ttyS0 /mnt /usr/bin/busybox init
