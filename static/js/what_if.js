// The film of an incident: a clock that runs ever faster, both sums, and what is said. Without it the page says it all.
"use strict";

(() => {
  const STILL = matchMedia("(prefers-reduced-motion: reduce)");
  const STILL_STEP_MS = 1000; // how often the picture changes for those who want no motion
  const KEPT_LINES = 40;
  const MINUTE = 60, HOUR = 3600, DAY = 86400;
  let running = null; // stops the film of a result that has been replaced

  // --- Words
  const clock = (seconds) => {
    const units = [[DAY, "d"], [HOUR, "h"], [MINUTE, "min"], [1, "s"]];
    const at = units.findIndex(([size]) => seconds >= size);
    if (at < 0 || at === units.length - 1) return `${Math.floor(seconds)}\u00a0s`;
    const [[size, unit], [smaller, second]] = units.slice(at, at + 2);
    return `${Math.floor(seconds / size)}\u00a0${unit} ${Math.floor((seconds % size) / smaller)}\u00a0${second}`;
  };
  const money = (usd) => {
    const digits = usd >= 10000 ? 0 : usd >= 1 || usd === 0 ? 2 : 3;
    return `$${usd.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
  };

  const start = (stage) => {
    const film = JSON.parse(stage.dataset.film);
    const find = (name) => stage.querySelector(`[data-film-${name}]`);
    const [play, skip, place, feed, head, clip] = ["play", "skip", "place", "feed", "head", "clip"].map(find);
    const plot = stage.querySelector(".plot");
    const who = stage.querySelector(".who");
    const marks = [...stage.querySelectorAll(".plot-mark")];
    const words = [...stage.querySelectorAll(".plot-words > span")];
    const badge = (text, tone) => {
      const node = document.createElement("span");
      node.className = `badge tone-${tone}`;
      node.textContent = text;
      return node;
    };
    const moments = [film.warned, film.paged].filter(Boolean).map((alarm) => alarm.at);
    if (!film.stop.is_end && film.stop.at !== film.paged?.at) moments.push(film.stop.at);
    const alert = film.warned ?? film.paged;

    // --- Time: how much of the incident is over after a share of the film, and the other way round.
    const over = (share) => (film.lasted * Math.expm1(film.steepness * share)) / Math.expm1(film.steepness);
    const shareAt = (seconds) => Math.log1p((seconds / film.lasted) * Math.expm1(film.steepness)) / film.steepness;
    const spent = (seconds) => {
      const { curve } = film;
      let low = 0, high = curve.length - 1;
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (curve[middle][0] <= seconds) low = middle;
        else high = middle;
      }
      const [[from, less], [until, more]] = [curve[low], curve[high]];
      return until > from ? less + ((more - less) * Math.min(1, (seconds - from) / (until - from))) : more;
    };
    const across = (seconds) => {
      const { low, high, log } = film.scale;
      const share = log ? Math.log(Math.max(seconds, low) / low) / Math.log(high / low) : (seconds - low) / (high - low);
      return Math.min(1, Math.max(0, share));
    };
    const secondsAt = (share) => {
      const { low, high, log } = film.scale;
      return log ? low * (high / low) ** share : low + (high - low) * share;
    };

    // --- One picture
    let share = 1, shown = 0, playing = false, last = 0;
    const line = ([, agent, to, said, number, detail], css) => {
      const item = document.createElement("li");
      item.className = `talk-line ${css}`;
      const heading = document.createElement("span");
      heading.className = "talk-who";
      const name = document.createElement("strong");
      name.textContent = agent;
      const rest = document.createElement("span");
      rest.className = "label";
      rest.textContent = ` ${film.unit.slice(0, -1)} ${number.toLocaleString("en-US")}${detail ? `, ${detail}` : ""}`;
      heading.append(name, ` → ${to} `, rest);
      const text = document.createElement("span");
      text.className = "talk-said";
      text.textContent = said;
      item.append(heading, text);
      return item;
    };
    const note = (text, tone) => {
      const item = document.createElement("li");
      item.className = `talk-note tone-${tone}`;
      item.textContent = text;
      return item;
    };
    const events = [
      film.warned && [film.warned.at, `Warning after ${clock(film.warned.at)}: ${film.warned.words}.`, "warning"],
      film.paged && [film.paged.at, `Page after ${clock(film.paged.at)}: ${film.paged.words}.`, "critical"],
      !film.stop.is_end && [film.stop.at, `Stopped at ${money(film.stop.usd)}. What follows would never have been said.`, "good"],
    ].filter(Boolean);
    // Lines and what the watch says, in the order in which they come.
    const script = [
      ...film.lines.map((said) => ({ at: said[0], order: 0, node: () => line(said, css(said[0])) })),
      ...events.map(([at, text, tone], order) => ({ at, order: order + 1, node: () => note(text, tone) })),
    ].sort((one, other) => one.at - other.at || one.order - other.order);
    const css = (at) => {
      if (!film.stop.is_end && at > film.stop.at) return "is-after";
      if (film.paged && at >= film.paged.at) return "is-paged";
      return film.warned && at >= film.warned.at ? "is-warned" : "";
    };
    const tell = (seconds) => {
      let until = shown;
      if (shown && script[shown - 1].at > seconds) until = shown = 0;
      while (until < script.length && script[until].at <= seconds) until += 1;
      if (!shown) feed.replaceChildren();
      const from = Math.max(shown, until - KEPT_LINES);
      if (from > shown) feed.replaceChildren();
      feed.append(...script.slice(from, until).map((part) => part.node()));
      while (feed.children.length > KEPT_LINES) feed.firstElementChild.remove();
      if (until !== shown) feed.scrollTop = feed.scrollHeight;
      shown = until;
    };
    const draw = () => {
      const seconds = over(share);
      const x = across(seconds);
      const count = Math.floor(seconds / film.cycle + 1e-6);
      head.setAttribute("x1", `${100 * x}%`);
      head.setAttribute("x2", `${100 * x}%`);
      head.setAttribute("visibility", share < 1 ? "visible" : "hidden");
      clip.setAttribute("width", share < 1 ? 1000 * x + 5 : 1010);
      find("clock").textContent = clock(seconds);
      find("without").textContent = money(spent(seconds));
      find("with").textContent = money(Math.min(spent(seconds), film.stop.is_end ? Infinity : film.stop.usd));
      find("count").textContent = count.toLocaleString("en-US");
      find("rounds").textContent = `× ${count.toLocaleString("en-US")}`;
      const speed = (film.lasted * film.steepness * Math.exp(film.steepness * share)) / Math.expm1(film.steepness) / film.seconds;
      find("speed").textContent = share < 1 ? `1 s is ${clock(Math.max(1, speed))}` : "";
      moments.forEach((at, n) => [marks[n], words[n]].forEach((node) => node?.classList.toggle("is-past", seconds >= at)));
      const state = film.paged && seconds >= film.paged.at ? "paged" : film.warned && seconds >= film.warned.at ? "warned" : "calm";
      if (who.dataset.state !== state) {
        who.dataset.state = state;
        const said = { warned: ["warn", "warning", film.warned], paged: ["page", "critical", film.paged] }[state];
        find("found").replaceChildren(...(said ? [badge(said[0], said[1]), ` ${said[2].words}`] : ["The watch has seen nothing unusual yet."]));
      }
      place.value = Math.round(1000 * share);
      place.setAttribute("aria-valuetext", `${clock(seconds)}, ${money(spent(seconds))}`);
      tell(seconds);
    };

    // --- Playing
    const label = () => (play.textContent = playing ? "Pause" : share >= 1 ? "Replay" : "Go on");
    const stop = () => {
      playing = false;
      label();
    };
    const tick = (now) => {
      if (!playing || !stage.isConnected) return;
      const since = now - last;
      if (!STILL.matches || since >= STILL_STEP_MS) {
        share = Math.min(1, share + Math.min(since, 2 * STILL_STEP_MS) / 1000 / film.seconds);
        last = now;
        draw();
      }
      if (share >= 1) stop();
      else requestAnimationFrame(tick);
    };
    const go = () => {
      stage.classList.add("is-film");
      playing = true;
      last = performance.now();
      label();
      requestAnimationFrame(tick);
    };
    play.addEventListener("click", () => {
      if (playing) return stop();
      if (share >= 1) share = 0;
      draw();
      go();
    });
    skip.addEventListener("click", () => {
      stage.classList.add("is-film");
      // A breath before the alert, so that it is seen coming; at the alert where nothing plays.
      share = alert ? Math.max(0, shareAt(alert.at) - (playing ? 0.01 : 0) + 1e-6) : 1;
      draw();
      label();
    });
    place.addEventListener("input", () => {
      stage.classList.add("is-film");
      share = place.valueAsNumber / 1000;
      draw();
      label();
    });
    skip.hidden = !alert;

    // --- What both lines are worth under the pointer
    const here = stage.querySelector("[data-plot-here]");
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const seconds = secondsAt(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
      const without = spent(seconds);
      here.textContent = `After ${clock(seconds)}: ${money(without)} without, ${money(film.stop.is_end ? without : Math.min(without, film.stop.usd))} with it`;
    });
    plot.addEventListener("pointerleave", () => (here.textContent = ""));

    find("clock").textContent = clock(film.lasted);
    find("without").textContent = money(spent(film.lasted));
    find("with").textContent = money(film.stop.is_end ? spent(film.lasted) : film.stop.usd);
    find("count").textContent = Math.round(film.lasted / film.cycle).toLocaleString("en-US");
    stage.querySelector(".film").hidden = false;
    running = stop;
  };

  const begin = () => {
    const stage = document.querySelector("[data-film]:not([data-started])");
    if (!stage) return;
    running?.();
    stage.dataset.started = "";
    start(stage);
  };
  document.addEventListener("DOMContentLoaded", begin);
  document.addEventListener("htmx:afterSettle", begin);
})();
