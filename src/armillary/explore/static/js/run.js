// The run: its curves while it trains, what it recorded, and its configuration beside others.

import { Chart } from "./chart.js";
import { duration, facts as list, h, message, number } from "./dom.js";
import { player } from "./pictures.js";

const TONES = ["truth", "dream", "branch", "good", "bad", "soft"];
const EVERY = 2000;
const FIRST = ["evaluate/mean", "collect/return", "judge", "loss/total"];

export default function run(main, app) {
  let me = app.current;
  const others = new Set();
  const logs = new Map();
  const charts = new Map();
  const ends = [];
  let gone = false;
  let timer = 0;
  let against = "episode";

  const about = h("div", {});
  const tiles = h("div", { class: "tiles" });
  const empty = h("p", { class: "waiting" }, "Nothing is logged yet.");
  const axis = h("select", { onchange: () => { against = axis.value; redraw(true); } },
    [["episode", "episodes"], ["environment_steps", "environment steps"], ["minutes", "minutes"]].map(([value, text]) => h("option", { value }, text)));
  const beside = app.runs.filter((one) => one.number !== me.number && !one.error).map((one) => h("label", { class: "check" },
    h("input", { type: "checkbox", onchange: (event) => { others[event.target.checked ? "add" : "delete"](one.number); tick(true); } }), one.name));
  main.append(h("h1", {}, me.name), h("p", { class: "lead" }, "How the agent learns: what it is paid in each episode, how wrong its model is, and with which settings it was made."), about);
  if (me.error) {
    about.append(message(me.error));
    return () => {};
  }
  const recordings = h("div", { class: "stack" });
  const settings = h("div", {});
  main.append(
    h("section", { class: "stack", "aria-labelledby": "curves" },
      h("div", { class: "row middle" }, h("h2", { id: "curves" }, "Curves"), h("label", { class: "check" }, "against", axis),
        beside.length ? h("fieldset", { class: "row slim" }, h("legend", {}, "Beside it"), beside) : null),
      empty, tiles),
    h("div", { class: "columns two" },
      h("section", { class: "card", "aria-labelledby": "seen" }, h("h2", { id: "seen" }, "Episodes and videos"), recordings),
      h("section", { class: "card", "aria-labelledby": "settings" }, h("h2", { id: "settings" }, "Configuration"), settings)));

  function tell() {
    const { results } = me;
    const state = me.finished ? "finished" : me.logged === undefined ? "nothing logged yet" : me.logged < 600 ? `training, logged ${duration(me.logged)} ago` : `not finished, last logged ${duration(me.logged)} ago`;
    const rows = [["Task", me.task], ["Agent", `${me.agent}, ${me.preset}`], ["Seed", me.seed], ["State", state], ["Episodes", `${me.episode} of ${me.episodes}`], ["Updates", number(me.updates, 0)],
      ["Training so far", duration(me.seconds)], ["Score", results ? `${number(results.agent)} (random ${number(results.random)})` : null]];
    about.replaceChildren(list(rows), ...(me.unread ? [message(me.unread)] : []));
  }

  async function fetchRows(index) {
    const known = logs.get(index) ?? [];
    const query = new URLSearchParams({ from: known.length });
    if (known.length) query.set("episode", known[known.length - 1].episode);
    const answer = await (await fetch(`api/runs/${index}/rows?${query}`)).json();
    if (answer.error) throw new Error(answer.error);
    if (!answer.rows.length && answer.start === known.length) return false;
    logs.set(index, known.slice(0, answer.start).concat(answer.rows));
    return true;
  }

  async function tick(force = false) {
    clearTimeout(timer);
    try {
      let news = force;
      for (const index of [me.number, ...others]) news = (await fetchRows(index)) || news;
      const runs = await app.refresh();
      if (gone) return;
      me = runs.find((one) => one.number === me.number);
      app.tell(null);
      tell();
      if (news) redraw();
    } catch (error) {
      if (!gone && !me.unread) app.tell(error instanceof TypeError ? new Error("The server does not answer: is armillary explore still running?") : error);
    }
    if (!gone) timer = setTimeout(tick, EVERY);
  }

  const place = (row) => (against === "minutes" ? row.seconds / 60 : row[against]);

  function redraw(anew = false) {
    if (anew) { for (const chart of charts.values()) chart.end(); charts.clear(); tiles.replaceChildren(); }
    const shown = [me.number, ...others];
    const names = order([...new Set(shown.flatMap((index) => (logs.get(index) ?? []).flatMap((row) => Object.keys(row).filter((name) => typeof row[name] === "number"))))]);
    empty.hidden = names.length > 0;
    for (const name of names) {
      if (!charts.has(name)) {
        const chart = new Chart(title(name), { x: { episode: "episode", environment_steps: "steps", minutes: "minutes" }[against] });
        charts.set(name, chart);
      }
    }
    const wanted = names.map((name) => charts.get(name));
    if (wanted.length !== tiles.children.length) tiles.replaceChildren(...wanted.map((chart) => h("div", { class: "card" }, chart.element)));
    for (const name of names) {
      charts.get(name).draw(shown.flatMap((index, i) => series(name, logs.get(index) ?? [], TONES[i % TONES.length], shown.length > 1 ? app.runs[index].name : "now")));
    }
  }

  function series(name, rows, tone, label) {
    const points = rows.filter((row) => row[name] !== undefined).map((row) => [place(row), row[name]]);
    if (!points.length) return [];
    const line = { name: label, tone, points };
    const each = name.endsWith("/mean") ? rows.flatMap((row) => (row[name.replace(/mean$/, "scores")] ?? []).map((score) => [place(row), score])) : [];
    return each.length ? [line, { name: "", tone, points: each, dots: true }] : [line];
  }

  tell();
  configuration(settings, me, app.runs);
  ends.push(episodes(recordings, me, app));
  tick(true);
  return () => {
    gone = true;
    clearTimeout(timer);
    ends.forEach((end) => end());
    for (const chart of charts.values()) chart.end();
  };
}

function order(names) {
  const hidden = new Set(["episode", "environment_steps", "updates", "seconds", "collect/length"]);
  const rank = (name) => {
    const found = FIRST.findIndex((start) => name.startsWith(start));
    return found >= 0 ? found : name.startsWith("evaluate") ? 1.5 : name.startsWith("loss") ? 5 : 6;
  };
  return names.filter((name) => !hidden.has(name) && !/^evaluate.*\/(std|episodes)$/.test(name)).sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
}

function title(name) {
  const known = { "evaluate/mean": "Test score", "collect/return": "Score while collecting", "loss/total": "Model: whole loss" };
  return known[name] ?? name.replace("/", ": ").replaceAll("_", " ");
}

function configuration(element, me, runs) {
  const readable = runs.filter((one) => one.config);
  const differs = (name) => readable.some((one) => JSON.stringify(one.config[name]) !== JSON.stringify(me.config[name]));
  const several = readable.length > 1;
  const only = h("input", { type: "checkbox", checked: several, onchange: draw });
  const table = h("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Settings" });
  element.append(several ? h("label", { class: "check" }, only, "only what differs between the runs") : "", table);
  function draw() {
    const columns = several && only.checked ? [me, ...readable.filter((one) => one !== me)] : [me];
    const names = [...new Set(columns.flatMap((one) => Object.keys(one.config)))].filter((name) => !only.checked || differs(name)).sort();
    if (!names.length) { table.replaceChildren(h("p", { class: "waiting" }, "The runs have the same settings.")); return; }
    table.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "setting"), columns.map((one) => h("th", { scope: "col" }, several ? one.name : "value")))),
      h("tbody", {}, names.map((name) => h("tr", { class: several && !only.checked && differs(name) ? "differs" : "" }, h("th", { scope: "row" }, name),
        columns.map((one) => h("td", {}, one.config[name] === undefined ? "–" : JSON.stringify(one.config[name]))))))));
  }
  draw();
}

function episodes(element, me, app) {
  let playing = null;
  const stage = h("div", { "aria-live": "polite" });
  const show = async (what, given, make) => {
    playing?.stop();
    stage.replaceChildren(h("p", { class: "waiting" }, "A moment…"));
    try {
      const answer = await app.link.ask(what, { run: me.number, ...given });
      playing = make(answer);
      stage.replaceChildren(h("p", { class: "lead" }, playing.said), playing.element);
    } catch (error) {
      stage.replaceChildren(message(error.message));
    }
  };
  const one = (which, name) => h("button", { type: "button", onclick: () => show("run.episode", { which }, (answer) => ({
    ...player([{ title: name, tone: "truth", picture: answer.images.truth }], { fps: answer.fps, label: name }),
    said: `${answer.steps} steps, paid ${number(answer.return)}.`,
  })) }, `Last ${name}`);
  const board = me.views.includes("game");
  const predicts = !board && me.checkpoint && me.agent !== "muzero" && me.config["objective.representation"] === "reconstruction";
  const prediction = h("button", { type: "button", onclick: () => show("run.prediction", {}, (answer) => ({
    ...player([
      { title: "Truth", tone: "truth", picture: answer.images.truth },
      { title: "Predicted", tone: "dream", picture: answer.images.dream },
      { title: "Difference", tone: "", picture: answer.images.difference, about: "white: none" },
    ], { fps: answer.fps, label: "the prediction", from: answer.context }),
    said: `The model sees the first ${answer.context} frames, and predicts the others from the actions alone.`,
  })) }, "Predict the last test episode");
  if (!board) element.append(h("div", { class: "row" }, one("test", "test episode"), one("collected", "collected episode"), predicts ? prediction : null), stage);
  for (const name of me.files) {
    const source = `api/runs/${me.number}/files/${encodeURIComponent(name)}`;
    element.append(h("figure", { class: "stack" }, h("figcaption", {}, name),
      name.endsWith(".mp4") ? h("video", { src: source, controls: true, preload: "metadata", loop: true, "aria-label": name }) : h("img", { class: "shown", src: source, alt: name, loading: "lazy" })));
  }
  if (!me.files.length) element.append(h("p", { class: "lead" }, "Pictures and videos are written when the run ends, or by armillary video."));
  return () => playing?.stop();
}
