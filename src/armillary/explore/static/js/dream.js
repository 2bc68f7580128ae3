// The dream: the true simulator and the model side by side, moved by the same actions.

import { Chart } from "./chart.js";
import { choice, field, h, message, number, typing } from "./dom.js";
import { Lost } from "./link.js";
import { difference, frame, paint } from "./pictures.js";
import { steering } from "./steer.js";
import { note, openWorld, trained } from "./world.js";

const DRIVERS = [["agent", "the agent"], ["you", "you"], ["random", "chance"], ["still", "nobody"]];
const OTHERS = [["same", "the same actions"], ...DRIVERS];

export default function dream(main, app) {
  const facts = app.current;
  main.append(
    h("h1", {}, "The dream"),
    h("p", { class: "lead" }, "Left the real simulator, right what the model imagines: it saw the first frame and is told only the actions, nothing of what they lead to."),
  );
  const body = h("div", {}, h("p", { class: "waiting", role: "status" }, "Loading the agent and compiling its model; the first time takes a while…"));
  main.append(body);
  let gone = false;
  let end = () => {};
  const begin = (options) => openWorld(app, options).then((world) => {
    if (gone) return;
    end();
    end = stage(body, app, world, (seed, task) => begin({ seed, task, anew: true }));
    app.tell(null);
  }).catch((error) => {
    if (gone) return;
    if (error instanceof Lost) return;
    if (app.dreaming?.run === facts.number) app.tell(error);
    else body.replaceChildren(message(error.message));
  });
  const back = (event) => {
    if (!event.detail.known || app.dreaming?.run !== facts.number) begin({ seed: app.dreaming?.seed ?? 0, anew: true });
  };
  app.link.addEventListener("back", back);
  begin({});
  return () => { gone = true; end(); app.link.removeEventListener("back", back); };
}

function stage(body, app, world, again) {
  const { facts } = world;
  const views = {
    truth: frame("Truth", "truth", "the simulator"),
    dream: frame("Dream", "dream", "the model"),
    branch: frame("Second dream", "branch", "the model"),
    apart: frame("Difference", "", "white: none"),
  };
  const missing = h("div", { class: "frame dream" }, h("p", { class: "none" }, "This model has no decoder: it predicts what is paid, not what is seen. Its rewards are in the curves."));
  const pictures = h("div", { class: "frames" });
  const scores = h("div", { class: "scores" });
  const spoken = h("p", { class: "visually-hidden", role: "status" });
  const told = h("p", { class: "lead" });
  const charts = [
    new Chart("Reward of each step", { x: "step" }),
    facts.draws ? new Chart("How far the frames are apart, %", { x: "step", range: [0, 1] }) : null,
    world.answer.dream_value !== undefined ? new Chart("What is still to come, as the agent values it", { x: "step" }) : null,
  ];
  let playing = false;
  let busy = false;
  let timer = 0;
  let over = false;

  const driver = choice(DRIVERS, "agent", () => changed());
  const other = choice(OTHERS, "same", () => changed());
  const sampled = h("input", { type: "checkbox" });
  const speed = h("input", { type: "range", min: "1", max: "30", value: "12", oninput: () => { rate.textContent = `${speed.value} a second`; } });
  const rate = h("span", {}, "12 a second");
  const seed = h("input", { type: "number", min: "0", max: "2147483647", value: String(world.seed), "aria-label": "Seed of the next episode" });
  const tasks = app.current.tasks.length > 1 ? choice(app.current.tasks.map((name) => [name, name]), facts.task, () => {}) : null;
  const wheel = steering(facts, () => { if (driver.value !== "you" && other.value !== "you") { driver.value = "you"; changed(); } });

  const play = h("button", { type: "button", class: "main", onclick: () => (playing ? pause() : start()) }, "Play", h("kbd", {}, "space"));
  const once = h("button", { type: "button", onclick: () => { pause(); step(); } }, "Step", h("kbd", {}, "."));
  const wake = h("button", { type: "button", onclick: () => change("dream.wake") }, "Reset dream to truth", h("kbd", {}, "r"));
  const fork = h("button", { type: "button", onclick: () => change(world.answer.branched ? "dream.join" : "dream.fork") }, "");
  const anew = h("button", { type: "button", onclick: () => { pause(); again(Number(seed.value), tasks?.value ?? null); } }, "New episode", h("kbd", {}, "n"));
  const who = h("div", { class: "row" }, field("Who acts in both", driver));
  const branchChoice = field("In the second dream", other);

  body.replaceChildren(
    h("p", { class: "lead" }, `${facts.task}, ${trained(facts)}, seed ${world.seed}.`),
    h("div", { class: "columns two" },
      h("div", { class: "stack" },
        h("section", { class: "card stack", "aria-label": "Frames" }, pictures, scores, told, spoken),
        h("section", { class: "card stack", "aria-label": "Controls" },
          h("div", { class: "row" }, play, once, wake, fork),
          h("div", { class: "row" }, who, branchChoice, facts.chance ? h("label", { class: "check" }, sampled, "dream with chance") : null),
          wheel.element,
          h("div", { class: "row" }, field("Frames", h("span", { class: "row middle" }, speed, rate)), tasks ? field("Task", tasks) : null, field("Seed", seed), anew))),
      h("section", { class: "card stack", "aria-label": "Curves" }, charts.filter(Boolean).map((chart) => chart.element))));
  speed.setAttribute("aria-label", "Frames a second");
  changed();
  show(world.answer);

  function show(answer) {
    const { images } = answer;
    over = answer.over;
    const shown = [];
    if (images.truth) { paint(views.truth.canvas, images.truth); shown.push(views.truth.element); }
    if (images.dream) { paint(views.dream.canvas, images.dream); shown.push(views.dream.element); } else if (!facts.draws) shown.push(missing);
    if (images.branch) { paint(views.branch.canvas, images.branch); shown.push(views.branch.element); }
    if (images.truth && images.dream && images.truth.bytes.length === images.dream.bytes.length) {
      paint(views.apart.canvas, difference(images.truth, images.dream));
      shown.push(views.apart.element);
    }
    if (shown.length !== pictures.children.length || shown.some((element, i) => pictures.children[i] !== element)) pictures.replaceChildren(...shown);
    pictures.className = `frames n${shown.length}`;
    views.dream.about(answer.asleep ? `${answer.asleep} step${answer.asleep === 1 ? "" : "s"} unseen` : "just woken");
    const kinds = [["truth", "Paid since then"], ["dream", "Expected by the dream"], ...(answer.branched ? [["branch", "By the second dream"]] : [])];
    scores.replaceChildren(...kinds.map(([name, title]) => h("div", { class: `score ${name}` }, h("small", {}, title), h("b", {}, number(answer.scores[name])))));
    told.textContent = over ? "The episode is over. Begin a new one to go on." : `Step ${answer.step} of the episode; the dream was last set to the truth ${answer.asleep} step${answer.asleep === 1 ? "" : "s"} ago.`;
    fork.replaceChildren(answer.branched ? "End second dream" : "Branch into a second dream", h("kbd", {}, "b"));
    branchChoice.hidden = !answer.branched;
    play.disabled = once.disabled = over;
    curves();
  }

  function curves() {
    const past = world.history;
    const of = (name) => past.map((row) => [row.step, row[name] ?? null]);
    const has = (name) => past.some((row) => row[name] !== null && row[name] !== undefined);
    const marks = past.filter((row, i) => i && row.asleep <= past[i - 1].asleep && row.asleep <= 1).map((row) => row.step - row.asleep);
    const lines = (names) => names.filter(([, key, , always]) => always || has(key)).map(([name, key, tone]) => ({ name, tone, points: of(key) }));
    charts.forEach((chart) => { if (chart) chart.marks = marks; });
    charts[0].draw(lines([["truth", "truth", "truth", true], ["dream", "dream", "dream", true], ["second dream", "branch", "branch"]]));
    charts[1]?.draw(lines([["dream", "apart", "dream", true], ["second dream", "branchApart", "branch"]]));
    charts[2]?.draw(lines([["dream", "value", "dream", true], ["second dream", "branchValue", "branch"]]));
  }

  function changed() {
    wheel.element.hidden = driver.value !== "you" && !(world.answer.branched && other.value === "you");
  }

  async function step() {
    if (busy || over) return;
    busy = true;
    const began = performance.now();
    try {
      const by = (name) => (name === "you" ? { by: name, action: wheel.action() } : { by: name });
      const answer = await app.link.ask("dream.step", { driver: by(driver.value), other: by(other.value), sampled: sampled.checked });
      note(world, answer);
      show(answer);
      app.tell(null);
      if (over) { pause(); say(); }
    } catch (error) {
      if (!(error instanceof Lost)) { pause(); app.tell(error); }
    } finally {
      busy = false;
      if (playing) timer = setTimeout(step, app.link.state === "open" ? Math.max(0, 1000 / Number(speed.value) - (performance.now() - began)) : 300);
    }
  }

  async function change(what) {
    try {
      const answer = await app.link.ask(what);
      if (what === "dream.fork") other.value = driver.value === "you" ? "agent" : "you"; // or both would go the same way
      note(world, answer);
      show(world.answer);
      changed();
      say();
    } catch (error) {
      if (!(error instanceof Lost)) app.tell(error);
    }
  }

  function say() {
    const { scores: paid, step: at } = world.answer;
    spoken.textContent = `Step ${at}. Paid ${number(paid.truth)}, the dream expected ${number(paid.dream)}.${over ? " The episode is over." : ""}`;
  }

  function start() {
    playing = true;
    play.replaceChildren("Pause", h("kbd", {}, "space"));
    step();
  }

  function pause() {
    const was = playing;
    playing = false;
    clearTimeout(timer);
    play.replaceChildren("Play", h("kbd", {}, "space"));
    if (was) say();
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (event.key === " " && event.target.closest?.("button, input, a, summary")) return;
    const found = { " ": play, ".": once, r: wake, b: fork, n: anew }[event.key];
    if (!found || found.disabled) return;
    event.preventDefault();
    if (!event.repeat) found.click();
  }

  document.addEventListener("keydown", keys);
  return () => {
    pause();
    wheel.end();
    charts.forEach((chart) => chart?.end());
    document.removeEventListener("keydown", keys);
  };
}
