// Zoom and pan: all panes of a viewer show the same part of the square.
const MOST_ZOOM = 24;
const LENGTHS = [100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1]; // of the scale bar, millimetres

class View {
  /** `side`: millimetres of the square's side; null if unknown. A `follower` shows the same part. */
  constructor(figure, side) {
    Object.assign(this, { figure, side, stages: all(".stage", figure) });
    this.show(1, 0, 0);
  }

  /** Show the part of the square that begins at (left, top), shares of its side. */
  show(zoom, left, top) {
    this.zoom = clamp(zoom, 1, MOST_ZOOM);
    [this.left, this.top] = [left, top].map((start) => clamp(start, 0, 1 - 1 / this.zoom));
    const percent = (share) => `${100 * this.zoom * share}%`;
    const place = { width: percent(1), height: percent(1), left: percent(-this.left), top: percent(-this.top) };
    for (const stage of this.stages) Object.assign(stage.style, place);
    this.measure();
    this.follower?.show(this.zoom, this.left, this.top);
  }

  /** Zoom with the point (u, v) of the square kept where it is. */
  by(factor, [u, v] = [this.left + 0.5 / this.zoom, this.top + 0.5 / this.zoom]) {
    const zoom = clamp(this.zoom * factor, 1, MOST_ZOOM), start = (at, from) => at - ((at - from) * this.zoom) / zoom;
    this.show(zoom, start(u, this.left), start(v, this.top));
  }

  pan(u, v) {
    this.show(this.zoom, this.left - u, this.top - v);
  }

  /** Draw the scale bar. */
  measure() {
    const shown = this.side / this.zoom, length = LENGTHS.find((mm) => mm < shown / 3);
    for (const bar of all(".ruler", this.figure)) {
      bar.setAttribute("d", length ? `M97 95v2H${(97 - (100 * length) / shown).toFixed(2)}v-2` : "");
      bar.nextElementSibling.textContent = length ? `${length} mm` : "";
    }
  }

  /** Where in the square an event lies, as shares of its side. */
  where(event) {
    const stage = event.target.closest(".pane")?.querySelector(".stage") ?? this.stages[0];
    const { left, top, width, height } = stage.getBoundingClientRect();
    return [(event.clientX - left) / width, (event.clientY - top) / height];
  }
}

/** LPS millimetres as a reader writes them: "R 12.0, A 3.5, H 40.2 mm". */
function patientWords(place, position, u, v) {
  const origin = place.origins?.[position];
  if (!origin) return "";
  const at = origin.map((start, axis) => start + u * place.across[axis] + v * place.down[axis]);
  return `${at.map((mm, axis) => `${["RL", "AP", "FH"][axis][Number(mm >= 0)]} ${Math.abs(mm).toFixed(1)}`).join(", ")} mm`;
}
