"""Where the states of a tree are drawn, and what is in its picture."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch

from armillary.errors import UsageError
from armillary.search.nodes import Node
from armillary.studies.tidy import tidy
from armillary.studies.trees import Tree, draw_tree


def _random(count: int, seed: int) -> list[list[int]]:
    """Returns the children of the nodes of a random tree, parents before children."""
    random = np.random.default_rng(seed)
    children: list[list[int]] = [[] for _ in range(count)]
    for number in range(1, count):
        children[int(random.integers(max(0, number - 5), number))].append(number)
    return children


def _depths(children: list[list[int]]) -> list[int]:
    depths = [0] * len(children)
    for number, following in enumerate(children):
        for child in following:
            depths[child] = depths[number] + 1
    return depths


def test_a_tree_by_hand() -> None:
    """The root has two children of two each; the second one's lie next to the first one's."""
    assert tidy([[1, 2], [3, 4], [5, 6], [], [], [], []]) == [0, -1, 1, -1.5, -0.5, 0.5, 1.5]
    assert tidy([[]]) == [0]
    # a leaf beside a child with three lies one from it, though its children reach further
    assert tidy([[1, 2], [3, 4, 5], [], [], [], []]) == [0, -0.5, 0.5, -1.5, -0.5, 0.5]


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_crossed_and_parents_are_in_the_middle(seed: int) -> None:
    children = _random(60, seed)
    depths, places = _depths(children), tidy(children)
    assert places[0] == 0
    for number, following in enumerate(children):
        if following:
            middle = (places[following[0]] + places[following[-1]]) / 2
            assert places[number] == pytest.approx(middle)

    def walk(number: int) -> list[int]:
        return [number, *(n for child in children[number] for n in walk(child))]

    nearest = []
    for depth in range(1 + max(depths)):
        row = [places[number] for number in walk(0) if depths[number] == depth]
        gaps = np.diff(row)  # in the order of the children
        assert (gaps > 1 - 1e-9).all()
        nearest += gaps.tolist()
    assert min(nearest) == pytest.approx(1)  # as near as they may come


def _node(number: int, parent: int, children: tuple[int, ...], depth: int, visits: int) -> Node:
    name = f"move{number}"
    value = number / 10
    return Node(
        number, parent, children, depth, number, 0.3, 0.0, visits, value, number in (0, 1, 3),
        name=name, possible=number != 4,
    )  # fmt: skip


NODES = (
    _node(0, -1, (1, 2), 0, 10),
    _node(1, 0, (3,), 1, 6),
    _node(2, 0, (4,), 1, 3),
    _node(3, 1, (), 2, 5),
    _node(4, 2, (), 2, 1),
)


def _circles(figure: Figure) -> PathCollection:
    (circles,) = (c for a in figure.axes for c in a.collections if isinstance(c, PathCollection))
    return circles


def _texts(figure: Figure) -> Counter[str]:
    return Counter(t.get_text() for axis in figure.axes for t in axis.texts)


@pytest.mark.parametrize("players", [1, 2])
def test_every_state_is_in_the_picture_once(
    players: int, tmp_path: Path, drawn: list[Figure]
) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    tree = Tree(NODES, players, "black", "a game after two moves", image)
    assert draw_tree(tree, tmp_path / "tree.png") == tmp_path / "tree.png"
    assert (tmp_path / "tree.png").read_bytes()[:4] == b"\x89PNG"
    (figure,) = drawn
    circles = _circles(figure)
    places = {tuple(place) for place in np.asarray(circles.get_offsets()).tolist()}
    assert len(places) == 5
    sign = -1 if players == 2 else 1  # of what is to be seen by the player at the root
    values = np.array([0, sign * 0.1, sign * 0.2, 0.3, 0.4])
    np.testing.assert_allclose(circles.get_array(), values)
    texts = _texts(figure)
    assert all(texts[str(visits)] == 1 for visits in (10, 6, 3, 5, 1))
    assert all(texts[f"move{number}  30%"] == 1 for number in range(1, 5))
    assert texts["-0.10" if players == 2 else "0.1"] == 1
    lines = [p for axis in figure.axes for p in axis.patches if isinstance(p, PathPatch)]
    ends = {tuple(line.get_path().vertices[-1].tolist()) for line in lines}
    assert ends == places - {(0.0, 0.0)}
    assert [line.get_linestyle() for line in lines].count("solid") == 3
    widths = [line.get_linewidth() for line in lines]
    assert widths[0] > widths[2] > widths[1] > widths[3]  # as the visits: 6, 5, 3, 1
    colours = [line.get_edgecolor() for line in lines]
    assert colours[0] == colours[2] != colours[1]  # 1 and 3 are the principal variation
    assert colours[0] == to_rgba("#d98a00")
    said = [text.get_text() for text in figure.texts]
    assert said[0] == "a game after two moves"
    assert said[1].startswith("9 simulations: value ")
    assert said[1].endswith(", move1 is chosen")
    assert not any("are shown" in text for text in said)
    assert ("for black" in said[1]) == (players == 2)
    assert any("dashed" in text for text in said)


def test_a_picture_says_what_it_leaves_out(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_tree(Tree(NODES, 1, "the agent", "here"), tmp_path / "tree.png", depth=1, visits=2)
    said = [text.get_text() for text in drawn[0].texts]
    assert "3 of 5 states are shown: within 1 actions, with at least 2 visits; +n" in said[2]
    assert not any("dashed" in text for text in said)
    assert _texts(drawn[0])["+1"] == 2
    assert len(_circles(drawn[0]).get_offsets()) == 3


def test_a_root_alone_and_a_large_tree_are_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    root = replace(NODES[0], children=(), visits=1)
    draw_tree(Tree((root,), 2, "black", "here"), tmp_path / "root.png")
    assert drawn[0].texts[1].get_text().endswith("none was chosen")
    children = [[c for c in range(3 * i + 1, 3 * i + 4) if c < 500] for i in range(500)]
    depths, sizes = _depths(children), [1] * 500
    for number in reversed(range(1, 500)):
        sizes[(number - 1) // 3] += sizes[number]
    nodes = tuple(
        _node(i, (i - 1) // 3 if i else -1, tuple(children[i]), depths[i], sizes[i])
        for i in range(500)
    )
    draw_tree(Tree(nodes, 2, "black", "here"), tmp_path / "large.png")
    shown = len(_circles(drawn[1]).get_offsets())
    assert 20 < shown <= 60
    folded = sum(
        int(t[1:]) * n for t, n in _texts(drawn[1]).items() if t.startswith("+") and "." not in t
    )
    assert folded == 500 - shown


def test_other_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.png"):
        draw_tree(Tree(NODES, 1, "the agent", "here"), tmp_path / "tree.pdf")
