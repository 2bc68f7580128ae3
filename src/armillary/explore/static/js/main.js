// The frame around the views: which run, which view, the theme, and the state of the socket.

import { h, message } from "./dom.js";
import { Link } from "./link.js";
import dream from "./dream.js";
import game from "./game.js";
import latent from "./latent.js";
import plan from "./plan.js";
import run from "./run.js";

const VIEWS = { run, dream, game, plan, latent };
const NAMES = { run: "Run", dream: "Dream", game: "Game", plan: "Plan", latent: "Latent space" };

const main = document.getElementById("main");
const select = document.getElementById("run-choice");
const notice = document.getElementById("notice");
const app = { link: new Link(), runs: [], current: null, dreaming: null, playing: null, refresh };
let leave = () => {};
let shown = "";

async function refresh() {
  const answer = await fetch("api/runs");
  if (!answer.ok) throw new Error(`The server answers ${answer.status}: is armillary explore still running?`);
  app.runs = await answer.json();
  return app.runs;
}

function place() {
  const given = new URLSearchParams(location.hash.slice(1));
  const wanted = app.runs.find((one) => String(one.number) === given.get("run")) ?? app.runs[0];
  const views = wanted?.views ?? [];
  const view = views.includes(given.get("view")) ? given.get("view") : views[0];
  return { wanted, view };
}

export function go(view, number = app.current.number) {
  location.hash = new URLSearchParams({ view, run: String(number) });
}

function show() {
  const { wanted, view } = place();
  const key = `${view} ${wanted.number}`;
  if (key === shown) return;
  leave();
  const first = shown === "";
  shown = key;
  app.current = wanted;
  select.value = String(wanted.number);
  document.getElementById("views").replaceChildren(...wanted.views.map((name) => h("li", {},
    h("a", { href: `#view=${name}&run=${wanted.number}`, "aria-current": name === view ? "page" : undefined }, NAMES[name]))));
  document.title = `${NAMES[view]} · ${wanted.name} · armillary`;
  main.replaceChildren();
  notice.hidden = true;
  leave = VIEWS[view](main, app) ?? (() => {});
  if (!first) main.focus({ preventScroll: true });
}

app.tell = (error) => {
  notice.hidden = !error;
  notice.textContent = error ? error.message ?? String(error) : "";
};

function states() {
  const element = document.getElementById("link-state");
  element.dataset.state = app.link.state;
  element.textContent = { open: "connected", lost: "connection lost, trying again…", closed: "connecting…" }[app.link.state];
}

function themes() {
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = theme === "dark" ? "☀ Light" : "☾ Dark";
    document.dispatchEvent(new Event("themed"));
  };
  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  button.onclick = () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("theme", theme); } catch { /* it is forgotten, then */ }
    set(theme);
  };
  dark.addEventListener("change", () => { if (!kept()) set(dark.matches ? "dark" : "light"); });
  set(kept() ?? (dark.matches ? "dark" : "light"));
}

themes();
states();
app.link.addEventListener("state", states);
addEventListener("hashchange", show);
window.armillary = app; // for tests, and for the curious
try {
  await refresh();
  select.replaceChildren(...app.runs.map((one) => h("option", { value: String(one.number) }, `${one.name}${one.error ? " (cannot be read)" : ""}`)));
  select.onchange = () => go(place().view, Number(select.value));
  show();
} catch (error) {
  main.replaceChildren(message(error.message));
}
