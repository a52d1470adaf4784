"use strict";
// Everything here adds to a page that is whole without it. Text from files is only ever set as text.
(() => {
  const find = id => document.getElementById(id);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const say = text => { find("status").textContent = text; };

  const button = (kind, content) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = kind;
    made.append(...content);
    return made;
  };

  // Tables: a heading sorts up, then down, then back to the page's own order.
  const ORDERS = ["none", "ascending", "descending"];
  const collator = new Intl.Collator("en", { numeric: true });
  const key = cell => {
    const value = cell.dataset.value;
    return value === undefined ? cell.textContent.trim() : value === "" ? null : Number(value);
  };
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b);

  const sortable = table => {
    const [body] = table.tBodies;
    const original = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const sort = (head, order) => {
      const keyed = [...body.rows].map(row => [key(row.cells[heads.indexOf(head)]), row]);
      const sign = order === "descending" ? -1 : 1;
      keyed.sort(([a], [b]) =>
        a === null || b === null ? (a === null) - (b === null) : sign * compare(a, b));
      body.append(...(order === "none" ? original : keyed.map(([, row]) => row)));
      heads.forEach(other => other.removeAttribute("aria-sort"));
      if (order !== "none") head.setAttribute("aria-sort", order);
      table.classList.toggle("sorted", order !== "none");
      say(order === "none" ? "In the original order" : `Sorted by ${head.textContent}, ${order}`);
    };
    for (const head of heads) {
      head.append(button("sort", head.childNodes));
      head.firstChild.addEventListener("click", () => {
        const now = ORDERS.indexOf(head.getAttribute("aria-sort") ?? "none");
        sort(head, ORDERS[(now + 1) % ORDERS.length]);
      });
    }
  };
  all("table").filter(table => table.tBodies[0].rows.length > 1).forEach(sortable);

  // Models: a name in a table or a point in a plot highlights its model everywhere.
  for (const name of all("[data-pick]")) {
    const made = button("pick", name.childNodes);
    made.dataset.model = name.dataset.pick;
    made.title = "Highlight in plots and tables";
    if (made.textContent !== made.dataset.model) made.setAttribute("aria-label", made.dataset.model);
    name.replaceWith(made);
  }
  const picked = new Set();
  let last = null;
  const show = () => {
    for (const element of all("[data-model]")) {
      const on = picked.has(element.dataset.model);
      element.classList.toggle("picked", on);
      if (element.tagName === "BUTTON") element.setAttribute("aria-pressed", on);
    }
    document.body.classList.toggle("only", find("only").checked && picked.size > 0);
    find("picked").hidden = picked.size === 0;
    find("names").textContent = [...picked].join("; ");
  };
  const pick = event => {
    last = event.currentTarget;
    const { model } = last.dataset;
    if (!picked.delete(model)) picked.add(model);
    show();
    say(`${model} ${picked.has(model) ? "is" : "is no longer"} highlighted in plots and tables`);
  };
  for (const element of all("button[data-model]")) element.addEventListener("click", pick);
  find("only").addEventListener("change", show);
  find("clear").addEventListener("click", () => {
    picked.clear();
    find("only").checked = false;
    show();
    last.focus();
    say("No model is highlighted");
  });
  show();

  // Plots: one stop for Tab, arrow keys from point to point, Escape hides what a point says.
  const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  for (const group of all(".points")) {
    const points = [...group.children];
    const stop = at => points.forEach(point => { point.tabIndex = point === at ? 0 : -1; });
    const loud = () => group.classList.remove("hushed");
    group.setAttribute("role", "toolbar");
    group.setAttribute("aria-label", "Points of the plot; arrow keys go from one to the next");
    stop(points[0]);
    group.addEventListener("focusin", event => { stop(event.target); loud(); });
    group.addEventListener("pointerout", loud);
    group.addEventListener("keydown", event => {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      points.at((points.indexOf(event.target) + step) % points.length).focus();
    });
    document.addEventListener("keydown", event => {
      if (event.key === "Escape") group.classList.add("hushed");
    });
  }

  // Limits: the rule of edgeprune report --budget (reporting/budget.py), on the same figures.
  if (!find("limits")) return;
  const rows = all("tr[data-groups]");
  const figure = (row, name) => (row.dataset[name] === "" ? null : Number(row.dataset[name]));
  const accuracy = row => figure(row, "accuracy");
  const speed = row => (figure(row, "p50") === null ? null : -figure(row, "p50"));
  const short = value => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

  const choose = (own, limits) => {
    const costs = limits.some(limit => limit.costs);
    const [first, second] = costs ? [accuracy, speed] : [speed, accuracy];
    const better = (a, b) => first(a) - first(b) || (second(a) || -Infinity) - (second(b) || -Infinity);
    let best = null;
    const unknown = [];
    for (const row of own) {
      const verdicts = limits.map(limit => limit.holds(row));
      if (verdicts.includes(false)) continue;
      if (verdicts.includes(null) || first(row) === null) unknown.push(row.dataset.model);
      else if (best === null || better(row, best) > 0) best = row;
    }
    return { best, unknown, rule: costs ? "the most accurate on the target" : "the fastest" };
  };

  const sentence = ({ best, unknown, rule }, count) => {
    const facts = best && [
      speed(best) !== null && `p50 ${short(-speed(best))} ms`,
      accuracy(best) !== null && `${accuracy(best).toFixed(1)} % on the target`,
    ].filter(Boolean).join("; ");
    const found = best
      ? `${best.dataset.model} is ${rule} of those within the limits (${facts}).`
      : `none of ${count} models is known to keep within the limits.`;
    const open = unknown.length ? ` Not judged, for want of figures: ${unknown.join(", ")}.` : "";
    return found + open;
  };

  const limit = (input, name, costs, keeps) => (input.value === "" ? [] : [{
    costs,
    holds: row => (figure(row, name) === null ? null : keeps(figure(row, name), input.valueAsNumber)),
  }]);
  const judge = () => {
    const limits = [
      ...limit(find("most"), find("figure").value, true, (value, most) => value <= most),
      ...limit(find("least"), "accuracy", false, (value, least) => value >= least),
    ];
    all(".tag.best").forEach(tag => tag.remove());
    find("best").firstElementChild.hidden = limits.length === 0;
    if (limits.length === 0) return;
    for (const item of all("#best [data-group]")) {
      const own = rows.filter(row => row.dataset.groups.split(" ").includes(item.dataset.group));
      const choice = choose(own, limits);
      item.lastElementChild.textContent = sentence(choice, own.length);
      if (!choice.best) continue;
      const tag = document.createElement("span");
      tag.className = "tag best";
      tag.textContent = "best within the limits";
      choice.best.cells[0].append(tag);
    }
  };
  find("limits").hidden = false;
  find("limits").addEventListener("input", judge);
  judge(); // a browser may have kept what was typed before
})();
