/* Fills each part of the page from one status. */
'use strict';

const NAT_TYPES = {
  'endpoint-independent': {
    name: 'Full cone', consoles: ['Open', 'Type 1', 'A'],
    means: "Any host can send to a client's external port: players and callers reach each other directly.",
  },
  'address-dependent': {
    name: 'Address-restricted cone', consoles: ['Moderate', 'Type 2', 'B'],
    means: 'Only hosts that the client has sent to can send to it. For a full cone, set udp.filtering to ' +
      'endpoint-independent.',
  },
  'address-and-port-dependent': {
    name: 'Port-restricted cone', consoles: ['Moderate', 'Type 2', 'B'],
    means: 'Only the exact ports that the client has sent to can send to it; two such clients often cannot connect to ' +
      'each other. For a full cone, set udp.filtering to endpoint-independent.',
  },
};
const NO_UDP = {name: 'No UDP', consoles: [], means: 'UDP is disabled (udp.enabled). TCP works.'};

function showHead({state, open}) {
  put(document.body, {
    state, associations: count(open.associations), streams: count(open.streams),
    'associations-word': open.associations === 1 ? 'association' : 'associations',
    'streams-word': open.streams === 1 ? 'stream' : 'streams',
    'streams-count': count(open.streams + open.negotiating),
  });
  document.title = `conesocks · ${plural(open.associations, 'association')}`;
}

/* The traffic of the newest sample, as the chart shows it. */
function showNow({fields, samples, period_seconds: period}) {
  const newest = samples.at(-1);
  const rate = name => newest[fields.indexOf(name)] / period;
  put(document.body, {
    'now-down': newest ? bits(8 * (rate('udp_down_bytes') + rate('stream_down_bytes'))) : '–',
    'now-up': newest ? bits(8 * (rate('udp_up_bytes') + rate('stream_up_bytes'))) : '–',
  });
}

function showNat(udp) {
  const nat = udp.enabled ? NAT_TYPES[udp.filtering] : NO_UDP;
  put(byId('main'), {'nat-name': nat.name, 'nat-means': nat.means});
  byId('consoles').hidden = byId('nat-check').hidden = !udp.enabled;
  nat.consoles.forEach((name, place) => write(byId('consoles').querySelectorAll('b')[place], name));
}

function showTotals({open, totals}) {
  const udp = totals.udp_up_bytes_total + totals.udp_down_bytes_total;
  const streams = totals.stream_up_bytes_total + totals.stream_down_bytes_total;
  const datagrams = totals.udp_up_datagrams_total + totals.udp_down_datagrams_total;
  const sessions = totals.associations_total + totals.connects_total + totals.binds_total;
  put(byId('main'), {
    relayed: bytes(udp + streams),
    'relayed-note': `since the start, ${bytes(udp)} of it in ${roughly(datagrams)} datagrams`,
    'sessions-total': roughly(sessions),
    'sessions-note': joined('since the start', open.negotiating && `${count(open.negotiating)} logging in now`),
  });
}

/* A few drops among many datagrams are no fault; nor are the few of an idle server, which drops what scanners send. */
const FEW_DROPS = 100;

/* Whether so many drops are a fault: '', 'wary' or 'bad', for the class of an element. */
function dropMood(dropped, relayed) {
  const share = dropped / (dropped + relayed);
  return dropped < FEW_DROPS || share < 0.001 ? '' : share < 0.01 ? 'wary' : 'bad';
}

/* The colour is that of the last ten minutes. */
function showDropped({drops, totals}, lately) {
  const dropped = drops.reduce((sum, drop) => sum + drop.count, 0);
  const all = dropped + totals.udp_up_datagrams_total + totals.udp_down_datagrams_total;
  const mood = dropMood(lately('dropped'), lately('udp_up_datagrams') + lately('udp_down_datagrams'));
  byId('dropped').className = `figure ${mood}`;
  byId('main').dataset.drops = mood;
  put(byId('main'), {
    dropped: all ? percent(dropped, all) : '0 %',
    'dropped-note': `${plural(dropped, 'datagram')}, ${count(lately('dropped'))} in 10 minutes`,
  });
}

/* `before`: the drops of `seconds` ago. */
function showDrops(drops, before, seconds) {
  const then = Object.fromEntries(before.map(drop => [drop.reason, drop.count]));
  const sorted = [...drops].sort((a, b) => b.count - a.count);
  list(byId('drops'), byId('drop'), sorted, (item, drop) => {
    const rate = seconds > 0 ? (drop.count - (then[drop.reason] ?? 0)) / seconds : 0;
    put(item, {
      count: count(drop.count), rate: rate > 0 ? `+${perSecond(rate)}` : '', reason: drop.reason,
      means: sentence(drop.means), advice: `What to do: ${drop.advice}.`,
    });
  });
  byId('no-drops').hidden = drops.length > 0;
}

function resolverVerdict(asked, failed) {
  if (asked === 0)
    return ['No lookups in the last 10 minutes', 'quiet'];
  // One or two are somebody's typing mistakes.
  if (failed >= asked / 2 && failed > 2)
    return ['Most lookups fail: check whether the name servers answer (dns.servers)', 'bad'];
  if (failed >= asked / 10 && failed > 2)
    return ['Some lookups fail', 'wary'];
  return ['Healthy', 'good'];
}

function showResolver(resolver, lately) {
  const asked = lately('lookups'), failed = lately('lookups_failed');
  const [verdict, mood] = resolverVerdict(asked, failed);
  const names = (all, lost) =>
    all ? `${plural(all, 'lookup')}, ${count(lost)} failed (${percent(lost, all)})` : 'none';
  byId('resolver-verdict').className = `verdict ${mood}`;
  put(byId('main'), {
    'resolver-verdict': verdict,
    'resolver-servers': resolver.servers.join(', ') || 'none',
    'resolver-lately': names(asked, failed),
    'resolver-total': names(resolver.lookups, resolver.failed),
    'resolver-waiting': resolver.waiting ? plural(resolver.waiting, 'lookup') : 'none',
  });
}

// A single user may have a limit where the others have none.
function limitText(limit, used, text) {
  if (limit === null)
    return 'for some users';
  return used === null ? `at most ${text(limit)}` : `${text(used)} of ${text(limit)}`;
}

function showLimits({limits, memory, totals}) {
  const named = limits.map(limit => ({...limit, name: limit.name.replaceAll('_', ' '), text: count}));
  const said = limit => limit.limit !== null || limit.refused > 0;
  const set = named.filter(said), unset = named.filter(limit => !said(limit));
  if (memory.limit_bytes !== null)
    set.push({name: 'memory', limit: memory.limit_bytes, used: memory.used_bytes, refused: 0, text: bytes});
  list(byId('limits'), byId('limit'), set, (item, {name, limit, used, refused, text}) => {
    const gauge = item.querySelector('.gauge');
    put(item, {
      name, used: limitText(limit, used, text),
      refused: refused ? `${plural(refused, 'time')} refused since the start` : '',
    });
    fillGauge(gauge, used === null ? null : used / limit); // counted for each client or user: there is no single number
  });
  const names = unset.map(limit => limit.name).join(', ');
  const wrong = totals.auth_failed_total;
  put(byId('main'), {
    'limits-none': names ? `Without a limit: ${names}.` : '',
    'limits-logins': wrong ? `${plural(wrong, 'failed login')} since the start (wrong user name or password).` : '',
  });
}

/* ", 3 of 1000 in use", of the range that an option names. */
function portUse(ranges, option) {
  const range = ranges?.find(each => each.option === option);
  return range && `${count(range.used)} of ${count(range.total)} in use` + (range.full ? ': full' : '');
}

/* What relays established UDP flows without user space, or why nothing does. */
function kernelPath(path, totals) {
  if (!path?.active)
    return path ? `none: ${path.why_not}` : '–';
  const relayed = totals.udp_kernel_up_datagrams_total + totals.udp_kernel_down_datagrams_total;
  const all = totals.udp_up_datagrams_total + totals.udp_down_datagrams_total;
  const passed = Object.entries(path.passed).sort((a, b) => b[1] - a[1]).map(([reason, number]) => `${reason} ${roughly(number)}`);
  return [joined(`at ${path.interfaces}`, all && `${percent(relayed, all)} of all datagrams`,
    `${count(path.slots_used)} of ${count(path.slots)} slots in use`),
    passed.length && `left to user space: ${passed.join(', ')}`].filter(Boolean).join('\n');
}

function showSetup({version, pid, uptime_seconds: uptime, listeners, listeners_total: total, udp, workers, configuration, port_ranges: ranges, kernel_path: path, totals}) {
  const advertised = [udp.advertise_v4, udp.advertise_v6].filter(Boolean).join(', ');
  const listener = ({address, login, proxy_protocol: balanced}) =>
    joined(address, login ? 'login' : 'no login', balanced && 'PROXY protocol');
  put(byId('main'), {
    process: joined(`${pid}`, `version ${version}`, `running for ${duration(uptime)}`),
    listeners: [...listeners.map(listener), total > listeners.length && `and ${count(total - listeners.length)} more`].filter(Boolean).join('\n'),
    'udp-client-side': udp.enabled ? joined(`ports: ${udp.ports}`, portUse(ranges, 'udp.ports'), advertised && `advertised as ${advertised}`) : 'disabled',
    'udp-external': udp.enabled ? joined(`ports: ${udp.external_ports}`, portUse(ranges, 'udp.external_ports')) : 'disabled',
    'kernel-path': kernelPath(path, totals),
    'udp-idle': udp.idle_seconds ? `ended after ${duration(udp.idle_seconds)}` : 'kept until the client disconnects',
    workers: `${workers.length}, with ${workers.map(each => count(each.sessions)).join(' + ')} sessions`,
    file: configuration.file ?? 'none: the built-in default',
    loaded: moment(configuration.loaded),
    reloads: joined(count(configuration.reloads),
      configuration.reloads_failed && `${count(configuration.reloads_failed)} failed`),
  });
}

/* The text of an empty table. */
function help({udp, listeners}) {
  const {address, login} = listeners[0] ?? {address: '127.0.0.1:1080', login: false};
  const to = address.replace(/-\d+$/, '').replace(/^(0\.0\.0\.0|\[::\]):/, `${location.hostname}:`); // where it listens on all addresses
  return {
    associations: udp.enabled ? {
      title: 'No associations yet.',
      advice: 'Point a program that uses UDP over SOCKS5 here: a torrent client, or a game or console behind a TUN ' +
        'bridge. To test it:',
      example: `conesocks check --proxy socks5://${login ? 'USER@' : ''}${to}`,
    } : {
      title: 'No associations: UDP is disabled.', advice: 'The configuration disables it (udp.enabled).', example: '',
    },
    streams: {
      title: 'No streams yet.',
      advice: 'Point a browser here; proxy.pac (below) configures it. Or try:',
      example: `curl --proxy socks5h://${login ? 'USER:PASSWORD@' : ''}${to} https://www.debian.org/`,
    },
  };
}

/* Limits of the whole server that are reached, or nearly reached. */
function limitWarnings(limits) {
  const near = limits.filter(({limit, used}) => limit !== null && used !== null && used >= 0.8 * limit);
  return near.map(({name, limit, used, refused}) => [used >= limit ? 'bad' : 'wary',
    `${count(used)} of ${count(limit)} ${name} are open (limits.${name})` +
    (refused ? `; refused since the start: ${count(refused)}.` : '.')]);
}

/* The warnings at the top of the page: [mood, text]. */
function warnings({state, configuration, memory, limits, port_ranges: ranges}) {
  const lines = [];
  if (state === 'draining')
    lines.push(['wary', 'Draining: new clients are refused. The server exits after its last session, or when timeouts.drain is over.']);
  if (configuration.last_error)
    lines.push(['bad', `The last reload failed; keeping the current configuration: ${configuration.last_error}`]);
  if (memory.level !== 'ample')
    lines.push(['bad', `Memory is ${memory.level}: the sessions that are idle longest are ended. Raise limits.memory, or ` +
      'lower other limits.']);
  for (const {option, range} of (ranges ?? []).filter(each => each.full))
    lines.push(['bad', `The ports of ${option} (${range}) are all in use: new associations are refused. Make the range larger.`]);
  if (configuration.waiting_for_start)
    lines.push(['wary', `These changes take effect at the next start: ${configuration.waiting_for_start}.`]);
  return [...lines, ...limitWarnings(limits)];
}
