// The worklist: sorted, filtered, a page of it at a time.
const NUMBERS = new Set(["rank", "score", "series", "slices"]);
const SEARCHED = ["name", "patient", "accession", "ids", "about", "reason", "detector", "date", "since"];
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
    const asked = Object.entries(filters).filter(([, value]) => value)
      .map(([name, value]) => `${form.elements[name].labels[0].firstChild.data.trim()}: ${value}`);
    $("#asked").textContent = asked.length ? `Only those with ${asked.join("; ")}` : ""; // for paper
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
