"""The file that Locust loads: it chooses the callers of one mix, and their load over time.

`python -m loadtests` runs it. To run it by hand, in any folder, with Locust's web page, where the number of users is
the number of requests per second: `LOADTEST_KEY=imc_… LOADTEST_MIX=steady locust -f loadtests/locustfile.py`.
"""

import sys
from pathlib import Path

from locust import events

# Locust adds only the folder in which it was started, and the one of this file.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from loadtests import open_loop, shapes, users
from loadtests.kinds import KINDS
from loadtests.mixes import MIXES
from loadtests.session import Session, refuse_several_processes
from loadtests.settings import load_settings, stop

SHAPES = {"level": shapes.Level, "soak": shapes.Soak, "spike": shapes.Spike}
EXTRA_CALLERS = {"noisy": users.NoisyNeighbour, "stampede": users.Stampede}

refuse_several_processes()
settings = load_settings()
mix = MIXES[settings.mix]
missing = settings.missing_key()
if missing is not None:
    stop(missing)

# Locust uses the classes that it finds among the names of this module.
if settings.finds_knee:
    Callers: type[users.Caller] = users.ClosedLoopCaller
    Shape: type[shapes.StepToKnee | shapes.Level] = shapes.StepToKnee
else:
    Callers = open_loop.PoissonCaller
    if mix.extra_callers:
        ExtraCallers = EXTRA_CALLERS[mix.extra_callers]
    # Without a rate, the number of users is set on the web page.
    if settings.rate is not None:
        Shape = SHAPES[mix.shape].of(
            settings.rate, ExtraCallers.fixed_count if mix.extra_callers else 0, settings.seconds
        )
Callers.sends = mix.sends
users.Caller.host = settings.host

for name in (*mix.sends, "stampede"):
    assert KINDS[name].bodies, "bodies are encoded before the run"
session = Session(settings, events)
