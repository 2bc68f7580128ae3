// The plan: what the agent weighs at this moment of the episode, or of the game.

import { Chart } from "./chart.js";
import { h, message, number } from "./dom.js";
import { Lost } from "./link.js";
import { frame, paint, strip } from "./pictures.js";
import { tree } from "./tree.js";
import { note, openGame, openWorld, trained } from "./world.js";

const LEADS = {
  plan: "Before it acts the agent tries many sequences of actions in its model, keeps the best, and draws the next ones around them (the cross-entropy method).",
  imagination: "The agent acts by a policy that it learned in imagination: here are futures that it imagines from this moment, what they are paid, and what it expects to come after.",
  tree: "Before it moves the agent looks ahead in its model, further where it is promising: a tree of moves, the value that each leads to, and how often it was looked at.",
};

export default function plan(main, app) {
  const game = app.current.views.includes("game");
  const lead = h("p", { class: "lead" });
  const body = h("div", { class: "stack" }, h("p", { class: "waiting", role: "status" }, "Loading the agent and compiling its planner; the first time takes a while…"));
  const charts = [];
  let gone = false;
  main.append(h("h1", {}, "The plan"), lead, body);

  async function think(act) {
    try {
      if (game) await openGame(app);
      const world = game ? app.playing : await openWorld(app);
      if (act) {
        const answer = await app.link.ask(game ? "game.play" : "dream.step", act);
        if (game) app.playing.answer = answer; else note(world, answer);
      }
      const answer = await app.link.ask(game ? "game.tree" : "plan.think");
      if (!gone) show(answer, world);
      app.tell(null);
    } catch (error) {
      if (gone || error instanceof Lost) return;
      if (charts.length) app.tell(error);
      else body.replaceChildren(message(error.message));
    }
  }

  function show(answer, world) {
    charts.splice(0).forEach((chart) => chart.end());
    lead.textContent = LEADS[answer.kind];
    const content = game ? gameTree(answer, world) : [moment(world), ...{ plan: planned, imagination: imagined, tree: searched }[answer.kind](answer)];
    body.replaceChildren(...content);
  }

  function moment(world) {
    const now = frame("Now", "truth");
    if (world.answer.images.truth) paint(now.canvas, world.answer.images.truth);
    const further = h("button", { type: "button", class: "main", disabled: world.answer.over, onclick: (event) => { event.target.disabled = true; think({ driver: { by: "agent" }, other: { by: "same" } }); } }, "Take the agent's action and think again");
    return h("section", { class: "card", "aria-label": "This moment" },
      h("div", { class: "row middle" }, world.answer.images.truth ? smaller(now.element) : null,
        h("div", { class: "stack" }, h("p", {}, `${world.facts.task}, step ${world.answer.step}, ${trained(world.facts)}. The view of the dream shows the same moment.`),
          h("div", { class: "row" }, further), world.answer.over ? h("p", {}, "The episode is over; begin another one in the view of the dream.") : null)));
  }

  const chart = (...given) => { const made = new Chart(...given); charts.push(made); return made; };

  function planned(answer) {
    const iterations = answer.returns.length;
    const returns = chart("Predicted return of every candidate", { x: "iteration", height: 240 });
    const dots = answer.returns.flatMap((of, i) => of.map((value, j) => [i + 1 + ((j * 0.618) % 1 - 0.5) * 0.5, value]));
    const best = answer.returns.map((of, i) => [i + 1, Math.max(...of.filter((x) => x !== null))]);
    const middle = answer.returns.map((of, i) => [i + 1, median(of)]);
    returns.draw([{ name: "", tone: "truth", points: dots, dots: true, alpha: 0.35 }, { name: "best", tone: "dream", points: best }, { name: "median", tone: "branch", points: middle, dash: true }]);
    const horizon = answer.mean[0].length;
    const size = answer.mean[0][0].length;
    const beliefs = Array.from({ length: size }, (_, entry) => chart(`Action ${entry + 1}`, { x: "steps ahead", range: [-1, 1], height: 130 }));
    const slider = h("input", { type: "range", min: "0", max: String(iterations), value: String(iterations), "aria-label": "Iteration", oninput: draw });
    const said = h("output", {});
    function draw() {
      const at = Number(slider.value);
      said.textContent = at ? `after iteration ${at} of ${iterations}` : "before the first: anything is possible";
      beliefs.forEach((one, entry) => {
        const mean = (step) => (at ? answer.mean[at - 1][step][entry] : 0);
        const std = (step) => (at ? answer.std[at - 1][step][entry] : 1);
        const steps = Array.from({ length: horizon }, (_, step) => step);
        one.draw([{ name: "mean", tone: "dream", points: steps.map((step) => [step + 1, mean(step)]), band: steps.map((step) => [step + 1, mean(step) - std(step), mean(step) + std(step)]) }]);
      });
    }
    draw();
    return [
      h("div", { class: "columns two" },
        h("section", { class: "card" }, returns.element, h("p", { class: "lead" }, `The plan expects ${number(answer.expected)} from its ${horizon} actions and takes the first: ${answer.action.map((x) => number(x)).join(", ")}.`)),
        h("section", { class: "card stack" }, h("h2", {}, "What is left of the belief"), h("div", { class: "row middle" }, said), slider, h("div", { class: "tiles small" }, beliefs.map((one) => one.element)))),
      strips("The best candidates, as the model sees them", answer.best.map((one, i) => ({ title: `candidate ${i + 1}`, said: `return ${number(one.return)}`, picture: answer.images[`strip-${i}`], rewards: one.rewards }))),
    ];
  }

  function imagined(answer) {
    const rewards = chart("Predicted reward", { x: "steps ahead", height: 220 });
    const tones = ["truth", "dream", "branch", "good", "bad", "soft"];
    rewards.draw(answer.rewards.map((of, i) => ({ name: `future ${i + 1}`, tone: tones[i % 6], points: of.map((y, t) => [t + 1, y]) })));
    const values = answer.values ? chart("Value: what is to come from there on", { x: "steps ahead", height: 220 }) : null;
    values?.draw(answer.values.map((of, i) => ({ name: `future ${i + 1}`, tone: tones[i % 6], points: of.map((y, t) => [t, y]) })));
    const sums = answer.rewards.map((of) => of.reduce((a, b) => a + b, 0));
    return [
      h("div", { class: "columns two" }, h("section", { class: "card" }, rewards.element), values ? h("section", { class: "card" }, values.element) : null),
      strips("The futures, as the model sees them", sums.map((sum, i) => ({ title: `future ${i + 1}`, said: `paid ${number(sum)}${answer.values ? `, then ${number(answer.values[i][answer.values[i].length - 1])}` : ""}`, picture: answer.images[`strip-${i}`], rewards: answer.rewards[i] }))),
    ];
  }

  function searched(answer) {
    return [h("section", { class: "card" }, h("h2", {}, "The tree"), tree(answer, "Search tree"))];
  }

  function gameTree(answer, world) {
    const { answer: table } = world;
    const where = table.moves.length ? `after ${table.moves.join(" ")}` : "at the beginning";
    return [h("section", { class: "card stack" }, h("p", {}, `${table.task} ${where}; ${table.sides[table.mover]} to move. Play on in the view of the game, and the tree is of the new position.`), tree(answer, "Search tree"))];
  }

  const back = (event) => { if (!event.detail.known) { app.dreaming = app.playing = null; think(); } };
  app.link.addEventListener("back", back);
  think();
  return () => { gone = true; charts.forEach((one) => one.end()); app.link.removeEventListener("back", back); };
}

function smaller(element) {
  element.querySelector("canvas").style.width = "7.5rem";
  return element;
}

function strips(title, rows) {
  return h("section", { class: "card stack" }, h("h2", {}, title), rows.map(({ title: name, said, picture, rewards }) => {
    const canvas = picture ? h("canvas", { role: "img", "aria-label": `${name}: ${picture.shape[0]} frames` }) : null;
    if (canvas) strip(canvas, picture);
    return h("div", { class: "strip" }, h("p", {}, h("b", {}, name), h("span", {}, said)), canvas ?? h("p", { class: "lead" }, `rewards ${rewards.map((x) => number(x)).join(", ")}`));
  }), rows.some((row) => row.picture) ? null : h("p", { class: "lead" }, "This model has no decoder: there are no frames to show."));
}

function median(values) {
  const sorted = values.filter((x) => x !== null).sort((a, b) => a - b);
  return sorted.length ? sorted[Math.floor(sorted.length / 2)] : null;
}
