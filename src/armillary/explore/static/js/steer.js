// How the reader acts: sliders or choices, and keys that push while they are held.

import { h, typing } from "./dom.js";

const PAIRS = [["ArrowLeft", "ArrowRight", "← →"], ["ArrowDown", "ArrowUp", "↓ ↑"], ["a", "d", "a d"], ["s", "w", "s w"], ["j", "l", "j l"], ["k", "i", "k i"], ["f", "h", "f h"], ["g", "t", "g t"]];

// Returns { element, action, end }; `action` is what the session takes, `touched` is called at each change by the reader.
export function steering(facts, touched) {
  return facts.discrete ? choices(facts, touched) : sliders(facts, touched);
}

function sliders(facts, touched) {
  const used = facts.used ?? facts.names.map(() => true);
  const entries = [];
  const rows = facts.names.map((name, number) => {
    if (!used[number]) return null;
    const pair = PAIRS[entries.length];
    const output = h("span", { class: "reading" }, "0.0");
    const input = h("input", { type: "range", min: "-1", max: "1", step: "0.05", value: "0", "aria-label": `Action ${name}`,
      oninput: () => { output.textContent = Number(input.value).toFixed(1); touched(); } });
    entries.push({ number, input, output, pair });
    return h("label", {}, h("span", {}, `action ${name}`, pair ? h("kbd", {}, pair[2]) : null, output), input);
  });
  const rest = h("button", { type: "button", onclick: () => { entries.forEach((entry) => put(entry, 0)); touched(); } }, "All to 0", h("kbd", {}, "0"));
  const element = h("fieldset", {}, h("legend", {}, "Your actions"), h("div", { class: "sliders" }, rows), rest);

  function put({ input, output }, value) {
    input.value = String(value);
    output.textContent = value.toFixed(1);
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const arrow = event.key.startsWith("Arrow");
    if (arrow && event.target.matches?.("input, select, button, [tabindex='0']") && !event.target.matches("button")) return;
    if (event.key === "0" && event.type === "keydown") return rest.click();
    for (const entry of entries) {
      const side = entry.pair?.indexOf(event.key) ?? -1;
      if (side < 0 || side > 1) continue;
      event.preventDefault();
      put(entry, event.type === "keydown" ? 2 * side - 1 : 0);
      if (event.type === "keydown") touched();
    }
  }

  document.addEventListener("keydown", keys);
  document.addEventListener("keyup", keys);
  return {
    element,
    action: () => {
      const action = facts.names.map(() => 0);
      for (const { number, input } of entries) action[number] = Number(input.value);
      return action;
    },
    end: () => { document.removeEventListener("keydown", keys); document.removeEventListener("keyup", keys); },
  };
}

function choices(facts, touched) {
  let chosen = 0;
  const buttons = facts.names.map((name, number) => h("button", { type: "button", onclick: () => { choose(number); touched(); } },
    name, number < 9 ? h("kbd", {}, String(number + 1)) : null));
  const element = h("fieldset", {}, h("legend", {}, "Your action"), h("div", { class: "choices" }, buttons));
  function choose(number) {
    chosen = number;
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(i === number)));
  }
  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    const number = Number(event.key) - 1;
    if (event.key.length === 1 && buttons[number]) buttons[number].click();
  }
  choose(0);
  document.addEventListener("keydown", keys);
  return { element, action: () => chosen, end: () => document.removeEventListener("keydown", keys) };
}
