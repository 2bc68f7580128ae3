"""A program that plays a given game, move by move: `python standin.py uci|gtp FAULT MOVE...`.

What it does wrong, at its first move: `illegal`, `dies`, `hangs`; `resigns` is no fault; `none`.
What it is told it writes to the file that STANDIN_LOG names.
"""

import os
import sys
import time


def _move(fault: str, move: str, illegal: str) -> str:
    if fault == "dies":
        print("warming up\nout of memory", file=sys.stderr)
        sys.exit(3)
    if fault == "hangs":
        time.sleep(60)
    return {"illegal": illegal, "resigns": "resign"}.get(fault, move)


def _uci(line: str, played: list[str], fault: str, moves: list[str]) -> list[str]:
    words = line.split()
    if words[0] == "uci":
        return ["id name standin", "option name Skill Level type spin default 20", "uciok"]
    if words[0] == "isready":
        return ["readyok"]
    if words[0] == "position":
        played[:] = words[3:]
    if words[0] == "go":
        move = _move(fault, moves[len(played)], "e2e5")
        return ["info depth 1", f"bestmove {move} ponder a1a1"]
    return []


def _gtp(line: str, played: list[str], fault: str, moves: list[str]) -> list[str]:
    words = line.split()
    if words[0] == "boardsize" and words[1] != "5":
        return ["? unacceptable size", ""]
    if words[0] == "clear_board":
        played.clear()
    if words[0] == "play":
        played.append(words[2])
    if words[0] == "genmove":
        played.append(_move(fault, moves[len(played)], "Z9"))
        return [f"= {played[-1]}", ""]
    return ["=", ""]


def main() -> None:
    protocol, fault, *moves = sys.argv[1:]
    answer = {"uci": _uci, "gtp": _gtp}[protocol]
    played: list[str] = []
    with open(os.environ.get("STANDIN_LOG", os.devnull), "a", buffering=1) as log:
        for line in sys.stdin:
            log.write(line)
            if line.strip() == "quit":
                return
            print("\n".join(answer(line, played, fault, moves)) or "info string heard", flush=True)


if __name__ == "__main__":
    main()
