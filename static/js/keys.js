// The keyboard: / searches, g and a letter goes, j and k move between rows, a letter acts on a row, ? helps.
"use strict";

(() => {
  const WAIT_MS = 1200;
  const SETTLE_MS = 30;
  let leader = 0;

  const typing = (target) => target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
  const rowsOf = (root) => [...root.querySelectorAll("[data-row]")];
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
  // When that row has gone, the one that took its place gets it.
  let focused = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    const row = document.activeElement?.closest("[data-row]");
    const link = row && event.detail.target.contains(row) ? row.querySelector("a") : null;
    focused = link && { href: link.getAttribute("href"), place: rowsOf(event.detail.target).indexOf(row) };
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (focused && document.activeElement === document.body) {
      const rows = rowsOf(event.detail.target);
      const same = document.querySelector(`[data-row] a[href="${CSS.escape(focused.href)}"]`);
      (same || rows[Math.min(focused.place, rows.length - 1)]?.querySelector("a"))?.focus({ preventScroll: true });
    }
    focused = null;
  });

  // What a letter does: the button that carries it, in the row of the focus, or on a page about one thing.
  const act = (key) => {
    const scopes = [document.activeElement?.closest("[data-row]"), document.querySelector("[data-act-page]")];
    const button = scopes.map((scope) => scope?.querySelector(`[data-act="${CSS.escape(key)}"]`)).find(Boolean);
    if (!button) return false;
    // Rows that have just been fetched are htmx's only a moment later: until then the browser would send the form itself.
    if (button.closest(".htmx-added")) return setTimeout(act, SETTLE_MS, key) > 0;
    button.click();
    if (button.tagName === "SUMMARY") button.parentElement.querySelector("button")?.focus();
    return true;
  };

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
    else if (/^[a-z]$/.test(event.key) && act(event.key)) event.preventDefault();
  });
})();
