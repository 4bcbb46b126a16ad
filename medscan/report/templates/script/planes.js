// The two other planes through a crosshair, from the slices of a regular stack.
const AT_ONCE = 8; // slices that are read at the same time

class Planes {
  /** `host`: `at()` the slice in view, `go(position)` to another, `look()` of the map, `words(position, u, v, pixels)`
   * of a point, and `zoom(factor)`. */
  constructor(figure, slices, maps, windows, host) {
    const panes = $(".panes", figure), section = $(".planes", figure), box = $("[name=planes]", figure);
    Object.assign(this, { slices, maps, windows, host, section, box, volume: null, waiting: 0 });
    if (!box) return;
    [this.status, this.here] = [$("[role=status]", section), $(".here", figure)];
    const { cuts, lengths } = slices.planes, side = Math.max(...lengths);
    this.cuts = all(".pane", section).map((pane, n) => new Cut(pane, cuts[n], lengths, side));
    this.crosses = all(".stage", panes).map(crossOn);
    box.addEventListener("input", () => this.show(box.checked));
    this.watch(section, panes);
  }

  get on() {
    return Boolean(this.volume);
  }

  async show(wanted) {
    this.section.hidden = !wanted;
    this.volume = null;
    for (const cross of this.crosses) cross.setAttribute("d", "");
    for (const cut of this.cuts) cut.pane.hidden = true;
    if (!wanted) return;
    try {
      const volume = await this.read();
      if (!volume) return;
      this.volume = volume;
    } catch (error) {
      this.status.textContent = `The other planes cannot be shown: ${error.message}.`;
      return;
    }
    this.status.textContent = "Click a slice, or drag in another plane, to move the crosshair.";
    for (const cut of this.cuts) cut.pane.hidden = false;
    this.moveTo(...this.start());
  }

  /** Pixels of all slices; null once they are not wanted any more. */
  async read() {
    const addresses = this.slices.full, volume = [], mine = (this.reading = Symbol());
    while (volume.length < addresses.length) {
      this.status.textContent = `Reading slice ${volume.length + 1} of ${addresses.length}`;
      const next = addresses.slice(volume.length, volume.length + AT_ONCE);
      volume.push(...await Promise.all(next.map((address) => Pixels.of(address))));
      if (mine !== this.reading || !this.box.checked) return null;
    }
    return volume;
  }

  /** Where the crosshair starts: where the map of the slice in view is highest, else in the middle. */
  start() {
    const position = this.host.at(), { grid } = this.slices;
    if (!this.maps || this.slices.scores[position] === null) return [0.5, 0.5];
    const map = this.maps.steps.subarray(position * grid * grid, (position + 1) * grid * grid);
    const hottest = map.indexOf(Math.max(...map));
    return [((hottest % grid) + 0.5) / grid, (Math.floor(hottest / grid) + 0.5) / grid];
  }

  /** Move the crosshair to a point of a slice, to the middle of the pixel there. */
  moveTo(u, v, position = this.host.at()) {
    const { columns, rows } = this.volume[0], [left, top, width, height] = this.slices.place.box;
    const middle = (share, start, length, count) =>
      start + ((clamp(Math.floor(((share - start) / length) * count), 0, count - 1) + 0.5) / count) * length;
    this.point = [middle(u, left, width, columns), middle(v, top, height, rows)];
    this.host.go(clamp(position, 0, this.volume.length - 1));
    this.draw();
  }

  /** Move the crosshair by pixels; returns whether there is one. */
  step(columns, rows) {
    if (!this.on) return false;
    const [, , width, height] = this.slices.place.box, [first] = this.volume;
    this.moveTo(this.point[0] + (columns * width) / first.columns, this.point[1] + (rows * height) / first.rows);
    return true;
  }

  /** Show as large a part of the planes as of the slices, around the crosshair. */
  zoom(zoom) {
    if (this.on) for (const cut of this.cuts) cut.zoom(zoom, this.inPlane(cut));
  }

  /** Place of the crosshair in a plane: along its axis of the slices, and through them. */
  inPlane(cut) {
    return [this.point[cut.axis], (this.host.at() + 0.5) / this.volume.length];
  }

  draw() {
    cancelAnimationFrame(this.waiting);
    if (this.on) this.waiting = requestAnimationFrame(() => this.on && this.paint());
  }

  paint() {
    const { slices, maps, volume, point } = this, [low, high] = this.windows.ends, look = this.host.look();
    const [left, top, width, height] = slices.place.box;
    for (const cross of this.crosses) cross.setAttribute("d", crossAt(...point));
    for (const cut of this.cuts) {
      const [start, length] = cut.axis === 0 ? [left, width] : [top, height];
      const across = cut.axis === 0 ? (point[1] - top) / height : (point[0] - left) / width;
      cut.pixels(volume, across, start, length, low, high, this.windows.invert.checked);
      cut.map(maps, slices.scores, point[1 - cut.axis], look);
      cut.cross(this.inPlane(cut));
    }
  }

  // --- the pointer ----------------------------------------------------------------------------

  watch(section, panes) {
    let press = null; // where the pointer went down on a slice
    panes.addEventListener("pointerdown", (event) => {
      press = event.button === 0 && !event.shiftKey && event.target.closest(".pane") && { event, at: this.where(event) };
    });
    panes.addEventListener("pointerup", ({ clientX, clientY }) => {
      const still = press && Math.hypot(clientX - press.event.clientX, clientY - press.event.clientY) < 4;
      if (still && this.on) this.moveTo(...press.at);
      press = null;
    });
    let held = null; // the plane that the pointer drags the crosshair in
    section.addEventListener("pointerdown", (event) => {
      held = event.button === 0 && this.on ? this.cutOf(event) : null;
      if (!held) return;
      section.setPointerCapture(event.pointerId);
      this.follow(held, event);
    });
    for (const name of ["pointerup", "pointercancel"]) section.addEventListener(name, () => { held = null; });
    section.addEventListener("pointermove", (event) => {
      const cut = held ?? this.cutOf(event);
      if (!this.on || !cut) return;
      if (held) this.follow(held, event);
      this.tell(cut, event);
    });
    section.addEventListener("pointerleave", () => { this.here.textContent = ""; });
    section.addEventListener("wheel", (event) => {
      const cut = this.cutOf(event), by = Math.sign(event.deltaY);
      if (!this.on || !cut) return;
      if (event.ctrlKey) this.host.zoom(2 ** (-event.deltaY / 200));
      else this.step(...(cut.axis === 0 ? [0, by] : [by, 0]));
      event.preventDefault();
    }, { passive: false });
  }

  where(event) {
    const { left, top, width, height } = $(".stage", event.target.closest(".pane")).getBoundingClientRect();
    return [(event.clientX - left) / width, (event.clientY - top) / height];
  }

  cutOf(event) {
    return this.cuts.find((cut) => cut.pane.contains(event.target));
  }

  /** The point of a slice under the pointer in a plane: u, v, and the slice. */
  pointOf(cut, event) {
    const [along, through] = cut.where(event), point = [...this.point];
    point[cut.axis] = along;
    return [...point, Math.floor(through * this.volume.length)];
  }

  follow(cut, event) {
    this.moveTo(...this.pointOf(cut, event));
  }

  tell(cut, event) {
    const [u, v, position] = this.pointOf(cut, event), slice = this.volume[position];
    this.here.textContent = slice && Math.min(u, v) >= 0 && Math.max(u, v) < 1 ? this.host.words(position, u, v, slice) : "";
  }
}

/** A plane across the slices: its pane, in which a sheet is turned whose x runs along an axis of the slices and whose y
 * runs from slice to slice. */
class Cut {
  constructor(pane, { axis, turn }, lengths, side) {
    const sizes = [lengths[axis], lengths[2]].map((mm) => mm / side);
    Object.assign(this, { pane, axis, turn, sizes, stage: $(".stage", pane), view: new View(pane, side) });
    [this.voxels, this.heat, this.outlines] = [$(".voxels", pane), $(".heatcut", pane), $(".outlines", pane)];
    this.starts = sizes.map((size) => (1 - size) / 2);
    const sheet = $(".sheet", pane);
    sheet.style.transform = `matrix(${turn.join()}, 0, 0)`;
    this.crossing = crossOn(sheet);
    this.place(this.heat, 0, 1);
    this.place(this.outlines, 0, 1);
  }

  /** Put an element of the sheet over all slices, and over a part of their axis. */
  place(element, start, length) {
    const [left, top] = this.starts, [width, height] = this.sizes, percent = (share) => `${100 * share}%`;
    const [x, w] = [left + start * width, length * width];
    Object.assign(element.style, { left: percent(x), top: percent(top), width: percent(w), height: percent(height) });
  }

  /** From the sheet to the pane or back, which are squares around the same middle. */
  turned([x, y], [a, b, c, d]) {
    return [0.5 + a * (x - 0.5) + c * (y - 0.5), 0.5 + b * (x - 0.5) + d * (y - 0.5)];
  }

  /** Where an event lies: shares along the axis of the slices, and through them. */
  where(event) {
    const { left, top, width, height } = this.stage.getBoundingClientRect(), [a, b, c, d] = this.turn;
    const at = [(event.clientX - left) / width, (event.clientY - top) / height];
    return this.turned(at, [a, c, b, d]).map((share, n) => (share - this.starts[n]) / this.sizes[n]);
  }

  /** The place of such shares on the sheet. */
  onSheet(shares) {
    return shares.map((share, n) => this.starts[n] + share * this.sizes[n]);
  }

  zoom(zoom, shares) {
    const middle = this.turned(this.onSheet(shares), this.turn);
    this.view.show(zoom, ...middle.map((at) => at - 0.5 / zoom));
  }

  /** Draw a line of each slice, `across` the other axis, in the part of the square that holds the frames. */
  pixels(volume, across, start, length, low, high, inverted) {
    const [{ rows, columns }] = volume, along = this.axis === 0, count = along ? columns : rows;
    const line = Math.floor(across * (along ? rows : columns)), image = new ImageData(count, volume.length);
    const span = Math.max(high - low, 1e-30), out = image.data;
    let q = 0;
    for (const { planes, first, step, ...slice } of volume) {
      const flip = inverted !== slice.inverted;
      for (let n = 0; n < count; n++, q += 4) {
        const p = along ? line * columns + n : n * columns + line;
        for (let c = 0; c < 3; c++) {
          const grey = Math.min(Math.max((first + step * planes[c % planes.length][p] - low) / span, 0), 1);
          out[q + c] = Math.round(255 * (flip ? 1 - grey : grey));
        }
        out[q + 3] = 255;
      }
    }
    Object.assign(this.voxels, { width: count, height: volume.length });
    this.voxels.getContext("2d").putImageData(image, 0, 0);
    this.place(this.voxels, start, length);
  }

  /** Draw the map where the plane meets the slices; slices without a score have none. */
  map(maps, scored, across, { heat, contour, palette, place, opacity }) {
    this.heat.hidden = !maps || !heat;
    const paths = all("path", this.outlines), side = 96, points = evenly(side);
    if (!maps) return;
    const scores = new Float32Array(side * scored.length).fill(NaN);
    scored.forEach((score, k) => {
      if (score === null) return;
      scores.set(this.axis === 0 ? maps.scores(k, points, [across]) : maps.scores(k, [across], points), k * side);
    });
    Object.assign(this.heat, { width: side, height: scored.length });
    this.heat.style.opacity = opacity;
    maps.shade(this.heat, scores, palette, place);
    const d = contour ? Maps.outline(scores, side, maps.at(place)) : "";
    for (const path of paths) path.setAttribute("d", d);
  }

  cross(shares) {
    this.crossing.setAttribute("d", crossAt(...this.onSheet(shares)));
  }
}

/** Lines over a square element, to draw a crosshair with. */
function crossOn(element) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("class", "crosshair");
  svg.setAttribute("aria-hidden", "true");
  const path = svg.appendChild(document.createElementNS(svg.namespaceURI, "path"));
  element.append(svg);
  return path;
}

/** Lines through a point, which stays free. */
function crossAt(x, y, free = 2) {
  const [h, v] = [100 * x, 100 * y].map((at) => Number(at.toFixed(3)));
  return `M0 ${v}H${h - free}M${h + free} ${v}H100M${h} 0V${v - free}M${h} ${v + free}V100`;
}
