"""Where the nodes of a tree are drawn: narrow, and every parent in the middle of its children."""

from __future__ import annotations

from collections.abc import Sequence


def tidy(children: Sequence[Sequence[int]]) -> list[float]:
    """Returns how far each node lies across the direction in which the tree grows; the root at 0.

    Subtrees are laid as near to each other as nodes of one depth may come, which is 1, in the order
    of the children (Reingold and Tilford, 1981).

    Args:
        children: the numbers of each node's children, all larger than its own; 0 is the root.
    """
    beside = [0.0] * len(children)  # of each node, from its parent
    outlines: list[list[tuple[float, float]]] = [[] for _ in children]
    for number in reversed(range(len(children))):
        outline: list[tuple[float, float]] = []  # first and last at each depth, of those laid
        places: list[float] = []
        for child in children[number]:
            own = outlines[child]
            place = max((o[1] + 1 - n[0] for o, n in zip(outline, own, strict=False)), default=0.0)
            moved = [(first + place, last + place) for first, last in own]
            both = [(o[0], n[1]) for o, n in zip(outline, moved, strict=False)]
            outline = both + outline[len(both) :] + moved[len(both) :]
            places.append(place)
        middle = (places[0] + places[-1]) / 2 if places else 0.0
        for child, place in zip(children[number], places, strict=True):
            beside[child] = place - middle
        below = [(first - middle, last - middle) for first, last in outline]
        outlines[number] = [(0.0, 0.0), *below]
    found = [0.0] * len(children)
    for number, following in enumerate(children):
        for child in following:
            found[child] = found[number] + beside[child]
    return found
