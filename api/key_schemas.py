"""The bodies and answers of the routes with which users manage their own keys."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from api.fields import Seconds


class Key(BaseModel):
    """v2: an API key, without its secret."""

    key_id: str
    name: str | None = Field(description="The name that the operator gave the key.")
    state: str = Field(description="`live`, `revoked` or `expired`.")
    scopes: list[str]
    created_at: datetime
    last_used_at: datetime | None = Field(description="When it was last used, to the minute; null if it never was.")
    expires_at: datetime | None = Field(description="null: it does not expire.")
    revoked_at: datetime | None
    replaced_by: str | None = Field(description="The id of the key that replaces it, if it was rotated.")


class Keys(BaseModel):
    """v2: all keys of the caller, the oldest first."""

    data: list[Key]


class Rotation(BaseModel):
    """v2: how to replace a key."""

    model_config = ConfigDict(extra="forbid")

    grace: Seconds = Field(
        0, description="How long the old key still works: seconds, or a time such as `1h`. By default not at all."
    )


class NewKey(BaseModel):
    """v2: a new key. Its secret is shown only this once."""

    user_id: str
    key_id: str
    key: str = Field(description="Store it now: it is never shown again.")
    limits: list[str]
    scopes: list[str]
    expires_at: datetime | None
