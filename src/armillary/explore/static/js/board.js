// A board of buttons. A click plays a cell; where pieces move, the first click chooses one and the second its goal.

import { h } from "./dom.js";

const MEN = { P: "♟", N: "♞", B: "♝", R: "♜", Q: "♛", K: "♚" };

export function board(answer, play) {
  const { cells, files, ranks, look, legal, moves } = answer;
  const columns = cells[0].length;
  let from = null;
  const square = (row, column) => (look === "discs" ? files[column] : look === "shogi" ? `${files[column]}${ranks[row]}` : `${files[column]}${ranks[row]}`);
  const moving = look === "chess" || look === "shogi";
  const starts = (name, where) => (look === "shogi" && name.includes("*") ? false : name.startsWith(where));
  const last = moves.length ? moves[moves.length - 1] : "";
  const buttons = [];
  const grid = h("div", { class: "board", role: "group", "aria-label": "The board", onkeydown: keys });
  grid.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
  const numbers = look === "marks" && !legal.every((name) => /[a-z]/i.test(name)) && legal.length > 0;

  cells.forEach((line, row) => line.forEach((cell, column) => {
    const where = numbers ? String(row * columns + column) : square(row, column);
    const button = h("button", { type: "button", onclick: () => click(where) }, content(cell, look));
    button.dataset.cell = `${row}-${column}`;
    button.dataset.square = where;
    if (look === "chess" && (row + column) % 2) button.classList.add("dark");
    const able = moving ? legal.some((name) => starts(name, where)) : legal.includes(where);
    if (able) button.classList.add("legal");
    if (last && (moving ? last.includes(where) : last === where && look !== "discs")) button.classList.add("last");
    button.setAttribute("aria-label", `${where}, ${spoken(cell, look)}${able ? "" : ", no move"}`);
    button.tabIndex = row + column === 0 ? 0 : -1;
    buttons.push(button);
    grid.append(button);
  }));

  function click(where) {
    if (!moving) {
      if (legal.includes(where)) play(where);
      return;
    }
    const found = from ? legal.filter((name) => starts(name, from) && name.slice(from.length).startsWith(where)) : [];
    if (found.length) {
      // Promotion: the plain queen in chess; in shogi promoting, if it may. Other ones are in the list below.
      play(found.find((name) => name.endsWith("q")) ?? found.find((name) => name.endsWith("+")) ?? found[0]);
      return;
    }
    from = legal.some((name) => starts(name, where)) ? where : null;
    for (const button of buttons) {
      const here = button.dataset.square;
      button.classList.toggle("chosen", here === from);
      button.classList.toggle("goal", from !== null && legal.some((name) => starts(name, from) && name.slice(from.length).startsWith(here)));
    }
  }

  function keys(event) {
    const at = buttons.indexOf(document.activeElement);
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
    if (at < 0 || !step) return;
    event.preventDefault();
    const next = buttons[at + step];
    if (!next || (Math.abs(step) === 1 && Math.floor(at / columns) !== Math.floor((at + step) / columns))) return;
    buttons.forEach((button) => { button.tabIndex = -1; });
    next.tabIndex = 0;
    next.focus();
  }

  const below = h("div", { class: "files", "aria-hidden": "true" }, files.map((name) => h("span", {}, name)));
  below.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
  const side = h("div", { class: "ranks", "aria-hidden": "true" }, ranks.map((name) => h("span", {}, name)));
  const named = ranks.some(Boolean) ? h("div", { class: "ranked" }, side, grid, h("span"), below) : null;
  if (named) return [named, answer.beside ? h("p", { class: "moves" }, answer.beside) : null].filter(Boolean);
  return [grid, files.some(Boolean) ? below : null, answer.beside ? h("p", { class: "moves" }, answer.beside) : null].filter(Boolean);
}

const TONES = { discs: ["red", "yellow"], stones: ["black", "white"], reversi: ["black", "white"], hexagons: ["red", "blue"] };

function content(cell, look) {
  if (!cell) return "";
  if (TONES[look]) return h("span", { class: `stone ${TONES[look][cell === "X" ? 0 : 1]}` });
  if (look === "chess") return h("span", { class: cell === cell.toUpperCase() ? "mark first" : "mark second" }, MEN[cell.toUpperCase()] ?? cell);
  return h("span", { class: `mark ${cell === "X" || (look === "shogi" && cell === cell.toUpperCase()) ? "first" : "second"}` }, cell);
}

function spoken(cell, look) {
  if (!cell) return "empty";
  if (TONES[look]) return TONES[look][cell === "X" ? 0 : 1];
  return cell;
}
