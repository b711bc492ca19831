#!/bin/sh
# The first process of a lab VM. Brings the VM up, says READY on the console, then obeys orders from
# its virtio serial port: a line `TAG VERB ARGS` gets exactly one line `TAG ok TEXT` or `TAG failed
# TEXT`. It decides nothing and gives up nothing by itself: what a VM does is what its test asked
# for.

export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs -o size=16m tmpfs /run

# The kernel's guess at what may be promised would refuse work too large for the VM; the lab wants
# it tried.
echo 1 >/proc/sys/vm/overcommit_memory

booted_with() {
    grep -qw -- "$1" /proc/cmdline
}

say() {
    echo "$*" >&3
}

centiseconds() {
    read -r uptime _ </proc/uptime
    echo "${uptime%.*}${uptime#*.}"
}

# Writes $1 MiB to stdout at $2 MiB/s, or as fast as it can when that is 0.
pour() {
    if [ "$2" -eq 0 ]; then
        dd if=/dev/zero bs=1M count="$1" 2>/dev/null
        return
    fi
    start=$(centiseconds)
    poured=0
    while [ "$poured" -lt "$1" ]; do
        due=$((($(centiseconds) - start + 10) * $2 / 100))
        [ "$due" -gt "$1" ] && due=$1
        if [ "$due" -gt "$poured" ]; then
            dd if=/dev/zero bs=1M count=$((due - poured)) 2>/dev/null || return 1
            poured=$due
        fi
        usleep 100000
    done
}

# tail keeps the last N bytes of what it reads in its own memory: a process that holds N bytes, and
# gives them back to the last one when the kernel kills it.
keep() {
    echo 1000 >/proc/self/oom_score_adj
    exec tail -c $(($1 * 1048576))
}

# hold TAG NAME MIB RATE
hold() {
    mkfifo "/run/hold.$2" || { say "$1 failed $2 is held already"; return; }
    keep "$3" <"/run/hold.$2" >/dev/null 2>&1 &
    echo $! >"/run/hold.$2.pid"
    {
        if pour "$3" "$4"; then
            say "$1 ok held $2 $3"
        else
            say "$1 failed $2 was killed before it held $3 MiB"
        fi
        exec sleep 1000000
    } >"/run/hold.$2" &
    echo $! >"/run/hold.$2.source"
}

# release TAG NAME
release() {
    [ -e "/run/hold.$2" ] || { say "$1 failed nothing is held as $2"; return; }
    kill -9 "$(cat "/run/hold.$2.source")" "$(cat "/run/hold.$2.pid")" 2>/dev/null
    while [ -e "/proc/$(cat "/run/hold.$2.pid")/exe" ]; do usleep 20000; done
    rm -f "/run/hold.$2" "/run/hold.$2.source" "/run/hold.$2.pid"
    say "$1 ok released $2"
}

# held TAG NAME: the memory that this hold has in RAM now
held() {
    status=/proc/$(cat "/run/hold.$2.pid" 2>/dev/null)/status
    rss=$(awk '/^VmRSS/ { print $2 }' "$status" 2>/dev/null)
    say "$1 ok ${rss:-0}"
}

# touch TAG NAME: reads all that this hold has, and with it what was swapped out
touch_all() {
    pid=$(cat "/run/hold.$2.pid" 2>/dev/null)
    while read -r range rights _ _ inode _; do
        [ "$rights $inode" = "rw-p 0" ] || continue
        first=$((0x${range%-*} / 4096))
        pages=$((0x${range#*-} / 4096 - first))
        {
            dd bs=4096 skip="$first" count=0
            dd bs=1M count=$(((pages + 255) / 256))
        } <"/proc/$pid/mem" >/dev/null 2>&1
    done <"/proc/$pid/maps"
    if [ -e "/proc/$pid/exe" ]; then
        say "$1 ok touched $2"
    else
        say "$1 failed $2 is not held any more"
    fi
}

# swapped TAG: KiB that went out and that came back since the boot
swapped() {
    say "$1 ok $(awk '/^pswpout / { out = $2 } /^pswpin / { back = $2 }
        END { print out * 4, back * 4 }' /proc/vmstat)"
}

# work TAG MIB: needs that much at once, fills it, reads all of it back for a checksum
work() {
    set -o pipefail
    if sum=$(pour "$2" 0 | keep "$2" 2>/dev/null | md5sum); then
        say "$1 ok WORK DONE $2 ${sum%% *}"
    else
        say "$1 failed work of $2 MiB was killed"
    fi
}

# cache TAG MIB: page cache lives as long as its disk is open, so descriptor 4 stays open
cache() {
    if dd if=/dev/vda of=/dev/null bs=1M count="$2" 2>/dev/null; then
        say "$1 ok cached $2"
    else
        say "$1 failed cannot read $2 MiB"
    fi
}

meminfo() {
    say "$1 ok $(awk '/^(MemTotal|MemFree|MemAvailable|Cached|Buffers|SwapTotal|SwapFree):/ {
        printf "%s %s ", $1, $2 }' /proc/meminfo)"
}

# keepfree TAG MIB: the kernel keeps so much free for itself. It counts as unused, and neither the
# balloon nor a process gets it: until it is little again, nothing else may be asked.
keepfree() {
    echo $(($2 * 1024)) >/proc/sys/vm/min_free_kbytes
    say "$1 ok kept free $2"
}

obey() {
    case "$2" in
    ping) say "$1 ok pong" ;;
    hold) hold "$1" "$3" "$4" "$5" ;;
    release) release "$1" "$3" ;;
    held) held "$1" "$3" ;;
    touch) touch_all "$1" "$3" & ;;
    swapped) swapped "$1" ;;
    work) work "$1" "$3" & ;;
    cache) cache "$1" "$3" & ;;
    drop) echo 3 >/proc/sys/vm/drop_caches; say "$1 ok dropped" ;;
    meminfo) meminfo "$1" ;;
    keepfree) keepfree "$1" "$3" ;;
    poweroff) say "$1 ok bye"; poweroff -f ;;
    reboot) say "$1 ok bye"; reboot -f ;;
    *) say "$1 failed unknown order: $2" ;;
    esac
}

# A process that takes $1 MiB first of all, before the balloon's driver is there. It is waited for
# until it has them, or was killed.
hold_at_boot() {
    hold 0 boot "$1" 0 3>/dev/null
    status=/proc/$(cat /run/hold.boot.pid)/status
    while rss=$(awk '/^VmRSS/ { print $2 }' "$status" 2>/dev/null); do
        [ "${rss:-0}" -ge $(($1 * 1024)) ] && break
        usleep 20000
    done
}

for word in $(cat /proc/cmdline); do
    case "$word" in
    labhold=*) hold_at_boot "${word#*=}" ;;
    esac
done

for module in $(cat /modules/order); do
    if [ "$module" = virtio_balloon ] && booted_with noballoon; then
        continue
    fi
    # A module that is not there is built into this kernel.
    if [ -f "/modules/$module.ko" ]; then
        insmod "/modules/$module.ko"
    fi
done

if booted_with labswap; then
    mkswap /dev/vdb >/dev/null && swapon /dev/vdb
fi

# The port is there a moment before it can be opened, and a shell that fails to open it ends.
until (exec 3<>/dev/vport0p1) 2>/dev/null; do usleep 10000; done
exec 3<>/dev/vport0p1 4</dev/vda
echo "READY $(cut -d ' ' -f 1 /proc/uptime)"
while :; do
    while read -r tag verb first second third <&3; do
        obey "$tag" "$verb" "$first" "$second" "$third"
    done
    # The line ends when nobody listens on the host, and goes on when somebody does.
    usleep 50000
done
