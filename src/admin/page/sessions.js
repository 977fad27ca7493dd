/* All sessions that the server has reported.
 *
 * The server lists them by rising id, PAGE at a time, and each poll asks for one page. A few sessions fit into one page;
 * thousands take several polls, so that neither side has much to do at once. A page is complete for its range of ids:
 * a session that is missing from it has ended. */
'use strict';

const PAGE = 500;

class Sessions {
  constructor() {
    this.byId = new Map();
    this.after = 0; // the id that the next page starts after
    this.first = true; // the first round is read without pauses
    this.usualFiltering = ''; // the configured one
  }

  forget() {
    this.byId.clear();
    this.after = 0;
    this.first = true;
  }

  get query() {
    return `status?limit=${PAGE}${this.after ? `&after=${this.after}` : ''}`;
  }

  /* Stores a page. Returns whether to ask for the next one at once. */
  take(page, next, now) {
    const end = next ?? Infinity;
    const seen = new Set(page.map(session => session.id));
    for (const id of this.byId.keys())
      if (id > this.after && id <= end && !seen.has(id))
        this.byId.delete(id);
    for (const session of page)
      this.byId.set(session.id, this.rated(session, now));
    this.after = next ?? 0;
    const more = this.first && next !== null;
    this.first = more;
    return more;
  }

  /* Adds its rates since it was last reported. */
  rated(session, now) {
    const before = this.byId.get(session.id);
    const seconds = before ? (now - before.seen) / 1000 : 0;
    const rate = name => seconds > 0 ? Math.max(0, session[name] - before[name]) / seconds : 0;
    session.seen = now;
    session.up_bytes ??= 0; // missing while it is still logging in
    session.down_bytes ??= 0;
    session.upRate = rate('up_bytes');
    session.downRate = rate('down_bytes');
    session.drops = Object.values(session.dropped ?? {}).reduce((sum, number) => sum + number, 0);
    session.isAssociation = session.kind.startsWith('udp');
    session.isUsual = [this.usualFiltering, 'upstream'].includes(session.filtering); // an upstream is named anyway
    session.text = [session.client, session.user, session.upstream, session.other_upstreams, session.relay,
      session.client_udp, ...session.external ?? [],
      ...(session.client_ports ?? []).flatMap(each => [each.client_udp, ...each.external]),
      session.destination, session.remote, session.kind, ...Object.keys(session.dropped ?? {}),
    ].join(' ').toLowerCase();
    return session;
  }

  select(associations, words) {
    return [...this.byId.values()].filter(session =>
      session.isAssociation === associations && words.every(word => session.text.includes(word)));
  }
}
