"""The ranks that this host runs of a program of a stage."""
import os
import re
import subprocess
import sys
import threading
import time

LAUNCHER_VARIABLE = re.compile(r"^(TRANSLOAD_(RANK|RANKS|PORT|JOB|SERVED)|RANK|WORLD_SIZE|LOCAL_RANK|MASTER_\w+|"
                               r"TORCHELASTIC_\w+|OMPI_\w+|PMIX_\w+|PMI_\w+|PALS_\w+|SLURM_\w+)$")
CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")


class Ranks:
    """`first`: the lowest rank of this host; `where`: variables that say where ranks meet."""

    def __init__(self, command, first, count, where):
        mine = {name: value for name, value in os.environ.items() if not LAUNCHER_VARIABLE.match(name)}
        self.first, self.told = first, [None] * count
        self.processes = []
        try:
            for i in range(count):
                names = mine | where | {"TRANSLOAD_RANK": str(first + i)}
                self.processes.append(subprocess.Popen(
                    [sys.executable, CHILD, str(os.getpid()), *command], env=names, stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"))
        except OSError:
            self.end()
            raise

    def end(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()

    def finish(self, seconds):
        """(exit status, stdout, stderr) of each rank. A rank that is late is killed, and its stderr says so."""
        until = time.monotonic() + seconds

        def hear(i):
            process = self.processes[i]
            try:
                out, err = process.communicate(timeout=max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                err += f"\nrank {self.first + i} had not ended after {seconds} s, and was killed"
            self.told[i] = (process.returncode, out, err)

        threads = [threading.Thread(target=hear, args=(i,)) for i in range(len(self.processes))]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            self.end()
            raise
        return self.told
