/* Charts of the last minutes, drawn as SVG. */

const MINUTE = 60_000;
const MOST_MINUTES = 5;
const GAP = 8_000; // Samples further apart than this have nothing known between them.

/**
 * `series` are {key, label}; the first one is at the bottom when they are stacked.
 * A bare chart is a line and its area without axes.
 */
class Chart {
  constructor(node, { name, series, format, least, stacked = false, bare = false, legend = null }) {
    Object.assign(this, { node, name, series, format, least, stacked, bare });
    this.samples = [];
    this.pointed = null;
    this.values = new Map();
    if (legend) this.makeLegend(legend);
    new ResizeObserver(() => this.paint()).observe(node);
    if (!bare) {
      node.addEventListener('pointermove', (event) => this.point(event));
      node.addEventListener('pointerleave', () => { this.pointed = null; this.paint(); });
    }
  }

  makeLegend(legend) {
    // Top to bottom, as they are stacked.
    for (const { key, label } of [...this.series].reverse()) {
      const value = make('b');
      this.values.set(key, value);
      legend.append(make('span', { class: `entry of-${key}` }, make('i', { 'aria-hidden': 'true' }), label, value));
    }
    this.time = make('span', { class: 'when' });
    legend.append(this.time);
  }

  show(samples, now) {
    // A page that was just opened isn't empty but for its right edge.
    const minutes = samples.length ? Math.ceil((now - samples[0].time) / MINUTE) : 1;
    this.minutes = Math.min(MOST_MINUTES, Math.max(1, minutes));
    this.span = this.minutes * MINUTE;
    this.samples = samples.filter((sample) => sample.time >= now - this.span);
    this.now = now;
    this.paint();
  }

  point(event) {
    const box = this.node.getBoundingClientRect();
    const time = this.now - this.span + ((event.clientX - box.left) / box.width) * this.span;
    const distance = (sample) => Math.abs(sample.time - time);
    const nearest = this.samples.reduce(
      (best, sample) => (best === null || distance(sample) < distance(best) ? sample : best), null);
    this.pointed = nearest !== null && distance(nearest) < GAP ? nearest : null;
    this.paint();
  }

  paint() {
    const width = this.node.clientWidth;
    const height = this.node.clientHeight;
    if (!this.now || width < 10 || height < 10) return;
    const foot = this.bare ? 1 : 20;
    const top = this.bare ? 2 : 8;
    const end = ceiling(this.highest(), this.least);
    const x = (time) => ((time - (this.now - this.span)) / this.span) * width;
    const y = (value) => height - foot - (value / end) * (height - foot - top);
    const canvas = draw('svg', { width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': this.summary() });
    if (!this.bare) this.paintAxes(canvas, { width, height, x, y, end });
    this.paintSeries(canvas, x, y);
    if (this.pointed !== null) {
      const at = x(this.pointed.time);
      canvas.append(draw('line', { class: 'pointer', x1: at, x2: at, y1: top, y2: height - foot }));
    }
    this.node.replaceChildren(canvas);
    this.writeLegend();
  }

  paintAxes(canvas, { width, height, x, y, end }) {
    for (const part of [0, 0.5, 1]) {
      const at = Math.round(y(end * part)) + 0.5;
      canvas.append(draw('line', { class: part ? 'grid' : 'base', x1: 0, x2: width, y1: at, y2: at }));
      if (part) canvas.append(draw('text', { class: 'tick', x: 2, y: at + 13 }, this.format(end * part)));
    }
    for (let minute = 0; minute <= this.minutes; minute += 1) {
      const isInner = minute > 0 && minute < this.minutes;
      if (isInner && width < 420) continue; // no room for it on a phone
      const anchor = isInner ? 'middle' : minute ? 'start' : 'end';
      const label = minute ? `${minute} min ago` : 'now';
      canvas.append(draw('text', { class: 'tick', x: x(this.now - minute * MINUTE), y: height - 5, 'text-anchor': anchor }, label));
    }
  }

  paintSeries(canvas, x, y) {
    for (const run of this.runs()) {
      let below = run.map(() => 0);
      for (const { key } of this.series) {
        const above = run.map((sample, index) => sample[key] + (this.stacked ? below[index] : 0));
        const line = run.map((sample, index) => `${x(sample.time).toFixed(1)},${y(above[index]).toFixed(1)}`);
        if (this.stacked || this.bare) {
          const back = run.map((sample, index) => `${x(sample.time).toFixed(1)},${y(below[index]).toFixed(1)}`).reverse();
          canvas.append(draw('path', { class: `area of-${key}`, d: `M${[...line, ...back].join('L')}Z` }));
        }
        // A part of next to nothing would otherwise paint the whole in its colour.
        const thickness = Math.max(...run.map((sample) => y(0) - y(sample[key])));
        if (!this.stacked || thickness > 1) canvas.append(draw('path', { class: `line of-${key}`, d: `M${line.join('L')}` }));
        if (this.stacked) below = above;
      }
    }
  }

  /** Stretches of samples without a gap in which every series has a value. */
  runs() {
    const runs = [];
    let last = null;
    for (const sample of this.samples) {
      if (!this.series.every(({ key }) => isNumber(sample[key]))) { last = null; continue; }
      if (last === null || sample.time - last.time > GAP) runs.push([]);
      runs.at(-1).push(sample);
      last = sample;
    }
    return runs;
  }

  highest() {
    return this.samples.reduce((highest, sample) => {
      const values = this.series.map(({ key }) => sample[key]).filter(isNumber);
      return Math.max(highest, this.stacked ? values.reduce((sum, value) => sum + value, 0) : Math.max(0, ...values));
    }, 0);
  }

  writeLegend() {
    const sample = this.pointed ?? this.samples.at(-1) ?? {};
    for (const [key, value] of this.values) write(value, this.format(sample[key]));
    if (this.time) write(this.time, this.pointed ? clock(new Date(this.pointed.time)) : '');
  }

  summary() {
    const sample = this.samples.at(-1) ?? {};
    const values = this.series.map(({ key, label }) => `${label} ${this.format(sample[key])}`);
    return `${this.name}, last ${this.minutes} min; now ${values.join(', ')}`;
  }
}
