"""The configuration of a run whose agent is to act otherwise than it was trained to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from armillary.config.fields import changed
from armillary.config.muzero import SearchConfig, search_of
from armillary.config.planet import PlannerConfig, planner_of
from armillary.config.settings import Config
from armillary.errors import UsageError


def acting(
    config: Config, act: str | None, planner: PlannerConfig | Mapping[str, Any] | None
) -> Config:
    """Returns the configuration of a run that acts otherwise.

    Args:
        config: of the run.
        act: who chooses the actions; None: as the run has it.
        planner: settings of the planner, all of them or those that differ; None: the run's.

    Raises:
        UsageError: the agent has no such choice, no planner, or not such a setting.
    """
    changes: dict[str, Any] = {}
    if act is not None:
        if not hasattr(config, "act"):
            raise UsageError(
                f"the agent {config.agent!r} has no choice between a policy and a plan: leave "
                f"{act!r} out"
            )
        changes["act"] = act
    if planner is not None:
        settings = planner_of(config, act)
        if settings is None:
            why, instead = "so there are no settings of a planner", ""
            if planner_of(config, "plan") is not None:
                why = "but acts by its policy, and settings of a planner change nothing"
                instead = "let it plan (act 'plan'), or "
            raise UsageError(
                f"the agent {config.agent!r} does not plan, {why}: {instead}leave them out"
            )
        given = changed(settings, planner) if isinstance(planner, Mapping) else planner
        changes["planner"] = given
    return changed(config, changes)


def searching(config: Config, search: SearchConfig | Mapping[str, Any] | None) -> Config:
    """Returns the configuration of a run that searches otherwise.

    Args:
        config: of the run.
        search: settings of the search, all of them or those that differ; None: the run's.

    Raises:
        UsageError: the agent searches no tree, or there is no such setting.
    """
    if search is None:
        return config
    settings = search_of(config)
    if settings is None:
        raise UsageError(
            f"the agent {config.agent!r} searches no tree, so there are no settings of a search: "
            "leave them out"
        )
    given = changed(settings, search) if isinstance(search, Mapping) else search
    return changed(config, {"search": given})
