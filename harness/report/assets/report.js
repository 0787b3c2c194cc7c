// What all scripts of the page share. `assets` wraps them together into one strict function, so that nothing is global.
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const distinct = (values) => [...new Set(values.filter((v) => v !== "" && v !== null && v !== undefined))];
const make = (tag, className, ...children) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
};
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

// The link of the section that is being read is marked, and brought into view where the links do not fit in one line.
(() => {
  const bar = $("#sections");
  if (!bar) return;
  const links = new Map($$("a", bar).map((link) => [link.hash.slice(1), link]));
  const inView = new Set();
  const mark = () => {
    const [first] = [...links.keys()].filter((id) => inView.has(id));
    links.forEach((link, id) => {
      if (id === first) link.setAttribute("aria-current", "location");
      else link.removeAttribute("aria-current");
    });
    const link = links.get(first);
    if (link) bar.scrollTo({ left: link.offsetLeft - bar.clientWidth / 2 + link.offsetWidth / 2 });
  };
  const watch = new IntersectionObserver((seen) => {
    seen.forEach((entry) => inView[entry.isIntersecting ? "add" : "delete"](entry.target.id));
    mark();
  }, { rootMargin: "-15% 0px -60% 0px" });
  links.forEach((link, id) => { if (document.getElementById(id)) watch.observe(document.getElementById(id)); });
})();
