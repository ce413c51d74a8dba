"""A run in several real processes, of which one is killed: the others end, and all go on to the same bits."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.fault_campaign import cases
from experiments.fault_campaign.campaign import Fault
from experiments.fault_campaign.cases import Ended, fresh
from experiments.fault_campaign.judging import Verdict, failed
from experiments.quick_flags import QUICK_FLAGS
from gan_jax.processes.tunnel import free_port

LIMIT = 500  # seconds, after which a process is taken to hang
COUNT, DEVICES = 2, 2
CASE = next(iter(cases.CASES))

# The command, in which process I's part in the N-th agreement to go on is preceded by something.
BEFORE = """
import os, signal, sys, time
from gan_jax import cli, train
from gan_jax.processes.follower import Follower
from gan_jax.processes.leader import Leader

kind = Leader if "--process_id=0" in sys.argv else Follower
stops, count = kind.stops, 0

def before(self, received):
    global count
    count += 1
    if count == {number}:
        {act}
    return stops(self, received)

kind.stops = before
cli.run(train.main)
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
# The others wait for this process's share of the next steps, and the leader hears of the signal meanwhile.
STOP = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(2)"


def start(
    folder: Path, what: Sequence[str], devices: int, variables: Mapping[str, object]
) -> subprocess.Popen[str]:
    """Python with the arguments `what`, on so many devices."""
    xla = f"--xla_force_host_platform_device_count={devices} {QUICK_FLAGS}"
    return subprocess.Popen(
        [sys.executable, "-W", "error", *what],
        cwd=folder,
        env={**os.environ, "XLA_FLAGS": xla, **{name: str(value) for name, value in variables.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ends(processes: Sequence[subprocess.Popen[str]]) -> list[Ended]:
    """Each process's end, without what Gloo, the CPU's transport, says of itself."""
    found = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=LIMIT)
            lines = [line for line in out.splitlines() if not line.startswith("[Gloo]")]
            # The devices of a process are not always as many here, which a run that goes on says.
            said = [
                line
                for line in err.splitlines(True)
                if not line.startswith("warning: this run was made with")
            ]
            found.append(Ended(process.returncode, "\n".join(lines), "".join(said)))
    finally:
        for process in processes:
            process.kill()
    return found


def run(
    folder: Path,
    args: Sequence[str],
    count: int,
    devices: int,
    *,
    scripts: Mapping[int, str] | None = None,
    own: Sequence[str] = (),
) -> list[Ended]:
    """`gan_jax.train` in so many processes, on `devices` altogether; the last one has flags of its `own`.

    `scripts` take the place of some processes' command.
    """
    port, processes = free_port(), []
    for i in range(count):
        what = ["-m", "gan_jax.train"] if i not in (scripts or {}) else ["-c", (scripts or {})[i]]
        where = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}", f"--process_id={i}"]
        mine = own if i == count - 1 else ()
        processes.append(start(folder, [*what, *args, *where, *mine], devices // count, {}))
    return ends(processes)


class Several:
    """Does faults in a folder of its own."""

    def __init__(self, root: Path) -> None:
        """The run that is compared with is made first, if it is not there yet."""
        self.root, self.work = root, root / "work" / "several"
        self.args = cases.arguments(CASE, cases.images(root), self.work)
        whole = root / "whole" / "several"
        if not whole.exists():
            fresh(None, self.work)
            found = self.run({})
            assert all(ended.rc == 0 for ended in found), found
            fresh(self.work, whole)
        result = cases.result(whole)
        assert result is not None
        self.whole = result

    def run(self, scripts: Mapping[int, str]) -> list[Ended]:
        """The command in its processes."""
        self.work.parent.mkdir(parents=True, exist_ok=True)
        return run(self.root, self.args, COUNT, DEVICES, scripts=scripts)

    def do(self, fault: Fault, index: int) -> Verdict:
        """A process, of the number that the fault's kind says, is killed before its chunk number `at`."""
        process = list(DEEDS).index(fault.kind)
        fresh(None, self.work)
        first = self.run({process: BEFORE.format(number=fault.at, act=KILL)})
        others = [ended for i, ended in enumerate(first) if i != process]
        line = f"error: process {process} of {COUNT} has ended, or cannot be reached. Run the"
        told = all(e.rc == 1 and e.err.startswith(line) and e.err.count("\n") == 1 for e in others)
        if first[process].rc != -signal.SIGKILL or not told:
            return Verdict("lost", 0, str(first)[:1500])
        last = self.run({})
        for ended in last:
            if bad := failed(ended):
                return Verdict(bad, 0, ended.err[-1500:])
        found = cases.result(self.work)
        if any(ended.rc or ended.err for ended in last) or found != self.whole:
            return Verdict("lost", 0, f"another result; {[ended.err for ended in last]}"[:300])
        resumed = last[0].out.partition("resuming at step ")[2].split(" ")[0]
        return Verdict("same bits", (fault.at - 1) * 5 - int(resumed or 0), "")


DEEDS = ("the leader killed", "another process killed")


def plan(seed: int) -> list[Fault]:
    """Two kills of each: one early, perhaps before a checkpoint, and one later."""
    rng = random.Random(seed)
    places = [range(1, 4), range(4, 8)]
    return [Fault(kind, "two processes", rng.choice(some)) for some in places for kind in DEEDS]
