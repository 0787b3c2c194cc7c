"use strict";
(() => {
  document.documentElement.classList.add("js");
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const distinct = (values) => [...new Set(values.filter((v) => v !== "" && v !== null && v !== undefined))];
  const make = (tag, className, text) => {
    const element = document.createElement(tag);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const choices = (select, values, all) => {
    select.replaceChildren();
    if (all) select.add(new Option("all", ""));
    values.forEach((v) => select.add(new Option(String(v), String(v))));
    select.closest("label").hidden = values.length < 2;
  };

  // Tables: sort by a heading, filter by model and scheduler, show further columns.
  const keyOf = (row, index) => {
    const cell = row.cells[index];
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    return cell.querySelector(".ref") || cell.textContent === "–" ? null : cell.textContent.trim();
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  };
  const sortBy = (table, head) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    $$("thead th", table).forEach((th) => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    // Each body is a group of rows that may be ranked together: rows never leave it, and its heading stays first.
    [...table.tBodies].forEach((body) => {
      const keyed = $$("tr:not(.group)", body).map((row) => [keyOf(row, head.cellIndex), row]);
      keyed.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null); // unknown stays last either way
        return down ? compare(b, a) : compare(a, b);
      });
      keyed.forEach(([, row]) => body.append(row));
    });
  };
  $$("table.sortable").forEach((table) => {
    table.classList.add("hide-timing", "hide-settings");
    $$("thead th", table).forEach((head) => {
      const button = make("button", "", head.textContent);
      button.type = "button";
      button.addEventListener("click", () => sortBy(table, head));
      head.replaceChildren(button);
    });
  });
  $$(".tools[data-for]").forEach((tools) => {
    const table = document.getElementById(tools.dataset.for);
    const rows = $$("tbody tr:not(.group)", table);
    const selects = $$("select", tools);
    const refresh = () => {
      const wanted = (row) => selects.every((s) => !s.value || !row.dataset[s.dataset.key] || row.dataset[s.dataset.key] === s.value);
      rows.forEach((row) => { row.hidden = !wanted(row); });
      $$("tr.group", table).forEach((heading) => {
        heading.hidden = rows.every((row) => row.hidden || row.parentNode !== heading.parentNode);
      });
      const out = $("output", tools);
      if (out) out.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
    };
    selects.forEach((select) => {
      choices(select, distinct(rows.map((row) => row.dataset[select.dataset.key])), true);
      select.addEventListener("change", refresh);
    });
    $$("input[data-group]", tools).forEach((box) => {
      box.addEventListener("change", () => table.classList.toggle(`hide-${box.dataset.group}`, !box.checked));
    });
    tools.hidden = false;
    refresh();
  });

  // Plots: lines of a model or a scheduler can be switched off.
  $$(".tools[data-plots]").forEach((plots) => {
    const series = JSON.parse($("script", plots).textContent);
    const style = document.head.appendChild(make("style"));
    const off = { m: new Set(), s: new Set() };
    const refresh = () => {
      const hidden = series.filter((line) => off.m.has(line.m) || off.s.has(line.s)).map((line) => `.plot .s${line.i}`);
      style.textContent = hidden.length ? `${hidden.join(",")}{display:none}` : "";
    };
    $$("[data-chips]", plots).forEach((place) => {
      const key = place.dataset.chips;
      const values = distinct(series.map((line) => line[key]));
      values.forEach((value) => {
        const label = make("label", "", ` ${value}`);
        const box = make("input");
        box.type = "checkbox";
        box.checked = true;
        box.addEventListener("change", () => { off[key][box.checked ? "delete" : "add"](value); refresh(); });
        label.prepend(box);
        place.append(label);
      });
      if (values.length < 2) place.closest("fieldset").hidden = true;
    });
    plots.hidden = !$("fieldset:not([hidden])", plots);
  });

  // Samples: the same sample number across models, schedulers and steps.
  const tools = $("#browse");
  if (!tools) return;
  const { entries, given } = JSON.parse($("#samples-data").textContent);
  const place = $("#browser");
  const pick = $("#pick");
  const selects = $$("select[data-key]", tools);
  const RUN = 4;

  const repeated = (words) => {
    const marks = words.map((word, i) => i > 0 && word === words[i - 1]);
    const seen = new Set();
    for (let i = 0; i + RUN <= words.length; i++) {
      const run = words.slice(i, i + RUN).join(" ");
      if (seen.has(run)) marks.fill(true, i, i + RUN);
      seen.add(run);
    }
    return marks;
  };
  const plain = (target, text) => text.split(/(\u2588+)/).forEach((part) => {
    if (part) target.append(part[0] === "\u2588" ? make("mark", "mask", part) : part);
  });
  const fill = (target, text) => {
    target.replaceChildren();
    const parts = text.split(/(\s+)/);
    const at = parts.map((part, i) => (part.trim() ? i : -1)).filter((i) => i >= 0);
    const flags = new Set();
    repeated(at.map((i) => parts[i])).forEach((mark, n) => {
      if (!mark || parts[at[n]].includes("\u2588")) return;
      flags.add(at[n]);
      if (flags.has(at[n - 1])) flags.add(at[n] - 1); // the space between two marked words
    });
    let i = 0;
    while (i < parts.length) {
      let end = i;
      while (end < parts.length && flags.has(end) === flags.has(i)) end++;
      const text = parts.slice(i, end).join("");
      if (flags.has(i)) target.append(make("mark", "rep", text));
      else plain(target, text);
      i = end;
    }
  };
  const card = (entry, number) => {
    const box = make("article", "card");
    const sample = entry.samples.find((s) => s.i === number);
    const steps = entry.control || entry.steps === null ? "" : `${entry.steps} ${entry.steps === 1 ? "step" : "steps"}`;
    const title = make("h4", "", steps || entry.model);
    const masks = sample ? [...sample.t].filter((c) => c === "\u2588").length : 0;
    const facts = sample && !entry.control && sample.nfe !== null ? [`NFE ${sample.nfe}`] : [];
    if (sample && sample.c) facts.push(`${sample.c.length} candidates`);
    if (sample && sample.off) facts.push(`${sample.off} source ${sample.off === 1 ? "token" : "tokens"} left off`);
    if (masks) facts.push(`${masks} ${masks === 1 ? "mask" : "masks"} left`);
    if (facts.length) title.append(make("span", "", ` · ${facts.join(" · ")}`));
    const text = make("p");
    text.tabIndex = 0;
    if (sample) fill(text, sample.t);
    else text.append(make("em", "", entry.why ? `No text: ${entry.why}.` : "This sample is not stored for this point."));
    if (sample && sample.cut) text.append(make("em", "", " … cut here"));
    box.append(title, text);
    if (sample && sample.c) box.append(...candidates(sample));
    const states = entry.traces[number];
    if (states && states.length > 1) box.append(slider(states, text));
    return box;
  };
  const candidates = (sample) => {
    const list = make("ol", "candidates");
    list.tabIndex = 0;
    sample.c.forEach((text, i) => {
      const chosen = i === sample.chosen;
      const line = make("li", chosen ? "chosen" : "", text || "(empty)");
      if (chosen) line.append(" ", make("span", "tag", "chosen"));
      list.append(line);
    });
    return [make("h5", "", "chosen among"), list];
  };
  const showGiven = (place, number) => {
    const box = $("#given");
    const pair = (given[place] || [])[number];
    box.hidden = !pair;
    if (!pair) return;
    const list = make("dl");
    list.append(make("dt", "", "source"), make("dd", "", pair.s || "(empty)"));
    pair.r.forEach((text, i) => {
      list.append(make("dt", "", pair.r.length > 1 ? `reference ${i + 1}` : "reference"), make("dd", "", text || "(empty)"));
    });
    box.replaceChildren(list);
  };
  const slider = (states, text) => {
    const label = make("label");
    const caption = make("span");
    const range = make("input");
    Object.assign(range, { type: "range", min: 1, max: states.length, value: states.length });
    const say = () => { caption.textContent = `state ${range.value} of ${states.length}`; };
    range.addEventListener("input", () => { say(); fill(text, states[range.value - 1]); });
    say();
    label.append(caption, range);
    return label;
  };
  const show = () => {
    const chosen = Object.fromEntries(selects.map((s) => [s.dataset.key, s.value]));
    const here = entries.filter((entry) => entry.place === chosen.place);
    // What has no row of the chosen seed, as one that draws nothing, is shown with the seed it has.
    const ofSeed = (entry) => !chosen.seed || entry.seed === null || String(entry.seed) === chosen.seed
      || !here.some((e) => String(e.seed) === chosen.seed && ["model", "method", "steps"].every((key) => e[key] === entry[key]));
    const fits = (entry) => ofSeed(entry) && (entry.control || ((!chosen.m || entry.model === chosen.m) && (!chosen.s || entry.method === chosen.s)
      && (!chosen.steps || String(entry.steps) === chosen.steps)));
    showGiven(chosen.place, Number(pick.value));
    const groups = new Map();
    here.filter(fits).forEach((entry) => {
      const name = entry.control ? "control rows, for comparison" : `${entry.model} · ${entry.method}`;
      groups.set(name, [...(groups.get(name) || []), entry]);
    });
    place.replaceChildren();
    groups.forEach((mine, name) => {
      const heading = make("h3", "series", `${name} `);
      if (!mine[0].control && mine[0].label !== "none") heading.append(make("span", "tag", mine[0].label));
      const line = make("div", "cards");
      mine.sort((a, b) => (a.steps ?? 0) - (b.steps ?? 0)).forEach((entry) => line.append(card(entry, Number(pick.value))));
      place.append(heading, line);
    });
  };
  const field = { seed: "seed", m: "model", s: "method", steps: "steps" };
  // What can be chosen depends on the benchmark and task.
  const offer = () => {
    const mine = entries.filter((e) => e.place === placePick.value);
    const models = mine.filter((e) => !e.control);
    const last = pick.value;
    choices(pick, distinct(mine.flatMap((e) => e.samples.map((s) => s.i))).sort((a, b) => a - b), false);
    if ([...pick.options].some((option) => option.value === last)) pick.value = last;
    selects.filter((select) => select !== placePick).forEach((select) => {
      const values = distinct((select.dataset.key === "seed" ? mine : models).map((e) => e[field[select.dataset.key]]));
      choices(select, select.dataset.key === "steps" ? values.sort((a, b) => a - b) : values, select.dataset.key !== "seed");
    });
    // Many schedulers at once are too much to read: begin with the first.
    if (distinct(models.map((e) => `${e.model} ${e.method}`)).length > 8) $("select[data-key=s]", tools).selectedIndex = 1;
  };
  const placePick = $("select[data-key=place]", tools);
  choices(placePick, distinct(entries.map((e) => e.place)), false);
  offer();
  selects.forEach((select) => select.addEventListener("change", () => {
    if (select === placePick) offer();
    show();
  }));
  pick.addEventListener("change", show);
  $$("button[data-step]", tools).forEach((button) => button.addEventListener("click", () => {
    const count = pick.options.length;
    pick.selectedIndex = (pick.selectedIndex + Number(button.dataset.step) + count) % count;
    show();
  }));
  tools.hidden = false;
  show();
})();
