// Plots inside a run: which step counts are shown.
$$("select[data-inside]").forEach((select) => {
  select.addEventListener("change", () => {
    $$("[data-choice]").forEach((grid) => {
      const [, place, choice] = grid.dataset.choice.match(/^(.*)-(\d+)$/);
      if (place === select.dataset.inside) grid.hidden = choice !== select.value;
    });
  });
});

// The states of one text, one at a time.
(() => {
  const store = $("#traces-data");
  if (!store) return;
  const { words, entries } = JSON.parse(store.textContent);
  const box = $("#trace");
  const range = $("input[type=range]", box);
  const said = $("output", box);
  const shown = $(".states", box);
  const play = $("[data-play]", box);
  const selects = Object.fromEntries($$("select", box).map((select) => [select.dataset.key, select]));
  const MASK = "\u2588";
  const PAUSE = 500; // milliseconds between states
  let states = [];
  let entry;
  let timer = 0;

  // A state: its parts, and which of them the state before did not have.
  const decoded = ([first, ...changes]) => {
    const found = [{ parts: first, fresh: new Set() }];
    changes.forEach((change) => {
      const before = found[found.length - 1].parts;
      const parts = [];
      const fresh = new Set();
      let at = 0;
      change.forEach(([start, removed, ...added]) => {
        parts.push(...before.slice(at, start));
        added.forEach((part) => { fresh.add(parts.length); parts.push(part); });
        at = start + removed;
      });
      parts.push(...before.slice(at));
      found.push({ parts, fresh });
    });
    return found;
  };
  // Neighbours of one kind become one element; the space behind a marked word is not marked.
  const render = ({ parts, fresh }) => {
    const pieces = [];
    const add = (kind, text) => {
      const last = pieces[pieces.length - 1];
      if (last && last[0] === kind) last[1] += text;
      else if (text) pieces.push([kind, text]);
    };
    parts.forEach((part, i) => {
      const text = words[part];
      const word = text.trimEnd();
      const kind = word === MASK ? "mask" : fresh.has(i) && word ? "new" : "";
      add(kind, word);
      const space = text.slice(word.length);
      const next = parts[i + 1];
      const joined = kind === "new" && next !== undefined && fresh.has(i + 1) && words[next].trimEnd() !== MASK;
      add(joined ? kind : "", space);
    });
    shown.replaceChildren(...pieces.map(([kind, text]) => (kind ? make("mark", kind, text) : text)));
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  };
  const show = () => {
    const i = Number(range.value);
    const state = states[i];
    render(state);
    const where = `after ${entry.done[i].toLocaleString("en")} of ${plural(entry.steps, "step")}`;
    const masks = state.parts.filter((part) => words[part].trimEnd() === MASK).length;
    const facts = i ? [`${state.fresh.size.toLocaleString("en")} changed`] : ["first state"];
    if (masks) facts.push(plural(masks, "mask"));
    said.textContent = `${where} \u00b7 ${facts.join(", ")}`;
    range.setAttribute("aria-valuetext", where);
    if (entry.cut) shown.append(make("em", "", " \u2026 cut here"));
  };
  const move = (by) => {
    range.value = Math.min(Number(range.max), Math.max(0, Number(range.value) + by));
    show();
  };
  const fill = (select, values) => {
    const last = select.value;
    select.replaceChildren(...values.map((value) => new Option(String(value), String(value))));
    if (values.some((value) => String(value) === last)) select.value = last;
    select.closest("label").hidden = values.length < 2;
  };
  // What can be chosen depends on what was chosen before it.
  const offer = () => {
    let mine = entries;
    ["place", "model", "method", "steps"].forEach((key) => {
      const values = distinct(mine.map((e) => e[key] ?? ""));
      fill(selects[key], key === "steps" ? values.sort((a, b) => b - a) : values.length ? values : [""]);
      mine = mine.filter((e) => String(e[key] ?? "") === selects[key].value);
    });
    [entry] = mine;
    fill(selects.text, entry.texts.map((_, i) => i));
    states = decoded(entry.texts[Number(selects.text.value)]);
    const share = range.max > 0 && states.length ? Number(range.value) / Number(range.max) : 0.5;
    range.max = states.length - 1;
    range.value = Math.round(share * (states.length - 1));
    show();
  };
  Object.values(selects).forEach((select) => select.addEventListener("change", () => { stop(); offer(); }));
  range.addEventListener("input", () => { stop(); show(); });
  $$("[data-move]", box).forEach((button) => button.addEventListener("click", () => { stop(); move(Number(button.dataset.move)); }));
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (range.value === range.max) range.value = 0;
    show();
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
    timer = setInterval(() => {
      move(1);
      if (range.value === range.max) stop();
    }, PAUSE);
  });
  play.hidden = matchMedia("(prefers-reduced-motion: reduce)").matches;
  range.max = 0;
  box.hidden = false;
  offer();
})();
