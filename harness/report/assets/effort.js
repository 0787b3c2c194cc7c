// A link to a model's card opens it.
(() => {
  const open = () => {
    const card = document.getElementById(location.hash.slice(1));
    if (card && card.matches("details.effort")) card.open = true;
  };
  window.addEventListener("hashchange", open);
  open();
})();
