// Samples: some of them side by side for one number, and all of them to filter and search.
(() => {
  const store = $("#samples-data");
  if (!store) return;
  const { entries, given } = JSON.parse(store.textContent);
  const RUN = 4; // so many words in an order seen before are marked
  const PAGE = 12;
  const REPEATED = 1, MASK = 2, HIT = 4; // bits, one set a character
  const CLASSES = { [REPEATED]: "rep", [MASK]: "mask", [HIT]: "hit" };

  // --- one text ------------------------------------------------------------------------------------------------------
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
  const bitsOf = (text, query) => {
    const bits = new Uint8Array(text.length);
    const set = (from, to, bit) => { for (let i = from; i < to; i++) bits[i] |= bit; };
    const words = [...text.matchAll(/\S+/g)];
    const marks = repeated(words.map(([word]) => word));
    words.forEach((word, n) => {
      if (!marks[n] || word[0].includes("\u2588")) return;
      const joined = n > 0 && marks[n - 1] && !words[n - 1][0].includes("\u2588"); // with the space between two words
      set(joined ? words[n - 1].index + words[n - 1][0].length : word.index, word.index + word[0].length, REPEATED);
    });
    for (const found of text.matchAll(/\u2588+/g)) set(found.index, found.index + found[0].length, MASK);
    if (query) for (const found of text.matchAll(query)) set(found.index, found.index + found[0].length, HIT);
    return bits;
  };
  const fill = (target, text, query) => {
    const bits = bitsOf(text, query);
    target.replaceChildren();
    for (let from = 0, to; from < text.length; from = to) {
      to = from;
      while (to < text.length && bits[to] === bits[from]) to++;
      const names = Object.keys(CLASSES).filter((bit) => bits[from] & bit).map((bit) => CLASSES[bit]);
      const part = text.slice(from, to);
      target.append(names.length ? make("mark", names.join(" "), part) : part);
    }
  };
  const nameOf = (entry) => [entry.model, entry.control ? "" : entry.method, stepsOf(entry)].filter(Boolean).join(" · ");
  const stepsOf = (entry) => (entry.control || entry.steps === null ? "" : plural(entry.steps, "step"));
  const factsOf = (entry, sample) => {
    const facts = [`sample ${sample.i}`];
    if (entry.seed !== null) facts.push(`seed ${entry.seed}`);
    if (!entry.control && sample.nfe !== null) facts.push(`NFE ${sample.nfe.toLocaleString("en", { maximumFractionDigits: 1 })}`);
    if (sample.c) facts.push(plural(sample.c.length, "candidate"));
    if (sample.off) facts.push(`${plural(sample.off, "source token")} left off`);
    const masks = [...sample.t].filter((c) => c === "\u2588").length;
    if (masks) facts.push(`${plural(masks, "mask")} left`);
    return facts.join(" · ");
  };
  const candidates = (sample) => {
    const list = make("ol", "candidates");
    sample.c.forEach((text, i) => {
      const line = make("li", i === sample.chosen ? "chosen" : "", make("bdi", "", text || "(empty)"));
      if (i === sample.chosen) line.append(" ", make("span", "tag", "chosen"));
      list.append(line);
    });
    return make("details", "", make("summary", "", "chosen among"), list);
  };
  const body = (entry, sample, query) => {
    const text = make("p", "text");
    text.dir = "auto";
    text.tabIndex = 0;
    text.setAttribute("role", "group");
    text.setAttribute("aria-label", `text of ${nameOf(entry)}`);
    if (!sample) {
      text.append(make("em", "", entry.why ? `No text: ${entry.why}.` : "This sample is not stored for this point."));
      return [make("p", "facts", "\u00a0"), text];
    }
    if (sample.t) fill(text, sample.t, query);
    else text.append(make("em", "", "(empty)"));
    if (sample.cut) text.append(make("em", "", " … cut here"));
    return [make("p", "facts", factsOf(entry, sample)), text, ...(sample.c ? [candidates(sample)] : [])];
  };

  // --- what is chosen ------------------------------------------------------------------------------------------------
  const [places, seeds, pick] = ["#samples-place", "#samples-seed", "#samples-number"].map((id) => $(id));
  const options = (select, values, all) => {
    const last = select.value;
    select.replaceChildren(...(all ? [new Option("all", "")] : []), ...values.map((v) => new Option(String(v), String(v))));
    if ([...select.options].some((option) => option.value === last)) select.value = last;
    select.closest("label").hidden = values.length < 2;
  };
  const same = (a, b) => ["model", "method", "steps"].every((key) => a[key] === b[key]);
  // What has no row of the chosen seed, as one that draws nothing, is shown with the seed it has.
  const here = () => {
    const mine = entries.filter((entry) => entry.place === places.value);
    const ofSeed = (entry) => !seeds.value || entry.seed === null || String(entry.seed) === seeds.value
      || !mine.some((other) => String(other.seed) === seeds.value && same(entry, other));
    return mine.filter(ofSeed);
  };

  // --- side by side --------------------------------------------------------------------------------------------------
  const columns = $$("#columns > article");
  const showColumn = (column) => {
    const entry = entries[Number($("select", column).value)];
    const sample = entry && entry.samples.find((s) => s.i === Number(pick.value));
    $(".shown", column).replaceChildren(...(entry ? body(entry, sample) : []));
  };
  const showGiven = () => {
    const pair = (given[places.value] || [])[Number(pick.value)];
    const box = $("#given");
    box.hidden = !pair;
    if (!pair) return;
    const list = make("dl");
    const add = (term, text) => list.append(make("div", "", make("dt", "", term), make("dd", "", make("bdi", "", text || "(empty)"))));
    add("source", pair.s);
    pair.r.forEach((text, i) => add(pair.r.length > 1 ? `reference ${i + 1}` : "reference", text));
    box.replaceChildren(list);
  };
  const showColumns = () => { showGiven(); columns.forEach(showColumn); };
  // Real data first, then each model's first scheduler at the middle one of all step counts, or what is next to it.
  const begin = (mine) => {
    const models = mine.filter((e) => !e.control && e.samples.length);
    const counts = distinct(models.map((e) => e.steps)).sort((a, b) => a - b);
    const middle = counts[Math.floor((counts.length - 1) / 2)];
    const far = (entry) => Math.abs(Math.log((entry.steps || 1) / middle));
    const near = distinct(models.map((e) => e.model)).map((model) => {
      const own = models.filter((e) => e.model === model);
      return own.filter((e) => e.method === own[0].method).sort((a, b) => far(a) - far(b))[0];
    });
    const data = mine.filter((e) => e.control && e.model === "data");
    return distinct([...data, ...near, ...models, ...mine]);
  };
  const offerColumns = () => {
    const mine = here();
    const first = begin(mine);
    columns.forEach((column, n) => {
      const select = $("select", column);
      const last = select.value === "" ? undefined : entries[Number(select.value)];
      const groups = distinct(mine.map((e) => (e.control ? "control rows" : e.model))).map((name) => {
        const group = make("optgroup");
        group.label = name;
        mine.forEach((e) => {
          if ((e.control ? "control rows" : e.model) === name) group.append(new Option(nameOf(e), String(entries.indexOf(e))));
        });
        return group;
      });
      select.replaceChildren(...groups);
      const again = last && mine.find((e) => same(e, last));
      select.value = String(entries.indexOf(again || first[n] || first[0]));
    });
  };

  // --- read and search -----------------------------------------------------------------------------------------------
  const find = $("#find");
  const [words, out, found, more] = ["input", "output", "#found", "#more"].map((s) => $(s, s[0] === "#" ? document : find));
  const filters = $$("select[data-key]", find);
  const field = { m: "model", s: "method", steps: "steps" };
  let hits = [];
  let query = null;
  const showMore = () => {
    const shown = found.childElementCount;
    hits.slice(shown, shown + PAGE).forEach(([entry, sample]) => {
      const card = make("article", "card", make("h4", "", nameOf(entry)), ...body(entry, sample, query));
      found.append(card);
      const [hit] = $$(".hit", card);
      if (hit) $(".text", card).scrollTop = hit.offsetTop - $(".text", card).offsetTop - 40;
    });
    more.hidden = found.childElementCount >= hits.length;
  };
  const search = () => {
    const word = words.value.trim();
    query = word ? new RegExp(word.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&").replace(/\s+/g, "\\s+"), "giu") : null;
    const fits = (entry) => filters.every((s) => !s.value || (!entry.control && String(entry[field[s.dataset.key]]) === s.value));
    const texts = here().filter(fits).flatMap((entry) => entry.samples.map((sample) => [entry, sample]));
    texts.sort(([, a], [, b]) => a.i - b.i); // stable: within a number the order of the run
    hits = query ? texts.filter(([, sample]) => sample.t.search(query) >= 0) : texts;
    const times = query ? hits.reduce((sum, [, sample]) => sum + [...sample.t.matchAll(query)].length, 0) : 0;
    out.textContent = query ? `${plural(times, "hit")} in ${hits.length.toLocaleString("en")} of ${plural(texts.length, "text")}` : plural(texts.length, "text");
    found.replaceChildren();
    showMore();
  };

  // --- controls ------------------------------------------------------------------------------------------------------
  const offer = () => {
    const mine = entries.filter((e) => e.place === places.value);
    const models = mine.filter((e) => !e.control);
    const numbers = (values) => distinct(values).sort((a, b) => a - b);
    options(seeds, distinct(mine.map((e) => e.seed)), false);
    options(pick, numbers(mine.flatMap((e) => e.samples.map((s) => s.i))), false);
    filters.forEach((select) => {
      const values = models.map((e) => e[field[select.dataset.key]]);
      options(select, select.dataset.key === "steps" ? numbers(values) : distinct(values), true);
    });
  };
  const all = () => { offerColumns(); showColumns(); search(); };
  options(places, distinct(entries.map((e) => e.place)), false);
  offer();
  all();
  places.addEventListener("change", () => { offer(); all(); });
  seeds.addEventListener("change", all);
  pick.addEventListener("change", showColumns);
  columns.forEach((column) => $("select", column).addEventListener("change", () => showColumn(column)));
  $$("#samples button[data-step]").forEach((button) => button.addEventListener("click", () => {
    const count = pick.options.length;
    pick.selectedIndex = (pick.selectedIndex + Number(button.dataset.step) + count) % count;
    showColumns();
  }));
  filters.forEach((select) => select.addEventListener("change", search));
  words.addEventListener("input", search);
  more.addEventListener("click", showMore);
})();
