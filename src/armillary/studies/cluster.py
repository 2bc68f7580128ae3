"""Work as tasks of Ray, on this machine or on many, each with its resources declared.

Ray finds the machine whose cores and graphics cards are free, starts the processes, passes on what
is called and tells when a worker died. Work whose worker died is given to Ray anew from here, not
by its own `max_retries`: so the user is told why, and what gets further each time is not given up.
"""

from __future__ import annotations

import contextlib
import math
import os
import textwrap
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from armillary.errors import ArmillaryError, UsageError
from armillary.training.signals import stop_request

RETRIES = 5
"""How often work is begun again whose workers die one after another without getting further."""

_ANSWER = 300.0
"""Seconds that a machine has to start a worker and to answer."""

_SIGNALS = 0.5
"""Seconds within which a signal is noticed."""

_PASSED = ("JAX_", "XLA_", "MUJOCO_", "PYOPENGL_", "ARMILLARY_")
"""How the variables begin that workers get as they are here."""


class ClusterError(ArmillaryError):
    """There is no Ray, or its machines cannot do what they should."""


@dataclass(frozen=True)
class Needs:
    """What each piece of work is given.

    Attributes:
        cpus: cores; None: of a machine with graphics cards those that there are for each card that
            is given, else one.
        gpus: graphics cards, a part of one if several share it; None: one where the cluster has
            any, else none.
    """

    cpus: float | None = None
    gpus: float | None = None

    def __post_init__(self) -> None:
        if self.cpus is not None and not 0 < self.cpus < math.inf:
            raise UsageError(f"--ray-cpus is {self.cpus}, but it must be greater than zero")
        if self.gpus is not None and not 0 <= self.gpus < math.inf:
            raise UsageError(f"--ray-gpus is {self.gpus}, but it must not be negative")
        if self.gpus is not None and self.gpus > 1 and self.gpus % 1:
            raise UsageError(f"--ray-gpus is {self.gpus}: give a whole number, or a part of one")

    def resolved(self, machines: Sequence[Mapping[str, float]]) -> Needs:
        """Returns them as numbers, for a cluster of machines with so many `CPU` and `GPU` each."""
        with_cards = [machine for machine in machines if machine.get("GPU")]
        gpus = float(bool(with_cards)) if self.gpus is None else self.gpus
        cpus = self.cpus
        if cpus is None:
            each = [machine.get("CPU", 1.0) / machine["GPU"] for machine in with_cards]
            cpus = max(1.0, float(math.floor(min(each) * gpus))) if gpus and each else 1.0
        return Needs(cpus, gpus)

    @property
    def cores(self) -> int:
        """How many cores a piece of work has for itself."""
        return math.ceil(self.cpus or 1)

    def fits(self, machine: Mapping[str, float]) -> int:
        """Returns how many pieces of work a machine does at the same time."""
        found = [
            machine.get(name, 0.0) / need
            for name, need in (("CPU", self.cpus), ("GPU", self.gpus))
            if need
        ]
        return math.floor(min(found) + 1e-6)


@dataclass(frozen=True)
class Outcome:
    """How a piece of work ended, as it says itself.

    Attributes:
        state: done; failed, `why` says with which error; stopped, and can go on; elsewhere: another
            process is doing it.
        why: in a sentence.
        exit_code: of a command in which it is the only work.
        kind: the name of the error's class; empty: its worker died, or nothing failed.
    """

    state: Literal["done", "failed", "stopped", "elsewhere"]
    why: str = ""
    exit_code: int = 1
    kind: str = ""


class Interrupted(Exception):
    """Its machine asked the work to stop: it goes on elsewhere."""


Key = TypeVar("Key", bound=Hashable)


@dataclass
class _Task(Generic[Key]):
    key: Key
    work: Callable[..., Outcome]
    arguments: tuple[Any, ...]
    progress: Callable[[], int]
    reached: int
    deaths: int = 0


def _nothing() -> None:
    pass


@dataclass
class Cluster(Generic[Key]):
    """A Ray that this process is connected to, and the work that it was given.

    Attributes:
        ray: the module.
        needs: of each piece of work, as numbers.
        announce: is told what happens to the work.
    """

    ray: Any
    needs: Needs
    announce: Callable[[str], None]
    _tasks: dict[Any, _Task[Key]] = field(default_factory=dict)
    _check: Callable[[], None] = _nothing

    @property
    def machines(self) -> dict[str, dict[str, float]]:
        """The resources that each machine has now, `CPU` and `GPU` among them."""
        return machines(self.ray)

    @property
    def slots(self) -> int:
        """How many pieces of work it does at the same time, of the machines that it has now."""
        return sum(self.needs.fits(machine) for machine in self.machines.values())

    @property
    def open(self) -> list[Key]:
        """The work that has not ended."""
        return [task.key for task in self._tasks.values()]

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Returns what a function returns on a machine of the cluster, with the resources of a run.

        Raises:
            ClusterError: it raised, or its worker died.
        """
        reference = self._remote(function).remote(*arguments)
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayError as error:
            raise ClusterError(f"on the cluster: {_reason(error)}") from error

    def on_each(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Returns what a function returns on each machine where work fits.

        Raises:
            ClusterError: on one it raised, or there was no answer within minutes.
        """
        to = self.ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        ids = [name for name, machine in self.machines.items() if self.needs.fits(machine)]
        asked = [
            self._remote(
                function, num_cpus=0, num_gpus=0, scheduling_strategy=to(name, soft=False)
            ).remote(*arguments)
            for name in ids
        ]
        try:
            found: list[Any] = self.ray.get(asked, timeout=_ANSWER)
            return found
        except self.ray.exceptions.RayError as error:
            raise ClusterError(
                f"a machine of the cluster could not be asked: {_reason(error)}; armillary has to "
                "be installed on each"
            ) from error

    def submit(
        self,
        key: Key,
        work: Callable[..., Outcome],
        arguments: tuple[Any, ...],
        progress: Callable[[], int] = lambda: 0,
    ) -> None:
        """Gives the cluster a piece of work, which it begins when its resources are free.

        Args:
            key: what it is called here; shown where it has to be begun again.
            work: at the top level of a module. A SIGINT asks it to stop. It raises `Interrupted`
                where its machine does not let it go on.
            arguments: what it gets; they are pickled.
            progress: tells how far it is: work that gets further may be begun again for ever.
        """
        self._begin(_Task(key, work, arguments, progress, progress()))

    def ended(self, seconds: float) -> list[tuple[Key, Outcome]]:
        """Returns what has ended, after waiting up to so many seconds for the first.

        What a dead worker leaves is begun again, and has not ended.

        Raises:
            Stopped: within `stopping`, by a signal.
        """
        found: list[tuple[Key, Outcome]] = []
        if not self._tasks:
            return []
        ready: list[Any] = []
        until = time.monotonic() + seconds
        while not ready:
            left = until - time.monotonic()
            ready, _ = self.ray.wait(list(self._tasks), timeout=max(0.0, min(left, _SIGNALS)))
            self._check()
            if left <= 0:
                break
        for reference in ready:
            task = self._tasks.pop(reference)
            outcome = self._outcome(reference, task)
            if outcome is None:
                self._begin(task)
            else:
                found.append((task.key, outcome))
        return found

    def stop(self, keys: Sequence[Key] | None = None) -> None:
        """Asks work to stop (all that has not ended, or what is named), and waits until it has."""
        of_these = [
            reference for reference, task in self._tasks.items() if keys is None or task.key in keys
        ]
        for reference in of_these:
            self.ray.cancel(reference, force=False)
        self.ray.wait(of_these, num_returns=max(1, len(of_these)))
        for reference in of_these:
            del self._tasks[reference]

    @contextlib.contextmanager
    def stopping(self, announce: Callable[[str], None]) -> Iterator[None]:
        """Stops all work when the block ends with an error, or by a signal, which `ended` notices.

        Args:
            announce: is told, in place of `announce`, what happens to the work of the block.
        """
        before, self.announce = self.announce, announce
        try:
            with stop_request() as stop:
                self._check = stop.check
                try:
                    yield
                except BaseException:
                    if self._tasks:
                        announce("stopping; what is running saves its state first")
                        self.stop()
                    raise
        finally:
            self.announce, self._check = before, _nothing

    def _begin(self, task: _Task[Key]) -> None:
        self._tasks[self._remote(task.work).remote(*task.arguments)] = task

    def _remote(self, function: Callable[..., Any], **options: Any) -> Any:
        given: dict[str, Any] = {
            "num_cpus": self.needs.cpus,
            "num_gpus": self.needs.gpus,
            "max_retries": 0,
            "runtime_env": {"env_vars": variables(os.environ, self.needs)},
        }
        return self.ray.remote(function).options(**(given | options))

    def _outcome(self, reference: Any, task: _Task[Key]) -> Outcome | None:
        """Returns how a task ended; None: its worker died, and it is to be begun again."""
        errors = self.ray.exceptions
        try:
            outcome: Outcome = self.ray.get(reference)
            return outcome
        except (errors.TaskCancelledError, KeyboardInterrupt):
            return Outcome("stopped")
        except errors.RayTaskError as error:
            if not isinstance(error.cause, Interrupted):
                return Outcome("failed", _reason(error))
            why = "its machine is being given up"
        except errors.RayError as error:
            why = _reason(error)
        reached = task.progress()
        task.deaths = 1 if reached > task.reached else task.deaths + 1
        task.reached = reached
        if task.deaths > RETRIES:
            return Outcome("failed", f"its worker died {task.deaths} times in a row: {why}")
        self.announce(f"{task.key}: its worker died, so it goes on in another one ({why})")
        return None


def machines(ray: Any) -> dict[str, dict[str, float]]:
    """Returns the resources of each machine of a Ray that is alive, by its name there."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def variables(environment: Mapping[str, str], needs: Needs) -> dict[str, str]:
    """Returns the environment variables that workers get.

    Those of JAX, XLA, MuJoCo, OpenGL and armillary as they are here. Without graphics cards JAX is
    kept to the CPU; where several runs share a card, each may take its part of the memory.
    """
    passed = {name: x for name, x in environment.items() if name.startswith(_PASSED)}
    if not needs.gpus:
        passed.setdefault("JAX_PLATFORMS", "cpu")
    elif needs.gpus < 1:
        passed.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 * needs.gpus:.3f}")
    return passed


def _reason(error: Any) -> str:
    """Returns why, in a short line, of the many that Ray's errors have."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return f"{type(cause).__name__}: {cause}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return textwrap.shorten(lines[0], 200) if lines else type(error).__name__
