// Plots: lines of a model or a scheduler can be switched off.
$$(".tools[data-plots]").forEach((plots) => {
  const series = JSON.parse($("script", plots).textContent);
  const boxes = $$("input[data-key]", plots);
  const refresh = () => {
    const off = (key) => new Set(boxes.filter((b) => b.dataset.key === key && !b.checked).map((b) => b.value));
    const models = off("m");
    const methods = off("s");
    series.forEach((line) => {
      const hidden = models.has(line.m) || methods.has(line.s);
      $$(`.plot .s${Number(line.i)}`).forEach((part) => part.classList.toggle("off", hidden));
    });
  };
  boxes.forEach((box) => box.addEventListener("change", refresh));
  if (!boxes.every((box) => box.checked)) refresh();
});
