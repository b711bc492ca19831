# The first process of a lab host's namespaces: sh -c THIS lab NAME UUID HOSTS CAPABILITIES
#
# Makes the host private (its /run, its libvirt folders, its name), says "ready", then reaps orphans
# until its stdin ends: whoever made the lab holds the other end, so the host goes with him however
# he ends, and as this is process 1 of its pid namespace, everything that runs here goes too.
set -eu
unset LAB_INIT
name=$1
uuid=$2
hosts=$3
capabilities=$4

private() {
    mkdir -p "$1"
    mount -t tmpfs -o mode=755 agentd-lab "$1"
}

private /run
mkdir -p /run/lab /run/lock
for folder in /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
    private "$folder"
done

# The one thing that is shared: what libvirtd found out about QEMU, which it checks for being current.
mkdir -p /var/cache/libvirt/qemu/capabilities
mount --bind "$capabilities" /var/cache/libvirt/qemu/capabilities

cat >/etc/libvirt/libvirtd.conf <<CONF
unix_sock_group = "root"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "$uuid"
CONF
cat >/etc/libvirt/qemu.conf <<CONF
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
CONF

# Replaces a file of /etc by stdin, in here only. A mount needs something to lie on: a minimal
# system has no hosts file, and gets an empty one.
replace() {
    [ -e "/etc/$1" ] || : >"/etc/$1"
    cat >"/run/lab/etc-$1"
    mount --bind "/run/lab/etc-$1" "/etc/$1"
}

# libvirt looks its default users up before it reads that it shall not use them.
{ cat /etc/passwd; echo "libvirt-qemu:x:64055:64055::/:/bin/false"; } | replace passwd
{ cat /etc/group; echo "libvirt-qemu:x:64055:"; echo "libvirt:x:64056:"; } | replace group
printf '127.0.0.1 localhost\n%s' "$hosts" | replace hosts
if [ -e /etc/machine-id ]; then
    echo "$uuid" | tr -d - | replace machine-id
fi
echo "$name" >/proc/sys/kernel/hostname
ip link set lo up

# A shell gives its background jobs an empty stdin: hand ours over by another number.
exec 3<&0
cat <&3 >/dev/null &
echo ready
exec >/dev/null
wait $!
