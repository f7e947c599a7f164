// The spend page: the list of suggestions under the filter that is being typed, and what is saved as a view.
"use strict";

(() => {
  // Rows that were opened in place are in the address only: what is saved is what the address says.
  document.addEventListener("submit", (event) => {
    if (event.target.matches("[data-state-form]")) event.target.elements.query.value = location.search.slice(1);
  });

  const input = document.getElementById("filter");
  const list = document.getElementById("filter-options");
  const QUIET_MS = 120; // between two keys of a word
  if (!input) return;

  const options = () => [...list.querySelectorAll("a[role=option]")];
  const active = () => list.querySelector("[aria-selected=true]");
  const show = (open) => {
    list.hidden = !open;
    input.setAttribute("aria-expanded", String(open));
    if (!open) choose(null);
  };
  const choose = (option) => {
    active()?.setAttribute("aria-selected", "false");
    option?.setAttribute("aria-selected", "true");
    option?.scrollIntoView({ block: "nearest" });
    if (option) input.setAttribute("aria-activedescendant", option.id);
    else input.removeAttribute("aria-activedescendant");
  };
  let request = null;
  const ask = async () => {
    request?.abort();
    request = new AbortController();
    const asked = input.value;
    const url = new URL(input.dataset.suggestions, location.href);
    url.searchParams.append("filter", asked);
    try {
      const response = await fetch(url, { signal: request.signal });
      if (!response.ok) return;
      list.replaceChildren(document.createRange().createContextualFragment(await response.text()));
    } catch {
      return; // another question came, or the page goes
    }
    if (document.activeElement !== input || input.value !== asked) return;
    show(true);
    choose((asked && options()[0]) || null); // Enter takes the likeliest
  };
  let soon = 0;
  const take = (option) => {
    if (!option.dataset.fill) return (location.href = option.href);
    input.value = option.dataset.fill;
    ask();
  };

  input.addEventListener("focus", ask);
  input.addEventListener("input", () => {
    choose(null); // what was chosen is an answer to another text
    clearTimeout(soon);
    soon = setTimeout(ask, QUIET_MS);
  });
  input.addEventListener("keydown", (event) => {
    const all = options();
    const here = all.indexOf(active());
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) return ask();
      const next = event.key === "ArrowDown" ? here + 1 : here < 0 ? all.length - 1 : here - 1;
      choose(all[next] ?? null);
    } else if (event.key === "Enter" && active()) {
      event.preventDefault();
      take(active());
    } else if (event.key === "Escape") {
      if (list.hidden) input.blur();
      show(false);
    }
  });
  list.addEventListener("mousedown", (event) => event.preventDefault()); // the field keeps the focus
  list.addEventListener("click", (event) => {
    const option = event.target.closest("a[role=option]");
    if (!option || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    take(option);
  });
  input.addEventListener("blur", () => show(false));
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (event.key !== "f" || event.ctrlKey || event.metaKey || event.altKey || typing || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    input.focus();
  });
})();
