/* A table that is filled again with each answer, and sorted by the column whose heading was clicked.
 *
 * A column is {label, cell(item): [text, note], key(item): what it is sorted by}, and may have
 *   number: true          numbers sort downwards first, and stand on the right
 *   tie(item)             what decides between equal keys
 *   gauge(item)           how full something is, from 0 to 1; null: no gauge
 *   badge(item)           [mood, text] of a mark beside the text; []: none */
'use strict';

const byNumber = new Intl.Collator('en', {numeric: true});

class Grid {
  /* `sorted` is called after the order has changed. */
  constructor(table, sorted) {
    this.table = table;
    this.body = table.querySelector('tbody');
    this.sorted = sorted;
    this.columns = [];
    this.sorting = {column: null, falling: false};
  }

  /* `sorting`: {column, falling}; the caller keeps it to find the order again. */
  use(columns, sorting) {
    this.columns = columns;
    this.sorting = sorting;
    this.body.replaceChildren();
    this.table.querySelector('thead tr').replaceChildren(...columns.map(column => {
      const head = make('th', column.number ? 'number' : '');
      const button = make('button', '', column.label);
      button.type = 'button';
      button.addEventListener('click', () => this.sort(column));
      head.scope = 'col';
      head.append(button);
      return head;
    }));
    this.mark();
  }

  sort(column) {
    const {sorting} = this;
    sorting.falling = sorting.column === column ? !sorting.falling : Boolean(column.number);
    sorting.column = column;
    this.mark();
    this.sorted();
  }

  mark() {
    const {column, falling} = this.sorting;
    this.table.querySelectorAll('th').forEach((head, place) =>
      head.setAttribute('aria-sort', this.columns[place] !== column ? 'none' : falling ? 'descending' : 'ascending'));
  }

  /* Sorts in place; `last` decides between items that the column cannot tell apart. */
  order(items, last) {
    const {column, falling} = this.sorting;
    const compare = column.number
      ? (a, b) => column.key(a) - column.key(b) || (column.tie ? column.tie(a) - column.tie(b) : 0)
      : (a, b) => byNumber.compare(column.key(a), column.key(b));
    const sign = falling ? -1 : 1;
    return items.sort((a, b) => sign * compare(a, b) || last(a, b));
  }

  /* One row for each item; existing rows are used again, so that nothing flickers. */
  show(items, isBusy) {
    while (this.body.rows.length > items.length)
      this.body.lastElementChild.remove();
    while (this.body.rows.length < items.length)
      this.body.append(this.row());
    items.forEach((item, number) => this.fill(this.body.rows[number], item, isBusy(item)));
  }

  row() {
    const row = make('tr');
    for (const column of this.columns) {
      const cell = make('td', column.number ? 'number' : '');
      cell.dataset.label = column.label;
      cell.append(make('span', 'main'), make('span', 'note'));
      if (column.badge)
        cell.append(make('span', 'badge'));
      if (column.gauge) {
        const gauge = make('span', 'gauge');
        gauge.append(make('span'));
        cell.append(gauge);
      }
      row.append(cell);
    }
    return row;
  }

  fill(row, item, isBusy) {
    this.columns.forEach((column, place) => {
      const cell = row.cells[place];
      const [main, note] = column.cell(item);
      write(cell.querySelector('.main'), main);
      write(cell.querySelector('.note'), note ?? '');
      if (column.badge)
        this.fillBadge(cell.querySelector('.badge'), column.badge(item));
      if (column.gauge)
        fillGauge(cell.querySelector('.gauge'), column.gauge(item));
    });
    row.classList.toggle('busy', isBusy);
  }

  fillBadge(badge, [mood, text] = []) {
    badge.hidden = !text;
    badge.className = `badge ${mood ?? ''}`;
    write(badge, text ?? '');
  }
}

/* `part`: from 0 to 1; null: there is nothing to measure. */
function fillGauge(gauge, part) {
  gauge.hidden = part === null;
  gauge.classList.toggle('near', part >= 0.8);
  gauge.classList.toggle('full', part >= 1);
  gauge.firstElementChild.style.width = `${Math.min(100, 100 * part)}%`;
}
