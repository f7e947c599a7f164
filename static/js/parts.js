// What the small parts do: menus, copy buttons, toasts, the confirm dialog, the tint of a changed number.
"use strict";

(() => {
  // --- Menus close when one clicks elsewhere, opens another, or presses Escape.
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });

  // --- Copy
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    const text = source ? source.textContent.trim() : "";
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1600);
    } catch {
      // Without a secure origin there is no clipboard: select the text, one keystroke is left to the person.
      getSelection().selectAllChildren(source);
      toast("Selected. Press Ctrl or ⌘ and C to copy.", "warning");
    }
  });

  // --- Fill: a suggestion that is taken over into a field
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-fill]");
    const field = button && document.querySelector(button.dataset.fill);
    if (!field) return;
    field.value = button.dataset.fillValue;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.focus();
  });

  // --- Toasts
  const toast = (text, tone = "good", href = "") => {
    const node = document.getElementById("toast").content.firstElementChild.cloneNode(true);
    node.classList.add(`tone-${tone}`);
    const words = href ? Object.assign(document.createElement("a"), { href }) : node.querySelector("span");
    words.textContent = text;
    if (href) node.querySelector("span").replaceChildren(words);
    document.getElementById("toasts").append(node);
    if (tone !== "critical") setTimeout(() => node.remove(), 8000);
  };
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-dismiss]");
    if (button) button.closest(".toast").remove();
  });
  document.addEventListener("toast", (event) => toast(event.detail.text ?? event.detail.value, event.detail.tone));

  // --- Confirm: one dialog, for forms and for htmx
  const confirm = (words, action) =>
    new Promise((resolve) => {
      const dialog = document.getElementById("confirm");
      document.getElementById("confirm-words").textContent = words;
      document.getElementById("confirm-yes").textContent = action || "Continue";
      dialog.returnValue = "";
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
      dialog.showModal();
    });
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.dataset.confirm || form.dataset.confirmed) return;
    event.preventDefault();
    // Some questions name what was typed: "{value}" stands for a field. What is ticked may have more to say.
    const names = (form.dataset.confirmFields ?? "").split(" ").filter(Boolean);
    const question = names.reduce((words, name) => words.replace(`{${name}}`, () => form.elements[name].value), form.dataset.confirm);
    const more = [...form.querySelectorAll("[data-confirm-more]:checked")].map((box) => box.dataset.confirmMore);
    if (!(await confirm([question, ...more].join(" "), form.dataset.confirmAction))) return;
    // Its region may have been refetched while the question stood there, and only a form in the page can be sent.
    if (!form.isConnected) {
      form.hidden = true;
      document.body.append(form);
    }
    form.dataset.confirmed = "yes";
    form.requestSubmit(event.submitter);
    delete form.dataset.confirmed;
  });
  document.addEventListener("htmx:confirm", async (event) => {
    if (!event.detail.question) return;
    event.preventDefault();
    if (await confirm(event.detail.question, event.target.dataset.confirmAction)) event.detail.issueRequest(true);
  });

  // --- A number that changed in a refetched region fades in a tint.
  let before = new Map();
  const numbers = (root) => new Map([...root.querySelectorAll("[data-fade]")].map((node) => [node.dataset.fade, node]));
  document.addEventListener("htmx:beforeSwap", (event) => {
    before = new Map([...numbers(document)].map(([key, node]) => [key, node.textContent]));
  });
  document.addEventListener("htmx:afterSettle", () => {
    for (const [key, node] of numbers(document)) {
      if (!before.has(key) || before.get(key) === node.textContent) continue;
      node.classList.add("changed");
      node.addEventListener("animationend", () => node.classList.remove("changed"), { once: true });
    }
    before = new Map([...numbers(document)].map(([key, node]) => [key, node.textContent]));
  });

  // --- A region whose request failed keeps its old content, and says so once.
  let failed = false;
  const fail = (event) => {
    event.detail.target?.closest(".region")?.classList.add("is-failed");
    const status = event.detail.xhr?.status;
    if (status === 401 || status === 403) return location.reload();
    if (!failed) toast("This page could not be brought up to date. It will try again.", "warning");
    failed = true;
  };
  document.addEventListener("htmx:responseError", fail);
  document.addEventListener("htmx:sendError", fail);
  document.addEventListener("htmx:afterOnLoad", (event) => {
    failed = false;
    event.detail.target?.closest(".region")?.classList.remove("is-failed");
  });

  globalThis.agentops = { ...globalThis.agentops, toast };
})();
