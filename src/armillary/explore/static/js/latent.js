// The latent space: states of recorded episodes as a map, and what lies between them.

import { choice, colour, field, h, message, number, themed } from "./dom.js";
import { Lost } from "./link.js";
import { frame, paint } from "./pictures.js";
import { trained } from "./world.js";

const COLOURS = [["reward", "reward"], ["time", "time in the episode"], ["episode", "episode"]];
const PAD = 14;

export default function latent(main, app) {
  const body = h("div", {}, h("p", { class: "waiting", role: "status" }, "Reading episodes and encoding them; the first time takes a while…"));
  main.append(h("h1", {}, "The latent space"),
    h("p", { class: "lead" }, "Each point is what the model makes of one moment of a recorded episode, squeezed into the plane: moments that lie close together look alike to it."), body);
  let gone = false;
  let end = () => {};
  async function begin(method = "pca") {
    try {
      const map = await app.link.ask("latent.open", { run: app.current.number, method });
      if (gone) return;
      end();
      end = show(body, app, map, begin);
      app.tell(null);
    } catch (error) {
      if (gone || error instanceof Lost) return;
      body.replaceChildren(message(error.message));
    }
  }
  const back = (event) => { if (!event.detail.known) begin(); };
  app.link.addEventListener("back", back);
  begin();
  return () => { gone = true; end(); app.link.removeEventListener("back", back); };
}

function show(body, app, map, again) {
  const canvas = h("canvas", { tabindex: "0", role: "img" });
  const said = h("p", { role: "status" });
  const seen = frame("Recorded", "truth", map.board ? "blue: who is to move, orange: the other" : "what the simulator showed");
  const decoded = frame("Decoded", "dream", "what the model makes of the point");
  let by = "reward";
  let chosen = Math.floor(map.points.length / 2);
  let busy = false;
  let waiting = false;
  let moved = 0;
  const slider = h("input", { type: "range", min: "0", max: String(map.points.length - 1), value: String(chosen), "aria-label": "Point", oninput: () => choose(Number(slider.value)) });
  const options = [
    ...Array.from({ length: map.directions }, (_, i) => [`direction ${i}`, `principal direction ${i + 1} (${Math.round(100 * map.shares[i])}% of all that varies)`]),
    ...map.coordinates.map((i) => [`coordinate ${i}`, `coordinate ${i}`]),
  ];
  const which = choice(options, options[0][0], () => set(0));
  const amount = h("input", { type: "range", min: "-3", max: "3", step: "0.1", value: "0", "aria-label": "Move by standard deviations", oninput: () => set(Number(amount.value)) });
  const moves = h("span", {}, "0.0");
  const low = h("span"), high = h("span");
  body.replaceChildren(
    h("p", { class: "lead" }, `${map.task}, ${trained({ trained: map.trained })}: ${map.points.length} states of ${map.size} numbers each.${map.method === "tsne" ? " With t-SNE neighbours stay neighbours; distances between groups mean little." : ` The plane shows ${Math.round(100 * (map.shares[0] + (map.shares[1] ?? 0)))}% of all that varies.`}`),
    h("div", { class: "columns two" },
      h("section", { class: "card stack", "aria-label": "Map" },
        h("div", { class: "row" }, field("Map", choice([["pca", "PCA: directions of most variation"], ["tsne", "t-SNE: neighbourhoods"]], map.method, (method) => { body.replaceChildren(h("p", { class: "waiting", role: "status" }, "Drawing the map…")); again(method); })),
          field("Coloured by", choice(COLOURS, by, (value) => { by = value; draw(); }))),
        h("div", { class: "map" }, canvas), h("div", { class: "legend" }, low, h("i"), high),
        field("Point (or click it; ← and → walk through the episode)", slider), said),
      h("section", { class: "card stack", "aria-label": "State" },
        h("div", { class: "frames" }, seen.element, map.draws ? decoded.element : null),
        map.draws ? null : h("p", { class: "lead" }, "This model has no decoder; what it expects of the state is said below the map."),
        h("fieldset", { class: "stack" }, h("legend", {}, "Move the state"), field("Along", which),
          h("label", {}, h("span", { class: "row" }, "by standard deviations ", moves), amount),
          h("div", { class: "row" }, h("button", { type: "button", onclick: () => set(0) }, "Back to the state"))))));

  const shade = () => map.points.map((_, i) => ({ reward: map.rewards[i], time: map.places[i][1], episode: map.places[i][0] })[by]);

  function scale() {
    const xs = map.points.map(([x]) => x), ys = map.points.map(([, y]) => y);
    const [left, right, bottom, top] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    const { clientWidth: width, clientHeight: height } = canvas;
    return ([x, y]) => [PAD + ((x - left) / (right - left || 1)) * (width - 2 * PAD), height - PAD - ((y - bottom) / (top - bottom || 1)) * (height - 2 * PAD)];
  }

  function draw() {
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.fillStyle = colour("paper");
    pen.fillRect(0, 0, width, height);
    const values = shade();
    const least = Math.min(...values), most = Math.max(...values);
    low.textContent = `${by === "time" ? "step " : by === "episode" ? "oldest" : ""}${by === "episode" ? "" : number(least, by === "reward" ? 2 : 0)}`;
    high.textContent = by === "episode" ? "newest" : number(most, by === "reward" ? 2 : 0);
    const at = scale();
    map.points.forEach((point, i) => {
      const [x, y] = at(point);
      pen.fillStyle = ramp((values[i] - least) / (most - least || 1));
      pen.globalAlpha = 0.8;
      pen.beginPath(); pen.arc(x, y, 3, 0, 7); pen.fill();
    });
    pen.globalAlpha = 1;
    const [x, y] = at(map.points[chosen]);
    pen.lineWidth = 3; pen.strokeStyle = colour("card");
    pen.beginPath(); pen.arc(x, y, 8, 0, 7); pen.stroke();
    pen.lineWidth = 2; pen.strokeStyle = colour("ink");
    pen.beginPath(); pen.arc(x, y, 8, 0, 7); pen.stroke();
    canvas.setAttribute("aria-label", `Map of ${map.points.length} states; point ${chosen} is chosen. Left and right arrow keys choose another.`);
  }

  async function look() {
    if (busy) { waiting = true; return; }
    busy = true;
    try {
      const [kind, at] = which.value.split(" ");
      const answer = await app.link.ask("latent.look", { number: chosen, moved: moved ? { kind, number: Number(at), by: moved } : null });
      if (answer.images.frame) paint(seen.canvas, answer.images.frame);
      else seen.element.hidden = true;
      if (answer.images.decoded) paint(decoded.canvas, answer.images.decoded);
      decoded.about(moved ? `moved by ${moved.toFixed(1)} standard deviations` : "what the model makes of the point");
      const [episode, step] = map.places[chosen];
      const parts = [`Episode ${episode + 1} of those shown, step ${step}; reward ${number(answer.reward)}`];
      if (answer.predicted_reward !== undefined) parts.push(`the model expects ${number(answer.predicted_reward)}`);
      if (answer.value !== undefined) parts.push(`value ${number(answer.value)}`);
      if (answer.policy) parts.push(`policy ${answer.policy.map((x) => x.toFixed(2)).join(" ")}`.slice(0, 120));
      said.textContent = `${parts.join(", ")}.`;
      app.tell(null);
    } catch (error) {
      if (!(error instanceof Lost)) app.tell(error);
    } finally {
      busy = false;
      if (waiting) { waiting = false; look(); }
    }
  }

  function choose(point) {
    chosen = Math.max(0, Math.min(map.points.length - 1, point));
    slider.value = String(chosen);
    draw();
    look();
  }

  function set(value) {
    moved = value;
    amount.value = String(value);
    moves.textContent = value.toFixed(1);
    look();
  }

  canvas.addEventListener("click", (event) => {
    const at = scale();
    let best = 0, nearest = Infinity;
    map.points.forEach((point, i) => {
      const [x, y] = at(point);
      const apart = (x - event.offsetX) ** 2 + (y - event.offsetY) ** 2;
      if (apart < nearest) { nearest = apart; best = i; }
    });
    choose(best);
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(chosen + step);
  });
  const observer = new ResizeObserver(draw);
  observer.observe(canvas);
  const unthemed = themed(draw);
  choose(chosen);
  return () => { observer.disconnect(); unthemed(); };
}

// Blue over mauve and gold to red, readable on light and dark ground.
function ramp(part) {
  const stops = [[59, 76, 192], [182, 164, 208], [240, 192, 74], [180, 4, 38]];
  const at = Math.max(0, Math.min(0.9999, part)) * (stops.length - 1);
  const [from, to] = [stops[Math.floor(at)], stops[Math.floor(at) + 1]];
  return `rgb(${from.map((x, i) => Math.round(x + (to[i] - x) * (at % 1))).join(" ")})`;
}
