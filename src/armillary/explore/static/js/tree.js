// A search tree to fold and unfold, by pointer or by the arrow keys.

import { h, number } from "./dom.js";

export function tree(answer, label) {
  const { nodes, players } = answer;
  const byNumber = new Map(nodes.map((node) => [node.number, node]));
  const items = new Map();
  const most = Math.max(1, ...nodes.filter((node) => node.depth === 1).map((node) => node.visits));
  const list = h("ul", { class: "tree", role: "tree", "aria-label": label, onkeydown: keys });
  const root = byNumber.get(0);
  list.append(item(root));
  open(root.number, true);
  for (let node = root; node; node = node.children.map((child) => byNumber.get(child)).find((child) => child.principal)) {
    if (node.depth < 3) open(node.number, true);
  }
  list.querySelector("[role=treeitem]").tabIndex = 0;

  function item(node) {
    const name = node.parent < 0 ? "now" : node.name || `#${node.action}`;
    const bar = h("span", { class: node.principal ? "bar warm" : "bar" }, h("i"));
    bar.firstChild.style.width = `${Math.max(1, (100 * Math.min(node.visits, most)) / most)}%`;
    const fold = h("span", { class: "fold", "aria-hidden": "true" }, node.children.length ? "▸" : "");
    const row = h("div", { class: "node", onclick: () => { focus(node.number); open(node.number, !isOpen(node.number)); } }, fold,
      h("span", { class: "name" }, name), bar, h("span", {}, `${node.visits}×`), h("span", {}, number(node.value)),
      h("span", {}, node.parent < 0 ? "" : `p ${node.prior.toFixed(2)}`));
    const says = `${name}, ${node.visits} visits, value ${number(node.value)}${node.parent < 0 ? "" : `, prior ${node.prior.toFixed(2)}`}${node.possible ? "" : ", not possible by the rules"}`;
    const element = h("li", { role: "treeitem", tabindex: "-1", "aria-label": says, "aria-level": String(node.depth + 1),
      class: `${node.principal ? "principal" : ""} ${node.possible ? "" : "impossible"}`.trim(), "aria-expanded": node.children.length ? "false" : undefined }, row);
    items.set(node.number, element);
    element.dataset.number = node.number;
    return element;
  }

  const isOpen = (which) => items.get(which).getAttribute("aria-expanded") === "true";

  function open(which, wanted) {
    const element = items.get(which);
    const node = byNumber.get(which);
    if (!node.children.length) return;
    element.setAttribute("aria-expanded", String(wanted));
    element.querySelector(".fold").textContent = wanted ? "▾" : "▸";
    if (wanted && !element.querySelector(":scope > ul")) element.append(h("ul", { role: "group" }, node.children.map((child) => item(byNumber.get(child)))));
    const group = element.querySelector(":scope > ul");
    if (group) group.hidden = !wanted;
  }

  function focus(which) {
    for (const element of items.values()) element.tabIndex = -1;
    const element = items.get(which);
    element.tabIndex = 0;
    element.focus();
  }

  function keys(event) {
    const element = event.target.closest("[role=treeitem]");
    if (!element) return;
    const which = Number(element.dataset.number);
    const node = byNumber.get(which);
    const seen = [...list.querySelectorAll("[role=treeitem]")].filter((one) => one.offsetParent !== null);
    const at = seen.indexOf(element);
    const to = (one) => one && focus(Number(one.dataset.number));
    const actions = {
      ArrowDown: () => to(seen[at + 1]),
      ArrowUp: () => to(seen[at - 1]),
      Home: () => to(seen[0]),
      End: () => to(seen[seen.length - 1]),
      ArrowRight: () => (isOpen(which) ? to(seen[at + 1]) : open(which, true)),
      ArrowLeft: () => (isOpen(which) ? open(which, false) : node.parent >= 0 && focus(node.parent)),
      Enter: () => open(which, !isOpen(which)),
      " ": () => open(which, !isOpen(which)),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    actions[event.key]();
  }

  const whose = players === 2 ? "Values are from the view of who is to move there, between −1 and 1." : "Values are discounted sums of rewards.";
  return h("div", { class: "stack" },
    h("p", { class: "lead" }, `Visits (×), value, and prior (p) of each move that the search looked at. ${whose} The line that it expects is orange; moves that the rules forbid are struck out.${answer.left_out ? ` ${answer.left_out} states that were visited least are left out.` : ""}`),
    h("div", { class: "scroll" }, list));
}
