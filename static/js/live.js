// One websocket for the page. It tells which topics changed; each region fetches itself again.
// A region listens with hx-trigger="live:runs from:body"; a topic is asked for by <body data-topics>
// or by data-live on any element.
"use strict";

(() => {
  const body = document.body;
  const indicator = document.querySelector("[data-live-state]");
  if (!body.dataset.liveUrl) return;

  const QUIET_MS = 1000; // a topic reaches the regions at most this often
  const POLL_MS = 30000; // how often regions refetch without a socket
  const PING_MS = 20000;
  const SILENCE_MS = 45000; // two pings unanswered: the connection is dead, whatever the browser thinks
  const LONGEST_WAIT_MS = 30000;

  let socket = null;
  let attempts = 0;
  let since = null;
  let lastHeard = 0;
  let paused = false;
  let openedOnce = false;
  const lastSent = new Map();
  const waiting = new Map();
  const held = new Set();

  const topics = () => {
    const all = [body, ...document.querySelectorAll("[data-live]")];
    const names = all.flatMap((node) => (node.dataset.topics || node.dataset.live || "").split(/\s+/));
    return [...new Set(names.filter(Boolean))];
  };

  const show = (state, words, title) => {
    if (!indicator) return;
    indicator.dataset.state = state;
    indicator.textContent = words;
    indicator.title = title;
  };
  const describe = () => {
    body.dataset.livePaused = paused ? "yes" : "";
    if (paused) return show("paused", "paused", "Updates are held back. Press to resume.");
    if (socket?.readyState === WebSocket.OPEN) return show("live", "live", "Changes appear by themselves. Press to pause.");
    if (!openedOnce && attempts < 2) return show("connecting", "connecting", "Opening the live connection.");
    return show("reconnecting", "reconnecting", `The live connection is down. This page asks every ${POLL_MS / 1000} seconds meanwhile.`);
  };

  // --- From a message to the regions
  const dispatch = (topic, detail) => {
    if (paused || document.hidden) return void held.add(topic);
    const wait = (lastSent.get(topic) || 0) + QUIET_MS - Date.now();
    if (wait > 0) {
      if (!waiting.has(topic)) waiting.set(topic, setTimeout(() => (waiting.delete(topic), dispatch(topic, detail)), wait));
      return;
    }
    lastSent.set(topic, Date.now());
    body.dispatchEvent(new CustomEvent(`live:${topic}`, { detail }));
  };
  const release = () => {
    if (paused || document.hidden) return;
    const topicsHeld = [...held];
    held.clear();
    topicsHeld.forEach((topic) => dispatch(topic, {}));
  };

  // --- The socket
  const send = (message) => socket?.readyState === WebSocket.OPEN && socket.send(JSON.stringify(message));
  const connect = () => {
    if (!topics().length) {
      if (indicator) indicator.hidden = true; // nothing on this page changes by itself
      return;
    }
    const url = new URL(body.dataset.liveUrl, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    describe();
    socket = new WebSocket(url);
    socket.addEventListener("open", () => {
      lastHeard = Date.now();
      send({ subscribe: topics() });
      if (since !== null) send({ since });
    });
    socket.addEventListener("message", (event) => {
      lastHeard = Date.now();
      const message = JSON.parse(event.data);
      if (Number.isInteger(message.event_id)) since = Math.max(since ?? 0, message.event_id);
      if (message.subscribed) {
        attempts = 0;
        openedOnce = true;
        describe();
      }
      if (!message.topic) return;
      // Whoever must hear of everything at once, also while the tab is hidden or updates are held back.
      body.dispatchEvent(new CustomEvent("live-message", { detail: message }));
      dispatch(message.topic, message);
    });
    socket.addEventListener("close", (event) => {
      socket = null;
      if (event.code === 4401) return location.reload(); // signed out: the login page says so
      attempts += 1;
      describe();
      const wait = Math.min(LONGEST_WAIT_MS, 500 * 2 ** attempts);
      setTimeout(connect, wait * (0.5 + Math.random() / 2));
    });
  };

  setInterval(() => {
    if (socket?.readyState !== WebSocket.OPEN) return;
    if (Date.now() - lastHeard > SILENCE_MS) socket.close();
    else send({ ping: true });
  }, PING_MS);
  setInterval(() => {
    if (socket?.readyState !== WebSocket.OPEN) topics().forEach((topic) => dispatch(topic, {}));
  }, POLL_MS);

  // Regions that appear later may bring topics of their own.
  let asked = "";
  document.addEventListener("htmx:afterSettle", () => {
    const names = topics().join(" ");
    if (names !== asked) send({ subscribe: topics() });
    asked = names;
  });
  document.addEventListener("visibilitychange", release);
  indicator?.addEventListener("click", () => {
    paused = !paused;
    describe();
    release();
  });

  connect();
})();
