"""What one tab of a browser does: its own world, dream, map and game, on a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from armillary.errors import ArmillaryError, UsageError
from armillary.explore.dream import Dream
from armillary.explore.frames import Answer, packed
from armillary.explore.latent import Map
from armillary.explore.library import Library
from armillary.explore.plans import thoughts
from armillary.explore.recorded import last
from armillary.explore.table import Table
from armillary.files import parse_json
from armillary.machine.resources import give_back_memory
from armillary.studies.report import frames_per_second

log = logging.getLogger(__name__)

_FRAMES = 250
"""Frames of an episode that are sent, at most."""


class Session:
    """The state of one tab. Everything runs on its thread, to which an OpenGL context belongs.

    Args:
        name: that nobody else knows, with which a socket that broke finds it again.
        library: the runs.
    """

    def __init__(self, name: str, library: Library) -> None:
        self.name, self._library = name, library
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"session-{name[:6]}")
        self._dream: Dream | None = None
        self._table: Table | None = None
        self._map: Map | None = None
        self._closed = threading.Event()
        self._actions: dict[str, Callable[[Mapping[str, Any]], Answer]] = {
            "run.episode": self._episode,
            "run.prediction": self._prediction,
            "dream.open": self._open_dream,
            "dream.step": self._step,
            "dream.wake": lambda _: self._changed(Dream.wake),
            "dream.fork": lambda _: self._changed(Dream.fork),
            "dream.join": lambda _: self._changed(Dream.join),
            "plan.think": lambda _: thoughts(self._dreaming()),
            "latent.open": self._open_map,
            "latent.look": self._look,
            "game.open": self._open_table,
            "game.play": lambda m: self._at_table(lambda table: table.play(m.get("move"))),
            "game.undo": lambda _: self._at_table(Table.undo),
            "game.swap": lambda _: self._at_table(Table.swap),
            "game.hint": lambda _: self._at_table(Table.hint),
            "game.tree": lambda _: self._sitting().tree(),
        }

    async def answer(self, text: str) -> bytes:
        """Returns the answer to a message: an `Answer`, or `{"error": why not}`, with its `id`."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._answered, text)

    def close(self) -> None:
        """Ends the session's environment and thread, as soon as what it does is done."""
        if not self._closed.is_set():
            self._closed.set()
            self._thread.submit(self._end)
            self._thread.shutdown(wait=False)

    def _end(self) -> None:
        if self._dream is not None:
            self._dream.close()
            self._dream = None
            give_back_memory()  # a simulator is megabytes in cycles, and in this thread's heap

    def _answered(self, text: str) -> bytes:
        number = None
        try:
            message = parse_json(text.encode())
            if not isinstance(message, dict):
                raise UsageError("a message is a JSON object")
            number = message.get("id")
            number = number if isinstance(number, int) else None
            action = self._actions.get(str(message.get("do")))
            if action is None:
                raise UsageError(
                    f"{str(message.get('do'))[:40]!r} cannot be done: expected one of "
                    f"{', '.join(self._actions)}"
                )
            answer = action(message)
        except (ArmillaryError, ValueError) as error:
            answer = Answer({"error": str(error)})
        except Exception as error:  # not foreseen: the page says so, and the session goes on
            log.exception("the session could not answer")
            answer = Answer({"error": f"unexpected {type(error).__name__}: {error}"})
        answer.values["id"] = number
        return packed(answer)

    def _open_dream(self, message: Mapping[str, Any]) -> Answer:
        self._library.settle()
        loaded = self._library.load(message.get("run"))
        task = message.get("task")
        seed = message.get("seed", 0)
        if not isinstance(seed, int) or not 0 <= seed < 2**31:
            raise UsageError(f"the seed is {seed!r}, expected a number from 0 to {2**31 - 1}")
        name = loaded.player.task(None if task is None else str(task))
        dream = self._dream
        if dream is not None and dream.loaded is loaded and dream.task == name:
            dream.begin(seed)  # in the same environment: another one would take time and memory
        else:
            dream = Dream(loaded, name, seed)
            self._end()
            self._dream = dream
        return self._told(dream.view(), dream.facts())

    def _step(self, message: Mapping[str, Any]) -> Answer:
        dream = self._dreaming()
        driver, other = message.get("driver", {}), message.get("other")
        if not isinstance(driver, dict) or not isinstance(other, dict | None):
            raise UsageError("who acts is a JSON object, {'by': 'agent'} for instance")
        dream.step(driver, other, message.get("sampled") is True)
        return dream.view()

    def _changed(self, change: Callable[[Dream], None]) -> Answer:
        dream = self._dreaming()
        change(dream)
        return dream.view()

    def _dreaming(self) -> Dream:
        if self._dream is None:
            raise UsageError("nothing is dreamed yet: begin an episode first")
        return self._dream

    def _open_map(self, message: Mapping[str, Any]) -> Answer:
        self._map = Map(self._library.load(message.get("run")), message.get("method", "pca"))
        return self._map.view()

    def _look(self, message: Mapping[str, Any]) -> Answer:
        if self._map is None:
            raise UsageError("there is no map yet: open one first")
        return self._map.look(message.get("number"), message.get("moved"))

    def _open_table(self, message: Mapping[str, Any]) -> Answer:
        self._library.settle()
        self._table = Table(self._library.load(message.get("run")), message.get("side", 0))
        return self._table.view()

    def _at_table(self, change: Callable[[Table], None]) -> Answer:
        table = self._sitting()
        change(table)
        return table.view()

    def _sitting(self) -> Table:
        if self._table is None:
            raise UsageError("no game has begun yet: begin one first")
        return self._table

    def _episode(self, message: Mapping[str, Any]) -> Answer:
        """Returns the last episode that was recorded: of a test, or of collection."""
        shown = self._library[message.get("run")]
        which = message.get("which", "test")
        if which not in ("test", "collected"):
            raise UsageError(f"{which!r} are no episodes: expected test or collected")
        run = shown.run
        episode = last(run.test_episodes if which == "test" else run.episodes)
        values = {
            "fps": frames_per_second(run.config),
            "steps": episode.steps,
            "return": float(np.sum(episode.reward, dtype=np.float64)),
            "rewards": episode.reward[:_FRAMES],
        }
        return Answer(values, {"truth": episode.image[:_FRAMES]})

    def _prediction(self, message: Mapping[str, Any]) -> Answer:
        """Returns frames of the last test episode, and what the model makes of them."""
        from armillary.dynamics.prediction import CONTEXT
        from armillary.studies.report import Prediction

        loaded = self._library.load(message.get("run"))
        run = loaded.shown.run
        folder = run.test_episodes if run.test_episodes.is_dir() else run.episodes
        found = Prediction.of(loaded.player, last(folder))
        apart = np.abs(found.true.astype(np.int16) - found.predicted)
        values = {"fps": found.fps, "context": CONTEXT, "trained": loaded.episodes}
        return Answer(
            values, {"truth": found.true, "dream": found.predicted, "difference": 255 - apart}
        )

    @staticmethod
    def _told(answer: Answer, facts: dict[str, Any]) -> Answer:
        return Answer(answer.values | {"facts": facts}, answer.images)
