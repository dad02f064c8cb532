"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { turns, connections, summary, words } = data;
  const byId = new Map(turns.map((turn) => [turn.id, turn]));
  const page = document.getElementById("page");
  const SVG = "http://www.w3.org/2000/svg";

  // -- elements: everything from the file becomes a text node or an attribute -------------------

  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (name === "style") Object.assign(element.style, value);
      else if (value !== null && value !== undefined && value !== false)
        element.setAttribute(name, value === true ? "" : value);
    }
    for (const child of children.flat()) {
      if (child !== null && child !== undefined && child !== false && child !== "")
        element.append(child instanceof Node ? child : String(child));
    }
    return element;
  }
  const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
  const s = (tag, attributes, ...children) =>
    fill(document.createElementNS(SVG, tag), attributes, children);

  // -- words -------------------------------------------------------------------------------------

  function seconds(value) {
    if (value < 0.0005) return "0 ms";
    if (value < 0.9995) return `${Math.round(value * 1000)} ms`;
    if (value < 60) return `${value.toFixed(2)} s`;
    const all = Math.round(value), minutes = Math.floor(all / 60);
    return minutes < 60
      ? `${minutes} min ${all % 60} s`
      : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }
  const number = (value) => value.toLocaleString("en");
  const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
  const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");
  const day = (at) => new Date(at * 1000).toLocaleDateString("sv-SE");  // year-month-day
  function money(amount, currency) {
    if (amount >= 0.01 || amount === 0) return `${amount.toFixed(amount >= 10 ? 2 : 4)} ${currency}`;
    return `${amount.toFixed(Math.min(9, 2 - Math.floor(Math.log10(amount))))} ${currency}`;
  }
  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  const isFailed = (turn) => ["failed", "empty", "incomplete", "unfinished"].includes(turn.outcome);
  const isCut = (turn) => turn.outcome === "cancelled";
  const isAsked = (turn) => turn.purpose === "response";
  const last = (turn) => turn.attempts[turn.attempts.length - 1];
  const isFull = (turn) => {
    const attempt = last(turn);
    return Boolean(attempt && attempt.full_context_reason && attempt.full_context_reason !== "first request");
  };
  const tokensOf = (turn) =>
    turn.attempts.reduce((sum, a) => sum + (a.usage && !a.is_estimate ? a.usage.input + a.usage.output : 0), 0);
  function costOf(turn) {
    const sums = {};
    for (const a of turn.attempts)
      if (a.cost !== null && a.currency) sums[a.currency] = (sums[a.currency] || 0) + a.cost;
    return sumOf(sums);
  }
  const sumOf = (sums) => Object.entries(sums).map(([currency, amount]) => money(amount, currency)).join(" + ");
  const costNumber = (turn) => turn.attempts.reduce((sum, a) => sum + (a.cost || 0), 0);

  // -- what the reader has chosen -----------------------------------------------------------------

  const KEY = "rtllm trace";
  let chosen = { text: "", filter: "all", sort: "time", group: "", around: null, all: false, open: [], scroll: 0 };
  try { chosen = { ...chosen, ...JSON.parse(sessionStorage.getItem(KEY) || "{}") }; } catch { /* not kept */ }
  if (!data.refresh) chosen = { ...chosen, text: "", filter: "all", sort: "time", group: "", around: null, all: false, open: [], scroll: 0 };
  function keep() {
    try { sessionStorage.setItem(KEY, JSON.stringify({ ...chosen, scroll: scrollY })); } catch { /* not kept */ }
  }

  const system = matchMedia("(prefers-color-scheme: dark)");
  let theme = null;
  try { theme = localStorage.getItem("rtllm theme"); } catch { /* not kept */ }
  const toggle = h("button", { class: "switch", type: "button", onclick: () => {
    theme = isDark() ? "light" : "dark";
    try { localStorage.setItem("rtllm theme", theme); } catch { /* not kept */ }
    paint();
  } });
  const isDark = () => (theme ? theme === "dark" : system.matches);
  function paint() {
    document.documentElement.dataset.theme = isDark() ? "dark" : "light";
    toggle.textContent = isDark() ? "☀ Light" : "☾ Dark";
    toggle.setAttribute("aria-label", isDark() ? "Switch to the light theme" : "Switch to the dark theme");
  }
  system.addEventListener("change", paint);
  paint();

  // -- the essentials -----------------------------------------------------------------------------

  const link = (id, text) => h("button", { class: "link", type: "button", onclick: () => show(id) }, text || `turn ${id}`);
  const turnLink = (id) => (byId.has(id) ? link(id) : `turn ${id}`);

  function essentials() {
    const slow = byId.get(summary.slowest);
    const failed = summary.failures.reduce((sum, failure) => sum + failure.turns.length, 0);
    const extras = [
      summary.interrupted && `${summary.interrupted} interrupted by the caller`,
      summary.retried && `${summary.retried} needed more than one attempt`,
      summary.others && `${summary.others} more to warm up`,
    ].filter(Boolean);
    const total = summary.total;
    return h("div", { class: "cards" },
      h("div", { class: "card" },
        h("h3", {}, "Turns"),
        h("span", { class: "figure" }, number(summary.turns), h("small", {}, ` in ${count(summary.groups, "conversation")}`)),
        h("span", {}, summary.median_wait !== null && `Half waited ${seconds(summary.median_wait)} or less${summary.turns >= 40 ? `, one of 20 more than ${seconds(summary.slow_wait)}` : ""}`),
        h("span", { class: "dim" }, extras.join(" · "))),
      h("div", { class: "card", id: "slowest" },
        h("h3", {}, "Slowest turn"),
        h("span", { class: "figure" }, slow ? seconds(slow.wait) : "–", slow && h("small", {}, " of waiting, in ", link(slow.id))),
        h("span", {}, slow && capital(slow.why) + (slow.why ? "." : ""))),
      h("div", { class: failed ? "card failed" : "card", id: "failed" },
        h("h3", {}, "Failed turns"),
        h("span", { class: failed ? "figure bad" : "figure" }, number(failed)),
        failed
          ? summary.failures.slice(0, 3).map((failure) => h("span", {}, `${capital(failure.why)}: `,
              failure.turns.slice(0, 4).map((id, i) => [i ? ", " : "", turnLink(id)]).flat(),
              failure.turns.length > 4 && ` and ${failure.turns.length - 4} more`))
          : h("span", { class: "dim" }, "Every turn had a response")),
      h("div", { class: "card", id: "cost" },
        h("h3", {}, "Cost"),
        h("span", { class: "figure" }, sumOf(total.costs) || (total.attempts ? "Unknown" : "–")),
        h("span", {}, total.unpriced > 0 && sumOf(total.costs) && `and ${count(total.unpriced, "request")} of unknown cost`),
        h("span", { class: "dim" }, `${number(total.input)} input and ${number(total.output)} output tokens`),
        h("span", { class: "dim" }, total.input > 0 && `${Math.round((100 * total.cached) / total.input)} % of the input from the prompt cache`)));
  }

  function legend(names) {
    return h("div", { class: "legend" }, names.map((name) =>
      h("span", {}, h("i", { class: `p-${name}` }), name === "tool" ? "tools run" : name === "open" ? "connection open" : words.parts[name])));
  }
  const partNames = (of) => Object.keys(words.parts).filter((name) => of.some((turn) => turn.parts.some((part) => part.name === name)));

  const widthOf = () => Math.max(200, page.clientWidth - 2 * (innerWidth <= 640 ? 12 : 20) - 34);

  // -- how long each turn waited ------------------------------------------------------------------

  const MIN_BAR = 5;

  function waits() {
    const asked = turns.filter(isAsked);
    if (asked.length < 2) return null;
    const room = widthOf();
    // If there are more turns than bars fit, each bar is the slowest of several turns in a row.
    const each = Math.ceil((MIN_BAR * asked.length) / (room - 52)), bars = [];
    for (let i = 0; i < asked.length; i += each) bars.push(asked.slice(i, i + each));
    const step = Math.min(90, (room - 52) / bars.length), height = 110, base = 22;
    const width = room;
    const longest = Math.max(...asked.map((turn) => turn.wait), 0.001);
    const chart = s("svg", { width, height: height + base, role: "img", "aria-label": "How long each turn waited" });
    const slowestBar = bars.findIndex((some) => some.some((turn) => turn.id === summary.slowest));
    for (const part of [0.5, 1]) {
      const y = height - part * (height - 14);
      chart.append(s("line", { class: "grid", x1: 0, x2: width, y1: y, y2: y }),
        s("text", { x: width - 2, y: y + 12, "text-anchor": "end" }, seconds(longest * part)));
    }
    bars.forEach((some, i) => {
      const turn = some.reduce((slow, other) => (other.wait > slow.wait ? other : slow));
      const failed = some.filter(isFailed);
      const others = some.length > 1 ? ` Turns ${some[0].id} to ${some[some.length - 1].id}${failed.length ? `, ${failed.length} failed` : ""}; the slowest:` : "";
      const bar = s("g", { class: "hit", onclick: () => show(turn.id) },
        s("title", {}, `${others} Turn ${turn.id}: ${seconds(turn.wait)}. ${capital(turn.why)}`.trim()));
      bar.append(s("rect", { x: i * step, y: 0, width: step, height: height + base, fill: "transparent" }));
      let y = height;
      for (const part of turn.parts) {
        const lasts = Math.min(part.start + part.seconds, turn.wait) - part.start;
        if (lasts <= 0) continue;
        const tall = (lasts / longest) * (height - 14);
        y -= tall;
        bar.append(s("rect", { class: `p-${part.name}`, x: i * step + 1, y, width: Math.max(2, step - 3), height: Math.max(0.5, tall) }));
      }
      if (failed.length && step >= 12) bar.append(s("text", { class: "cross", x: i * step + step / 2, y: Math.max(11, y - 2), "text-anchor": "middle" }, "✕"));
      else if (failed.length) bar.append(s("rect", { class: "failed-mark", x: i * step, y: height + 1, width: Math.max(2, step - 1), height: 4 }));
      const isSlowest = turn.id === summary.slowest;
      const nextToSlowest = Math.abs(i - slowestBar) * step < 36;
      if (isSlowest || (!nextToSlowest && i % Math.ceil(40 / step) === 0) || step >= 36)
        bar.append(s("text", { class: isSlowest ? "label" : "", x: Math.max(i * step + step / 2, 4 * String(turn.id).length), y: height + 17, "text-anchor": "middle" }, isSlowest ? turn.id : some[0].id));
      chart.append(bar);
    });
    if (bars.length > 20) {
      const y = height - (summary.median_wait / longest) * (height - 14);
      chart.append(s("line", { class: "median", x1: 0, x2: width, y1: y, y2: y }));
    }
    const before = asked.map((turn) => ({ parts: turn.parts.filter((part) => part.start < turn.wait) }));
    const keys = legend(partNames(before));
    if (bars.length > 20) keys.append(h("span", {}, "┄ half of the turns waited less"));
    if (asked.some(isFailed)) keys.append(h("span", {}, h("b", { class: "bad" }, step < 12 ? "▬" : "✕"), " failed"));
    return h("section", { class: "card" }, h("h2", {}, "How long each turn waited for its first output"),
      each > 1 && h("p", { class: "dim" }, `Each bar is the slowest of ${each} turns in a row; select one to see it.`),
      chart, keys);
  }

  // -- the call along the time --------------------------------------------------------------------

  const LEFT = innerWidth <= 640 ? 96 : 140, BREAK = 46, QUIET = 1.5, MOST_ROWS = 8;

  function scaleOf(spans, least = 48) {
    // Time where something runs is drawn to scale; a longer quiet time is a gap of fixed width.
    const sorted = spans.filter(([a, b]) => b >= a).sort((a, b) => a[0] - b[0]);
    const busy = [];
    for (const [a, b] of sorted) {
      const before = busy[busy.length - 1];
      if (before && a - before[1] < QUIET) before[1] = Math.max(before[1], b);
      else busy.push([a, b]);
    }
    const total = busy.reduce((sum, [a, b]) => sum + b - a, 0) || 1;
    const room = widthOf() - LEFT - 16 - BREAK * (busy.length - 1);
    const perSecond = Math.min(400, Math.max(least, room / total));
    let x = LEFT;
    const pieces = busy.map(([a, b], i) => {
      if (i) x += BREAK;
      const piece = { a, b, x, end: x + (b - a) * perSecond };
      x = piece.end;
      return piece;
    });
    const place = (at) => {
      let before = null;
      for (const piece of pieces) {
        if (at < piece.a) return before ? before.end + ((at - before.b) / (piece.a - before.b)) * (piece.x - before.end) : piece.x;
        if (at <= piece.b) return piece.x + (at - piece.a) * perSecond;
        before = piece;
      }
      return x;
    };
    const tick = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60].find((step) => step * perSecond >= 90) || 60;
    return { pieces, place, tick, width: x + 16 };
  }

  const ranUntil = (turn) => turn.began + Math.max(turn.duration, ...turn.attempts.map((a) => a.ended || 0));

  const spansOf = (of) => of.flatMap((turn) => [[turn.began, ranUntil(turn)],
    ...turn.tools.filter((t) => t.answered !== null && t.answered - t.at < 60).map((t) => [turn.began + t.at, turn.began + t.answered])]);

  function windowOf(all) {
    // All turns if they fit, else as many around the chosen one, or the slowest, as fit.
    const widthOfAll = all.length <= 200 ? scaleOf(spansOf(all)).width : Infinity;
    if (widthOfAll <= Math.max(1.5 * widthOf(), 700)) return [0, all.length];
    const fits = (of) => scaleOf(spansOf(of)).width <= widthOf();
    const wanted = all.findIndex((turn) => turn.id === (chosen.around ?? summary.slowest));
    let first = Math.max(0, wanted), end = first + 1;
    while (end - first < 60) {
      const more = end < all.length && fits(all.slice(first, end + 1));
      if (more) end += 1;
      const less = first > 0 && fits(all.slice(first - 1, end));
      if (less) first -= 1;
      if (!more && !less) break;
    }
    return [first, end];
  }

  function steps(all, first, end) {
    // Buttons to the turns before and after those that are shown.
    const go = (text, to) => h("button", { class: "chip", type: "button", disabled: !all[to], onclick: () => { chosen.around = all[to].id; keep(); along(); } }, text);
    const half = Math.ceil((end - first) / 2);
    return h("div", { class: "tools" },
      go("◀ Earlier", first > 0 ? Math.max(0, first - half) : -1),
      h("span", { class: "dim" }, `${end - first > 1 ? `Turns ${all[first].id} to` : "Turn"} ${all[end - 1].id}, of ${number(all.length)}`),
      go("Later ▶", end < all.length ? Math.min(all.length - 1, end - 1 + half) : -1));
  }

  function timeline(of) {
    const groups = [...new Set(of.map((turn) => turn.group))];
    const shown = groups.slice(0, MOST_ROWS);
    const all = of.filter((turn) => shown.includes(turn.group));
    if (!all.length) return h("p", { class: "dim" }, "No turns.");
    const [first, end] = windowOf(all);
    const few = all.slice(first, end);
    const rows = shown.filter((group) => few.some((turn) => turn.group === group));
    course.dataset.first = few[0].id;
    course.dataset.last = few[few.length - 1].id;
    const spans = spansOf(few);
    const used = new Set(few.flatMap((turn) => turn.attempts.map((a) => `${turn.process} ${turn.client} ${a.connection}`)));
    const start = few[0].began, until = Math.max(...few.map(ranUntil));
    const lines = connections.filter((c) => used.has(`${c.process} ${c.client} ${c.number}`)).slice(0, 12);
    if (few.length === all.length) for (const c of lines) if (c.opened !== null && c.began < start && start - c.began < 30) spans.push([c.began, c.opened]);
    const scale = scaleOf(spans, few.length === 1 ? 1 : 48);  // a single turn always fits
    const ROW = 46, height = 26 + rows.length * ROW + lines.length * 24 + 6;
    const chart = s("svg", { width: scale.width, height, role: "img", "aria-label": "The call along the time" });
    scale.pieces.forEach((piece, i) => {
      const first = piece.a - scale.pieces[0].a;
      for (let at = first; at < piece.b - scale.pieces[0].a || at === first; at = (Math.floor(at / scale.tick + 0.001) + 1) * scale.tick) {
        const x = scale.place(scale.pieces[0].a + at);
        if (at !== first && x - piece.x < 60) continue;
        chart.append(s("line", { class: "grid", x1: x, x2: x, y1: 18, y2: height }));
        if (at !== first || !i || piece.x - scale.pieces[i - 1].end + piece.end - piece.x > 60)
          chart.append(s("text", { x: x + 2, y: 12 }, few.length < all.length ? (at === first ? clock(piece.a) : "") : at < 60 ? `${at.toFixed(scale.tick < 1 ? 1 : at === first ? 1 : 0)} s` : seconds(at)));
      }
      const next = scale.pieces[i + 1];
      if (next) chart.append(s("rect", { class: "gap", x: piece.end, y: 18, width: next.x - piece.end, height: height - 18 }),
        s("text", { x: (piece.end + next.x) / 2, y: height - 6, "text-anchor": "middle" }, seconds(next.a - piece.b).replace(/\.\d+ s/, " s")));
    });
    const box = (cls, from, to, y, tall, extra) => s("rect", { class: cls, x: scale.place(from), y, width: Math.max(1, scale.place(to) - scale.place(from)), height: tall, rx: 2, ...extra });
    rows.forEach((group, row) => {
      const y = 38 + row * ROW;
      const mine = few.filter((turn) => turn.group === group);
      chart.append(s("text", { class: "label", x: 0, y: y + 9 }, short(mine[0].call || `conversation ${group}`)),
        s("text", { x: 0, y: y + 22 }, groups.length > 1 && mine[0].call ? `conversation ${group}` : count(mine.length, "turn")));
      let labelled = -99;
      for (const turn of mine) {
        const bar = s("g", { class: "hit", onclick: () => show(turn.id) },
          s("title", {}, `Turn ${turn.id}: ${words.outcomes[turn.outcome] || turn.outcome}, ${seconds(turn.wait)} to the first output. ${capital(turn.why)}`));
        for (const part of turn.parts)
          bar.append(box(`p-${part.name}`, turn.began + part.start, turn.began + part.start + part.seconds, y, 18));
        for (const a of turn.attempts) if (a.drained && a.ended > turn.duration)
          bar.append(box("p-rest", turn.began + turn.duration, turn.began + a.ended, y + 14, 4));
        for (const tool of turn.tools) {
          if (tool.answered !== null && tool.answered - tool.at < 60)
            bar.append(box("p-tool", turn.began + tool.at, turn.began + tool.answered, y + 20, 4));
          bar.append(s("text", { x: scale.place(turn.began + tool.at), y: y + 34 }, tool.name.slice(0, 24)));
        }
        for (const fault of turn.faults)
          bar.append(s("text", { class: "cross", x: scale.place(turn.began + fault.at), y: y + 14, "text-anchor": "middle" }, "✕"));
        if (isCut(turn)) {
          const at = scale.place(turn.began + turn.duration);
          bar.append(s("line", { class: "mark", x1: at, x2: at, y1: y - 4, y2: y + 22 }));
        }
        const x = scale.place(turn.began);
        if (x - labelled > 6 + 7 * String(turn.id).length) {
          bar.append(s("text", { class: turn.id === summary.slowest ? "label" : "", x, y: y - 3 }, turn.id));
          labelled = x;
        }
        chart.append(bar);
      }
    });
    lines.forEach((c, row) => {
      const y = 30 + rows.length * ROW + row * 24;
      const bar = s("g", {}, s("title", {}, `Connection ${c.number}: opened in ${c.handshake === null ? "?" : seconds(c.handshake)}, ${c.end || "open at the end of the file"}${c.fault ? ` (${c.fault})` : ""}`));
      const end = Math.min(c.closed === null ? until : c.closed, until);
      bar.append(s("text", { x: 0, y: y + 10 }, `connection ${c.number}`));
      if (c.opened === null) bar.append(box("p-connect", c.began, end, y, 10));
      else bar.append(box("p-connect", Math.max(c.began, scale.pieces[0].a), Math.max(c.opened, scale.pieces[0].a), y, 10), box("p-open", Math.max(c.opened, scale.pieces[0].a), end, y, 10));
      if (c.end === "lost" || c.end === "not opened") bar.append(s("text", { class: "cross", x: scale.place(end), y: y + 10, "text-anchor": "middle" }, "✕"));
      chart.append(bar);
    });
    const names = partNames(few);
    if (few.some((turn) => turn.tools.some((tool) => tool.answered !== null))) names.push("tool");
    if (lines.length) names.push("open");
    const marks = h("span", {}, h("b", { class: "bad" }, "✕"), " fault  ", h("b", { class: "bad" }, "|"), " interrupted");
    const more = groups.length > MOST_ROWS && h("p", { class: "dim" }, `The first ${MOST_ROWS} of ${groups.length} conversations; choose one below.`);
    const keys = legend(names);
    keys.append(marks);
    return [few.length < all.length && steps(all, first, end), h("div", { class: "scroll" }, chart), keys, more];
  }
  const short = (text) => (text.length > LEFT / 7 ? `${text.slice(0, LEFT / 7 - 1)}…` : text);

  // -- one turn -----------------------------------------------------------------------------------

  function bar(turn, longest, whole) {
    const element = h("span", { class: "bar" });
    for (const part of turn.parts) {
      const lasts = whole ? part.seconds : Math.min(part.start + part.seconds, turn.wait) - part.start;
      if (lasts > 0) element.append(h("i", { class: `p-${part.name}`, title: `${words.parts[part.name]}: ${seconds(part.seconds)}`, style: { width: `${(100 * lasts) / longest}%` } }));
    }
    return element;
  }

  function tags(turn) {
    const found = [];
    const tag = (text, kind) => found.push(h("span", { class: `tag ${kind || ""}` }, text));
    if (!isAsked(turn)) tag(turn.purpose);
    if (turn.outcome !== "completed") tag(words.outcomes[turn.outcome] || turn.outcome, isFailed(turn) ? "bad" : "warn");
    if (turn.faults.length && !isFailed(turn)) tag(`${turn.faults[0].fault}, recovered`, "warn");
    if (turn.attempts.length > 1) tag(`${turn.attempts.length} attempts`);
    for (const tool of turn.tools.slice(0, 3)) tag(`tool ${tool.name}`);
    if (isFull(turn)) tag(`full context: ${last(turn).full_context_reason}`, "warn");
    if (turn.cache_missed && turn.cache_breaks.length) tag("prompt cache broken", "warn");
    if (turn.attempts.some((a) => a.category === "draft")) tag("draft");
    return found;
  }

  function parts(turn) {
    const sums = new Map();
    for (const part of turn.parts) sums.set(part.name, (sums.get(part.name) || 0) + part.seconds);
    const rows = Object.keys(words.parts).filter((name) => sums.has(name)).map((name) =>
      h("tr", {}, h("td", {}, h("i", { class: `p-${name}` }), capital(words.parts[name])),
        h("td", { class: "num" }, seconds(sums.get(name))),
        h("td", { class: "num dim" }, `${Math.round((100 * sums.get(name)) / (turn.duration || 1))} %`)));
    return h("div", {}, h("h3", {}, "Where its time went"), bar(turn, turn.duration || 1, true),
      h("table", {}, h("tbody", {}, rows,
        h("tr", {}, h("td", {}, h("b", {}, "Whole turn")), h("td", { class: "num" }, h("b", {}, seconds(turn.duration))), h("td", {})))));
  }

  function attempts(turn) {
    const rows = turn.attempts.map((a) => h("tr", {},
      h("td", {}, a.number),
      h("td", {}, a.protocol === "http" ? "HTTP" : `connection ${a.connection ?? "?"}${a.reused ? "" : " (new)"}`, a.lane && `, ${a.lane}`),
      h("td", {}, a.category || "?", a.fault && h("span", { class: "bad" }, ` ${a.fault}`)),
      h("td", { class: "num" }, a.usage ? `${a.is_estimate ? "about " : ""}${number(a.usage.input)} + ${number(a.usage.output)}` : "unknown"),
      h("td", { class: "num" }, a.usage && a.usage.cached !== null && a.usage.cached !== undefined ? number(a.usage.cached) : "–"),
      h("td", { class: "num" }, a.cost === null ? "unknown" : money(a.cost, a.currency))));
    return h("div", {}, h("h3", {}, "Requests, tokens and money"), h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, h("th", {}, "no."), h("th", {}, "sent on"), h("th", {}, "result"), h("th", { class: "num" }, "tokens in + out"), h("th", { class: "num" }, "cached"), h("th", { class: "num" }, "cost"))),
      h("tbody", {}, rows))));
  }

  function detail(turn) {
    const ids = [
      turn.model, turn.api, turn.call, `conversation ${turn.group}`, `client ${turn.client}, its turn ${turn.number}`,
      `process ${turn.process}`, ...turn.attempts.filter((a) => a.response_id).map((a) => a.response_id),
    ].filter(Boolean);
    return h("div", { class: "detail" },
      turn.why && h("p", { class: "why" }, isFailed(turn) ? "Why it failed: " : `Why ${seconds(turn.wait)}: `, h("b", {}, turn.why), "."),
      h("div", { class: "two" },
        parts(turn),
        h("div", {}, h("h3", {}, "What happened"), h("ul", {}, turn.notes.map((note) => h("li", {}, note))))),
      turn.attempts.length > 0 && attempts(turn),
      h("details", {}, h("summary", {}, `All ${turn.steps.length} events`), h("div", { class: "scroll" }, h("table", {}, h("tbody", {},
        turn.steps.map((step) => h("tr", {}, h("td", { class: "num dim" }, `+${seconds(step.at)}`), h("td", { class: "dim" }, step.kind), h("td", {}, step.text))))))),
      h("p", { class: "dim" }, ids.join(" · ")));
  }

  function row(turn, longest) {
    const item = h("div", { class: "turn", id: `turn-${turn.id}` });
    const button = h("button", { class: "row", type: "button", "aria-expanded": "false", onclick: () => open(turn.id, !item.dataset.open) },
      h("b", {}, turn.id),
      h("span", { class: "dim" }, clock(turn.began)),
      h("b", { class: "num" }, seconds(turn.wait)),
      bar(turn, longest),
      h("span", { class: "story" }, h("span", {}, tags(turn)), h("span", { class: isFailed(turn) ? "bad" : "dim" }, turn.why)),
      h("span", { class: "num dim money" }, tokensOf(turn) ? `${number(tokensOf(turn))} tokens` : "", h("br"), costOf(turn)));
    item.append(button);
    return item;
  }

  function open(id, isOpen) {
    const item = document.getElementById(`turn-${id}`);
    chosen.open = chosen.open.filter((one) => one !== id).concat(isOpen ? [id] : []);
    keep();
    if (!item) return;
    item.querySelector(".row").setAttribute("aria-expanded", String(isOpen));
    if (isOpen && !item.dataset.open) { item.dataset.open = "1"; item.append(detail(byId.get(id))); }
    if (!isOpen) { delete item.dataset.open; item.querySelector(".detail")?.remove(); }
  }

  function show(id) {
    if (!document.getElementById(`turn-${id}`)) {
      Object.assign(chosen, { text: "", filter: "all", group: "", all: true });
      search.value = "";
      choose.value = "";
      list();
    }
    if (id < Number(course.dataset.first) || id > Number(course.dataset.last)) { chosen.around = id; keep(); along(); }
    open(id, true);
    const item = document.getElementById(`turn-${id}`);
    try { history.replaceState(null, "", `#turn-${id}`); } catch { /* not in the address then */ }
    if (item) { item.scrollIntoView({ block: "start" }); item.querySelector(".row").focus({ preventScroll: true }); }
  }

  // -- the list ---------------------------------------------------------------------------------

  const FILTERS = {
    all: ["All", () => true],
    failed: ["Failed", isFailed],
    faults: ["With faults", (turn) => turn.faults.length > 0],
    cut: ["Interrupted", isCut],
    tools: ["Tools", (turn) => turn.tools.length > 0],
    full: ["Not chained", isFull],
    cache: ["Cache broken", (turn) => Boolean(turn.cache_missed && turn.cache_breaks.length)],
  };
  const SORTS = {
    time: ["by time", (a, b) => a.id - b.id],
    wait: ["slowest first", (a, b) => b.wait - a.wait],
    tokens: ["most tokens first", (a, b) => tokensOf(b) - tokensOf(a)],
    cost: ["dearest first", (a, b) => costNumber(b) - costNumber(a)],
  };
  const texts = new Map();
  function textOf(turn) {
    if (!texts.has(turn.id)) texts.set(turn.id, [`#${turn.id}`, `turn ${turn.id}`, turn.call, turn.model, turn.outcome,
      words.outcomes[turn.outcome], turn.error, turn.why, turn.purpose, ...turn.notes,
      ...turn.attempts.map((a) => `${a.response_id} ${a.lane} connection ${a.connection} ${a.category}`)].join("\n").toLowerCase());
    return texts.get(turn.id);
  }
  const inGroup = (turn) => !chosen.group || String(turn.group) === chosen.group;
  const items = h("div", { class: "turns" });
  const chips = h("span", { class: "tools", style: { marginBottom: "0" } });
  const found = h("span", { class: "dim", role: "status" });

  const LISTED = 100;

  function list() {
    const needle = chosen.text.trim().toLowerCase();
    const scope = turns.filter(inGroup);
    const matching = scope.filter(FILTERS[chosen.filter][1]).filter((turn) => !needle || textOf(turn).includes(needle)).sort(SORTS[chosen.sort][1]);
    const longest = Math.max(...matching.map((turn) => turn.wait), 0.001);
    chips.replaceChildren(...Object.entries(FILTERS).map(([name, [label, test]]) => {
      const hits = scope.filter(test).length;
      return (hits || name === "all") && h("button", { class: "chip", type: "button", "aria-pressed": String(chosen.filter === name), onclick: () => { chosen.filter = name; keep(); list(); } }, `${label} ${number(hits)}`);
    }).filter(Boolean));
    found.textContent = matching.length === turns.length ? "" : `${count(matching.length, "turn")} of ${number(turns.length)}`;
    const listed = chosen.all ? matching : matching.slice(0, LISTED);
    items.replaceChildren(...listed.map((turn) => row(turn, longest)));
    if (listed.length < matching.length) items.append(h("p", { class: "empty" },
      h("button", { class: "chip", type: "button", id: "all", onclick: () => { chosen.all = true; keep(); list(); } }, `Show all ${number(matching.length)} turns`)));
    if (!matching.length) items.append(h("p", { class: "empty dim" }, "No turn matches."));
    for (const id of chosen.open) if (document.getElementById(`turn-${id}`)) open(id, true);
  }

  const search = h("input", { type: "search", placeholder: "Search: a tool, a fault, an id, #7 …", "aria-label": "Search the turns", value: chosen.text,
    oninput: () => { chosen.text = search.value; keep(); list(); } });
  const choose = h("select", { "aria-label": "Conversation", onchange: () => { chosen.group = choose.value; keep(); list(); along(); } },
    h("option", { value: "" }, "All conversations"));
  const groups = new Map();
  for (const turn of turns) if (!groups.has(turn.group)) groups.set(turn.group, turn);
  for (const [group, turn] of groups) choose.append(h("option", { value: group }, `Conversation ${group}${turn.call ? `: ${turn.call}` : ""}, ${clock(turn.began)}`));
  choose.value = chosen.group;
  const order = h("select", { "aria-label": "Order", onchange: () => { chosen.sort = order.value; keep(); list(); } },
    Object.entries(SORTS).map(([name, [label]]) => h("option", { value: name }, label)));
  order.value = chosen.sort;
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !["INPUT", "SELECT"].includes(document.activeElement.tagName)) { event.preventDefault(); search.focus(); }
  });

  const course = h("div", {});
  const along = () => course.replaceChildren(...[timeline(turns.filter(inGroup))].flat().filter(Boolean));

  // -- tokens and money ---------------------------------------------------------------------------

  function bill() {
    const total = summary.total;
    const rows = Object.entries(summary.spent).map(([name, spent]) => h("tr", {},
      h("td", {}, name), h("td", { class: "num" }, number(spent.attempts)), h("td", { class: "num" }, number(spent.input)),
      h("td", { class: "num" }, number(spent.cached)), h("td", { class: "num" }, number(spent.output)),
      h("td", { class: "num" }, data.costs[name])));
    const notes = [
      total.estimated && `Not in these sums: about ${number(total.estimated_input)} input and ${number(total.estimated_output)} output tokens of ${count(total.estimated, "request")} whose tokens the service did not report`,
      total.unknown && `${count(total.unknown, "request")} ${total.unknown === 1 ? "has" : "have"} no known tokens, most likely since the service refused ${total.unknown === 1 ? "it" : "them"}`,
    ].filter(Boolean);
    const reasons = Object.entries(summary.full_contexts).map(([name, times]) =>
      h("tr", {}, h("td", { class: "num" }, number(times)), h("td", {}, capital(words.reasons[name] || name))));
    return h("section", { class: "card two" },
      h("div", {}, h("h2", {}, "Tokens and money"), h("div", { class: "scroll" }, h("table", {},
        h("thead", {}, h("tr", {}, h("th", {}, "spent on"), ...["requests", "input", "cached", "output", "cost"].map((name) => h("th", { class: "num" }, name)))),
        h("tbody", {}, rows))), h("p", { class: "dim" }, notes.join(" · "))),
      h("div", {}, h("h2", {}, "Requests with the full context, and why"),
        reasons.length ? h("table", {}, h("tbody", {}, reasons)) : h("p", { class: "dim" }, "None: every request continued an earlier response.")));
  }

  function figures(title, first, rows) {
    // The figures of each conversation, or of each label; a conversation can be chosen.
    const name = (row) => (row.group === null
      ? row.name || "without a label"
      : h("button", { class: "link", type: "button", onclick: () => pick(String(row.group)) }, row.name));
    return rows.length > 0 && h("section", { class: "card" }, h("h2", {}, title), h("div", { class: "scroll tall" }, h("table", {},
      h("thead", {}, h("tr", {}, h("th", {}, first), ...["turns", "median wait", "slowest", "failed", "tokens", "cost"].map((head) => h("th", { class: "num" }, head)))),
      h("tbody", {}, rows.map((row) => h("tr", {},
        h("td", {}, name(row)), h("td", { class: "num" }, number(row.turns)),
        h("td", { class: "num" }, row.median_wait === null ? "–" : seconds(row.median_wait)),
        h("td", { class: "num" }, seconds(row.slowest_wait), ", ", turnLink(row.slowest)),
        h("td", { class: row.failed ? "num bad" : "num" }, number(row.failed)),
        h("td", { class: "num" }, number(row.spent.input + row.spent.output)),
        h("td", { class: "num" }, sumOf(row.spent.costs) || "unknown")))))));
  }

  function pick(group) {
    chosen.group = choose.value = group;
    keep();
    list();
    along();
    document.getElementById("turns").scrollIntoView({ block: "start" });
  }

  function glossary() {
    const terms = {
      "turn": "One response that the framework asked for. A tool call and the answer after it are two turns.",
      "attempt": "One request to the service. A turn has several if one failed and was sent again.",
      "wait": "The time from the framework's request to the first text or tool call. A caller hears silence meanwhile.",
      "chained": "The request continued an earlier response, so only new items were sent.",
      "full context": "The whole conversation was sent, for the reason given.",
      "prompt cache": "The service reads the unchanged beginning of a prompt from it: cheaper and faster.",
      "interrupted": "The framework stopped reading, usually because the caller spoke. The service still generates, and bills, the response to its end.",
      "lane": "One of several streams of requests on the same connection.",
    };
    return h("section", { class: "card" }, h("details", {}, h("summary", {}, "What the words mean"),
      h("dl", {}, Object.entries(terms).flatMap(([term, text]) => [h("dt", {}, term), h("dd", {}, text)]))));
  }

  // -- the page -----------------------------------------------------------------------------------

  document.title = `Trace: ${data.title}`;
  const when = summary.began === null ? "" : `${day(summary.began)}, ${clock(summary.began)} to ${clock(summary.ended)}`;
  const about = [when, data.versions.length && `rtllm ${data.versions.join(", ")}`, data.shown, data.refresh && "live: loads itself again"].filter(Boolean);
  page.replaceChildren(...[
    h("header", { class: "top" }, h("div", {}, h("h1", {}, `Trace of ${data.title}`), h("p", { class: "dim" }, about.join(" · "))), toggle),
    data.remarks.length > 0 && h("div", { class: "remarks", role: "note" }, data.remarks.map((remark) => h("div", {}, `${capital(remark)}.`))),
    essentials(),
    waits(),
    turns.length > 0 && h("section", { class: "card" }, h("h2", {}, "The call along the time"), course),
    figures("Labels", "label", summary.labels),
    figures("Conversations", "conversation", summary.conversations),
    h("section", { class: "card", id: "turns" }, h("h2", {}, "Turns ", found), h("div", { class: "tools" }, search, choose, order), h("div", { class: "tools" }, chips), items),
    bill(),
    glossary(),
  ].filter(Boolean));
  along();
  list();
  if (data.refresh) {
    scrollTo(0, chosen.scroll);
    setInterval(() => { keep(); location.reload(); }, data.refresh * 1000);
  }
  const linked = /^#turn-(\d+)$/.exec(location.hash);
  if (linked && !data.refresh && byId.has(Number(linked[1]))) show(Number(linked[1]));
  document.documentElement.dataset.ready = "1";
})();
