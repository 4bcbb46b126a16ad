// Windows: which values are black and which are white.

/** Level and width of the usual windows of CT, Hounsfield units. */
const CT_WINDOWS = {
  Brain: [40, 80], Subdural: [80, 200], Stroke: [40, 40], "Soft tissue": [50, 400], Lung: [-600, 1500], Bone: [500, 2500],
};

/** The windows that a slice offers by name, as the values of black and white. */
function windowsOf(pixels) {
  const named = { "as the detector saw it": pixels.window };
  if (pixels.header) named["of the header"] = pixels.header;
  for (const [name, [level, width]] of pixels.units === "HU" ? Object.entries(CT_WINDOWS) : []) {
    named[`${name} ${level}/${width}`] = [level - width / 2, level + width / 2];
  }
  if (pixels.channels > 1) return named;
  const [lowest, low, high, highest] = pixels.quantiles([0, 0.01, 0.99, 1]);
  return { ...named, "1 to 99 %": [low, high], "all values": [lowest, highest] };
}

/** The window controls of a viewer; `changed` is called when a person changes them. */
class Windows {
  constructor(figure, changed) {
    const field = (name) => $(`[name=${name}]`, figure);
    Object.assign(this, { box: $(".windows", figure), changed, own: null, named: {} });
    [this.list, this.level, this.width, this.invert] = ["window", "level", "width", "invert"].map(field);
    this.altered = $(".altered", figure);
    this.list.addEventListener("input", () => this.choose(this.list.value));
    for (const input of [this.level, this.width]) {
      input.addEventListener("input", () => this.set(Number(this.level.value), Number(this.width.value)));
    }
    this.invert.addEventListener("input", () => {
      this.tell();
      changed();
    });
  }

  /** Offer the windows of a slice; null: it cannot be windowed. */
  offer(pixels) {
    this.box.disabled = !pixels;
    this.named = pixels ? windowsOf(pixels) : {};
    const chosen = this.list.value, names = [...Object.keys(this.named), ...(this.own ? ["own"] : [])];
    this.list.replaceChildren(...names.map((name) => new Option(name)));
    this.list.value = this.own ? "own" : names.includes(chosen) ? chosen : names[0];
    this.tell();
  }

  /** Values of black and white. */
  get ends() {
    return this.own ?? this.named[this.list.value] ?? [0, 1];
  }

  choose(name) {
    this.own = name === "own" ? this.own : null;
    this.list.value = name;
    this.tell();
    this.changed();
  }

  next() {
    const names = Object.keys(this.named);
    if (names.length) this.choose(names[(names.indexOf(this.list.value) + 1) % names.length]);
  }

  set(level, width) {
    if (!(width > 0) || !Number.isFinite(level)) return;
    this.own = [level - width / 2, level + width / 2];
    if (this.list.value !== "own") {
      if (![...this.list.options].some((option) => option.value === "own")) this.list.add(new Option("own"));
      this.list.value = "own";
    }
    this.tell();
    this.changed();
  }

  /** Change by a drag, in shares of a pane: right is wider, down is a higher level. */
  drag([low, high], right, down) {
    const width = (high - low) * 4 ** right;
    this.set((low + high) / 2 + down * (high - low), width);
  }

  tell() {
    const [low, high] = this.ends, digits = Math.max(0, 4 - Math.floor(Math.log10(Math.max(high - low, 1e-12))));
    const [level, width] = [(low + high) / 2, high - low].map((value) => value.toFixed(Math.min(digits, 9)));
    for (const [input, text] of [[this.level, level], [this.width, width]]) {
      if (document.activeElement !== input) input.value = text;
    }
    // On paper nothing else says it.
    const window = this.list.selectedIndex > 0 && `window ${this.list.value}, level ${level}, width ${width}`;
    const altered = this.box.disabled ? [] : [this.invert.checked && "inverted", window].filter(Boolean);
    this.altered.textContent = altered.length ? `Not as the detector saw it: ${altered.join("; ")}` : "";
  }
}
