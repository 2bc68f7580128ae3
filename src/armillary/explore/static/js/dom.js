// Small helpers to make elements; styles stay in the style sheet.

export function h(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name in element && typeof value !== "string" && name !== "list") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function field(label, control) {
  return h("label", { class: "field" }, h("span", {}, label), control);
}

export function choice(options, value, onchange) {
  const select = h("select", { onchange: () => onchange(select.value) },
    options.map(([name, text]) => h("option", { value: name, selected: name === value }, text)));
  return select;
}

export function message(text, bad = true) {
  return h("p", { class: bad ? "message bad" : "message", role: bad ? "alert" : undefined }, text);
}

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(value)))));
}

export function number(value, digits = 2) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 10 ** -(digits + 1))) return value.toExponential(1);
  return size >= 1000 ? Math.round(value).toLocaleString("en") : value.toFixed(size >= 100 ? Math.min(1, digits) : digits);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// Calls back after each change of the theme; returns what ends it.
export function themed(call) {
  document.addEventListener("themed", call);
  return () => document.removeEventListener("themed", call);
}

export const typing = (target) => target instanceof Element
  && target.matches("select, textarea, input:not([type=range]):not([type=checkbox]):not([type=radio])");
