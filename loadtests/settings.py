"""The settings of load tests. The variable of a setting is `LOADTEST_` and the field's name in capitals."""

import sys
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from loadtests.mixes import MIXES

PREFIX = "LOADTEST_"
PROJECT = Path(__file__).resolve().parent.parent
DEFAULT_URL = "http://127.0.0.1:3000"
# The callers with keys, and the field with the key of each.
KEY_FIELDS = {"steady": "key", "noisy": "noisy_key"}
# The steady callers' limit must be above the load; the noisy neighbour's is there to be exceeded.
_EXAMPLE_LIMITS = {"steady": "100000/minute", "noisy": "1/second"}


class LoadSettings(BaseSettings):
    """The settings of a run.

    Attributes:
        url: a server that already runs; unset: one is started for the test.
        key: the key of the steady callers. Its limit must be above the load.
        noisy_key: the key of the noisy neighbour, with a small limit, which it exceeds.
        database_url: the database in which the rows of the usage log are counted; set if the test started the server.
        mix: which callers run; see `mixes.py`.
        rate: requests per second; unset: a share of the knee, which is measured first.
        share: the share of the knee; unset: the share of the mix.
        seconds: how long a mix runs; `soak` takes ten times as long.
        finds_knee: whether this run finds the knee of the mix, instead of testing at a share of it.
        slo: the file with the SLOs.
        results: the folder in which reports are written.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    url: str | None = None
    key: SecretStr = SecretStr("")
    noisy_key: SecretStr = SecretStr("")
    database_url: str | None = None
    mix: str = "steady"
    rate: Annotated[float | None, Field(gt=0)] = None
    share: Annotated[float | None, Field(gt=0)] = None
    seconds: Annotated[float, Field(gt=0)] = 60.0
    finds_knee: bool = False
    slo: Path = PROJECT / "loadtests" / "slo.toml"
    results: Path = PROJECT / "var" / "loadtest"

    @field_validator("mix")
    @classmethod
    def _mix_is_known(cls, name: str) -> str:
        if name not in MIXES:
            raise ValueError(f"choose one of {', '.join(MIXES)}")
        return name

    @property
    def host(self) -> str:
        """The server that Locust calls unless it is given another."""
        return self.url or DEFAULT_URL

    @property
    def who(self) -> list[str]:
        """The callers of the mix, each of which has a key."""
        return ["steady", "noisy"] if MIXES[self.mix].extra_callers == "noisy" else ["steady"]

    def missing_key(self) -> str | None:
        """Return one line that says which key must be set, and how to make one; None if none is missing."""
        for one in self.who:
            if not self.key_of(one):
                command = f"python -m auth create --email {one}@example.org --limit {_EXAMPLE_LIMITS[one]}"
                return f"Set {PREFIX}{KEY_FIELDS[one].upper()} to an API key of the server; '{command}' makes one."
        return None

    def key_of(self, who: str) -> str:
        """Return the key of the caller "steady" or "noisy"; empty if it is not set."""
        return (self.noisy_key if who == "noisy" else self.key).get_secret_value()


@cache
def load_settings() -> LoadSettings:
    """Return the settings of this process. A wrong one ends the process with a line that names the setting."""
    try:
        return LoadSettings()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        sys.exit(f"ERROR: {PREFIX}{str(first['loc'][0]).upper()}: {first['msg']}.")
