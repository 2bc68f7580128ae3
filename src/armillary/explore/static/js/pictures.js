// Frames on canvases: single ones, strips of them, and a player.

import { h } from "./dom.js";

// The pixels of picture number `index` of (n, height, width, 3) or (height, width, 3) bytes.
export function pixels({ shape, bytes }, index = 0) {
  const [height, width] = shape.slice(-3);
  const image = new ImageData(width, height);
  const start = index * height * width * 3;
  for (let i = 0, from = start; i < image.data.length; i += 4, from += 3) {
    image.data[i] = bytes[from];
    image.data[i + 1] = bytes[from + 1];
    image.data[i + 2] = bytes[from + 2];
    image.data[i + 3] = 255;
  }
  return image;
}

export function paint(canvas, picture, index = 0) {
  const image = pixels(picture, index);
  if (canvas.width !== image.width) canvas.width = image.width;
  if (canvas.height !== image.height) canvas.height = image.height;
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// How far two pictures are apart, bright where they differ.
export function difference(one, other) {
  const bytes = new Uint8Array(one.bytes.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = 255 - Math.abs(one.bytes[i] - other.bytes[i]);
  return { shape: one.shape, bytes };
}

export function frame(title, tone = "", about = "") {
  const canvas = h("canvas", { width: 64, height: 64, role: "img", "aria-label": title });
  const small = h("small", {}, about);
  const element = h("figure", { class: `frame ${tone}` }, h("figcaption", {}, title, small), canvas);
  return { element, canvas, about: (text) => { small.textContent = text; } };
}

export function strip(canvas, picture) {
  const [count, height, width] = picture.shape;
  canvas.width = count * (width + 1) - 1;
  canvas.height = height;
  const context = canvas.getContext("2d");
  for (let i = 0; i < count; i++) context.putImageData(pixels(picture, i), i * (width + 1), 0);
}

// Plays several series of frames side by side; returns { element, stop }.
export function player(series, { fps = 10, label = "frames", from = 0 } = {}) {
  const count = Math.min(...series.map(({ picture }) => picture.shape[0]));
  const views = series.map(({ title, tone, about }) => frame(title, tone, about));
  const place = h("output", {}, "");
  const slider = h("input", { type: "range", min: "0", max: String(count - 1), value: "0", "aria-label": `Frame of ${label}`, oninput: () => { pause(); show(Number(slider.value)); } });
  const button = h("button", { type: "button", onclick: () => (timer ? pause() : play()) }, "Play");
  let timer = null;
  let at = 0;
  function show(index) {
    at = index;
    slider.value = String(index);
    views.forEach(({ canvas }, i) => paint(canvas, series[i].picture, index));
    place.textContent = `${index + 1} of ${count}${from && index < from ? ", seen" : from ? ", predicted" : ""}`;
  }
  function play() {
    button.textContent = "Pause";
    timer = setInterval(() => show((at + 1) % count), 1000 / fps);
  }
  function pause() {
    button.textContent = "Play";
    clearInterval(timer);
    timer = null;
  }
  show(0);
  return {
    element: h("div", { class: "stack" }, h("div", { class: `frames n${views.length}` }, views.map((view) => view.element)),
      h("div", { class: "row middle" }, button, place), slider),
    stop: pause,
  };
}
