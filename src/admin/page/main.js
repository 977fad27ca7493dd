/* Asks the server every two seconds while the page is visible, and shows the answers. */
'use strict';

const PERIOD = 2000; // ms
const PATIENCE = 6000; // ms until an answer counts as none

class Page {
  constructor() {
    const band = (side, name, className, field, factor = 1) =>
      ({side, name, className, value: sample => factor * sample(field)});
    this.charts = [
      new Chart(byId('throughput'), bits, 10_000, [
        band(1, 'UDP', 'udp', 'udp_down_bytes', 8), band(1, 'streams', 'tcp', 'stream_down_bytes', 8),
        band(-1, 'UDP', 'udp', 'udp_up_bytes', 8), band(-1, 'streams', 'tcp', 'stream_up_bytes', 8)]),
      new Chart(byId('datagrams'), perSecond, 10, [
        band(1, 'relayed', 'udp', 'udp_down_datagrams'), {...band(1, 'dropped', 'dropped', 'dropped'), line: true},
        band(-1, 'relayed', 'udp', 'udp_up_datagrams')]),
    ];
    this.sessions = new Sessions();
    this.table = new Table(this.sessions);
    this.users = new Users();
    this.status = null; // the last answer, and when it came (ms)
    this.answered = 0;
    this.history = {fields: [], samples: []};
    this.historyAsked = 0;
    this.silence = null; // since when the server does not answer
    this.problem = '';
    document.addEventListener('visibilitychange', () => this.wake());
    this.wake();
  }

  wake() {
    clearTimeout(this.timer);
    if (!document.hidden && !this.asking)
      this.poll();
  }

  async poll() {
    let more = false;
    this.asking = true;
    try {
      more = this.take(await this.ask(this.sessions.query));
      if (Date.now() - this.historyAsked >= 2 * PERIOD)
        this.takeHistory(await this.ask('history'));
      this.silence = null;
    } catch (problem) {
      this.silence ??= new Date(this.answered || Date.now());
      this.problem = problem.message;
      console.error(problem);
    }
    this.asking = false;
    this.showState();
    if (!document.hidden)
      this.timer = setTimeout(() => this.poll(), more ? 0 : PERIOD);
  }

  async ask(what) {
    const answer = await fetch(what, {cache: 'no-store', signal: AbortSignal.timeout(PATIENCE)});
    if (!answer.ok)
      throw new Error(`HTTP status ${answer.status}: ${(await answer.text()).trim()}`);
    return answer.json();
  }

  /* Returns whether to ask for the next page of sessions at once. */
  take(status) {
    const now = Date.now();
    const same = this.status && this.status.pid === status.pid && this.status.started === status.started;
    const before = same ? this.status.drops : [];
    const seconds = same ? (now - this.answered) / 1000 : 0;
    if (!same)
      this.sessions.forget(); // another process starts counting from zero
    this.sessions.usualFiltering = status.udp.filtering;
    const more = this.sessions.take(status.sessions, status.next, now);
    this.status = status;
    this.answered = now;
    showHead(status);
    this.users.show(status.users);
    showNat(status.udp);
    showTotals(status);
    showDrops(status.drops, before, seconds);
    showLimits(status);
    showSetup(status);
    this.showLately();
    this.table.help = help(status);
    this.table.suggest(status.open);
    this.table.draw();
    return more;
  }

  takeHistory(history) {
    this.history = history;
    this.historyAsked = Date.now();
    for (const chart of this.charts)
      chart.update(history);
    showNow(history);
    this.showLately();
  }

  showLately() {
    const {fields, samples} = this.history;
    const lately = field => samples.reduce((sum, sample) => sum + sample[fields.indexOf(field)], 0);
    showDropped(this.status, lately);
    showResolver(this.status.resolver, lately);
  }

  /* The state and the warnings, at the top of the page. */
  showState() {
    const lines = this.status ? warnings(this.status) : [];
    if (this.silence)
      lines.unshift(['bad', `No answer since ${clock(this.silence)}: is conesocks running? Trying again every two ` +
        `seconds (${this.problem}).`]);
    byId('state').className = `state ${this.silence ? 'lost' : this.status.state}`;
    put(byId('state'), {state: this.silence ? 'no answer' : this.status.state});
    byId('main').classList.toggle('stale', this.silence !== null);
    list(byId('banners'), byId('banner'), lines, (banner, [mood, text]) => {
      banner.className = `banner ${mood}`;
      write(banner, text);
    });
  }
}

new Page();
