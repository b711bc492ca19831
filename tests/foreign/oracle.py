"""Another implementation of `two-pointer` on an ideal simulated host, written from the description
of the algorithm and of the scenario format alone, in plain numbers of bytes and nanoseconds.

Usage: oracle.py make SEED FILE        writes a random scenario
       oracle.py run FILE TICKS        prints what `agentd simulate FILE --ticks TICKS` must decide

One JSON line a tick, as agentd's but without reasons.
"""

import json
import random
import re
import sys
import tomllib

MIB = 1 << 20
UNITS = {"B": 1, "KiB": 1 << 10, "MiB": MIB, "GiB": 1 << 30, "TiB": 1 << 40}
TIMES = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


# The world.


def run(path, ticks):
    with open(path, "rb") as file:
        scenario = tomllib.load(file)
    assert scenario["sim"] == {"ideal": True}, "only an ideal world can be foretold"
    interval = time(scenario.get("tick_interval", "1s"))
    policy = Policy(scenario.get("policy", {}))
    vms = sorted((Vm(table) for table in scenario.get("vm", [])), key=lambda vm: vm.uuid)
    coordinator = Coordinator(policy)
    for tick in range(ticks):
        now = tick * interval
        there = [vm for vm in vms if vm.is_there(now)]
        other = curve(scenario["host"].get("other", "0B"), now)
        usable = size(scenario["host"]["total"]) - other - sum(vm.actual for vm in there)
        print(json.dumps(coordinator.tick(tick, now, there, max(usable, 0))))


class Vm:
    def __init__(self, table):
        self.name = table["name"]
        self.uuid = table.get("uuid") or uuid_of(self.name)
        self.max, self.actual = size(table["max"]), size(table["actual"])
        self.demand = table["demand"]
        self.start = time(table["start"]) if "start" in table else 0
        self.stop = time(table["stop"]) if "stop" in table else None

    def is_there(self, now):
        return self.start <= now and (self.stop is None or now < self.stop)

    def unused(self, now):
        return max(self.actual - curve(self.demand, now), 0)


def curve(points, now):
    """Linear between points, constant outside; of two at one time the later one counts."""
    if isinstance(points, str):
        return size(points)
    points = [(time(point["at"]), size(point["used"])) for point in points]
    before = [point for point in points if point[0] <= now]
    after = [point for point in points if point[0] > now]
    if not before:
        return after[0][1]
    if not after:
        return before[-1][1]
    (t0, u0), (t1, u1) = before[-1], after[0]
    return u0 + (u1 - u0) * (now - t0) // (t1 - t0)


def uuid_of(name):
    """The name's 128-bit FNV-1a hash, marked as version 8 of RFC 9562."""
    hashed = 0x6C62272E07BB014262B821756295C58D
    for byte in name.encode():
        hashed = (hashed ^ byte) * 0x0000000001000000000000000000013B % (1 << 128)
    hashed = hashed & ~(0xF << 76) | 0x8 << 76
    hashed = hashed & ~(0x3 << 62) | 0x2 << 62
    return dashed(hashed)


def dashed(number):
    digits = f"{number:032x}"
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


def size(text):
    number, unit = re.fullmatch(r"(\d+)([A-Za-z]+)", text).groups()
    return int(number) * UNITS[unit]


def time(text):
    parts = re.findall(r"(\d+)(ms|s|m|h)", text)
    assert "".join(number + unit for number, unit in parts) == text, text
    return sum(int(number) * TIMES[unit] for number, unit in parts)


# The algorithm.


class Policy:
    def __init__(self, table):
        constants = table.get("two_pointer", {})
        self.need_below = size(constants.get("need_below", "200MiB"))
        self.spare_above = size(constants.get("spare_above", "100MiB"))
        self.step = size(constants.get("step", "50MiB"))
        self.reserve = size(table.get("host_reserve", "200MiB"))
        self.limit = size(table["pool_limit"]) if "pool_limit" in table else None


class Coordinator:
    def __init__(self, policy):
        self.policy = policy
        self.offset = 0
        self.previous = {}

    def tick(self, tick, now, vms, usable):
        n = len(vms)
        self.offset = self.offset % n if n else 0
        unused = {vm.uuid: vm.unused(now) for vm in vms}
        need, spare = self.ask(vms, unused)
        kept = usable
        if self.policy.limit is not None:
            held = sum(vm.actual for vm in vms)
            kept = min(kept, self.policy.limit - held)
        transfers = self.move([vms[(i + self.offset) % n] for i in range(n)], need, spare, kept)

        line = {"tick": tick, "offset": self.offset, "host": {"usable_bytes": usable}}
        line["vms"] = [self.carry_out(vm, unused[vm.uuid], transfers) for vm in vms]
        line["transfers"] = [
            {"from": giver.name if giver else "host", "to": taker.name if taker else "host",
             "amount_bytes": amount}
            for giver, taker, amount in transfers
        ]
        self.offset = (self.offset + 1) % n if n else 0
        return line

    def ask(self, vms, unused):
        """What each VM needs and what each can spare."""
        policy, need, spare, seen = self.policy, {}, {}, {}
        for vm in vms:
            free = unused[vm.uuid]
            used = vm.actual - free
            previous = self.previous.get(vm.uuid, 0)
            need[vm.uuid] = spare[vm.uuid] = 0
            if used > previous and free < policy.need_below:
                wanted = max(policy.step, policy.need_below - free)
                need[vm.uuid] = min(wanted, max(vm.max - vm.actual, 0))
            elif used <= previous and free > policy.spare_above:
                spare[vm.uuid] = min(policy.step, free - policy.spare_above)
            seen[vm.uuid] = used
        self.previous = seen
        return need, spare

    def move(self, turns, need, spare, kept):
        """Transfers as (giver, taker, amount), with None for the host."""
        transfers = []
        if not any(need.values()):
            return [(vm, None, spare[vm.uuid]) for vm in turns if spare[vm.uuid]]
        j = 0
        got = dict.fromkeys(need, 0)
        for taker in turns:
            while need[taker.uuid] and j < len(turns):
                giver = turns[j]
                amount = min(need[taker.uuid], spare[giver.uuid])
                if amount:
                    transfers.append((giver, taker, amount))
                    need[taker.uuid] -= amount
                    spare[giver.uuid] -= amount
                    got[taker.uuid] += amount
                if need[taker.uuid]:
                    j += 1
        if not any(spare.values()):
            for taker in turns:
                room = taker.max - taker.actual - got[taker.uuid]
                amount = min(self.policy.step, room)
                if need[taker.uuid] and kept - amount > self.policy.reserve:
                    transfers.append((None, taker, amount))
                    kept -= amount
        return transfers

    def carry_out(self, vm, unused, transfers):
        """The VM's line; its balloon arrives within the tick."""
        got = sum(amount for _, taker, amount in transfers if taker is vm)
        gave = sum(amount for giver, _, amount in transfers if giver is vm)
        before = vm.actual
        vm.actual = before + got - gave
        return {
            "name": vm.name, "uuid": vm.uuid, "actual_bytes": before,
            "guest_unused_bytes": unused, "used_bytes": before - unused,
            "target_bytes": vm.actual,
            "verdict": "grow" if got else "shrink" if gave else "hold",
        }


# Scenarios.


def make(seed, path):
    """A random scenario: in need and idle, rising and falling, coming and going, rich and poor."""
    dice = random.Random(seed)
    interval = dice.choice([10, 100, 250, 1000, 3000])
    lines = [f'tick_interval = "{interval}ms"', "[sim]", "ideal = true"]
    span, vms, held = 60 * interval, [], 0
    for number in range(dice.choice([0, 1, 1, 2, 3, 4, 5, 8, 13, 40])):
        top = dice.choice([256, 512, 1024, 2048, 4096]) * MIB
        actual = amount(dice, 16 * MIB, top)
        start = dice.randrange(1, span) if dice.random() < 0.15 else 0
        held += actual if start == 0 else 0
        vms += ["[[vm]]", f'name = "vm {number}"', f'max = "{top}B"', f'actual = "{actual}B"']
        if dice.random() < 0.5:
            vms.append(f'uuid = "{dashed(dice.getrandbits(128))}"')
        if start:
            vms.append(f'start = "{start}ms"')
        if dice.random() < 0.15:
            vms.append(f'stop = "{dice.randrange(start + 1, span + 2)}ms"')
        vms.append(f"demand = {demand(dice, top, span)}")
    other = dice.randrange(0, 1024) * MIB
    slack = dice.choice([0, dice.randrange(0, 300 * MIB), dice.randrange(0, 4096 * MIB)])
    lines += ["[host]", f'total = "{max(other + held + slack, MIB)}B"', f'other = "{other}B"']
    lines += policy(dice, held) if dice.random() < 0.4 else []
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines + vms) + "\n")


def demand(dice, top, span):
    if dice.random() < 0.2:
        return f'"{amount(dice, 0, top)}B"'
    times = sorted(dice.randrange(0, span) for _ in range(dice.randrange(1, 8)))
    if len(times) > 1 and dice.random() < 0.3:
        times[1] = times[0]
    points = [f'{{ at = "{at}ms", used = "{amount(dice, 0, top + top // 4)}B" }}' for at in times]
    return f"[{', '.join(points)}]"


def policy(dice, held):
    """Constants within which the rules of safety do not bind."""
    spare_above = dice.randrange(64, 300)
    lines = ["[policy]", f'host_reserve = "{dice.randrange(1, 400)}MiB"']
    if dice.random() < 0.5:
        lines.append(f'pool_limit = "{max(held + dice.randrange(0, 2048 * MIB), MIB)}B"')
    return lines + [
        "[policy.two_pointer]",
        f'need_below = "{dice.randrange(spare_above, 500)}MiB"',
        f'spare_above = "{spare_above}MiB"',
        f'step = "{dice.randrange(1, 65)}MiB"',
    ]


def amount(dice, least, most):
    """Any number of bytes, often a round one."""
    if dice.random() < 0.5:
        return dice.randrange(-(-least // MIB), most // MIB + 1) * MIB
    return dice.randrange(least, most + 1)


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(int(sys.argv[2]), sys.argv[3])
    else:
        run(sys.argv[2], int(sys.argv[3]))
