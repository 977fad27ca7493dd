/* The table of sessions: one screen at a time, filtered and sorted, with a tab for associations and one for streams. */
'use strict';

const narrow = matchMedia('(max-width: 46rem)');
const rows = () => narrow.matches ? 6 : 16; // on the screen at once

const NAT = {
  'endpoint-independent': 'full cone',
  'address-dependent': 'address-restricted',
  'address-and-port-dependent': 'port-restricted',
  upstream: 'decided by upstream',
};
const KIND = {connect: 'CONNECT', bind: 'BIND', negotiation: 'logging in', 'udp-over-tcp': 'UDP over TCP'};

const byNumber = new Intl.Collator('en', {numeric: true});
const joined = (...words) => words.filter(Boolean).join(' · ');
const hostOf = address => address.slice(0, address.lastIndexOf(':'));
const portOf = address => address.slice(address.lastIndexOf(':') + 1);

/* The port that the client's datagrams come from. */
function sender({client, client_udp: udp}) {
  if (!udp)
    return 'no datagram yet';
  return hostOf(udp) === hostOf(client) ? `from port ${portOf(udp)}` : `from ${udp}`;
}

/* An external address. Without a configured one, the system chooses it for each datagram: only the port is known. */
const mapped = address => address.replace(/^0\.0\.0\.0:/, 'port ').replace(/^\[::\]:(.*)/, 'port $1 (IPv6)');

/* Who relays an association: only worth a note where the kernel does. */
function relayer({kernel_path: path}) {
  const relayed = path ? path.up_datagrams + path.down_datagrams : 0;
  return joined(path?.active && 'in the kernel', relayed > 0 && `${amount(relayed, '')} dgrams there`);
}

const who = session => joined(session.user, session.upstream && `via ${session.upstream}`);

function reasons(dropped) {
  const sorted = Object.entries(dropped ?? {}).sort((a, b) => b[1] - a[1]);
  return sorted.map(([name, number]) => `${name} ${count(number)}`).join(', ');
}

/* A column: its heading, the text of a cell (a line and a note), and its sort key; numbers sort downwards first. */
const traffic = (label, rate, total, datagrams) => ({
  label, number: true, key: session => session[rate], tie: session => session[total],
  cell: session => [session[rate] > 0 ? bits(8 * session[rate]) : '–',
    joined(bytes(session[total]), session[datagrams] === undefined ? '' : `${amount(session[datagrams], '')} dgrams`)],
});
const client = {label: 'Client', key: session => session.client, cell: session => [session.client, who(session)]};
const age = {label: 'Age', number: true, key: session => session.age_seconds, tie: session => -session.id,
  cell: session => [duration(session.age_seconds)]};

const COLUMNS = {
  associations: [
    client,
    {label: 'Relay', key: session => session.relay,
      cell: session => [session.relay ?? KIND[session.kind], session.relay ? sender(session) : '']},
    {label: 'External', key: session => session.external[0] ?? '',
      cell: session => [session.external.length ? mapped(session.external[0]) : 'none yet',
        session.external.slice(1).map(mapped).join(', ')]},
    {label: 'NAT', key: session => session.filtering, cell: session => [NAT[session.filtering] ?? session.filtering,
      relayer(session)]},
    {label: 'Peers', number: true, key: session => session.destinations,
      cell: session => [count(session.destinations)]},
    traffic('To client', 'downRate', 'down_bytes', 'down_datagrams'),
    traffic('From client', 'upRate', 'up_bytes', 'up_datagrams'),
    {label: 'Dropped', number: true, key: session => session.drops,
      cell: session => [session.drops ? count(session.drops) : '0', reasons(session.dropped)]},
    {label: 'Idle', number: true, key: session => session.idle_seconds,
      cell: session => [duration(session.idle_seconds)]},
    age,
  ],
  streams: [
    client,
    {label: 'Kind', key: session => session.kind, cell: session => [KIND[session.kind] ?? session.kind]},
    {label: 'Destination', key: session => session.destination ?? session.remote ?? '',
      cell: session => [session.destination ?? (session.kind === 'negotiation' ? '–' : 'hidden'),
        session.remote && session.remote !== session.destination ? session.remote : '']},
    traffic('To client', 'downRate', 'down_bytes'),
    traffic('From client', 'upRate', 'up_bytes'),
    age,
  ],
};

class Table {
  constructor(sessions) {
    this.sessions = sessions;
    this.root = byId('sessions');
    this.tab = 'associations';
    this.sorting = {associations: {column: age, falling: false}, streams: {column: age, falling: false}};
    this.help = {}; // the text of an empty table of each kind: {title, advice, example}
    this.start = 0; // the first row on the screen, of those that match
    narrow.addEventListener('change', () => this.draw());
    this.listen();
    this.heads();
  }

  listen() {
    for (const tab of document.querySelectorAll('[role=tab]')) {
      tab.addEventListener('click', () => this.open(tab));
      tab.addEventListener('keydown', event => {
        if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight')
          return;
        const other = tab.nextElementSibling ?? tab.previousElementSibling;
        other.focus();
        this.open(other);
      });
    }
    byId('filter').addEventListener('input', () => this.go(0));
    byId('previous').addEventListener('click', () => this.go(this.start - rows()));
    byId('next').addEventListener('click', () => this.go(this.start + rows()));
    byId('sort').addEventListener('change', event => this.sort(COLUMNS[this.tab][event.target.value]));
  }

  open(tab) {
    for (const each of document.querySelectorAll('[role=tab]')) {
      each.setAttribute('aria-selected', each === tab);
      each.tabIndex = each === tab ? 0 : -1;
    }
    this.tab = tab.id.replace('tab-', '');
    this.root.setAttribute('aria-labelledby', tab.id);
    this.root.querySelector('tbody').replaceChildren();
    this.heads();
    this.go(0);
  }

  go(start) {
    this.start = start;
    this.draw();
  }

  sort(column) {
    const sorting = this.sorting[this.tab];
    sorting.falling = sorting.column === column ? !sorting.falling : Boolean(column.number);
    sorting.column = column;
    this.markSorting();
    this.go(0);
  }

  heads() {
    const columns = COLUMNS[this.tab];
    this.root.querySelector('thead tr').replaceChildren(...columns.map(column => {
      const head = make('th', column.number ? 'number' : '');
      const button = make('button', '', column.label);
      button.type = 'button';
      button.addEventListener('click', () => this.sort(column));
      head.scope = 'col';
      head.append(button);
      return head;
    }));
    byId('sort').replaceChildren(...columns.map((column, number) => {
      const option = make('option', '', column.label);
      option.value = number;
      return option;
    }));
    this.markSorting();
  }

  markSorting() {
    const {column, falling} = this.sorting[this.tab];
    const place = COLUMNS[this.tab].indexOf(column);
    this.root.querySelectorAll('th').forEach((head, number) =>
      head.setAttribute('aria-sort', number !== place ? 'none' : falling ? 'descending' : 'ascending'));
    byId('sort').value = place;
  }

  sorted() {
    const words = byId('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
    const {column, falling} = this.sorting[this.tab];
    const compare = column.number
      ? (a, b) => column.key(a) - column.key(b) || (column.tie ? column.tie(a) - column.tie(b) : 0)
      : (a, b) => byNumber.compare(column.key(a), column.key(b));
    const sign = falling ? -1 : 1;
    return this.sessions.select(this.tab === 'associations', words).sort((a, b) => sign * compare(a, b) || a.id - b.id);
  }

  draw() {
    const found = this.sorted();
    const screen = rows();
    const last = Math.max(0, Math.ceil(found.length / screen) - 1) * screen;
    this.start = Math.min(Math.max(0, this.start), last);
    const shown = found.slice(this.start, this.start + screen);
    const columns = COLUMNS[this.tab];
    const body = this.root.querySelector('tbody');
    while (body.rows.length > shown.length)
      body.lastElementChild.remove();
    while (body.rows.length < shown.length)
      body.append(this.row(columns));
    shown.forEach((session, number) => this.fill(body.rows[number], columns, session));
    this.root.querySelector('table').hidden = found.length === 0;
    this.pager(found.length, shown.length, last);
    this.empty(found.length === 0);
  }

  pager(found, shown, last) {
    byId('pager').hidden = found === 0;
    byId('previous').hidden = byId('next').hidden = last === 0;
    byId('previous').disabled = this.start === 0;
    byId('next').disabled = this.start === last;
    const part = last === 0 ? '' : `${count(this.start + 1)}–${count(this.start + shown)} of `;
    const polls = Math.ceil(this.sessions.byId.size / PAGE);
    const pace = polls > 1 ? `. With so many, each one is updated every ${duration(polls * PERIOD / 1000)}` : '';
    put(byId('pager'), {shown: `${part}${plural(found, this.tab.slice(0, -1))}${pace}.`});
  }

  row(columns) {
    const row = make('tr');
    for (const column of columns) {
      const cell = make('td', column.number ? 'number' : '');
      cell.dataset.label = column.label;
      cell.append(make('span', 'main'), make('span', 'note'));
      row.append(cell);
    }
    return row;
  }

  fill(row, columns, session) {
    columns.forEach((column, number) => {
      const [main, note] = column.cell(session);
      write(row.cells[number].firstElementChild, main);
      write(row.cells[number].lastElementChild, note ?? '');
    });
    row.classList.toggle('busy', session.upRate + session.downRate > 0);
  }

  /* An empty table says what to do. */
  empty(isEmpty) {
    const box = byId('no-sessions');
    box.hidden = !isEmpty;
    if (!isEmpty)
      return;
    const sought = byId('filter').value;
    const help = sought ? {title: 'Nothing matches.', advice: `No session contains “${sought}”.`, example: ''}
      : this.help[this.tab];
    put(box, help);
    box.querySelector('pre').hidden = !help.example;
  }
}
