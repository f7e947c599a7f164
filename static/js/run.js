// The page of one run: the panel of a step, and folding in the waterfall.
"use strict";

(() => {
  const panel = document.getElementById("step-panel");
  const folded = new Set(); // span ids; it outlives a refetch of the rows
  let opened = "";
  let opener = null;

  // --- The panel: beside the page, so that other steps can still be chosen.
  const mark = () => {
    for (const row of document.querySelectorAll("tr.step")) row.classList.toggle("is-open", row.dataset.span === opened);
  };
  const close = () => {
    if (panel.hidden) return;
    panel.hidden = true;
    panel.replaceChildren();
    opened = "";
    mark();
    (opener && document.getElementById(opener))?.focus();
  };
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target !== panel) return;
    panel.hidden = false;
    panel.scrollTop = 0;
    opener = event.detail.requestConfig?.elt?.id || null;
    opened = new URL(event.detail.xhr.responseURL).pathname.split("/").at(-2);
    mark();
    panel.focus({ preventScroll: true });
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("[data-close-drawer]")) close();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) close();
  });

  // --- A link to a step whose row is not here, because it is folded or on a later page: its panel opens.
  const wanted = /^#step-([0-9a-f]{16})$/.exec(location.hash);
  document.addEventListener("DOMContentLoaded", () => {
    if (!wanted || document.getElementById(wanted[0].slice(1))) return;
    globalThis.htmx?.ajax("GET", `${location.pathname}${wanted[1]}/${location.search}`, { target: panel, swap: "innerHTML" });
  });

  // --- Folding: what stands deeper after a folded row, up to the next of its depth, is hidden.
  const fold = () => {
    let below = Infinity;
    for (const row of document.querySelectorAll("tr.step")) {
      const depth = Number(row.dataset.depth);
      if (depth <= below) below = Infinity;
      row.hidden = depth > below;
      const shut = folded.has(row.dataset.span);
      row.querySelector(".fold")?.setAttribute("aria-expanded", String(!shut));
      if (shut && below === Infinity) below = depth;
    }
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".fold");
    if (!button) return;
    const span = button.closest("tr").dataset.span;
    if (!folded.delete(span)) folded.add(span);
    fold();
  });
  document.addEventListener("htmx:afterSettle", () => {
    fold();
    mark();
  });
})();
