/* A chart of the last ten minutes: traffic to clients is above the middle line, traffic from clients below it, and
 * both share one scale. The figures under it are those of now, or of the moment that the pointer or the
 * arrow keys are on. */
'use strict';

const SAMPLES = 120;
const HEIGHT = 190, TOP = 16, BOTTOM = 20, LEFT = 66; // around the plot: LEFT is for the scale

function svg(tag, attributes = {}, text = '') {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes))
    element.setAttribute(name, value);
  element.textContent = text;
  return element;
}

/* A step of 1, 2 or 5 times a power of ten that cuts `range` into about `parts`. */
function niceStep(range, parts) {
  const rough = range / parts;
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find(factor => factor * power >= rough);
}

const wayOf = band => band.line ? band.name : `${band.name} ${band.side > 0 ? 'to' : 'from'} clients`;

class Chart {
  /* `bands`: {name, className, side (1: to clients, -1: from clients), value(sample)}, stacked on each side in this
   * order; those with `line` are drawn over them. `least`: what the scale covers at least. */
  constructor(figure, format, least, bands) {
    this.figure = figure;
    this.format = format;
    this.least = least;
    this.bands = bands;
    this.samples = [];
    this.period = 5;
    this.at = null; // the sample that the cursor is on; null: the newest
    this.svg = svg('svg', {tabindex: 0, role: 'slider', 'aria-valuemin': 0, 'aria-valuemax': SAMPLES - 1});
    this.grid = svg('g', {class: 'grid'});
    this.cursor = svg('line', {class: 'cursor', y1: TOP, y2: HEIGHT - BOTTOM});
    this.svg.append(this.grid);
    for (const band of bands) {
      band.area = svg('path', {class: `area ${band.className}`});
      band.edge = svg('path', {class: `edge ${band.className}`});
      this.svg.append(band.area, band.edge);
    }
    this.directions = svg('g', {class: 'grid'});
    this.directions.append(svg('text', {y: TOP - 5, class: 'end'}, 'down, to clients'),
      svg('text', {y: HEIGHT - BOTTOM - 5, class: 'end'}, 'up, from clients'));
    this.svg.append(this.directions, this.cursor);
    this.hint = make('p', 'chart-hint soft');
    const plot = make('div', 'plot');
    plot.append(this.svg, this.hint);
    figure.append(plot, this.legend());
    this.listen();
    new ResizeObserver(() => this.draw()).observe(plot);
  }

  /* The figures: a column for each name, a row for each direction. */
  legend() {
    const table = make('table', 'legend');
    const [head, down, up] = [make('tr'), make('tr'), make('tr')];
    head.append(make('td'));
    down.append(make('th', '', 'down'));
    up.append(make('th', '', 'up'));
    for (const band of this.bands) {
      band.figure = make('td', '', '–');
      (band.side > 0 ? down : up).append(band.figure);
      if (band.side < 0)
        continue;
      const name = make('th');
      name.append(make('span', `key ${band.className}`), band.name);
      head.append(name);
      band.figure.rowSpan = band.line ? 2 : 1; // those drawn as a line go neither way
    }
    table.append(head, down, up);
    return table;
  }

  listen() {
    this.svg.addEventListener('pointermove', event => {
      const box = this.svg.getBoundingClientRect();
      this.move(Math.round((event.clientX - box.left - LEFT) / (box.width - LEFT) * (SAMPLES - 1)));
    });
    this.svg.addEventListener('pointerleave', () => this.move(null));
    this.svg.addEventListener('blur', () => this.move(null));
    this.svg.addEventListener('keydown', event => {
      const from = this.at ?? SAMPLES - 1;
      const to = {ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: SAMPLES - 1, Escape: null}[event.key];
      if (to === undefined)
        return;
      event.preventDefault();
      this.move(to);
    });
  }

  update(history) {
    const index = Object.fromEntries(history.fields.map((name, place) => [name, place]));
    this.period = history.period_seconds;
    this.samples = history.samples.map(values => {
      const sample = name => values[index[name]] / this.period;
      return this.bands.map(band => band.value(sample));
    });
    this.draw();
  }

  move(at) {
    const oldest = SAMPLES - this.samples.length;
    this.at = at === null || this.samples.length === 0 ? null : Math.min(SAMPLES - 1, Math.max(oldest, at));
    this.tell();
  }

  /* Figures, cursor and words for the moment that is looked at. */
  tell() {
    const place = this.at ?? SAMPLES - 1;
    const sample = this.samples[place - SAMPLES + this.samples.length];
    const ago = (SAMPLES - 1 - place) * this.period;
    const when = this.at === null ? 'now' : ago === 0 ? 'just now' : `${duration(ago)} ago`;
    this.bands.forEach((band, number) => write(band.figure, sample ? this.format(sample[number]) : '–'));
    put(this.figure, {moment: when});
    const x = this.xOf(place);
    this.cursor.setAttribute('x1', x);
    this.cursor.setAttribute('x2', x);
    this.cursor.classList.toggle('shown', this.at !== null);
    const words = this.bands.map((band, number) =>
      `${wayOf(band)} ${sample ? this.format(sample[number]) : 'not known yet'}`);
    this.svg.setAttribute('aria-valuenow', place);
    this.svg.setAttribute('aria-valuetext', `${when}: ${words.join(', ')}`);
  }

  xOf(place) {
    return LEFT + place / (SAMPLES - 1) * (this.width - LEFT);
  }

  /* The highest that the chart shows on that side. */
  highest(side) {
    let most = 0;
    for (const sample of this.samples) {
      let stack = 0;
      this.bands.forEach((band, number) => {
        if (band.side === side && band.line)
          most = Math.max(most, sample[number]);
        else if (band.side === side)
          stack += sample[number];
      });
      most = Math.max(most, stack);
    }
    return most;
  }

  draw() {
    this.width = this.figure.querySelector('.plot').clientWidth;
    this.svg.setAttribute('viewBox', `0 0 ${this.width} ${HEIGHT}`);
    this.svg.setAttribute('height', HEIGHT);
    const down = this.highest(1), up = this.highest(-1);
    const step = niceStep(Math.max(down + up, this.least), 5);
    const above = Math.max(1, Math.ceil(down / step)), below = Math.max(1, Math.ceil(up / step));
    const unit = (HEIGHT - TOP - BOTTOM) / ((above + below) * step);
    this.y = value => TOP + above * step * unit - value * unit;
    this.drawGrid(step, above, below);
    this.drawBands();
    const title = this.figure.querySelector('h2').textContent;
    this.svg.setAttribute('aria-label', `${title} over the last ten minutes. ` +
      `At most ${this.format(down)} to clients, ${this.format(up)} from clients. Arrow keys move through time.`);
    write(this.hint, this.samples.length === 0 ? 'The first values come after a few seconds.'
      : down + up === 0 ? 'Nothing was relayed in the last ten minutes.' : '');
    this.tell();
  }

  drawGrid(step, above, below) {
    const parts = [];
    for (let level = -below; level <= above; level++) {
      const y = this.y(level * step);
      parts.push(svg('line', {class: level === 0 ? 'middle' : '', x1: LEFT, x2: this.width, y1: y, y2: y}));
      if (level !== 0 && this.samples.length > 0)
        parts.push(svg('text', {x: LEFT - 8, y: y + 4, class: 'end'}, this.format(Math.abs(level * step))));
    }
    const y = HEIGHT - 5;
    parts.push(svg('text', {x: LEFT, y}, '10 min ago'));
    parts.push(svg('text', {x: (LEFT + this.width) / 2, y, class: 'centre'}, '5 min ago'));
    parts.push(svg('text', {x: this.width, y, class: 'end'}, 'now'));
    this.grid.replaceChildren(...parts);
    for (const words of this.directions.children)
      words.setAttribute('x', this.width);
  }

  drawBands() {
    const zero = this.samples.map(() => 0);
    const top = {1: zero, [-1]: zero}; // of what is stacked on each side so far
    this.bands.forEach((band, place) => {
      const from = band.line ? zero : top[band.side];
      const to = from.map((value, number) => value + band.side * this.samples[number][place]);
      const there = this.points(to), back = this.points(from).reverse();
      band.edge.setAttribute('d', there.length ? `M${there.join('L')}` : '');
      band.area.setAttribute('d', there.length && !band.line ? `M${there.join('L')}L${back.join('L')}Z` : '');
      if (!band.line)
        top[band.side] = to;
    });
  }

  points(values) {
    const oldest = SAMPLES - values.length;
    return values.map((value, number) => `${this.xOf(oldest + number).toFixed(1)} ${this.y(value).toFixed(1)}`);
  }
}
