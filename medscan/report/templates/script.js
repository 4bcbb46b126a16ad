// The worklist's index and slice viewer. A classic script, because modules do not load from file://.
"use strict";
(() => {
  const $ = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const data = (element) => JSON.parse(element.textContent);
  const typing = (event) => event.target.closest("input:not([type=range], [type=checkbox]), select, textarea");
  const plain = (event) => !(event.ctrlKey || event.altKey || event.metaKey);
  document.documentElement.classList.add("js");

  // --- verdicts -------------------------------------------------------------------------------

  /** Verdicts on a report kept in this browser: by study, then by "STACK SLICE" or "" (all of it). */
  class Verdicts {
    static kept = "{}"; // stands in where a browser keeps nothing for pages from files

    constructor(report) {
      this.name = `medscan verdicts ${report}`;
    }

    /** Whether other pages of the report see the verdicts that this one keeps. */
    get shared() {
      try {
        return localStorage.getItem(this.name) !== null;
      } catch {
        return false;
      }
    }

    get all() {
      try {
        return JSON.parse(localStorage.getItem(this.name) ?? Verdicts.kept);
      } catch {
        return JSON.parse(Verdicts.kept);
      }
    }

    set all(studies) {
      Verdicts.kept = JSON.stringify(studies);
      try {
        localStorage.setItem(this.name, Verdicts.kept);
      } catch {
        // Then only this page holds them.
      }
    }

    put(study, byPart) {
      const studies = this.all;
      delete studies[study];
      this.all = Object.keys(byPart).length ? { ...studies, [study]: byPart } : studies;
    }

    /** The verdict on a study as a whole, from those on its parts; empty for none. */
    static whole(byPart = {}) {
      const verdicts = Object.values(byPart);
      return verdicts.includes("abnormal") ? "abnormal" : verdicts[0] ?? "";
    }

    get csv() {
      const rows = Object.entries(this.all).flatMap(([study, byPart]) =>
        Object.entries(byPart).map(([part, verdict]) => [study, ...(part || " ").split(" "), verdict]));
      // Anything but plain names could be a formula to a spreadsheet.
      const plain = rows.filter((row) => /^(\w[\w.-]*)?(,(\w[\w.-]*)?){3}$/.test(`${row}`));
      return [["study", "stack", "slice", "verdict"], ...plain].map((row) => `${row}\r\n`).join("");
    }
  }

  function download(text, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  /** Set up the verdict buttons of a study; returns the handler of their keys. */
  function judge(group) {
    const { study, report } = group.dataset, verdicts = new Verdicts(report), status = $("[role=status]", group);
    if (!verdicts.shared && !$("#data")) return () => {}; // the list would never see them
    const show = () => {
      const byPart = verdicts.all[study] ?? {}, verdict = Verdicts.whole(byPart);
      const slices = Object.keys(byPart).filter(Boolean).map((part) => `slice ${part.split(" ")[1]}`);
      status.textContent = slices.length ? `${verdict}: ${slices.join(", ")}` : verdict;
      for (const button of all("button", group)) button.ariaPressed = String(button.value === verdict);
      $("[value='']", group).hidden = !verdict;
    };
    const give = (verdict) => {
      const before = verdicts.all[study] ?? {}, part = verdict === "abnormal" && shownSlice(group);
      if (!verdict) verdicts.put(study, {});
      else if (!part) verdicts.put(study, { "": verdict });
      // A verdict on the whole study gives way to one on a slice; those on other slices stay.
      else verdicts.put(study, { ...(before[""] ? {} : before), [part]: verdict });
      show();
      dispatchEvent(new Event("judged"));
    };
    for (const button of all("button", group)) button.addEventListener("click", () => give(button.value));
    for (const name of ["pageshow", "storage", "judged"]) addEventListener(name, show);
    group.hidden = false;
    show();
    return (event) => {
      if (event.key === "a" || event.key === "n") give(event.key === "a" ? "abnormal" : "normal");
    };
  }

  // --- copying --------------------------------------------------------------------------------

  /** Put a text on the clipboard; returns whether it is there. */
  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Refused, or missing, as on pages that plain HTTP brought: the old way works there.
      const field = Object.assign(document.createElement("textarea"), { value: text, className: "quiet" });
      const focused = document.activeElement;
      document.body.append(field);
      field.focus({ preventScroll: true });
      field.select();
      const done = document.execCommand("copy");
      field.remove();
      focused?.focus({ preventScroll: true });
      return done;
    }
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest(".copy"), name = button?.dataset.name ?? button?.textContent;
    if (!button) return;
    button.dataset.name = name;
    button.textContent = (await copy(button.dataset.copy)) ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = name; }, 2000);
  });

  // --- the index ------------------------------------------------------------------------------

  const NUMBERS = new Set(["rank", "score", "series", "slices"]);
  const SEARCHED = ["name", "patient", "accession", "ids", "about", "reason", "detector", "date"];
  const BEST_FIRST = new Set(["score", "date", "series", "slices"]);

  function index(table) {
    const { fields, rows, page: size } = data($("#data"));
    const form = $(".filters"), body = $("#rows"), blank = $("#row").content.firstElementChild;
    const studies = rows.map((row) => Object.fromEntries(fields.map((f, i) => [f, row[i]])));
    for (const s of studies) s.text = SEARCHED.map((f) => s[f]).join(" ").toLowerCase();
    const earlier = studies.map((s) => s.verdict), bar = $(".judged"), verdicts = new Verdicts(bar.dataset.report);
    const state = { sort: "rank", down: false, page: 0 };
    let shown = studies;

    const value = (s) => {
      const text = s[state.sort];
      return NUMBERS.has(state.sort) ? parseFloat(text) : text.toLowerCase() || NaN;
    };
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x !== x || y !== y) return (x !== x) - (y !== y); // missing values come last
      return (x < y ? -1 : x > y ? 1 : 0) * (state.down ? -1 : 1);
    };
    const passes = (s, f) =>
      f.text.toLowerCase().split(" ").every((word) => s.text.includes(word)) &&
      ["flag", "modality", "detector", "changed", "verdict"]
        .every((name) => !f[name] || (s[name] || "none") === f[name]) &&
      (!f.from || (s.date && s.date >= f.from)) && (!f.to || (s.date && s.date <= f.to));

    function fill(s) {
      const row = blank.cloneNode(true), image = $("img", row);
      row.dataset.flag = $(".flag", row).dataset.flag = s.flag;
      for (const cell of all("[data-f]", row)) cell.textContent = s[cell.dataset.f];
      for (const path of all("[data-d]", row)) path.setAttribute("d", s[path.dataset.d]);
      if (s.href) $("a", row).setAttribute("href", s.href);
      const uid = { hidden: !s.uid, title: `StudyInstanceUID ${s.uid}` };
      Object.assign($(".copy", row), uid).dataset.copy = s.uid;
      const link = $(".link", row);
      link.hidden = !s.link;
      if (s.link) link.href = s.link;
      image.hidden = !s.icon;
      if (s.icon) image.src = s.icon;
      return row;
    }

    function draw(whole = false) {
      const pages = Math.max(1, Math.ceil(shown.length / size));
      state.page = Math.min(Math.max(state.page, 0), pages - 1);
      const part = whole ? shown : shown.slice(state.page * size, (state.page + 1) * size);
      body.replaceChildren(...part.map(fill));
      $("#count").textContent = `${shown.length} of ${studies.length} studies`;
      $("#page").textContent = `Page ${state.page + 1} of ${pages}`;
      for (const button of all("[data-turn]")) {
        button.disabled = !(state.page + Number(button.dataset.turn) in [...Array(pages)]);
      }
      for (const button of all("[data-sort]", table)) {
        const sorted = button.dataset.sort === state.sort;
        button.closest("th").ariaSort = sorted ? (state.down ? "descending" : "ascending") : null;
      }
    }

    function select(page) {
      const filters = Object.fromEntries(new FormData(form));
      shown = studies.filter((s) => passes(s, filters)).sort(compare);
      state.page = page;
      draw();
      return filters;
    }

    const choose = (page = 0) => keep(select(page));

    /** Keep filters, order and page in the address, so that coming back finds the same list. */
    function keep(filters) {
      const settings = Object.entries({ ...filters, ...state }).filter(([, value]) => value);
      const initial = settings.length === 1 && state.sort === "rank";
      history.replaceState(null, "", initial ? location.pathname : `#?${new URLSearchParams(settings)}`);
    }

    function recall() {
      if (!location.hash.startsWith("#?")) return;
      const settings = new URLSearchParams(location.hash.slice(2));
      for (const [name, value] of settings) if (form.elements[name]) form.elements[name].value = value;
      if (fields.includes(settings.get("sort"))) state.sort = settings.get("sort");
      state.down = settings.get("down") === "true";
      choose(Number(settings.get("page")) || 0);
    }

    function move(step) {
      const rows = all("tr", body), focused = rows.indexOf(document.activeElement.closest("#rows tr"));
      let next = focused < 0 ? 0 : focused + step;
      if (!rows[next] && shown.length > size) {
        const before = state.page;
        state.page += step;
        draw();
        if (state.page === before) next = focused;
        else next = step > 0 ? 0 : size - 1;
      }
      all("tr", body)[next]?.focus();
    }

    function showVerdicts() {
      const kept = verdicts.all, count = Object.keys(kept).length;
      studies.forEach((s, i) => { s.verdict = Verdicts.whole(kept[s.key]) || earlier[i]; });
      bar.hidden = !count;
      $("[role=status]", bar).textContent =
        `Verdicts on ${count} ${count === 1 ? "study" : "studies"} are kept in this browser only.`;
      select(state.page);
    }

    verdicts.all = verdicts.all; // shows the studies' pages that verdicts are kept
    $("[name=save]", bar).addEventListener("click", () => download(verdicts.csv, "decisions.csv"));
    $("[name=forget]", bar).addEventListener("click", () => {
      verdicts.all = {};
      dispatchEvent(new Event("judged"));
    });
    for (const name of ["pageshow", "storage", "judged"]) addEventListener(name, showVerdicts);

    form.addEventListener("input", () => choose());
    form.addEventListener("reset", () => setTimeout(choose));
    form.addEventListener("submit", (event) => event.preventDefault());
    table.addEventListener("click", (event) => {
      const sort = event.target.closest("[data-sort]")?.dataset.sort;
      if (sort) {
        state.down = sort === state.sort ? !state.down : BEST_FIRST.has(sort);
        state.sort = sort;
        choose();
      } else if (!event.target.closest("a, button") && !String(getSelection())) {
        $("th a[href]", event.target.closest("#rows tr") ?? document.createElement("i"))?.click();
      }
    });
    for (const button of all("[data-turn]")) {
      button.addEventListener("click", () => {
        state.page += Number(button.dataset.turn);
        choose(state.page);
      });
    }
    document.addEventListener("keydown", (event) => {
      if (typing(event) || !plain(event)) return;
      if (event.key === "j" || event.key === "k") move(event.key === "j" ? 1 : -1);
      if (event.key === "Enter" && event.target.matches("#rows tr")) $("th a[href]", event.target)?.click();
      if (event.key === "/") {
        event.preventDefault();
        form.elements.text.focus();
      }
    });
    addEventListener("beforeprint", () => draw(true));
    addEventListener("afterprint", () => draw());
    draw();
    recall();
  }

  // --- heatmaps -------------------------------------------------------------------------------

  const colours = data($("#colours"));
  const RGB = colours.rgb.match(/../g).map((pair) => parseInt(pair, 16));

  class Maps {
    constructor({ maps, grid, low, high, scale }) {
      const bytes = Uint8Array.from(atob(maps), (c) => c.charCodeAt(0));
      this.steps = new Uint16Array(bytes.buffer);
      Object.assign(this, { grid, low, span: (high - low) / 65535, scale });
    }

    /** Patch scores of a slice on side x side points, interpolated between patch centres. */
    field(position, side) {
      const { grid, steps } = this, first = position * grid * grid, scores = new Float32Array(side * side);
      const neighbours = [...Array(side)].map((_, p) => {
        const x = Math.min(Math.max(((p + 0.5) * grid) / side - 0.5, 0), grid - 1);
        return [Math.floor(x), Math.min(Math.floor(x) + 1, grid - 1), x % 1];
      });
      neighbours.forEach(([top, bottom, down], j) => neighbours.forEach(([left, right, across], i) => {
        const line = (row) => {
          const start = first + row * grid;
          return steps[start + left] * (1 - across) + steps[start + right] * across;
        };
        scores[j * side + i] = this.low + this.span * (line(top) * (1 - down) + line(bottom) * down);
      }));
      return scores;
    }

    paint(canvas, position) {
      const side = canvas.width, context = canvas.getContext("2d");
      const image = context.createImageData(side, side), [low, middle, high] = this.scale;
      const below = 0.5 / (middle - low), above = 0.5 / (high - middle);
      this.field(position, side).forEach((score, p) => {
        const value = 0.5 + (score - middle) * (score < middle ? below : above);
        const shade = Math.round(Math.min(Math.max(value, 0), 1) * 255);
        image.data.set(RGB.slice(3 * shade, 3 * shade + 3), 4 * p);
        image.data[4 * p + 3] = 255 * colours.alpha[shade];
      });
      context.putImageData(image, 0, 0);
    }

    /** Where scores cross the threshold for patches, as an SVG path in a square of 100. */
    contour(position, side = 64) {
      const scores = this.field(position, side), level = this.scale[1], parts = [];
      const CORNERS = [[0, 0], [1, 0], [1, 1], [0, 1]];
      for (let j = 0; j + 1 < side; j++) {
        for (let i = 0; i + 1 < side; i++) {
          const corner = CORNERS.map(([x, y]) => scores[(j + y) * side + i + x] - level);
          const ends = [];
          corner.forEach((a, c) => {
            const b = corner[(c + 1) % 4], [x, y] = CORNERS[c], [u, v] = CORNERS[(c + 1) % 4];
            if (a >= 0 === b >= 0) return;
            const t = a / (a - b), point = (from, to, add) => ((add + from + t * (to - from) + 0.5) * 100) / side;
            ends.push(`${point(x, u, i).toFixed(2)} ${point(y, v, j).toFixed(2)}`);
          });
          for (let e = 0; e < ends.length; e += 2) parts.push(`M${ends[e]}L${ends[e + 1]}`);
        }
      }
      return parts.join("");
    }

    score(position, x, y) {
      return this.field(position, 64)[Math.floor(y * 64) * 64 + Math.floor(x * 64)];
    }
  }

  // --- the slice viewer -----------------------------------------------------------------------

  let current = null; // the viewer in use, and the handler of its keys

  /** "STACK SLICE" that the viewer in use shows, in the study of these verdict buttons. */
  function shownSlice(group) {
    const within = group.closest("details.study") ?? document;
    const used = within.contains(current?.figure ?? null) ? current.figure : $(".viewer.ready", within);
    return used?.dataset.slice;
  }

  /** Why a slice has no score, by its state. */
  const UNSCORED = { background: "empty (background only)", failed: "unusable" };

  function viewer(figure) {
    const slices = data($(":scope > script", figure)), count = slices.numbers.length;
    const maps = slices.maps ? new Maps(slices) : null;
    const input = (name) => $(`[name=${name}]`, figure);
    const [slider, heat, opacity, contour, side] =
      ["slice", "heat", "opacity", "contour", "side"].map(input);
    const canvas = $(".painted canvas", figure), pane = $(".painted", figure), now = $(".now", figure);
    const profile = $(".wide", figure), box = profile.viewBox.baseVal, pad = 4;
    for (const control of maps ? [] : [heat, opacity, contour]) control.closest("label").hidden = true;

    const across = (number) =>
      slices.of > 1 ? pad + ((number - 1) / (slices.of - 1)) * (box.width - 2 * pad) : box.width / 2;
    const describe = (position) => {
      const score = slices.scores[position], state = slices.states[position];
      const limit = slices.threshold === null ? "" : ` (threshold ${slices.threshold.toFixed(3)})`;
      const result = score === null ? `not scored: ${UNSCORED[state] ?? state}` : `score ${score.toFixed(3)}${limit}`;
      return `Slice ${slices.numbers[position]} of ${slices.of}, ${result}`;
    };

    function draw() {
      const position = Number(slider.value), number = slices.numbers[position];
      const scored = slices.scores[position] !== null, picture = slices.pictures[position];
      for (const image of all(".pane > img", figure)) {
        image.hidden = !picture;
        if (picture) image.src = picture;
      }
      for (const text of all(".none", figure)) text.hidden = Boolean(picture);
      now.textContent = slider.ariaValueText = describe(position);
      now.title = slices.files[position];
      figure.dataset.slice = `${slices.stack} ${number}`;
      $(".cursor", figure).setAttribute("d", `M${across(number).toFixed(1)} 0V${box.height}`);
      if (maps) {
        canvas.hidden = !(heat.checked && scored);
        canvas.style.opacity = opacity.value / 100;
        canvas.ariaLabel = `Heatmap of slice ${number}`;
        if (scored) maps.paint(canvas, position);
        const d = contour.checked && scored ? maps.contour(position) : "";
        for (const path of all(".painted .contour", figure)) path.setAttribute("d", d);
      }
      figure.classList.toggle("alone", !side.checked);
      // Load the neighbours' pictures ahead of the next step.
      for (const near of [position + 1, position - 1]) if (slices.pictures[near]) new Image().src = slices.pictures[near];
    }

    /** Show a slice; returns whether it is another one. */
    function go(position) {
      const before = slider.value;
      slider.value = Math.min(Math.max(position, 0), count - 1);
      if (slider.value !== before) draw();
      return slider.value !== before;
    }

    const step = (by) => go(Number(slider.value) + by);
    const toggles = { h: heat, c: contour, s: side };
    const keys = {
      ArrowRight: () => step(1), ArrowUp: () => step(1), ArrowLeft: () => step(-1), ArrowDown: () => step(-1),
      PageUp: () => step(5), PageDown: () => step(-5), Home: () => go(0), End: () => go(count - 1),
    };

    function key(event) {
      const within = figure.contains(event.target);
      if (toggles[event.key]) toggles[event.key].click();
      else if (keys[event.key] && event.target.type !== "range") {
        if (!within && !event.key.startsWith("Arrow")) return;
        if (!within && ["ArrowUp", "ArrowDown"].includes(event.key)) return; // they scroll the page
        event.preventDefault();
        keys[event.key]();
      }
    }

    for (const control of all("input", figure)) control.addEventListener("input", draw);
    for (const button of all("[data-position]", figure)) {
      button.addEventListener("click", () => go(Number(button.dataset.position)));
      if (maps) maps.paint($("canvas", button), Number(button.dataset.position));
    }
    $(".panes", figure).addEventListener("wheel", (event) => {
      if (!plain(event) || !step(Math.sign(event.deltaY))) return;
      event.preventDefault();
      use();
    }, { passive: false });
    pane.addEventListener("pointermove", (event) => {
      const box = pane.getBoundingClientRect(), position = Number(slider.value);
      const x = (event.clientX - box.left) / box.width, y = (event.clientY - box.top) / box.height;
      if (!maps || slices.scores[position] === null || Math.min(x, y) < 0 || Math.max(x, y) >= 1) return;
      now.textContent = `${describe(position)}; here ${maps.score(position, x, y).toFixed(3)}`;
    });
    pane.addEventListener("pointerleave", () => { now.textContent = describe(Number(slider.value)); });
    profile.addEventListener("click", (event) => {
      const outline = profile.getBoundingClientRect();
      const x = ((event.clientX - outline.left) / outline.width) * box.width;
      const distance = (number) => Math.abs(across(number) - x);
      go(slices.numbers.reduce((best, number, i) => distance(number) < distance(slices.numbers[best]) ? i : best, 0));
    });

    /** Make this the viewer that keys and verdicts are for. */
    function use() {
      current = { figure, key };
      for (const other of all(".viewer.current")) other.classList.remove("current");
      figure.classList.add("current");
    }

    for (const name of ["focusin", "pointerdown"]) figure.addEventListener(name, use);
    current ??= { figure, key };
    draw();
    figure.classList.add("ready");
  }

  function study() {
    // Viewers are set up when they come near the screen: a study may have many.
    const observer = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        observer.unobserve(target);
        viewer(target);
      }
    }, { rootMargin: "50%" });
    for (const figure of all(".viewer")) observer.observe(figure);
    const judges = new Map(all(".judge").map((group) => [group, judge(group)]));
    const judgeInUse = () => {
      const within = judges.size === 1 ? document : $(".viewer.current")?.closest("details.study[open]");
      return within && judges.get($(".judge", within));
    };
    document.addEventListener("keydown", (event) => {
      if (typing(event) || !plain(event)) return;
      judgeInUse()?.(event);
      const link = { j: "next", k: "prev", u: "up" }[event.key];
      if (link) $(`a[rel=${link}]`)?.click();
      else current?.key(event);
    });
  }

  const table = $(".studies");
  if (table && $("#data")) index(table);
  if ($(".viewer, .judge")) study();
})();
