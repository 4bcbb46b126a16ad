// The slice viewer.
let current = null; // the viewer in use, and the handler of its keys

/** "STACK SLICE" that the viewer in use shows, in the study of these verdict buttons. */
function shownSlice(group) {
  const within = group.closest("details.study") ?? document;
  const used = within.contains(current?.figure ?? null) ? current.figure : $(".viewer.ready", within);
  return used?.dataset.slice;
}

/** Why a slice has no score, by its state. */
const UNSCORED = { background: "empty (background only)", failed: "unusable", passed_over: "passed over" };

const CINE_MS = 100; // between slices

function viewer(figure) {
  const slices = data($(":scope > script", figure)), count = slices.numbers.length;
  const maps = slices.maps ? new Maps(slices) : null, view = new View($(".panes", figure), slices.place.side);
  const input = (name) => $(`[name=${name}]`, figure);
  const [slider, heat, opacity, threshold, palette, contour, side, hand, cine] =
    ["slice", "heat", "opacity", "threshold", "palette", "contour", "side", "hand", "cine"].map(input);
  const canvas = $(".heat", figure), panes = $(".panes", figure);
  const now = $(".now", figure), here = $(".here", figure), about = $(".about", figure);
  const profile = $(".wide", figure), box = profile.viewBox.baseVal, pad = 4;
  const windows = new Windows(figure, () => paintSoon()), prior = Prior.of(figure);
  view.follower = prior?.view;
  const planes = new Planes(figure, slices, maps, windows, {
    at: () => at(),
    go: (position) => go(position),
    look: () => look(),
    words: (...point) => words(...point),
    zoom: (factor) => zoom(factor),
  });
  let pixels = null; // of the slice in view, once they are there
  for (const control of maps ? [] : [heat, opacity, threshold, palette, contour]) control.closest("label").hidden = true;

  const across = (number) =>
    slices.of > 1 ? pad + ((number - 1) / (slices.of - 1)) * (box.width - 2 * pad) : box.width / 2;
  const describe = (position) => {
    const score = slices.scores[position], state = slices.states[position];
    const limit = slices.threshold === null ? "" : ` (threshold ${slices.threshold.toFixed(3)})`;
    const result = score === null ? `not scored: ${UNSCORED[state] ?? state}` : `score ${score.toFixed(3)}${limit}`;
    return `Slice ${slices.numbers[position]} of ${slices.of}, ${result}`;
  };
  const at = () => Number(slider.value);
  const look = () => ({
    heat: heat.checked, opacity: opacity.value / 100, palette: palette.value,
    place: threshold.value / 100, contour: contour.checked,
  });

  // --- drawing --------------------------------------------------------------------------------

  function draw() {
    const position = at(), number = slices.numbers[position], picture = slices.pictures[position];
    for (const image of all(".stage img", panes)) {
      image.hidden = !picture;
      if (picture) image.src = picture;
    }
    now.textContent = slider.ariaValueText = describe(position);
    now.title = slices.files[position];
    here.textContent = "";
    figure.dataset.slice = `${slices.stack} ${number}`;
    $(".cursor", figure).setAttribute("d", `M${across(number).toFixed(1)} 0V${box.height}`);
    if (maps) drawMap(position);
    figure.classList.toggle("alone", !side.checked);
    panes.classList.toggle("hand", hand.checked);
    prior?.show(position, look());
    drawPixels(position);
    planes.draw();
    // Load the neighbours ahead of the next step.
    for (const near of [position + 1, position - 1]) {
      if (slices.pictures[near]) new Image().src = slices.pictures[near];
      if (slices.full[near]) Pixels.of(slices.full[near]).catch(() => {});
    }
  }

  function drawMap(position) {
    const scored = slices.scores[position] !== null, place = threshold.value / 100, level = maps.at(place);
    canvas.hidden = !(heat.checked && scored);
    canvas.style.opacity = opacity.value / 100;
    canvas.ariaLabel = `Heatmap of slice ${slices.numbers[position]}`;
    if (scored) maps.paint(canvas, position, palette.value, place);
    const d = contour.checked && scored ? maps.contour(position, level) : "";
    for (const path of all(".contour", panes)) path.setAttribute("d", d);
    threshold.nextElementSibling.textContent = level.toFixed(3);
    threshold.ariaValueText = `Contours at ${level.toFixed(3)}`;
  }

  /** Show a slice at its own resolution where the report has it, else the picture of it. */
  async function drawPixels(position) {
    const address = slices.full[position];
    pixels = null;
    let why = address ? "" : "Values of this slice are not in the report: this is a picture of it.";
    try {
      const found = address ? await Pixels.of(address) : null;
      if (position !== at()) return;
      pixels = found;
    } catch (error) {
      why = `Values of this slice cannot be shown: ${error.message}.`;
    }
    if (position !== at()) return;
    about.textContent = pixels ? wordsOf(pixels) : why;
    for (const image of all(".stage img", panes)) image.hidden = Boolean(pixels) || !slices.pictures[position];
    for (const text of all(".none", panes)) text.hidden = Boolean(pixels || slices.pictures[position]);
    for (const sheet of all(".pixels", panes)) sheet.hidden = !pixels;
    windows.offer(pixels);
    paint();
  }

  const wordsOf = ({ columns, rows, width, channels, rounded, units }) =>
    `${columns} \u00d7 ${rows} pixels, ${channels > 1 ? "colour" : `${8 * width} bits`}` +
    (rounded ? `, values rounded by up to ${rounded.toPrecision(2)} ${units}` : "");

  function paint() {
    prior?.paint(windows, pixels);
    if (!pixels) return;
    const [first, ...others] = all(".pixels", panes), [low, high] = windows.ends;
    const [left, top, width, height] = slices.place.box.map((share) => `${100 * share}%`);
    pixels.paint(first, low, high, windows.invert.checked);
    for (const sheet of others) {
      Object.assign(sheet, { width: first.width, height: first.height });
      sheet.getContext("2d").drawImage(first, 0, 0);
    }
    for (const sheet of [first, ...others]) Object.assign(sheet.style, { left, top, width, height });
    sharpen();
    planes.draw();
  }

  let waiting = 0;
  function paintSoon() {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(paint);
  }

  /** Show pixels as squares once they are large. */
  function sharpen() {
    const [sheet] = all(".pixels", panes);
    panes.classList.toggle("large", sheet.getBoundingClientRect().width > 3 * sheet.width);
  }

  // --- steps ----------------------------------------------------------------------------------

  /** Show a slice; returns whether it is another one. */
  function go(position) {
    const before = slider.value;
    slider.value = clamp(position, 0, count - 1);
    if (slider.value !== before) draw();
    return slider.value !== before;
  }

  let film = 0;
  function play() {
    film = film ? clearInterval(film) : setInterval(() => go((at() + 1) % count), CINE_MS);
    cine.ariaPressed = String(Boolean(film));
  }

  const step = (by) => go(at() + by);
  const zoomed = () => { sharpen(); planes.zoom(view.zoom); };
  const zoom = (factor, point = planes.on ? planes.point : undefined) => { view.by(factor, point); zoomed(); };
  const whole = () => { view.show(1, 0, 0); zoomed(); };
  const turn = (control, by) => {
    control.value = Number(control.value) + by;
    draw();
  };
  const recolour = () => {
    palette.selectedIndex = (palette.selectedIndex + 1) % palette.length;
    palette.dispatchEvent(new Event("input"));
  };
  const moves = {
    ArrowRight: () => step(1), ArrowUp: () => step(1), ArrowLeft: () => step(-1), ArrowDown: () => step(-1),
    PageUp: () => step(5), PageDown: () => step(-5), Home: () => go(0), End: () => go(count - 1),
  };
  const keys = {
    h: () => heat.click(), c: () => contour.click(), s: () => side.click(), d: () => hand.click(), p: play, m: recolour,
    b: () => input("prior")?.click(),
    w: () => windows.next(), i: () => windows.invert.click(), "+": () => zoom(1.25), "=": () => zoom(1.25),
    "-": () => zoom(0.8), 0: whole, "[": () => turn(threshold, -2), "]": () => turn(threshold, 2), r: () => planes.box?.click(),
  };
  const nudges = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

  function key(event) {
    const within = figure.contains(event.target);
    if (event.shiftKey && nudges[event.key] && planes.step(...nudges[event.key])) event.preventDefault();
    else if (keys[event.key]) keys[event.key]();
    else if (moves[event.key] && event.target.type !== "range") {
      if (!within && !event.key.startsWith("Arrow")) return;
      if (!within && ["ArrowUp", "ArrowDown"].includes(event.key)) return; // they scroll the page
      event.preventDefault();
      moves[event.key]();
    }
  }

  for (const control of [slider, heat, opacity, threshold, contour, side, hand]) control.addEventListener("input", draw);
  for (const button of all("[data-position]", figure)) button.addEventListener("click", () => go(Number(button.dataset.position)));
  cine.addEventListener("click", play);
  input("nearer").addEventListener("click", () => zoom(1.25));
  input("farther").addEventListener("click", () => zoom(0.8));
  input("whole").addEventListener("click", whole);
  const paintThumbs = () => {
    for (const button of maps ? all("[data-position]", figure) : []) {
      maps.paint($("canvas", button), Number(button.dataset.position), palette.value);
    }
    const legend = $(".legend img", figure);
    if (legend) legend.src = Maps.legend(palette.value);
  };
  palette.addEventListener("input", () => {
    paintThumbs();
    draw();
  });

  // --- the pointer ----------------------------------------------------------------------------

  panes.addEventListener("wheel", (event) => {
    if (event.ctrlKey) zoom(2 ** (-event.deltaY / 200), view.where(event));
    else if (!plain(event) || !step(Math.sign(event.deltaY))) return;
    event.preventDefault();
    use();
  }, { passive: false });

  let drag = null; // where it began, and the window then
  panes.addEventListener("pointerdown", (event) => {
    if (event.button > 1 || !event.target.closest(".pane")) return;
    drag = { from: view.where(event), x: event.clientX, y: event.clientY, ends: windows.ends };
    drag.pans = hand.checked || event.shiftKey || event.button === 1;
    drag.size = event.target.closest(".pane").clientWidth;
    panes.setPointerCapture(event.pointerId);
    if (event.button === 1) event.preventDefault(); // it would scroll
  });
  for (const name of ["pointerup", "pointercancel"]) panes.addEventListener(name, () => { drag = null; });
  panes.addEventListener("pointermove", (event) => {
    if (!drag) return tell(event);
    const [right, down] = [event.clientX - drag.x, event.clientY - drag.y].map((moved) => moved / drag.size);
    if (!drag.pans && pixels) windows.drag(drag.ends, right, down);
    if (!drag.pans) return;
    view.pan(right / view.zoom, down / view.zoom);
    [drag.x, drag.y] = [event.clientX, event.clientY];
  });
  panes.addEventListener("pointerleave", () => { here.textContent = ""; });

  /** Say what is under the pointer: value, place in the patient, score of the map. */
  function tell(event) {
    const [u, v] = view.where(event), position = at();
    if (!event.target.closest(".pane") || Math.min(u, v) < 0 || Math.max(u, v) >= 1) return;
    here.textContent = words(position, u, v, pixels);
  }

  function words(position, u, v, slice) {
    const score = maps && slices.scores[position] !== null ? `map ${maps.score(position, u, v).toFixed(3)}` : "";
    return [valueWords(slice, u, v), patientWords(slices.place, position, u, v), score].filter(Boolean).join("; ");
  }

  function valueWords(slice, u, v) {
    if (!slice) return "";
    const [left, top, width, height] = slices.place.box;
    const column = Math.floor(((u - left) / width) * slice.columns), row = Math.floor(((v - top) / height) * slice.rows);
    if (column < 0 || row < 0 || column >= slice.columns || row >= slice.rows) return "";
    const digits = Number.isInteger(slice.step) && Number.isInteger(slice.first) ? 0 : 4;
    return `${slice.values(column, row).map((value) => Number(value.toFixed(digits))).join(" ")} ${slice.units}`.trim();
  }

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
  paintThumbs();
  draw();
  figure.classList.add("ready");
}
