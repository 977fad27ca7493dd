/* The table of sessions: one screen at a time, filtered and sorted, with a tab for associations and one for streams. */
'use strict';

const narrow = matchMedia('(max-width: 46rem)');
const rows = () => narrow.matches ? 6 : 12; // on the screen at once

const FILTERING = {
  'endpoint-independent': 'full cone',
  'address-dependent': 'address-restricted',
  'address-and-port-dependent': 'port-restricted',
};
const KIND = {connect: 'CONNECT', bind: 'BIND', negotiation: 'logging in', 'udp-over-tcp': 'UDP over TCP'};

const joined = (...words) => words.filter(Boolean).join(' · ');
const hostOf = address => address.slice(0, address.lastIndexOf(':'));
const portOf = address => address.slice(address.lastIndexOf(':') + 1);

/* The port that the client's datagrams come from, or several. */
function sender({client, client_udp: udp, client_ports: several}) {
  if (!udp)
    return 'no datagram yet';
  if (several)
    return `from ports ${several.map(each => portOf(each.client_udp)).join(', ')}`;
  return hostOf(udp) === hostOf(client) ? `from port ${portOf(udp)}` : `from ${udp}`;
}

/* An address of ours. Where the system chooses the address for each datagram, only the port is known. */
const ours = address => address.replace(/^0\.0\.0\.0:/, 'port ').replace(/^\[::\]:(.*)/, 'port $1 (IPv6)');

/* Who relays an association: only worth a note where the kernel does. */
function relayer({kernel_path: path}) {
  const relayed = path ? path.up_datagrams + path.down_datagrams : 0;
  return joined(path?.active && 'in the kernel', relayed > 0 && `${roughly(relayed)} datagrams there`);
}

/* What is not as usual: another filtering than the configured one, and the kernel as the relay. */
const unusual = session =>
  joined(session.isUsual ? '' : FILTERING[session.filtering] ?? session.filtering, relayer(session));

/* Its upstream, and those that rules choose for some of its destinations. */
const ways = ({upstream, other_upstreams: others}) => [upstream, others].filter(Boolean).join(', ');

/* The user if there is one, else the client's address. */
const who = session => session.user ?? session.client;

function reasons(dropped) {
  const sorted = Object.entries(dropped ?? {}).sort((a, b) => b[1] - a[1]);
  return sorted.map(([name, number]) => `${name} ${count(number)}`).join(', ');
}

const traffic = (label, rate, total) => ({
  label, number: true, key: session => session[rate], tie: session => session[total],
  cell: session => [session[rate] > 0 ? bits(8 * session[rate]) : '–', bytes(session[total])],
});
const client = {label: 'Client', key: who,
  cell: session => [who(session), joined(session.user && session.client, ways(session) && `via ${ways(session)}`)]};
const age = {label: 'Age', number: true, key: session => session.age_seconds, tie: session => -session.id,
  cell: session => [duration(session.age_seconds)]};

const COLUMNS = {
  associations: [
    client,
    {label: 'Relay', key: session => session.relay ?? '',
      cell: session => [session.relay ? ours(session.relay) : KIND[session.kind], session.relay ? sender(session) : '']},
    {label: 'External', key: session => session.external[0] ?? '',
      cell: session => [session.external.length ? ours(session.external[0]) : 'none yet',
        joined(...session.external.slice(1).map(ours), unusual(session))]},
    traffic('Down', 'downRate', 'down_bytes'),
    traffic('Up', 'upRate', 'up_bytes'),
    {label: 'Peers', number: true, key: session => session.destinations,
      cell: session => [count(session.destinations)]},
    {label: 'Dropped', number: true, key: session => session.drops,
      cell: session => [session.drops ? count(session.drops) : '–', reasons(session.dropped)]},
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
    traffic('Down', 'downRate', 'down_bytes'),
    traffic('Up', 'upRate', 'up_bytes'),
    age,
  ],
};

class Table {
  constructor(sessions) {
    this.sessions = sessions;
    this.root = byId('sessions');
    this.grid = new Grid(this.root.querySelector('table'), () => {
      this.markSorting();
      this.go(0);
    });
    this.sorting = {associations: {column: age, falling: false}, streams: {column: age, falling: false}};
    this.help = {}; // the text of an empty table of each kind: {title, advice, example}
    this.start = 0; // the first row on the screen, of those that match
    this.chosen = false; // whether somebody has chosen a tab
    narrow.addEventListener('change', () => this.draw());
    this.listen();
    this.use('associations');
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
    byId('sort').addEventListener('change', event => this.grid.sort(COLUMNS[this.tab][event.target.value]));
  }

  open(tab) {
    this.chosen = true;
    this.use(tab.id.replace('tab-', ''));
    this.go(0);
  }

  /* The tab that has something to show, until somebody chooses one. */
  suggest({associations, streams}) {
    const tab = associations === 0 && streams > 0 ? 'streams' : 'associations';
    if (!this.chosen && this.tab !== tab)
      this.use(tab);
  }

  use(name) {
    for (const each of document.querySelectorAll('[role=tab]')) {
      each.setAttribute('aria-selected', each.id === `tab-${name}`);
      each.tabIndex = each.id === `tab-${name}` ? 0 : -1;
    }
    this.tab = name;
    this.root.setAttribute('aria-labelledby', `tab-${name}`);
    this.grid.use(COLUMNS[name], this.sorting[name]);
    byId('sort').replaceChildren(...COLUMNS[name].map((column, number) => {
      const option = make('option', '', column.label);
      option.value = number;
      return option;
    }));
    this.markSorting();
  }

  markSorting() {
    byId('sort').value = COLUMNS[this.tab].indexOf(this.sorting[this.tab].column);
  }

  go(start) {
    this.start = start;
    this.draw();
  }

  draw() {
    const words = byId('filter').value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.grid.order(this.sessions.select(this.tab === 'associations', words), (a, b) => a.id - b.id);
    const screen = rows();
    const last = Math.max(0, Math.ceil(found.length / screen) - 1) * screen;
    this.start = Math.min(Math.max(0, this.start), last);
    const shown = found.slice(this.start, this.start + screen);
    this.grid.show(shown, session => session.upRate + session.downRate > 0);
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
