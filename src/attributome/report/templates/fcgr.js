"use strict";
(() => {
  const box = document.getElementById("explore");
  if (!box) return;
  const data = JSON.parse(document.getElementById("fcgr-data").textContent);
  const $ = (id) => document.getElementById(id);
  const LETTERS = "ACGT";
  const BRANCHES = [["site", "site"], ["mirna", "miRNA"]];
  const size = 1 << data.k;
  const state = { pair: null, sort: "", down: false, shown: [] };

  // ---- small things -------------------------------------------------------------------------
  const put = (node, attributes, children) => {
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const html = (name, attributes = {}, ...children) =>
    put(document.createElement(name), attributes, children);
  const svg = (name, attributes = {}, ...children) =>
    put(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
  const number = (value) => {
    if (value === null || !Number.isFinite(value)) return "undefined";
    const text = Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
    return text.replace("-", "−");
  };
  const signed = (value) => (value > 0 ? "+" : "") + number(value);
  const nothing = (words) => html("p", { class: "missing" }, words);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const paint = (share) => {
    const last = data.colours.length - 1;
    return "#" + data.colours[Math.round(((Math.max(-1, Math.min(1, share)) + 1) / 2) * last)];
  };
  const opened = (pack) => pack.q.map((step) => (step === null ? NaN : (step / data.steps) * pack.s));
  const sortOf = (a, b) => {
    const pair = a + b;
    if (["AT", "TA", "CG", "GC"].includes(pair)) return "wc";
    return ["GT", "TG"].includes(pair) ? "wobble" : "";
  };

  // ---- k-mers and pixels: column and row hold one bit per letter, the last letter the highest --
  const wordAt = (row, column) => {
    let word = "";
    for (let i = 0; i < data.k; i++) word += "ATCG"[2 * ((column >> i) & 1) + ((row >> i) & 1)];
    return word;
  };
  const support = (sequence) => {
    const found = new Map();
    for (let at = 0; at + data.k <= sequence.length; at++) {
      const word = sequence.slice(at, at + data.k);
      found.set(word, (found.get(word) || 0) + 1);
    }
    return found;
  };
  const pixels = (pack) => {
    const values = new Float64Array(size * size);
    if (pack.d) {
      const bytes = atob(pack.d);
      for (let i = 0; i < bytes.length; i++) values[i] = (((bytes.charCodeAt(i) << 24) >> 24) / 127) * pack.s;
    } else pack.i.forEach((cell, n) => { values[cell] = (pack.q[n] / 127) * pack.s; });
    return values;
  };

  // ---- a grid of coloured cells with a cursor for the mouse and for the keyboard --------------
  const grid = (spec) => {
    const { rows, cols, cell } = spec;
    const left = spec.left || 4, top = spec.top || 4, right = spec.right || 4, bottom = spec.bottom || 4;
    const width = left + cols * cell + right, height = top + rows * cell + bottom;
    const canvas = html("canvas", { tabindex: 0, role: "img", "aria-label": spec.alt });
    const says = html("p", { class: "readout", role: "status" }, spec.hint);
    const figure = html("figure", { class: "grid-box" },
      html("figcaption", {}, ...spec.title), html("div", { class: "wide" }, canvas), says);
    let at = null;
    const draw = () => {
      const dense = window.devicePixelRatio || 1;
      canvas.width = width * dense;
      canvas.height = height * dense;
      canvas.style.width = width + "px";
      canvas.style.height = height + "px";
      const pen = canvas.getContext("2d");
      pen.scale(dense, dense);
      for (let row = 0; row < rows; row++) {
        for (let col = 0; col < cols; col++) {
          const value = spec.value(row, col), x = left + col * cell, y = top + row * cell;
          pen.fillStyle = Number.isFinite(value) ? paint(spec.scale ? value / spec.scale : 0) : colour("--card");
          pen.fillRect(x, y, cell, cell);
          if (!Number.isFinite(value)) {
            pen.strokeStyle = colour("--muted");
            pen.lineWidth = 1;
            pen.beginPath();
            pen.moveTo(x + 2, y + cell - 2);
            pen.lineTo(x + cell - 2, y + 2);
            pen.stroke();
          }
        }
      }
      pen.strokeStyle = colour("--muted");
      pen.lineWidth = 1;
      pen.strokeRect(left - 0.5, top - 0.5, cols * cell + 1, rows * cell + 1);
      for (let row = 0; row < rows; row++)
        for (let col = 0; col < cols; col++) if (spec.mark) spec.mark(pen, row, col, left + col * cell, top + row * cell, cell);
      if (spec.labels) {
        pen.fillStyle = colour("--ink");
        spec.labels(pen, left, top, width, height);
      }
      if (at) {
        pen.strokeStyle = "#000";
        pen.lineWidth = 4;
        pen.strokeRect(left + at[1] * cell, top + at[0] * cell, cell, cell);
        pen.strokeStyle = "#ffd400";
        pen.lineWidth = 2;
        pen.strokeRect(left + at[1] * cell, top + at[0] * cell, cell, cell);
      }
    };
    const go = (row, col) => {
      at = [Math.max(0, Math.min(rows - 1, row)), Math.max(0, Math.min(cols - 1, col))];
      says.textContent = spec.says(at[0], at[1]);
      draw();
    };
    const pointed = (event) => {
      const place = canvas.getBoundingClientRect();
      const col = Math.floor((event.clientX - place.left - left) / cell);
      const row = Math.floor((event.clientY - place.top - top) / cell);
      if (row >= 0 && col >= 0 && row < rows && col < cols) go(row, col);
    };
    canvas.addEventListener("pointermove", pointed);
    canvas.addEventListener("pointerdown", pointed);
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      if (at) go(at[0] + step[0], at[1] + step[1]);
      else go(...(spec.start || [0, 0]));
    });
    figure.redraw = draw;
    draw();
    return figure;
  };
  const dotted = (pen, dash) => pen.setLineDash(dash);

  // ---- the table ----------------------------------------------------------------------------
  const kindOf = (pair) => pair.kind || "none";
  const wanted = () => {
    const text = $("search").value.trim().toLowerCase();
    const letters = text.toUpperCase().replaceAll("U", "T");
    const outcome = $("by-outcome").value, kind = $("by-kind").value;
    return data.pairs.filter((pair) =>
      (!outcome || pair.outcome === outcome) && (!kind || kindOf(pair) === kind) &&
      (!text || pair.id.toLowerCase().includes(text) || pair.mirna.includes(letters) || pair.site.includes(letters)));
  };
  const sorted = (pairs) => {
    if (!state.sort) return pairs;
    const value = (pair) => (state.sort === "kind" ? kindOf(pair) : pair[state.sort]);
    const order = (a, b) => {
      const x = value(a), y = value(b);
      if (typeof x === "number" && typeof y === "number") return x - y;
      return String(x).localeCompare(String(y), "en", { numeric: true });
    };
    return [...pairs].sort((a, b) => (state.down ? -1 : 1) * order(a, b));
  };
  const list = () => {
    state.shown = sorted(wanted());
    const rows = state.shown.map((pair) => {
      const link = html("a", { href: "#pair=" + encodeURIComponent(pair.id) }, pair.id);
      const code = (text) => html("td", {}, html("code", {}, text));
      const row = html("tr", {}, html("th", { scope: "row" }, link), code(pair.mirna), code(pair.site),
        html("td", {}, pair.label === null ? "–" : String(pair.label)), html("td", {}, signed(pair.logit)),
        html("td", { title: data.outcomes[pair.outcome] || "" }, pair.outcome), html("td", {}, kindOf(pair)));
      if (pair === state.pair) row.setAttribute("aria-current", "true");
      row.addEventListener("click", () => { location.hash = "pair=" + encodeURIComponent(pair.id); });
      return row;
    });
    $("pairs").tBodies[0].replaceChildren(...rows);
    $("count").textContent = state.shown.length === data.pairs.length
      ? data.pairs.length + " pairs" : state.shown.length + " of " + data.pairs.length + " pairs";
    for (const head of document.querySelectorAll("#pairs th[data-key]")) {
      if (head.dataset.key === state.sort) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    }
    steps();
  };
  const steps = () => {
    const place = state.shown.indexOf(state.pair);
    $("before").disabled = place <= 0;
    $("next").disabled = place >= state.shown.length - 1;
  };

  // ---- one pair -----------------------------------------------------------------------------
  const scaleOf = (key, kind) => {
    const pairs = $("one-scale").checked ? data.pairs : [state.pair];
    return Math.max(0, ...pairs.flatMap((pair) => Object.values((pair[kind] || {})[key] || {}).map((pack) => pack.s)));
  };
  const noted = (values) => values.some((value) => Number.isFinite(value) && value !== 0);

  const tracks = () => {
    const pair = state.pair, key = $("method").value, pack = pair.tracks[key], home = $("tracks");
    $("tracks-says").textContent = "";
    if (!pack || !pack.mirna || !pack.site) return home.replaceChildren(nothing("Not measured: this method has no track of both sequences."));
    const value = { mirna: opened(pack.mirna), site: opened(pack.site) }, scale = scaleOf(key, "tracks");
    if (!scale) return home.replaceChildren(nothing("No evidence: every letter has the value 0."));
    const m = pair.mirna, s = pair.site, unit = 18, left = 92, tall = 42;
    const shift = offset(pair), columns = Math.max(m.length + Math.max(0, shift), s.length + Math.max(0, -shift));
    const xm = (i) => left + unit * (m.length - 1 - i + Math.max(0, shift)) + unit / 2;
    const xs = (j) => left + unit * (j + Math.max(0, -shift)) + unit / 2;
    const zero = { mirna: 26 + tall, site: 244 + tall };
    const width = left + unit * columns + 36;
    const picture = svg("svg", { width, height: 366, viewBox: `0 0 ${width} 366`, role: "img",
      "aria-label": `Tracks of pair ${pair.id}; largest value on the axis ${number(scale)}` });
    const text = (x, y, words, kind = "dim", anchor = "middle") =>
      picture.append(svg("text", { x, y, class: kind, "text-anchor": anchor }, words));
    const shade = (x, y, w, h) => picture.append(svg("rect", { x, y, width: w, height: h, class: "seed" }));
    if (m.length >= 8) {
      shade(xm(7) - unit / 2, 20, 7 * unit, 130);
      text((xm(7) + xm(1)) / 2, 14, "seed, nt 2–8");
    }
    if (pair.kind) {
      shade(xs(pair.start) - unit / 2, 206, (pair.stop - pair.start) * unit, 130);
      text((xs(pair.start) + xs(pair.stop - 1)) / 2, 352, pair.kind + " match");
    }
    for (const [branch, letters, x, name] of [["mirna", m, xm, "miRNA"], ["site", s, xs, "site"]]) {
      const at = zero[branch], low = branch === "mirna" ? xm(m.length - 1) : xs(0), high = branch === "mirna" ? xm(0) : xs(s.length - 1);
      text(4, at - tall - 6 + (branch === "site" ? 8 : 0), "", "dim", "start");
      text(left - 14, at - tall + 5, signed(scale), "dim", "end");
      text(left - 14, at + 4, "0", "dim", "end");
      text(left - 14, at + tall + 4, number(-scale), "dim", "end");
      text(2, at - 8, name, "", "start");
      text(2, at + 9, "logit", "dim", "start");
      picture.append(svg("path", { d: `M${low - unit / 2} ${at}H${high + unit / 2}`, stroke: "var(--muted)", fill: "none" }));
      [...letters].forEach((letter, i) => {
        const v = value[branch][i];
        if (Number.isFinite(v) && v !== 0) {
          const h = Math.max((Math.abs(v) / scale) * tall, 0.6);
          picture.append(svg("rect", { x: x(i) - 6.5, y: v > 0 ? at - h : at, width: 13, height: h, class: v > 0 ? "up" : "down" },
            svg("title", {}, `${name} nt ${i + 1} ${letter}: ${signed(v)}`)));
        }
        text(x(i), branch === "mirna" ? 142 : 220, letter, "base");
        if ((i + 1) % 5 === 0 || i === 0) text(x(i), branch === "mirna" ? 125 : 235, String(i + 1));
      });
      const y = branch === "mirna" ? 142 : 220, ends = branch === "mirna" ? ["3′", "5′"] : ["5′", "3′"];
      text(low - unit + 1, y, ends[0], "");
      text(high + unit, y, ends[1], "");
    }
    for (const [i, j] of pair.duplex) {
      const a = xm(i), b = xs(j), wobble = sortOf(m[i], s[j]) !== "wc";
      picture.append(svg("path", { d: `M${a} 148C${a} 178 ${b} 176 ${b} 206`, class: wobble ? "arc wobble" : "arc" },
        svg("title", {}, `${m[i]}:${s[j]}, nt ${i + 1} with site ${j + 1}`)));
      if (wobble) picture.append(svg("circle", { cx: (a + b) / 2, cy: 177, r: 4, class: "dot" }));
    }
    const here = svg("rect", { y: 18, width: unit, height: 322, class: "here", visibility: "hidden" });
    picture.append(here);
    let column = -1;
    const go = (to) => {
      column = Math.max(0, Math.min(columns - 1, to));
      here.setAttribute("x", left + unit * column);
      here.setAttribute("visibility", "visible");
      const i = m.length - 1 - (column - Math.max(0, shift)), j = column - Math.max(0, -shift);
      const told = [];
      if (i >= 0 && i < m.length) told.push(`miRNA nt ${i + 1} ${m[i]}: ${signed(value.mirna[i])}`);
      if (j >= 0 && j < s.length) told.push(`site ${j + 1} ${s[j]}: ${signed(value.site[j])}`);
      $("tracks-says").textContent = told.join(" · ") || "no letter here";
    };
    picture.addEventListener("pointermove", (event) =>
      go(Math.floor((event.clientX - picture.getBoundingClientRect().left - left) / unit)));
    home.onkeydown = (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      go(column + step);
    };
    home.replaceChildren(picture);
    const middle = pair.kind ? xs((pair.start + pair.stop) / 2) : pair.duplex.length ? xs(pair.duplex[0][1]) : 0;
    home.scrollLeft = middle - home.clientWidth / 2;
    $("tracks-says").textContent = "Point at a letter, or use the arrow keys.";
    return undefined;
  };
  // how far the miRNA, turned round, is moved along the site so that its pairs stand opposite
  const offset = (pair) => {
    const moves = pair.duplex.map(([i, j]) => j - (pair.mirna.length - 1 - i)).sort((a, b) => a - b);
    if (moves.length) return moves[Math.floor(moves.length / 2)];
    return Math.floor((pair.site.length - pair.mirna.length) / 2);
  };

  const maps = () => {
    const key = $("method").value, pack = state.pair.maps[key], home = $("maps"), scale = scaleOf(key, "maps");
    $("scale-low").textContent = scale ? number(-scale) : "";
    $("scale-high").textContent = scale ? signed(scale) : "";
    if (!pack) return home.replaceChildren(nothing("Not measured: this method has no map."));
    if (!scale) return home.replaceChildren(nothing("No evidence: every pixel is 0."));
    home.replaceChildren(...BRANCHES.filter(([branch]) => pack[branch]).map(([branch, name]) => {
      const values = pixels(pack[branch]), words = support(state.pair[branch]);
      const cell = Math.max(5, Math.floor(296 / size));
      return grid({ rows: size, cols: size, cell, left: 20, top: 20, right: 20, bottom: 20, scale,
        alt: `CGR image of the ${name}: evidence of each ${data.k}-mer; the arrow keys move over it`,
        title: [html("b", {}, name), ` ${words.size} different ${data.k}-mers` + (pack[branch].cut ? "; only the largest pixels are kept" : "")],
        hint: "Point at a pixel, or use the arrow keys.",
        start: [size >> 1, size >> 1],
        value: (row, col) => values[row * size + col],
        says: (row, col) => {
          const word = wordAt(row, col), count = words.get(word) || 0;
          return `${word}: ${signed(values[row * size + col])}, ${count ? count + " × in the " + name : "not in the " + name}`;
        },
        mark: (pen, row, col, x, y, w) => {
          if (!words.has(wordAt(row, col))) return;
          pen.strokeStyle = "#000";
          pen.lineWidth = w > 8 ? 1.4 : 1;
          pen.strokeRect(x + 0.5, y + 0.5, w - 1, w - 1);
        },
        labels: (pen, x, y, w, h) => {
          pen.font = "600 14px system-ui, sans-serif";
          pen.textAlign = "center";
          for (const [letter, a, b] of [["A", 9, 16], ["C", w - 9, 16], ["G", w - 9, h - 6], ["T", 9, h - 6]]) pen.fillText(letter, a, b);
        } });
    }));
    return undefined;
  };

  const mutants = () => {
    const kind = $("mutants-kind").value, found = state.pair[kind], home = $("mutants");
    if (!found) return home.replaceChildren(nothing("Not measured for this pair."));
    const scale = Math.max(...Object.values(found).map((pack) => pack.s));
    if (!scale) return home.replaceChildren(nothing("No evidence: no exchange changes the output."));
    home.replaceChildren(html("p", { class: "quiet" }, `Same colours from ${number(-scale)} to ${signed(scale)} (logit difference), for both sequences.`),
      ...BRANCHES.filter(([branch]) => found[branch]).map(([branch, name]) => {
        const values = opened(found[branch]), letters = state.pair[branch];
        return grid({ rows: 4, cols: letters.length, cell: 18, left: 30, top: 22, right: 12, bottom: 20, scale,
          alt: `Effects of exchanging letters of the ${name}; the arrow keys move over it`,
          title: [html("b", {}, name), " 5′→3′"],
          hint: "Point at a cell, or use the arrow keys.",
          value: (row, col) => values[col * 4 + row],
          says: (row, col) => letters[col] === LETTERS[row] ? `nt ${col + 1} is ${letters[col]}: no change`
            : `nt ${col + 1}, ${letters[col]} → ${LETTERS[row]}: ${signed(values[col * 4 + row])}`,
          mark: (pen, row, col, x, y, w) => {
            if (letters[col] !== LETTERS[row]) return;
            pen.fillStyle = "#000";
            pen.beginPath();
            pen.arc(x + w / 2, y + w / 2, 2.6, 0, 7);
            pen.fill();
          },
          labels: (pen, x, y, w, h) => { along(pen, letters, x, y, 18, h - 6); down(pen, LETTERS, x, y, 18); } });
      }));
    return undefined;
  };
  const along = (pen, letters, left, top, cell, base) => {
    pen.textAlign = "center";
    [...letters].forEach((letter, i) => {
      pen.fillStyle = colour("--ink");
      pen.font = "13px ui-monospace, monospace";
      pen.fillText(letter, left + cell * (i + 0.5), top - 6);
      pen.fillStyle = colour("--muted");
      pen.font = "11px system-ui, sans-serif";
      if (i === 0 || (i + 1) % 5 === 0) pen.fillText(String(i + 1), left + cell * (i + 0.5), base);
    });
  };
  const down = (pen, letters, left, top, cell, numbered) => {
    pen.textAlign = "right";
    [...letters].forEach((letter, i) => {
      pen.fillStyle = colour("--ink");
      pen.font = "13px ui-monospace, monospace";
      pen.fillText(letter, left - 6, top + cell * (i + 0.5) + 4);
      pen.fillStyle = colour("--muted");
      pen.font = "11px system-ui, sans-serif";
      if (numbered && (i === 0 || (i + 1) % 5 === 0)) pen.fillText(String(i + 1), left - 20, top + cell * (i + 0.5) + 4);
    });
  };

  const epistasis = () => {
    const kind = $("epistasis-kind").value, pack = state.pair[kind], home = $("epistasis");
    const with_ = data.pairs.filter((pair) => pair[kind]);
    if (!pack) {
      const told = nothing(`Not measured for this pair; ${with_.length} of the pairs in this page have this map` + (with_.length ? ": " : "."));
      with_.slice(0, 12).forEach((pair, n) => told.append(n ? ", " : "", html("a", { href: "#pair=" + encodeURIComponent(pair.id) }, pair.id)));
      return home.replaceChildren(told);
    }
    const values = opened(pack), m = state.pair.mirna, s = state.pair.site, cell = 16;
    if (!noted(values)) return home.replaceChildren(nothing("No evidence: no two exchanges act together."));
    const paired = new Set(state.pair.duplex.map(([i, j]) => i * s.length + j));
    home.replaceChildren(grid({ rows: m.length, cols: s.length, cell, left: 44, top: 22, right: 12, bottom: 20, scale: pack.s,
      alt: "Interactions of letters of the miRNA with letters of the site; the arrow keys move over it",
      title: [html("b", {}, "miRNA × site"), ` from ${number(-pack.s)} to ${signed(pack.s)} (logit difference)`],
      hint: "Point at a cell, or use the arrow keys.",
      value: (row, col) => values[row * s.length + col],
      says: (row, col) => `miRNA nt ${row + 1} ${m[row]} with site ${col + 1} ${s[col]}: ${signed(values[row * s.length + col])}` +
        ({ wc: ", Watson–Crick", wobble: ", G:U" }[sortOf(m[row], s[col])] || "") + (paired.has(row * s.length + col) ? ", paired in the duplex" : ""),
      mark: (pen, row, col, x, y, w) => {
        const sort = sortOf(m[row], s[col]), thick = paired.has(row * s.length + col);
        if (!sort) return;
        dotted(pen, sort === "wobble" ? [2, 2] : []);
        pen.strokeStyle = thick ? "#000" : "rgba(0,0,0,.3)";
        pen.lineWidth = thick ? 2.4 : 1;
        const inset = thick ? 1.2 : 1.5;
        pen.strokeRect(x + inset, y + inset, w - 2 * inset, w - 2 * inset);
        dotted(pen, []);
      },
      labels: (pen, x, y, w, h) => { along(pen, s, x, y, cell, h - 6); down(pen, m, x, y, cell, true); } }));
    return undefined;
  };

  const show = () => {
    const pair = state.pair, key = $("method").value;
    $("pair-title").textContent = "Pair " + pair.id;
    const fact = (name, value) => html("li", {}, name + " ", html("b", {}, value));
    $("pair-facts").replaceChildren(
      fact("label", pair.label === null ? "unknown" : pair.label ? "1, they interact" : "0, they do not"),
      fact("logit difference", signed(pair.logit)),
      fact("outcome", data.outcomes[pair.outcome] || pair.outcome),
      fact("seed match", kindOf(pair)),
      fact("paired letters", String(pair.duplex.length)));
    $("about").textContent = data.methods.find((each) => each.key === key).about;
    tracks();
    maps();
    mutants();
    epistasis();
  };
  const choose = (id, jump) => {
    const pair = data.pairs.find((each) => each.id === id);
    if (!pair) return false;
    state.pair = pair;
    list();
    show();
    if (jump) $("pair-title").focus({ preventScroll: false });
    return true;
  };
  const followed = (jump) => {
    const found = /^#pair=(.*)$/.exec(location.hash);
    if (!found) return false;
    let id = found[1];
    try { id = decodeURIComponent(id); } catch { return false; }
    if (choose(id, jump)) return true;
    $("count").textContent = "There is no pair " + id + " in this page.";
    return false;
  };

  // ---- downloads ----------------------------------------------------------------------------
  const cellOf = (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "";
    let text = String(value);
    // a spreadsheet would run a text that begins like a formula
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = "'" + text;
    return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  };
  const csv = (rows) => {
    const heads = [...new Set(rows.flatMap((row) => Object.keys(row)))];
    return [heads.join(","), ...rows.map((row) => heads.map((head) => cellOf(row[head])).join(","))].join("\n") + "\n";
  };
  const long = () => {
    const key = $("method").value;
    return data.pairs.flatMap((pair) => BRANCHES.flatMap(([branch]) => {
      const pack = (pair.tracks[key] || {})[branch];
      return pack ? opened(pack).map((value, position) => ({ id: pair.id, method: key, branch, position,
        letter: pair[branch][position], value: Number.isFinite(value) ? Number(value.toPrecision(3)) : null })) : [];
    }));
  };
  const made = {
    pairs: () => ["pairs.csv", csv(data.pairs.map(({ id, mirna, site, label, logit, outcome, kind, start, stop }) =>
      ({ id, mirna, site, label, logit, outcome, seed_kind: kind, seed_start: kind ? start : null, seed_stop: kind ? stop : null })))],
    tracks: () => ["tracks.csv", csv(long())],
    kmers: () => ["kmers.csv", csv(data.tables.kmers)],
    contrasts: () => ["contrasts.csv", csv(data.tables.contrasts)],
    evaluation: () => ["scores.csv", csv(data.tables.evaluation)],
    pair: () => ["pair.json", JSON.stringify({ k: data.k, steps: data.steps, ...state.pair }, null, 1)],
    all: () => ["fcgr.json", JSON.stringify(data)],
  };
  const save = (kind) => {
    const [name, text] = made[kind]();
    const type = name.endsWith(".csv") ? "text/csv" : "application/json";
    const address = URL.createObjectURL(new Blob([text], { type }));
    html("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  };

  // ---- begin --------------------------------------------------------------------------------
  box.hidden = false;
  $("method").value = data.default;
  for (const id of ["search", "by-outcome", "by-kind"]) $(id).addEventListener("input", list);
  for (const head of document.querySelectorAll("#pairs th[data-key]")) {
    head.querySelector("button").addEventListener("click", () => {
      state.down = state.sort === head.dataset.key && !state.down;
      state.sort = head.dataset.key;
      list();
    });
  }
  for (const id of ["method", "one-scale", "mutants-kind", "epistasis-kind"]) $(id).addEventListener("input", show);
  const move = (step) => {
    const pair = state.shown[state.shown.indexOf(state.pair) + step];
    if (pair) location.hash = "pair=" + encodeURIComponent(pair.id);
  };
  $("before").addEventListener("click", () => move(-1));
  $("next").addEventListener("click", () => move(1));
  for (const button of document.querySelectorAll("[data-get]")) {
    const rows = data.tables[button.dataset.get];
    button.disabled = Array.isArray(rows) && !rows.length;
    button.addEventListener("click", () => save(button.dataset.get));
  }
  window.addEventListener("hashchange", () => followed(true));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => state.pair && show());
  if (!followed(true)) choose((data.pairs.find((pair) => pair.epistasis) || data.pairs[0]).id, false);
})();
