// The last earlier study beside the current one: the slice at the same place, in the same window.
class Prior {
  /** The one of a viewer; null if it has none. */
  static of(figure) {
    const box = $(":scope > .prior", figure);
    return box && new Prior(figure, box);
  }

  constructor(figure, box) {
    const slices = data($(":scope > script", box));
    Object.assign(this, { figure, box, slices, pixels: null, at: 0, position: 0 });
    this.maps = slices.maps ? new Maps(slices) : null;
    this.view = new View(box, slices.place.side);
    this.switch = $("[name=prior]", figure);
    this.switch.addEventListener("input", () => this.toggle());
    this.toggle();
    // The wheel over it steps and zooms as it does over the current study.
    box.addEventListener("wheel", (event) => {
      const same = new WheelEvent("wheel", event);
      $(".panes", figure).dispatchEvent(same);
      if (same.defaultPrevented) event.preventDefault();
    }, { passive: false });
  }

  toggle() {
    this.box.hidden = !this.switch.checked;
    this.figure.classList.toggle("compared", this.switch.checked);
  }

  /** Show what lies beside a slice of the current viewer. */
  show(position, look) {
    const { slices, box } = this, at = slices.beside[position], picture = slices.pictures[at];
    Object.assign(this, { position, at, pixels: null });
    const image = $("img", box);
    image.hidden = !picture;
    if (picture) image.src = picture;
    $(".none", box).hidden = Boolean(picture || slices.full[at]);
    $(".pixels", box).hidden = true;
    this.drawMap(look);
    this.tell();
    const near = [position, position + 1, position - 1].map((p) => slices.full[slices.beside[p]]);
    for (const address of near.filter(Boolean)) Pixels.of(address).catch(() => {});
    return this.load(at);
  }

  /** Load the slice at its own resolution where the report has it. */
  async load(at) {
    const address = this.slices.full[at];
    const found = address ? await Pixels.of(address).catch(() => null) : null;
    if (at !== this.at || !found) return;
    this.pixels = found;
    this.paint();
  }

  drawMap({ heat, opacity, palette, place, contour }) {
    const { box, maps, at } = this, canvas = $(".heat", box), scored = maps && this.slices.scores[at] !== null;
    canvas.hidden = !(heat && scored);
    canvas.style.opacity = opacity;
    if (scored) maps.paint(canvas, at, palette, place);
    const d = contour && scored ? maps.contour(at, maps.at(place)) : "";
    for (const path of all(".contour", box)) path.setAttribute("d", d);
  }

  /** Show it in the window of the current slice. */
  paint(windows = this.windows, current = this.current) {
    Object.assign(this, { windows, current });
    if (!this.pixels || !windows) return;
    const sheet = $(".pixels", this.box), [low, high] = this.ends();
    const [left, top, width, height] = this.slices.place.box.map((share) => `${100 * share}%`);
    this.pixels.paint(sheet, low, high, windows.invert.checked);
    Object.assign(sheet.style, { left, top, width, height });
    sheet.hidden = false;
    $("img", this.box).hidden = $(".none", this.box).hidden = true;
    this.box.classList.toggle("large", sheet.getBoundingClientRect().width > 3 * sheet.width);
    this.tell();
  }

  /** Whether its values have the unit of the current ones: then a window is the same in both. */
  get comparable() {
    return Boolean(this.pixels?.units) && this.pixels.units === this.current?.units;
  }

  /** Values of black and white. Without a unit, as far from those that the detector saw. */
  ends() {
    const { windows, pixels, current } = this;
    if (this.comparable || !current) return current ? windows.ends : pixels.window;
    if (!windows.own) return windowsOf(pixels)[windows.list.value] ?? pixels.window;
    const [black, white] = current.window, [low, high] = pixels.window;
    return windows.own.map((value) => low + ((value - black) / (white - black || 1)) * (high - low));
  }

  tell() {
    const { slices, at, position } = this, score = slices.scores[at], apart = slices.apart?.[position];
    const result = score === null ? `not scored: ${UNSCORED[slices.states[at]] ?? slices.states[at]}` : `score ${score.toFixed(3)}`;
    const where = slices.apart ? `${apart.toFixed(1)} mm away` : "at the same share of the stack: the frames of reference differ or are not known";
    const window = this.pixels && this.current && !this.comparable ? "; window by its own values, which have no unit" : "";
    const inverted = this.pixels && this.windows?.invert.checked ? "; inverted" : "";
    $(".then", this.box).textContent = `Slice ${slices.numbers[at]} of ${slices.of}, ${result}; ${where}${window}${inverted}`;
  }
}
