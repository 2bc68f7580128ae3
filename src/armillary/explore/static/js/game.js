// The game: a board game against the agent, by clicks or keys, with its thoughts beside.

import { board } from "./board.js";
import { h, message, number } from "./dom.js";
import { Lost } from "./link.js";
import { tree } from "./tree.js";
import { openGame } from "./world.js";

export default function game(main, app) {
  const body = h("div", {}, h("p", { class: "waiting", role: "status" }, "Loading the agent and compiling its search; the first time takes a while…"));
  main.append(h("h1", {}, "The game"),
    h("p", { class: "lead" }, "Play against the agent: it learned by playing against itself alone, and says here what it thinks of the position."), body);
  let gone = false;
  const begin = (options) => openGame(app, options).then(() => { if (!gone) { sit(); app.tell(null); } }).catch((error) => {
    if (!gone && !(error instanceof Lost)) body.replaceChildren(message(error.message));
  });

  function sit() {
    const status = h("p", { role: "status" });
    const place = h("div", { class: "stack" });
    const thoughts = h("div", { class: "stack", "aria-live": "polite" });
    const moves = h("p", { class: "moves" });
    const branches = h("div", {});
    const select = h("select", { "aria-label": "A legal move" });
    const button = (text, act, kind = "") => h("button", { type: "button", class: kind, onclick: act }, text);
    const undo = button("Take back", () => ask("game.undo"));
    const hint = button("What would you play?", () => ask("game.hint"));
    const look = button("Show its search", showTree);
    const typed = button("Play", () => ask("game.play", { move: select.value }));
    body.replaceChildren(h("div", { class: "columns two" },
      h("section", { class: "card stack", "aria-label": "Board" }, status, place,
        h("div", { class: "row" }, h("label", { class: "field" }, h("span", {}, "A move by its name"), select), typed),
        h("div", { class: "row" }, undo, hint, button("Change sides", () => ask("game.swap")), button("New game, you begin", () => begin({ side: 0, anew: true }), "main"), button("New game, the agent begins", () => begin({ side: 1, anew: true }))),
        moves),
      h("section", { class: "card stack", "aria-label": "Thoughts" }, h("h2", {}, "What the agent thinks"), thoughts, h("div", { class: "row" }, look), branches)));
    let busy = false;

    async function ask(what, given = {}) {
      if (busy) return;
      busy = true;
      status.textContent = "The agent thinks…";
      try {
        app.playing.answer = await app.link.ask(what, given);
        branches.replaceChildren();
        app.tell(null);
      } catch (error) {
        if (!(error instanceof Lost)) app.tell(error);
      } finally {
        busy = false;
        if (!gone) draw();
      }
    }

    async function showTree() {
      branches.replaceChildren(h("p", { class: "waiting", role: "status" }, "It searches…"));
      try {
        const found = await app.link.ask("game.tree");
        branches.replaceChildren(h("h3", {}, `Its search of this position, ${app.playing.answer.sides[app.playing.answer.mover]} to move`), tree(found, "Search tree"));
        app.tell(null);
      } catch (error) {
        branches.replaceChildren();
        if (!(error instanceof Lost)) app.tell(error);
      }
    }

    function draw() {
      const { answer } = app.playing;
      const you = answer.sides[answer.side];
      if (answer.over) status.textContent = answer.result > 0 ? `You win, as ${you}.` : answer.result < 0 ? "The agent wins." : "A draw.";
      else status.textContent = `Your move: you are ${you}.`;
      const focused = place.contains(document.activeElement) ? document.activeElement.dataset.cell : null;
      place.replaceChildren(...board(answer, (move) => ask("game.play", { move })));
      if (focused) place.querySelector(`[data-cell="${focused}"]`)?.focus();
      select.replaceChildren(...answer.legal.map((name) => h("option", { value: name }, name)));
      select.disabled = typed.disabled = hint.disabled = look.disabled = answer.over;
      undo.disabled = !answer.moves.length;
      moves.textContent = answer.moves.length ? `Moves: ${answer.moves.join(" ")}` : "No move yet.";
      thoughts.replaceChildren(...thinking(answer));
    }
    draw();
  }

  const back = (event) => { if (!event.detail.known) begin({ anew: true }); };
  app.link.addEventListener("back", back);
  begin({});
  return () => { gone = true; app.link.removeEventListener("back", back); };
}

function thinking({ thought, over }) {
  if (!thought) return [h("p", { class: "lead" }, over ? "The game is over." : "It has not thought yet: make a move, or ask what it would play.")];
  const most = Math.max(1, ...thought.visits.map(([, visits]) => visits));
  const rows = thought.visits.slice(0, 8).map(([name, visits]) => {
    const bar = h("span", { class: name === thought.move ? "bar warm" : "bar" }, h("i"));
    bar.firstChild.style.width = `${(100 * visits) / most}%`;
    return h("li", {}, h("b", {}, name), bar, h("span", {}, `${visits} visits`));
  });
  const value = thought.value;
  const who = thought.by === "hint" ? "you" : "it";
  const mood = value === null ? "" : value > 0.6 ? "it is sure of a win for" : value > 0.15 ? "it sees better chances for" : value < -0.6 ? "it is sure of a loss for" : value < -0.15 ? "it sees worse chances for" : "it sees an even game for";
  return [
    h("p", {}, thought.by === "hint" ? "In your place it would play " : "It played ", h("b", {}, thought.move), value === null ? "." : ` at a value of ${number(value)}: ${mood} ${who === "it" ? "itself" : who}.`),
    rows.length ? h("ul", { class: "visits", "aria-label": "How often its search looked at each move" }, rows) : null,
    thought.variation.length ? h("p", {}, "It expects: ", h("span", { class: "moves" }, thought.variation.join(" "))) : null,
  ].filter(Boolean);
}
