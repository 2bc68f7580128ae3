// Curves on a canvas: axes with round numbers, a key with the last values, and a reading under the pointer.

import { colour, h, number, themed } from "./dom.js";

const PAD = { left: 46, right: 10, top: 8, bottom: 24 };

// A chart; give it series with `draw([{ name, tone, points: [[x, y], ...], dots, dash }])`.
export class Chart {
  constructor(title, { x = "step", bars = false, height = null, range = null, marks = [] } = {}) {
    this.x = x;
    this.range = range;
    this.marks = marks;
    this.bars = bars;
    this.title = title;
    this.series = [];
    this.canvas = h("canvas", { role: "img", "aria-label": title });
    if (height) this.canvas.style.height = `${height}px`;
    this.keys = h("span", { class: "row middle" });
    this.reading = h("span", { class: "hover" });
    this.element = h("figure", { class: "chart" }, h("figcaption", {}, h("b", {}, title), this.keys, this.reading), this.canvas);
    this.canvas.addEventListener("pointermove", (event) => this.#read(event));
    this.canvas.addEventListener("pointerleave", () => { this.reading.textContent = ""; this.#paint(); });
    this.observer = new ResizeObserver(() => this.#paint());
    this.observer.observe(this.canvas);
    this.unthemed = themed(() => this.draw(this.series));
  }

  end() {
    this.observer.disconnect();
    this.unthemed();
  }

  draw(series) {
    this.series = series;
    this.keys.replaceChildren(...series.filter((one) => one.name).map((one) => {
      const line = h("i");
      line.style.borderColor = paintOf(one.tone);
      const last = [...one.points].reverse().find(([, y]) => y !== null && y !== undefined);
      return h("span", { class: "key" }, line, last && !one.dots ? `${one.name} ${number(last[1])}` : one.name);
    }));
    this.canvas.setAttribute("aria-label", `${this.title}: ${series.filter((one) => one.name).map((one) => {
      const ys = one.points.map(([, y]) => y).filter((y) => y !== null && y !== undefined);
      return ys.length ? `${one.name}, last ${number(ys[ys.length - 1])}, from ${number(Math.min(...ys))} to ${number(Math.max(...ys))}` : `${one.name}, nothing yet`;
    }).join("; ")}`);
    this.#paint();
  }

  #scales() {
    const points = this.series.flatMap((one) => one.points.concat(one.band ? one.band.flatMap(([x, low, high]) => [[x, low], [x, high]]) : []))
      .filter(([x, y]) => x !== null && y !== null && y !== undefined);
    if (!points.length) return null;
    let [left, right, low, high] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const [x, y] of points) {
      left = Math.min(left, x); right = Math.max(right, x);
      low = Math.min(low, y); high = Math.max(high, y);
    }
    if (this.range) [low, high] = [Math.min(low, this.range[0]), Math.max(high, this.range[1])];
    if (left === right) { left -= 0.5; right += 0.5; }
    if (high - low < 1e-9 * Math.max(1, Math.abs(high))) { low -= 0.5; high += 0.5; }
    const room = (high - low) * 0.06;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const edges = { left, right, low: low - room, high: high + room, width, height };
    edges.toX = (x) => PAD.left + ((x - left) / (right - left)) * (width - PAD.left - PAD.right);
    edges.toY = (y) => height - PAD.bottom - ((y - edges.low) / (edges.high - edges.low)) * (height - PAD.top - PAD.bottom);
    return edges;
  }

  #paint(at = null) {
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return;
    const ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.font = "11px system-ui, sans-serif";
    const edges = this.#scales();
    this.edges = edges;
    if (!edges) {
      pen.fillStyle = colour("soft");
      pen.fillText("nothing yet", PAD.left, height / 2);
      return;
    }
    this.#axes(pen, edges);
    for (const one of this.series) this.#line(pen, edges, one);
    if (at !== null) {
      pen.strokeStyle = colour("soft");
      pen.setLineDash([3, 3]);
      pen.beginPath(); pen.moveTo(edges.toX(at), PAD.top); pen.lineTo(edges.toX(at), height - PAD.bottom); pen.stroke();
    }
  }

  #axes(pen, edges) {
    const { width, height } = edges;
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const y of ticks(edges.low, edges.high, 4)) {
      pen.strokeStyle = colour("line");
      pen.beginPath(); pen.moveTo(PAD.left, edges.toY(y)); pen.lineTo(width - PAD.right, edges.toY(y)); pen.stroke();
      pen.fillStyle = colour("soft");
      pen.fillText(short(y), PAD.left - 6, edges.toY(y));
    }
    pen.textBaseline = "alphabetic";
    pen.textAlign = "center";
    const across = ticks(edges.left, edges.right, Math.max(3, Math.floor(width / 70))).filter((x) => this.x === "minutes" || Number.isInteger(x));
    for (const x of across) {
      const place = edges.toX(x);
      if (place < width - PAD.right - 12 - 6 * this.x.length) pen.fillText(short(x), place, height - 8);
    }
    pen.textAlign = "right";
    pen.fillText(this.x, width - PAD.right, height - 8);
    pen.strokeStyle = colour("soft");
    pen.setLineDash([2, 4]);
    for (const x of this.marks) {
      if (x < edges.left || x > edges.right) continue;
      pen.beginPath(); pen.moveTo(edges.toX(x), PAD.top); pen.lineTo(edges.toX(x), height - PAD.bottom); pen.stroke();
    }
    pen.setLineDash([]);
  }

  #line(pen, edges, one) {
    pen.strokeStyle = pen.fillStyle = paintOf(one.tone);
    pen.lineWidth = one.thin ? 1 : 2;
    pen.lineJoin = "round";
    if (one.band) {
      pen.globalAlpha = 0.18;
      pen.beginPath();
      one.band.forEach(([x, low], i) => pen[i ? "lineTo" : "moveTo"](edges.toX(x), edges.toY(low)));
      [...one.band].reverse().forEach(([x, , high]) => pen.lineTo(edges.toX(x), edges.toY(high)));
      pen.fill();
      pen.globalAlpha = 1;
    }
    if (one.dots) {
      pen.globalAlpha = one.alpha ?? 0.7;
      for (const [x, y] of one.points) {
        if (y === null || y === undefined) continue;
        pen.beginPath(); pen.arc(edges.toX(x), edges.toY(y), one.size ?? 2.2, 0, 7); pen.fill();
      }
      pen.globalAlpha = 1;
      return;
    }
    pen.globalAlpha = one.alpha ?? 1;
    pen.setLineDash(one.dash ? [6, 4] : []);
    pen.beginPath();
    let drawing = false;
    for (const [x, y] of one.points) {
      if (y === null || y === undefined) { drawing = false; continue; }
      pen[drawing ? "lineTo" : "moveTo"](edges.toX(x), edges.toY(y));
      drawing = true;
    }
    pen.stroke();
    pen.setLineDash([]);
    pen.globalAlpha = 1;
    if (one.points.length === 1 && one.points[0][1] !== null) {
      pen.beginPath(); pen.arc(edges.toX(one.points[0][0]), edges.toY(one.points[0][1]), 3, 0, 7); pen.fill();
    }
  }

  #read(event) {
    if (!this.edges) return;
    const x = this.edges.left + ((event.offsetX - PAD.left) / (this.edges.width - PAD.left - PAD.right)) * (this.edges.right - this.edges.left);
    let place = null;
    const parts = [];
    for (const one of this.series) {
      if (!one.name || one.dots) continue;
      const near = nearest(one.points, x);
      if (!near) continue;
      place ??= near[0];
      parts.push(`${one.name} ${number(near[1])}`);
    }
    if (place === null) return;
    this.reading.textContent = `${this.x} ${short(place)}: ${parts.slice(0, 4).join(", ")}`;
    this.#paint(place);
  }
}

export const paintOf = (tone) => (tone.startsWith("#") || tone.startsWith("hsl") ? tone : colour(tone));

function nearest(points, x) {
  let best = null;
  for (const point of points) {
    if (point[1] === null || point[1] === undefined) continue;
    if (!best || Math.abs(point[0] - x) < Math.abs(best[0] - x)) best = point;
  }
  return best;
}

function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high * (1 + 1e-12) + 1e-12; i++) found.push(Number((i * step).toPrecision(12)));
  return found;
}

function short(value) {
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  if (size && size < 1e-3) return value.toExponential(0);
  return String(Number(value.toPrecision(4)));
}
