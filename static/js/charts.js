// Charts: the div stays, its JSON is fetched and swapped. Colours, fonts and margins come from the tokens.
"use strict";

(() => {
  // The bundle writes a <style> for a map library that no chart of ours uses, unless an element of this
  // id is there already. The content security policy forbids it, so one is.
  const MAP_STYLE_ID = "9f215cf04c5486422605d13261cb87401f4e7763b6296af81e98efbc0130da53";
  const LIBRARY = document.currentScript.dataset.plotly;
  const CONFIG = { displayModeBar: false, responsive: true, showTips: false, doubleClick: "reset", scrollZoom: false };
  const state = new WeakMap();
  let library = null;

  const load = () => {
    library ??= new Promise((resolve, reject) => {
      const placeholder = document.createElement("meta");
      placeholder.id = MAP_STYLE_ID;
      const script = document.createElement("script");
      script.src = LIBRARY;
      script.addEventListener("load", resolve);
      script.addEventListener("error", () => ((library = null), reject(new Error("the chart library did not load"))));
      document.head.append(placeholder, script);
    });
    return library;
  };

  // --- Tokens: the browser resolves light-dark() and color-mix() for us.
  const probe = document.createElement("span");
  probe.hidden = true;
  const token = (name) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const faded = (colour, alpha) => {
    const parts = colour.match(/[\d.]+/g).slice(0, 3);
    return `rgba(${parts.join(",")},${alpha})`;
  };
  // Dates as everywhere: the day before the month. What stands below is said once for each day or year.
  const SECOND = 1000, MINUTE = 60 * SECOND, DAY = 1440 * MINUTE;
  const DATES = [
    { dtickrange: [null, SECOND], value: "%H:%M:%S.%L\n%d %b %Y" },
    { dtickrange: [SECOND, MINUTE], value: "%H:%M:%S\n%d %b %Y" },
    { dtickrange: [MINUTE, DAY], value: "%H:%M\n%d %b %Y" },
    { dtickrange: [DAY, "M1"], value: "%d %b\n%Y" },
    { dtickrange: ["M1", "M12"], value: "%b\n%Y" },
    { dtickrange: ["M12", null], value: "%Y" },
  ];
  const template = () => {
    const axis = {
      gridcolor: token("line"),
      linecolor: token("line"),
      zerolinecolor: token("line"),
      tickcolor: token("line"),
      tickfont: { color: token("muted"), size: 11.5 },
      title: { font: { color: token("muted"), size: 12 } },
      automargin: true,
    };
    return {
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: token("text") },
        colorway: [0, 1, 2, 3, 4, 5].map((n) => token(`series-${n}`)),
        margin: { l: 8, r: 8, t: 8, b: 8 },
        showlegend: false,
        hovermode: "x unified",
        hoverlabel: { bgcolor: token("card"), bordercolor: token("line-strong"), font: { color: token("text"), size: 12 } },
        xaxis: { ...axis, showgrid: false, spikecolor: token("muted"), spikethickness: -1, spikedash: "solid", hoverformat: "%d %b %H:%M UTC" },
        yaxis: { ...axis, rangemode: "tozero", zeroline: false, nticks: 6 },
        bargap: 0.18,
        dragmode: "zoom",
      },
    };
  };
  // The library reads a name as markup, and makes its box as wide as the longest.
  const LONGEST_NAME = 32;
  const shown = (name) => (name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME - 1)}…` : name).replace(/&/g, "&amp;").replace(/</g, "&lt;");
  const coloured = (trace) => {
    const { series, tone, ...rest } = { ...trace, name: shown(trace.name ?? "") };
    if (series === undefined && tone === undefined) return rest;
    const colour = token(tone ?? `series-${series}`);
    const stacked = rest.stackgroup !== undefined || (rest.fill && rest.fill !== "none");
    return {
      ...rest,
      line: { width: stacked ? 1 : 1.6, ...rest.line, color: stacked && rest.stackgroup !== undefined ? token("card") : colour },
      ...(stacked ? { fillcolor: rest.stackgroup !== undefined ? faded(colour, 0.86) : faded(colour, 0.13) } : {}),
      marker: { ...rest.marker, color: rest.marker?.color ?? colour },
    };
  };

  // --- One chart
  const message = (div, words, retry) => {
    div.querySelector(".chart-message")?.remove();
    if (!words) return;
    const box = document.createElement("div");
    box.className = "chart-message";
    box.append(words);
    if (retry) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "button button-small";
      button.textContent = "Try again";
      button.addEventListener("click", () => refresh(div));
      box.append(button);
    }
    div.append(box);
  };
  const draw = async (div) => {
    const { json, marks, hidden } = state.get(div);
    const traces = [...json.traces, ...(json.traces.length ? marks : [])].map((trace) => ({ ...coloured(trace), visible: hidden.has(trace.name) ? "legendonly" : true }));
    const xaxis = { tickformatstops: DATES, ...json.layout?.xaxis }; // a template cannot carry a list
    const layout = { ...json.layout, xaxis, template: template(), uirevision: div.dataset.chartUrl, datarevision: json.revision };
    await Plotly.react(div, traces, layout, CONFIG);
    lead(div);
    message(div, json.traces.length ? "" : json.empty || "Nothing in this range.");
    legend(div);
    follow(div);
  };
  // A chart that is as high as what stands beside it, and whose legend has just taken some of that, is drawn anew.
  const heights = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const drawn = target.querySelector(".main-svg")?.clientHeight;
      if (drawn && target.clientHeight && drawn !== target.clientHeight) Plotly.Plots.resize(target);
    }
  });
  // A point whose custom data is a query string leads to this page with it.
  const lead = (div) => {
    if (div.hasAttribute("data-leads") || !traceOf(div)) return;
    div.setAttribute("data-leads", "");
    div.on("plotly_click", ({ points }) => {
      const query = points.map((point) => point.customdata).find((data) => typeof data === "string");
      if (query) location.search = query;
    });
  };
  const traceOf = (div) => state.get(div).json.traces.find((trace) => trace.customdata);
  const follow = (div) => div.hasAttribute("data-grows") && heights.observe(div);
  const legend = (div) => {
    const box = document.querySelector(`[data-legend-of="${CSS.escape(div.id)}"]`);
    if (!box) return;
    const { json, marks, hidden } = state.get(div);
    const named = new Map([...json.traces, ...marks].filter((trace) => trace.name).map((trace) => [trace.name, trace]));
    box.replaceChildren(
      ...[...named.values()].map((trace) => {
        const item = document.createElement("button");
        item.type = "button";
        item.className = `legend-item ${trace.tone ? `tone-${trace.tone}` : `series-${trace.series ?? 5}`}${trace.hatched ? " is-hatched" : ""}`;
        item.setAttribute("aria-pressed", String(!hidden.has(trace.name)));
        const dot = document.createElement("span");
        dot.className = "dot";
        const name = document.createElement("span");
        name.className = "cut";
        name.append(trace.name);
        item.title = trace.name;
        item.append(dot, name);
        item.addEventListener("click", () => {
          if (!hidden.delete(trace.name)) hidden.add(trace.name);
          draw(div);
        });
        return item;
      }),
    );
  };
  const refresh = async (div) => {
    const known = state.get(div);
    known.request?.abort();
    known.request = new AbortController();
    try {
      const [response] = await Promise.all([
        fetch(div.dataset.chartUrl, { signal: known.request.signal, headers: { Accept: "application/json" } }),
        load(),
      ]);
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      known.json = await response.json();
      if (!div.isConnected) return;
      await draw(div);
      div.dataset.state = "ready";
      div.classList.remove("is-stale");
    } catch (error) {
      if (error.name === "AbortError") return;
      // What was drawn stays: old numbers, marked as such, are better than none.
      div.classList.add("is-stale");
      if (!known.json) message(div, `The chart could not be loaded: ${error.message}.`, true);
    }
  };

  // --- What another region of the page draws over a chart: its traces come with that region.
  const mark = (root) => {
    for (const bearer of root.querySelectorAll("[data-marks-of]")) {
      const div = document.getElementById(bearer.dataset.marksOf);
      const known = div && state.get(div);
      if (!known) continue;
      known.marks = JSON.parse(bearer.dataset.marks).traces;
      if (known.json) draw(div);
    }
  };

  // --- All charts of the page
  const start = (root) => {
    for (const div of root.querySelectorAll("[data-chart-url]")) {
      if (state.has(div)) continue;
      state.set(div, { json: null, marks: [], hidden: new Set(), request: null });
      for (const topic of (div.dataset.live || "").split(/\s+/).filter(Boolean)) {
        document.body.addEventListener(`live:${topic}`, () => div.isConnected && refresh(div));
      }
      refresh(div);
    }
  };
  document.body ? document.body.append(probe) : document.addEventListener("DOMContentLoaded", () => document.body.append(probe));
  document.addEventListener("DOMContentLoaded", () => start(document));
  document.addEventListener("htmx:afterSettle", (event) => {
    start(event.detail.elt ?? document);
    mark(event.detail.elt ?? document);
  });
  document.addEventListener("agentops:theme", () => {
    for (const div of document.querySelectorAll("[data-chart-url]")) if (state.get(div)?.json) draw(div);
  });
})();
