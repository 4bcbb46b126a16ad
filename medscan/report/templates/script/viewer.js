// The slice viewer.
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
