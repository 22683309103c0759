#!/bin/busybox sh
# The first process of the machine that _guest.py boots: loads the modules, makes an RDMA device of a network interface
# that leads nowhere, runs the steps of /job, and powers the machine off. If it ends otherwise, the kernel panics.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
cd /tmp

# step NAME SECONDS command...: _guest.py reads what stands between the two lines.
step() {
  name=$1 seconds=$2
  shift 2
  echo "== $name begins"
  timeout -s KILL "$seconds" "$@" 2>&1
  echo "== $name ends with $? at $(cut -d' ' -f1 /proc/uptime) s"
}

make_device() {
  for module in /modules/*.ko; do
    insmod "$module" || return 1
  done
  ip link set lo up &&
    ip address add 10.7.0.1/24 dev dummy0 &&
    ip link set dummy0 up &&
    rdma link add rxe0 type rxe netdev dummy0 &&
    rdma link show rxe0/1
}

echo "== device begins"
make_device 2>&1
echo "== device ends with $? at $(cut -d' ' -f1 /proc/uptime) s"
. /job
echo "== all is done"
poweroff -f
