"""A tree search in plain Python, one root at a time: what the compiled one is held against.

Written from the formulas of the papers (MuZero; Gumbel MuZero) and not from any code of theirs,
with recursion, lists and double precision. A node's visits count the first, when it was added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Step = Callable[[Any, int], tuple[Any, float, Sequence[float], float]]
"""From a state and an action to the next state, the reward, its logits and its value."""


@dataclass
class Node:
    """A state in the tree; `values` are its own and those that were backed up to it."""

    state: Any
    logits: list[float]
    values: list[float]
    children: dict[int, Node] = field(default_factory=dict)
    rewards: dict[int, float] = field(default_factory=dict)

    @property
    def value(self) -> float:
        return sum(self.values) / len(self.values)

    def visits(self, action: int) -> int:
        return len(self.children[action].values) if action in self.children else 0

    @property
    def counts(self) -> list[int]:
        return [self.visits(action) for action in range(len(self.logits))]


@dataclass
class Plain:
    """The search of one root.

    Attributes:
        step: the model.
        backed_up: what a value is multiplied by on its way up: gamma, or -1 with two players.
        players: 1 or 2.
        normalization: tree or node.
        c1: of PUCT.
        c2: likewise.
        gumbel: Gumbel MuZero without noise.
        considered: actions that Gumbel MuZero begins with, at most.
    """

    step: Step
    backed_up: float
    players: int
    normalization: str
    c1: float = 1.25
    c2: float = 19652.0
    gumbel: bool = False
    considered: int = 16

    def search(
        self, state: Any, logits: Sequence[float], value: float, legal: list[bool], simulations: int
    ) -> Node:
        """Returns the root after all simulations."""
        self.root = Node(state, [float(x) for x in logits], [float(value)])
        self.legal = legal
        plan = self._halving(sum(legal), simulations) if self.gumbel else [None] * simulations
        for turn in plan:
            self._simulate(self.root, turn)
        return self.root

    def q(self, node: Node, action: int) -> float:
        return node.rewards[action] + self.backed_up * node.children[action].value

    def best(self) -> int:
        """Returns the action that the search would take."""
        visits, actions = self.root.counts, range(len(self.legal))
        most = max(visits)
        if self.gumbel:
            scores = self._improved(self.root)
        else:
            scores = [self.q(self.root, a) if visits[a] else -math.inf for a in actions]
        tied = [a for a in actions if visits[a] == most and self.legal[a]]
        return max(tied, key=lambda a: (scores[a], -a))

    def policy(self) -> list[float]:
        """Returns what the policy is trained on."""
        if self.gumbel:
            return _softmax(self._improved(self.root), self.legal)
        return [count / sum(self.root.counts) for count in self.root.counts]

    def _simulate(self, node: Node, turn: int | None) -> float:
        action = self._choose(node, turn)
        if action in node.children:
            below = self._simulate(node.children[action], turn)
        else:
            state, reward, logits, value = self.step(node.state, action)
            node.children[action] = Node(state, [float(x) for x in logits], [float(value)])
            node.rewards[action] = float(reward)
            below = float(value)
        found = node.rewards[action] + self.backed_up * below
        node.values.append(found)
        return found

    def _choose(self, node: Node, turn: int | None) -> int:
        at_root = node is self.root
        actions = [a for a in range(len(node.logits)) if not at_root or self.legal[a]]
        if self.gumbel and at_root:
            improved = self._improved(node)
            actions = [a for a in actions if node.visits(a) == turn]
            return max(actions, key=lambda a: (improved[a], -a))
        if self.gumbel:
            policy = _softmax(self._improved(node), [True] * len(node.logits))
            total = 1 + sum(node.counts)
            return max(actions, key=lambda a: (policy[a] - node.visits(a) / total, -a))
        prior = _softmax(node.logits, self.legal if at_root else [True] * len(node.logits))
        count = len(node.values)
        c = self.c1 + math.log((count + self.c2 + 1) / self.c2)

        def score(action: int) -> float:
            bonus = c * prior[action] * math.sqrt(count) / (1 + node.visits(action))
            return bonus + self._share(node, action)

        return max(actions, key=lambda a: (score(a), -a))

    def _all_q(self, node: Node) -> list[float]:
        found = []
        for action, child in node.children.items():
            found += [self.q(node, action), *self._all_q(child)]
        return found

    def _share(self, node: Node, action: int) -> float:
        """Returns Q in [0, 1]; 0 if the action was not visited."""
        if action not in node.children:
            return 0.0
        if self.normalization == "tree":
            values = self._all_q(self.root) + ([-1.0, 1.0] if self.players == 2 else [])
        else:
            values = [self.q(node, a) for a in node.children] + [node.value]
        low, high = min(values), max(values)
        return (self.q(node, action) - low) / (high - low) if high > low else 0.0

    def _improved(self, node: Node) -> list[float]:
        """Returns logits + sigma(completed Q): (50 + max N) 0.1 times Q in [0, 1]."""
        actions = range(len(node.logits))
        legal = self.legal if node is self.root else [True for _ in actions]
        prior, visits = _softmax(node.logits, legal), sum(node.counts)
        mixed = node.values[0]
        if visits:
            seen = sum(prior[a] for a in node.children)
            mean = sum(prior[a] * self.q(node, a) for a in node.children) / seen
            mixed = (mixed + visits * mean) / (1 + visits)
        complete = [self.q(node, a) if a in node.children else mixed for a in actions]
        values = list(complete)
        if self.normalization == "tree":
            values += self._all_q(self.root) + ([-1.0, 1.0] if self.players == 2 else [])
        low, high = min(values), max(values)
        scale = 0.1 * (50 + max(node.counts)) / (high - low if high > low else 1.0)
        return [x + scale * (q - low) for x, q in zip(node.logits, complete, strict=True)]

    def _halving(self, legal: int, simulations: int) -> list[int]:
        """Returns how often the action of each simulation at the root was visited before it.

        Sequential Halving: each phase visits all that are left equally often, then halves them.
        """
        left = min(self.considered, legal)
        if left <= 1:
            return list(range(simulations))
        phases, visited, plan = math.ceil(math.log2(left)), 0, []
        while len(plan) < simulations:
            each = max(1, int(simulations / (phases * left)))
            for _ in range(each):
                plan += [visited] * left
                visited += 1
            left = max(2, left // 2)
        return plan[:simulations]


def _softmax(logits: Sequence[float], legal: Sequence[bool]) -> list[float]:
    highest = max(x for x, may in zip(logits, legal, strict=True) if may)
    powers = [math.exp(x - highest) if may else 0.0 for x, may in zip(logits, legal, strict=True)]
    return [power / sum(powers) for power in powers]
