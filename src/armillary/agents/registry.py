"""Agents by name."""

from __future__ import annotations

from typing import Any

from armillary.agents.base import Agent
from armillary.agents.dreamer import Dreamer
from armillary.agents.planet import Planet
from armillary.config import Config

AGENTS: dict[str, Any] = {"planet": Planet, "dreamer": Dreamer}


def make_agent(config: Config, action_size: int) -> Agent:
    """Returns the agent that the configuration names."""
    return AGENTS[config.agent](config, action_size)
