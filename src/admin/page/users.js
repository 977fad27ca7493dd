/* The table of users: who is here, how much they use, and who is near a limit. Without configured users it is absent. */
'use strict';

const FEW_USERS = 12; // shown at first
const DAY = 86_400_000; // ms

/* The days that are left until a date ("2026-12-31", the last valid day, UTC) is over; 0: today is the last. */
const daysLeft = date => Math.round((Date.parse(date) - Math.floor(Date.now() / DAY) * DAY) / DAY);

function expiry(date) {
  const days = daysLeft(date);
  return days < 0 ? 'expired' : days === 0 ? 'today' : days < 60 ? `in ${plural(days, 'day')}` : '';
}

/* How much of each limit a user has taken: [part, text]. */
const SHARES = {
  sessions: ({sessions, limits}) => [sessions / limits.sessions, `${sessions} of ${limits.sessions} sessions`],
  associations: ({associations, limits}) =>
    [associations / limits.associations, `${associations} of ${limits.associations} associations`],
  addresses: ({addresses, limits}) => [addresses / limits.addresses, `${addresses} of ${limits.addresses} addresses`],
  volume: ({volume_bytes: used, volume_limit: limit}) =>
    [used / limit, used >= limit ? 'volume used up' : `${Math.floor(100 * used / limit)} % of the volume`],
  bandwidth: ({up_bytes_per_second: up, down_bytes_per_second: down, limits}) =>
    [Math.max(up, down) / limits.bandwidth, 'at the rate limit'],
  expires: ({expires}) => [daysLeft(expires) < 0 ? 1 : 0, daysLeft(expires) < 0 ? 'expired' : `expires ${expiry(expires)}`],
};

const CUT_OFF = ['volume', 'expires']; // beyond these the user cannot use the proxy; other limits refuse one request

/* The limit that the server names as the nearest: [mood, text]. */
function nearLimit(user) {
  const share = SHARES[user.near];
  if (!share)
    return [];
  const [part, text] = share(user);
  return [part >= 1 && CUT_OFF.includes(user.near) ? 'bad' : 'wary', text];
}

const ofLimit = limit => limit === null ? '' : `of ${count(limit)}`;
const rateOf = value => value > 0 ? bits(8 * value) : '–';

const USER_COLUMNS = {
  name: {label: 'User', key: user => user.name, cell: user => [user.name], badge: nearLimit},
  down: {label: 'Down', number: true, key: user => user.down_bytes_per_second, tie: user => user.volume_bytes,
    cell: user => [rateOf(user.down_bytes_per_second)]},
  up: {label: 'Up', number: true, key: user => user.up_bytes_per_second, tie: user => user.volume_bytes,
    cell: user => [rateOf(user.up_bytes_per_second)]},
  volume: {label: 'This month', number: true, key: user => user.volume_bytes,
    cell: user => [bytes(user.volume_bytes), user.volume_limit === null ? '' : `of ${bytes(user.volume_limit)}`],
    gauge: user => user.volume_limit === null ? null : user.volume_bytes / user.volume_limit},
  sessions: {label: 'Sessions', number: true, key: user => user.sessions,
    cell: user => [count(user.sessions), ofLimit(user.limits.sessions)]},
  associations: {label: 'Associations', number: true, key: user => user.associations,
    cell: user => [count(user.associations), ofLimit(user.limits.associations)]},
  addresses: {label: 'Addresses', number: true, key: user => user.addresses,
    cell: user => [count(user.addresses), ofLimit(user.limits.addresses)]},
  expires: {label: 'Expires', key: user => user.expires ?? '~', // after all dates
    cell: user => user.expires ? [user.expires, expiry(user.expires)] : ['', 'never']},
};

class Users {
  constructor() {
    this.root = byId('users');
    this.all = false; // whether all of them are shown
    this.list = [];
    this.grid = new Grid(this.root.querySelector('table'), () => this.draw());
    this.sorting = {column: USER_COLUMNS.volume, falling: true};
    this.hasExpiry = null;
    byId('all-users').addEventListener('click', () => {
      this.all = !this.all;
      this.draw();
    });
  }

  show(users) {
    this.root.hidden = !users || users.total === 0;
    if (this.root.hidden)
      return;
    this.list = users.list;
    this.total = users.total;
    const hasExpiry = users.list.some(user => user.expires !== null);
    if (hasExpiry !== this.hasExpiry) {
      const {expires, ...others} = USER_COLUMNS;
      this.hasExpiry = hasExpiry;
      this.grid.use(Object.values(hasExpiry ? {...others, expires} : others), this.sorting);
    }
    this.draw();
  }

  draw() {
    const here = this.list.filter(user => user.sessions > 0).length;
    const near = this.list.filter(user => user.near !== null).length;
    const sorted = this.grid.order(this.list, (a, b) => byNumber.compare(a.name, b.name));
    const shown = this.all ? sorted : sorted.slice(0, FEW_USERS);
    this.grid.show(shown, user => user.up_bytes_per_second + user.down_bytes_per_second > 0);
    this.root.querySelector('table').hidden = shown.length === 0;
    put(this.root, {
      'users-total': count(this.total),
      'users-here': joined(`${count(here)} connected`, near && `${count(near)} near a limit`),
      'users-none': this.list.length > 0 ? '' : 'Nobody is connected, and nobody has used anything this month.',
      'users-rest': this.total > this.list.length && this.list.length > 0
        ? `${plural(this.total - this.list.length, 'other')} did not connect this month.` : '',
    });
    byId('all-users').hidden = this.list.length <= FEW_USERS;
    write(byId('all-users'), this.all ? 'Show fewer' : `Show all ${count(this.list.length)}`);
  }
}
