// New alerts, on every page: a toast, the count in the tab's title, and, where somebody wants them, a notification of
// the desktop and a sound. They work in a hidden tab too. And the inbox: picking rows, and what is switched on.
"use strict";

(() => {
  const body = document.body;
  if (!body.dataset.alertsUrl) return;

  const GATHER_MS = 300; // alerts that come within this time are one toast
  const BADGE_MS = 1000;
  const MOST_TOASTS = 3;
  const REMEMBERED = 300;
  const NEWS = new Set(["opened", "reopened", "worsened", "woken"]);
  const NOTIFY = "alerts-notify";
  const SOUND = "alerts-sound";
  const SEEN = "alerts-seen";

  // --- What has been said already in this tab: a page that was just loaded hears the last seconds again.
  const read = (store, key, otherwise) => {
    try {
      return JSON.parse(store.getItem(key)) ?? otherwise;
    } catch {
      return otherwise;
    }
  };
  const write = (store, key, value) => {
    try {
      store.setItem(key, JSON.stringify(value));
    } catch {
      // Without storage everything works but remembering.
    }
  };
  const isNew = (key) => {
    const seen = read(sessionStorage, SEEN, []);
    if (seen.includes(key)) return false;
    write(sessionStorage, SEEN, [...seen, key].slice(-REMEMBERED));
    return true;
  };

  // --- The count, in the navigation and in the title of the tab
  const words = document.title;
  const showCount = () => {
    const count = Number(document.getElementById("alerts-badge")?.dataset.count || 0);
    document.title = count ? `(${count}) ${words}` : words;
  };
  let refreshing = 0;
  const refreshCount = () => {
    clearTimeout(refreshing);
    refreshing = setTimeout(() => globalThis.htmx?.trigger("#alerts-badge", "fresh"), BADGE_MS);
  };
  document.addEventListener("htmx:afterSwap", (event) => {
    if (document.getElementById("alerts-badge")?.dataset.count !== undefined && event.detail.target) showCount();
  });
  showCount();

  // --- From messages to one thing to say
  const waiting = new Map();
  let more = 0;
  let gathering = 0;
  const take = (message) => {
    const latest = new Map((message.alerts || []).map((alert) => [alert.id, alert]));
    for (const alert of message.alerts || []) {
      const fires = latest.get(alert.id).state === "firing" && NEWS.has(alert.change);
      if (fires && isNew(`${alert.id}.${alert.version}.${alert.severity}`)) waiting.set(alert.id, alert);
    }
    for (const alert of latest.values()) if (alert.state !== "firing") waiting.delete(alert.id);
    if (waiting.size) more += message.more || 0;
    if (waiting.size && !gathering) gathering = setTimeout(say, GATHER_MS);
  };
  const say = () => {
    const alerts = [...waiting.values()];
    const others = more;
    waiting.clear();
    more = gathering = 0;
    if (!alerts.length) return;
    const isPage = alerts.some((alert) => alert.severity === "page");
    const [text, href] = alerts.length === 1 && !others ? one(alerts[0]) : several(alerts, others);
    const boxes = [...document.querySelectorAll("#toasts .is-alert")];
    boxes.slice(0, Math.max(0, boxes.length - MOST_TOASTS + 1)).forEach((box) => box.remove());
    globalThis.agentops.toast(text, isPage ? "critical" : "warning", href);
    document.getElementById("toasts").lastElementChild.classList.add("is-alert");
    notify(text, href, alerts);
    beep(alerts[0], isPage);
  };
  const one = (alert) => {
    const text = alert.title.includes(alert.service) ? alert.title : `${alert.service}: ${alert.title}`;
    return [text, `${body.dataset.alertsUrl}${alert.id}/`];
  };
  const several = (alerts, others) => {
    const services = [...new Set(alerts.map((alert) => alert.service))];
    const whose = services.length === 1 ? services[0] : `${services.length} services`;
    const query = services.length === 1 ? `?${new URLSearchParams({ service: services[0] })}` : "";
    return [`${alerts.length}${others ? " or more" : ""} alerts of ${whose}`, `${body.dataset.alertsUrl}${query}`];
  };
  body.addEventListener("live-message", (event) => {
    if (event.detail.topic !== "alerts") return;
    take(event.detail);
    // The regions hear of it when they are looked at again; the title is seen before.
    if (document.hidden || body.dataset.livePaused) refreshCount();
  });

  // --- A notification of the desktop: asked for on the page of alerts, shown while nobody looks at this page.
  const wantsNotes = () => "Notification" in globalThis && Notification.permission === "granted" && read(localStorage, NOTIFY, false);
  const notify = (text, href, alerts) => {
    if (!wantsNotes() || (!document.hidden && document.hasFocus())) return;
    // Of several open tabs with one tag, the last notification stands for all.
    const note = new Notification("agentops", { body: text, tag: `agentops-alert-${alerts[0].id}` });
    note.addEventListener("click", () => {
      globalThis.focus();
      location.assign(href);
      note.close();
    });
  };

  // --- A sound, off unless somebody turns it on
  let audio = null;
  const play = (isPage) => {
    audio ??= new AudioContext();
    audio.resume();
    const at = audio.currentTime;
    for (const [after, pitch] of isPage ? [[0, 880], [0.18, 1175]] : [[0, 660]]) {
      const tone = audio.createOscillator();
      const loudness = audio.createGain();
      tone.frequency.value = pitch;
      loudness.gain.setValueAtTime(0.0001, at + after);
      loudness.gain.exponentialRampToValueAtTime(0.2, at + after + 0.02);
      loudness.gain.exponentialRampToValueAtTime(0.0001, at + after + 0.16);
      tone.connect(loudness).connect(audio.destination);
      tone.start(at + after);
      tone.stop(at + after + 0.17);
    }
  };
  const beep = (alert, isPage) => {
    const key = `${alert.id}.${alert.version}`;
    // Of several open tabs only one is heard.
    if (!read(localStorage, SOUND, false) || read(localStorage, `${SOUND}ed`, "") === key) return;
    write(localStorage, `${SOUND}ed`, key);
    play(isPage);
  };

  // --- The switches on the page of alerts
  const noteButton = document.querySelector("[data-alert-notify]");
  const soundButton = document.querySelector("[data-alert-sound]");
  const showSwitches = () => {
    if (noteButton) {
      noteButton.hidden = false;
      const denied = !("Notification" in globalThis) || Notification.permission === "denied";
      noteButton.disabled = denied;
      noteButton.textContent = denied ? "The browser allows no notifications" : wantsNotes() ? "Notifications are on" : "Notify on the desktop";
      noteButton.setAttribute("aria-pressed", String(wantsNotes()));
    }
    if (soundButton) {
      const on = read(localStorage, SOUND, false);
      soundButton.hidden = false;
      soundButton.textContent = on ? "Sound is on" : "Sound is off";
      soundButton.setAttribute("aria-pressed", String(on));
    }
  };
  noteButton?.addEventListener("click", async () => {
    const on = !wantsNotes();
    if (on && (await Notification.requestPermission()) !== "granted") return showSwitches();
    write(localStorage, NOTIFY, on);
    showSwitches();
  });
  soundButton?.addEventListener("click", () => {
    const on = !read(localStorage, SOUND, false);
    write(localStorage, SOUND, on);
    if (on) play(false);
    showSwitches();
  });
  showSwitches();

  // --- Picking rows of the inbox
  const pickAll = () => document.querySelector("[data-pick-all]");
  const picks = () => [...document.querySelectorAll("[data-pick]")];
  const showPicked = () => {
    const all = pickAll();
    if (!all) return;
    const boxes = picks();
    const picked = boxes.filter((box) => box.checked).length;
    all.checked = picked > 0 && picked === boxes.length;
    all.indeterminate = picked > 0 && picked < boxes.length;
    document.querySelector("[data-picked]").textContent = picked ? `${picked} picked` : "Pick all";
    for (const button of document.querySelectorAll("[data-for-picked]")) button.disabled = !picked;
  };
  document.addEventListener("change", (event) => {
    const isAll = event.target === pickAll();
    if (isAll) for (const box of picks()) box.checked = event.target.checked;
    if (isAll || event.target.matches("[data-pick]")) showPicked();
  });
  document.addEventListener("htmx:afterSettle", showPicked);
  showPicked();

  // --- A region does not fetch itself under somebody's hand: while a menu in it is open, it waits.
  document.addEventListener("htmx:beforeRequest", (event) => {
    const region = event.target.closest?.(".region");
    if (region !== event.target || !region.querySelector("details[data-menu][open]")) return;
    event.preventDefault();
    region.dataset.late = "yes";
  });
  // What was chosen closes its menu, and leaves the focus where the person was.
  document.addEventListener("submit", (event) => {
    const menu = event.target.querySelector("details[data-menu][open]");
    if (!menu) return;
    menu.open = false;
    (menu.closest("[data-row]")?.querySelector("a") || menu.querySelector("summary")).focus();
  });
  document.addEventListener(
    "toggle",
    (event) => {
      const region = event.target.closest?.(".region[data-late]");
      if (!region || event.target.open) return;
      delete region.dataset.late;
      globalThis.htmx?.trigger(region, "retry");
    },
    true,
  );
})();
