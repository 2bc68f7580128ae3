// The dream: a state, what is done with it, and what of it is shown.
"use strict";

(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const { action: actions, starts, programs: graphs } = data;

  function bytesOf(text) {
    const binary = atob(text.trim()), bytes = new Uint8Array(binary.length);
    for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
    return bytes.buffer;
  }

  const weights = bytesOf($("weights").textContent);
  const run = Object.fromEntries(
    Object.entries(graphs).map(([name, graph]) => [name, program(graph, weights)]),
  );
  const row = (numbers) => tensor([1, numbers.length], Float32Array.from(numbers));

  // What is dreamed. Everything else on the page only shows it.
  const dream = { start: 0, state: null, steps: 0, reward: null, total: 0, goesOn: 1, value: null };
  const rewards = [];

  function begin(number) {
    const { state } = starts[number];
    dream.start = number;
    dream.state = Object.fromEntries(Object.entries(state).map(([k, x]) => [k, row(x)]));
    Object.assign(dream, { steps: 0, reward: null, total: 0 });
    rewards.length = 0;
    look();
  }

  function advance(action) {
    const found = run.transition({ ...dream.state, action: row(action) });
    dream.state = Object.fromEntries(
      Object.entries(found).map(([name, x]) => [name.replace(/^next_/, ""), x]),
    );
    dream.reward = run.reward(dream.state).reward.data[0];
    dream.total += dream.reward;
    dream.steps += 1;
    rewards.push(dream.reward);
    look();
  }

  function look() {
    dream.goesOn = run.goes_on(dream.state).goes_on.data[0];
    dream.value = run.value ? run.value(dream.state).value.data[0] : null;
    dream.pixels = pixelsOf(dream.state);
  }

  const pixelsOf = (state) => run.decoder(state)[data.image].data;

  function chosen() {
    const mask = starts[dream.start].mask || new Array(actions.size).fill(true);
    return Array.from(run.actor({ ...dream.state, mask: row(mask.map(Number)) }).action.data);
  }

  // Pictures and numbers.
  const [high, wide] = data.size;
  function paint(canvas, pixels) {
    canvas.width = wide;
    canvas.height = high;
    const image = new ImageData(wide, high);
    for (let i = 0, j = 0; j < pixels.length; i += 4, j += 3) {
      image.data[i] = pixels[j];
      image.data[i + 1] = pixels[j + 1];
      image.data[i + 2] = pixels[j + 2];
      image.data[i + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  const number = (x) => (Math.abs(x) < 10 ? x.toFixed(2) : x.toFixed(1)).replace("-", "−");
  const SHOWN = 150;

  function draw() {
    paint($("dream"), dream.pixels);
    $("count").textContent = dream.steps;
    $("reward").textContent = dream.reward === null ? "–" : number(dream.reward);
    $("total").textContent = number(dream.total);
    if (dream.value !== null) $("value").textContent = number(dream.value);
    $("ending").hidden = dream.goesOn >= 0.5;
    const last = rewards.slice(-SHOWN);
    const least = Math.min(0, ...last), most = Math.max(0.1, ...last);
    const height = (x) => 84 - (78 * (x - least)) / (most - least);
    const points = last.map((x, i) => `${((300 * i) / (SHOWN - 1)).toFixed(1)},${height(x).toFixed(1)}`);
    $("line").setAttribute("points", points.join(" "));
    $("zero").setAttribute("y1", height(0));
    $("zero").setAttribute("y2", height(0));
  }

  const say = (text) => {
    $("said").textContent = text;
  };

  // Steering: what is held counts, or else where the slider stands.
  const KEYS = [
    ["ArrowLeft", "ArrowRight"], ["ArrowDown", "ArrowUp"], ["a", "d"], ["s", "w"], ["j", "l"], ["k", "i"],
  ];
  const SIGNS = { ArrowLeft: "←", ArrowRight: "→", ArrowDown: "↓", ArrowUp: "↑" };
  const signOf = (key) => SIGNS[key] || key.toUpperCase();
  const entries = []; // of continuous actions: {row, slider, shown, held: [least, greatest]}
  let choice = 0; // of discrete ones
  const choices = [];

  function steered() {
    if (actions.discrete) return Array.from({ length: actions.size }, (_, i) => Number(i === choice));
    return entries.map(({ slider, held }) => held[1] - held[0] || Number(slider.value));
  }

  function showSteering(action) {
    entries.forEach(({ slider, shown, row: line }, i) => {
      shown.textContent = number(action[i]);
      if (driving) slider.value = action[i];
      slider.setAttribute("aria-valuetext", number(action[i]));
      line.hidden = Boolean(starts[dream.start].mask) && !starts[dream.start].mask[i];
    });
    const taken = actions.discrete ? action.indexOf(Math.max(...action)) : -1;
    choices.forEach((button, i) => button.setAttribute("aria-pressed", String(i === taken)));
  }

  function takeOver() {
    if (driving) drive(false);
    if (!playing) play(true);
  }

  function hold(entry, side, down) {
    entry.held[side] = Number(down);
    entry.buttons[side].toggleAttribute("data-held", down);
    if (down) {
      takeOver();
      entry.slider.value = 0;
    }
    showSteering(steered());
  }

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function makeEntry(i) {
    const keys = KEYS[i] || [];
    const called = actions.size > 1 ? `Action ${i + 1}` : "Action";
    const shown = element("output", { textContent: "0.00" });
    const slider = element("input", {
      type: "range", min: -1, max: 1, step: 0.01, value: 0, id: `slider-${i}`,
    });
    const label = element("label", { htmlFor: slider.id }, element("span", { textContent: called }), shown);
    const buttons = [0, 1].map((side) => {
      const content = keys.length
        ? element("kbd", { textContent: signOf(keys[side]) })
        : ["−", "+"][side];
      const button = element("button", { type: "button" }, content);
      button.setAttribute("aria-label", `${called} to its ${["least", "greatest"][side]}, while held`);
      return button;
    });
    const line = element("div", { className: "entry" }, buttons[0],
      element("div", { className: "track" }, label, slider), buttons[1]);
    const entry = { row: line, slider, shown, buttons, held: [0, 0] };
    slider.addEventListener("input", () => {
      takeOver();
      showSteering(steered());
    });
    buttons.forEach((button, side) => {
      const until = (down) => () => hold(entry, side, down);
      button.addEventListener("pointerdown", until(true));
      for (const name of ["pointerup", "pointerleave", "pointercancel", "blur"]) {
        button.addEventListener(name, until(false));
      }
      for (const [name, down] of [["keydown", true], ["keyup", false]]) {
        button.addEventListener(name, (event) => {
          if (event.key !== " " && event.key !== "Enter") return;
          event.preventDefault();
          event.stopPropagation();
          if (!event.repeat) hold(entry, side, down);
        });
      }
    });
    entries.push(entry);
    return line;
  }

  function makeChoice(i) {
    const button = element("button", { type: "button", textContent: `Action ${i} ` });
    if (i < 10) button.append(element("kbd", { textContent: i }));
    button.addEventListener("click", () => choose(i));
    choices.push(button);
    return button;
  }

  function choose(i) {
    choice = i;
    takeOver();
    showSteering(steered());
  }

  function letGo() {
    entries.forEach((entry) => [0, 1].forEach((side) => entry.held[side] && hold(entry, side, false)));
  }

  // Time.
  let playing = false, driving = false, due = 0, times = [];

  function play(on) {
    playing = on;
    $("play").replaceChildren(on ? "Pause " : "Play ", element("kbd", { textContent: "space" }));
    $("begin").hidden = true;
    due = performance.now();
    times = [];
    $("measured").textContent = "";
    say(on ? "The dream goes on" : "Paused");
  }

  function drive(on) {
    driving = on && Boolean(run.actor);
    $("agent").checked = driving;
    if (driving && !playing) play(true);
    if (!driving) entries.forEach(({ slider }) => { slider.value = 0; });
    say(driving ? "The agent steers" : "You steer");
  }

  function step() {
    const action = driving ? chosen() : steered();
    showSteering(action);
    advance(action);
    draw();
  }

  function reset(start = dream.start) {
    begin(start);
    draw();
    showSteering(driving ? chosen() : steered());
    [...$("starts").children].forEach((button, i) =>
      button.setAttribute("aria-pressed", String(i === start)));
    say(`The dream begins in ${starts[start].label}`);
  }

  function tick(now) {
    const wait = 1000 / (data.rate * Number($("speed").value));
    if (playing && now >= due) {
      due = Math.max(due + wait, now - wait);
      step();
      times.push(now);
      if (times.length > 20) times.shift();
      const rate = (1000 * (times.length - 1)) / (now - times[0]);
      if (times.length > 5) $("measured").textContent = `${rate.toFixed(0)} pictures a second`;
    }
    requestAnimationFrame(tick);
  }

  // Keys. Those of a slider or a list are left to it.
  const own = (target) => target.matches("select, summary, input[type=range]");
  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const target = event.target instanceof Element ? event.target : document.body;
    const down = event.type === "keydown";
    const entry = KEYS.slice(0, entries.length).findIndex((pair) => pair.includes(key));
    if (entry >= 0 && !entries[entry].row.hidden && !(own(target) && down)) {
      event.preventDefault();
      if (!event.repeat) hold(entries[entry], KEYS[entry].indexOf(key), down);
      return;
    }
    if (!down || own(target)) return;
    const onButton = target.matches("button, input") && (key === " " || key === "Enter");
    const shortcuts = {
      " ": () => play(!playing),
      ".": () => { play(false); step(); },
      r: () => reset(),
      g: () => run.actor && drive(!driving),
    };
    if (actions.discrete && /^[0-9]$/.test(key) && Number(key) < actions.size) {
      choose(Number(key));
    } else if (shortcuts[key] && !onButton && !event.repeat) {
      event.preventDefault();
      shortcuts[key]();
    }
  }

  function describe() {
    const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
    $("task").textContent = data.task;
    $("episodes").textContent = plural(data.trained.episodes, "episode");
    const score = (of) => `${of.mean.toFixed(1)} ± ${of.std.toFixed(1)}`;
    const rows = [
      ["Agent", `${data.agent}, preset ${data.preset}, seed ${data.seed}`],
      ["Run", data.run],
      ["Learned from", `${plural(data.trained.episodes, "episode")}, ` +
        `${plural(data.trained.simulator_steps, "step")} of the environment, ` +
        `${plural(data.trained.updates, "update")}`],
      ...(data.scores && data.scores.agent ? [["Score", score(data.scores.agent)]] : []),
      ...(data.scores && data.scores.random ? [["Random actions", score(data.scores.random)]] : []),
      ["Numbers in this page", plural(data.parameters, "parameter")],
      ["Made with", `armillary ${data.armillary}: armillary export RUN --to html`],
    ];
    $("about").append(...rows.flatMap(([what, text]) =>
      [element("dt", { textContent: what }), element("dd", { textContent: text })]));
  }

  function makeControls() {
    const box = $("controls");
    const wanted = Array.from({ length: actions.size }, (_, i) => i);
    if (actions.discrete) {
      box.className = "choices";
      box.append(...wanted.map(makeChoice));
      $("hint").textContent = "Choose what is done from now on, by click or by number key.";
    } else {
      box.append(...wanted.map(makeEntry));
      const first = entries.length > 1 ? "the arrow keys" : "← or →";
      $("hint").textContent = entries.length > 1
        ? `Hold ${first} or the buttons, or move the sliders. Each is one thing that can be done: find out what.`
        : `Hold ${first} or the buttons, or move the slider. What does it do?`;
    }
    $("agent-row").hidden = !run.actor;
    $("no-agent").hidden = Boolean(run.actor);
    $("value-row").hidden = !run.value;
    $("starts").append(...starts.map(({ state, label }, i) => {
      const picture = element("canvas");
      paint(picture, pixelsOf(Object.fromEntries(Object.entries(state).map(([k, x]) => [k, row(x)]))));
      const button = element("button", { type: "button", title: label }, picture);
      button.setAttribute("aria-label", `Begin in ${label}`);
      button.addEventListener("click", () => reset(i));
      return button;
    }));
  }

  try {
    describe();
    makeControls();
    $("begin").textContent = "Begin to dream";
    $("begin").addEventListener("click", () => { play(true); $("play").focus(); });
    $("play").addEventListener("click", () => play(!playing));
    $("step").addEventListener("click", () => { play(false); step(); });
    $("reset").addEventListener("click", () => reset());
    $("agent").addEventListener("change", (event) => drive(event.target.checked));
    document.addEventListener("keydown", pressed);
    document.addEventListener("keyup", pressed);
    window.addEventListener("blur", letGo);
    play(false);
    $("begin").hidden = false;
    reset(0);
    requestAnimationFrame(tick);
    // For whoever wants to look at the numbers, in the browser's console.
    window.armillary = { data, dream, run, begin, advance, chosen, weights };
  } catch (error) {
    $("failure").hidden = false;
    $("failure").textContent = `The dream could not begin in this browser: ${error}`;
    throw error;
  }
})();
