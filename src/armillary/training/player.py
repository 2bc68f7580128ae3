"""A trained agent, loaded from where it is stored and ready to act."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import jax
import numpy as np

from armillary import seeding
from armillary.agents.base import Actor, Models
from armillary.agents.hidden import HiddenModel
from armillary.agents.registry import make_agent
from armillary.config import (
    Backend,
    Config,
    PlannerConfig,
    SearchConfig,
)
from armillary.config.otherwise import acting, searching
from armillary.dynamics.base import LatentState
from armillary.dynamics.learned import LearnedModel
from armillary.envs import make
from armillary.envs import named as named_tasks
from armillary.envs import side_by_side as make_side_by_side
from armillary.envs.build import fitting
from armillary.errors import UsageError
from armillary.spec import Spec
from armillary.training import compilation
from armillary.training.evaluation import Scores, evaluate
from armillary.training.program_cache import keep
from armillary.training.rollout import compiled
from armillary.training.sources import opened


class Player:
    """A trained agent that acts in one environment, or in several side by side.

    Attributes:
        agent: the pure functions.
        state: the parameters.
        counters: how long it was trained: episodes, updates and so on.
    """

    def __init__(
        self,
        config: Config,
        agent: Actor,
        state: Any,
        counters: dict[str, Any],
        untrusted: Path | None = None,
    ) -> None:
        self._config = config
        self.agent = agent
        self.state = state
        self.counters = counters
        self._untrusted = untrusted  # the run folder, if it may not name the code that is run
        self._compiled: set[Hashable] = set()
        self.reset()

    @property
    def config(self) -> Config:
        """The configuration of its run, with what `load` was given. It is not to be changed."""
        return self._config

    @config.setter
    def config(self, config: Config) -> None:
        raise AttributeError(
            "the configuration of a loaded agent cannot be changed: load it again with other "
            "settings, `armillary.load(folder, planner={'horizon': 5})` for instance"
        )

    @property
    def world_model(self) -> LearnedModel | HiddenModel:
        """Its model, to look into: states, imagination, rewards, plans, and frames if it has any.

        Raises:
            UsageError: it has none.
        """
        if not isinstance(self.agent, Models):
            raise UsageError(
                f"the agent {self.config.agent!r} has no world model to look into: planet, dreamer "
                "and muzero have"
            )
        return self.agent.world_model(self.state)

    @property
    def latent(self) -> LatentState | None:
        """What it believes after the last `act`: a sampled state of its world model.

        With a leading axis if it acts in several environments; None before the first `act`.
        """
        latent = getattr(self._belief, "latent", None)
        if latent is None or self._step == 0:
            return None
        return jax.tree.map(lambda x: x[0], latent) if self._single else latent

    def reset(self, seed: int = 0) -> None:
        """Forgets the past: call it whenever an episode begins.

        Args:
            seed: of everything random while acting; the same seed and observations give the same
                actions.
        """
        self._belief: Any = None
        self._key = seeding.key(seed, "play")
        self._step = 0

    def act(self, observation: Any, explore: bool = False) -> Any:
        """Returns the action for an observation, or the actions for a stack of them.

        Args:
            observation: as the environment of `make_env` gives it: an array (64x64 pixels, bytes,
                unless the agent observes something else), or a dictionary of several.
            explore: whether to explore as data collection does.

        Returns:
            What that environment takes: vectors in [-1, 1], or the numbers of discrete actions.

        Raises:
            UsageError: the observation is of another shape or type, or of another number of
                environments than before.
        """
        spec = self.agent.spec
        named, single = _checked(spec, observation)
        count = len(next(iter(named.values())))
        if self._belief is None:
            self._belief = self.agent.initial_belief(self.state, count)
            self._count, self._single = count, single
        if count != self._count:
            raise UsageError(
                f"got {count} observations after {self._count}: call reset() when episodes begin, "
                "and act for the same environments until then"
            )
        with self._telling((count, explore)):
            self._belief, action, _ = compiled(self.agent)(
                self.state, self._belief, named, self._key, self._step, explore=explore
            )
        self._step += 1
        own = spec.own_action(action)
        return own[0] if single else own

    @contextmanager
    def _telling(self, program: Hashable) -> Iterator[None]:
        """Says that a program is compiled if it is used for the first time, and that takes long."""
        telling = None if program in self._compiled else compilation.tell("the agent's planner")
        try:
            yield
            self._compiled.add(program)
        finally:
            if telling:
                telling.cancel()

    def evaluate(
        self,
        episodes: int = 10,
        *,
        task: str | None = None,
        seed: int = 0,
        side_by_side: int = 5,
    ) -> Scores:
        """Returns the scores of noise-free episodes, as `armillary evaluate` does.

        What the agent does with `act` meanwhile is not touched.

        Args:
            episodes: how many.
            task: one of those that the agent learned; None: the first.
            seed: of the environments and of the agent.
            side_by_side: episodes played at the same time; what is drawn at random depends on it.

        Raises:
            UsageError: the agent did not learn that task, a number is less than 1, or it was loaded
                without trust in the Python module that the run folder names.
            EnvironmentFailure: the environment broke.
        """
        if episodes < 1 or side_by_side < 1:
            raise UsageError(
                f"{episodes} episodes, {side_by_side} at a time, were asked for: give at least 1"
            )
        task = self.task(task)
        self.check_trust((task,))
        envs = make_side_by_side(task, self.config.environment, min(side_by_side, episodes))
        telling = compilation.tell("the agent's planner")
        try:
            scores, _ = evaluate(
                envs,
                self.agent,
                self.state,
                episodes=episodes,
                seed=seed,
                on_step=lambda _: telling.cancel(),
            )
        finally:
            telling.cancel()
            envs.close()
        return scores

    def make_env(self, task: str | None = None) -> gym.Env:
        """Returns an environment of the task, as the agent saw it in training.

        Args:
            task: one of those that the agent learned; None: the first.

        Raises:
            UsageError: the agent did not learn that task; or it is a Python module that the run
                folder names, and the agent was loaded without trust in it.
        """
        task = self.task(task)
        self.check_trust((task,))
        return make(task, self.config.environment)

    def check_trust(self, tasks: Sequence[str]) -> None:
        """Makes sure that the run's environments may be made, see `armillary.envs.named`."""
        if self._untrusted is not None:
            named_tasks.check_trust(tasks, self.config.environment, self._untrusted)

    def task(self, name: str | None = None) -> str:
        """Returns the task of that name, or the first one that the agent learned.

        Raises:
            UsageError: the agent did not learn that task.
        """
        tasks = self.config.tasks
        if name is not None and name not in tasks:
            raise UsageError(
                f"this agent learned {', '.join(tasks)}, not {name!r}: name one of them"
            )
        return name or tasks[0]


def load(
    folder: str | Path,
    *,
    renderer: Backend | None = None,
    act: Literal["policy", "plan"] | None = None,
    planner: PlannerConfig | Mapping[str, Any] | None = None,
    search: SearchConfig | Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Player:
    """Loads a trained agent, of a run its last checkpoint; runs no code from it.

    Args:
        folder: the run folder that `armillary train` wrote; or a file of `armillary pack`,
            `demo:NAME` of an agent that comes with the package (`armillary demo` lists them), or
            `hf:OWNER/NAME` of one on the Hugging Face Hub, which is fetched.
        renderer: a rendering back end to use in place of the run's.
        act: who chooses the actions in place of the run's choice, of an agent that has it.
        planner: settings of the planner in place of the run's: all of them, or those that differ,
            `{"horizon": 5}`.
        search: settings of the search in place of the run's, likewise: `{"simulations": 100}`, or
            0 for the policy alone.
        trust: whether the Python modules may be run that the folder names: of its agent and its
            dynamics here, of its task in `make_env`.

    Raises:
        UsageError: the planner or the search has no such setting, or not such a value; or there is
            no choice of `act`, no planner, or no search.
        RunError: it is not a run folder, holds no checkpoint yet, or is damaged; or it cannot be
            fetched.
        UsageError: its configuration was changed since the checkpoint was made.
    """
    keep()
    trained = opened(folder, trust=trust)
    config = trained.config
    if renderer is not None:
        environment = replace(config.environment, renderer=renderer)
        config = replace(config, environment=environment)
    config = searching(acting(config, act, planner), search)
    agent = make_agent(config, Spec.from_dict(trained.counters.spec))
    state, counters = trained.restore(agent)
    config = replace(config, environment=fitting(config.environment, agent.spec))
    return Player(config, agent, state, counters, None if trust else Path(folder))


def _checked(spec: Spec, observation: Any) -> tuple[dict[str, np.ndarray], bool]:
    """Returns an observation by its fields with a leading axis, and whether that was missing.

    Raises:
        UsageError: it is not what the spec says.
    """
    named = {name: np.asarray(x) for name, x in spec.named(observation).items()}
    batches = set()
    for name, array in named.items():
        field = spec.fields[name]
        axes = array.ndim - len(field.shape)
        if axes not in (0, 1) or array.shape[axes:] != field.shape or array.dtype != field.dtype:
            what = "observation" if len(named) == 1 else f"observation's {name!r}"
            shape = ", ".join(map(str, field.shape))
            raise UsageError(
                f"the {what} has shape {array.shape} and type {array.dtype}, expected "
                f"{field.dtype}{' images' if field.is_image else ''} of shape ({shape}), or a "
                "stack of them: make the environment with `make_env()` of this agent"
            )
        batches.add(array.shape[:axes])
    if len(batches) != 1:
        raise UsageError(
            f"the fields of the observation have the leading axes {sorted(batches)}: all must be "
            "of one environment, or of equally many"
        )
    single = batches == {()}
    return ({name: x[None] for name, x in named.items()} if single else named), single
