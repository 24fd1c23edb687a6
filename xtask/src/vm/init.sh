#!/usr/bin/busybox sh
# Input: the kernel, right after it unpacked the initramfs.
# Output: the command's stdout on ttyS1, stderr on ttyS2; "start", then its exit status, on ttyS3; kernel log on ttyS0.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root LOGNAME=root SHELL=/bin/sh TERM=dumb LANG=C.UTF-8

mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t proc proc /proc # read by "mount -a"
mount -a
hostname -F /etc/hostname
ip link set lo up
ln -s /proc/self/fd /dev/fd

# Bytes must arrive as they are. The line speed is emulated only where the driver computes waiting times.
for tty in 1 2 3; do
	stty -F /dev/ttyS$tty 115200 raw -echo
done
echo start > /dev/ttyS3

# Not busybox sh if there is a choice: it runs its applets in itself, without the exec that a real shell does.
shell=/usr/bin/bash
[ -x $shell ] || shell=/usr/bin/sh

cd /root
$shell /etc/vm/command < /dev/null > /dev/ttyS1 2> /dev/ttyS2
status=$?

# Setting a terminal waits until its output has gone out, also what background jobs of the command wrote.
stty -F /dev/ttyS1 raw
stty -F /dev/ttyS2 raw
echo $status > /dev/ttyS3
stty -F /dev/ttyS3 raw
poweroff -f
