"""The base of all settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Frozen settings in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
