"""The card of a packed agent: what it is, how good it is, how it was trained, how it is used.

It is Markdown with the fields at its head that the Hugging Face Hub reads (its model cards).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from armillary.config import Config
from armillary.config.typed import options
from armillary.errors import UsageError

if TYPE_CHECKING:
    from armillary.training.counters import Counters
    from armillary.training.sources import Trained

_ACT = """\
import armillary

agent = armillary.load({where})
env = agent.make_env()
observation, _ = env.reset(seed=0)
action = agent.act(observation)"""

_SCORES = (("agent", "score"), ("random", "random actions"))
_GAME = (("agent", "against random moves (a win is 1)"), ("random", "random moves likewise"))
UNKNOWN = "not stated"


def card(source: Trained, name: str, where: str) -> str:
    """Returns the card's text.

    Args:
        source: the agent.
        name: of the agent.
        where: what others will load it by: a file's name, or `hf:OWNER/NAME`.
    """
    config, counters = source.config, source.counters
    game = counters.spec.get("players", 1) > 1
    rows = {
        "task": ", ".join(f"`{task}`" for task in config.tasks),
        "agent": _agent(config),
        **scores(source.evaluation, source.results, game),
        "trained for": _amount(counters),
        "trained on": _hardware(source),
        "armillary": _version(source),
        "licence": source.made.get("licence", UNKNOWN),
    }
    if note := source.made.get("note"):
        rows["note"] = note
    parts = [
        _head(source),
        f"# {name}\n\nA trained agent of armillary: learned world models for planning and control.",
        "| | |\n| --- | --- |\n" + "\n".join(f"| {k} | {_cell(v)} |" for k, v in rows.items()),
        f"## How it was trained\n\n```bash\n{command(config, game)}\n```",
        f"## How it is used\n\n{_uses(config, where, game)}",
        "The weights are exactly those of the run, so it acts as the run did; what only learning "
        "needs, the optimiser and the episodes, is left out. It holds numbers and text: nothing in "
        "it is executed when it is loaded.",
    ]
    return "\n\n".join(parts) + "\n"


def command(config: Config, game: bool) -> str:
    """Returns the command line that trains such an agent."""
    if config.made_by != "train":
        return shlex.join(["armillary", config.made_by, config.source or "RUN"])
    try:
        typed = options(config, lambda task: game)
    except UsageError:  # of somebody's own agent that has no such preset
        typed = ["--agent", config.agent, "--task", config.task]
    return shlex.join(["armillary", "train", *typed])


def scores(
    evaluation: Mapping[str, Any] | None, results: Mapping[str, Any] | None, game: bool
) -> dict[str, str]:
    """Returns scores as words, beside those of random actions.

    Args:
        evaluation: those that it was packed with; None: there are none.
        results: those that its run ended with, which count then; None: there are none either.
        game: whether they are of a board game, against random moves.

    Raises:
        UsageError: they are no scores.
    """
    found = (evaluation or results or {}).get("tasks", {})
    words: dict[str, str] = {}
    try:
        for task, one in found.items():
            of = f" on {task}" if len(found) > 1 else ""
            for who, label in _GAME if game else _SCORES:
                if one.get(who, {}).get("episodes"):
                    words[label + of] = _score(one[who])
            for judge, verdicts in one.get("judged", {}).items():
                label = judge.replace("_", " ")
                for who, end in (("agent", of), ("random", f" of random moves{of}")):
                    words[label + end] = verdicts[who]["text"].removeprefix(f"{label}: ")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"the scores are damaged ({error})") from error
    return words or {"score": UNKNOWN}


def _score(one: Mapping[str, Any]) -> str:
    return f"{one['mean']:.1f} ± {one['std']:.1f} over {one['episodes']} noise-free episodes"


def _agent(config: Config) -> str:
    dynamics = getattr(getattr(config, "model", None), "dynamics", None)
    return f"`{config.agent}`" + (f" ({dynamics})" if dynamics else "")


def _amount(counters: Counters) -> str:
    return (
        f"{counters.episodes:,} episodes, {counters.simulator_steps:,} environment steps, "
        f"{counters.updates:,} updates, {counters.seconds / 60:.1f} minutes"
    )


def _hardware(source: Trained) -> str:
    machine = source.counters.machine or {}
    facts = [f"{name} {value}" for name, value in machine.items()]
    return "; ".join([*facts, *filter(None, [source.made.get("hardware")])]) or UNKNOWN


def _version(source: Trained) -> str:
    commit = source.made.get("commit")
    version = source.made.get("version", UNKNOWN)
    return version + (f", commit {commit}" if commit else "")


def _uses(config: Config, where: str, game: bool) -> str:
    """Returns commands and Python; of a task that is somebody's module they name the trust."""
    code = [task for task in config.tasks if ":" in task]
    verbs = ("play", "tree") if game else ("evaluate", "video")
    lines = [shlex.join(["armillary", v, where, *["--trust"] * bool(code)]) for v in verbs]
    python = _ACT.format(where=json.dumps(where) + ", trust=True" * bool(code))
    parts = [f"```bash\n{chr(10).join(lines)}\n```", f"```python\n{python}\n```"]
    if code:
        names = " and ".join(f"`{task}`" for task in code)
        parts.append(f"It needs the Python module of {names}, which is not in the file.")
    return "\n\n".join(parts)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _head(source: Trained) -> str:
    """Returns the fields of the Hub's model cards, in YAML, of which JSON is a part."""
    config = source.config
    fields: dict[str, Any] = {
        "library_name": "armillary",
        "pipeline_tag": "reinforcement-learning",
        "tags": ["reinforcement-learning", "world-model", config.agent, *config.tasks],
    }
    if licence := source.made.get("licence"):
        fields = {"license": licence.lower(), **fields}
    return "\n".join(["---", *(f"{k}: {json.dumps(v)}" for k, v in fields.items()), "---"])


def shown(text: str) -> str:
    """Returns a card for a terminal: a stranger's could hold characters that command it."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")
