"""The stages of tools/network_check, in order. Both hosts go through them together, and tell each other how each of
them ended, so that both print the same report."""
import json
import os
import re
import secrets
import socket
import threading
import time

from . import facts
from .ranks import Ranks
from .talk import Failed, WrongUsage, dialled, listening

ROW_BYTES = 14336  # of the job: 7168 bf16
JOB = ("--hidden", "7168", "--experts", "256", "--top-k", "8")
NVSHMEM = "nvshmem"  # stands beside libfabric's providers: GPUs drive the NIC, and it has no raw writes of its own
ITERATIONS = 5  # of a job whose memory a link has tried
ROUND_TRIPS = 50
SHOWN = ("scale-out", "network provider", "network memory", "nic")  # of a run's decisions
SPOILED_ROWS = 4000  # of each size: enough for some to be found


def check_here(given):
    """What can be known before anybody is waited for."""
    if not os.path.isfile(given.program) or not os.access(given.program, os.X_OK):
        raise WrongUsage(f"--program: '{given.program}': no program: `./dev demo` builds build/host/bin/transload")
    try:
        os.makedirs(os.path.join(given.out, "log"), exist_ok=True)
        with open(os.path.join(given.out, "report.txt"), "w", encoding="utf-8"):
            pass
    except OSError as error:
        raise WrongUsage(f"--out: '{given.out}': {os.strerror(error.errno)}") from None


def json_lines(text):
    found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            pass  # words for people
    return found


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:400] if lines else "it said nothing"


class Check:
    def __init__(self, given, talk):
        self.given, self.talk = given, talk
        self.report = open(os.path.join(given.out, "report.txt"), "w", encoding="utf-8")
        self.deadline_ms = 1000 * given.patience
        self.failures, self.untried, self.secret = 0, [], {}
        self.result = {"hosts": given.hosts, "here": talk.here, "ranks_of_a_host": given.ranks, "gpus": given.gpus,
                       "verdict": "not ended", "table": {}, "lines": []}

    def say(self, line):
        print(line, flush=True)
        print(line, file=self.report, flush=True)

    def write(self, line):
        """Adds a line to the one file of results, which is whole at every moment."""
        self.result["lines"].append(line)
        self.save()

    def save(self):
        path = os.path.join(self.given.out, "result.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(self.result, file, indent=1)
        os.replace(path + ".new", path)

    def log(self, stage, text):
        name = re.sub(r"[^\w.-]", "_", stage)
        with open(os.path.join(self.given.out, "log", f"{name}.txt"), "a", encoding="utf-8") as file:
            file.write(text + "\n")

    def stage(self, name, body, seconds=0):
        """body() returns what it found, or raises Failed; what the other host says of the stage counts as much.
        Returns what both found, None if it failed."""
        begin = time.monotonic()
        mine = {"ok": True, "why": "", "found": None}
        try:
            mine["found"] = body()
        except Failed as error:
            mine |= {"ok": False, "why": str(error)}
        try:
            both = self.talk.exchange(name, mine, seconds)
        except Failed:
            if not mine["ok"]:
                self.say(f"FAILED          {name}: host {self.talk.here}: {mine['why']}")
            raise
        spent = time.monotonic() - begin
        good = all(one["ok"] for one in both)
        self.say(f"{'ok' if good else 'FAILED':8}{spent:5.0f} s  {name}")
        for host, one in zip(self.given.hosts, both):
            self.write({"stage": name, "host": host, "ok": one["ok"], "why": one["why"], "seconds": round(spent, 3)})
            if not one["ok"]:
                self.say(f"  host {host}: {one['why']}")
        if good:
            return [one["found"] for one in both]
        self.failures += 1
        return None

    # Programs on both hosts.

    def host_of(self, rank):
        return self.given.hosts[int(rank >= self.given.ranks)]

    def with_hosts(self, text):
        """The text, and of the first rank that it names also the host."""
        named = re.search(r"\brank (\d+)\b", text)
        if named is None or int(named[1]) >= 2 * self.given.ranks:
            return text
        return f"{text} [rank {named[1]} is of host {self.host_of(int(named[1]))}]"

    def program(self, stage, *words):
        """(rank, exit status, stdout, stderr) of this host's ranks."""
        first = self.talk.me * self.given.ranks
        where = {"TRANSLOAD_RANKS": str(2 * self.given.ranks), "MASTER_ADDR": self.given.hosts[0],
                 "TRANSLOAD_PORT": str(self.given.port + 1), **self.secret}
        self.log(stage, f"$ transload {' '.join(words)}")
        try:
            ranks = Ranks([self.given.program, *words], first, self.given.ranks, where)
        except OSError as error:
            raise Failed(f"{error.filename}: {os.strerror(error.errno)}") from None
        told = [(first + i, *one) for i, one in enumerate(ranks.finish(self.given.stage_seconds))]
        for rank, status, out, err in told:
            self.log(stage, f"rank {rank}: exit status {status}\n{out}{err}")
        return told

    def must_end(self, told, wanted):
        """`wanted`: the exit status, of every rank."""
        for rank, status, _, err in told:
            if status != wanted:
                how = f"signal {-status}" if status < 0 else f"exit status {status}, not {wanted}"
                raise Failed(f"rank {rank} ended with {how}: {self.with_hosts(last_line(err))}")

    def speaks(self):
        return self.talk.me == 0  # rank 0 is here

    # What the hosts are and have.

    def meet(self):
        begin = time.monotonic()
        self.talk.meet()
        self.say(f"ok      {time.monotonic() - begin:5.0f} s  meet")
        self.write({"stage": "meet", "ok": True})

    def here(self):
        both = self.stage("here", lambda: facts.of_this_host(self.given.program), 180)
        for name, one in zip(self.given.hosts, both or ()):
            self.show_host(name, one)
            self.write({"case": "host", "name": name, **one})
        if both and both[0]["version"] != both[1]["version"]:
            self.fail(f"versions differ: {both[0]['version']} and {both[1]['version']}")
        return both

    def fail(self, why):
        self.failures += 1
        self.say(f"FAILED          {why}")
        self.write({"stage": "here", "ok": False, "why": why})

    def show_host(self, name, one):
        self.say(f"host {name}: {one['host']}, Linux {one['kernel']}, {one['cpus']} processors, {one['version']}")
        for link in one["interfaces"]:
            speed = f"{link['mbit_per_s']} Mbit/s" if link["mbit_per_s"] else "speed unknown"
            self.say(f"  interface {link['name']}: {link['state']}, {speed}, mtu {link['mtu']}, "
                     f"{' '.join(link['addresses']) or 'no address'}")
        for device in one["rdma"]:
            ports = "; ".join(f"port {p['port']} {p['state']}, {p['rate']}, {p['layer']}" for p in device["ports"])
            self.say(f"  RDMA device {device['name']}: driver {device['driver'] or 'unknown'}, firmware "
                     f"{device['firmware'] or 'unknown'}; {ports or 'no port'}")
        if not one["rdma"]:
            self.say("  no RDMA device")
        for gpu in one["gpus"]:
            self.say(f"  GPU {gpu}")
        if not one["gpus"]:
            self.say(f"  {one['no_gpu']}")
        for near in one["near"]:
            self.say(f"  nearest NIC of GPU {near}")
        if one["gpus"]:
            self.say(f"  NVSHMEM: {one['nvshmem_text'] or 'unknown'}")
        if one["nvidia"]["version"]:
            may = "may" if one["nvidia"]["doorbells"] else "may not"
            self.say(f"  driver: {one['nvidia']['version']}; a GPU {may} ring doorbells: registry "
                     f"'{one['nvidia']['registry']}' (PeerMappingOverride=1)")
        self.say(f"  modules for memory of GPUs: {', '.join(one['modules']) or 'none'}")
        locked = "no limit" if one["locked_bytes"] is None else f"{one['locked_bytes'] >> 10} KiB"
        self.say(f"  memory that may be locked: {locked}; {one['libfabric'] or 'libfabric'}, providers: "
                 f"{', '.join(one['providers']) or 'none: ' + one['why']}")

    # Whether one reaches the other.

    def reach(self):
        for listener in (0, 1):
            ports = [self.given.port + 1, self.given.port + 2][listener:]
            name = f"reach {self.given.hosts[listener]} from {self.given.hosts[1 - listener]}"
            found = self.answer(name, ports) if self.talk.me == listener else self.ask(name, ports)
            both = self.stage(name, found, self.given.patience)
            us = next((one for one in both or () if one is not None), None)
            if us is not None:
                self.say(f"  {us:.1f} us there and back, by TCP")
                self.write({"case": "reach", "to": self.given.hosts[listener], "us_there_and_back": us})

    def answer(self, name, ports):
        servers = []
        try:
            for port in ports:
                servers.append(listening(self.talk.here, port))
        except WrongUsage as error:
            why = str(error)
            self.talk.exchange(f"{name}: ready", why)

            def refuse():
                raise Failed(why)

            return refuse
        self.talk.exchange(f"{name}: ready", "")
        stop = threading.Event()
        threads = [threading.Thread(target=echo, args=(server, stop), daemon=True) for server in servers]
        for thread in threads:
            thread.start()

        def wait():
            try:
                self.talk.exchange(f"{name}: asked", "", self.given.patience)
            finally:
                stop.set()
                for thread in threads:  # the ranks need its port
                    thread.join()

        return wait

    def ask(self, name, ports):
        why = self.talk.exchange(f"{name}: ready", "")[1 - self.talk.me]

        def ring():
            times = []
            try:
                if why:
                    raise Failed(f"was not asked: {why}")
                for port in ports:
                    times.append(self.round_trip_us(port))
            finally:
                self.talk.exchange(f"{name}: asked", "", self.given.patience)
            return min(times)

        return ring

    def round_trip_us(self, port):
        one, reason = dialled(self.talk.there, port, time.monotonic() + min(self.given.patience, 10))
        if one is None:
            raise Failed(f"port {port} of host {self.talk.there} was not reached: {reason}")
        with one:
            one.settimeout(self.given.patience)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            times = []
            try:
                for _ in range(ROUND_TRIPS):
                    begin = time.perf_counter()
                    one.sendall(b"x")
                    if one.recv(1) != b"x":
                        raise Failed(f"port {port} of host {self.talk.there}: somebody else answers there")
                    times.append((time.perf_counter() - begin) * 1e6)
            except OSError as error:
                raise Failed(f"port {port} of host {self.talk.there}: no answer: {error}") from None
        return round(sorted(times)[len(times) // 2], 1)

    # What a provider carries.

    def link_words(self, provider, rows, sizes):
        return ("link", "--provider", provider, "--rows", str(rows), "--row-bytes", ",".join(map(str, sizes)),
                "--deadline-ms", str(self.deadline_ms))

    def link(self, provider):
        def body():
            words = self.link_words(provider, self.given.rows, self.given.row_bytes)
            told = self.program(f"link {provider}", *words)
            self.must_end(told, 0)
            few = self.link_words(provider, min(self.given.rows, SPOILED_ROWS), self.given.row_bytes)
            spoiled = self.program(f"link {provider}", *few, "--spoil")
            for rank, status, _, _ in spoiled:
                if status != 1:
                    raise Failed(f"a spoiled run was not found: rank {rank} ended with exit status {status}, not 1")
            if not self.speaks():
                return []
            found = json_lines(spoiled[0][2])
            blind = [one["row_bytes"] for one in found if one["wrong_rows_of_a_rank"] == 0]
            if blind or len(found) != len(self.given.row_bytes):
                raise Failed(f"a spoiled run was not found in rows of {blind or self.given.row_bytes} bytes")
            lines = json_lines(told[0][2])
            if [one["row_bytes"] for one in lines if one["case"] == "checked"] != self.given.row_bytes:
                raise Failed("not all sizes of rows were checked")
            if not any(one["case"] == "counted" for one in lines):
                raise Failed("no counts were checked")
            return lines

        both = self.stage(f"link {provider}", body, 2 * self.given.stage_seconds)
        for one in both[0] if both else ():
            self.figure(provider, one)

    def figure(self, provider, one):
        self.write({"stage": "link", **one})
        row = self.result["table"].setdefault(provider, {})
        if one["case"] == "counted":
            self.say(f"  {one['counts']} counts of a word, one behind the other: it never fell")
        if one["case"] == "checked":
            self.say(f"  {one['rows']} rows of {one['row_bytes']} bytes from each rank: right when their counts came")
        if one["case"] == "rows":
            self.say(f"  rows of {one['row_bytes']} bytes: {one['gb_per_s_each_way']} GB/s each way, raw writes "
                     f"{one['raw_gb_per_s_each_way']}: {one['share_of_raw']:.0%}")
            row[f"rows of {one['row_bytes']}"] = [one["gb_per_s_each_way"], one["raw_gb_per_s_each_way"]]
        if one["case"] == "count":
            self.say(f"  a count: {one['us_one_way']} us one way, a raw write {one['raw_us_one_way']}")
            row["us of a count"] = [one["us_one_way"], one["raw_us_one_way"]]

    def run_words(self, provider, *more):
        sizes = f"{self.given.ranks},{self.given.ranks}"
        device = ("--device", "cuda", "--gpus", str(self.given.gpus)) if self.given.gpus else ()
        way = (NVSHMEM,) if provider == NVSHMEM else ("libfabric", "--provider", provider)
        return ("run", "--node-sizes", sizes, "--tokens", str(self.given.tokens), *JOB, "--scale-out", *way, *device,
                "--quiet", "--json", "-", "--deadline-ms", str(self.deadline_ms), *more)

    def run(self, provider, raw_provider):
        """`raw_provider`: whose raw writes stand beside it. Memory of GPUs is reached by no other stage, so there it
        carries as many rows as a link, and fp8 too."""
        job = self.job(f"run {provider}", provider)
        if job:
            self.beside_raw(provider, raw_provider, job)
        if job and self.given.gpus:
            self.job(f"run {provider}, fp8", provider, "--dtype", "fp8")

    def iterations(self):
        """How many a job makes. Each has two dispatches, which put nearly all of a rank's tokens over the network."""
        return -(-self.given.rows // (2 * self.given.tokens)) if self.given.gpus else ITERATIONS

    def job(self, name, provider, *more):
        """What rank 0 says of a verified job, None if it failed."""
        def body():
            words = self.run_words(provider, "--iterations", str(self.iterations()), *more)
            told = self.program(name, *words)
            self.must_end(told, 0)
            if not self.speaks():
                return None
            lines = json_lines(told[0][2])
            if len(lines) != 1 or lines[0].get("verified") is not True:
                raise Failed("rank 0 did not say that every output was verified")
            if provider not in lines[0]["transports"]["scale_out"]:
                raise Failed(f"rows went by {lines[0]['transports']['scale_out']}, not by {provider}")
            return lines[0]

        both = self.stage(name, body, self.given.stage_seconds)
        if not both:
            return None
        job = both[0]
        rows = job["dispatch"]["scale_out_rows"] // (2 * self.given.ranks)
        self.say(f"  in {self.iterations()} iterations of two dispatches, of which {rows} rows a rank crossed, and a "
                 "combine every output was right")
        self.write({"stage": "run", "case": "verified", "provider": provider, "dtype": job["workload"]["dtype"],
                    "iterations": self.iterations(), "rows_of_a_rank_in_a_dispatch": rows})
        return job

    def by_nvshmem(self, raw_provider, facts_of_both):
        """NVSHMEM must carry the job if both hosts have it. If one lacks it nothing fails, but the report says so."""
        lacking = [f"host {host}: {one['nvshmem_text']}" for host, one in zip(self.given.hosts, facts_of_both)
                   if not one["nvshmem"]]
        if not lacking:
            return self.run(NVSHMEM, raw_provider)
        self.untried.append(f"run {NVSHMEM}")
        for why in lacking:
            self.say(f"not tried       run {NVSHMEM}: {why}")
            self.write({"stage": "run", "case": "not tried", "provider": NVSHMEM, "why": why})

    def beside_raw(self, provider, raw_provider, job):
        """Measures raw writes of as many rows as a dispatch put over the network, in the same form."""
        rows = max(1, job["dispatch"]["scale_out_rows"] // (2 * self.given.ranks))

        def body():
            told = self.program(f"run {provider}", *self.link_words(raw_provider, rows, [ROW_BYTES]))
            self.must_end(told, 0)
            lines = json_lines(told[0][2]) if self.speaks() else [{"case": "rows"}]
            return next(one for one in lines if one["case"] == "rows")

        both = self.stage(f"raw writes of as many rows, {provider}", body, self.given.stage_seconds)
        if not both:
            return
        for what in (one for one in SHOWN if one in job["decisions"]):
            self.say(f"  {what}: {job['decisions'][what]['choice']}: {job['decisions'][what]['why']}")
        raw = both[0]["raw_gb_per_s_each_way"]
        for what, times, crossed in (("dispatch", job["dispatch"]["cached_us"], job["dispatch"]["scale_out_rows"]),
                                     ("combine", job["combine"]["us"], job["combine"]["scale_out_rows"])):
            mine = round(crossed / 2 * ROW_BYTES / times["median"] / 1e3, 3)
            self.write({"stage": "run", "case": what, "provider": provider, "ranks": 2 * self.given.ranks,
                        "us": times, "rows_between_hosts": crossed, "decisions": job["decisions"],
                        "gb_per_s_each_way": mine, "raw_gb_per_s_each_way": raw, "share_of_raw": round(mine / raw, 3)})
            self.say(f"  {what}: {times['median'] / 1e3:.2f} ms, {mine} GB/s each way between the hosts, raw writes "
                     f"{raw}: {mine / raw:.0%}")
            self.result["table"].setdefault(provider, {})[what] = [mine, raw]

    def kill(self, provider):
        victim = 2 * self.given.ranks - 1

        def body():
            words = self.run_words(provider, "--fault", f"kill:{victim}@2")
            told = self.program(f"kill {provider}", *words)
            self.must_end([one for one in told if one[0] != victim], 3)
            if not self.speaks():
                return None
            fault = (json_lines(told[0][2]) or [{}])[0].get("fault") or {}
            if fault.get("culprit_rank") != victim:
                raise Failed(f"rank {victim} was killed, and the others named rank {fault.get('culprit_rank')}")
            late = [one["rank"] for one in fault["reports"] if one["after_ms"] > self.deadline_ms + 1000]
            if late or len(fault["reports"]) != victim:
                raise Failed(f"{len(fault['reports'])} of {victim} ranks named it, late: {late}")
            return max(one["after_ms"] for one in fault["reports"])

        both = self.stage(f"kill {provider}", body, self.given.stage_seconds)
        if both:
            self.say(f"  rank {victim} of host {self.host_of(victim)} was killed; the last of the others named it "
                     f"after {both[0]:.0f} ms")
            self.write({"case": "kill", "provider": provider, "last_named_after_ms": both[0]})

    # All stages.

    def share_secret(self):
        given = {name: os.environ[name] for name in ("TRANSLOAD_SECRET", "TRANSLOAD_SECRET_FILE") if name in os.environ}
        both = self.talk.exchange("secret", {"given": bool(given), "made": secrets.token_hex(32)})
        if both[0]["given"] != both[1]["given"]:
            without = self.given.hosts[int(both[0]["given"])]
            raise Failed(f"secret: host {without} has no TRANSLOAD_SECRET and no TRANSLOAD_SECRET_FILE, the other has")
        if not given:
            self.secret = {"TRANSLOAD_SECRET": both[0]["made"]}

    def agree(self):
        """Compares arguments that must be the same on both hosts."""
        mine = [self.given.gpus, self.given.ranks, self.given.port, self.given.rows, self.given.row_bytes,
                self.given.tokens, self.given.provider]
        both = self.talk.exchange("arguments", mine)
        names = ("--gpus", "--ranks", "--port", "--rows", "--row-bytes", "--tokens", "--provider")
        for name, one, other in zip(names, *both):
            if one != other:
                raise Failed(f"{name}: {one} on {self.given.hosts[0]}, {other} on {self.given.hosts[1]}: must be alike")

    def providers(self, both):
        wanted = self.given.provider or [name for name in both[0]["providers"] if name in both[1]["providers"]]
        for name in wanted:
            for host, one in zip(self.given.hosts, both):
                if name not in one["providers"]:
                    self.fail(f"host {host} has no provider {name}; it has {', '.join(one['providers']) or 'none'}")
        if not wanted:
            self.fail("the hosts have no provider in common")
        for host, one in zip(self.given.hosts, both):
            if len(one["gpus"]) < (self.given.gpus or 0):
                self.fail(f"--gpus: {self.given.gpus}, must be at most {len(one['gpus'])}, which host {host} has"
                          + (f" ({one['no_gpu']})" if one["no_gpu"] else ""))
        return [name for name in wanted if all(name in one["providers"] for one in both)]

    def all(self):
        given = self.given
        where = f"{given.ranks} ranks on each" + (", on GPUs" if given.gpus else "")
        self.say(f"network_check of {given.hosts[0]} and {given.hosts[1]}, {where}; this is {self.talk.here}")
        self.meet()
        self.agree()
        self.share_secret()
        both = self.here()
        self.reach()
        providers = self.providers(both) if both else ()
        for provider in providers if not self.failures else ():
            self.link(provider)
            self.run(provider, provider)
            if given.gpus is None:  # run's faults are of ranks on CPUs
                self.kill(provider)
        if given.gpus and providers and not self.failures:
            self.by_nvshmem(providers[0], both)
        self.show_table()
        well = "all is well" + (f", but not tried: {', '.join(self.untried)}" if self.untried else "")
        return self.end(f"{self.failures} FAILED" if self.failures else well)

    def show_table(self):
        """Prints GB/s each way and us one way, each beside raw writes of the same bytes by the same provider."""
        for provider, row in self.result["table"].items():
            for what, (mine, raw) in row.items():
                unit, share = ("us", "") if what.startswith("us") else ("GB/s", f"{mine / raw:.0%}")
                self.say(f"{provider:16} {what:18} {mine:>9} {unit:4} raw {raw:>9} {share:>5}")

    def end(self, verdict):
        self.result["verdict"] = verdict
        self.save()
        self.say(f"{verdict}; {self.given.out}/report.txt, result.json, log/")
        return 1 if self.failures else 0


def echo(server, stop):
    """Sends back what comes, of one connection after another, until told to stop."""
    server.settimeout(0.2)
    with server:
        while not stop.is_set():
            try:
                one = server.accept()[0]
            except TimeoutError:
                continue
            with one:
                one.settimeout(2)
                try:
                    while text := one.recv(64):
                        one.sendall(text)
                except OSError:
                    pass  # the host that asks says what it saw


def run(given, talk):
    check = Check(given, talk)
    try:
        return check.all()
    except Failed as error:
        check.failures += 1
        check.say(f"FAILED          {error}")
        check.write({"stage": "all", "ok": False, "why": str(error)})
        return check.end(f"{check.failures} FAILED")
