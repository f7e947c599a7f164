// The keyboard: / searches, g and a letter goes, j and k move between rows, ? helps.
"use strict";

(() => {
  const WAIT_MS = 1200;
  let leader = 0;

  const typing = (target) => target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
  const move = (step) => {
    const rows = [...document.querySelectorAll("[data-row]")].filter((row) => row.querySelector("a") && row.offsetParent);
    if (!rows.length) return;
    const here = rows.findIndex((row) => row.contains(document.activeElement));
    const next = here < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, here + step));
    const link = rows[next].querySelector("a");
    link.focus();
    rows[next].scrollIntoView({ block: "nearest" });
  };

  // A region that fetched itself again has new rows: the focus stays on the same one, else j would begin at the top.
  let focused = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const link = document.activeElement?.closest("[data-row] a");
    focused = link && event.detail.target.contains(link) ? link.getAttribute("href") : null;
  });
  document.addEventListener("htmx:afterSwap", () => {
    if (focused && document.activeElement === document.body) {
      document.querySelector(`[data-row] a[href="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    }
    focused = null;
  });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    if (Date.now() - leader < WAIT_MS) {
      leader = 0;
      const link = [...document.querySelectorAll(".nav-link[data-key]")].find((node) => node.dataset.key === event.key);
      if (link) {
        event.preventDefault();
        link.click();
      }
      return;
    }
    const search = document.getElementById("search");
    if (event.key === "/" && search) {
      event.preventDefault();
      search.select();
      search.focus();
    } else if (event.key === "g") leader = Date.now();
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "?") document.getElementById("key-help").showModal();
  });
})();
