"""What ten kills cost a run: the steps that count, of all that were done."""

import random
import signal

from experiments.fault_campaign.campaign import Campaign, state_of
from experiments.fault_campaign.cases import CASES, arguments, fresh

KILLS, STEPS = 10, 2000
CASE = next(iter(CASES))


def goodput(campaign: Campaign) -> tuple[int, int, int]:
    """Kills, the steps of the run, and the steps that were done for them."""
    rng, done, kills = random.Random(campaign.seed), 0, 0
    args = [*arguments(CASE, campaign.data, campaign.work, STEPS), "--log_every=10", "--checkpoint_every=50"]
    fresh(None, campaign.work)
    begin = 0
    while True:
        # Operations: some twenty a log line, so that each kill comes within the next hundred or so steps.
        fault = {"kind": "kill", "at": rng.randrange(200, 900)} if kills < KILLS else {"kind": "none"}
        ended = campaign.ask(args, **fault)
        logged, saved = state_of(campaign.work)
        done += logged - begin
        begin = saved
        if ended.rc == 0:
            return kills, STEPS, done
        assert ended.rc == -signal.SIGKILL, ended
        kills += 1
